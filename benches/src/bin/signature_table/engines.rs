//! The ways to look names up. Each is written as well as it can be with its crate: what is listed is found on label
//! boundaries, the longest suffix wins, an exact entry beats a suffix entry of the same length. An answer is the number of
//! a class, 1 to 4, or 0.

use super::names::{self, Entry};
use aho_corasick::{AhoCorasick, AhoCorasickKind, Anchored, Input, MatchKind, StartKind};
use glassgate_policy::compile::{KeyChoice, Options, compile};
use glassgate_policy::pack::{self, Info};
use glassgate_policy::source::Source;
use glassgate_policy::table::BATCH;
use glassgate_policy::{Name, SignatureTable};
use hashbrown::HashMap;
use ring::signature::Ed25519KeyPair;

/// A way to look names up.
pub(crate) trait Engine {
    fn name(&self) -> &'static str;
    /// Bytes that it keeps.
    fn bytes(&self) -> usize;
    /// Answers all questions.
    fn pass(&self, questions: &[Name], out: &mut [u32]);
}

fn class_of(i: usize) -> u32 {
    (i % 4) as u32 + 1
}

/// Our own table.
pub(crate) struct Glassgate(SignatureTable);

impl Glassgate {
    pub(crate) fn build(list: &[Entry]) -> Box<dyn Engine> {
        let source = Source::parse("bench", names::source(list).as_bytes()).expect("a good source");
        let options = Options { key: KeyChoice::Fixed([7; 16]), ..Options::default() };
        let compiled = compile(&[source], &options).expect("a table");
        Box::new(Self(SignatureTable::from_bytes(&compiled.bytes).expect("a good table")))
    }
}

/// Compiles a source into a signed pack.
pub(crate) fn compile_pack(source: &Source) -> (Vec<u8>, Ed25519KeyPair) {
    let compiled = compile(std::slice::from_ref(source), &Options::default()).expect("a table");
    let table = SignatureTable::map(std::sync::Arc::new(compiled.bytes)).expect("a good table");
    let key = Ed25519KeyPair::from_seed_unchecked(&[1; 32]).expect("a key");
    let mut bytes = pack::build(&table, &Info::default());
    pack::sign(&mut bytes, &key).expect("a pack");
    (bytes, key)
}

impl Engine for Glassgate {
    fn name(&self) -> &'static str {
        "glassgate"
    }

    fn bytes(&self) -> usize {
        self.0.bytes().len()
    }

    fn pass(&self, questions: &[Name], out: &mut [u32]) {
        let mut found = [None; BATCH];
        for (names, out) in questions.chunks(BATCH).zip(out.chunks_mut(BATCH)) {
            let mut refs = [&names[0]; BATCH];
            refs.iter_mut().zip(names).for_each(|(to, from)| *to = from);
            self.0.lookup_batch(&refs[..names.len()], &mut found);
            for (out, found) in out.iter_mut().zip(&found) {
                *out = found.map_or(0, |m| m.service.0);
            }
        }
    }
}

/// A hash map from names, asked for every suffix, longest first.
struct Hashbrown {
    map: HashMap<Box<[u8]>, [u32; 2]>,
    text: usize,
}

pub(crate) fn hashbrown(list: &[Entry]) -> Box<dyn Engine> {
    let mut map: HashMap<Box<[u8]>, [u32; 2]> = HashMap::with_capacity(list.len());
    for (i, entry) in list.iter().enumerate() {
        let slot = map.entry(entry.name.as_bytes().into()).or_default();
        slot[usize::from(entry.is_exact)] = class_of(i);
    }
    // What malloc takes for a text: eight bytes more, in steps of sixteen, 32 at least.
    let text = list.iter().map(|e| (e.name.len() + 8).next_multiple_of(16).max(32)).sum();
    Box::new(Hashbrown { map, text })
}

impl Engine for Hashbrown {
    fn name(&self) -> &'static str {
        "hashbrown"
    }

    fn bytes(&self) -> usize {
        self.map.allocation_size() + self.text
    }

    fn pass(&self, questions: &[Name], out: &mut [u32]) {
        for (name, out) in questions.iter().zip(out) {
            let whole = name.as_bytes();
            let mut rest = whole;
            *out = loop {
                if let Some([suffix, exact]) = self.map.get(rest) {
                    if *exact != 0 && rest.len() == whole.len() {
                        break *exact;
                    }
                    if *suffix != 0 {
                        break *suffix;
                    }
                }
                match memchr::memchr(b'.', rest) {
                    Some(dot) => rest = &rest[dot + 1..],
                    None => break 0,
                }
            };
        }
    }
}

/// The name from its end, with a dot behind each label, and a zero behind that: `moc.elpmaxe.\0`.
fn reversed(name: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.extend(name.iter().rev());
    out.extend_from_slice(b".\0");
}

/// What is listed, reversed: a suffix ends with its dot, an exact name with the zero.
fn keys(list: &[Entry]) -> Vec<(Vec<u8>, u32)> {
    let key = |(i, entry): (usize, &Entry)| {
        let mut key = Vec::new();
        reversed(entry.name.as_bytes(), &mut key);
        if !entry.is_exact {
            key.pop();
        }
        (key, class_of(i))
    };
    list.iter().enumerate().map(key).collect()
}

/// A transducer, walked along the reversed name.
struct Fst(fst::raw::Fst<Vec<u8>>);

pub(crate) fn fst(list: &[Entry]) -> Box<dyn Engine> {
    let mut keys = keys(list);
    keys.sort();
    let keys = keys.into_iter().map(|(key, class)| (key, u64::from(class)));
    let map = fst::Map::from_iter(keys).expect("sorted keys");
    Box::new(Fst(map.into_fst()))
}

impl Engine for Fst {
    fn name(&self) -> &'static str {
        "fst"
    }

    fn bytes(&self) -> usize {
        self.0.as_bytes().len()
    }

    fn pass(&self, questions: &[Name], out: &mut [u32]) {
        let mut key = Vec::with_capacity(256);
        for (name, out) in questions.iter().zip(out) {
            reversed(name.as_bytes(), &mut key);
            let mut node = self.0.root();
            let (mut sum, mut best) = (0, 0);
            for byte in &key {
                let Some(at) = node.find_input(*byte) else { break };
                let step = node.transition(at);
                sum += step.out.value();
                node = self.0.node(step.addr);
                if node.is_final() {
                    best = sum + node.final_output().value();
                }
            }
            *out = best as u32;
        }
    }
}

/// An automaton of all names at once, run over the reversed name.
struct Automaton {
    automaton: AhoCorasick,
    classes: Vec<u32>,
}

pub(crate) fn aho_corasick(list: &[Entry]) -> Box<dyn Engine> {
    let (keys, classes): (Vec<_>, Vec<_>) = keys(list).into_iter().unzip();
    let automaton = AhoCorasick::builder()
        .kind(Some(AhoCorasickKind::ContiguousNFA))
        .start_kind(StartKind::Anchored)
        .match_kind(MatchKind::LeftmostLongest)
        .build(&keys)
        .expect("an automaton");
    Box::new(Automaton { automaton, classes })
}

impl Engine for Automaton {
    fn name(&self) -> &'static str {
        "aho-corasick"
    }

    fn bytes(&self) -> usize {
        self.automaton.memory_usage() + self.classes.len() * 4
    }

    fn pass(&self, questions: &[Name], out: &mut [u32]) {
        let mut key = Vec::with_capacity(256);
        for (name, out) in questions.iter().zip(out) {
            reversed(name.as_bytes(), &mut key);
            let found = self.automaton.find(Input::new(&key).anchored(Anchored::Yes));
            *out = found.map_or(0, |m| self.classes[m.pattern().as_usize()]);
        }
    }
}
