//! The fast path, as far as the slow path knows of it: it decides by the matrix that it was handed, and puts events into the ring.

use super::World;
use super::checks::Event;
use crate::control::slow_path::simulation::fixture::{PEOPLE, SERVICES};
use crate::handover;
use crate::ipc::Channel;
use crate::messages::FromControl;
use glassgate_policy::audit::Hex;
use glassgate_policy::flow_event::{EventKind, FlowEvent};
use glassgate_policy::matrix::{VerdictMatrix, address_key};
use glassgate_policy::table::SignatureTable;
use glassgate_policy::vocab::AppProto;
use glassgate_policy::{Evidence, ObservationLevel, SubjectId};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;

/// Seconds since 1970 between which the charters hold.
const YEAR: [i64; 2] = [1_798_732_800, 1_830_268_800];

/// What it decides by.
#[derive(Default)]
pub(super) struct Fast {
    policy: Option<Policy>,
    /// A clock did what clocks don't do since that was handed out.
    jumped: bool,
}

struct Policy {
    matrix: VerdictMatrix,
    table: SignatureTable,
    /// SHA-256 of the charter under which it was handed out.
    charter: Option<String>,
    /// Whether anything could be observed then.
    was_open: bool,
}

impl Fast {
    /// The power was gone.
    pub(super) fn restart(&mut self) {
        *self = Self::default();
    }

    pub(super) fn jumped(&mut self) {
        self.jumped = true;
    }
}

/// Whether there is something to be received.
fn is_ready(channel: &Channel) -> bool {
    let mut fds = [PollFd::new(channel, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|n| n > 0)
}

impl World {
    /// What the slow path said to the guard.
    pub(super) fn hear(&mut self) {
        let mut newest = None;
        while let Some(guard) = self.guard.as_ref().filter(|guard| is_ready(guard)) {
            match guard.receive::<FromControl>() {
                Ok(Some(received)) => {
                    if let FromControl::Policy(id) = received.message {
                        newest = Some((id, received.fds));
                    }
                }
                _ => break,
            }
        }
        let Some((id, fds)) = newest else { return };
        self.last = Some(id);
        let matrix = handover::open(fds.into_iter().nth(1).unwrap(), handover::MAX_TABLE).unwrap();
        let matrix = VerdictMatrix::from_bytes(&matrix).unwrap();
        let (was_open, slow_path) = (self.is_open(), self.slow_path.as_ref().unwrap());
        let charter = slow_path.charters.charter().map(|charter| Hex(charter.sha256()).to_string());
        let table = slow_path.in_force.as_ref().unwrap().compiled.table.clone();
        self.fast = Fast { policy: Some(Policy { matrix, table, charter, was_open }), jumped: false };
        self.tally.count("policies", 1);
    }

    /// Whether anything may be observed of a person now, by what was installed and what the clock shows.
    pub(super) fn is_open(&self) -> bool {
        let Some(wall) = self.machine.clocks().now().trusted_wall().map(|wall| wall.as_second()) else {
            return false;
        };
        // From eight to twenty o'clock in Shanghai.
        let is_day = wall.rem_euclid(86_400) < 12 * 3600;
        self.may_hold && !self.bypass && is_day && (YEAR[0]..YEAR[1]).contains(&wall)
    }

    /// Flows of some people.
    pub(super) fn flows(&mut self) {
        let many = if self.random.chance(40) { self.random.below(120) } else { self.random.below(8) };
        for _ in 0..many {
            self.flow();
            self.machine.pass(1000);
        }
    }

    fn flow(&mut self) {
        let person = match self.random.below(4) {
            0 => 0,
            1 => PEOPLE - 1,
            _ => self.random.below(PEOPLE as u64) as usize,
        };
        let at = self.random.below(SERVICES.len() as u64) as usize;
        let (service, category, _) = SERVICES[at];
        let (forged, decided) = (self.random.chance(20), self.random.chance(700));
        let Some(Policy { matrix, table, charter, was_open }) = &self.fast.policy else { return };
        let now_ns = self.machine.clocks().mono_ns;
        let member = matrix.member_of(&address_key([10, 0, 0, person as u8 + 1].into()));
        let id = table.service_named(service).unwrap();
        let verdict = matrix.verdict(member.group, category, id, now_ns);
        let level = verdict.level;
        let (sealed, open) = (level == ObservationLevel::Sealed, self.is_open());
        assert!(
            !sealed || open || self.fast.jumped,
            "{service} of {person} is observed, at {:?}; charter {charter:?}, bypass {}",
            self.machine.clocks(),
            self.bypass
        );
        assert!(
            level == ObservationLevel::None || sealed || member.subject == SubjectId::NOBODY && !self.ever,
            "counts of the whole network are no more than that, and without a charter"
        );
        if level == ObservationLevel::None && !forged {
            return self.tally.count("not looked at", 1);
        }
        // A data plane that asks for more than it may have.
        let level = if forged { ObservationLevel::Sealed } else { level };
        let allowed = sealed || *was_open;
        let Some(tag) = self.keys.tag(person, at) else { return };
        let event = FlowEvent {
            seq: 0,
            mono_ns: now_ns,
            bytes_up: tag,
            bytes_down: 9000,
            frames_up: 10,
            frames_down: 10,
            duration_ms: 100,
            service: id,
            subject: member.subject,
            group: member.group,
            epoch: matrix.epoch() as u16,
            span_ds: 1,
            quiet_ds: 0,
            kind: if decided { EventKind::Decided } else { EventKind::Progress },
            app: Some(AppProto::ALL[0]),
            evidence: Evidence::Sni,
            reason: None,
            category,
            action: verdict.action,
            level,
            upload_host: false,
        };
        let event_of = Event { charter: charter.clone(), allowed };
        if self.producer.push(event) {
            self.tally.count("events", 1);
            self.keys.note_event(person, at, tag, event_of);
            self.counts.note(person, at);
        } else {
            self.tally.count("ring full", 1);
        }
    }

    /// An event that shows by its number what was lost before it; the ring has room.
    pub(super) fn last_flow(&mut self) {
        let event = FlowEvent {
            seq: 0,
            mono_ns: self.machine.clocks().mono_ns,
            bytes_up: 1,
            bytes_down: 1,
            frames_up: 1,
            frames_down: 1,
            duration_ms: 1,
            service: glassgate_policy::ServiceId::NONE,
            subject: SubjectId::NOBODY,
            group: glassgate_policy::GroupId(0),
            epoch: self.last.as_ref().map_or(0, |last| last.epoch as u16),
            span_ds: 0,
            quiet_ds: 0,
            kind: EventKind::Decided,
            app: None,
            evidence: Evidence::None,
            reason: None,
            category: glassgate_policy::Category::Unknown,
            action: glassgate_policy::Action::Allow,
            level: ObservationLevel::None,
            upload_host: false,
        };
        assert!(self.producer.push(event));
    }
}
