//! From frame to verdict: what one lcore does with every frame between receiving and sending it.
//!
//! Three tiers, and what a frame costs in each:
//!
//! | tier | which frames | touches |
//! |---|---|---|
//! | verdict known | frames of a [`Stage::Settled`] flow that pass, but SYN, FIN, RST and DHCP | index line, hot record |
//! | undecided | the first client bytes of a flow, and until the server acknowledged them | also cold record, slab |
//! | new | the first frame of a flow | also free list, timer wheel |
//!
//! A burst is read in four passes, so that the cache misses of 32 frames overlap: ask for the first line of each, parse
//! all and ask for their index lines, look into those and ask for the records, then handle each frame in order. Of a
//! plain frame the second pass keeps one line, `Ahead`, which is all that the tier of known verdicts needs. The other
//! tiers parse it once more: that costs them a hundredth of what they do, and spares the first one the writing of what
//! it never reads. Of a frame that is not plain, what was read is kept.
//!
//! **A name is provisional until the server acknowledged the bytes that it stood in.** Until then the bytes are
//! kept, and the same bytes with other content make the flow `ambiguous`: the name goes, all readings are kept as
//! candidates, and nothing is enforced on one of them.

mod answer;
mod contain;
mod follow;
mod limit;
mod sink;
mod stream;
mod tcp;
mod udp;
mod verdicts;

use contain::{Course, Ends};
pub use follow::Follow;
pub use sink::{FlowSink, FlowSummary, NameSeen, NoSink};
pub use verdicts::Policy;

use crate::answer::Answers;
use crate::counters::LcoreCounters;
use crate::defrag::{self, Defrag, Lost, Outcome};
use crate::flow::{Cold, FlowId, Hot, Key, Stage, bit, mark};
use crate::flow_table::{FlowTable, Likely, Place, Refused};
use crate::hints::Hints;
use crate::identity::{self, Gate};
use crate::inspect::{quic, tls};
use crate::limiter::Limiters;
use crate::notice::{Notices, Shown};
use crate::packet::{Packet, Transport, flag};
use crate::parse::{self, Fragment, OpaqueKind, ParseOptions, Parsed};
use crate::port::{BURST, Burst, Frame, Link};
use crate::quic_ids::QuicIds;
use crate::slab::{Slab, SlotId};
use crate::timer_wheel::TimerWheel;
use glassgate_policy::flow_event::EventKind;
use glassgate_policy::identity::IdentityEvent;
use glassgate_policy::{Action, Evidence, L4, Reason};
use prefetch_index::prefetch_index;

/// Sizes and times of a classifier. All memory is taken at start from these.
#[derive(Clone, Debug)]
pub struct Options {
    /// Flows in the table.
    pub flows: usize,
    /// Whether one source may have opened no more than a tenth of the table. Not for captures, which may be of one
    /// source.
    pub source_shares: bool,
    /// Slots of the inspection slab: flows inspected at the same time.
    pub slab: usize,
    /// DNS answers kept as hints.
    pub hints: usize,
    /// Connection ids of QUIC servers, by which flows that moved are known again.
    pub quic_ids: usize,
    /// Datagrams put together from fragments.
    pub defrag: defrag::Options,
    /// What the parser looks into.
    pub parse: ParseOptions,
    /// Whether the same 5-tuple on two VLANs is two flows.
    pub vlans_tell_apart: bool,
    /// Idle time after which a flow ends, milliseconds.
    pub idle: Idle,
    /// Secret of the hashes: random, per process.
    pub secret: [u64; 4],
    /// What limits are kept by: the same for all lcores.
    pub limiters: Limiters,
    /// Whether frames of blocked flows are answered.
    pub answers: bool,
    /// Who was shown a notice: the same for all lcores.
    pub shown: Shown,
    /// Whether a panic over a frame ends with that frame. Not where it has to be seen: in tests, by the fuzzer, over captures.
    pub contain_panics: bool,
}

/// Idle times after which a flow ends, milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Idle {
    /// A TCP flow that both sides spoke on.
    pub tcp: u32,
    /// A TCP flow that one side only spoke on.
    pub tcp_unanswered: u32,
    /// After FIN both ways or RST: late segments still belong to the flow (RFC 9293 keeps TIME-WAIT for 2 MSL).
    pub closed: u32,
    /// A UDP flow that both sides spoke on (RFC 4787 REQ-5 asks NATs for two minutes at least).
    pub udp: u32,
    /// A UDP flow that one side only spoke on.
    pub udp_unanswered: u32,
    /// A gap in the client's first bytes.
    pub gap: u32,
}

impl Default for Idle {
    fn default() -> Self {
        Self {
            tcp: 300_000,
            tcp_unanswered: 30_000,
            closed: 10_000,
            udp: 120_000,
            udp_unanswered: 30_000,
            gap: 30_000,
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            flows: 1 << 20,
            source_shares: true,
            slab: 8192,
            hints: 1 << 16,
            quic_ids: 1 << 13,
            defrag: defrag::Options::default(),
            parse: ParseOptions::default(),
            vlans_tell_apart: true,
            idle: Idle::default(),
            secret: [0; 4],
            limiters: Limiters::default(),
            answers: false,
            shown: Shown::default(),
            contain_panics: false,
        }
    }
}

/// The classifier of one lcore.
pub struct Classifier<S> {
    options: Options,
    table: FlowTable,
    /// As many as slots of the table were used; room for all was taken at start.
    cold: Vec<Cold>,
    wheel: TimerWheel,
    slab: Slab,
    defrag: Option<Defrag>,
    hints: Hints,
    quic_ids: QuicIds,
    tls: Box<tls::Scratch>,
    quic: Box<quic::Scratch>,
    policy: Policy,
    /// Low bits of a count of policies: a flow that was decided under another one is decided again.
    policy_tag: u8,
    /// Which ends of the matrix are over: of its levels, of all of it.
    decayed: [bool; 2],
    /// What of identity was told already.
    gate: Gate,
    ahead: Box<[Ahead; BURST]>,
    /// What was read of the frames of the burst that are not plain.
    kept: Box<[Parsed; BURST]>,
    now_ns: u64,
    now_ms: u32,
    event_seq: u64,
    /// Frames of the burst that are over a limit.
    over_limit: u32,
    /// What the frames of the burst are answered with, and the number of its first.
    answers: Answers,
    notices: Notices,
    burst_first: u64,
    /// Frames of all bursts before the one in hand.
    frames: u64,
    /// What was counted.
    pub counters: LcoreCounters,
    /// Who is told about names and flows.
    pub sink: S,
}

/// What is known of a frame of the burst before it is handled.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Ahead {
    key: Key,
    place: Place,
    likely: Likely,
    wire_len: u32,
    /// See the constants of [`seen`].
    seen: u8,
}

const _: () = assert!(size_of::<Ahead>() == 64);

/// Bits of [`Ahead::seen`].
mod seen {
    /// Its sender is the higher endpoint.
    pub(super) const FROM_HIGH: u8 = 1;
    /// It says more whatever the verdict is: a SYN, FIN or RST, a DHCP message.
    pub(super) const CONTROL: u8 = 2;
    /// It is no packet of a flow.
    pub(super) const OTHER: u8 = 4;
    /// It is not plain: what was read of it is kept.
    pub(super) const KEPT: u8 = 8;
}

impl Ahead {
    const OTHER: Self = Self {
        key: Key::NONE,
        place: Place::NONE,
        likely: Likely::NONE,
        wire_len: 0,
        seen: seen::OTHER | seen::KEPT,
    };

    fn is(&self, bits: u8) -> bool {
        self.seen & bits != 0
    }

    fn whose(&self) -> Whose {
        let from_low = !self.is(seen::FROM_HIGH);
        Whose { key: self.key, place: self.place, likely: self.likely, from_low }
    }
}

/// Which flow a packet belongs to, and who of its two endpoints sent it.
struct Whose {
    key: Key,
    place: Place,
    likely: Likely,
    from_low: bool,
}

/// Notes what is known ahead of a packet.
struct LookAhead<'a> {
    into: &'a mut Ahead,
    wire_len: u32,
    table: &'a FlowTable,
    vlans_tell_apart: bool,
}

impl parse::Take for LookAhead<'_> {
    #[inline(always)]
    fn take(self, packet: &Packet) {
        let Self { into, wire_len, table, vlans_tell_apart } = self;
        let (key, from_low) = Key::of(packet, vlans_tell_apart);
        let control = match packet.transport {
            Transport::Tcp { flags } => flags & (flag::FIN | flag::RST | flag::SYN) != 0,
            Transport::Udp => identity::is_dhcp(packet),
        };
        into.key = key;
        into.place = table.place(&key);
        into.wire_len = wire_len;
        into.seen = (u8::from(!from_low) * seen::FROM_HIGH) | (u8::from(control) * seen::CONTROL);
    }
}

impl<S: FlowSink> Classifier<S> {
    /// A classifier whose clock stands at `now_ns` nanoseconds. Takes all its memory here.
    pub fn new(options: Options, policy: Policy, sink: S, now_ns: u64) -> Self {
        let table = FlowTable::new(options.flows, options.secret);
        let table = if options.source_shares { table } else { table.without_shares() };
        let capacity = table.capacity();
        Self {
            cold: Vec::with_capacity(capacity),
            wheel: TimerWheel::new(capacity, now_ns / 1_000_000_000),
            slab: Slab::new(options.slab),
            defrag: Some(Defrag::new(options.defrag, options.parse)),
            hints: Hints::new(options.hints, options.secret),
            quic_ids: QuicIds::new(options.quic_ids),
            tls: Box::default(),
            quic: Box::default(),
            policy,
            policy_tag: 0,
            decayed: [false; 2],
            gate: Gate::new(options.secret[0] ^ options.secret[1]),
            ahead: Box::new([Ahead::OTHER; BURST]),
            kept: Box::new([Parsed::Malformed(Reason::MalformedL3); BURST]),
            now_ns,
            now_ms: (now_ns / 1_000_000) as u32,
            event_seq: 0,
            over_limit: 0,
            answers: Answers::default(),
            notices: Notices::new(options.shown.clone()),
            burst_first: 0,
            frames: 0,
            counters: LcoreCounters::default(),
            sink,
            table,
            options,
        }
    }

    /// Flows in the table.
    pub fn flows(&self) -> usize {
        self.table.len()
    }

    /// Flows that fit into the table.
    pub fn flow_capacity(&self) -> usize {
        self.table.capacity()
    }

    /// Slots of the inspection slab in use, and how many there are.
    pub fn slab_fill(&self) -> (usize, usize) {
        (self.slab.in_use(), self.slab.capacity())
    }

    /// Handles a burst: `first` is the number of its first frame, `now_ns` the lcore's clock. Bit `i` of the answer
    /// is set when frame `i` is to be discarded; all others are forwarded.
    pub fn burst<F: Frame>(&mut self, burst: &Burst<F>, first: u64, now_ns: u64) -> u32 {
        self.tick(now_ns);
        self.over_limit = 0;
        self.answers.clear();
        self.burst_first = first;
        let mut course = Course::default();
        if self.options.contain_panics {
            self.contained(burst, &mut course);
        } else {
            self.go_on(burst, &mut course);
        }
        self.frames += course.at as u64;
        self.counters.flow_frames[0] += (course.at - course.others) as u64;
        course.discard
    }

    /// Reads the frames of a burst, if that is not done, and handles those that are left.
    fn go_on<F: Frame>(&mut self, burst: &Burst<F>, course: &mut Course) {
        let count = match course.read {
            Some(count) => count,
            None => self.read(burst),
        };
        course.read = Some(count);
        for ahead in self.ahead.get_mut(..count).unwrap_or_default() {
            ahead.likely = self.table.likely(ahead.place);
        }
        let (mut frames, mut passed) = (burst.iter(), course.at);
        let opened = self.counters.flows_opened[0];
        while course.at < count {
            let at = course.at;
            // The flow may be one that this burst began: frames of one flow come one after the other, in captures above all.
            if self.counters.flows_opened[0] != opened {
                self.look_again(at);
            }
            if self.may_be_known(at) {
                let run = self.known_run(at, count);
                course.at += run;
                passed += run;
                if run > 0 {
                    continue;
                }
            }
            let Some(frame) = frames.nth(std::mem::take(&mut passed)) else { break };
            let number = self.burst_first + at as u64;
            let action = self.handle_ahead(at, frame.bytes(), frame.wire_len(), frame.link(), number);
            self.over_limit += u32::from(action == Action::Limit);
            course.discard |= u32::from(action != Action::Allow) << at;
            course.others += 1;
            course.at += 1;
        }
    }

    /// Reads all frames of a burst ahead, and says how many they are.
    fn read<F: Frame>(&mut self, burst: &Burst<F>) -> usize {
        for frame in burst.iter() {
            prefetch_index(frame.bytes(), 0);
        }
        let mut count = 0;
        for (ahead, frame) in self.ahead.iter_mut().zip(burst.iter()) {
            let (bytes, wire_len) = (frame.bytes(), frame.wire_len() as u32);
            // There is no tag where this is written to.
            let look = LookAhead { into: ahead, wire_len, table: &self.table, vlans_tell_apart: false };
            if !parse::plain_ethernet(bytes, frame.link(), look)
                && let Some(kept) = self.kept.get_mut(count)
            {
                read_ahead(ahead, kept, bytes, wire_len, frame.link(), &self.table, &self.options);
            }
            self.table.prefetch_bucket(ahead.place);
            count += 1;
        }
        count
    }

    /// How many frames of the burst from `at` on, one after the other, are of the first tier: done with when this returns.
    /// A function of its own, so that its loop has the registers for itself.
    #[inline(never)]
    fn known_run(&mut self, at: usize, end: usize) -> usize {
        let (now_ms, policy_tag) = (self.now_ms, self.policy_tag);
        let run = self.ahead.get(at..end).unwrap_or_default();
        let unknown = |ahead: &Ahead| known_verdict(&mut self.table, ahead, now_ms, policy_tag).is_none();
        run.iter().position(unknown).unwrap_or(run.len())
    }

    /// Whether [`Self::known_run`] is worth its call: the record that the frame most likely belongs to has a known verdict.
    #[inline]
    fn may_be_known(&self, at: usize) -> bool {
        let likely = self.ahead.get(at).map_or(Likely::NONE, |ahead| ahead.likely);
        self.table.guess(likely).is_some_and(|hot| hot.is_known(self.policy_tag))
    }

    /// Looks for the flow of a frame again that was not in the table.
    #[inline]
    fn look_again(&mut self, at: usize) {
        if let Some(ahead) = self.ahead.get_mut(at).filter(|ahead| ahead.likely.is_none()) {
            ahead.likely = self.table.likely(ahead.place);
        }
    }

    /// How many frames of the last burst are to be discarded because they are over a limit.
    pub fn over_limit(&self) -> u32 {
        self.over_limit
    }

    /// What the frames of the last burst are answered with.
    pub fn answers(&self) -> &Answers {
        &self.answers
    }

    /// Handles one frame: [`Self::burst`] for those who have only one. [`Action::Limit`] says that it is over a limit; it is
    /// discarded like one that is blocked.
    pub fn frame(&mut self, bytes: &[u8], wire_len: usize, link: Link, number: u64, now_ns: u64) -> Action {
        self.tick(now_ns);
        self.answers.clear();
        self.burst_first = number;
        self.frames += 1;
        let parsed = parse::parse(bytes, wire_len, link, &self.options.parse);
        let wire_len = wire_len as u32;
        match &parsed {
            Parsed::Packet(packet) => {
                let whose = self.whose(packet);
                self.counters.flow_frames[0] += 1;
                self.packet(packet, &whose, bytes, wire_len, number)
            }
            other => self.no_packet(other, bytes, wire_len, number),
        }
    }

    fn tick(&mut self, now_ns: u64) {
        // A clock that steps back would make differences huge: monotonic by construction, held here anyway.
        self.now_ns = self.now_ns.max(now_ns);
        self.now_ms = (self.now_ns / 1_000_000) as u32;
        let matrix = &self.policy.matrix;
        let decayed = [matrix.observe_until_ns(), matrix.valid_until_ns()].map(|end| self.now_ns > end);
        if decayed != self.decayed {
            self.decayed = decayed;
            self.policy_tag = self.policy_tag.wrapping_add(1);
        }
    }

    /// A frame of the burst in hand, of any tier.
    #[inline(never)]
    fn handle_ahead(&mut self, i: usize, bytes: &[u8], wire_len: usize, link: Link, number: u64) -> Action {
        let Some(ahead) = self.ahead.get(i) else { return Action::Allow };
        if ahead.is(seen::KEPT) {
            let (other, whose) = (ahead.is(seen::OTHER), ahead.whose());
            let Some(parsed) = self.kept.get(i).copied() else { return Action::Allow };
            return match &parsed {
                Parsed::Packet(packet) if !other => {
                    self.counters.flow_frames[0] += 1;
                    self.packet(packet, &whose, bytes, wire_len as u32, number)
                }
                other => self.no_packet(other, bytes, wire_len as u32, number),
            };
        }
        let whose = ahead.whose();
        // Plain, so that this is a handful of loads from a line that is at hand.
        let parsed = parse::parse(bytes, wire_len, link, &self.options.parse);
        let Parsed::Packet(packet) = &parsed else { return Action::Allow };
        self.counters.flow_frames[0] += 1;
        self.packet(packet, &whose, bytes, wire_len as u32, number)
    }

    /// Which flow a packet belongs to, for a packet that nobody looked ahead for.
    fn whose(&self, packet: &Packet) -> Whose {
        let (key, from_low) = Key::of(packet, self.options.vlans_tell_apart);
        Whose { key, place: self.table.place(&key), likely: Likely::NONE, from_low }
    }

    /// What is no packet of a flow.
    fn no_packet(&mut self, parsed: &Parsed, bytes: &[u8], wire_len: u32, number: u64) -> Action {
        match parsed {
            Parsed::Packet(_) => {}
            Parsed::Fragment(fragment) => {
                self.counters.fragment_frames[0] += 1;
                self.fragment(fragment, bytes, wire_len, number);
            }
            Parsed::Opaque(opaque) => {
                if matches!(opaque.kind, OpaqueKind::Arp | OpaqueKind::Icmpv6) {
                    _ = self.identity(identity::of_frame(bytes, self.now_ns));
                }
                if let Some(count) = self.counters.opaque_frames.get_mut(opaque.kind as usize) {
                    *count += 1;
                }
            }
            Parsed::Tunnel(kind) => {
                if let Some(count) = self.counters.tunnel_frames.get_mut(*kind as usize) {
                    *count += 1;
                }
            }
            Parsed::Malformed(reason) => {
                if let Some(count) = self.counters.malformed_frames.get_mut(*reason as usize) {
                    *count += 1;
                }
            }
        }
        Action::Allow
    }

    /// Tells whose an address is, if that is new. `false`: it was not told.
    fn identity(&mut self, event: Option<IdentityEvent>) -> bool {
        let Some(event) = event.filter(|event| self.gate.admits(event)) else { return false };
        self.counters.identity_events[0] += 1;
        let taken = self.sink.identity(&event);
        self.counters.identity_events_lost[0] += u64::from(!taken);
        taken
    }

    fn packet(&mut self, packet: &Packet, whose: &Whose, bytes: &[u8], wire_len: u32, number: u64) -> Action {
        let from_low = whose.from_low;
        let mut found = self.table.find_likely(&whose.key, whose.place, whose.likely);
        if let (Some(id), Transport::Tcp { flags }) = (found, packet.transport)
            && flags & (flag::SYN | flag::ACK) == flag::SYN
            && let Some(tcp) = packet.tcp(bytes)
            && self.is_reuse(id, from_low, tcp.seq)
        {
            self.end(id);
            found = None;
        }
        let id = match found {
            Some(id) => id,
            None => match self.open(packet, whose, number) {
                Some(id) => id,
                None => {
                    self.counters.unkept_frames[0] += 1;
                    return Action::Allow;
                }
            },
        };
        let Some(hot) = self.table.get_mut(id) else { return Action::Allow };
        hot.seen_ms = self.now_ms;
        let side = usize::from(!from_low);
        if let (Some(bytes), Some(frames)) = (hot.bytes.get_mut(side), hot.frames.get_mut(side)) {
            *frames = frames.saturating_add(1);
            let (sum, spilled) = bytes.overflowing_add(wire_len);
            *bytes = sum;
            if spilled && let Some(to) = self.cold.get_mut(id.index()).and_then(|c| c.spilled.get_mut(side)) {
                *to += 1 << 32;
            }
        }
        if hot.policy_tag != self.policy_tag {
            self.redecide(id);
        }
        let Some(hot) = self.table.get(id) else { return Action::Allow };
        let stage = hot.stage;
        match packet.transport {
            Transport::Tcp { flags } => {
                let control = flags & (flag::FIN | flag::RST | flag::SYN) != 0;
                if stage == Stage::Settled && !control {
                    return self.carry_out(id, side, packet, bytes, wire_len, number);
                }
                let Some(tcp) = packet.tcp(bytes) else {
                    return self.carry_out(id, side, packet, bytes, wire_len, number);
                };
                if control {
                    self.tcp_control(id, side, packet, &tcp, bytes, number);
                }
                if stage == Stage::Settled {
                    return self.carry_out(id, side, packet, bytes, wire_len, number);
                }
                self.tcp_inspect(id, side, packet, &tcp, bytes, number);
            }
            Transport::Udp => {
                if identity::is_dhcp(packet) {
                    let now_ns = self.now_ns;
                    identity::of_packet(bytes, packet, now_ns, |event| _ = self.identity(Some(event)));
                }
                if stage == Stage::Settled {
                    return self.carry_out(id, side, packet, bytes, wire_len, number);
                }
                self.udp_inspect(id, side, packet, bytes, number);
            }
        }
        // Inspection may have decided, or the flow may have ended with the slab's help.
        self.carry_out(id, side, packet, bytes, wire_len, number)
    }

    fn fragment(&mut self, fragment: &Fragment, bytes: &[u8], wire_len: u32, number: u64) {
        // Taken out for the time being: what it puts together is looked at by the rest of the classifier.
        let Some(mut defrag) = self.defrag.take() else { return };
        let now = u64::from(self.now_ms);
        let outcome = defrag.offer(fragment, bytes, now, &mut |lost| self.lost_fragments(&lost, number));
        match outcome {
            Outcome::Whole { bytes, parsed: Parsed::Packet(packet) } => {
                self.whole_packet(&packet, bytes, wire_len, number);
            }
            Outcome::Refused { reason, flow } => {
                self.datagram_refused(reason);
                if let Some(packet) = flow {
                    self.blame(&packet, reason, number);
                }
            }
            Outcome::Whole { .. } | Outcome::Kept | Outcome::Ignored => {}
        }
        self.defrag = Some(defrag);
    }

    fn whole_packet(&mut self, packet: &Packet, bytes: &[u8], wire_len: u32, number: u64) {
        let whose = self.whose(packet);
        self.packet(packet, &whose, bytes, wire_len, number);
    }

    /// A datagram whose rest did not come. In a capture its beginning may be all there is.
    fn lost_fragments(&mut self, lost: &Lost<'_>, number: u64) {
        self.datagram_refused(lost.reason);
        if let Some(packet) = &lost.flow {
            if packet.payload_len > 0 {
                self.whole_packet(packet, lost.bytes, 0, number);
            }
            self.blame(packet, lost.reason, number);
        }
    }

    fn datagram_refused(&mut self, reason: Reason) {
        if let Some(count) = self.counters.datagrams_refused.get_mut(reason as usize) {
            *count += 1;
        }
    }

    /// The flow of this packet cannot be read for this reason, unless a name is found all the same.
    fn blame(&mut self, packet: &Packet, reason: Reason, number: u64) {
        let whose = self.whose(packet);
        let found = self.table.find(&whose.key, whose.place).or_else(|| self.open(packet, &whose, number));
        let Some(id) = found else { return };
        let Some(cold) = self.cold.get_mut(id.index()).filter(|c| c.evidence == Evidence::None) else {
            return;
        };
        // IPv6 endpoints discard datagrams whose fragments overlap (RFC 5722); of IPv4 endpoints some put together what
        // came first and some what came last.
        if reason == Reason::AmbiguousOverlap && packet.src.is_v4() {
            self.ambiguous(id, reason);
        } else {
            cold.reason.get_or_insert(reason);
        }
    }

    /// A SYN on a flow that is over, or that never got going under another sequence number, starts a new flow.
    fn is_reuse(&self, id: FlowId, from_low: bool, seq: u32) -> bool {
        let (Some(hot), Some(cold)) = (self.table.get(id), self.cold.get(id.index())) else { return false };
        let Some(half) = cold.half.get(usize::from(!from_low)) else { return false };
        let same = half.has(crate::flow::Half::HAS_BASE) && half.base == seq.wrapping_add(1);
        !same && hot.is_closed()
    }

    fn open(&mut self, packet: &Packet, whose: &Whose, number: u64) -> Option<FlowId> {
        let Whose { key, place, from_low, .. } = *whose;
        let id = match self.table.insert(key, place, self.now_ms, from_low) {
            Ok(id) => id,
            Err(Refused::Share) => {
                self.counters.source_full_frames[0] += 1;
                return None;
            }
            Err(Refused::Full) => {
                let (now, idle) = (self.now_ms, self.options.idle);
                let may_go = |hot: &Hot| {
                    let quiet = now.wrapping_sub(hot.seen_ms);
                    (hot.is_closed() || !hot.is_answered() && quiet > idle.closed).then_some(quiet)
                };
                let victim = self.table.victim(place, may_go).or_else(|| self.table.sweep(may_go))?;
                self.end(victim);
                self.counters.flows_evicted[0] += 1;
                self.table.insert(key, place, self.now_ms, from_low).ok()?
            }
        };
        self.counters.flows_opened[0] += 1;
        let idle = match packet.transport {
            Transport::Tcp { .. } => self.options.idle.tcp_unanswered,
            Transport::Udp => self.options.idle.udp_unanswered,
        };
        let end = self.now_ns.saturating_add(u64::from(idle) * 1_000_000);
        self.wheel.arm(id, end.div_ceil(1_000_000_000));
        let cold = Cold::new(self.now_ns, number, packet.vlans);
        match self.cold.get_mut(id.index()) {
            Some(used) => *used = cold,
            // Slots are used in order: this is the next.
            None => self.cold.push(cold),
        }
        if let Some(hot) = self.table.get_mut(id) {
            hot.policy_tag = self.policy_tag;
            // Until something better is seen: who spoke first is the client, unless it spoke from a port that only
            // servers have.
            let src_is_client = !(packet.src_port < 1024 && packet.dst_port >= 1024);
            if src_is_client == from_low {
                hot.bits |= bit::CLIENT_IS_LOW;
            }
        }
        if let Some(reason) = packet.end_reason() {
            self.settle_unnamed(id, reason);
        } else {
            self.decide(id);
        }
        Some(id)
    }

    /// Looks at flows whose timer fired, at most `budget` of them; ends those that are idle.
    pub fn expire(&mut self, now_ns: u64, budget: usize) {
        self.tick(now_ns);
        let mut course = Ends { left: budget, flow: None };
        if self.options.contain_panics {
            self.contained_ends(&mut course);
        } else {
            self.expire_some(&mut course);
        }
        self.expire_fragments();
        self.hints.expire(self.now_ms, budget);
    }

    fn expire_some(&mut self, course: &mut Ends) {
        let now_s = self.now_ns / 1_000_000_000;
        while course.left > 0 {
            course.left -= 1;
            course.flow = self.wheel.due(now_s);
            let Some(id) = course.flow else { return };
            let Some(hot) = self.table.get(id) else { continue };
            let idle = &self.options.idle;
            let limit = match (hot.key.l4(), hot.is_closed(), hot.is_answered()) {
                (_, true, _) => idle.closed,
                (L4::Tcp, false, true) => idle.tcp,
                (L4::Tcp, false, false) => idle.tcp_unanswered,
                (L4::Udp, false, true) => idle.udp,
                (L4::Udp, false, false) => idle.udp_unanswered,
            };
            let quiet = self.now_ms.wrapping_sub(hot.seen_ms);
            if quiet >= limit {
                self.end(id);
            } else {
                let next = self.progress(id).min(limit - quiet);
                self.wheel.arm(id, now_s + u64::from(next).div_ceil(1000));
            }
        }
    }

    fn expire_fragments(&mut self) {
        if self.defrag.as_ref().is_none_or(Defrag::is_idle) {
            return;
        }
        if let Some(mut defrag) = self.defrag.take() {
            defrag.expire(u64::from(self.now_ms), &mut |lost| self.lost_fragments(&lost, 0));
            self.defrag = Some(defrag);
        }
    }

    /// Ends every flow: the end of the input.
    pub fn finish(&mut self) {
        if let Some(mut defrag) = self.defrag.take() {
            defrag.flush(&mut |lost| self.lost_fragments(&lost, 0));
            self.defrag = Some(defrag);
        }
        let mut all: Vec<(u64, FlowId)> =
            self.table.ids().filter_map(|id| Some((self.cold.get(id.index())?.first_frame, id))).collect();
        all.sort_unstable();
        for (_, id) in all {
            self.end(id);
        }
    }

    /// Ends a flow: counts it, tells the sink, gives everything back.
    fn end(&mut self, id: FlowId) {
        // A flow may end without a frame since the policy changed: what is said of it is said under the new one.
        if self.table.get(id).is_some_and(|hot| hot.policy_tag != self.policy_tag) {
            self.redecide(id);
        }
        let (Some(hot), Some(cold)) = (self.table.get(id).copied(), self.cold.get_mut(id.index())) else {
            return;
        };
        if cold.evidence == Evidence::None && cold.reason.is_none() {
            let reason = match hot.key.l4() {
                L4::Tcp => unfinished(&hot, cold, &mut self.slab),
                L4::Udp => self.udp_reason(id),
            };
            self.last_words(id, &hot);
            if let Some(cold) = self.cold.get_mut(id.index())
                && cold.evidence == Evidence::None
            {
                cold.reason.get_or_insert(reason);
            }
        }
        self.weaker(id);
        for side in 0..2 {
            self.tell_candidates(id, side);
        }
        // Again: a hint may have decided.
        let (Some(hot), Some(cold)) = (self.table.get(id).copied(), self.cold.get(id.index())) else {
            return;
        };
        for half in &cold.half {
            if let Some(slot) = SlotId::from_record(half.slot) {
                self.slab.release(slot);
            }
        }
        match cold.reason {
            Some(reason) if cold.evidence == Evidence::None => {
                if let Some(count) = self.counters.flows_unnamed.get_mut(reason as usize) {
                    *count += 1;
                }
            }
            _ => {
                if let Some(count) = self.counters.flows_named.get_mut(cold.evidence as usize) {
                    *count += 1;
                }
            }
        }
        if let Some(count) = self.counters.flows_category.get_mut(cold.category as usize) {
            *count += 1;
        }
        if let Some(count) = self.counters.bytes_category.get_mut(cold.category as usize) {
            *count += cold.bytes(&hot).iter().sum::<u64>();
        }
        self.announce(id);
        self.emit(id, &hot, EventKind::Ended);
        if S::SUMMARIES
            && let Some(cold) = self.cold.get(id.index())
        {
            self.sink.ended(id, &FlowSummary::new(&hot, cold, self.now_ns));
        }
        self.wheel.disarm(id);
        self.table.remove(id);
    }
}

/// The first tier: a frame of a flow whose verdict is known and stands. `None` for every other frame, and for the few
/// that need more than a count.
#[inline(always)]
fn known_verdict(table: &mut FlowTable, ahead: &Ahead, now_ms: u32, policy_tag: u8) -> Option<()> {
    if ahead.is(seen::CONTROL | seen::OTHER) {
        return None;
    }
    let hot = table.likely_mut(&ahead.key, ahead.likely)?;
    if !hot.is_known(policy_tag) {
        return None;
    }
    let side = usize::from(ahead.seen & seen::FROM_HIGH);
    let (bytes, frames) = (hot.bytes.get_mut(side)?, hot.frames.get_mut(side)?);
    // Beyond 32 bits the sum goes on in the cold record.
    *bytes = bytes.checked_add(ahead.wire_len)?;
    *frames = frames.saturating_add(1);
    hot.seen_ms = now_ms;
    Some(())
}

/// What has a VLAN tag, or is not plain: read the long way. Never inlined, so that the loop over all others keeps its
/// variables in registers.
#[inline(never)]
fn read_ahead(
    into: &mut Ahead,
    kept: &mut Parsed,
    bytes: &[u8],
    wire_len: u32,
    link: Link,
    table: &FlowTable,
    options: &Options,
) {
    #[cfg(any(test, feature = "faults-on-purpose"))]
    crate::fault::panic_over(bytes.get(14..).unwrap_or_default());
    let vlans_tell_apart = options.vlans_tell_apart;
    if parse::plain_tagged(bytes, link, LookAhead { into, wire_len, table, vlans_tell_apart }) {
        return;
    }
    *into = Ahead::OTHER;
    *kept = parse::general(bytes, wire_len as usize, link, &options.parse);
    if let Parsed::Packet(packet) = kept {
        parse::Take::take(LookAhead { into, wire_len, table, vlans_tell_apart }, packet);
        into.seen |= seen::KEPT;
    }
}

/// The reason of a flow that ended before anything was decided.
fn unfinished(hot: &Hot, cold: &Cold, slab: &mut Slab) -> Reason {
    let client = usize::from(hot.bits & bit::CLIENT_IS_LOW == 0);
    let Some(half) = cold.half.get(client) else { return Reason::UnknownProto };
    let waiting =
        SlotId::from_record(half.slot).and_then(|slot| slab.slot(slot)).map(|slot| slot.ranges.spans().len());
    match waiting {
        // Bytes were kept and the rest never came.
        Some(1..) => Reason::ReasmTimeout,
        _ if !half.has(crate::flow::Half::PAYLOAD) && hot.bits & bit::ORIENTED != 0 => Reason::NoPayload,
        _ if cold.half.iter().all(|h| !h.has(crate::flow::Half::PAYLOAD)) => Reason::NoPayload,
        _ if cold.has(mark::MIDSTREAM) => Reason::Midstream,
        _ => Reason::UnknownProto,
    }
}
