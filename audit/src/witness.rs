//! Witnesses (C2SP `tlog-witness`): somebody else who remembers how far a log was, and signs nothing that does not continue it.
//!
//! ```text
//! POST /add-checkpoint        old 12
//!                             <consistency proof, one hash a line>
//!
//!                             <signed checkpoint>
//! 200 its cosignature         409 the size that it remembers         403, 404, 422 not from here on
//! ```
//!
//! Whoever holds the last cosigned checkpoint sees when entries before it were changed, or when the log ends before it.

use crate::checkpoint::{Checkpoint, CheckpointError, decimal};
use crate::disk::Disk;
use crate::merkle::{Hash, MAX_PROOF, consistency_proof, digest_of, verify_consistency};
use crate::note::{KeyError, Kind, MAX_NOTE, Note, NoteError, Signer, Verifier, parse_signatures};
use crate::tiles::{Files, TileError, Tiles};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::rand::{SecureRandom as _, SystemRandom};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Longest request that is read.
pub const MAX_REQUEST: usize = MAX_NOTE + 8192;

/// What a log asks of a witness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Size that the witness is believed to remember.
    pub old: u64,
    /// That the checkpoint continues it.
    pub proof: Vec<Hash>,
    /// The signed checkpoint.
    pub checkpoint: String,
}

impl Request {
    /// For a checkpoint of the log whose tiles are in `files`.
    pub fn make(files: &(impl Files + ?Sized), old: u64, checkpoint: &str) -> Result<Self, RequestError> {
        let size = Checkpoint::parse(checkpoint)?.size;
        if old > size {
            return Err(RequestError::Ahead { old, size });
        }
        let proof = consistency_proof(&Tiles(files), old, size)?;
        Ok(Self { old, proof, checkpoint: checkpoint.to_owned() })
    }

    /// The body of the POST.
    pub fn text(&self) -> String {
        let proof: String = self.proof.iter().map(|hash| BASE64.encode(hash) + "\n").collect();
        format!("old {}\n{proof}\n{}", self.old, self.checkpoint)
    }

    /// Reads a body; its form alone.
    pub fn parse(body: &str) -> Option<Self> {
        let (head, checkpoint) = body.split_once("\n\n")?;
        let mut lines = head.split('\n');
        let old = decimal(lines.next()?.strip_prefix("old ")?)?;
        let proof: Option<Vec<Hash>> = lines.map(|line| BASE64.decode(line).ok()?.try_into().ok()).collect();
        let proof = proof.filter(|proof| proof.len() <= MAX_PROOF)?;
        Some(Self { old, proof, checkpoint: checkpoint.to_owned() })
    }
}

/// Why a witness can't be asked.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The checkpoint is none.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Tiles are missing.
    #[error(transparent)]
    Tile(#[from] TileError),
    /// The witness remembers more than there is: this log was rolled back, or is another.
    #[error("the witness saw {old} entries of this log, and there are {size}: entries were cut off")]
    Ahead {
        /// What the witness says.
        old: u64,
        /// What there is.
        size: u64,
    },
}

/// Adds the cosignature of a witness that answered with `lines` to a checkpoint. Gives the note and the time in it.
pub fn cosigned(checkpoint: &str, lines: &str, witness: &Verifier) -> Result<(String, u64), NoteError> {
    parse_signatures(lines)?;
    for line in lines.split_inclusive('\n') {
        let note = format!("{checkpoint}{line}");
        match witness.verify(&Note::parse(&note)?) {
            Ok(Some(time)) => return Ok((note, time)),
            Ok(None) | Err(NoteError::Unsigned { .. }) => {}
            Err(wrong) => return Err(wrong),
        }
    }
    Err(NoteError::Unsigned { name: "of the witness" })
}

/// What a witness answers: an HTTP status and a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// 200, 400, 403, 404, 409, 422 or 500.
    pub status: u16,
    /// `text/x.tlog.size` where the body is a size.
    pub content_type: &'static str,
    /// Cosignatures, a size, or what is wrong.
    pub body: String,
}

impl Answer {
    fn new(status: u16, body: impl Into<String>) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", body: body.into() }
    }

    fn conflict(size: u64) -> Self {
        Self { content_type: "text/x.tlog.size", ..Self::new(409, format!("{size}\n")) }
    }
}

/// The private key of a witness, in its folder, for its owner alone.
pub const KEY: &str = "key";
/// The public one beside it.
pub const PUBLIC_KEY: &str = "key.pub";

/// Why a witness has no key.
#[derive(Debug, thiserror::Error)]
pub enum OwnKeyError {
    /// The file can't be read or written.
    #[error("the key of the witness: {0}")]
    Io(#[from] io::Error),
    /// What is in the file is no private key.
    #[error("the key of the witness can't be read: {0}")]
    File(KeyError),
    /// It is a log's.
    #[error("the key is not one of a witness")]
    Kind,
    /// No key can have this name.
    #[error("{0}")]
    Name(KeyError),
    /// No random numbers.
    #[error("there is no random number")]
    Random,
}

/// The key of the witness of a folder; it is made, durably and with this name, if there is none. One that is there keeps its name.
pub fn own_key(disk: &dyn Disk, name: &str) -> Result<Signer, OwnKeyError> {
    if let Some(text) = disk.read(KEY)? {
        let key = Signer::parse(&String::from_utf8_lossy(&text)).map_err(OwnKeyError::File)?;
        return if key.verifier().kind() == Kind::Cosignature { Ok(key) } else { Err(OwnKeyError::Kind) };
    }
    let mut seed = [0; 32];
    SystemRandom::new().fill(&mut seed).map_err(|_| OwnKeyError::Random)?;
    let key = Signer::from_seed(name, Kind::Cosignature, seed).map_err(OwnKeyError::Name)?;
    disk.replace(KEY, format!("{}\n", key.to_secret_text()).as_bytes(), true)?;
    disk.replace(PUBLIC_KEY, format!("{}\n", key.verifier()).as_bytes(), false)?;
    Ok(key)
}

/// Holds the folder of a witness for as long as the file lives: two of the same memory would sign two pasts. Fails if somebody has it.
pub fn lock(folder: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(folder.join("lock"))?;
    file.try_lock()?;
    Ok(file)
}

/// A witness: its key, the logs it knows, and what it remembers of each in a folder.
pub struct Witness {
    disk: Arc<dyn Disk>,
    key: Signer,
    logs: BTreeMap<String, Known>,
}

struct Known {
    key: Verifier,
    file: String,
    last: Option<Checkpoint>,
}

/// Why a witness can't begin.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// Its memory of a log can't be read.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// Its memory of a log is not what it wrote. It must not begin anew by itself: it would sign another past.
    #[error(
        "{path} is not what this witness wrote: {source}; if it is lost, delete it and tell who relies on this witness"
    )]
    Memory {
        /// Which file.
        path: String,
        /// What is wrong.
        source: CheckpointError,
    },
}

impl Witness {
    /// A witness for the logs of these keys.
    pub fn open(disk: Arc<dyn Disk>, key: Signer, logs: Vec<Verifier>) -> Result<Self, WitnessError> {
        let mut known = BTreeMap::new();
        for log in logs {
            let hash: String =
                digest_of(&[log.name().as_bytes()]).iter().take(8).map(|b| format!("{b:02x}")).collect();
            let file = format!("{hash}.checkpoint");
            let fault = |source| WitnessError::Io { path: file.clone(), source };
            let last = match disk.read(&file).map_err(fault)? {
                Some(bytes) => {
                    let last = Checkpoint::open(&String::from_utf8_lossy(&bytes), &log);
                    Some(last.map_err(|source| WitnessError::Memory { path: file.clone(), source })?)
                }
                None => None,
            };
            known.insert(log.name().to_owned(), Known { key: log, file, last });
        }
        Ok(Self { disk, key, logs: known })
    }

    /// The witness's public key.
    pub const fn key(&self) -> &Verifier {
        self.key.verifier()
    }

    /// Size of the last checkpoint of each log, by its name.
    pub fn sizes(&self) -> impl Iterator<Item = (&str, u64)> {
        self.logs.iter().map(|(name, known)| (name.as_str(), known.last.as_ref().map_or(0, |last| last.size)))
    }

    /// Answers `POST /add-checkpoint`. What is signed is remembered before the answer is given. `now` is in seconds since 1970.
    pub fn add_checkpoint(&mut self, body: &str, now: u64) -> Answer {
        let Some(request) = Request::parse(body) else {
            return Answer::new(400, "not an add-checkpoint request\n");
        };
        let Ok(claimed) = Checkpoint::parse(&request.checkpoint) else {
            return Answer::new(400, "not a checkpoint\n");
        };
        let Some(known) = self.logs.get_mut(&claimed.origin) else {
            return Answer::new(404, "no log of this name is known here\n");
        };
        let checkpoint = match Checkpoint::open(&request.checkpoint, &known.key) {
            Ok(checkpoint) => checkpoint,
            Err(CheckpointError::Note(NoteError::Form) | CheckpointError::Form) => {
                return Answer::new(400, "not a signed note\n");
            }
            Err(e) => return Answer::new(403, format!("{e}\n")),
        };
        if request.old > checkpoint.size {
            return Answer::new(400, "the old size is greater than the new one\n");
        }
        let last = known.last.as_ref().map_or(0, |last| last.size);
        if request.old != last {
            return Answer::conflict(last);
        }
        if let Some(before) = &known.last {
            if before.size == checkpoint.size && before.root != checkpoint.root {
                return Answer::conflict(last);
            }
            let (old, new) = (before, &checkpoint);
            if !verify_consistency(old.size, &old.root, new.size, &new.root, &request.proof) {
                return Answer::new(
                    422,
                    "the proof does not show that the checkpoint continues the last one\n",
                );
            }
        } else if !request.proof.is_empty() {
            return Answer::new(422, "there is nothing to prove yet\n");
        }
        let Ok(note) = Note::parse(&request.checkpoint) else {
            return Answer::new(400, "not a signed note\n");
        };
        let line = self.key.sign(note.text, now);
        let kept = format!("{}{line}", request.checkpoint);
        if let Err(e) = self.disk.replace(&known.file, kept.as_bytes(), false) {
            return Answer::new(500, format!("{} can't be kept: {e}\n", known.file));
        }
        known.last = Some(checkpoint);
        Answer::new(200, line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Folder;
    use crate::merkle::{leaf_hash, root_of};
    use crate::testing::Faulty;
    use crate::tiles::{encode_hashes, partial_path, tile_path};

    struct Scene {
        _dir: tempfile::TempDir,
        log: Signer,
        leaves: Vec<Hash>,
        tiles: Folder,
        memory: Faulty,
    }

    impl Scene {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let log = Signer::from_seed("example.com/log", Kind::Ed25519, [1; 32]).unwrap();
            let leaves: Vec<Hash> = (0..200u64).map(|n| leaf_hash(&n.to_be_bytes())).collect();
            let tiles = Folder::open(&dir.path().join("log")).unwrap();
            tiles.put(&partial_path(&tile_path(0, 0), 200), &encode_hashes(&leaves)).unwrap();
            let memory = Faulty::new(&dir.path().join("witness"));
            Self { _dir: dir, log, leaves, tiles, memory }
        }

        fn witness(&self) -> Witness {
            let key = Signer::from_seed("example.org/w", Kind::Cosignature, [2; 32]).unwrap();
            Witness::open(Arc::new(self.memory.clone()), key, vec![self.log.verifier().clone()]).unwrap()
        }

        fn note(&self, size: u64) -> String {
            let root = root_of(&self.leaves[..size as usize]);
            Checkpoint { origin: "example.com/log".to_owned(), size, root }.sign(&self.log)
        }

        fn request(&self, old: u64, new: u64) -> String {
            Request::make(&self.tiles, old, &self.note(new)).unwrap().text()
        }
    }

    #[test]
    fn a_log_that_grows_is_cosigned_also_by_a_witness_that_started_again() {
        let scene = Scene::new();
        for (old, new) in [(0, 3), (3, 3), (3, 77), (77, 200)] {
            let mut witness = scene.witness();
            let answer = witness.add_checkpoint(&scene.request(old, new), 99);
            assert_eq!(answer.status, 200, "{old} {new}: {}", answer.body);
            let (note, time) = cosigned(&scene.note(new), &answer.body, witness.key()).unwrap();
            assert_eq!(time, 99);
            assert!(Checkpoint::open(&note, scene.log.verifier()).is_ok());
            assert_eq!(witness.sizes().collect::<Vec<_>>(), [("example.com/log", new)]);
        }
    }

    #[test]
    fn each_refusal_has_the_status_of_the_specification() {
        let scene = Scene::new();
        let mut witness = scene.witness();
        let mut ask = |body: &str| {
            let answer = witness.add_checkpoint(body, 1);
            (answer.status, answer.body)
        };
        assert_eq!(ask(&scene.request(0, 50)).0, 200);
        assert_eq!(ask("hello").0, 400);
        assert_eq!(ask(&scene.request(0, 60)), (409, "50\n".to_owned()));
        assert_eq!(ask(&scene.request(20, 60)), (409, "50\n".to_owned()));
        // A log that was rolled back can't even ask rightly.
        assert!(matches!(Request::make(&scene.tiles, 50, &scene.note(40)), Err(RequestError::Ahead { .. })));
        let back = Request { old: 50, proof: Vec::new(), checkpoint: scene.note(40) }.text();
        assert_eq!(ask(&back).0, 400);
        // Another past.
        let mut other = Scene::new();
        other.leaves[7] = [7; 32];
        other.tiles.put("tile/0/000.p/200", &encode_hashes(&other.leaves)).unwrap();
        assert_eq!(ask(&other.request(50, 60)).0, 422);
        assert_eq!(ask(&other.request(50, 50)), (409, "50\n".to_owned()));
        let unknown = scene.request(50, 60).replace("example.com", "example.net");
        assert_eq!(ask(&unknown).0, 404);
        let forged = scene.request(50, 60).replace("\n60\n", "\n61\n");
        assert_eq!(ask(&forged).0, 403);
        assert_eq!(ask(&scene.request(50, 60)).0, 200);
    }

    #[test]
    fn its_key_is_made_once_and_its_folder_is_held_by_one() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let first = own_key(&folder, "w.example").unwrap();
        assert_eq!(own_key(&folder, "other").unwrap().verifier(), first.verifier());
        assert_eq!(folder.read(PUBLIC_KEY).unwrap().unwrap(), format!("{}\n", first.verifier()).as_bytes());
        let other = Folder::open(&dir.path().join("b")).unwrap();
        assert!(matches!(own_key(&other, "a b"), Err(OwnKeyError::Name(_))));
        let log = Signer::from_seed("l", Kind::Ed25519, [1; 32]).unwrap();
        other.replace(KEY, log.to_secret_text().as_bytes(), true).unwrap();
        assert!(matches!(own_key(&other, "w"), Err(OwnKeyError::Kind)));
        let held = lock(dir.path()).unwrap();
        assert!(lock(dir.path()).is_err());
        drop(held);
        assert!(lock(dir.path()).is_ok());
    }

    #[test]
    fn what_can_not_be_remembered_is_not_signed() {
        let scene = Scene::new();
        let mut witness = scene.witness();
        scene.memory.plan(|call, _| (call == "replace").then(crate::testing::no_space));
        assert_eq!(witness.add_checkpoint(&scene.request(0, 50), 1).status, 500);
        scene.memory.plan(|_, _| None);
        assert_eq!(witness.add_checkpoint(&scene.request(0, 40), 1).status, 200);
        let file = scene.memory.names("").unwrap().remove(0);
        scene.memory.replace(&file, b"nonsense", false).unwrap();
        let key = Signer::from_seed("w", Kind::Cosignature, [2; 32]).unwrap();
        let again = Witness::open(Arc::new(scene.memory.clone()), key, vec![scene.log.verifier().clone()]);
        assert!(matches!(again, Err(WitnessError::Memory { .. })));
    }
}
