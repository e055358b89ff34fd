//! The fuzz targets on the stable toolchain: every file of the committed corpora, then mutations of them for as many
//! seconds as `GLASSGATE_FUZZ_SECONDS` says (default 1). A failure prints the input in hex; put it into the corpus.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

/// Xorshift64*: the order of inputs is the same in every run; how far it gets depends on the machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() >> 33) as usize % n.max(1)
    }
}

fn mutate(random: &mut Random, seeds: &[Vec<u8>]) -> Vec<u8> {
    const INTERESTING: [u8; 12] = [0, 1, 2, 3, 5, 0x16, 0x20, 0x40, 0x7f, 0x80, 0xc0, 0xff];
    let mut out = seeds[random.below(seeds.len())].clone();
    for _ in 0..1 + random.below(4) {
        let at = random.below(out.len() + 1);
        match random.below(7) {
            0 if at < out.len() => out[at] ^= 1 << random.below(8),
            1 if at < out.len() => out[at] = INTERESTING[random.below(INTERESTING.len())],
            2 if at < out.len() => out[at] = random.next() as u8,
            3 => out.truncate(at),
            4 => out.insert(at, random.next() as u8),
            5 => {
                let other = &seeds[random.below(seeds.len())];
                let (from, len) = (random.below(other.len() + 1), random.below(64));
                let piece = other.iter().skip(from).take(len).copied().collect::<Vec<u8>>();
                out.splice(at..at, piece);
            }
            _ => {
                let end = at + random.below(out.len() - at + 1).min(32);
                out.drain(at..end);
            }
        }
        out.truncate(64 * 1024);
    }
    out
}

fn replay(name: &str) {
    let target = glassgate_fuzz::TARGETS.iter().find(|t| t.0 == name).expect("a target of this name").1;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let mut paths: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .map(|entry| entry.expect("a readable folder").path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} has no seeds", folder.display());
    let seeds: Vec<Vec<u8>> = paths.iter().map(|p| std::fs::read(p).expect("a readable seed")).collect();
    let seconds = std::env::var("GLASSGATE_FUZZ_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    let until = Instant::now() + Duration::from_secs(seconds);
    let (mut random, mut runs) = (Random(0x9e37_79b9_7f4a_7c15), 0u64);
    let run = |input: &[u8]| {
        if catch_unwind(AssertUnwindSafe(|| target(input))).is_err() {
            let hex: String = input.iter().map(|b| format!("{b:02x}")).collect();
            panic!("target {name} fails on {hex}");
        }
    };
    seeds.iter().for_each(|seed| run(seed));
    while Instant::now() < until {
        for _ in 0..64 {
            run(&mutate(&mut random, &seeds));
            runs += 1;
        }
    }
    println!("{name}: {} seeds, {runs} mutations", seeds.len());
}

macro_rules! targets {
    ($($name:ident),+) => {
        $(#[test] fn $name() { replay(stringify!($name)); })+

        #[test]
        fn every_target_is_replayed() {
            let here = [$(stringify!($name)),+];
            assert!(glassgate_fuzz::TARGETS.iter().map(|t| t.0).eq(here));
        }
    };
}

targets!(frame, path, tls, quic, http, dns, starttls, defrag, capture, assembler, policy);
