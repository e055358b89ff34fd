//! `glassgate charter …`: from a sample to a charter in force.

use crate::ask;
use crate::cli::charter::{Charter as Verb, Check, Install, Key, Show, Sign};
use crate::config::read_bounded;
use crate::exit::{Ended, Exit};
use anyhow::{Context as _, Result};
use glassgate_policy::Unobserved;
use glassgate_policy::charter::{
    Charter, CharterFile, Group, Installed, Levels, MAX_BYTES, MAX_SIGNATURE_BYTES, SAMPLE, Signatures,
    SigningKey, Standing, Statement, observe,
};
use glassgate_policy::diagnostic::{Diagnostic, Diagnostics};
use jiff::Timestamp;
use serde::Serialize;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Runs a verb.
pub(crate) fn run(verb: &Verb) -> Result<Exit> {
    match verb {
        Verb::New => crate::print(SAMPLE),
        Verb::Key(args) => key(args),
        Verb::Check(args) => check(args),
        Verb::Sign(args) => sign(args),
        Verb::Show(args) => show(args),
        Verb::Install(args) => install(args),
    }
}

fn key(args: &Key) -> Result<Exit> {
    let name = args.file.display();
    let fresh = SigningKey::generate()?;
    let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&args.file);
    let key = match made {
        Ok(mut file) => {
            file.write_all(&fresh)
                .and_then(|()| file.sync_all())
                .with_context(|| format!("writing {name}"))?;
            SigningKey::from_pkcs8(&fresh)?
        }
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => read_key(&args.file)?,
        Err(e) => return Err(Ended::new(Exit::Invalid, format!("{name} can't be made: {e}")).into()),
    };
    crate::print(&format!("{}\n", key.public()))
}

/// Reads a key, unless others may read it too.
pub(crate) fn read_key(path: &Path) -> Result<SigningKey> {
    let name = path.display();
    let refuse = |why: String| Ended::new(Exit::Invalid, why);
    let bytes = read_bounded(path, 4096).map_err(|e| refuse(format!("{name} can't be read: {e}")))?;
    let mode = std::fs::metadata(path)?.permissions().mode();
    if mode & 0o077 != 0 {
        let why = format!("{name} can be read by others (mode {:o}); `chmod 600 {name}`", mode & 0o777);
        return Err(refuse(why).into());
    }
    Ok(SigningKey::from_pkcs8(&bytes).map_err(|e| refuse(format!("{name}: {e}")))?)
}

/// What `check` found, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Report {
    ok: bool,
    /// Whether all approvers have signed.
    signed: bool,
    #[serde(flatten)]
    found: Diagnostics,
}

fn check(args: &Check) -> Result<Exit> {
    let signatures = beside(&args.file);
    let mut report = Report { ok: false, signed: false, found: Diagnostics::new() };
    match read(&args.file, MAX_BYTES)
        .and_then(|text| parse(&args.file, &text).map(|(file, found)| (text, file, found)))
    {
        Err(faults) => report.found = faults,
        Ok((text, file, found)) => {
            report.found = found;
            if signatures.exists() {
                match verified(&args.file, &text, &file) {
                    Ok(_) => report.signed = true,
                    Err(faults) => report.found.append(faults),
                }
            }
        }
    }
    report.ok = !report.found.has_errors();
    if args.json {
        crate::print(&(serde_json::to_string(&report)? + "\n"))?;
    } else {
        if !report.found.is_empty() {
            eprintln!("{}\n", report.found);
        }
        let what = match (report.ok, report.signed) {
            (true, true) => "good, and signed by all",
            (true, false) => "good, not signed yet",
            (false, _) => "not good",
        };
        crate::print(&format!("{what}: {}\n", args.file.display()))?;
    }
    Ok(if report.ok { Exit::Done } else { Exit::Invalid })
}

fn sign(args: &Sign) -> Result<Exit> {
    let text = read(&args.file, MAX_BYTES).map_err(invalid)?;
    let (file, _) = parse(&args.file, &text).map_err(invalid)?;
    let key = read_key(&args.key)?;
    let Some(approver) = file.approvers.iter().find(|approver| approver.key == key.public()) else {
        let why =
            format!("the charter names no approver with the key of {}: {}", args.key.display(), key.public());
        return Err(Ended::new(Exit::Invalid, why).into());
    };
    let path = beside(&args.file);
    let before = match std::fs::read_to_string(&path) {
        Ok(before) => Some(before),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => return Err(e).with_context(|| format!("reading {}", path.display())),
    };
    let statement = if args.revoke { Statement::Revoke } else { Statement::Approve };
    let signed = Signatures::with(before.as_deref(), &key.sign(statement, text.as_bytes()));
    let new = path.with_extension("sig.new");
    std::fs::write(&new, signed)
        .and_then(|()| std::fs::rename(&new, &path))
        .with_context(|| format!("writing {}", path.display()))?;
    let missing = match verified(&args.file, &text, &file) {
        Ok(charter) if charter.is_revoked() => {
            "it is revoked; install it to have the gateway know".to_owned()
        }
        Ok(_) => "all approvers have signed".to_owned(),
        Err(faults) => {
            faults.as_slice().iter().map(|fault| fault.message.clone()).collect::<Vec<_>>().join("; ")
        }
    };
    let word = if args.revoke { "revoked" } else { "signed" };
    crate::print(&format!("{word} as {} ({}): {missing}\n", approver.name, approver.role))
}

fn show(args: &Show) -> Result<Exit> {
    let text = read(&args.file, MAX_BYTES).map_err(invalid)?;
    let (file, _) = parse(&args.file, &text).map_err(invalid)?;
    let at = args.at.unwrap_or_else(Timestamp::now);
    let charter = verified(&args.file, &text, &file);
    crate::print(&describe(&file, charter.as_ref().ok(), at))
}

fn install(args: &Install) -> Result<Exit> {
    let text = read(&args.file, MAX_BYTES).map_err(invalid)?;
    parse(&args.file, &text).map_err(invalid)?;
    let signatures = read(&beside(&args.file), MAX_SIGNATURE_BYTES).map_err(invalid)?;
    ask::install_charter(&args.ask, text, signatures)
}

/// A charter in words.
fn describe(file: &CharterFile, charter: Option<&Charter>, at: Timestamp) -> String {
    let mut out = String::new();
    _ = writeln!(out, "{} no. {}, of {}", file.name, file.serial, file.controller);
    let zone = file.zone.iana_name().unwrap_or("?");
    _ = writeln!(out, "from {} to {} ({zone}), contact {}", file.issued, file.expires, file.contact);
    for approver in &file.approvers {
        _ = writeln!(out, "  {} as {}", approver.name, approver.role);
    }
    // As many people as any count needs: how many there are is for the gateway to know.
    let names =
        file.purposes.iter().flat_map(|purpose| &purpose.groups).collect::<std::collections::BTreeSet<_>>();
    let groups: Vec<Group> =
        names.into_iter().map(|name| Group { name: name.clone(), members: u32::MAX }).collect();
    let nothing = Levels::nothing(groups.len() + 1, Unobserved::NoCharter);
    let observation =
        observe(charter.map_or(Installed::NotValid, Installed::Charter), Some(at), &groups, &nothing);
    _ = match observation.standing {
        Standing::NotValid => writeln!(out, "not in force: not all approvers have signed"),
        Standing::InForce => writeln!(out, "in force at {at}"),
        standing => writeln!(out, "not in force at {at}: {}", standing.as_str().replace('_', " ")),
    };
    for (i, entry) in file.purposes.iter().enumerate() {
        let now = observation.purposes.get(i).map_or("not in force", |(_, standing)| standing.as_str());
        let categories: Vec<_> = entry.categories.iter().map(|c| c.as_str()).collect();
        _ = writeln!(out, "\n{} at level {}: {}", entry.purpose, entry.level, now.replace('_', " "));
        _ = writeln!(out, "  basis       {}: {}", entry.basis, entry.document.title);
        _ = writeln!(out, "  categories  {}", categories.join(", "));
        _ = writeln!(
            out,
            "  groups      {}, at least {} people each for counts",
            entry.groups.join(", "),
            entry.k
        );
        _ = writeln!(out, "  when        {}", entry.calendar.as_deref().unwrap_or("at any time"));
        let given = file.notice(&entry.notice).and_then(|notice| notice.given);
        let given = given.map_or_else(|| "not given yet".to_owned(), |day| format!("given on {day}"));
        _ = writeln!(out, "  notice      {}, {given}; kept for {} days", entry.notice, entry.retention_days);
    }
    if let Some(until) = observation.until {
        _ = writeln!(out, "\nholds until {until}, then look again");
    }
    out
}

/// A charter with its signatures beside it: what it says; and if its signatures are not good, why.
pub(crate) fn load(path: &Path) -> Result<(CharterFile, Result<Charter, Diagnostics>), Diagnostics> {
    let text = read(path, MAX_BYTES)?;
    let (file, _) = parse(path, &text)?;
    let charter = verified(path, &text, &file);
    Ok((file, charter))
}

/// The charter, if its signatures are good; with whatever keys it names, since trust is for the gateway to say.
fn verified(path: &Path, text: &str, file: &CharterFile) -> Result<Charter, Diagnostics> {
    let (name, at) = (path.display().to_string(), beside(path));
    let signatures = read(&at, MAX_SIGNATURE_BYTES)?;
    let keys: Vec<_> = file.approvers.iter().map(|approver| approver.key).collect();
    Charter::verify(&name, text.as_bytes(), &at.display().to_string(), signatures.as_bytes(), &keys)
        .map(|(c, _)| c)
}

fn parse(path: &Path, text: &str) -> Result<(CharterFile, Diagnostics), Diagnostics> {
    CharterFile::parse(&path.display().to_string(), text.as_bytes())
}

fn read(path: &Path, max: usize) -> Result<String, Diagnostics> {
    let name = path.display().to_string();
    let unreadable = |why: String| Diagnostics::from(Diagnostic::file(&name, "unreadable", why));
    let bytes = read_bounded(path, max as u64).map_err(|e| unreadable(format!("this can't be read: {e}")))?;
    String::from_utf8(bytes).map_err(|_| unreadable("this is not UTF-8".to_owned()))
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".sig");
    name.into()
}

fn invalid(faults: Diagnostics) -> Ended {
    Ended::new(Exit::Invalid, faults.to_string())
}

#[cfg(test)]
mod tests;
