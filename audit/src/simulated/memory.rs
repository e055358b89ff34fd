//! A disk in memory that forgets in a crash what it did not promise to keep, and fails as often as it is told to.
//!
//! | call | kept in a crash |
//! |---|---|
//! | `create`, `replace`, `rename` | all of it |
//! | `write_at`, then `sync` of the file | all of it; without the sync each sector of 512 bytes is old or new, by chance |
//! | `put`, then `sync` of the path | all of it; without the sync the old file, the new one, or a part of the new one |
//! | `remove` | may be undone, until its folder or something in it is made durable |
//!
//! A write that fails may have written a part. A sync that fails leaves sectors that read as written and that no later sync keeps, as
//! Linux does it.

use super::Random;
use crate::disk::{Disk, DiskFile};
use crate::tiles::Files;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const SECTOR: usize = 512;

/// The disk, or a folder of it.
#[derive(Clone, Debug)]
pub struct Memory {
    state: Arc<Mutex<State>>,
    /// What stands before each path.
    prefix: String,
}

#[derive(Debug)]
struct State {
    random: Random,
    files: BTreeMap<String, Blob>,
    /// What was removed and may come back: the last ones first, as a journal has them in order.
    gone: Vec<(String, Vec<u8>)>,
    /// How many calls of a thousand fail.
    fails: u64,
    /// Calls that are left before the machine dies.
    left: Option<u64>,
    /// Bytes that there is room for.
    room: Option<u64>,
    faults: BTreeMap<&'static str, u64>,
    /// Counts crashes: files that were open before one are not any more.
    life: u64,
}

#[derive(Clone, Debug, Default)]
struct Blob {
    now: Vec<u8>,
    /// What a crash leaves at least; none: nothing.
    durable: Option<Vec<u8>>,
    /// Sectors that a sync would keep.
    dirty: BTreeSet<usize>,
    /// The whole file is new, and a sync would keep it.
    whole: bool,
}

impl Memory {
    /// An empty one.
    pub fn new(seed: u64) -> Self {
        let state = Arc::new(Mutex::new(State {
            random: Random::new(seed),
            files: BTreeMap::new(),
            gone: Vec::new(),
            fails: 0,
            left: None,
            room: None,
            faults: BTreeMap::new(),
            life: 0,
        }));
        Self { state, prefix: String::new() }
    }

    /// A folder of it: the same disk, with the same faults.
    pub fn folder(&self, name: &str) -> Self {
        Self { state: self.state.clone(), prefix: format!("{}{name}/", self.prefix) }
    }

    /// All that is on it, as far as a crash may leave it, with what was removed and may come back.
    pub fn all(&self) -> Vec<(String, Vec<u8>)> {
        let state = self.state();
        let kept = state.files.iter().flat_map(|(path, blob)| {
            let durable = blob.durable.iter().map(|bytes| (path.clone(), bytes.clone()));
            [(path.clone(), blob.now.clone())].into_iter().chain(durable)
        });
        kept.chain(state.gone.iter().cloned()).collect()
    }

    /// Whether the machine died.
    pub fn is_dead(&self) -> bool {
        self.state().is_dead()
    }

    fn path(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So many calls of a thousand fail from here on.
    pub fn fail(&self, of_thousand: u64) {
        self.state().fails = of_thousand;
    }

    /// The machine dies after so many calls.
    pub fn die_after(&self, calls: u64) {
        self.state().left = Some(calls);
    }

    /// From here on nothing fails and nobody dies.
    pub fn mend(&self) {
        let mut state = self.state();
        (state.fails, state.left, state.room) = (0, None, None);
    }

    /// There is room for so many bytes.
    pub fn limit(&self, room: Option<u64>) {
        self.state().room = room;
    }

    /// How many calls of each kind failed.
    pub fn faults(&self) -> BTreeMap<&'static str, u64> {
        self.state().faults.clone()
    }

    /// The power is gone and comes back; what comes after that works.
    pub fn crash(&self) {
        let mut state = self.state();
        state.trace("crash");
        let State { files, gone, random, .. } = &mut *state;
        while let Some((path, bytes)) = gone.pop()
            && random.chance(700)
        {
            files.entry(path).or_insert(Blob { now: bytes.clone(), durable: Some(bytes), ..Blob::default() });
        }
        gone.clear();
        files.retain(|_, blob| {
            let left = blob.crash(random);
            *blob = Blob { now: left.clone().unwrap_or_default(), durable: left, ..Blob::default() };
            blob.durable.is_some()
        });
        (state.fails, state.left, state.room) = (0, None, None);
        state.life += 1;
    }
}

impl Blob {
    fn crash(&self, random: &mut Random) -> Option<Vec<u8>> {
        if self.whole {
            return match random.below(4) {
                0 => self.durable.clone(),
                1 => Some(self.now[..random.below(self.now.len() as u64 + 1) as usize].to_vec()),
                _ => Some(self.now.clone()),
            };
        }
        let mut left = self.durable.clone()?;
        for sector in self.dirty.iter().filter(|_| random.chance(500)) {
            copy_sector(&self.now, &mut left, *sector);
        }
        Some(left)
    }

    fn sync(&mut self) {
        if std::mem::take(&mut self.whole) || self.durable.is_none() {
            self.durable = Some(self.now.clone());
        } else if let Some(durable) = &mut self.durable {
            for sector in &self.dirty {
                copy_sector(&self.now, durable, *sector);
            }
        }
        self.dirty.clear();
    }

    /// A sync failed: what it was to keep is kept by no other.
    fn forget(&mut self) {
        self.dirty.clear();
        if std::mem::take(&mut self.whole) && self.durable.is_none() {
            self.durable = Some(Vec::new());
        }
    }
}

fn copy_sector(from: &[u8], to: &mut Vec<u8>, sector: usize) {
    let at = sector * SECTOR;
    let end = (at + SECTOR).min(from.len());
    if to.len() < end {
        to.resize(end, 0);
    }
    if at < end {
        to[at..end].copy_from_slice(&from[at..end]);
    }
}

impl State {
    /// Whether a call goes on.
    fn ask(&mut self, call: &'static str) -> io::Result<()> {
        if let Some(left) = &mut self.left {
            if *left == 0 {
                return Err(io::Error::other("the machine is dead"));
            }
            *left -= 1;
        }
        if self.random.chance(self.fails) {
            *self.faults.entry(call).or_default() += 1;
            let kinds = [io::ErrorKind::StorageFull, io::ErrorKind::Other, io::ErrorKind::Interrupted];
            return Err(kinds[self.random.below(3) as usize].into());
        }
        Ok(())
    }

    fn is_dead(&self) -> bool {
        self.left == Some(0)
    }

    fn has_room(&self, more: u64) -> io::Result<()> {
        let used: u64 = self.files.values().map(|blob| blob.now.len() as u64).sum();
        match self.room {
            Some(room) if used + more > room => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }

    /// A commit of the journal: what was removed stays removed.
    fn commit(&mut self) {
        self.gone.clear();
    }

    fn trace(&self, words: &str) {
        if std::env::var_os("GLASSGATE_TRACE").is_some() {
            eprintln!("{words}");
        }
    }
}

struct MemoryFile {
    memory: Memory,
    path: String,
    life: u64,
}

impl DiskFile for MemoryFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.memory.state();
        assert_eq!(state.life, self.life, "a file of before the crash is written");
        let done = state.ask("write");
        let written = match &done {
            Ok(()) => bytes.len(),
            Err(_) if state.is_dead() => 0,
            Err(_) => state.random.below(bytes.len() as u64 + 1) as usize,
        };
        let at = offset as usize;
        let Some(blob) = state.files.get_mut(&self.path) else { return done };
        if blob.now.len() < at + written {
            blob.now.resize(at + written, 0);
        }
        blob.now[at..at + written].copy_from_slice(&bytes[..written]);
        if written > 0 {
            blob.dirty.extend(at / SECTOR..=(at + written - 1) / SECTOR);
        }
        done
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.memory.state();
        let done = state.ask("fdatasync");
        state.trace(&format!("fdatasync {} {done:?}", self.path));
        let dead = state.is_dead() && done.is_err();
        if let Some(blob) = state.files.get_mut(&self.path) {
            match &done {
                Ok(()) => blob.sync(),
                Err(_) if dead => {}
                Err(_) => blob.forget(),
            }
        }
        done
    }
}

impl Files for Memory {
    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        let path = &self.path(path);
        let mut state = self.state();
        state.ask("read")?;
        Ok(state.files.get(path).map(|blob| blob.now.clone()))
    }

    fn names(&self, folder: &str) -> io::Result<Vec<String>> {
        let mut state = self.state();
        state.ask("names")?;
        let prefix = if folder.is_empty() { self.prefix.clone() } else { self.path(&format!("{folder}/")) };
        let names: BTreeSet<String> = state
            .files
            .keys()
            .filter_map(|path| path.strip_prefix(&prefix))
            .filter_map(|rest| rest.split('/').next())
            .map(str::to_owned)
            .collect();
        Ok(names.into_iter().collect())
    }
}

impl Disk for Memory {
    fn create(&self, path: &str, len: u64) -> io::Result<Box<dyn DiskFile>> {
        let path = &self.path(path);
        let mut state = self.state();
        let asked = state.ask("create");
        state.trace(&format!("create {path} {asked:?}"));
        asked?;
        state.has_room(len)?;
        if state.files.contains_key(path.as_str()) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let zeros = vec![0; len as usize];
        state
            .files
            .insert(path.to_owned(), Blob { now: zeros.clone(), durable: Some(zeros), ..Blob::default() });
        state.commit();
        let life = state.life;
        Ok(Box::new(MemoryFile { memory: self.clone(), path: path.to_owned(), life }))
    }

    fn open(&self, path: &str) -> io::Result<Box<dyn DiskFile>> {
        let path = &self.path(path);
        let mut state = self.state();
        let asked = state.ask("open");
        state.trace(&format!("open {path} {asked:?}"));
        asked?;
        if !state.files.contains_key(path.as_str()) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let life = state.life;
        Ok(Box::new(MemoryFile { memory: self.clone(), path: path.to_owned(), life }))
    }

    fn put(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let path = &self.path(path);
        let mut state = self.state();
        let asked = state.ask("put");
        state.trace(&format!("put {path} {asked:?}"));
        asked?;
        state.has_room(bytes.len() as u64)?;
        let durable = state.files.get(path).and_then(|blob| blob.durable.clone());
        let blob = Blob { now: bytes.to_owned(), durable, whole: true, ..Blob::default() };
        state.files.insert(path.to_owned(), blob);
        Ok(())
    }

    fn replace(&self, path: &str, bytes: &[u8], _: bool) -> io::Result<()> {
        let path = &self.path(path);
        let mut state = self.state();
        let asked = state.ask("replace");
        state.trace(&format!("replace {path} {asked:?}"));
        asked?;
        state.has_room(bytes.len() as u64)?;
        let blob = Blob { now: bytes.to_owned(), durable: Some(bytes.to_owned()), ..Blob::default() };
        state.files.insert(path.to_owned(), blob);
        state.commit();
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (&self.path(from), &self.path(to));
        let mut state = self.state();
        state.ask("rename")?;
        let moved: Vec<String> = state
            .files
            .keys()
            .filter(|path| *path == from || path.starts_with(&format!("{from}/")))
            .cloned()
            .collect();
        if moved.is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        for path in moved {
            if let Some(blob) = state.files.remove(&path) {
                state.files.insert(path.replacen(from.as_str(), to, 1), blob);
            }
        }
        state.commit();
        Ok(())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let path = &self.path(path);
        let mut state = self.state();
        let asked = state.ask("remove");
        state.trace(&format!("remove {path} {asked:?}"));
        asked?;
        if state.files.keys().any(|other| other.starts_with(&format!("{path}/"))) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        if let Some(durable) = state.files.remove(path).and_then(|blob| blob.durable) {
            state.gone.push((path.to_owned(), durable));
        }
        Ok(())
    }

    fn remove_all(&self, folder: &str) -> io::Result<()> {
        let folder = &self.path(folder);
        let mut state = self.state();
        state.ask("remove")?;
        let below: Vec<String> =
            state.files.keys().filter(|path| path.starts_with(&format!("{folder}/"))).cloned().collect();
        for path in below {
            state.files.remove(&path);
        }
        Ok(())
    }

    fn sync(&self, paths: &[String]) -> io::Result<()> {
        let mut state = self.state();
        let done = state.ask("sync");
        state.trace(&format!("sync {paths:?} {done:?}"));
        let dead = state.is_dead() && done.is_err();
        for path in paths.iter().map(|path| self.path(path)) {
            let fails = done.is_err() && state.random.chance(500);
            if let Some(blob) = state.files.get_mut(&path) {
                match () {
                    () if dead => {}
                    () if fails => blob.forget(),
                    () => blob.sync(),
                }
            }
            if !fails && !dead {
                state.commit();
            }
        }
        done
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        let mut state = self.state();
        let done = state.ask("sync_folder");
        state.trace(&format!("sync_folder {folder} {done:?}"));
        done?;
        state.commit();
        Ok(())
    }

    fn size(&self, path: &str) -> io::Result<Option<u64>> {
        let path = &self.path(path);
        Ok(self.state().files.get(path).map(|blob| blob.now.len() as u64))
    }
}
