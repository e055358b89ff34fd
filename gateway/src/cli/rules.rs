//! `glassgate rules …`: the verbs of the people who write rules and signatures.

use super::charter::Under;
use super::{Ask, lists};
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
    /// Which bytes of the name, or what else of the flow, matched which entry of which file, with its source, licence and date; every
    /// other entry that covers it and why it does not count; the rules that match, in order, and which of them decides; and each gate
    /// that allows or forbids that something is written, those of a charter among them. Answers from the files as they are now,
    /// which a running gateway has taken only after `glassgate reload`: --running asks it.
    #[command(after_help = "Examples:\n  \
        glassgate rules explain www.zhipin.com\n  \
        glassgate rules explain www.zhipin.com --evidence dns_hint\n  \
        glassgate rules explain tcp 10.0.0.1:40000 1.2.3.4:443 --name www.zhipin.com\n  \
        glassgate rules explain 1.1.1.1:853 --alpn dot\n  \
        glassgate rules explain www.zhipin.com --charter charter.toml --group sales --at 2027-03-01T10:00:00+08:00\n  \
        glassgate rules explain store.steampowered.com --running --json | jq .decided_by")]
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
    /// Turn a list of others into signatures
    ///
    /// Prints tab-separated signatures, for a file in the folder of signatures. What no signature can say (patterns,
    /// paths, exceptions) is skipped and counted; broken lines are shown with line and column and left out. Names
    /// beyond ASCII become their `xn--` form.
    #[command(after_help = "Examples:\n  \
        glassgate rules import --format v2fly --category recruitment data/liepin > liepin.tsv\n  \
        glassgate rules import --format ut1 blacklists/games > games.tsv\n  \
        glassgate rules import --format hosts --category malware --service urlhaus --licence CC0-1.0 hosts.txt")]
    Import(lists::Import),
    /// Write signatures as a list for other tools
    ///
    /// A format that can't say `and all below` is given the name alone, and one that can't say `the name alone` is not
    /// given it; both are counted on standard error.
    #[command(after_help = "Examples:\n  \
        glassgate rules export --format dnsmasq --category short_video > short-video.conf\n  \
        glassgate rules export --format adblock --service liepin --service lagou")]
    Export(lists::Export),
    /// Show subscribed lists: what is in use, and what a new version would change
    ///
    /// Reads the lists as they are now and changes nothing. A version is held when it grows or shrinks by more than a tenth
    /// or 500 names, holds a public suffix or a site known for something else, overlaps another category, has many
    /// odd names or broken lines, or is the first one.
    #[command(after_help = "Examples:\n  \
        glassgate rules feeds\n  \
        glassgate rules feeds --json | jq '.[] | select(.state == \"held\")'")]
    Feeds(lists::Feeds),
    /// Accept the new version of a subscribed list, after a look at it
    ///
    /// The running gateway puts it on record, and then in force. Where none runs it is put in use by the next start, and there is no record.
    #[command(after_help = "Example:\n  glassgate rules accept urlhaus 5f1c30a9d2be")]
    Accept(lists::Accept),
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
    /// A name; or a 5-tuple: `tcp` or `udp`, client address and port, server address and port, of which the first two may be left out
    #[arg(required = true, num_args = 1..=3, value_name = "NAME|5-TUPLE")]
    pub(crate) what: Vec<String>,
    /// The name of the flow, where a 5-tuple is given
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// How the name is known: sni, quic_sni, http_host, dns or dns_hint; what the transport suggests, if not given
    #[arg(long, value_name = "EVIDENCE")]
    pub(crate) evidence: Option<String>,
    /// A protocol that the client offers in its hello (ALPN), such as `doq`; several in their order
    #[arg(long, value_name = "PROTOCOL")]
    pub(crate) alpn: Vec<String>,
    /// The JA4 fingerprint of its hello
    #[arg(long, value_name = "FINGERPRINT")]
    pub(crate) ja4: Option<String>,
    #[command(flatten)]
    pub(crate) under: Under,
    /// A calendar that is open; those not named are as the charter says, without one undecided
    #[arg(long, value_name = "CALENDAR")]
    pub(crate) open: Vec<String>,
    /// Ask the running gateway, too: what is in force there, and whether that is made of these files
    #[arg(long)]
    pub(crate) running: bool,
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
