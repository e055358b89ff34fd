//! `glassgate audit …` and `glassgate witness`: reading, proving and remembering the audit log.

use crate::access::Role;
use clap::{Args, Subcommand, ValueEnum, ValueHint};
use std::net::SocketAddr;
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// Check that every record is what was signed
    ///
    /// Every entry, every hash, the signature of the checkpoint, and with a witnessed checkpoint that the log continues it. Works on
    /// a copy as well, and needs no gateway. `glassgate-audit-verify` does the same as a program by itself.
    #[command(after_help = "Examples:\n  \
        glassgate audit verify\n  \
        glassgate audit verify --dir copy --key office.pub --witnessed last.checkpoint --witness-key witness.pub")]
    Verify(Verify),
    /// Print records, for people or for other programs
    #[command(after_help = "Examples:\n  \
        glassgate audit export > records.jsonl\n  \
        glassgate audit export --role auditor > for-the-auditor.jsonl\n  \
        glassgate audit export --from 12000 --format syslog | nc -q1 logs.example 601")]
    Export(Export),
    /// Print the last records, and with --follow those that come
    #[command(after_help = "Examples:\n  \
        glassgate audit tail -n 3 | jq .event_type\n  \
        glassgate audit tail --follow --role operator")]
    Tail(Tail),
    /// Print the proof that a record is in the log
    ///
    /// In the format c2sp.org/tlog-proof: whoever has it and the log's public key needs nothing else, not even the log.
    #[command(after_help = "Example:\n  glassgate audit prove 12345 > 12345.tlog-proof")]
    Prove(Prove),
}

/// Which log.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// The folder of the log, if not the one that the configuration names
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) dir: Option<PathBuf>,
    /// The configuration of the gateway that writes it
    #[arg(short, long, value_name = "FILE", default_value = crate::config::DEFAULT_PATH, value_hint = ValueHint::FilePath)]
    pub(crate) config: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    pub(crate) which: Which,
    /// The log's public key from elsewhere, as text or file. Without it the key beside the log is believed
    #[arg(long, value_name = "KEY")]
    pub(crate) key: Option<String>,
    /// A checkpoint of this log that a witness keeps
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) witnessed: Option<PathBuf>,
    /// The public key of that witness, as text or file
    #[arg(long, value_name = "KEY", requires = "witnessed")]
    pub(crate) witness_key: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    #[command(flatten)]
    pub(crate) which: Which,
    /// The first record
    #[arg(long, value_name = "SEQ", default_value_t = 0)]
    pub(crate) from: u64,
    /// The form of a record
    #[arg(long, value_name = "FORM", default_value = "json")]
    pub(crate) format: Format,
    /// Leave out what whoever gets the extract may not read; without it nothing is left out
    #[arg(long, value_name = "ROLE")]
    pub(crate) role: Option<Role>,
}

/// The form of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A line of JSON, as it is in the log
    Json,
    /// ArcSight Common Event Format, the record as its message
    Cef,
    /// Syslog (RFC 5424), facility `log audit`, the record as its message
    Syslog,
}

#[derive(Debug, Args)]
pub(crate) struct Tail {
    #[command(flatten)]
    pub(crate) which: Which,
    /// How many
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    pub(crate) lines: u64,
    /// Go on with those that come, as soon as they are durable, until it is stopped
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Leave out what whoever sees it may not read; without it nothing is left out
    #[arg(long, value_name = "ROLE")]
    pub(crate) role: Option<Role>,
}

#[derive(Debug, Args)]
pub(crate) struct Prove {
    /// The number of the record, its `seq`
    #[arg(value_name = "SEQ")]
    pub(crate) seq: u64,
    #[command(flatten)]
    pub(crate) which: Which,
}

#[derive(Debug, Args)]
pub(crate) struct Witness {
    /// Where it keeps its key and what it remembers
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) dir: PathBuf,
    /// Address and port that logs come to
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7380")]
    pub(crate) listen: SocketAddr,
    /// The public key of a log that it may sign for, as text or file; once for each
    #[arg(long = "log", value_name = "KEY", required = true)]
    pub(crate) logs: Vec<String>,
    /// Its name, when its key is made
    #[arg(long, value_name = "NAME", default_value = "glassgate-witness")]
    pub(crate) name: String,
}
