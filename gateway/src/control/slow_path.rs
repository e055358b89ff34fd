//! The slow path: one thread that empties the rings, counts and records, keeps verdicts fresh and says how things are.

use super::access::Visits;
use super::alerts::targets::Targets;
use super::alerts::{Alerts, Facts};
use super::bypass::Bypass;
use super::charter::{Charters, Observed};
use super::history::History;
use super::hours::Hours;
use super::identity::Identity;
use super::inband::Counts;
use super::log::Log;
use super::machine::Machine;
use super::past::Past;
use super::policy::{HandedOut, InForce, Terms};
use super::radius::Radius;
use super::receipts::readers::Readers;
use super::report::Sources;
use super::sealed::{Asked, Sealed};
use super::snapshot::Snapshot;
use super::told::{self, InForceNow, Tell};
use super::{AcceptList, Command};
use crate::clock;
use crate::config::Config;
use crate::feeds;
use crate::ipc::Channel;
use crate::messages::{FromControl, PolicyId, Uninspected, World};
use crate::page::push::Push;
use crate::said::Said;
use crate::verdicts;
use anyhow::Result;
use glassgate_dataplane::event_ring::{Consumer, EventRing, RingEvent};
use glassgate_dataplane::stats_page::StatsPage;
use glassgate_policy::access::ListAccepted;
use glassgate_policy::audit::{AuditSink as _, BootId, Now, Record, Word};
use glassgate_policy::charter::{Levels, Standing};
use glassgate_policy::engine::{Engine, EngineOptions};
use glassgate_policy::identity::Source;
use glassgate_policy::rules::{Declared, Moment};
use glassgate_policy::{ObservationLevel, Unobserved};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;
use tokio::sync::watch;
use tracing::{info, warn};

/// Events taken from one ring before the next one has its turn.
const BATCH: usize = 1024;
/// Batches that empty a ring once.
const BATCHES_OF_A_RING: usize = 64;
/// How long the thread sleeps when all rings are empty: much less than it takes to fill one.
const NAP: Duration = Duration::from_millis(5);
/// How often it says how things are.
const PUBLISH_NS: u64 = 250_000_000;
/// How often time passes for the engine, and records are made durable.
const TICK_NS: u64 = 1_000_000_000;
/// Verdicts are not renewed for a change of the calendar more often than this.
const SOONEST_NS: u64 = 50_000_000;
/// How long to wait before verdicts that could not be handed out are tried again.
const RETRY_NS: u64 = 1_000_000_000;

/// What the slow path begins with.
pub(super) struct Beginning {
    /// Where it runs.
    pub(super) machine: Arc<dyn Machine>,
    pub(super) config: Config,
    /// The last policy of a predecessor.
    pub(super) last: Option<PolicyId>,
    pub(super) lcores: Vec<(EventRing, StatsPage)>,
    pub(super) guard: Channel,
    pub(super) publish: watch::Sender<Arc<Snapshot>>,
    pub(super) boot: BootId,
    /// Who is logged in is heard from here.
    pub(super) radius: Option<Radius>,
    /// What became of frames for the gateway itself, where it has an address on the ports.
    pub(super) inband: Option<Arc<Counts>>,
    /// Who may push it.
    pub(super) push: Option<Arc<Push>>,
    /// Who keeps the rollup store: told what is durable.
    pub(super) past: Past,
    /// Who is told of alerts.
    pub(super) alerts: Arc<Targets>,
    /// What confines this process.
    pub(super) confinement: String,
    /// SHA-256 of the certificate of the page.
    pub(super) fingerprint: String,
    /// Why that is not the certificate which was wanted.
    pub(super) page_trouble: Option<Said>,
}

pub(super) struct SlowPath {
    begun: Beginning,
    started_ns: u64,
    consumers: Vec<Ring>,
    engine: Engine,
    log: Log,
    world: World,
    history: History,
    hours: Hours,
    charters: Charters,
    identity: Identity,
    readers: Readers,
    sealed: Sealed,
    bypass: Bypass,
    visits: Visits,
    alerts: Alerts,
    /// When alerts are looked at next, by the monotonic clock as all of these.
    alerts_at_ns: u64,
    publish_at_ns: u64,
    tick_at_ns: u64,
    renew_at_ns: u64,
    /// What is observed, once it is on record.
    observed: Option<Observed>,
    in_force: Option<InForce>,
    handed_out: Option<HandedOut>,
    /// The last policy, of this process or a predecessor.
    last: Option<PolicyId>,
    loaded: String,
    rejected: Option<String>,
}

/// The receiving end of a ring, and how many bad events of it the engine knows of.
struct Ring {
    consumer: Consumer,
    bad_told: u64,
}

impl SlowPath {
    pub(super) fn new(begun: Beginning) -> Self {
        let ring = |ring: &EventRing| {
            let counters = ring.watch();
            Ring { consumer: ring.consumer(), bad_told: counters.bad_events + counters.bad_indices }
        };
        let machine = begun.machine.clone();
        let now = machine.now();
        let run = begun.config.socket.parent().unwrap_or(Path::new("/"));
        let mut log = Log::open(machine.clone(), &begun.config.audit, run, begun.boot);
        let sealed = Sealed::open(machine.clone(), &begun.config.charter.dir, begun.boot, &now);
        let options =
            EngineOptions { version: env!("CARGO_PKG_VERSION").to_owned(), ..EngineOptions::default() };
        let mut engine = Engine::start(options, &now, &mut log);
        engine.set_sessions(sealed.sink());
        let readers = Readers::load(&begun.config.charter.dir, &now, &mut log);
        let consumers: Vec<_> = begun.lcores.iter().map(|(events, _)| ring(events)).collect();
        for (lcore, ring) in consumers.iter().enumerate() {
            engine.expect(lcore, ring.consumer.next_seq());
        }
        Self {
            started_ns: now.mono_ns,
            consumers,
            engine,
            sealed,
            log,
            world: World::default(),
            history: History::default(),
            hours: Hours::default(),
            charters: Charters::load(machine.clone(), &begun.config.charter),
            identity: Identity::default(),
            readers,
            bypass: Bypass::load(
                machine,
                &begun.config.charter.dir,
                begun.last.as_ref().is_some_and(|last| last.bypass),
                &clock::wall_text_at(&now),
            ),
            visits: Visits::default(),
            alerts: Alerts::new(begun.config.alerts.bounds, now.mono_ns),
            alerts_at_ns: 0,
            publish_at_ns: 0,
            tick_at_ns: 0,
            renew_at_ns: 0,
            observed: None,
            in_force: None,
            handed_out: None,
            last: begun.last.clone(),
            loaded: String::new(),
            rejected: None,
            begun,
        }
    }

    /// Works until told to stop; then takes what is left in the rings and closes the log.
    pub(super) fn run(mut self, commands: &Receiver<Command>) {
        self.begin();
        loop {
            let nap = if self.turn() > 0 { Duration::ZERO } else { NAP };
            match commands.recv_timeout(nap) {
                Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(command) => self.command(command),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
        self.wind_up();
        self.close();
    }

    /// Puts in force what the files say.
    fn begin(&mut self) {
        match self.load() {
            Ok(what) => info!("{what}"),
            Err(why) => warn!("no verdicts, so everything is forwarded and nothing observed\n{why}"),
        }
    }

    /// Takes a batch of each ring, and does whatever it is time for. How much there was to take.
    fn turn(&mut self) -> usize {
        let taken = self.drain() + self.listen();
        let now_ns = self.begun.machine.mono_ns();
        if now_ns >= self.renew_at_ns {
            self.renew();
        }
        if now_ns >= self.tick_at_ns {
            self.tick_at_ns = now_ns.saturating_add(TICK_NS);
            self.tick();
        }
        if now_ns >= self.publish_at_ns {
            self.publish_at_ns = now_ns.saturating_add(PUBLISH_NS);
            self.publish();
        }
        taken
    }

    /// Does what somebody asks for. What changes how things are is shown at once.
    fn command(&mut self, command: Command) {
        match command {
            Command::World(world) => self.world = *world,
            Command::Uninspected(about) => self.note_uninspected(about),
            Command::Reload(answer) => {
                let outcome = self.load();
                match &outcome {
                    Ok(what) => info!("reloaded: {what}"),
                    Err(why) => warn!("not reloaded, what was in force stays\n{why}"),
                }
                if let Some(answer) = answer {
                    // Whoever asked may have gone.
                    _ = answer.send(outcome);
                }
            }
            Command::Install { charter, signatures, answer } => {
                let outcome = self.install(&charter, &signatures);
                match &outcome {
                    Ok(what) => info!("charter installed: {what}"),
                    Err(why) => warn!("charter not installed, what was in force stays\n{why}"),
                }
                _ = answer.send(outcome);
            }
            Command::AcceptList { asked, answer } => {
                let outcome = self.accept_list(&asked);
                match &outcome {
                    Ok(what) => info!("{what}"),
                    Err(why) => warn!("the list `{}` was not accepted: {why}", asked.list),
                }
                _ = answer.send(outcome);
            }
            Command::ConfigChanged { change, sha256, files, uid, answer } => {
                let record = Record::ConfigChanged { change: Word(change), sha256: &sha256, files, uid };
                let outcome = self.log.act(&self.begun.machine.now(), &record);
                let outcome =
                    outcome.map_err(|why| format!("the audit log does not take the record of it: {why}"));
                _ = answer.send(outcome);
            }
            Command::Bypass { on, keep, uid, answer } => {
                let outcome = self.set_bypass(on, keep, uid);
                match &outcome {
                    Ok(what) => warn!("{what}"),
                    Err(why) => warn!("the bypass is as it was: {why}"),
                }
                _ = answer.send(outcome);
            }
            Command::Case { ask, uid, answer } => {
                let charter = self.charters.in_force(self.observed.as_ref());
                let folder = self.begun.config.audit.dir.clone();
                let asked = Asked { ask, uid, answer, charter, folder };
                return self.sealed.asked(asked, &self.begun.machine.now(), &mut self.log);
            }
            Command::Tell(tell) => return self.tell(tell),
            Command::Access { act, answer, ticket } => {
                let taken = self.visits.take(&act, &self.begun.machine.now(), &mut self.log);
                drop(ticket);
                if let Some(answer) = answer {
                    _ = answer.send(taken);
                }
                return;
            }
            Command::Push { change, answer } => {
                // Whoever pushed may have gone.
                _ = answer.send(self.identity.push(change, self.begun.machine.mono_ns()));
                return;
            }
            // Whoever has the commands ends it.
            Command::Stop => return,
        }
        self.publish_at_ns = 0;
    }

    /// Takes what is left in the rings, and puts on record what goes on.
    fn wind_up(&mut self) {
        while self.drain() > 0 {}
        self.publish();
        let now = self.begun.machine.now();
        self.engine.end_sessions(&now);
        let charter = self.charters.in_force(self.observed.as_ref());
        self.sealed.seal_all(charter, &self.identity, &now, &mut self.log);
        self.sealed.close(&now, &mut self.log);
        self.readers.end_hour(&now, &mut self.log);
        self.visits.end(&now, &mut self.log);
    }

    /// Ends the log in order.
    fn close(mut self) {
        // A log that fails now has said so before; the gateway ends all the same.
        if let Err(e) = self.engine.stop(&self.begun.machine.now(), &mut self.log) {
            warn!("the end of the audit log could not be written: {e}");
        }
        if !self.log.close() {
            warn!(
                "the disk of the audit log did not answer in time; the next start goes on from what is durable"
            );
        }
    }

    fn drain(&mut self) -> usize {
        let mut taken = 0;
        for (lcore, ring) in self.consumers.iter_mut().enumerate() {
            let (engine, identity, readers) = (&mut self.engine, &mut self.identity, &mut self.readers);
            taken += ring.consumer.drain_all(BATCH, |event| match event {
                RingEvent::Flow(event) => {
                    #[cfg(feature = "faults-on-purpose")]
                    super::fault::panic_over(&event);
                    engine.event(lcore, &event);
                }
                RingEvent::Identity(event) => {
                    engine.other_event(lcore, event.seq);
                    match event.source {
                        Source::NoticeRead => readers.hear(&event),
                        _ => identity.hear(&event),
                    }
                }
            });
        }
        if taken > 0 || self.sealed.is_waiting() {
            self.seal(&self.begun.machine.now());
        }
        taken
    }

    /// Seals sessions that are over.
    fn seal(&mut self, now: &Now) {
        let charter = self.charters.in_force(self.observed.as_ref());
        self.sealed.seal(charter, &self.identity, now, &mut self.log);
    }

    /// Takes what waits at the RADIUS socket.
    fn listen(&mut self) -> usize {
        let Some(radius) = &mut self.begun.radius else { return 0 };
        radius.take(&*self.begun.machine, &mut self.identity)
    }

    fn tick(&mut self) {
        for ring in &mut self.consumers {
            let counters = ring.consumer.counters();
            let bad = counters.bad_events + counters.bad_indices;
            let news = bad.saturating_sub(std::mem::replace(&mut ring.bad_told, bad));
            if news > 0 {
                self.engine.bad_events(news);
            }
        }
        let now = self.begun.machine.now();
        self.log.mend(&now);
        self.visits.tick(&now, &mut self.log);
        // The log keeps what is wrong with it.
        _ = self.engine.tick(&now, &mut self.log);
        self.seal(&now);
        let charter = self.charters.in_force(self.observed.as_ref());
        if self.sealed.is_over(charter, &now) {
            // What goes on belongs to the day that is over; its key is forgotten with it.
            if self.sealed.begins_to_turn(&now) {
                self.engine.end_sessions(&now);
            }
            self.seal(&now);
            self.sealed.turn(self.charters.in_force(self.observed.as_ref()), &now);
        }
        self.sealed.tick(&now, &mut self.log);
        // A step of the wall clock, or its loss, changes what may be observed as much as the calendar does. What could
        // not be put on record is tried again.
        let moved = self.identity.tick(now.mono_ns);
        let levels = self.observed.as_ref().map(|observed| observed.levels.as_ref());
        let counted = self.readers.take(&self.identity, levels, &now);
        self.readers.tick(&self.identity, &now, &mut self.log);
        if moved || counted || self.observed.as_ref().is_none_or(|observed| observed.is_over(&now)) {
            self.renew();
        }
    }

    /// What may be observed now. A change is on record before it holds; what can't be put on record is not observed.
    fn observe(&mut self, now: &Now) -> Arc<Levels> {
        let observed = self.charters.observe(now, self.identity.groups());
        if self.observed.as_ref().is_some_and(|before| !observed.differs(before)) {
            let levels = observed.levels.clone();
            self.observed = Some(observed);
            return levels;
        }
        let recorded = self.charters.record(&observed, now, &mut self.log);
        // Without a charter there are only counts of the whole network: they need no record of their own.
        if recorded.is_ok() || observed.observation.standing == Standing::Absent {
            let levels = observed.levels.clone();
            self.observed = Some(observed);
            levels
        } else {
            self.observed = None;
            observed.silenced()
        }
    }

    /// Installs a charter: checked, then on record, then kept, then in force.
    fn install(&mut self, text: &str, signatures: &str) -> Result<String, String> {
        let charter = self.charters.check(text, signatures)?;
        let what = format!("{} no. {}", charter.file().name, charter.file().serial);
        self.end_charter();
        let now = self.begun.machine.now();
        let recorded = self.charters.record_install(&charter, self.identity.groups(), &now, &mut self.log);
        if let Err(why) = recorded {
            self.tell_again();
            return Err(format!("the audit log does not take the record of it: {why}"));
        }
        let kept = self.charters.install(charter, text, signatures);
        if kept.is_err() {
            self.tell_again();
        }
        // Rules are bound to the names of its calendars. If they are wrong now, those in force stay.
        if let Err(why) = self.load() {
            warn!("rules were not taken\n{why}");
        }
        self.renew();
        kept.map_err(|e| format!("{e:#}"))?;
        let basis = self.observed.as_ref().map(|observed| observed.basis.en.clone()).unwrap_or_default();
        Ok(format!("{what}. {basis}"))
    }

    /// What was observed until now belongs to the charter in force: it is sealed for that one's holders, and kept for as long as that
    /// one says, or lost. What comes late is stale.
    fn end_charter(&mut self) {
        for _ in 0..BATCHES_OF_A_RING {
            if self.drain() == 0 {
                break;
            }
        }
        let now = self.begun.machine.now();
        self.engine.end_sessions(&now);
        let charter = self.charters.in_force(self.observed.as_ref());
        self.sealed.seal_all(charter, &self.identity, &now, &mut self.log);
        self.engine.forget_policies();
    }

    /// A record that is not true may be durable, or become so: another one follows it before anything is observed.
    fn tell_again(&mut self) {
        self.observed = None;
        self.renew();
    }

    /// Puts it on record, and tells the guard, which says it again to a successor where that did not work.
    fn note_uninspected(&mut self, about: Uninspected) {
        let record = Record::Uninspected {
            number: about.number,
            cause: Word(about.cause),
            forwarder: Word(about.forwarder),
            start_mono_ns: about.start_mono_ns,
            end_mono_ns: about.end_mono_ns,
            frames: about.frames,
        };
        match self.log.act(&self.begun.machine.now(), &record) {
            Ok(()) => _ = self.begun.guard.send(&FromControl::Noted(about), &[]),
            Err(why) => warn!("that frames are not inspected is not on record: {why}"),
        }
    }

    /// Takes a version of a list that somebody has looked at: on record, then kept, then in force.
    fn accept_list(&mut self, asked: &AcceptList) -> Result<String, String> {
        let files = &self.begun.config.files;
        let mut feeds = verdicts::feeds(files).map_err(|faults| faults.to_string())?;
        let feed = feeds::seen(&mut feeds, &asked.list, &asked.digest)?;
        if !feed.is_waiting() {
            return Ok(format!("{}: this version is in use already", asked.list));
        }
        let accepted = ListAccepted {
            list: &feed.now.name,
            sha256: &feed.now.digest,
            names: feed.now.new_names,
            added: feed.now.added,
            removed: feed.now.removed,
            account: asked.account.as_ref().map(|(account, _)| account.as_str()),
            role: asked.account.as_ref().map(|(_, role)| role.as_str()),
            side: Word(asked.side),
            uid: asked.uid,
        };
        self.log
            .act(&self.begun.machine.now(), &Record::ListAccepted(accepted))
            .map_err(|why| format!("the audit log does not take the record of it: {why}"))?;
        let now = feed.take(&files.feeds_dir)?;
        let what = format!("{}: {} names accepted", now.name, now.names);
        match self.load() {
            Ok(_) => Ok(format!("{what}, and in force")),
            Err(why) => Ok(format!("{what}; what was in force stays, since something else is wrong\n{why}")),
        }
    }

    /// Turns all enforcement and observation off, or on again: on record first. Off is let through without a durable
    /// record, since it can only take away; on again is not.
    fn set_bypass(&mut self, on: bool, keep: bool, uid: Option<u32>) -> Result<String, String> {
        let now = self.begun.machine.now();
        let record = Record::Bypass { on, kept: on && keep, uid };
        let unrecorded = self.log.act(&now, &record).err().map(|e| e.to_string());
        if let (false, Some(why)) = (on, &unrecorded) {
            return Err(format!("the audit log does not take the record of it: {why}"));
        }
        if !on {
            // A data plane that was held is one that nothing inspects, too.
            _ = self.begun.guard.send(&FromControl::Resume, &[]);
        }
        let kept = self.bypass.set(on, keep, &clock::wall_text_at(&now));
        self.renew();
        let mut what = match (on, keep) {
            (true, true) => "bypass on, also after the next start: everything is forwarded, nothing observed",
            (true, false) => "bypass on until `glassgate bypass off` or the next start: everything is forwarded, nothing observed",
            (false, _) => "bypass off: rules and charter are in force",
        }
        .to_owned();
        if let Some(why) = unrecorded {
            what += &format!("; the audit log has not taken the record of it yet: {why}");
        }
        if let Err(why) = kept {
            what += &format!("; the next start will not find it so: {why}");
        }
        Ok(what)
    }

    /// Tells a view what is in force.
    fn tell(&self, tell: Tell) {
        let now = self.begun.machine.now();
        let told = InForceNow {
            charters: &self.charters,
            observed: self.observed.as_ref(),
            identity: &self.identity,
            receipts: self.readers.receipts(),
            bypassed: self.bypass.is_on(),
            now: &now,
        };
        // Whoever asked may have gone.
        match tell {
            Tell::Charter(answer) => _ = answer.send(told::charter(&told)),
            Tell::Device(at, answer) => _ = answer.send(told::device(&told, at)),
            Tell::Explain { name, group, answer } => {
                let (calendars, _) = self.charters.calendars(&now);
                let moment = Moment { today: clock::today(&now), calendars };
                let in_force = self.in_force.as_ref();
                _ = answer.send(told::explain(&told, in_force, &moment, &name, group.as_deref()));
            }
        }
    }

    /// Reads the files. If they are wrong, what was read before stays in force.
    fn load(&mut self) -> Result<String, String> {
        let (config, now) = (&self.begun.config, self.begun.machine.now());
        let calendars = self.charters.calendar_names();
        let loaded = Identity::read(config.directory.as_deref()).and_then(|directory| {
            let declared = Declared { groups: Identity::rows(&directory), calendars };
            InForce::load(&config.files, declared, &now).map(|in_force| (in_force, directory))
        });
        match loaded {
            Ok((in_force, directory)) => {
                let compiled = &in_force.compiled;
                let rules = compiled.rules.as_slice().len();
                let what = format!(
                    "{} signatures of {} services, {rules} rules",
                    compiled.signatures, compiled.services
                );
                if !compiled.warnings.is_empty() {
                    warn!("{}", compiled.warnings);
                }
                self.identity.enrol(directory, now.mono_ns);
                self.in_force = Some(in_force);
                self.rejected = None;
                self.loaded = clock::wall_text_at(&now);
                self.renew();
                Ok(what)
            }
            Err(faults) => {
                let why = faults.to_string();
                self.rejected = Some(why.clone());
                Err(why)
            }
        }
    }

    /// Hands verdicts out again before they decay: three times within their time, so that two may fail. The day may
    /// have changed meanwhile, and with it the rules that act.
    fn renew(&mut self) {
        let valid_for = self.begun.config.valid_for;
        let at = self.begun.machine.now();
        let third_ns = (valid_for / 3).as_nanos() as u64;
        self.renew_at_ns = at.mono_ns.saturating_add(third_ns);
        let mut levels = self.observe(&at);
        if self.bypass.is_on() {
            levels = Arc::new(Levels::nothing(levels.groups(), Unobserved::Bypass));
        }
        let until_ns = self.observed.as_ref().map_or(u64::MAX, |observed| observed.until_ns(&at));
        let (calendars, calendars_until) = self.charters.calendars(&at);
        let soonest_ns = until_ns.min(Observed::mono_ns(calendars_until, &at));
        let soonest_ns = soonest_ns.max(at.mono_ns.saturating_add(SOONEST_NS));
        self.renew_at_ns = self.renew_at_ns.min(soonest_ns);
        let Some(in_force) = &self.in_force else { return };
        let id = in_force.next_id(self.last.as_ref(), self.bypass.is_on());
        // The record of a change is there before the first flow is decided by it. What is in the rings already was
        // decided since the first epoch with this content, perhaps under a predecessor of this process. That one had other
        // numbers for people, and perhaps another charter: what is about people is not taken over.
        let takes_over = self.handed_out.is_none() && levels.whole_network();
        let known_since = if takes_over { id.since } else { id.epoch };
        let moment = Moment { today: clock::today(&at), calendars };
        let mut members = self.identity.members_under(&levels, self.readers.receipts(), at.mono_ns);
        if levels.whole_network() || levels.highest() == ObservationLevel::None {
            // Nobody is counted, so nobody needs a number, but those who have a notice to read: it is theirs.
            members = members.without_subjects(|row| levels.unread_in(row).is_some());
        }
        let groups = self.identity.groups().iter().map(|group| group.name.clone()).collect();
        let windows = self.hours.windows(&at, &self.charters.zone());
        let terms = Terms { levels, observe_until_ns: until_ns, moment, members, groups, windows };
        self.engine.set_zone(self.charters.zone());
        self.engine.set_policy(in_force.for_engine(known_since, &terms), &at, &mut self.log);
        self.last = Some(id.clone());
        match in_force.hand_out(&self.begun.guard, id, valid_for, &at, terms) {
            Ok(handed_out) => self.handed_out = Some(handed_out),
            Err(e) => {
                warn!("verdicts could not be renewed, trying again: {e:#}");
                self.renew_at_ns = at.mono_ns.saturating_add(RETRY_NS);
            }
        }
    }

    /// Looks at the alerts once a second, tells what is new, and shows those that are raised.
    fn alert(&mut self, snapshot: &mut Snapshot) {
        let (now, targets) = (self.begun.machine.now(), &self.begun.alerts);
        snapshot.alert_targets = targets.now();
        if now.mono_ns >= self.alerts_at_ns {
            self.alerts_at_ns = now.mono_ns.saturating_add(TICK_NS);
            targets.call(self.log.origin());
            let facts = self.facts(&now);
            for change in self.alerts.look(snapshot, &facts) {
                self.log.append(&now, &change.record());
                targets.tell(&change);
            }
        }
        snapshot.alerts = self.alerts.raised();
    }

    /// What alerts are about and the page does not show.
    fn facts(&self, now: &Now) -> Facts {
        let day = |date: jiff::civil::Date| {
            let days = date.since((jiff::Unit::Day, jiff::civil::date(1970, 1, 1))).ok()?;
            Some(i64::from(days.get_days()))
        };
        let zone = self.charters.zone();
        Facts {
            mono_ns: now.mono_ns,
            today: now.wall.and_then(|at| day(at.to_zoned(zone).date())),
            standing: self.observed.as_ref().map(|observed| observed.observation.standing),
            charter_ends: self.charters.charter().and_then(|charter| day(charter.file().expires)),
            clock_trusted: now.trusted_wall().is_some(),
            wall_ms: now.wall.map(|at| at.as_millisecond()),
            logins_failed: self.visits.failed(),
            records_lost: self.log.lost(),
        }
    }

    fn publish(&mut self) {
        let now = self.begun.machine.now();
        self.begun.past.committed(self.log.committed());
        let sources = Sources {
            config: &self.begun.config,
            confinement: &self.begun.confinement,
            fingerprint: &self.begun.fingerprint,
            lcores: &self.begun.lcores,
            now: &now,
            started_ns: self.started_ns,
            world: &self.world,
            counted: &self.engine.snapshot(),
            log: &self.log,
            log_now: self.begun.past.log_now(),
            compiled: self.in_force.as_ref().map(|policy| &policy.compiled),
            handed_out: self.handed_out.as_ref(),
            observed: self.observed.as_ref(),
            identity: &self.identity,
            radius: self.begun.radius.as_ref(),
            push: self.begun.push.as_deref(),
            inband: self.begun.inband.as_deref(),
            bypass: self.bypass.now(),
            page_trouble: self.begun.page_trouble.as_ref(),
            charter_trouble: self.charters.trouble().or_else(|| {
                self.readers.receipts().trouble().map(|why| Said::new(why, format!("告知回执：{why}")))
            }),
            sealed_trouble: self.sealed.trouble(&now),
            sealed: self.sealed.counts(),
            receipts: self.readers.shown(),
            loaded: &self.loaded,
            rejected: self.rejected.as_deref(),
        };
        let mut snapshot = sources.snapshot(&mut self.history);
        self.alert(&mut snapshot);
        self.begun.publish.send_replace(Arc::new(snapshot));
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
