//! One gateway, and what is known of it by who watches from outside.

mod cases;
mod checks;
mod counts;
mod fast;

use self::fast::Fast;
use super::Tally;
use super::fixture::{CHARTERS, Fixture};
use super::machine::{Handle, Simulated};
use crate::control::Command;
use crate::control::alerts::targets::Targets;
use crate::control::past::Past;
use crate::control::slow_path::{Beginning, SlowPath};
use crate::ipc::Channel;
use crate::messages::PolicyId;
use glassgate_audit::simulated::Random;
use glassgate_dataplane::event_ring::{EventRing, MIN_CAPACITY, Producer};
use glassgate_dataplane::stats_page::StatsPage;
use glassgate_policy::audit::{ConfigChange, WallQuality};
use std::sync::Arc;
use tokio::sync::{oneshot, watch};

const S: u64 = 1_000_000_000;
const DAY_S: u64 = 86_400;

/// What somebody who installs a charter knows of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Installed {
    charter: usize,
    revoked: bool,
}

pub(super) struct World {
    random: Random,
    machine: Arc<Simulated>,
    fixture: &'static Fixture,
    /// Nothing of the disk fails but by power cuts.
    calm: bool,
    /// The wall clock is right, where there is one.
    honest: bool,
    ring: EventRing,
    page: StatsPage,
    producer: Producer,
    /// The other end of what the slow path has.
    guard: Option<Channel>,
    slow_path: Option<SlowPath>,
    /// The last policy that the guard has seen.
    last: Option<PolicyId>,
    /// Events that slow paths of this boot took, or counted as missing.
    handled: u64,
    fast: Fast,
    /// What was told to be installed, while nothing is in doubt about it.
    installed: Option<Installed>,
    /// The last that was acknowledged.
    newest: Option<Installed>,
    /// A charter that is not revoked may be in force.
    may_hold: bool,
    /// One was installed.
    ever: bool,
    /// The next that is installed.
    next: usize,
    bypass: bool,
    /// What the next start finds, where that was promised.
    bypass_kept: Option<bool>,
    /// Acts that were answered as done.
    acts: Vec<String>,
    keys: checks::Keys,
    counts: counts::Counts,
    tally: Tally,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let machine = Arc::new(Simulated::new(&mut random));
        let (calm, honest) = (random.chance(250), random.chance(400));
        let ring = EventRing::create("simulated", MIN_CAPACITY).unwrap();
        Self {
            random,
            machine,
            fixture: Fixture::get(),
            calm,
            honest,
            producer: ring.producer(),
            ring,
            page: StatsPage::create("simulated").unwrap(),
            guard: None,
            slow_path: None,
            last: None,
            handled: 0,
            fast: Fast::default(),
            installed: None,
            newest: None,
            may_hold: false,
            ever: false,
            next: 0,
            bypass: false,
            bypass_kept: Some(false),
            acts: Vec::new(),
            keys: checks::Keys::default(),
            counts: counts::Counts::default(),
            tally: Tally::default(),
        }
    }

    pub(super) fn lives(mut self) -> Tally {
        for _ in 0..1 + self.random.below(4) {
            self.life();
        }
        self.last_life();
        for (call, n) in self.machine.disk.faults() {
            self.tally.count(call, n);
        }
        self.tally
    }

    fn try_open(&mut self) {
        let (ours, theirs) = Channel::pair().unwrap();
        self.guard = Some(Channel::from_socket(theirs));
        let mut slow_path = SlowPath::new(Beginning {
            machine: Arc::new(Handle(self.machine.clone())),
            config: self.fixture.config.clone(),
            last: self.last.clone(),
            lcores: vec![(self.ring.clone(), self.page.clone())],
            guard: ours,
            publish: watch::channel(Arc::default()).0,
            boot: self.machine.boot(),
            radius: None,
            inband: None,
            push: None,
            past: Past::none(),
            alerts: Arc::new(Targets::open(&Default::default()).unwrap()),
            confinement: String::new(),
            fingerprint: String::new(),
            page_trouble: None,
        });
        slow_path.begin();
        self.slow_path = Some(slow_path);
        self.hear();
    }

    /// Starts the slow path. Faults may keep it from all that it keeps, but only for as long as there are any.
    fn open(&mut self) {
        if !self.calm && self.random.chance(200) {
            self.machine.disk.fail(self.random.below(300));
            if self.random.chance(500) {
                self.machine.disk.die_after(self.random.below(40));
            }
            self.try_open();
            self.turn();
            self.tally.count("starts with faults", 1);
            self.kill();
        }
        self.machine.disk.mend();
        self.machine.slow(0);
        self.try_open();
        self.look_around();
    }

    /// What was acknowledged is there.
    fn look_around(&self) {
        let Some(slow_path) = &self.slow_path else { return };
        if let Some(Installed { charter, revoked }) = self.installed {
            let there = slow_path.charters.charter().map(|charter| {
                (glassgate_policy::audit::Hex(charter.sha256()).to_string(), charter.is_revoked())
            });
            let expected = (self.fixture.charters[charter].sha256.clone(), revoked);
            assert_eq!(
                there,
                Some(expected),
                "the charter that was installed: {:?}",
                slow_path.charters.trouble()
            );
        }
        if let Some(kept) = self.bypass_kept
            && self.last.is_none()
        {
            assert_eq!(slow_path.bypass.is_on(), kept, "the bypass that was to be kept, or not");
        }
    }

    /// The slow path is gone from one moment to the next.
    fn gone(&mut self) {
        if let Some(slow_path) = self.slow_path.take() {
            let counters = slow_path.engine.counters();
            self.handled += counters.events + counters.missing;
        }
        self.guard = None;
        self.keys.in_memory.clear();
        self.counts = counts::Counts::default();
        self.machine.gone();
    }

    /// The process is killed, or the power goes, if it must.
    fn kill(&mut self) {
        if self.machine.disk.is_dead() {
            return self.cut();
        }
        self.tally.count("kills", 1);
        self.gone();
        self.bypass = self.bypass_kept == Some(true) || self.last.as_ref().is_some_and(|last| last.bypass);
        self.machine.disk.mend();
        // The fast path goes on meanwhile.
        if self.random.chance(500) {
            for _ in 0..1 + self.random.below(4) {
                self.wait();
                self.flows();
            }
        }
    }

    fn cut(&mut self) {
        self.tally.count("cuts", 1);
        self.gone();
        let off_s = match self.random.below(4) {
            0 => self.random.below(20 * DAY_S),
            1 => self.random.below(3 * DAY_S),
            _ => self.random.below(7200),
        };
        self.machine.cut(off_s * S);
        self.ring = EventRing::create("simulated", MIN_CAPACITY).unwrap();
        self.producer = self.ring.producer();
        (self.handled, self.last) = (0, None);
        self.fast.restart();
        self.bypass = self.bypass_kept == Some(true);
    }

    fn life(&mut self) {
        self.open();
        if self.random.chance(400) {
            self.machine.disk.die_after(self.random.below(600));
        }
        for _ in 0..1 + self.random.below(60) {
            if !self.calm && self.random.chance(60) {
                let of_thousand = if self.random.chance(500) { 0 } else { self.random.below(600) };
                self.machine.disk.fail(of_thousand);
            }
            if !self.calm && self.random.chance(20) {
                let room = if self.random.chance(400) { None } else { Some(self.random.below(3 << 20)) };
                self.machine.disk.limit(room);
            }
            if !self.calm && self.random.chance(60) {
                let of_thousand = if self.random.chance(500) { 0 } else { self.random.below(1000) };
                self.machine.slow(of_thousand);
            }
            self.step();
            if self.machine.disk.is_dead() && self.random.chance(300) {
                break;
            }
        }
        match self.random.below(10) {
            _ if self.machine.disk.is_dead() => self.cut(),
            0..=3 => self.kill(),
            4..=6 => self.cut(),
            _ => {
                self.end();
                if self.random.chance(500) { self.cut() } else { self.kill() }
            }
        }
    }

    /// On a machine that works; ends in order.
    fn last_life(&mut self) {
        self.open();
        for _ in 0..1 + self.random.below(30) {
            self.step();
        }
        self.machine.pass(61 * S);
        self.turn();
        self.check_keys_are_gone();
        self.end();
        let lines = self.machine.lines();
        self.check_sessions(&lines);
    }

    fn step(&mut self) {
        self.clocks();
        if self.random.chance(800) {
            self.flows();
        }
        if self.random.chance(150) {
            self.command();
        }
        if self.random.chance(60) {
            self.case();
        }
        if self.random.chance(850) {
            self.turn();
        }
        if self.random.chance(700) {
            let settle = self.random.chance(500);
            self.machine.log_turn(settle);
        }
    }

    /// A turn of the slow path, and what the guard and the fast path make of it.
    fn turn(&mut self) {
        let Some(slow_path) = &mut self.slow_path else { return };
        slow_path.turn();
        self.hear();
        self.note_keys();
        self.check_counts();
    }

    /// Clocks go on.
    fn wait(&mut self) {
        let ms = match self.random.below(20) {
            0 => self.random.below(DAY_S * 1000),
            1..=3 => self.random.below(7_200_000),
            4..=8 => self.random.below(120_000),
            _ => self.random.below(3000),
        };
        self.machine.pass(ms * 1_000_000);
    }

    /// Now and then they do otherwise.
    fn clocks(&mut self) {
        self.wait();
        let machine = self.machine.clone();
        if self.random.chance(50) {
            let (has_wall, good) = (self.random.chance(850), self.random.chance(750));
            let quality = if good { WallQuality::Synchronized } else { WallQuality::Unsynchronized };
            machine.turn_clocks(|clocks| (clocks.has_wall, clocks.quality) = (has_wall, quality));
            self.fast.jumped();
        }
        if !self.honest && self.random.chance(40) {
            let most = if self.random.chance(700) { DAY_S } else { 600 * DAY_S };
            let step = self.random.below(2 * most) as i64 - most as i64;
            machine.turn_clocks(|c| c.off_by_s = (c.off_by_s + step).clamp(-40_000_000, 60_000_000));
            self.fast.jumped();
            self.tally.count("clock steps", 1);
        }
        if self.random.chance(15) {
            // The monotonic clock stands while the machine is suspended.
            let ns = self.random.below(DAY_S) * S;
            machine.turn_clocks(|clocks| clocks.true_ns += ns);
            self.fast.jumped();
            self.tally.count("suspended", 1);
        }
    }

    fn command(&mut self) {
        match self.random.below(10) {
            0..=4 => self.install(),
            5 | 6 => self.reload(),
            7 => self.set_bypass(),
            _ => self.act(),
        }
        self.hear();
        self.note_keys();
        self.check_counts();
    }

    /// Asks the slow path for something, and gives what it answers.
    fn ask<T>(&mut self, ask: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (answer, mut outcome) = oneshot::channel();
        self.slow_path.as_mut()?.command(ask(answer));
        outcome.try_recv().ok()
    }

    fn install(&mut self) {
        let revoked = self.next > 0 && self.random.chance(150);
        let charter = match () {
            () if revoked => self.next - 1,
            () if self.next == 0 || self.random.chance(800) => self.next.min(CHARTERS - 1),
            () => self.random.below(self.next as u64) as usize,
        };
        let fixture = &self.fixture.charters[charter];
        let (text, signatures) =
            (fixture.text.clone(), if revoked { fixture.revoked.clone() } else { fixture.approved.clone() });
        let before = self.installed;
        let outcome = self.ask(|answer| Command::Install { charter: text, signatures, answer });
        match outcome {
            Some(Ok(_)) => {
                let new = Installed { charter, revoked };
                let newest = self.newest.replace(new);
                let follows =
                    newest.is_none_or(|newest| (newest.charter, newest.revoked) <= (charter, revoked));
                assert!(follows, "{new:?} took the place of {newest:?}");
                self.installed = Some(new);
                (self.may_hold, self.ever) = (!revoked, true);
                self.next = self.next.max(charter + 1);
                self.tally.count(if revoked { "revoked" } else { "installed" }, 1);
            }
            Some(Err(why)) => {
                let refused = why.contains("counts up") || why.contains("a revocation stays");
                if !refused {
                    // Some of it may have been done.
                    self.installed = before.filter(|_| why.contains("does not take the record"));
                    self.may_hold |= !revoked;
                    self.next = self.next.max(charter + 1);
                }
                self.tally.count(if refused { "not newer" } else { "not installed" }, 1);
            }
            None => {}
        }
    }

    fn reload(&mut self) {
        let (files, directory) = (self.random.below(3) as usize, self.random.below(2) as usize);
        let Some(slow_path) = &mut self.slow_path else { return };
        slow_path.begun.config.files = self.fixture.files[files].clone();
        slow_path.begun.config.directory = Some(self.fixture.directories[directory].clone());
        let outcome = self.ask(|answer| Command::Reload(Some(answer)));
        assert_eq!(outcome.is_some_and(|outcome| outcome.is_err()), files == 2, "files that are wrong");
        self.tally.count("reloads", 1);
    }

    fn set_bypass(&mut self) {
        let (on, keep) = (self.random.chance(400), self.random.chance(600));
        let outcome = self.ask(|answer| Command::Bypass { on, keep, uid: None, answer });
        match outcome {
            Some(Ok(said)) => {
                self.bypass = on;
                self.bypass_kept = (!said.contains("next start will not")).then_some(on && keep);
                self.tally.count("bypass", 1);
            }
            _ => self.tally.count("bypass refused", 1),
        }
    }

    fn act(&mut self) {
        let sha256 = format!("{:064x}", self.random.next());
        let what = sha256.clone();
        let outcome = self.ask(|answer| Command::ConfigChanged {
            change: ConfigChange::ALL[0],
            sha256,
            files: 1,
            uid: None,
            answer,
        });
        match outcome {
            Some(Ok(())) => self.acts.push(what),
            _ => self.tally.count("not on record", 1),
        }
    }
}
