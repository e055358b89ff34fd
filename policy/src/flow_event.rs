//! What the fast path tells the slow path about a flow: 64 bytes of numbers and codes.
//!
//! There is no field that could hold payload, a path, a query or free text. The name of a flow is turned into a
//! service id on the fast path and dropped there. The client is a group and a number of its subject that means nothing
//! outside of the gateway's memory ([`SubjectId`]): counts of groups need to know how many people stand behind them.
//!
//! ```text
//!  0     8         16         24           32          36            40            44        48        52      54      56     58      60
//!  │ seq │ mono_ns │ bytes_up │ bytes_down │ frames_up │ frames_down │ duration_ms │ service │ subject │ group │ epoch │ span │ quiet │ codes
//! ```

use crate::category::Category;
use crate::reason::Reason;
use crate::vocab::{Action, AppProto, Evidence, GroupId, ObservationLevel, ServiceId, SubjectId, coded};

coded! {
    /// Why an event was sent.
    ///
    /// Every flow sends exactly one `Decided`, as its first event and at the latest right before its `Ended`; so
    /// counting `Decided` counts flows. `Progress` follows any number of times, `Ended` at most once.
    pub enum EventKind {
        /// The verdict of the flow became known, or it ended without a name.
        Decided = 1 => "decided",
        /// The flow goes on.
        Progress = 2 => "progress",
        /// The flow ended.
        Ended = 3 => "ended",
    }
}

/// An event of the ring between fast path and slow path.
///
/// Bytes and frames are what the flow carried **since its previous event** (since its first frame for `Decided`),
/// so that adding events up is right without memory of any flow: an event has no flow identity on purpose. A lost
/// event loses its counts, and the gap in [`FlowEvent::seq`] says so. Bytes are as on the wire without preamble
/// and FCS, Ethernet header and VLAN tags included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowEvent {
    /// Number of the event on its lcore, without gaps: a gap is a counted loss.
    pub seq: u64,
    /// Monotonic time of the event, nanoseconds since boot.
    pub mono_ns: u64,
    /// Bytes from client to server since the flow's previous event.
    pub bytes_up: u64,
    /// Bytes from server to client since the flow's previous event.
    pub bytes_down: u64,
    /// Frames from client to server since the flow's previous event, saturating.
    pub frames_up: u32,
    /// Frames from server to client since the flow's previous event, saturating.
    pub frames_down: u32,
    /// Milliseconds since the first frame of the flow, saturating.
    pub duration_ms: u32,
    /// The service that the name belongs to.
    pub service: ServiceId,
    /// Who the client is.
    pub subject: SubjectId,
    /// The group, for aggregates.
    pub group: GroupId,
    /// Low bits of the epoch of the matrix that decided.
    pub epoch: u16,
    /// Tenths of a second since the flow's previous event, or its first frame that may be told of; saturating.
    pub span_ds: u16,
    /// Tenths of a second since the flow's last frame, saturating.
    pub quiet_ds: u16,
    /// Why the event was sent.
    pub kind: EventKind,
    /// The protocol the name was found in.
    pub app: Option<AppProto>,
    /// How the name is known.
    pub evidence: Evidence,
    /// Why there is no name; `None` when there is one.
    pub reason: Option<Reason>,
    /// The category of the service.
    pub category: Category,
    /// What happens to the flow.
    pub action: Action,
    /// What may be written.
    pub level: ObservationLevel,
    /// Whether the signature of the name says that this host takes uploads.
    pub upload_host: bool,
}

/// Set in the byte of the reason where [`FlowEvent::upload_host`] is.
const UPLOAD_HOST: u8 = 128;
const _: () = assert!(Reason::SLOTS <= UPLOAD_HOST as usize);

/// Why bytes from the ring are no event. The consumer counts these and goes on: the producer is not trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset} of the event has code {code}, which means nothing")]
pub struct BadEvent {
    /// Which byte.
    pub offset: usize,
    /// What it held.
    pub code: u8,
}

impl FlowEvent {
    /// Size of an event in the ring, in bytes.
    pub const SIZE: usize = 64;

    /// The event as it stands in the ring, little endian.
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut out = [0u8; Self::SIZE];
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            for (to, from) in out.iter_mut().skip(at).zip(bytes) {
                *to = *from;
            }
            at += bytes.len();
        };
        put(&self.seq.to_le_bytes());
        put(&self.mono_ns.to_le_bytes());
        put(&self.bytes_up.to_le_bytes());
        put(&self.bytes_down.to_le_bytes());
        put(&self.frames_up.to_le_bytes());
        put(&self.frames_down.to_le_bytes());
        put(&self.duration_ms.to_le_bytes());
        put(&self.service.0.to_le_bytes());
        put(&self.subject.0.to_le_bytes());
        put(&self.group.0.to_le_bytes());
        put(&self.epoch.to_le_bytes());
        put(&self.span_ds.to_le_bytes());
        put(&self.quiet_ds.to_le_bytes());
        // Kind, action and level share a byte: 64 bytes are one cache line.
        put(&[
            self.kind as u8 | (self.action as u8) << 2 | (self.level as u8) << 5,
            self.app.map_or(0, |a| a as u8) | (self.evidence as u8) << 4,
            self.reason.map_or(0, |r| r as u8) | if self.upload_host { UPLOAD_HOST } else { 0 },
            self.category as u8,
        ]);
        out
    }

    /// Reads an event and refuses codes that mean nothing.
    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> Result<Self, BadEvent> {
        let u64_at = |at: usize| u64::from_le_bytes(field(bytes, at));
        let u32_at = |at: usize| u32::from_le_bytes(field(bytes, at));
        let u16_at = |at: usize| u16::from_le_bytes(field(bytes, at));
        let [kal, app_evidence, reason, category] = field(bytes, 56 + 4);
        let bad = |offset, code| BadEvent { offset, code };
        Ok(Self {
            seq: u64_at(0),
            mono_ns: u64_at(8),
            bytes_up: u64_at(16),
            bytes_down: u64_at(24),
            frames_up: u32_at(32),
            frames_down: u32_at(36),
            duration_ms: u32_at(40),
            service: ServiceId(u32_at(44)),
            subject: SubjectId(u32_at(48)),
            group: GroupId(u16_at(52)),
            epoch: u16_at(54),
            span_ds: u16_at(56),
            quiet_ds: u16_at(58),
            kind: EventKind::from_code(kal & 3).ok_or(bad(60, kal))?,
            action: Action::from_code((kal >> 2) & 7).ok_or(bad(60, kal))?,
            level: ObservationLevel::from_code(kal >> 5).ok_or(bad(60, kal))?,
            app: match app_evidence & 15 {
                0 => None,
                code => Some(AppProto::from_code(code).ok_or(bad(61, app_evidence))?),
            },
            evidence: Evidence::from_code(app_evidence >> 4).ok_or(bad(61, app_evidence))?,
            upload_host: reason & UPLOAD_HOST != 0,
            reason: match reason & !UPLOAD_HOST {
                0 => None,
                code => Some(Reason::from_code(code).ok_or(bad(62, code))?),
            },
            category: Category::from_code(category).ok_or(bad(63, category))?,
        })
    }
}

fn field<const N: usize>(bytes: &[u8; FlowEvent::SIZE], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Adding a field to the event is a decision about privacy: this fails until somebody has taken it.
    #[test]
    fn has_no_room_for_payload() {
        let FlowEvent {
            seq: _,
            mono_ns: _,
            bytes_up: _,
            bytes_down: _,
            frames_up: _,
            frames_down: _,
            duration_ms: _,
            service: _,
            subject: _,
            group: _,
            epoch: _,
            span_ds: _,
            quiet_ds: _,
            kind: _,
            app: _,
            evidence: _,
            reason: _,
            category: _,
            action: _,
            level: _,
            upload_host: _,
        } = sample(7);
        assert!(std::mem::size_of::<FlowEvent>() <= 72 && FlowEvent::SIZE == 64);
        fn only_numbers<T: Copy + 'static>(_: &T) {}
        only_numbers(&sample(1));
    }

    fn sample(seed: u64) -> FlowEvent {
        let pick = |n: usize, k: u32| (seed.rotate_left(k) as usize) % n;
        FlowEvent {
            seq: seed,
            mono_ns: seed ^ 3,
            bytes_up: seed.rotate_left(9),
            bytes_down: seed.rotate_left(17),
            frames_up: seed as u32,
            frames_down: (seed >> 7) as u32,
            duration_ms: (seed >> 11) as u32,
            service: ServiceId((seed >> 13) as u32),
            subject: SubjectId((seed >> 5) as u32),
            group: GroupId((seed >> 3) as u16),
            epoch: seed as u16,
            span_ds: (seed >> 17) as u16,
            quiet_ds: (seed >> 29) as u16,
            kind: EventKind::ALL[pick(EventKind::ALL.len(), 1)],
            app: (seed & 1 == 0).then(|| AppProto::ALL[pick(AppProto::ALL.len(), 2)]),
            evidence: Evidence::ALL[pick(Evidence::ALL.len(), 3)],
            reason: (seed & 2 == 0).then(|| Reason::ALL[pick(Reason::ALL.len(), 4)]),
            category: Category::ALL[pick(Category::ALL.len(), 5)],
            action: Action::ALL[pick(Action::ALL.len(), 6)],
            level: ObservationLevel::ALL[pick(ObservationLevel::ALL.len(), 7)],
            upload_host: seed & 4 == 0,
        }
    }

    proptest! {
        #[test]
        fn round_trips(seed: u64) {
            let event = sample(seed);
            prop_assert_eq!(FlowEvent::from_bytes(&event.to_bytes()), Ok(event));
        }

        #[test]
        fn hostile_bytes_are_refused_or_read(bytes in proptest::array::uniform32(any::<u8>()), more in proptest::array::uniform32(any::<u8>())) {
            let mut all = [0; 64];
            all[..32].copy_from_slice(&bytes);
            all[32..].copy_from_slice(&more);
            let _ = FlowEvent::from_bytes(&all);
        }
    }
}
