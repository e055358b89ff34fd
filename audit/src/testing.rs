//! For tests: a disk that fails on demand, and a check of a whole log by its definition.

use crate::checkpoint::Checkpoint;
use crate::disk::{Disk, DiskFile, Folder};
use crate::merkle::{leaf_hash, root_of};
use crate::note::Verifier;
use crate::tiles::{self, Files, bundle_path, entries, read_tile};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// Says of a call and a path whether it fails.
pub(crate) type Plan = Box<dyn FnMut(&'static str, &str) -> Option<io::Error> + Send>;

/// A folder whose calls fail as a plan says.
#[derive(Clone)]
pub(crate) struct Faulty {
    folder: Folder,
    plan: Arc<Mutex<Plan>>,
}

impl Faulty {
    pub(crate) fn new(root: &Path) -> Self {
        Self { folder: Folder::open(root).unwrap(), plan: Arc::new(Mutex::new(Box::new(|_, _| None))) }
    }

    pub(crate) fn plan(&self, plan: impl FnMut(&'static str, &str) -> Option<io::Error> + Send + 'static) {
        *self.plan.lock().unwrap() = Box::new(plan);
    }

    fn ask(&self, call: &'static str, path: &str) -> io::Result<()> {
        (self.plan.lock().unwrap())(call, path).map_or(Ok(()), Err)
    }
}

pub(crate) fn no_space() -> io::Error {
    io::ErrorKind::StorageFull.into()
}

struct FaultyFile {
    disk: Faulty,
    path: String,
    file: Box<dyn DiskFile>,
}

impl DiskFile for FaultyFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk.ask("write", &self.path)?;
        self.file.write_at(offset, bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.disk.ask("fdatasync", &self.path)?;
        self.file.sync()
    }
}

impl Files for Faulty {
    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        self.ask("read", path)?;
        self.folder.read(path)
    }

    fn names(&self, folder: &str) -> io::Result<Vec<String>> {
        self.folder.names(folder)
    }
}

impl Disk for Faulty {
    fn create(&self, path: &str, len: u64) -> io::Result<Box<dyn DiskFile>> {
        self.ask("create", path)?;
        Ok(Box::new(FaultyFile {
            disk: self.clone(),
            path: path.to_owned(),
            file: self.folder.create(path, len)?,
        }))
    }

    fn open(&self, path: &str) -> io::Result<Box<dyn DiskFile>> {
        self.ask("open", path)?;
        Ok(Box::new(FaultyFile { disk: self.clone(), path: path.to_owned(), file: self.folder.open(path)? }))
    }

    fn put(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.ask("put", path)?;
        self.folder.put(path, bytes)
    }

    fn replace(&self, path: &str, bytes: &[u8], secret: bool) -> io::Result<()> {
        self.ask("replace", path)?;
        self.folder.replace(path, bytes, secret)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.ask("rename", from)?;
        self.folder.rename(from, to)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.ask("remove", path)?;
        self.folder.remove(path)
    }

    fn remove_all(&self, folder: &str) -> io::Result<()> {
        self.ask("remove", folder)?;
        self.folder.remove_all(folder)
    }

    fn sync(&self, paths: &[String]) -> io::Result<()> {
        self.ask("sync", "")?;
        self.folder.sync(paths)
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        self.ask("sync_folder", folder)?;
        self.folder.sync_folder(folder)
    }

    fn size(&self, path: &str) -> io::Result<Option<u64>> {
        self.folder.size(path)
    }
}

/// All entries of the newest checkpoint, with every hash checked against the definition of the tree.
pub(crate) fn verified(root: &Path) -> Vec<serde_json::Value> {
    let files = Folder::read_only(root);
    let key = std::fs::read_to_string(root.join("key.pub")).unwrap();
    let note = std::fs::read_to_string(root.join("checkpoint")).unwrap();
    let checkpoint = Checkpoint::open(&note, &Verifier::parse(&key).unwrap()).unwrap();
    let (mut leaves, mut said) = (Vec::new(), Vec::new());
    for index in 0..checkpoint.size.div_ceil(256) {
        let width = (checkpoint.size - index * 256).min(256) as usize;
        let bundle = read_tile(&files, &bundle_path(index), width).unwrap();
        for entry in entries(&bundle).take(width) {
            leaves.push(leaf_hash(entry.unwrap()));
            let value: serde_json::Value = serde_json::from_slice(entry.unwrap()).unwrap();
            assert_eq!(value["seq"], said.len());
            said.push(value);
        }
        let hashes = tiles::read_hashes(&files, 0, index, width).unwrap();
        assert_eq!(hashes, leaves[index as usize * 256..]);
    }
    assert_eq!(root_of(&leaves), checkpoint.root);
    said
}
