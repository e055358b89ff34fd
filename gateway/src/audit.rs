//! `glassgate audit …`: reads, checks and proves the log of a gateway, whether it runs or not.

use crate::access::Role;
use crate::cli::audit::{Audit as Verb, Export, Format, Prove, Tail, Verify, Which};
use crate::config::Config;
use crate::exit::{Ended, Exit};
use anyhow::{Context as _, Result};
use glassgate_audit::reader::{Changes, ReadError, Reader};
use glassgate_audit_verify::{Question, verify};
use serde_json::Value;
use std::borrow::Cow;
use std::io::{BufWriter, ErrorKind, StdoutLock, Write};
use std::path::PathBuf;
use std::time::Duration;

/// Runs a verb.
pub(crate) fn run(verb: &Verb) -> Result<Exit> {
    match verb {
        Verb::Verify(args) => check(args),
        Verb::Export(args) => export(args),
        Verb::Tail(args) => tail(args),
        Verb::Prove(args) => prove(args),
    }
}

fn folder(which: &Which) -> Result<PathBuf> {
    match &which.dir {
        Some(dir) => Ok(dir.clone()),
        None => Ok(Config::load(&which.config)
            .map_err(|faults| Ended::new(Exit::Invalid, faults.to_string()))?
            .audit
            .dir),
    }
}

fn open(which: &Which) -> Result<Reader> {
    Reader::open(&folder(which)?).map_err(|e| {
        let exit = if matches!(e, ReadError::Damaged(_)) { Exit::Invalid } else { Exit::Damaged };
        Ended::new(exit, e.to_string()).into()
    })
}

/// A key that stands in a file, or is given as it is.
pub(crate) fn text_or_file(value: &str) -> String {
    std::fs::read_to_string(value).unwrap_or_else(|_| value.to_owned())
}

fn check(args: &Verify) -> Result<Exit> {
    let folder = folder(&args.which)?;
    let witnessed = args.witnessed.as_ref().map(|path| {
        std::fs::read_to_string(path).with_context(|| format!("{} can't be read", path.display()))
    });
    let question = Question {
        key: args.key.as_deref().map(text_or_file),
        witnessed: witnessed.transpose()?,
        witness_key: args.witness_key.as_deref().map(text_or_file),
    };
    let found = verify(&folder, &question).map_err(|finding| {
        let exit = if finding.unreadable { Exit::Damaged } else { Exit::Invalid };
        Ended::new(exit, format!("{}: {finding}", folder.display()))
    })?;
    let mut said = format!("{}: {} entries are what was signed\n", found.origin, found.entries);
    if found.removed > 0 {
        said += &format!("{} of them, the oldest, were deleted for space, as records say\n", found.removed);
    }
    if found.gaps > 0 {
        said += &format!("{} records tell of losses\n", found.gaps);
    }
    if found.unsigned > 0 {
        said += &format!("{} more are durable and fit, and no checkpoint signs them yet\n", found.unsigned);
    }
    if found.torn > 0 {
        said += &format!("{} bytes behind them are no whole group: a crash, or somebody\n", found.torn);
    }
    said += &match found.witnessed {
        Some((size, _)) => format!("they continue the {size} of the witnessed checkpoint\n"),
        None => "without a witnessed checkpoint nobody can say that the end was not cut off\n".to_owned(),
    };
    crate::print(&said)
}

fn export(args: &Export) -> Result<Exit> {
    let reader = open(&args.which)?;
    let first = reader.first();
    if args.from < first && args.from > 0 {
        let why = format!("the first record that is there is {first}: those before were deleted for space");
        return Err(Ended::new(Exit::Damaged, why).into());
    }
    Sink::new(args.format, args.role).all(&reader, args.from)?;
    Ok(Exit::Done)
}

/// Changes that come at once are shown at once: a busy log writes fifty groups a second.
const AT_ONCE: Duration = Duration::from_millis(200);
/// It is looked at this often even if no change is told of.
const LOOK: Duration = Duration::from_secs(2);

fn tail(args: &Tail) -> Result<Exit> {
    let folder = folder(&args.which)?;
    let mut reader = open(&args.which)?;
    let changes = args.follow.then(|| Changes::of(&folder)).transpose()?;
    let mut sink = Sink::new(Format::Json, args.role);
    let mut next = reader.size().saturating_sub(args.lines);
    loop {
        if sink.all(&reader, next)? == More::No {
            return Ok(Exit::Done);
        }
        next = reader.size();
        let Some(changes) = &changes else { return Ok(Exit::Done) };
        changes.wait(LOOK)?;
        std::thread::sleep(AT_ONCE);
        // One that is being set aside, or begun, is there again in a moment.
        if let Ok(now) = Reader::open(&folder) {
            if now.size() < next {
                eprintln!("the log was begun anew: it has {} records now, and had {next}", now.size());
                next = 0;
            }
            reader = now;
        }
    }
}

/// Whether whoever reads wants more.
#[derive(Clone, Copy, PartialEq, Eq)]
enum More {
    Yes,
    No,
}

/// Where records are printed, and how.
struct Sink {
    out: BufWriter<StdoutLock<'static>>,
    format: Format,
    role: Option<Role>,
}

impl Sink {
    fn new(format: Format, role: Option<Role>) -> Self {
        Self { out: BufWriter::new(std::io::stdout().lock()), format, role }
    }

    /// Prints the records from a number on.
    fn all(&mut self, reader: &Reader, from: u64) -> Result<More> {
        for entry in reader.entries(from) {
            let (_, line) = entry.map_err(|e| Ended::new(Exit::Invalid, e.to_string()))?;
            let line = self.role.and_then(|role| crate::redact::redacted(&line, role)).unwrap_or(line);
            let line = match self.format {
                Format::Json => String::from_utf8_lossy(&line),
                Format::Cef => Cow::Owned(cef(&line)),
                Format::Syslog => Cow::Owned(syslog(&line)),
            };
            if gone(writeln!(self.out, "{line}"))? {
                return Ok(More::No);
            }
        }
        Ok(if gone(self.out.flush())? { More::No } else { More::Yes })
    }
}

/// Whether whoever reads has enough.
fn gone(written: std::io::Result<()>) -> Result<bool> {
    match written {
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(true),
        other => Ok(other.map(|()| false)?),
    }
}

fn prove(args: &Prove) -> Result<Exit> {
    let reader = open(&args.which)?;
    let proof = reader.prove(args.seq).map_err(|e| Ended::new(Exit::Failed, e.to_string()))?;
    crate::print(&proof)
}

/// What stands outside of the message: kind, when, how grave.
struct Head {
    kind: String,
    wall: Option<String>,
    seq: u64,
    grave: bool,
}

fn head(line: &[u8]) -> Head {
    let record: Value = serde_json::from_slice(line).unwrap_or_default();
    let kind = record["event_type"].as_str().unwrap_or("unknown").to_owned();
    let grave = ["gap", "log_full", "bypass", "uninspected"].contains(&kind.as_str());
    let wall = record["wall"].as_str().map(str::to_owned);
    Head { kind, wall, seq: record["seq"].as_u64().unwrap_or_default(), grave }
}

/// Common Event Format, version 0. In the head `|` and `\` are escaped, in the extension `=`, `\` and line ends.
fn cef(line: &[u8]) -> String {
    let Head { kind, wall, seq, grave } = head(line);
    let kind = kind.replace('\\', "\\\\").replace('|', "\\|");
    let message = String::from_utf8_lossy(line).replace('\\', "\\\\").replace('=', "\\=");
    let at = wall.map(|wall| format!("rt={wall} ")).unwrap_or_default();
    let severity = if grave { 6 } else { 3 };
    let version = env!("CARGO_PKG_VERSION");
    format!("CEF:0|Glassgate|Glassgate|{version}|{kind}|{kind}|{severity}|{at}externalId={seq} msg={message}")
}

/// RFC 5424, section 6: facility 13 (log audit), severity warning or informational. What it has no value for is a dash.
fn syslog(line: &[u8]) -> String {
    let Head { kind, wall, grave, .. } = head(line);
    let priority = 13 * 8 + if grave { 4 } else { 6 };
    let kind: String = kind.chars().filter(char::is_ascii_graphic).take(32).collect();
    let wall = wall.unwrap_or_else(|| "-".to_owned());
    // Six digits of a second are the most that it allows.
    let wall = wall.split_once('.').map_or_else(
        || wall.clone(),
        |(whole, part)| {
            let digits: String = part.chars().take_while(char::is_ascii_digit).take(6).collect();
            format!("{whole}.{digits}Z")
        },
    );
    format!("<{priority}>1 {wall} - glassgate - {kind} - {}", String::from_utf8_lossy(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"boot_id":"ab","seq":7,"mono_ns":1,"wall":"2026-11-21T20:00:00.123456789Z","wall_quality":"synchronized","event_type":"gap","error":"a=b|c\\"}"#;

    #[test]
    fn forms_of_other_programs() {
        assert_eq!(
            syslog(LINE.as_bytes()),
            format!("<108>1 2026-11-21T20:00:00.123456Z - glassgate - gap - {LINE}")
        );
        let said = cef(LINE.as_bytes());
        assert!(
            said.starts_with("CEF:0|Glassgate|Glassgate|")
                && said.contains("|gap|gap|6|rt=2026-11-21T20:00:00.123456789Z externalId=7 msg={")
        );
        assert!(said.ends_with(r#""error":"a\=b|c\\\\"}"#), "{said}");
        let quiet = LINE.replace("\"2026-11-21T20:00:00.123456789Z\"", "null").replace("gap", "started");
        assert!(syslog(quiet.as_bytes()).starts_with("<110>1 - - glassgate - started - {"));
    }
}
