//! `glassgate rules …`: the verbs of the people who write rules and signatures.

use super::Ask;
use clap::{Args, Subcommand, ValueHint};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum Rules {
    /// Say what is wrong with the rules, and what is right but probably not meant
    ///
    /// Everything that `check` refuses, and beyond it: rules that never decide, rules that contradict each other by
    /// their order, rules that end soon. Each finding has a code, a level and a place. Errors end with exit code 3;
    /// warnings do with --strict; notes never do.
    #[command(after_help = "Examples:\n  \
        glassgate rules lint --rules rules.toml\n  \
        glassgate rules lint --strict --json | jq '.diagnostics[]'")]
    Lint(Lint),
    /// Say why a name or a flow is treated as it is
    ///
    /// Which bytes of the name matched which entry of which file, with its source, licence and date; every other entry
    /// that covers it and why it does not count; the rules that match, in order, and which of them decides; and what
    /// allowed or forbade that something is written. Answers from the files as they are now, which a running gateway
    /// has taken only after `glassgate reload`.
    #[command(after_help = "Examples:\n  \
        glassgate rules explain www.zhipin.com\n  \
        glassgate rules explain www.zhipin.com --evidence dns_hint\n  \
        glassgate rules explain tcp 10.0.0.1:40000 1.2.3.4:443 --name www.zhipin.com\n  \
        glassgate rules explain store.steampowered.com --group sales --json | jq .decided_by")]
    Explain(Explain),
    /// Show what the rules of the running gateway did, and since when that is counted
    ///
    /// Rules in shadow are counted as if they were enforced. Counters stay when a reload leaves a rule as it is, and
    /// begin anew when it changes.
    #[command(after_help = "Examples:\n  \
        glassgate rules hits\n  \
        glassgate rules hits --json | jq '.[] | select(.flows == 0) | .name'")]
    Hits(Ask),
    /// Show which domains of a capture are in no list, where enough devices asked for them
    ///
    /// For who maintains signatures. A running gateway can't answer this: names never leave its fast path. Works on
    /// a capture that you have already. Devices are counted by IPv4 address, or by IPv6 /64 prefix where there are
    /// more of these; domains with fewer devices are counted and not named.
    #[command(after_help = "Examples:\n  \
        glassgate rules top-unknown office.pcapng\n  \
        glassgate rules top-unknown *.pcap --devices 20 --json | jq -r '.domains[].domain'")]
    TopUnknown(TopUnknown),
}

/// Which rules and signatures are meant.
#[derive(Debug, Args)]
pub(crate) struct Files {
    /// The configuration; if neither rules nor signatures are named, /etc/glassgate/glassgate.toml
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,
    /// A rules file, in place of the one that the configuration names
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) rules: Option<PathBuf>,
    /// Signature sources, in place of those that the configuration names: a folder or a file
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) signatures: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Lint {
    #[command(flatten)]
    pub(crate) files: Files,
    /// Days ahead in which the end of a rule is worth a warning
    #[arg(long, value_name = "DAYS", default_value_t = 30)]
    pub(crate) soon: u16,
    /// End with exit code 3 on warnings, too
    #[arg(long)]
    pub(crate) strict: bool,
    /// Print the findings as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// A name; or a 5-tuple: `tcp` or `udp`, client address and port, server address and port
    #[arg(required = true, num_args = 1..=3, value_name = "NAME|5-TUPLE")]
    pub(crate) what: Vec<String>,
    /// The name of the flow, where a 5-tuple is given
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// How the name is known: sni, quic_sni, http_host, dns or dns_hint; what the transport suggests, if not given
    #[arg(long, value_name = "EVIDENCE")]
    pub(crate) evidence: Option<String>,
    /// The group of the client; nobody's, if not given
    #[arg(long, value_name = "GROUP")]
    pub(crate) group: Option<String>,
    /// A calendar that is open; those not named are undecided
    #[arg(long, value_name = "CALENDAR")]
    pub(crate) open: Vec<String>,
    #[command(flatten)]
    pub(crate) files: Files,
    /// Print the answer as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TopUnknown {
    /// Captures, pcap or pcapng, of the same network on the same day
    #[arg(required = true, value_name = "CAPTURE", value_hint = ValueHint::FilePath)]
    pub(crate) captures: Vec<PathBuf>,
    /// Fewest devices that must have asked for a domain, 5 at least
    #[arg(long, value_name = "DEVICES", default_value_t = 10, value_parser = clap::value_parser!(u32).range(5..))]
    pub(crate) devices: u32,
    /// Most domains that are shown
    #[arg(long, value_name = "ROWS", default_value_t = 30)]
    pub(crate) rows: usize,
    /// Signature sources: a folder or a file
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) signatures: Option<PathBuf>,
    /// Print the answer as JSON
    #[arg(long)]
    pub(crate) json: bool,
}
