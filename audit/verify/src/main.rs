//! `glassgate-audit-verify FOLDER`: whether an audit log is what was signed.

use glassgate_audit_verify::{Question, verify};
use std::path::PathBuf;
use std::process::ExitCode;

const HELP: &str = "\
Verifies an audit log of Glassgate offline: every entry, every hash, the signature of its checkpoint

Usage: glassgate-audit-verify [OPTIONS] FOLDER

  FOLDER               the folder of the log: checkpoint, key.pub, tile/
  --key KEY            the log's public key, from elsewhere than the machine that wrote the log: text or file.
                       Without it the key beside the log is believed, which whoever replaces a log replaces too
  --witnessed FILE     a checkpoint of this log that a witness keeps: the log must continue it
  --witness-key KEY    the public key of that witness: text or file

Exit codes: 0 all of it is what was signed; 1 it is not, the first bad place is said; 2 the command line makes no sense;
3 something can't be read

Example:
  glassgate-audit-verify --key \"$(cat office.pub)\" --witnessed last.checkpoint /var/lib/glassgate/audit
";

fn main() -> ExitCode {
    match ask(std::env::args().skip(1)) {
        Ok(Some((folder, question))) => match verify(&folder, &question) {
            Ok(v) => {
                println!("{}: {} entries are what was signed", v.origin, v.entries);
                if v.removed > 0 {
                    println!("{} of them, the oldest, were deleted for space, as records say", v.removed);
                }
                if v.gaps > 0 {
                    println!("{} records tell of losses: see those with the event_type gap", v.gaps);
                }
                if v.unsigned > 0 || v.torn > 0 {
                    println!("{} more fit and are not signed yet; then {} torn bytes", v.unsigned, v.torn);
                }
                match v.witnessed {
                    Some((size, Some(time))) => {
                        println!("they continue the {size} that the witness saw {time} s after 1970")
                    }
                    Some((size, None)) => {
                        println!("they continue the {size} of the checkpoint that was given")
                    }
                    None => println!(
                        "no witnessed checkpoint was given: that the end was not cut off is not shown"
                    ),
                }
                ExitCode::SUCCESS
            }
            Err(finding) => {
                eprintln!("{finding}");
                ExitCode::from(if finding.unreadable { 3 } else { 1 })
            }
        },
        Ok(None) => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why}\n\n{HELP}");
            ExitCode::from(2)
        }
    }
}

fn ask(mut args: impl Iterator<Item = String>) -> Result<Option<(PathBuf, Question)>, String> {
    let (mut folder, mut question) = (None, Question::default());
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
        match arg.as_str() {
            "-h" | "--help" => return Ok(None),
            "--key" => question.key = Some(text_or_file(value()?)),
            "--witness-key" => question.witness_key = Some(text_or_file(value()?)),
            "--witnessed" => {
                let path = value()?;
                question.witnessed =
                    Some(std::fs::read_to_string(&path).map_err(|e| format!("{path}: {e}"))?);
            }
            other if other.starts_with('-') => return Err(format!("there is no option {other}")),
            _ if folder.is_some() => return Err("one folder at a time".to_owned()),
            _ => folder = Some(PathBuf::from(arg)),
        }
    }
    if question.witness_key.is_some() && question.witnessed.is_none() {
        return Err("--witness-key needs --witnessed".to_owned());
    }
    folder.map(|folder| Some((folder, question))).ok_or_else(|| "which folder?".to_owned())
}

fn text_or_file(value: String) -> String {
    std::fs::read_to_string(&value).unwrap_or(value)
}
