//! Which lab is alive: numbered places on the machine, held by a file lock.
//!
//! A slot gives a lab the name all its namespaces begin with and an address for the gateway's management
//! interface. The kernel drops the lock when the process that holds it dies in whatever way, so a slot whose
//! lock is free while its file exists is a dead lab, and everything of its name can be taken away: no pid is
//! trusted to mean the same process as before.
//!
//! The file is JSON for whoever looks: `{"owner": pid, "logs": "…"}`.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process;

/// Where the files are: gone after a reboot, like the namespaces.
const DIR: &str = "/run/glassgate-lab";

/// Most labs of one kind at a time.
const SLOTS: u8 = 16;

/// What a lab is for; part of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `cargo xtask demo`.
    Demo,
    /// `cargo xtask test`.
    Test,
}

impl Kind {
    /// Both kinds.
    pub const ALL: [Self; 2] = [Self::Demo, Self::Test];

    fn prefix(self) -> &'static str {
        match self {
            Self::Demo => "ggdemo",
            Self::Test => "ggtest",
        }
    }

    /// Second byte of the management network. 198.18.0.0/15 is set aside for tests of network gear (RFC 2544),
    /// so it meets no network that the host may really be in.
    fn network(self) -> u8 {
        match self {
            Self::Demo => 18,
            Self::Test => 19,
        }
    }
}

/// A place that this process holds until it is dropped.
pub struct Slot {
    name: String,
    kind: Kind,
    number: u8,
    file: File,
    path: PathBuf,
}

impl Slot {
    /// Takes away what dead labs left, then takes the first free place.
    pub fn take(kind: Kind) -> Result<Self> {
        sweep()?;
        for number in 0..SLOTS {
            let path = path(kind, number);
            let Some(file) = lock(&path)? else { continue };
            return Ok(Self { name: format!("{}{number}", kind.prefix()), kind, number, file, path });
        }
        bail!("{SLOTS} labs of this kind are running already; end one (see {DIR})")
    }

    /// The name of the lab, such as `ggdemo0`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The host's address on the management link.
    pub fn host(&self) -> Ipv4Addr {
        Ipv4Addr::new(198, self.kind.network(), self.number, 1)
    }

    /// The gateway's address on the management link, a /30.
    pub fn management(&self) -> Ipv4Addr {
        Ipv4Addr::new(198, self.kind.network(), self.number, 2)
    }

    /// The host's end of the management link.
    pub fn host_interface(&self) -> String {
        format!("{}m", self.name)
    }

    /// Writes who holds the slot and where its logs are.
    pub fn record(&self, logs: &Path) -> Result<()> {
        let text = serde_json::json!({ "owner": std::process::id(), "logs": logs });
        self.file.set_len(0)?;
        (&self.file).write_all(text.to_string().as_bytes())?;
        Ok(())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // Namespaces have been dropped before; this removes what a failed start has left. The file goes last:
        // while it is there and unlocked, the next start looks here again.
        if remove(&self.name).is_ok() {
            drop(std::fs::remove_file(&self.path));
        }
    }
}

/// What a sweep has found and taken away.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Labs whose owner is gone.
    pub labs: Vec<String>,
    /// Namespaces removed.
    pub namespaces: usize,
    /// Processes ended.
    pub processes: usize,
}

/// Takes away what labs left whose owner is gone. Living labs are not touched.
pub fn sweep() -> Result<Swept> {
    std::fs::create_dir_all(DIR).with_context(|| format!("cannot make {DIR}; labs need root"))?;
    let mut swept = Swept::default();
    for kind in Kind::ALL {
        for number in 0..SLOTS {
            let path = path(kind, number);
            if !path.exists() {
                continue;
            }
            let Some(held) = lock(&path)? else { continue };
            let name = format!("{}{number}", kind.prefix());
            let (namespaces, processes) = remove(&name)?;
            swept.namespaces += namespaces;
            swept.processes += processes;
            swept.labs.push(name);
            std::fs::remove_file(&path)?;
            drop(held);
        }
    }
    Ok(swept)
}

/// The lab that this process holds, going by what it wrote into the slot's file.
pub fn owned_by(pid: u32) -> Option<String> {
    let files = std::fs::read_dir(DIR).ok()?.flatten();
    let owner = |path: &Path| {
        let text = std::fs::read(path).ok()?;
        serde_json::from_slice::<serde_json::Value>(&text).ok()?.get("owner")?.as_u64()
    };
    let path = files.map(|file| file.path()).find(|path| owner(path) == Some(u64::from(pid)))?;
    Some(path.file_stem()?.to_string_lossy().into_owned())
}

/// What is there of a lab by this name: namespaces, interfaces of the host, processes, files. Empty when it is
/// gone without a trace.
pub fn traces(name: &str) -> Result<Vec<String>> {
    let mut found: Vec<_> = namespaces(name)?.into_iter().map(|netns| format!("namespace {netns}")).collect();
    found.extend(process::marked(name).into_iter().map(|process| format!("process {process}")));
    found.extend(resolver_dirs(name).into_iter().map(|dir| format!("folder {}", dir.display())));
    if Path::new("/sys/class/net").join(format!("{name}m")).exists() {
        found.push(format!("interface {name}m"));
    }
    for dir in huge_page_mounts() {
        let files = std::fs::read_dir(&dir).into_iter().flatten().flatten();
        let ours = files.filter(|file| file.file_name().to_string_lossy().contains(name));
        found.extend(ours.map(|file| format!("huge page file {}", file.path().display())));
    }
    Ok(found)
}

/// Removes everything of the lab; the caller holds its lock.
fn remove(name: &str) -> Result<(usize, usize)> {
    let processes = process::kill_marked(name)?;
    let namespaces = namespaces(name)?;
    for netns in &namespaces {
        process::capture(Command::new("ip").args(["netns", "del", netns]))?;
    }
    for dir in resolver_dirs(name) {
        std::fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    }
    // Normally gone with its peer's namespace.
    if Path::new("/sys/class/net").join(format!("{name}m")).exists() {
        process::capture(Command::new("ip").args(["link", "del", "dev", &format!("{name}m")]))?;
    }
    Ok((namespaces.len(), processes))
}

fn namespaces(name: &str) -> Result<Vec<String>> {
    let list = process::capture(Command::new("ip").args(["netns", "list"]))?;
    let first_words = list.lines().filter_map(|line| line.split_whitespace().next());
    Ok(first_words.filter(|netns| belongs(netns, name)).map(str::to_owned).collect())
}

fn resolver_dirs(name: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(super::netns::RESOLVER_DIR).into_iter().flatten().flatten();
    entries
        .filter(|entry| belongs(&entry.file_name().to_string_lossy(), name))
        .map(|entry| entry.path())
        .collect()
}

/// `ggdemo1-lan` belongs to `ggdemo1` and `ggdemo11-lan` does not.
fn belongs(netns: &str, name: &str) -> bool {
    netns.strip_prefix(name).is_some_and(|rest| rest.starts_with('-'))
}

fn huge_page_mounts() -> Vec<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    fields.filter(|f| f.get(2) == Some(&"hugetlbfs")).filter_map(|f| f.get(1).map(PathBuf::from)).collect()
}

fn path(kind: Kind, number: u8) -> PathBuf {
    Path::new(DIR).join(format!("{}{number}.json", kind.prefix()))
}

/// Opens and locks the file; `None` when another process holds it, or has just removed it.
fn lock(path: &Path) -> Result<Option<File>> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    let file = file.with_context(|| format!("cannot open {}; labs need root", path.display()))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(why)) => {
            return Err(why).with_context(|| format!("cannot lock {}", path.display()));
        }
    }
    // Between open and lock the former holder may have removed the name: then this lock is on a file that
    // nobody else can find.
    use std::os::unix::fs::MetadataExt;
    let same =
        std::fs::metadata(path).is_ok_and(|now| file.metadata().is_ok_and(|ours| ours.ino() == now.ino()));
    Ok(same.then_some(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lab_owns_only_its_own_namespaces() {
        assert!(belongs("ggdemo1-lan", "ggdemo1"));
        assert!(!belongs("ggdemo11-lan", "ggdemo1"));
        assert!(!belongs("ggdemo1", "ggdemo1"));
        assert!(!belongs("office-lan", "ggdemo1"));
    }

    #[test]
    fn a_held_lock_is_not_given_twice_and_a_dropped_one_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.json");
        let held = lock(&path).unwrap();
        assert!(held.is_some());
        assert!(lock(&path).unwrap().is_none());
        drop(held);
        assert!(lock(&path).unwrap().is_some());
    }
}
