//! `glassgate pack …`: compiled signatures as one signed file.

use crate::cli::pack::{Build, Pack as Verb, Verify};
use crate::config::PolicyFiles;
use crate::exit::{Ended, Exit};
use crate::{packs, print, verdicts};
use anyhow::{Context as _, Result};
use glassgate_policy::SignatureTable;
use glassgate_policy::audit::Hex;
use glassgate_policy::diagnostic::Diagnostics;
use glassgate_policy::pack::{self, Info, Pack, PublicKey};
use jiff::Timestamp;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::Ed25519KeyPair;
use serde::Serialize;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

/// What stands before the seed in a file of a secret key.
const SECRET: &str = "glassgate-secret-ed25519:";

/// Runs a verb.
pub(crate) fn run(verb: &Verb) -> Result<Exit> {
    match verb {
        Verb::Key { file } => key(file),
        Verb::Build(args) => build(args),
        Verb::Sign { key, pack } => sign(key, pack),
        Verb::Verify(args) => verify(args),
        Verb::Show { pack, json } => show(pack, *json),
    }
}

fn key(path: &Path) -> Result<Exit> {
    let mut seed = [0u8; 32];
    SystemRandom::new().fill(&mut seed).map_err(|_| anyhow::anyhow!("there is no random number"))?;
    let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|e| anyhow::anyhow!("a key: {e}"))?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("{} can't be made", path.display()))?;
    writeln!(file, "{SECRET}{}", Hex(&seed))?;
    file.sync_all()?;
    print(&format!("{}\n", PublicKey::of(&pair)))
}

fn secret(path: &Path) -> Result<Ed25519KeyPair> {
    let text = fs::read_to_string(path).with_context(|| format!("{} can't be read", path.display()))?;
    let hex = text.trim_end().strip_prefix(SECRET);
    // A seed has the shape of a public key.
    let seed = hex.and_then(|hex| PublicKey::from_text(&format!("ed25519:{hex}")));
    let seed = seed.ok_or_else(|| {
        let why = format!("{} is no secret key; `glassgate pack key` makes one", path.display());
        Ended::new(Exit::Invalid, why)
    })?;
    Ed25519KeyPair::from_seed_unchecked(seed.as_bytes()).map_err(|e| anyhow::anyhow!("a key: {e}"))
}

fn invalid(faults: Diagnostics) -> Ended {
    Ended::new(Exit::Invalid, faults.to_string())
}

fn build(args: &Build) -> Result<Exit> {
    let mut files = match &args.config {
        Some(path) => crate::load(path)?.files,
        None => PolicyFiles::default(),
    };
    if args.signatures.is_some() {
        files.signatures.clone_from(&args.signatures);
    }
    let (compiled, _) = verdicts::compile_sources(&files, false).map_err(invalid)?;
    if !compiled.warnings.is_empty() {
        eprintln!("{}\n", compiled.warnings);
    }
    let table = SignatureTable::from_bytes(&compiled.bytes)?;
    let created = Timestamp::now().as_second().max(0) as u64;
    let info = Info {
        created,
        serial: args.serial.unwrap_or(created),
        needs: pack::this_version(),
        publisher: args.publisher.clone(),
        ..Info::default()
    };
    let mut bytes = pack::build(&table, &info);
    if let Some(key) = &args.key {
        pack::sign(&mut bytes, &secret(key)?)?;
    }
    replace(&args.pack, &bytes)?;
    show(&args.pack, false)
}

fn sign(key: &Path, path: &Path) -> Result<Exit> {
    let secret = secret(key)?;
    let mut bytes = packs::read(path).map_err(invalid)?.as_ref().to_vec();
    // Nobody should put their name under what is not whole.
    let bad = |e| invalid(packs::bad(path, &e).into());
    Pack::look(Arc::new(bytes.clone())).and_then(|pack| pack.verify()).map_err(bad)?;
    let id = pack::sign(&mut bytes, &secret).map_err(bad)?;
    replace(path, &bytes)?;
    print(&format!("{}: signed with key {id}\n", path.display()))
}

fn verify(args: &Verify) -> Result<Exit> {
    let (mut trusted, mut floor) = (Vec::new(), 0);
    if let Some(pack) =
        args.config.as_ref().map(|path| crate::load(path)).transpose()?.and_then(|c| c.files.pack)
    {
        floor = pack.floor;
        trusted.extend(pack.trusted.iter().filter_map(|key| PublicKey::from_text(key)));
    }
    for text in &args.trust {
        let why = || {
            Ended::new(Exit::Usage, format!("`{text}` is no public key: ed25519: and 64 hexadecimal digits"))
        };
        trusted.push(PublicKey::from_text(text).ok_or_else(why)?);
    }
    let bytes = packs::read(&args.pack).map_err(invalid)?;
    let bad = |e| invalid(packs::bad(&args.pack, &e).into());
    let pack = Pack::open(Arc::new(bytes), &trusted, floor).map_err(bad)?;
    pack.verify().map_err(bad)?;
    let Info { key, serial, .. } = pack.info();
    print(&format!("good: {}, serial {serial}, signed with key {key}\n", args.pack.display()))
}

/// A pack, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Shown {
    publisher: String,
    created: String,
    serial: u64,
    /// The lowest version of the program.
    needs: String,
    /// The key it is signed with; empty if nobody signed it.
    key: String,
    names: usize,
    services: usize,
    bytes: usize,
    table: String,
}

fn show(path: &Path, json: bool) -> Result<Exit> {
    let bytes = packs::read(path).map_err(invalid)?;
    let pack = Pack::look(Arc::new(bytes)).map_err(|e| invalid(packs::bad(path, &e).into()))?;
    let (info, table) = (pack.info(), pack.table());
    let created = Timestamp::from_second(info.created.min(i64::MAX as u64) as i64);
    let [major, minor, patch] = info.needs;
    let signed = info.key != pack::KeyId::default();
    let shown = Shown {
        publisher: info.publisher.chars().filter(|c| !c.is_control()).collect(),
        created: created.map(|t| t.to_string()).unwrap_or_default(),
        serial: info.serial,
        needs: format!("{major}.{minor}.{patch}"),
        key: if signed { info.key.to_string() } else { String::new() },
        names: table.names(),
        services: table.services().count(),
        bytes: pack::HEADER + table.bytes().len(),
        table: Hex(&info.table).to_string(),
    };
    if json {
        return print(&(serde_json::to_string(&shown)? + "\n"));
    }
    print(&format!(
        "{}\n  publisher  {}\n  created    {}\n  serial     {}\n  needs      glassgate {}\n  signed     {}\n  \
         names      {} of {} services, {} bytes\n  table      {}\n",
        path.display(),
        if shown.publisher.is_empty() { "-" } else { &shown.publisher },
        shown.created,
        shown.serial,
        shown.needs,
        if signed { format!("with key {}, not checked here", shown.key) } else { "by nobody".to_owned() },
        shown.names,
        shown.services,
        shown.bytes,
        shown.table,
    ))
}

/// Replaces a file, all or nothing.
fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = Path::new(&name);
    let write = || -> std::io::Result<()> {
        let mut file = fs::File::create(new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(new, path)
    };
    write().with_context(|| format!("{} can't be written", path.display())).inspect_err(|_| {
        // What is left of it is of no use.
        _ = fs::remove_file(new);
    })
}
