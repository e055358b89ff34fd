//! Whole lives of a log, by a seed: records, time, a disk that fails, power cuts at any call, processes that are killed, and what must be true all the same.
//!
//! The writer has no thread and no clock, and knows the disk by a trait only, so a seed is a run that comes out the same each time.
//! What must be true:
//!
//! * A log opens again, whatever happened, without anybody's help, and is never taken for damaged.
//! * What was acknowledged is there, under the number that was told, as it was handed over; but for what a durable `removed` record tells of.
//! * Nothing is there twice, nothing that nobody handed over, and no two records have one number.
//! * Of a run that ends in order on a disk that works: `offered = durable + counted as missing`, exactly.
//! * All hashes, the root and the signature hold.
//!
//! `cargo test -p glassgate-audit --lib simulation` runs 200 seeds; `GLASSGATE_SEEDS=100000` as many as it says, and `GLASSGATE_SEED=17` that one;
//! with `GLASSGATE_TRACE=1` each call of the disk is told.

use crate::Options;
use crate::checkpoint::Checkpoint;
use crate::disk::Disk;
use crate::leaf::{self, Stamp};
use crate::log::Waiter;
use crate::merkle::{leaf_hash, root_of};
use crate::note::Verifier;
use crate::open::{self, Begun};
use crate::simulated::{Memory, Random};
use crate::tiles::{self, bundle_path, entries, read_tile};
use crate::writer::{Entry, Losses, SyncJob, Writer};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What is known of a log by who used it.
#[derive(Default)]
struct Known {
    /// The number of the next record.
    next: u64,
    /// Number in the log, by record, of what was acknowledged.
    acknowledged: BTreeMap<u64, u64>,
    /// What was ever handed over.
    offered: BTreeSet<u64>,
}

/// What runs have shown.
#[derive(Debug, Default)]
struct Tally {
    lives: u64,
    crashes: u64,
    kills: u64,
    clean: u64,
    records: u64,
    acknowledged: u64,
    missing: u64,
    removed: u64,
    faults: BTreeMap<&'static str, u64>,
}

struct Run {
    seed: u64,
    random: Random,
    memory: Memory,
    options: Options,
    now: Stamp,
    known: Known,
    /// The first record that this life of the log was offered.
    begun: u64,
    tally: Tally,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let memory = Memory::new(random.next());
        let options = Options {
            segment_bytes: 256 << 10,
            reserve_bytes: 256 << 10,
            quota_bytes: (9 + random.below(8)) * (256 << 10),
            queue_bytes: 32 << 10 << random.below(6),
            origin: Some("simulated".to_owned()),
            ..Options::new("")
        };
        let now = Stamp { mono_ns: 1, wall: None, quality: "unknown" };
        Self {
            seed,
            random,
            memory,
            options,
            now,
            known: Known::default(),
            begun: 0,
            tally: Tally::default(),
        }
    }

    fn lives(mut self) -> Tally {
        for _ in 0..1 + self.random.below(6) {
            self.life();
        }
        self.last_life();
        for (call, n) in self.memory.faults() {
            *self.tally.faults.entry(call).or_default() += n;
        }
        self.tally
    }

    /// Opens it. Faults may stop that, but only for as long as there are any.
    fn open(&mut self) -> Writer {
        let disk: Arc<dyn Disk> = Arc::new(self.memory.clone());
        if self.random.chance(200) {
            self.memory.fail(self.random.below(200));
            if self.random.chance(500) {
                self.memory.die_after(self.random.below(40));
            }
            let tried = open::begin(disk.clone(), &self.options, 7, &self.now);
            if let Ok(Begun { recovered, .. }) = tried {
                assert_eq!(recovered.damaged, None, "seed {}", self.seed);
            }
            self.memory.crash();
        }
        let Begun { writer, recovered, .. } = open::begin(disk, &self.options, 7, &self.now)
            .unwrap_or_else(|e| panic!("seed {}: it does not open: {e}", self.seed));
        assert_eq!(recovered.damaged, None, "seed {}: taken for damaged", self.seed);
        self.tally.lives += 1;
        self.begun = self.known.next;
        writer
    }

    /// A life that ends in a crash, or in order.
    fn life(&mut self) {
        let mut writer = self.open();
        if self.random.chance(400) {
            self.memory.die_after(self.random.below(400));
        }
        let (mut waiting, mut job) = (Vec::new(), None);
        let steps = 1 + self.random.below(120);
        for _ in 0..steps {
            if self.random.chance(60) {
                let of_thousand = if self.random.chance(500) { 0 } else { self.random.below(600) };
                self.memory.fail(of_thousand);
            }
            if self.random.chance(20) {
                let room = if self.random.chance(400) { None } else { Some(self.random.below(3 << 20)) };
                self.memory.limit(room);
            }
            self.step(&mut writer, &mut waiting, &mut job);
        }
        if self.random.chance(300) {
            let job = job.take();
            self.settle(&mut writer, job);
            writer.close(&self.now);
            writer.resolve();
            self.hear(&mut waiting);
            self.tally.clean += 1;
            // What is closed may lose its power all the same.
        }
        drop(writer);
        // A process that is killed leaves in memory what it did not sync, where the next one reads it.
        if !self.memory.is_dead() && self.random.chance(400) {
            self.memory.mend();
            self.tally.kills += 1;
            return;
        }
        self.memory.crash();
        self.tally.crashes += 1;
    }

    /// One more on a disk that works, at the end of which all must add up.
    fn last_life(&mut self) {
        let mut writer = self.open();
        let first = self.known.next;
        let (mut waiting, mut job) = (Vec::new(), None);
        for _ in 0..1 + self.random.below(20) {
            self.step(&mut writer, &mut waiting, &mut job);
        }
        self.now.mono_ns += 120_000_000_000;
        let job = job.take();
        self.settle(&mut writer, job);
        writer.close(&self.now);
        writer.resolve();
        self.hear(&mut waiting);
        let lost = writer.status().lost;
        drop(writer);
        self.verify(first, lost);
    }

    /// Takes some records, or lets time pass, as the thread of a log would.
    fn step(
        &mut self,
        writer: &mut Writer,
        waiting: &mut Vec<(u64, Arc<Waiter>)>,
        job: &mut Option<SyncJob>,
    ) {
        self.now.mono_ns += match self.random.below(10) {
            0 => 61_000_000_000,
            1..=3 => 1_100_000_000,
            _ => 20_000_000,
        };
        // A sync takes its time, and others write meanwhile.
        if job.is_some() && self.random.chance(500) {
            let taken = job.take();
            self.settle(writer, taken);
        }
        let (mut batch, mut act) = (Vec::new(), false);
        let most = if self.random.chance(30) { 900 } else { 40 };
        for _ in 0..self.random.below(most) {
            let (is_act, waits) = (self.random.chance(30), self.random.chance(200));
            let id = self.known.next;
            self.known.next += 1;
            self.known.offered.insert(id);
            self.tally.records += 1;
            let longest = if self.random.chance(10) { 3000 } else { 300 };
            let fill = "x".repeat(self.random.below(longest) as usize);
            let body = format!(r#"{{"event_type":"rollup","id":{id},"fill":"{fill}"}}"#);
            let rest = leaf::stamped(&self.now, body.as_bytes()).unwrap();
            let waiter = (is_act || waits).then(Arc::<Waiter>::default);
            waiting.extend(waiter.iter().map(|waiter| (id, waiter.clone())));
            act |= is_act;
            batch.push(Entry { rest, act: is_act, waiter });
        }
        writer.commit(batch, Losses::default(), &self.now);
        let broken = writer.broken(self.known.next - self.begun);
        assert_eq!(broken, None, "seed {}", self.seed);
        if act || writer.checkpoint_due(&self.now) {
            writer.checkpoint(&self.now);
        }
        writer.resolve();
        self.hear(waiting);
        if job.is_none() {
            *job = writer.sync_job(&self.now);
        }
    }

    fn settle(&mut self, writer: &mut Writer, job: Option<SyncJob>) {
        if let Some(job) = job {
            let result = self.memory.sync(&job.paths);
            writer.synced(job, result, &self.now);
        }
    }

    /// Takes what was answered.
    fn hear(&mut self, waiting: &mut Vec<(u64, Arc<Waiter>)>) {
        waiting.retain(|(id, waiter)| match waiter.outcome() {
            Some(Ok(seq)) => {
                self.known.acknowledged.insert(*id, seq);
                self.tally.acknowledged += 1;
                false
            }
            Some(Err(_)) => false,
            None => true,
        });
    }

    /// Reads all of it, as a verifier would, and holds it against what is known.
    fn verify(&mut self, first_of_life: u64, lost: u64) {
        let seed = self.seed;
        let files = &self.memory;
        let read = |path: &str| {
            let bytes = crate::tiles::Files::read(files, path).unwrap();
            String::from_utf8(bytes.unwrap_or_else(|| panic!("seed {seed}: {path} is gone"))).unwrap()
        };
        let checkpoint =
            Checkpoint::open(&read("checkpoint"), &Verifier::parse(&read("key.pub")).unwrap()).unwrap();
        let (mut leaves, mut there, mut counted) = (Vec::new(), BTreeMap::new(), 0);
        let mut removed = 0;
        let mut oldest = None;
        for index in 0..checkpoint.size.div_ceil(256) {
            let width = (checkpoint.size - index * 256).min(256) as usize;
            let Ok(bundle) = read_tile(files, &bundle_path(index), width) else {
                assert_eq!(oldest, None, "seed {seed}: bundle {index} is gone, with older ones there");
                continue;
            };
            let hashes = tiles::read_hashes(files, 0, index, width)
                .unwrap_or_else(|e| panic!("seed {seed}: hashes of bundle {index}: {e}"));
            oldest.get_or_insert(index * 256);
            for (at, entry) in entries(&bundle).take(width).enumerate() {
                let entry = entry.unwrap();
                assert_eq!(leaf_hash(entry), hashes[at], "seed {seed}: bundle {index}");
                let value: serde_json::Value = serde_json::from_slice(entry).unwrap();
                let seq = index * 256 + at as u64;
                assert_eq!(value["seq"], seq, "seed {seed}");
                match value["event_type"].as_str() {
                    Some("rollup") => {
                        let id = value["id"].as_u64().unwrap();
                        assert!(self.known.offered.contains(&id), "seed {seed}: {id} was never handed over");
                        assert_eq!(there.insert(id, seq), None, "seed {seed}: record {id} is there twice");
                    }
                    Some("gap") => counted += value["records"].as_u64().unwrap_or_default(),
                    Some("removed") => removed = removed.max(value["to_seq"].as_u64().unwrap() + 1),
                    other => assert!(other.is_some(), "seed {seed}"),
                }
            }
            leaves.extend(hashes);
        }
        let oldest = oldest.unwrap_or(checkpoint.size);
        if oldest == 0 {
            assert_eq!(root_of(&leaves), checkpoint.root, "seed {seed}");
        }
        assert!(oldest <= removed, "seed {seed}: entries before {oldest} are gone, the log says {removed}");
        for (id, seq) in &self.known.acknowledged {
            assert!(
                *seq < oldest || there.get(id) == Some(seq),
                "seed {seed}: record {id} was acknowledged as {seq} and is {:?}",
                there.get(id)
            );
        }
        let durable = there.keys().filter(|id| **id >= first_of_life).count() as u64;
        let offered = self.known.next - first_of_life;
        // What this life offered can't be old enough to be removed by it, unless it was large.
        if oldest == 0 {
            assert_eq!(offered, durable + lost, "seed {seed}: offered = durable + lost");
            assert!(counted >= lost, "seed {seed}: {lost} lost, the log tells of {counted}");
        }
        self.tally.missing += counted;
        self.tally.removed += oldest;
    }
}

/// Adds one to the other.
fn add(sum: &mut Tally, one: Tally) {
    sum.lives += one.lives;
    sum.crashes += one.crashes;
    sum.kills += one.kills;
    sum.clean += one.clean;
    sum.records += one.records;
    sum.acknowledged += one.acknowledged;
    sum.missing += one.missing;
    sum.removed += one.removed;
    for (call, n) in one.faults {
        *sum.faults.entry(call).or_default() += n;
    }
}

#[test]
fn seeds() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match (number("GLASSGATE_SEED"), number("GLASSGATE_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, many) => 0..many.unwrap_or(200),
    };
    let all = seeds.end - seeds.start;
    let mut sum = Tally::default();
    for seed in seeds {
        let run = std::panic::catch_unwind(|| Run::new(seed).lives());
        match run {
            Ok(one) => add(&mut sum, one),
            Err(why) => {
                eprintln!(
                    "replay it with GLASSGATE_SEED={seed} cargo test -p glassgate-audit --lib simulation"
                );
                std::panic::resume_unwind(why);
            }
        }
    }
    println!("figure: {all} seeds: {sum:?}");
    if all >= 200 {
        for call in ["create", "write", "fdatasync", "put", "replace", "remove", "sync", "read"] {
            assert!(sum.faults.get(call).is_some_and(|n| *n > 0), "no `{call}` ever failed: {sum:?}");
        }
        assert!(sum.acknowledged > 0 && sum.missing > 0 && sum.removed > 0 && sum.clean > 0, "{sum:?}");
        assert!(sum.kills > 0, "{sum:?}");
    }
}
