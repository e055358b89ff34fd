//! The command line: one definition from which parsing, `--help`, completions and `docs/cli.md` come.

pub(crate) mod account;
pub(crate) mod alerts;
pub(crate) mod audit;
pub(crate) mod case;
pub(crate) mod charter;
pub(crate) mod config;
pub(crate) mod lists;
pub(crate) mod machine;
pub(crate) mod pack;
pub(crate) mod report;
pub(crate) mod rules;

use crate::config::DEFAULT_PATH;
use crate::exit::Exit;
use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueHint};
use std::path::PathBuf;

/// An inline bridge that names the services flows belong to, applies rules to them, and keeps no more about
/// people than its charter allows.
#[derive(Debug, Parser)]
#[command(name = "glassgate", version, about, after_help = after_help(), propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Bridge two ports until told to stop
    ///
    /// Starts the guard in the foreground, which starts the data plane (frames) and the control process (rules, audit
    /// log, page) and replaces them when they fail. SIGTERM and Ctrl-C stop in order; SIGHUP reads rules and
    /// signatures again.
    #[command(after_help = "Examples:\n  \
        glassgate config > glassgate.toml       start from all defaults\n  \
        glassgate check --config glassgate.toml\n  \
        glassgate run --config glassgate.toml")]
    Run(Run),
    /// Show what a capture holds, flow by flow, as the bridge would see it
    ///
    /// Reads pcap and pcapng files through the same classifier that runs inline. Needs neither root nor DPDK.
    #[command(after_help = "Examples:\n  \
        glassgate replay office.pcapng                   what was seen, in a few lines\n  \
        glassgate replay *.pcap --flows - | jq .name      one JSON object per flow\n  \
        glassgate replay a.pcap --flows flows.jsonl --signatures policy/signatures\n  \
        glassgate replay a.pcap --diff rules.toml new.toml   what other rules would change\n  \
        glassgate replay a.pcap --diff a.toml b.toml --charter charter.toml --group sales\n  \
        glassgate replay *.pcap --time                    nanoseconds per frame, of the classifier alone")]
    Replay(Replay),
    /// Check configuration, rules and signatures without touching a port
    ///
    /// Without arguments: the configuration, and the rules and signatures that it names. Faults are shown with file,
    /// line, column and a caret; all of them in one run.
    #[command(after_help = "Examples:\n  \
        glassgate check --config glassgate.toml\n  \
        glassgate check --rules rules.toml --signatures policy/signatures\n  \
        glassgate check --config glassgate.toml --json | jq '.diagnostics[]'")]
    Check(Check),
    /// Write, check and try rules and signatures
    #[command(subcommand, after_help = "Example:\n  glassgate rules lint --rules rules.toml")]
    Rules(rules::Rules),
    /// Compile signatures into one signed file, and check such files
    #[command(subcommand, after_help = "Example:\n  glassgate pack build --key publisher.key site.pack")]
    Pack(pack::Pack),
    /// Write, sign and install the charter: what may be observed, and by what right
    #[command(subcommand, after_help = "Example:\n  glassgate charter new > charter.toml")]
    Charter(charter::Charter),
    /// Open, approve and look at cases: what was sealed of one person, by two people who hold shares of the keys
    #[command(subcommand, after_help = "Example:\n  glassgate case list")]
    Case(case::Case),
    /// Look at calendars
    #[command(
        subcommand,
        after_help = "Example:\n  glassgate calendar preview charter.toml --week 2027-03-01"
    )]
    Calendar(charter::Calendar),
    /// Read, check and prove the audit log
    #[command(subcommand, after_help = "Example:\n  glassgate audit verify")]
    Audit(audit::Audit),
    /// Print what the audit log counted over a span: by group, category and service
    ///
    /// The running gateway answers from its rollup store; without one the log itself is read. All of it was told when it was written:
    /// what few people stand behind is not in the log. Beside it stands what could not be seen.
    #[command(after_help = "Examples:\n  \
        glassgate report                                   the last seven days\n  \
        glassgate report --from 2027-01-01 --to 2027-02-01 --by day --csv > january.csv\n  \
        glassgate report --from 2027-01-01 --to 2027-02-01 --html > january.html\n  \
        glassgate report --group sales --category recruitment --json | jq .rows\n  \
        glassgate report --dir copy/audit                  from a copy of the log")]
    Report(report::Report),
    /// Remember how far audit logs were, and sign that
    ///
    /// A witness for C2SP tlog-witness: gateways post their checkpoints to it, and it signs what continues the last one it saw. Run it
    /// where those who could change a log can't reach it. It has no other access control than the keys of its logs: a management
    /// network is the place for it.
    #[command(
        after_help = "Example:\n  glassgate witness --dir /var/lib/glassgate-witness --listen 10.9.0.3:7380 --log office.pub"
    )]
    Witness(audit::Witness),
    /// Show how the running gateway is: processes, ports, lcores, active hashes
    #[command(after_help = "Examples:\n  \
        glassgate status\n  \
        glassgate status --json | jq .flows")]
    Status(Ask),
    /// Have the running gateway read rules and signatures again
    ///
    /// If they are wrong the gateway keeps those it has, and this says what is wrong with the new ones.
    #[command(after_help = "Example:\n  glassgate check && glassgate reload")]
    Reload(Ask),
    /// Turn all enforcement and observation of the running gateway off, or on again
    ///
    /// While it is on everything is forwarded, no rule acts, nothing is observed; `status`, the page and the metrics say so.
    /// There is an audit record of it before it takes effect. It ends with `off`, or when the gateway is started again.
    ///
    /// `off` also starts a data plane that is held, because it ended three times within a minute.
    #[command(after_help = "Examples:\n  \
        glassgate bypass on\n  \
        glassgate bypass on --keep\n  \
        glassgate bypass off")]
    Bypass(Bypass),
    /// Say what the machine lacks for the bridge, and how to mend it
    ///
    /// Looks at cards and their drivers, huge pages, IOMMU, CPUs, clock and disk, against the configuration; with --running also at
    /// the gateway itself. Ends with exit code 1 if there is a fault; advice is none.
    #[command(after_help = "Examples:\n  \
        glassgate doctor\n  \
        glassgate doctor --running --json | jq '.findings[] | select(.state == \"fault\")'")]
    Doctor(machine::Doctor),
    /// Show the network cards, and which of them are LAN, uplink and management
    ///
    /// In order of their places on the PCI bus: the first is for management and never part of the bridge, the next two are LAN and
    /// uplink. Of two cards both are the bridge. A choice that was kept stays, whatever cards come.
    #[command(after_help = "Examples:\n  \
        glassgate ports\n  \
        glassgate ports --keep /var/lib/glassgate/config     as the firmware does at its first start")]
    Ports(machine::Ports),
    /// Show the alerts that are raised, and who is told of them
    ///
    /// Ends with exit code 6 while one is raised. What each means and what to do is in docs/operations.md.
    #[command(after_help = "Examples:\n  \
        glassgate alerts\n  \
        glassgate alerts --json | jq -r '.raised[].name'\n  \
        glassgate alerts test")]
    Alerts(alerts::Alerts),
    /// Say who may come to the page
    #[command(subcommand, after_help = "Example:\n  glassgate account add li.wei --role engineer")]
    Account(account::Account),
    /// Print a complete glassgate.toml: every setting, its default and its meaning; or back up and restore what a machine has
    #[command(after_help = "Examples:\n  \
        glassgate config > glassgate.toml\n  \
        glassgate config backup office.backup\n  \
        glassgate config restore office.backup --dry-run")]
    Config {
        #[command(subcommand)]
        verb: Option<config::Config>,
    },
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  glassgate completions bash > /etc/bash_completion.d/glassgate")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages, one for each command, into a folder
    #[command(
        after_help = "Example:\n  glassgate manual /usr/local/share/man/man1 && man glassgate-rules-lint"
    )]
    Manual {
        /// The folder; it is made if it is missing
        #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
        folder: PathBuf,
    },
    /// The process that forwards; started by `run`
    #[command(hide = true)]
    Dataplane(Started),
    /// The process of rules, log and page; started by `run`
    #[command(hide = true)]
    Control(Started),
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The configuration
    #[arg(short, long, value_name = "FILE", default_value = DEFAULT_PATH, value_hint = ValueHint::FilePath)]
    pub(crate) config: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Replay {
    /// Captures, pcap or pcapng
    #[arg(required = true, value_name = "CAPTURE", value_hint = ValueHint::FilePath)]
    pub(crate) captures: Vec<PathBuf>,
    /// Write a line of JSON per flow to this file; `-` is standard output
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) flows: Option<PathBuf>,
    /// Signature sources: a folder or a file
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) signatures: Option<PathBuf>,
    /// Rules to decide by; without them every flow is forwarded
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) rules: Option<PathBuf>,
    /// Show the flows whose verdict differs between two rules files, by the rule that makes the difference
    #[arg(
        long,
        num_args = 2,
        value_names = ["OLD", "NEW"],
        conflicts_with_all = ["rules", "flows"],
        value_hint = ValueHint::FilePath
    )]
    pub(crate) diff: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) under: charter::Under,
    /// End with exit code 4 when any capture breaks off or is none; without it only when none could be read
    #[arg(long)]
    pub(crate) strict: bool,
    /// Time the classifier instead: read all frames into memory, then go over them this often
    #[arg(long, value_name = "PASSES", conflicts_with_all = ["flows", "strict"],
        value_parser = clap::value_parser!(u16).range(1..), num_args = 0..=1, default_missing_value = "5")]
    pub(crate) time: Option<u16>,
    /// Print the summary as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The configuration; if nothing is named at all, /etc/glassgate/glassgate.toml
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,
    /// A rules file, in place of the one that the configuration names
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) rules: Option<PathBuf>,
    /// Signature sources, in place of those that the configuration names: a folder or a file
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) signatures: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Ask {
    /// The configuration of the gateway that is meant
    #[arg(short, long, value_name = "FILE", default_value = DEFAULT_PATH, value_hint = ValueHint::FilePath)]
    pub(crate) config: PathBuf,
    /// Its control socket, if not the one that the configuration names
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub(crate) socket: Option<PathBuf>,
    /// Print the answer as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Bypass {
    /// Whether everything is forwarded and nothing observed
    #[arg(value_name = "on|off")]
    pub(crate) state: Switch,
    /// Leave it on when the gateway is started again
    #[arg(long)]
    pub(crate) keep: bool,
    #[command(flatten)]
    pub(crate) ask: Ask,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Switch {
    On,
    Off,
}

#[derive(Debug, Args)]
pub(crate) struct Started {
    /// The process that must be the parent
    #[arg(long)]
    pub(crate) guard: u32,
}

/// Writes the completion script of a shell.
pub(crate) fn completions(shell: clap_complete::Shell, out: &mut dyn std::io::Write) {
    clap_complete::generate(shell, &mut Cli::command(), "glassgate", out);
}

/// Writes a manual page for each command that is not hidden; says how many there are.
pub(crate) fn manual(folder: &std::path::Path) -> std::io::Result<usize> {
    std::fs::create_dir_all(folder)?;
    let mut cli = Cli::command();
    cli.build();
    pages(cli, folder)
}

fn pages(command: clap::Command, folder: &std::path::Path) -> std::io::Result<usize> {
    let mut written = 1;
    for verb in command.get_subcommands().filter(|c| !c.is_hide_set() && c.get_name() != "help") {
        written += pages(verb.clone(), folder)?;
    }
    clap_mangen::Man::new(command).generate_to(folder)?;
    Ok(written)
}

fn after_help() -> String {
    let codes: Vec<String> = Exit::ALL.iter().map(|e| format!("  {}  {}", *e as u8, e.meaning())).collect();
    format!(
        "Exit codes:\n{}\n\nFirst steps:\n  glassgate replay some.pcap    look into a capture\n  glassgate config              every setting and its default\n  \
         glassgate run --help          run the bridge",
        codes.join("\n")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_exit_code_is_explained() {
        let help = Cli::command().render_long_help().to_string();
        for (i, exit) in Exit::ALL.iter().enumerate() {
            assert_eq!(i, *exit as usize);
            assert!(help.contains(exit.meaning()), "{exit:?}");
        }
    }

    #[test]
    fn every_command_shows_an_example_or_hides() {
        fn look(command: &clap::Command) {
            for command in command.get_subcommands().filter(|c| !c.is_hide_set()) {
                let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("Example"), "{}", command.get_name());
                look(command);
            }
        }
        look(&Cli::command());
    }

    #[test]
    fn completions_know_the_commands() {
        for shell in [clap_complete::Shell::Bash, clap_complete::Shell::Zsh, clap_complete::Shell::Fish] {
            let mut out = Vec::new();
            completions(shell, &mut out);
            let script = String::from_utf8(out).unwrap();
            for word in ["replay", "lint", "explain", "top-unknown", "--diff", "--evidence"] {
                assert!(script.contains(word.trim_start_matches('-')), "{shell}: {word}");
            }
        }
    }

    #[test]
    fn every_command_has_a_manual_page() {
        let dir = tempfile::tempdir().unwrap();
        let written = manual(dir.path()).unwrap();
        let read = |name: &str| {
            std::fs::read_to_string(dir.path().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
        };
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), written);
        assert!(read("glassgate.1").contains("Exit codes"));
        let lint = read("glassgate-rules-lint.1");
        assert!(lint.contains(".TH") && lint.contains("strict") && lint.contains("Examples"), "{lint}");
        assert!(!dir.path().join("glassgate-dataplane.1").exists(), "what is hidden has none");
    }

    /// The reference of the command line, in Markdown, from the definition above.
    fn reference() -> String {
        let mut out = String::from(
            "# glassgate on the command line\n\n\
             `glassgate COMMAND --help` says the same, at the place where it is needed.\n\n\
             This page is made from the code (`UPDATE=1 cargo test -p glassgate docs_cli` writes it).\n\n## Exit codes\n\n\
             | code | meaning |\n|---|---|\n",
        );
        for exit in Exit::ALL {
            out += &format!("| {} | {} |\n", exit as u8, exit.meaning());
        }
        let mut cli = Cli::command().term_width(100);
        cli.build();
        describe(&mut cli, "glassgate", 2, &mut out);
        out
    }

    fn describe(command: &mut clap::Command, path: &str, level: usize, out: &mut String) {
        for command in command.get_subcommands_mut().filter(|c| !c.is_hide_set() && c.get_name() != "help") {
            let path = format!("{path} {}", command.get_name());
            let help = command.render_long_help().to_string();
            *out += &format!("\n{} {path}\n\n```text\n{}\n```\n", "#".repeat(level), help.trim_end());
            describe(command, &path, level + 1, out);
        }
    }

    #[test]
    fn docs_cli_is_what_the_code_says() {
        crate::docs_test::holds("cli.md", &reference());
    }
}
