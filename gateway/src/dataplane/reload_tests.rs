//! A thousand policies, swapped under a running lcore: no frame is lost, nothing is decided by a mix of two, and
//! nothing of the old ones is left.

use super::lcore_loop::{Behind, LcoreLoop, Secrets, Verdicts};
use super::policy_slot::PolicySlot;
use crate::config::Dataplane;
use glassgate_dataplane::classifier::Policy;
use glassgate_dataplane::event_ring::{Consumer, EventRing};
use glassgate_dataplane::limiter::Limiters;
use glassgate_dataplane::port::memory::{MemoryPort, Pool, pair};
use glassgate_dataplane::stats_page::{Reading, StatsPage, hash_words};
use glassgate_policy::compile::{self, KeyChoice, compile};
use glassgate_policy::matrix::Column;
use glassgate_policy::source::Source;
use glassgate_policy::{
    Action, Category, FlowEvent, GroupId, ObservationLevel, ServiceId, SignatureTable, Verdict, VerdictMatrix,
};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

#[path = "../../tests/processes/frames.rs"]
mod frames;
use frames::Flow;

/// Nothing that is waited for takes longer.
const LIMIT: Duration = Duration::from_secs(30);
const HOSTS: [&str; 4] = ["www.play.example", "www.song.example", "www.job.example", "www.other.example"];

/// One of two policies that contradict each other: their tables number the services differently, and what one blocks
/// the other lets pass.
struct Side {
    table: Vec<u8>,
    blocks: [Category; 2],
    /// Has a column of its own.
    single: &'static str,
}

impl Side {
    fn both() -> [Self; 2] {
        let side = |services: &[(&str, &str, &str)], blocks, single| {
            let mut text = String::from("service\tcategory\ttitle\tregion\n");
            let mut names = String::from(
                "name\tscope\tservice\tcategory\trole\ttier\tsource\tlicence\tadded\texpires\tnote\n",
            );
            for (service, category, name) in services {
                text += &format!("{service}\t{category}\t{service}\tworld\n");
                names +=
                    &format!("{name}\tsuffix\t{service}\t{category}\tsite\tstrong\tme\tMIT\t2026-01-01\n");
            }
            let sources =
                [("s", text), ("n", names)].map(|(path, text)| Source::parse(path, text.as_bytes()).unwrap());
            let options = compile::Options { key: KeyChoice::FromContent, ..compile::Options::default() };
            Self {
                table: compile(&sources, &options).unwrap_or_else(|e| panic!("{e}")).bytes,
                blocks,
                single,
            }
        };
        let (play, song, job) = ("play.example", "song.example", "job.example");
        [
            side(
                &[("a-play", "games", play), ("b-song", "music", song), ("c-job", "recruitment", job)],
                [Category::Games, Category::Unknown],
                "b-song",
            ),
            side(
                &[
                    ("a-other", "news", "elsewhere.example"),
                    ("d-job", "recruitment", job),
                    ("e-song", "music", song),
                    ("f-play", "games", play),
                ],
                [Category::Music, Category::Recruitment],
                "f-play",
            ),
        ]
    }

    fn matrix(&self, table: &SignatureTable, epoch: u64) -> VerdictMatrix {
        let single = table.service_named(self.single).unwrap();
        VerdictMatrix::new(epoch, u64::MAX, 1, &[single], |_, column| {
            let category = match column {
                Column::Category(category) => category,
                Column::Service(service) => table.service(service).unwrap().category,
            };
            let action = if self.blocks.contains(&category) { Action::Block } else { Action::Allow };
            Verdict { action, level: ObservationLevel::Aggregate }
        })
    }

    /// A policy whose memory nobody else uses.
    fn verdicts(&self, epoch: u64) -> Verdicts {
        let table = SignatureTable::from_bytes(&self.table).unwrap();
        let matrix = self.matrix(&table, epoch);
        let hash = matrix.hash();
        Verdicts { policy: Policy { table: Arc::new(table), matrix: Arc::new(matrix) }, hash }
    }
}

/// Looks at every event whether all of it is of the policy whose epoch it carries.
struct Judge {
    sides: [(SignatureTable, VerdictMatrix); 2],
    events: u64,
    blocked: u64,
    /// Events of each side.
    by_side: [u64; 2],
}

impl Judge {
    fn look(&mut self, event: &FlowEvent) {
        let side = usize::from(event.epoch % 2);
        let (table, matrix) = &self.sides[side];
        let says = matrix.verdict(GroupId(0), event.category, event.service, 0);
        assert_eq!((event.action, event.level), (says.action, says.level), "a mix: {event:?}");
        if event.service != ServiceId::NONE {
            assert_eq!(
                table.service(event.service).map(|s| s.category),
                Some(event.category),
                "a mix: {event:?}"
            );
        }
        self.events += 1;
        self.by_side[side] += 1;
        self.blocked += u64::from(event.action == Action::Block);
    }
}

/// Hosts on both sides of the bridge.
struct World {
    pool: Pool,
    lan: MemoryPort,
    uplink: MemoryPort,
    port: u16,
    sent: u64,
    received: u64,
    consumer: Consumer,
    judge: Judge,
}

impl World {
    /// Sends the frames of one flow to each host; takes what has arrived.
    fn flows(&mut self) {
        for host in HOSTS {
            self.port = if self.port == u16::MAX { 1024 } else { self.port + 1 };
            for (up, bytes) in closing(Flow::new(self.port).http(host)) {
                let start = Instant::now();
                let mut frame = loop {
                    match self.pool.frame(&bytes) {
                        Some(frame) => break frame,
                        None => self.take(),
                    }
                    assert!(start.elapsed() < LIMIT, "frames do not come back");
                };
                loop {
                    let port = if up { &mut self.lan } else { &mut self.uplink };
                    match port.send(frame) {
                        Ok(()) => break,
                        Err(back) => frame = back,
                    }
                    self.take();
                }
                self.sent += 1;
            }
        }
        self.take();
    }

    fn take(&mut self) {
        for port in [&mut self.lan, &mut self.uplink] {
            self.received += std::iter::from_fn(|| port.receive()).count() as u64;
        }
        while self.consumer.drain(1024, |event| self.judge.look(&event)) > 0 {}
    }

    fn until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let start = Instant::now();
        while !done(self) {
            assert!(start.elapsed() < LIMIT, "waited in vain until {what}");
            self.take();
            std::thread::yield_now();
        }
    }
}

/// The same exchange, and both sides say that it is over: the flow ends soon, and its 5-tuple can be used again.
fn closing(mut frames: Vec<(bool, Vec<u8>)>) -> Vec<(bool, Vec<u8>)> {
    const FLAGS: usize = 14 + 20 + 13;
    const CHECKSUM: usize = 14 + 20 + 16;
    let fin = |frame: &mut Vec<u8>| {
        frame[FLAGS] |= 1;
        // RFC 1624: one more in the sum is one less in its complement.
        let sum = u16::from_be_bytes([frame[CHECKSUM], frame[CHECKSUM + 1]]);
        let sum = if sum == 0 { 0xfffe } else { sum - 1 };
        frame[CHECKSUM..CHECKSUM + 2].copy_from_slice(&sum.to_be_bytes());
    };
    let mut last = frames[2].clone();
    fin(&mut frames[4].1);
    fin(&mut last.1);
    frames.push(last);
    frames
}

/// Swaps `reloads` policies, one every `pace`, under load.
fn reload(reloads: u64, pace: Duration) {
    let sides = Side::both();
    let first = sides[0].verdicts(0);
    let (ring, page) = (EventRing::create("ring", 1 << 16).unwrap(), StatsPage::create("page").unwrap());
    let settings = Dataplane {
        lcores: vec![0],
        flows: 1 << 17,
        inspections: 1024,
        event_ring: 1 << 16,
        huge_pages: false,
        memory_mib: 64,
        idle_sleep: Duration::from_micros(20),
    };
    let ((lan, inner_lan), (uplink, inner_uplink)) = (pair(256), pair(256));
    let looker = [0u64, 1].map(|epoch| {
        let table = SignatureTable::from_bytes(&sides[epoch as usize].table).unwrap();
        let matrix = sides[epoch as usize].matrix(&table, epoch);
        (table, matrix)
    });
    let mut world = World {
        pool: Pool::new(1024, 256),
        lan,
        uplink,
        port: 1024,
        sent: 0,
        received: 0,
        consumer: ring.consumer(),
        judge: Judge { sides: looker, events: 0, blocked: 0, by_side: [0; 2] },
    };
    let lcore = LcoreLoop::new(
        [inner_lan, inner_uplink],
        ring.producer(),
        page.writer(),
        &settings,
        &first,
        Secrets {
            own: [1, 2, 3, 4],
            limiters: Limiters::default(),
            shown: glassgate_dataplane::notice::Shown::default(),
        },
    );
    let (slot, stop) = (PolicySlot::new(first), AtomicBool::new(false));
    let mut old: Vec<(Weak<SignatureTable>, Weak<VerdictMatrix>)> = Vec::new();
    let (mut slowest, mut level, mut after) = (Duration::ZERO, 0, 0);
    std::thread::scope(|scope| {
        let lcore = scope.spawn(|| lcore.run(&slot, &stop, Behind::Port));
        if !pace.is_zero() {
            // Every client port once: from here on no table takes memory that it did not touch before.
            (0..usize::from(u16::MAX) / HOSTS.len()).for_each(|_| world.flows());
            level = resident_kib();
        }
        for epoch in 1..=reloads {
            let due = Instant::now() + pace;
            world.flows();
            let verdicts = sides[(epoch % 2) as usize].verdicts(epoch);
            let hash = hash_words(&verdicts.hash);
            old.push((Arc::downgrade(&verdicts.policy.table), Arc::downgrade(&verdicts.policy.matrix)));
            let published = Instant::now();
            slot.publish(verdicts);
            // Frames of all kinds are on their way while the lcore turns to it.
            world.flows();
            world.until("the lcore acknowledges it", |_| page.read().state.matrix_hash == hash);
            slowest = slowest.max(published.elapsed());
            while Instant::now() < due {
                world.flows();
                std::thread::sleep(
                    Duration::from_millis(5).min(due.saturating_duration_since(Instant::now())),
                );
            }
        }
        let dropped = |read: &Reading| read.counters.drop_policy.iter().sum::<u64>();
        world.until("every frame has arrived or was blocked", |w| {
            let read = page.read();
            w.received + dropped(&read) == w.sent + read.counters.answers.iter().sum::<u64>()
        });
        after = resident_kib();
        stop.store(true, Ordering::Relaxed);
        _ = lcore.join().unwrap();
    });
    world.take();
    let counters = page.read().counters;
    let lost: u64 = [counters.drop_tx_full, counters.rx_missed].iter().flatten().sum();
    assert_eq!((lost, ring.watch().lost_total()), (0, 0), "no frame and no event is lost");
    assert!(world.judge.by_side.iter().all(|n| *n > reloads), "{:?}", world.judge.by_side);
    assert!(world.judge.blocked > reloads && counters.flows_redecided[0] > 0);
    // One more, so that the one before can go; then of all of them this one is left.
    slot.publish(sides[0].verdicts(0));
    let alive = old.iter().filter(|(table, matrix)| table.strong_count() + matrix.strong_count() > 0).count();
    assert_eq!(alive, 0, "policies that are still in memory");
    println!(
        "{reloads} reloads, {} frames, {} events, {} decided again, slowest acknowledgement {slowest:?}, memory {level} KiB before, {after} KiB after",
        world.sent, world.judge.events, counters.flows_redecided[0]
    );
    assert!(pace.is_zero() || after < level + 4096, "memory is not back at its level");
}

/// Memory of this process that is in use.
fn resident_kib() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).map_or(0, |pages| pages * 4)
}

#[test]
fn a_thousand_reloads_lose_nothing_and_mix_nothing() {
    reload(1000, Duration::ZERO);
}

/// `cargo test -p glassgate ten_minutes -- --ignored --nocapture`; with `GLASSGATE_RELOADS=50` in half a minute.
#[test]
#[ignore = "takes ten minutes"]
fn a_thousand_reloads_in_ten_minutes() {
    let reloads = std::env::var("GLASSGATE_RELOADS").map_or(1000, |n| n.parse().unwrap());
    reload(reloads, Duration::from_millis(600));
}
