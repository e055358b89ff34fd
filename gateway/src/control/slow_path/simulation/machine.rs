//! A machine in memory: clocks that somebody turns, a disk that fails, a log without a thread, and a ledger of what that was given.

use crate::control::log::stamp;
use crate::control::machine::{Machine, Records, Shown};
use glassgate_audit::disk::Disk;
use glassgate_audit::simulated::{Driven, Memory, Promise, Random, entries};
use glassgate_audit::tiles::Files as _;
use glassgate_audit::{ActError, OpenError, Options, Recovered, Stamp, Status};
use glassgate_policy::audit::{BootId, Now, WallQuality};
use glassgate_sealed::view::Look;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// A record: the boot that it was offered in, and its place in time there, which no two share.
type Place = (u128, u64);

/// Records that wait for a disk: the rest finds no room.
const QUEUE_BYTES: usize = 48 << 10;
/// The wall clock at the beginning of a run: a Monday morning of the charter.
const BEGAN: i64 = 1_803_866_400;

/// The machine.
pub(super) struct Simulated {
    pub(super) disk: Memory,
    state: Mutex<State>,
}

struct State {
    random: Random,
    clocks: Clocks,
    boot: u128,
    log: Option<Driven>,
    waiting_bytes: usize,
    /// What the log gave up in all, when it was closed in order.
    closed_lost: u64,
    /// Acts of a thousand that the disk does not answer in time.
    slow: u64,
    ledger: Ledger,
}

/// What the clocks show.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clocks {
    /// Since the boot.
    pub(super) mono_ns: u64,
    /// Since the run began, really.
    pub(super) true_ns: u64,
    /// How far the wall clock is off.
    pub(super) off_by_s: i64,
    pub(super) has_wall: bool,
    pub(super) quality: WallQuality,
}

/// What the log was given, and what it promised.
#[derive(Default)]
pub(super) struct Ledger {
    at_ns: u64,
    offered: BTreeMap<Place, Value>,
    /// Those of this life, in order.
    pub(super) life: Vec<Place>,
    waiting: Vec<(Place, Promise)>,
    acknowledged: BTreeMap<Place, u64>,
}

impl Clocks {
    pub(super) fn now(&self) -> Now {
        let since =
            SignedDuration::from_nanos(self.true_ns as i64) + SignedDuration::from_secs(self.off_by_s);
        let wall = Timestamp::from_second(BEGAN).unwrap().checked_add(since).ok();
        Now { mono_ns: self.mono_ns, wall: wall.filter(|_| self.has_wall), quality: self.quality }
    }
}

impl Simulated {
    pub(super) fn new(random: &mut Random) -> Self {
        let clocks = Clocks {
            mono_ns: 20_000_000_000,
            true_ns: 0,
            off_by_s: 0,
            has_wall: true,
            quality: WallQuality::Synchronized,
        };
        let state = State {
            random: Random::new(random.next()),
            clocks,
            boot: 1,
            log: None,
            waiting_bytes: 0,
            closed_lost: 0,
            slow: 0,
            ledger: Ledger::default(),
        };
        Self { disk: Memory::new(random.next()), state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(super) fn clocks(&self) -> Clocks {
        self.state().clocks
    }

    pub(super) fn turn_clocks(&self, turn: impl FnOnce(&mut Clocks)) {
        turn(&mut self.state().clocks);
    }

    /// Time passes.
    pub(super) fn pass(&self, ns: u64) {
        self.state().pass(ns);
    }

    /// So many acts of a thousand are not answered in time from here on.
    pub(super) fn slow(&self, of_thousand: u64) {
        self.state().slow = of_thousand;
    }

    /// One turn of the thread that a log has.
    pub(super) fn log_turn(&self, settle: bool) {
        let state = &mut *self.state();
        state.turn();
        let at = stamp(&state.clocks.now());
        if settle && let Some(log) = &mut state.log {
            log.settle(&at);
        }
    }

    /// The process is gone, and what waited in it.
    pub(super) fn gone(&self) {
        let state = &mut *self.state();
        state.ledger.hear();
        (state.log, state.waiting_bytes) = (None, 0);
        state.ledger.begin();
    }

    /// The power comes back after a while.
    pub(super) fn cut(&self, off_ns: u64) {
        self.gone();
        self.disk.crash();
        let state = &mut *self.state();
        state.boot += 1;
        state.clocks.true_ns += off_ns;
        state.clocks.mono_ns = 0;
        // Even, as all steps of the clock: odd is what the ledger makes of it.
        let boot_ns = 10_000_000_000 + 2 * state.random.below(30_000_000_000);
        state.pass(boot_ns);
    }

    pub(super) fn boot(&self) -> BootId {
        BootId(self.state().boot)
    }

    /// All that is on record, in order.
    pub(super) fn lines(&self) -> Vec<(u64, Value)> {
        let lines = entries(&self.disk.folder("box/audit")).unwrap();
        lines.into_iter().map(|(seq, line)| (seq, serde_json::from_slice(&line).unwrap())).collect()
    }

    /// What was given to the log in this life, durable or not.
    pub(super) fn offered_in_life(&self) -> Vec<Value> {
        let ledger = &self.state().ledger;
        ledger.life.iter().map(|place| ledger.offered[place].clone()).collect()
    }

    /// All that was acknowledged is there, where it was said to be; nothing is there twice, and nothing that nobody offered.
    pub(super) fn verify(&self, lines: &[(u64, Value)]) {
        let ledger = &self.state().ledger;
        let there = ledger.there(lines);
        for (place, seq) in &ledger.acknowledged {
            assert_eq!(there.get(place), Some(seq), "acknowledged: {}", ledger.offered[place]);
        }
    }

    /// Of a life that ended in order, on a disk that works: `offered = durable + lost`.
    pub(super) fn balance(&self, lines: &[(u64, Value)]) {
        let State { ledger, closed_lost: lost, .. } = &*self.state();
        let there = ledger.there(lines);
        let durable = ledger.life.iter().filter(|place| there.contains_key(place)).count() as u64;
        assert_eq!(ledger.life.len() as u64, durable + *lost, "records offered = durable + lost");
    }
}

impl State {
    fn pass(&mut self, ns: u64) {
        self.clocks.mono_ns += ns;
        self.clocks.true_ns += ns;
    }

    fn turn(&mut self) {
        let at = stamp(&self.clocks.now());
        if let Some(log) = &mut self.log {
            log.turn(&at);
        }
        self.waiting_bytes = 0;
        self.ledger.hear();
    }
}

impl Ledger {
    fn begin(&mut self) {
        (self.life, self.waiting) = (Vec::new(), Vec::new());
    }

    /// Records have odd places; those of the log's own have even ones.
    fn offer(&mut self, boot: u128, at: &Stamp, body: &[u8]) -> (Place, Stamp) {
        self.at_ns = (self.at_ns + 1).max(at.mono_ns) | 1;
        let place = (boot, self.at_ns);
        self.offered.insert(place, serde_json::from_slice(body).unwrap());
        self.life.push(place);
        (place, Stamp { mono_ns: self.at_ns, ..*at })
    }

    fn hear(&mut self) {
        let acknowledged = &mut self.acknowledged;
        self.waiting.retain(|(place, promise)| match promise.outcome() {
            Some(Ok(seq)) => {
                acknowledged.insert(*place, seq);
                false
            }
            Some(Err(_)) => false,
            None => true,
        });
    }

    fn there(&self, lines: &[(u64, Value)]) -> BTreeMap<Place, u64> {
        let mut there = BTreeMap::new();
        for (seq, value) in lines {
            let boot = u128::from_str_radix(value["boot_id"].as_str().unwrap(), 16).unwrap();
            let place = (boot, value["mono_ns"].as_u64().unwrap());
            if place.1.is_multiple_of(2) {
                continue;
            }
            let said = self.offered.get(&place).unwrap_or_else(|| panic!("nobody offered {value}"));
            for (name, of) in said.as_object().unwrap() {
                assert_eq!(value[name], *of, "{name} of record {seq}");
            }
            assert_eq!(there.insert(place, *seq), None, "record {seq} is there twice");
        }
        there
    }
}

/// Where a path is on the disk.
fn at(path: &Path) -> String {
    path.to_str().unwrap().trim_start_matches('/').to_owned()
}

/// A machine that several have.
pub(super) struct Handle(pub(super) Arc<Simulated>);

impl Machine for Handle {
    fn now(&self) -> Now {
        self.0.clocks().now()
    }

    fn mono_ns(&self) -> u64 {
        self.0.clocks().mono_ns
    }

    fn read(&self, path: &Path, most: u64) -> io::Result<Vec<u8>> {
        let bytes = self.0.disk.read(&at(path))?.ok_or(io::ErrorKind::NotFound)?;
        assert!(bytes.len() as u64 <= most);
        Ok(bytes)
    }

    fn exists(&self, path: &Path) -> bool {
        self.0.disk.size(&at(path)).unwrap().is_some()
    }

    fn replace(&self, path: &Path, text: &str) -> io::Result<()> {
        self.0.disk.replace(&at(path), text.as_bytes(), false)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.disk.remove(&at(path))?;
        self.0.disk.sync_folder(&path.parent().map(at).unwrap_or_default())
    }

    fn private(&self, path: &Path) -> io::Result<Arc<dyn Disk>> {
        Ok(Arc::new(self.0.disk.folder(&at(path))))
    }

    fn open_log(&self, options: Options, boot: BootId) -> Result<(Box<dyn Records>, Recovered), OpenError> {
        let state = &mut *self.0.state();
        let folder = self.0.disk.folder(&at(&options.folder));
        let options = Options {
            segment_bytes: 256 << 10,
            reserve_bytes: 256 << 10,
            quota_bytes: 64 << 18,
            origin: Some("simulated".to_owned()),
            ..Options::new("")
        };
        let (log, recovered) = Driven::open(&folder, &options, boot.0, &stamp(&state.clocks.now()))?;
        assert_eq!(recovered.damaged, None, "the log is taken for damaged");
        (state.log, state.waiting_bytes) = (Some(log), 0);
        Ok((Box::new(Self(self.0.clone())), recovered))
    }

    fn show(&self, look: Look, folder: &Path, answer: Shown) -> io::Result<()> {
        let lines = entries(&self.0.disk.folder(&at(folder)));
        let shown = lines.map_err(|e| e.to_string()).and_then(|lines| {
            look.at(lines.into_iter().map(|(_, line)| io::Result::Ok(line))).map_err(|e| e.to_string())
        });
        answer(shown);
        Ok(())
    }
}

impl Records for Handle {
    fn append(&self, at: &Stamp, body: &[u8]) -> bool {
        let state = &mut *self.0.state();
        let (place, at) = state.ledger.offer(state.boot, at, body);
        let Some(log) = &mut state.log else { return false };
        if state.waiting_bytes + body.len() > QUEUE_BYTES {
            log.lose(&at);
            return false;
        }
        state.waiting_bytes += body.len();
        state.ledger.waiting.extend(log.append(&at, body).map(|promise| (place, promise)));
        true
    }

    fn act(&self, at: &Stamp, body: &[u8], patience: Duration) -> Result<u64, ActError> {
        let state = &mut *self.0.state();
        let (place, at) = state.ledger.offer(state.boot, at, body);
        let log = state.log.as_mut().ok_or_else(|| ActError::Refused("closed".to_owned()))?;
        let promise = log.act(&at, body).ok_or_else(|| ActError::Refused("none".to_owned()))?;
        state.ledger.waiting.push((place, promise.clone()));
        if state.random.chance(state.slow) {
            // It may still come to be.
            state.pass(patience.as_nanos() as u64);
            return Err(ActError::TimedOut);
        }
        state.turn();
        promise.outcome().unwrap_or(Err("not in time".to_owned())).map_err(ActError::Refused)
    }

    fn flush(&self, patience: Duration) -> Result<(), ActError> {
        let state = &mut *self.0.state();
        let log = state.log.as_mut().ok_or(ActError::TimedOut)?;
        let promise = log.flush();
        if state.random.chance(state.slow) {
            state.pass(patience.as_nanos() as u64);
            return Err(ActError::TimedOut);
        }
        state.turn();
        promise.outcome().unwrap_or(Err("not in time".to_owned())).map_err(ActError::Refused).map(|_| ())
    }

    fn has_room(&self) -> bool {
        self.0.state().waiting_bytes < QUEUE_BYTES / 2
    }

    fn status(&self) -> Status {
        self.0.state().log.as_ref().map(Driven::status).unwrap_or_default()
    }

    fn close(self: Box<Self>, _: Duration) -> bool {
        let state = &mut *self.0.state();
        let Some(log) = state.log.take() else { return false };
        let at = stamp(&state.clocks.now());
        state.closed_lost = log.close(&at);
        state.ledger.hear();
        true
    }
}

/// Kinds of records that are in the ledger of a life.
pub(super) fn count(records: &[Value], kind: &str) -> u64 {
    records.iter().filter(|record| record["event_type"] == kind).count() as u64
}

/// What `gap` records of a cause add up to.
pub(super) fn gaps(records: &[Value], cause: &str, of: &str) -> u64 {
    let gaps = records.iter().filter(|record| record["event_type"] == "gap" && record["cause"] == cause);
    gaps.filter_map(|gap| gap[of].as_u64()).sum()
}
