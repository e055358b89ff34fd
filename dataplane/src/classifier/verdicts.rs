//! From a name to a verdict, and what the slow path is told of it.

use super::{Classifier, FlowSink, NameSeen};
use crate::flow::{FlowId, Half, Hot, Stage, bit, mark};
use crate::slab::SlotId;
use glassgate_policy::flow_event::EventKind;
use glassgate_policy::signature::Role;
use glassgate_policy::table::SignatureTable;
use glassgate_policy::{
    Action, AppProto, Category, Evidence, FlowEvent, L4, Name, ObservationLevel, Reason, ServiceId, Verdict,
    VerdictMatrix,
};
use std::sync::Arc;

/// What a classifier decides by: both parts are immutable and swapped whole.
#[derive(Clone)]
pub struct Policy {
    /// From name to service and category.
    pub table: Arc<SignatureTable>,
    /// From group and category to verdict.
    pub matrix: Arc<VerdictMatrix>,
}

/// How often what an observed flow carries is told while it goes on. It is looked at when its timer fires, which for flows
/// that are not observed is when they may have ended: a cost of some hundred nanoseconds and an event, per observed flow that
/// carried something in this time. Longer, and what somebody did would be told in the wrong hour or as one lump.
const PROGRESS_MS: u32 = 30_000;

impl<S: FlowSink> Classifier<S> {
    /// From the next frame on, decides by `policy`. Flows that run already are decided again with their next frame.
    pub fn set_policy(&mut self, policy: Policy) {
        // Service ids belong to one table; under another one a flow that runs keeps its category only.
        if !Arc::ptr_eq(&self.policy.table, &policy.table) {
            self.forget_services();
        }
        self.policy = policy;
        self.policy_tag = self.policy_tag.wrapping_add(1);
    }

    /// The policy in force.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    fn forget_services(&mut self) {
        for cold in &mut self.cold {
            cold.service = ServiceId::NONE;
        }
    }

    /// A host name was read from the flow.
    pub(super) fn name(&mut self, id: FlowId, name: &Name, evidence: Evidence, app: AppProto, frame: u64) {
        let ambiguous = self.cold.get(id.index()).is_some_and(|c| c.has(mark::AMBIGUOUS));
        if S::NAMES {
            let text = name.to_string();
            let seen = NameSeen { name: &text, evidence, app, frame, candidate: ambiguous, claim: false };
            self.sink.named(id, &seen);
        }
        if ambiguous {
            return;
        }
        let hash = name_hash(name.as_bytes());
        let found = self.policy.table.lookup(name);
        let Some(cold) = self.cold.get_mut(id.index()) else { return };
        if cold.evidence != Evidence::None {
            // The first name decides; that others followed is kept as a fact.
            if cold.name_hash != hash {
                cold.marks |= mark::MULTI_NAME;
            }
            return;
        }
        (cold.evidence, cold.app, cold.name_hash, cold.name_frame) = (evidence, Some(app), hash, frame);
        cold.reason = None;
        if let Some(found) = found
            && (evidence.is_in_flow() || !found.category.is_about_people())
        {
            (cold.service, cold.category) = (found.service, found.category);
        }
        self.decide(id);
        self.mark_upload_host(id, found.map_or(0, |found| found.entry));
        self.announce(id);
    }

    /// Keeps that a name is one of those that take uploads, where something may be written of the flow.
    fn mark_upload_host(&mut self, id: FlowId, entry: u32) {
        if self.table.get(id).is_some_and(|hot| hot.verdict().level != ObservationLevel::None)
            && self.policy.table.role(entry) == Some(Role::Upload)
            && let Some(cold) = self.cold.get_mut(id.index())
        {
            cold.marks |= mark::UPLOAD_HOST;
        }
    }

    /// The flow gets no name, for this reason; it is not inspected any more.
    pub(super) fn settle_unnamed(&mut self, id: FlowId, reason: Reason) {
        if let Some(cold) = self.cold.get_mut(id.index())
            && cold.evidence == Evidence::None
            && cold.reason.is_none()
        {
            cold.reason = Some(reason);
        }
        self.settle(id);
    }

    /// The beginning of the flow is over: what is known of one that has no name by then.
    pub(super) fn weaker(&mut self, id: FlowId) {
        if self.table.get(id).is_some_and(|hot| hot.stage != Stage::Settled) {
            self.hint(id);
            self.by_address(id);
        }
    }

    /// A flow without a name of its own may have one by what its client asked DNS before: weak evidence, which never
    /// makes a record about anyone. Not where the name was hidden on purpose, and not where the bytes contradict
    /// themselves: there, silence is the answer.
    fn hint(&mut self, id: FlowId) {
        let (Some(hot), Some(cold)) = (self.table.get(id), self.cold.get(id.index())) else { return };
        if cold.evidence != Evidence::None || !cold.reason.is_some_and(is_open) {
            return;
        }
        let [(client, _), (server, _)] = hot.client_server();
        let (app, frame) = (cold.app, cold.last_frame);
        if let Some(name) = self.hints.lookup(client, server, self.now_ms) {
            self.name(id, &name, Evidence::DnsHint, app.unwrap_or(AppProto::Dns), frame);
            if let Some(cold) = self.cold.get_mut(id.index()) {
                cold.app = app;
            }
        }
    }

    /// A flow without any name may have a service by the address and port of its server: the weakest evidence, and for
    /// categories only that are not about people. What the flow said itself, by its protocol or by the software that sent its hello,
    /// counts before that; of the same kind, an address says more precisely who it is.
    fn by_address(&mut self, id: FlowId) {
        let (Some(hot), Some(cold)) = (self.table.get(id), self.cold.get_mut(id.index())) else { return };
        let open = |reason| is_open(reason) || matches!(reason, Reason::Tunnel | Reason::QuicMigrated);
        if cold.evidence != Evidence::None || !cold.reason.is_some_and(open) || cold.has(mark::AMBIGUOUS) {
            return;
        }
        let [_, (server, port)] = hot.client_server();
        if let Some(found) = self.policy.table.lookup_address(&server.0, hot.key.l4(), port)
            && [Category::Unknown, found.category].contains(&cold.category)
        {
            (cold.evidence, cold.service, cold.category) = (Evidence::Address, found.service, found.category);
            self.decide(id);
        }
    }

    /// The flow is not inspected any more: its slots go back.
    pub(super) fn settle(&mut self, id: FlowId) {
        for side in 0..2 {
            self.tell_candidates(id, side);
        }
        self.weaker(id);
        if let Some(hot) = self.table.get_mut(id) {
            hot.stage = Stage::Settled;
        }
        let Some(cold) = self.cold.get_mut(id.index()) else { return };
        for half in &mut cold.half {
            half.bits |= Half::DONE;
            if let Some(slot) = SlotId::from_record(std::mem::take(&mut half.slot)) {
                self.slab.release(slot);
            }
        }
        self.decide(id);
        self.announce(id);
    }

    /// The flow has several readings: whatever name it had is only a candidate now, and decides nothing.
    pub(super) fn ambiguous(&mut self, id: FlowId, reason: Reason) {
        let Some(cold) = self.cold.get_mut(id.index()) else { return };
        if cold.has(mark::AMBIGUOUS) {
            return;
        }
        cold.marks |= mark::AMBIGUOUS;
        cold.reason = Some(reason);
        (cold.evidence, cold.name_frame) = (Evidence::None, 0);
        (cold.service, cold.category) = (ServiceId::NONE, Category::Unknown);
        self.decide(id);
    }

    /// Sets the verdict from what is known.
    pub(super) fn decide(&mut self, id: FlowId) {
        let (Some(cold), Some(hot)) = (self.cold.get_mut(id.index()), self.table.get_mut(id)) else { return };
        let [(client, _), _] = hot.client_server();
        let member = self.policy.matrix.member_of(&client.0);
        (cold.group, cold.subject) = (member.group, member.subject);
        let verdict = self.policy.matrix.verdict(cold.group, cold.category, cold.service, self.now_ns);
        let verdict = if cold.has(mark::AMBIGUOUS) { Verdict::FAIL_OPEN } else { verdict };
        // Only what is asked for in clear is answered with a notice: everything else passes at full speed, and so does what has settled
        // without anybody knowing what it is.
        let in_clear = match cold.app {
            Some(app) => app == AppProto::Http,
            None => hot.stage != Stage::Settled,
        } && hot.key.l4() == L4::Tcp;
        let verdict = match verdict.action {
            Action::Notice if !in_clear => Verdict { action: Action::Allow, ..verdict },
            _ => verdict,
        };
        cold.limit = match verdict.action {
            Action::Limit => self.policy.matrix.limit(cold.group, cold.category, cold.service),
            _ => None,
        };
        hot.decide(verdict);
        hot.policy_tag = self.policy_tag;
    }

    pub(super) fn redecide(&mut self, id: FlowId) {
        self.counters.flows_redecided[0] += 1;
        let level = |hot: Option<&Hot>| hot.map_or(ObservationLevel::None, |hot| hot.verdict().level);
        let before = level(self.table.get(id));
        self.decide(id);
        if before == ObservationLevel::None && level(self.table.get(id)) != ObservationLevel::None {
            self.begin_observing(id);
        }
    }

    /// What a flow carried while it was not observed stays untold when it may be observed later: an event tells only
    /// what came after the calendar opened.
    fn begin_observing(&mut self, id: FlowId) {
        let (Some(hot), Some(cold)) = (self.table.get(id), self.cold.get_mut(id.index())) else { return };
        cold.told_frames = hot.frames;
        for ((told, bytes), spilled) in cold.told_bytes.iter_mut().zip(hot.bytes).zip(cold.spilled) {
            *told = u64::from(bytes) + spilled;
        }
        (cold.first_ns, cold.told_ms) = (self.now_ns, self.now_ms);
    }

    /// Announces the verdict to the slow path, once per flow: so counting these events counts flows.
    pub(super) fn announce(&mut self, id: FlowId) {
        let (Some(hot), Some(cold)) = (self.table.get(id).copied(), self.cold.get_mut(id.index())) else {
            return;
        };
        if !cold.has(mark::ANNOUNCED) && hot.verdict().level != ObservationLevel::None {
            cold.marks |= mark::ANNOUNCED;
            self.emit(id, &hot, EventKind::Decided);
        }
    }

    /// Tells what a flow that goes on carried since the last event, if it may be told and if there was anything. Answers how
    /// many milliseconds from now it is to be asked again, at the latest.
    pub(super) fn progress(&mut self, id: FlowId) -> u32 {
        let (Some(hot), Some(cold)) = (self.table.get(id).copied(), self.cold.get(id.index())) else {
            return u32::MAX;
        };
        if hot.verdict().level == ObservationLevel::None {
            return u32::MAX;
        }
        if !cold.has(mark::ANNOUNCED) {
            return PROGRESS_MS;
        }
        if cold.told_frames == hot.frames {
            // Nothing happened: what comes later did not last since then.
            if let Some(cold) = self.cold.get_mut(id.index()) {
                cold.told_ms = self.now_ms;
            }
            return PROGRESS_MS;
        }
        if hot.policy_tag != self.policy_tag {
            self.redecide(id);
        }
        if let Some(hot) =
            self.table.get(id).copied().filter(|hot| hot.verdict().level != ObservationLevel::None)
        {
            self.emit(id, &hot, EventKind::Progress);
        }
        PROGRESS_MS
    }

    /// Sends an event with what the flow carried since the last one, unless the verdict's level allows none. A full
    /// ring costs the event, never the frame.
    pub(super) fn emit(&mut self, id: FlowId, hot: &Hot, kind: EventKind) {
        let Some(cold) = self.cold.get_mut(id.index()) else { return };
        let verdict = hot.verdict();
        if verdict.level == ObservationLevel::None {
            let why = self.policy.matrix.unobserved(cold.group, self.now_ns) as usize;
            if let Some(count) = self.counters.unobserved_flows.get_mut(why) {
                *count += u64::from(kind == EventKind::Ended);
            }
            return;
        }
        let [up, down] = if hot.bits & bit::CLIENT_IS_LOW != 0 { [0, 1] } else { [1, 0] };
        let mut since = |side: usize| {
            let at = |v: &[u32; 2]| v.get(side).copied().unwrap_or(0);
            let bytes = u64::from(at(&hot.bytes)) + cold.spilled.get(side).copied().unwrap_or(0);
            let frames = at(&hot.frames);
            let told_bytes = cold.told_bytes.get_mut(side).map_or(0, |t| std::mem::replace(t, bytes));
            let told_frames = cold.told_frames.get_mut(side).map_or(0, |t| std::mem::replace(t, frames));
            (bytes.saturating_sub(told_bytes), frames.saturating_sub(told_frames))
        };
        let ((bytes_up, frames_up), (bytes_down, frames_down)) = (since(up), since(down));
        let since = self.now_ms.wrapping_sub(std::mem::replace(&mut cold.told_ms, self.now_ms));
        let tenths = |ms: u32| u16::try_from(ms / 100).unwrap_or(u16::MAX);
        self.event_seq += 1;
        self.counters.events[0] += 1;
        let event = FlowEvent {
            seq: self.event_seq,
            mono_ns: self.now_ns,
            bytes_up,
            bytes_down,
            frames_up,
            frames_down,
            duration_ms: (self.now_ns.saturating_sub(cold.first_ns) / 1_000_000).min(u64::from(u32::MAX))
                as u32,
            service: cold.service,
            subject: cold.subject,
            group: cold.group,
            epoch: self.policy.matrix.epoch() as u16,
            span_ds: tenths(since),
            quiet_ds: tenths(self.now_ms.wrapping_sub(hot.seen_ms)),
            kind,
            app: cold.app,
            evidence: cold.evidence,
            reason: cold.reason.filter(|_| cold.evidence == Evidence::None),
            category: cold.category,
            action: verdict.action,
            level: verdict.level,
            upload_host: cold.has(mark::UPLOAD_HOST),
        };
        if !self.sink.event(&event) {
            self.counters.events_lost[0] += 1;
        }
    }

    /// The sender of this side is the client: it said something that only clients say.
    pub(super) fn orient(&mut self, id: FlowId, side: usize) {
        let Some(hot) = self.table.get_mut(id) else { return };
        if hot.bits & bit::ORIENTED == 0 {
            hot.bits = hot.bits & !bit::CLIENT_IS_LOW
                | if side == 0 { bit::CLIENT_IS_LOW } else { 0 }
                | bit::ORIENTED;
        }
    }
}

/// Whether a flow without a name for this reason may be known by something weaker: its name was not hidden on purpose, and its
/// bytes do not contradict themselves.
fn is_open(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::NoSni
            | Reason::UnknownProto
            | Reason::Midstream
            | Reason::NoBuffer
            | Reason::ReasmCap
            | Reason::ReasmTimeout
    )
}

/// FNV-1a: only to tell a flow's second name from its first; nothing is looked up by it.
fn name_hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3))
}
