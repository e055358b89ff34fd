//! Verifies an audit log offline: every entry, every hash, the signature of the checkpoint, and that it continues what a
//! witness saw.
//!
//! This crate shares no code with the writer, and uses nothing but Ed25519, SHA-256 and a JSON reader. It is short enough to be
//! read in one sitting, and follows C2SP `tlog-tiles`, `tlog-checkpoint`, `signed-note`, `tlog-cosignature` and RFC 6962.
//!
//! ```text
//! checkpoint: origin, size, root  ◄── signed by the log's key
//!      ▲ root
//! tile/2/…  tile/1/…  tile/0/…    hashes, 256 a file, each the hash of a whole file below
//!                        ▲ SHA-256(0x00 ‖ entry)
//! tile/entries/…                  entries, each a JSON object whose `seq` is its place
//! wal/…                           what is durable and in no checkpoint yet: looked at, counted, signed by nobody
//! ```

use ring::{digest, signature};
use serde::Deserialize;
use std::fmt;
use std::io::ErrorKind::{NotADirectory, NotFound};
use std::path::Path;

type Hash = [u8; 32];
type Found<T> = Result<T, Finding>;

/// The first thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file, below the folder of the log.
    pub path: String,
    /// The entry, where it is about one.
    pub entry: Option<u64>,
    /// The byte of the file, where it is about one.
    pub byte: Option<usize>,
    /// What was found and what should be there.
    pub what: String,
    /// Whether the system did not let it be read, so that nothing is known.
    pub unreadable: bool,
}

impl Finding {
    fn new(path: &str, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), entry: None, byte: None, what: what.into(), unreadable: false }
    }
}

/// A finding at an entry, and at a byte of its file.
fn bad<T>(path: &str, entry: Option<u64>, byte: Option<usize>, what: impl Into<String>) -> Found<T> {
    Err(Finding { path: path.to_owned(), entry, byte, what: what.into(), unreadable: false })
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path)?;
        if let Some(byte) = self.byte {
            write!(f, ", byte {byte}")?;
        }
        if let Some(entry) = self.entry {
            write!(f, ", entry {entry}")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// What is held against what.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// The log's public key, `name+id+base64`. Without it the one beside the log is believed.
    pub key: Option<String>,
    /// A checkpoint of this log from elsewhere, as a witness gave it.
    pub witnessed: Option<String>,
    /// The witness's public key; without it only the log's signature on that checkpoint is checked.
    pub witness_key: Option<String>,
}

/// What holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// The log's name.
    pub origin: String,
    /// Entries that the checkpoint signs.
    pub entries: u64,
    /// Those of them that were deleted for space, as records say.
    pub removed: u64,
    /// Losses that the log tells of: records.
    pub gaps: u64,
    /// Entries that are durable in segments behind what the checkpoint signs, and fit: nobody signed them yet.
    pub unsigned: u64,
    /// Bytes behind them that are no whole group: what a crash left, or somebody changed.
    pub torn: usize,
    /// Size of the witnessed checkpoint, and when the witness signed it, in seconds since 1970.
    pub witnessed: Option<(u64, Option<u64>)>,
}

/// Verifies the log in a folder. Gives the first thing that is wrong.
pub fn verify(folder: &Path, question: &Question) -> Found<Verified> {
    let (mut found, mut tries) = (once(folder, question), 0..5);
    // One that is being written moves its files, and goes on while they are read one after the other: what is missing there is missing again.
    while tries.next().is_some() && found.as_ref().is_err_and(|found| found.what.contains("is missing")) {
        let before = std::mem::replace(&mut found, once(folder, question));
        tries.end = if before == found { 0 } else { 5 };
    }
    found
}

fn once(folder: &Path, question: &Question) -> Found<Verified> {
    let beside = text(folder, "key.pub")?;
    let key = Key::parse(question.key.as_deref().or(beside.as_deref()).unwrap_or_default(), 1)
        .ok_or_else(|| Finding::new("key.pub", "no public key; say which with --key"))?;
    if beside.is_some_and(|beside| beside != format!("{}\n", key.text)) {
        return Err(Finding::new("key.pub", "is another key than the one that was asked for"));
    }
    let note = text(folder, "checkpoint")?.ok_or_else(|| Finding::new("checkpoint", "is missing"))?;
    let checkpoint = Checkpoint::open(&note, &key).map_err(|what| Finding::new("checkpoint", what))?;
    let mut verified = Verified { origin: key.name.clone(), entries: checkpoint.size, ..Verified::default() };
    let mut watched = Vec::new();
    if let Some(note) = &question.witnessed {
        let fault = |what: String| Finding::new("witnessed checkpoint", what);
        let seen = Checkpoint::open(note, &key).map_err(fault)?;
        let witness =
            question.witness_key.as_ref().map(|key| Key::parse(key, 4).ok_or("no key of a witness"));
        let time = witness.map(|key| key?.cosigned(note)).transpose().map_err(fault)?;
        if seen.size > checkpoint.size {
            let what = format!("rolled back: {} entries were seen, here are {}", seen.size, checkpoint.size);
            return bad("checkpoint", Some(checkpoint.size), None, what);
        }
        verified.witnessed = Some((seen.size, time));
        watched.push((seen, "witnessed checkpoint"));
    }
    // The one that is met first stands last.
    watched.insert(0, (checkpoint, "checkpoint"));
    Walk { folder, tree: Vec::new(), size: 0, levels: Vec::new(), removed: Vec::new(), gaps: 0, watched }
        .run(&mut verified)?;
    Ok(verified)
}

/// Reads a file; `None` if there is none.
fn bytes(folder: &Path, path: &str) -> Result<Option<Vec<u8>>, Finding> {
    // No file of a log is longer.
    let read = |path: &Path| match std::fs::metadata(path)? {
        meta if meta.is_file() && meta.len() <= 64 << 20 => std::fs::read(path),
        _ => Err(std::io::Error::other("is no file of a log")),
    };
    match read(&folder.join(path)) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if matches!(e.kind(), NotFound | NotADirectory) => Ok(None),
        Err(e) => Err(Finding { unreadable: true, ..Finding::new(path, e.to_string()) }),
    }
}

fn text(folder: &Path, path: &str) -> Found<Option<String>> {
    let bytes = bytes(folder, path)?;
    bytes.map(|b| String::from_utf8(b).map_err(|_| Finding::new(path, "is not UTF-8"))).transpose()
}

fn sha256(parts: &[&[u8]]) -> Hash {
    let mut context = digest::Context::new(&digest::SHA256);
    parts.iter().for_each(|part| context.update(part));
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

fn node(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[1], left, right])
}

/// The tree over whole hashes (RFC 6962, section 2.1).
fn root(hashes: &[Hash]) -> Hash {
    match hashes {
        [] => sha256(&[]),
        [only] => *only,
        _ => {
            let (left, right) = hashes.split_at(hashes.len().next_power_of_two() / 2);
            node(&root(left), &root(right))
        }
    }
}

/// Base64 of RFC 4648, section 4, in its one canonical form.
fn base64(text: &str) -> Option<Vec<u8>> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.trim_end_matches('=');
    let (mut out, mut bits, mut held) = (Vec::new(), 0, 0);
    for c in digits.bytes() {
        let value = DIGITS.iter().position(|digit| *digit == c)?;
        (bits, held) = ((bits << 6) | value, held + 6);
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    // What is left over is no part of any byte, and must say nothing.
    let whole = text.len().is_multiple_of(4) && text.len() - digits.len() == [0, 2, 1][out.len() % 3];
    (whole && bits == 0).then_some(out)
}

/// A public key: of a log (kind 1) or a witness (kind 4).
struct Key {
    text: String,
    name: String,
    id: Vec<u8>,
    public: Vec<u8>,
}

impl Key {
    fn parse(text: &str, kind: u8) -> Option<Self> {
        let text = text.trim();
        let mut parts = text.splitn(3, '+');
        let (name, id, key) = (parts.next()?, parts.next()?, base64(parts.next()?)?);
        let (found, public) = key.split_first()?;
        let hash = sha256(&[name.as_bytes(), b"\n", &key]);
        let hex: String = hash[..4].iter().map(|b| format!("{b:02x}")).collect();
        let good = *found == kind && public.len() == 32 && hex == id && !name.is_empty();
        good.then(|| Self {
            text: text.to_owned(),
            name: name.to_owned(),
            id: hash[..4].to_vec(),
            public: public.to_vec(),
        })
    }

    fn signed(&self, message: &[u8], signature: &[u8]) -> Result<(), String> {
        let key = signature::UnparsedPublicKey::new(&signature::ED25519, &self.public);
        key.verify(message, signature).map_err(|_| format!("the signature of {} is wrong", self.name))
    }

    /// The text of a note and what this key signed it with.
    fn signature<'a>(&self, note: &'a str) -> Result<(&'a str, Vec<u8>), String> {
        let end = note.rfind("\n\n").ok_or("is no signed note")? + 1;
        let (body, lines) = (&note[..end], &note[end + 1..]);
        if !lines.ends_with('\n') || note.chars().any(|c| c < ' ' && c != '\n') {
            return Err("is no signed note".to_owned());
        }
        for line in lines.lines() {
            let parts = line.strip_prefix("— ").and_then(|l| l.split_once(' '));
            let (name, signature) = parts.ok_or("has a line that is no signature")?;
            let signature = base64(signature).ok_or("has a signature that is not base64")?;
            if name == self.name && signature.starts_with(&self.id) {
                return Ok((body, signature[4..].to_vec()));
            }
        }
        Err(format!("is not signed by {}", self.name))
    }

    /// When a witness says it saw a checkpoint (C2SP tlog-cosignature, Ed25519).
    fn cosigned(&self, note: &str) -> Result<u64, String> {
        let (body, signature) = self.signature(note)?;
        let (time, signature) = signature.split_first_chunk::<8>().ok_or("the cosignature is too short")?;
        let time = u64::from_be_bytes(*time);
        self.signed(format!("cosignature/v1\ntime {time}\n{body}").as_bytes(), signature)?;
        Ok(time)
    }
}

struct Checkpoint {
    size: u64,
    root: Hash,
}

impl Checkpoint {
    fn open(note: &str, key: &Key) -> Result<Self, String> {
        let (body, signature) = key.signature(note)?;
        key.signed(body.as_bytes(), &signature)?;
        let lines: Vec<&str> = body.lines().collect();
        let [origin, size, hash, ..] = lines[..] else { return Err("has not three lines".to_owned()) };
        if origin != key.name {
            return Err(format!("is of the log {origin}, not {}", key.name));
        }
        let plain = size == "0" || (!size.starts_with('0') && size.bytes().all(|b| b.is_ascii_digit()));
        let size = size.parse().ok().filter(|_| plain).ok_or("its size is no number")?;
        let root = base64(hash).and_then(|hash| hash.try_into().ok()).ok_or("its root is no hash")?;
        Ok(Self { size, root })
    }
}

/// A checkpoint, and where it comes from.
type Watched = (Checkpoint, &'static str);

/// What is read of an entry.
#[derive(Deserialize)]
struct Entry {
    seq: u64,
    event_type: String,
    to_seq: Option<u64>,
}

/// One pass over the log, from its first entry to its last.
struct Walk<'a> {
    folder: &'a Path,
    /// Roots of the perfect subtrees so far, with their sizes.
    tree: Vec<(u64, Hash)>,
    size: u64,
    /// By level from 1 on: the hashes so far.
    levels: Vec<Vec<Hash>>,
    /// Up to where entries are deleted, as records say.
    removed: Vec<u64>,
    gaps: u64,
    /// Checkpoints that were not reached yet, the next one last.
    watched: Vec<Watched>,
}

impl Walk<'_> {
    fn run(mut self, verified: &mut Verified) -> Found<()> {
        let (size, mut missing, mut above) = (verified.entries, 0, Vec::new());
        for index in 0..size.div_ceil(256) {
            let width = (size - index * 256).min(256) as usize;
            if index % 256 == 0 && index < size >> 8 {
                above = self.tile(1, index / 256, ((size >> 8) - index).min(256) as usize)?;
            }
            let above = above.get((index % 256) as usize).filter(|_| width == 256);
            let (path, first) = (place("entries", index, width), Some(index * 256));
            let bundle = bytes(self.folder, &path)?;
            match (bundle, above) {
                (Some(bundle), _) => {
                    let hashes = self.tile(0, index, width)?;
                    if above.is_some_and(|above| *above != root(&hashes)) {
                        let what = "has not the hash that the tile above has of it";
                        return bad(&place("0", index, width), first, None, what);
                    }
                    self.entries(&path, &bundle, index * 256, &hashes)?;
                }
                // Deleted for space, oldest first: its hash is all that is left of it.
                (None, Some(hash)) if missing == index => {
                    missing += 1;
                    self.push(256, *hash);
                    self.reached()?;
                }
                (None, _) => return bad(&path, first, None, "is missing"),
            }
        }
        self.reached()?;
        self.upper()?;
        // Those records that told of the first of it are among what is deleted.
        let told = self.removed.iter().map(|to| to + 1).max().unwrap_or(0);
        if told < missing * 256 {
            let what = "is missing, and no record says that it was deleted";
            return bad(&place("entries", told / 256, 256), Some(told), None, what);
        }
        (verified.removed, verified.gaps) = (missing * 256, self.gaps);
        verified.torn = self.segments()?;
        verified.unsigned = self.size - size;
        Ok(())
    }

    /// Goes on through the groups of the segments, behind what is signed. Gives the bytes at their end that are no whole group.
    fn segments(&mut self) -> Found<usize> {
        let names = std::fs::read_dir(self.folder.join("wal")).into_iter().flatten().flatten();
        let names = names.filter_map(|entry| entry.file_name().to_str()?.parse::<u64>().ok());
        let names = std::collections::BTreeSet::from_iter(names);
        let (mut segments, mut torn, signed) = (Vec::new(), 0, self.size);
        for path in names.iter().map(|number| format!("wal/{number:08}")) {
            let bytes = bytes(self.folder, &path)?.unwrap_or_default();
            // A header names the first entry; without one nothing was ever written. One that has nothing behind it was given up, and what was promised meanwhile stands before it.
            let holds_any = bytes.iter().skip(64).any(|byte| *byte != 0);
            let first = number(&bytes, 16).filter(|_| holds_any && bytes.starts_with(b"GGAUDIT1"));
            segments.extend(first.map(|first| (path, first, bytes)));
        }
        for (n, (path, first, bytes)) in segments.iter().enumerate() {
            if *first > self.size {
                return bad(path, Some(self.size), None, "begins later: what is between is missing");
            }
            // What one has from where the next begins was never promised.
            let end = segments.get(n + 1).map_or(u64::MAX, |(_, first, _)| *first);
            let mut at = 64;
            while let Some((first, root, body)) = group(bytes, at).filter(|group| group.0 < end) {
                if first >= signed && (first != self.size || !self.grow(path, body, root)?) {
                    break;
                }
                at += 56 + body.len();
            }
            torn = bytes.iter().skip(at).rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        }
        Ok(torn)
    }

    /// Takes a group, if its entries have the root that it claims.
    fn grow(&mut self, path: &str, body: &[u8], root: Hash) -> Found<bool> {
        let (tree, size, mut at) = (self.tree.clone(), self.size, 0);
        while let Some(entry) = entry_at(body, at) {
            self.push(1, sha256(&[&[0], entry]));
            at += 2 + entry.len();
        }
        if self.root() != root || at != body.len() {
            (self.tree, self.size) = (tree, size);
            return Ok(false);
        }
        at = 0;
        for seq in size..self.size {
            let entry = entry_at(body, at).unwrap_or_default();
            self.entry(entry, seq).or_else(|what| bad(path, Some(seq), None, what))?;
            at += 2 + entry.len();
        }
        Ok(true)
    }

    fn root(&self) -> Hash {
        let mut edge = self.tree.iter().rev().map(|(_, hash)| *hash);
        let last = edge.next().unwrap_or_else(|| root(&[]));
        edge.fold(last, |right, left| node(&left, &right))
    }

    /// Holds the entries of a bundle against the hashes of its tile.
    fn entries(&mut self, path: &str, bundle: &[u8], first: u64, hashes: &[Hash]) -> Found<()> {
        let mut at = 0;
        for (seq, expected) in (first..).zip(hashes) {
            let (here, byte) = (Some(seq), Some(at));
            let Some(entry) = entry_at(bundle, at) else {
                return bad(path, here, byte, "the entry is cut off");
            };
            if sha256(&[&[0], entry]) != *expected {
                return bad(path, here, byte, "the entry has not the hash of its tile");
            }
            self.entry(entry, seq).or_else(|what| bad(path, here, byte, what))?;
            at += 2 + entry.len();
            self.push(1, *expected);
            self.reached()?;
        }
        let all = at == bundle.len();
        if all { Ok(()) } else { bad(path, None, Some(at), "has more entries than the checkpoint signs") }
    }

    /// Holds the root so far against the checkpoints of this size.
    fn reached(&mut self) -> Found<()> {
        while let Some((checkpoint, name)) = self.watched.pop_if(|(watched, _)| watched.size <= self.size) {
            if checkpoint.size < self.size {
                return bad(name, None, None, "is of entries that were deleted since, and can't be compared");
            }
            if self.root() != checkpoint.root {
                let what = format!("the first {} entries are not those that it was signed for", self.size);
                return bad(name, Some(self.size), None, what);
            }
        }
        Ok(())
    }

    fn push(&mut self, mut size: u64, mut hash: Hash) {
        self.size += size;
        self.perfect(size, hash);
        while let Some((_, left)) = self.tree.pop_if(|(left, _)| *left == size) {
            hash = node(&left, &hash);
            size *= 2;
            self.perfect(size, hash);
        }
        self.tree.push((size, hash));
    }

    /// Keeps the roots that stand in tiles of a level above the first.
    fn perfect(&mut self, size: u64, hash: Hash) {
        let height = size.trailing_zeros() as usize;
        if height > 0 && height.is_multiple_of(8) {
            self.levels.resize_with(self.levels.len().max(height / 8), Vec::new);
            self.levels[height / 8 - 1].push(hash);
        }
    }

    /// Holds the tiles above the first level against what is below them.
    fn upper(&self) -> Found<()> {
        for (level, hashes) in (1u8..).zip(&self.levels) {
            for (index, expected) in (0u64..).zip(hashes.chunks(256)) {
                let found = self.tile(level, index, expected.len())?;
                if let Some(n) = found.iter().zip(expected).position(|(found, expected)| found != expected) {
                    let path = place(&level.to_string(), index, expected.len());
                    return bad(&path, None, Some(n * 32), "has not the hash of the tile below");
                }
            }
        }
        Ok(())
    }

    /// The hashes of a tile, which is as wide as it must be.
    fn tile(&self, level: u8, index: u64, width: usize) -> Found<Vec<Hash>> {
        let path = place(&level.to_string(), index, width);
        let entry = (level == 0).then_some(index * 256);
        let Some(bytes) = bytes(self.folder, &path)? else { return bad(&path, entry, None, "is missing") };
        match bytes.as_chunks::<32>() {
            (hashes, []) if hashes.len() == width => Ok(hashes.to_vec()),
            _ => bad(&path, entry, Some(bytes.len()), format!("has not {width} hashes")),
        }
    }

    fn entry(&mut self, entry: &[u8], seq: u64) -> Result<(), String> {
        let read: Entry = serde_json::from_slice(entry).map_err(|e| format!("is no record: {e}"))?;
        if read.seq != seq {
            return Err(format!("the record has the number {}", read.seq));
        }
        self.gaps += u64::from(read.event_type == "gap");
        if read.event_type == "removed" {
            self.removed.extend(read.to_seq);
        }
        Ok(())
    }
}

/// Where a tile or a bundle lies.
fn place(level: &str, index: u64, width: usize) -> String {
    let (mut path, mut rest) = (format!("{:03}", index % 1000), index / 1000);
    while rest > 0 {
        path = format!("x{:03}/{path}", rest % 1000);
        rest /= 1000;
    }
    let partial = if width < 256 { format!(".p/{width}") } else { String::new() };
    format!("tile/{level}/{path}{partial}")
}

/// The entry that begins at a byte of a bundle.
fn entry_at(bundle: &[u8], at: usize) -> Option<&[u8]> {
    let (len, rest) = bundle.get(at..)?.split_first_chunk::<2>()?;
    rest.get(..usize::from(u16::from_be_bytes(*len)))
}

fn number(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// A group in a segment: magic, length, first entry, how many, root after it; then the entries.
fn group(bytes: &[u8], at: usize) -> Option<(u64, Hash, &[u8])> {
    let header = bytes.get(at..at + 56).filter(|header| header.starts_with(b"RPGG"))?;
    let len = usize::try_from(number(header, 0)? >> 32).ok()?;
    Some((number(header, 8)?, header[24..56].try_into().ok()?, bytes.get(at + 56..at + 56 + len)?))
}
