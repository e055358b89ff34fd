//! Frames of blocked flows, and what is answered to them.
//!
//! | frame | back to its sender | onward |
//! |---|---|---|
//! | TCP | RST | RST |
//! | a request in clear | a page that says which rule | RST |
//! | a DNS question for a blocked name | no such name, blocked (RFC 8914) | |
//! | any other datagram, QUIC among them | | |
//! | a request in clear of a device that has a notice to read | the notice | RST |
//!
//! RST is sent for every frame of the flow, so that one which its receiver finds out of place is mended by the next: the
//! receiver's challenge (RFC 5961 section 3.2) is a frame of the flow, too, and says what it expects.
//!
//! A DNS flow is never blocked as a whole, whatever its first question: the next may be about something else, and
//! resolvers ask from one port for everybody.

use super::{Classifier, FlowSink};
use crate::answer::{Answered, Segment, Way, timestamps};
use crate::flow::{FlowId, Given, Page, Stage, bit};
use crate::inspect::dns::{self, Family, Place};
use crate::notice::{self, Answer, Reader};
use crate::packet::{Packet, Tcp, flag};
use crate::probe::Probe;
use glassgate_policy::identity::{IdentityEvent, Mac, Read, Source};
use glassgate_policy::matrix::MAX_PAGE;
use glassgate_policy::matrix::Notice;
use glassgate_policy::{Action, AppProto, Evidence, L4};

/// The longest DNS answer: a question and an option.
const DNS_ROOM: usize = 12 + 255 + 4 + 11 + 6;
/// `NXDOMAIN` (RFC 1035 section 4.1.1).
const NO_SUCH_NAME: u8 = 3;

impl<S: FlowSink> Classifier<S> {
    /// What becomes of a datagram of a DNS flow.
    pub(super) fn dns_frame(&mut self, id: FlowId, packet: &Packet, bytes: &[u8], number: u64) -> Action {
        let Some(cold) = self.cold.get(id.index()) else { return Action::Allow };
        let payload = packet.payload(bytes);
        let place = match dns::family(packet.src_port, packet.dst_port) {
            Some(Family::Dns) => Place::Port53,
            None => Place::Anywhere,
            Some(_) => return Action::Allow,
        };
        let Probe::Done(message) = dns::message(payload, place) else { return Action::Allow };
        if message.is_response || message.opcode != 0 {
            return Action::Allow;
        }
        let mut questions = message.questions();
        let (Some(asked), None) = (questions.next(), questions.next()) else { return Action::Allow };
        let Some(found) = self.policy.table.lookup(&asked.name) else { return Action::Allow };
        let matrix = &self.policy.matrix;
        if matrix.verdict(cold.group, found.category, found.service, self.now_ns).action != Action::Block {
            return Action::Allow;
        }
        if self.options.answers {
            let mut answer = [0; DNS_ROOM];
            if let Some(answer) = no_such_name(payload, &mut answer) {
                let lost = !self.answers.udp(&self.answered(packet, bytes, number), answer);
                self.counters.answers_lost[0] += u64::from(lost);
            }
        }
        Action::Block
    }

    /// Whether the frames of a flow are looked at as DNS messages, each for itself.
    pub(super) fn is_dns(&self, id: FlowId) -> bool {
        let (Some(hot), Some(cold)) = (self.table.get(id), self.cold.get(id.index())) else { return false };
        hot.stage == Stage::Followed && hot.key.l4() == L4::Udp && cold.app == Some(AppProto::Dns)
    }

    /// Answers a segment of a blocked flow.
    pub(super) fn answer_tcp(&mut self, id: FlowId, side: usize, packet: &Packet, bytes: &[u8], number: u64) {
        let Some(tcp) = packet.tcp(bytes).filter(|tcp| !tcp.has(flag::RST) && self.options.answers) else {
            return;
        };
        let (Some(hot), Some(cold)) = (self.table.get_mut(id), self.cold.get_mut(id.index())) else { return };
        // For the ends it is over: a SYN of the same ports begins another flow.
        hot.bits |= bit::RST;
        let request = hot.is_client(side) && packet.payload_len > 0;
        let (given, by_client) = (cold.page, hot.is_client(side));
        let is_http = cold.app == Some(AppProto::Http) && cold.evidence == Evidence::HttpHost;
        let of = self.answered(packet, bytes, number);
        let mut all = true;
        match given {
            Some(Given { request: at, page }) if by_client => {
                if request && tcp.seq == at {
                    all = self.page(id, &of, &tcp, page);
                } else if tcp.has(flag::FIN) {
                    let ack = tcp.seq.wrapping_add(packet.payload_wire_len).wrapping_add(1);
                    let segment =
                        Segment { seq: tcp.ack, ack, flags: flag::ACK, timestamps: mirrored(packet, bytes) };
                    all = self.answers.tcp(&of, Way::Back, &segment, &[]);
                }
            }
            None if request && is_http && tcp.has(flag::ACK) && self.has_page(id) => {
                all = self.give(id, &of, &tcp, Page::Rule);
            }
            _ => {
                all = self.answers.tcp(&of, Way::Back, &back(packet, &tcp), &[]);
                // Nobody knows yet of a flow whose first segment was dropped.
                if given.is_none() && (!tcp.has(flag::SYN) || tcp.has(flag::ACK)) {
                    all &= self.answers.tcp(&of, Way::Onward, &onward(&tcp), &[]);
                }
            }
        }
        self.counters.answers_lost[0] += u64::from(!all);
    }

    /// What becomes of a segment of a flow whose client may be shown the notice.
    pub(super) fn notice_tcp(
        &mut self,
        id: FlowId,
        side: usize,
        packet: &Packet,
        bytes: &[u8],
        number: u64,
    ) -> Action {
        let (Some(hot), Some(cold)) = (self.table.get(id), self.cold.get(id.index())) else {
            return Action::Allow;
        };
        if cold.page.is_some() {
            self.answer_tcp(id, side, packet, bytes, number);
            return Action::Block;
        }
        let is_http = cold.app == Some(AppProto::Http) && cold.evidence == Evidence::HttpHost;
        if !is_http || !hot.is_client(side) || packet.payload_len == 0 || !self.options.answers {
            return Action::Allow;
        }
        let Some(tcp) = packet.tcp(bytes).filter(|tcp| tcp.has(flag::ACK)) else { return Action::Allow };
        let (Some(notice), Some(to)) = (self.notice(id), self.reader(id, bytes)) else {
            return Action::Allow;
        };
        let request = notice::request(packet.payload(bytes));
        let Some(answer) = self.notices.answers(&to, notice, request, self.now_ns) else {
            return Action::Allow;
        };
        if answer == Answer::Thanks {
            let page = notice.digest;
            let [(client, _), _] = hot.client_server();
            let told = self.identity(Some(IdentityEvent {
                seq: 0,
                mono_ns: self.now_ns,
                ip: client.ip(),
                mac: to.mac,
                source: Source::NoticeRead,
                seconds: 0,
                read: Some(Read { subject: to.subject, page }),
            }));
            if !told {
                // Not thanked for either: its client sends it again, until it is told or the verdicts run out.
                return Action::Block;
            }
        }
        let of = self.answered(packet, bytes, number);
        let all = self.give(id, &of, &tcp, Page::Notice(answer));
        self.counters.answers_lost[0] += u64::from(!all);
        if let Some(hot) = self.table.get_mut(id) {
            hot.bits |= bit::RST;
        }
        Action::Block
    }

    /// The notice that the client of a flow has to read, if it can be shown.
    fn notice(&self, id: FlowId) -> Option<&Notice> {
        let cold = self.cold.get(id.index())?;
        self.policy.matrix.notice(cold.group, cold.category, cold.service)
    }

    /// Who has to read it, by a frame of the client.
    fn reader(&self, id: FlowId, bytes: &[u8]) -> Option<Reader> {
        let [(client, _), _] = self.table.get(id)?.client_server();
        let mac = Mac(bytes.get(6..12)?.try_into().ok()?);
        let subject = self.cold.get(id.index())?.subject;
        Some(Reader { address: client.0, mac, subject })
    }

    /// Answers a request with a page, and ends the flow for its server.
    fn give(&mut self, id: FlowId, of: &Answered<'_>, tcp: &Tcp, page: Page) -> bool {
        if let Some(cold) = self.cold.get_mut(id.index()) {
            cold.page = Some(Given { request: tcp.seq, page });
        }
        self.page(id, of, tcp, page) & self.answers.tcp(of, Way::Onward, &onward(tcp), &[])
    }

    fn answered<'a>(&self, packet: &'a Packet, bytes: &'a [u8], number: u64) -> Answered<'a> {
        Answered { packet, bytes, at: number.wrapping_sub(self.burst_first) as usize }
    }

    fn has_page(&self, id: FlowId) -> bool {
        let matrix = &self.policy.matrix;
        self.cold.get(id.index()).is_some_and(|c| matrix.page(c.group, c.category, c.service).is_some())
    }

    /// Sends a page, all of it or nothing: of a part its client would wait for the rest, for nothing it asks again.
    fn page(&mut self, id: FlowId, of: &Answered<'_>, tcp: &Tcp, page: Page) -> bool {
        let Some(cold) = self.cold.get(id.index()) else { return true };
        let matrix = &self.policy.matrix;
        let whole = match page {
            Page::Rule => matrix.page(cold.group, cold.category, cold.service).unwrap_or_default(),
            Page::Notice(answer) => {
                let notice = matrix.notice(cold.group, cold.category, cold.service);
                let Some(to) = self.reader(id, of.bytes) else { return true };
                if notice.is_none() && answer != Answer::Thanks {
                    return true;
                }
                self.notices.response(&to, answer, notice)
            }
        };
        if whole.len().div_ceil(MAX_PAGE) > self.answers.room() {
            return false;
        }
        let mut segment = Segment {
            seq: tcp.ack,
            ack: tcp.seq.wrapping_add(of.packet.payload_wire_len),
            flags: flag::PSH | flag::ACK,
            timestamps: mirrored(of.packet, of.bytes),
        };
        let mut chunks = whole.chunks(MAX_PAGE).peekable();
        let mut all = true;
        while let Some(chunk) = chunks.next() {
            if chunks.peek().is_none() {
                segment.flags |= flag::FIN;
            }
            all &= self.answers.tcp(of, Way::Back, &segment, chunk);
            segment.seq = segment.seq.wrapping_add(chunk.len() as u32);
        }
        all
    }
}

/// The RST that a segment is answered with where there is no flow (RFC 9293 section 3.10.7.1).
fn back(packet: &Packet, tcp: &Tcp) -> Segment {
    if tcp.has(flag::ACK) {
        return Segment { seq: tcp.ack, ack: 0, flags: flag::RST, timestamps: None };
    }
    let length = packet.payload_wire_len + u32::from(tcp.has(flag::SYN)) + u32::from(tcp.has(flag::FIN));
    let ack = tcp.seq.wrapping_add(length);
    Segment { seq: 0, ack, flags: flag::RST | flag::ACK, timestamps: None }
}

/// The RST in place of a segment.
fn onward(tcp: &Tcp) -> Segment {
    let flags = flag::RST | tcp.flags & flag::ACK;
    Segment { seq: tcp.seq, ack: tcp.ack, flags, timestamps: None }
}

/// The timestamps that the other end would send: its last one is what the segment echoes.
fn mirrored(packet: &Packet, bytes: &[u8]) -> Option<[u32; 2]> {
    timestamps(packet, bytes).map(|[value, echo]| [echo, value])
}

/// The answer to a query with one question: that there is no such name, and where the client understands that
/// (RFC 6891), that it is blocked (RFC 8914 section 4.16). Without a record that says how long, nobody keeps it (RFC 2308
/// section 5).
fn no_such_name<'a>(query: &[u8], out: &'a mut [u8; DNS_ROOM]) -> Option<&'a [u8]> {
    let (header, rest) = query.split_first_chunk::<12>()?;
    let mut end = 0;
    // No pointer stands in the only question: there is nothing before it to point at.
    loop {
        let len = *rest.get(end)?;
        end += 1;
        match len {
            0 => break,
            1..=63 => end += usize::from(len),
            _ => return None,
        }
    }
    let question = rest.get(..end + 4)?;
    let extended = header[11] > 0 && header[10] == 0 && header[6..10] == [0; 4] && rest.len() > end + 4;
    let option: &[u8] = &[0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 6, 0, 15, 0, 2, 0, 15];
    let option = if extended { option } else { &[] };
    // A response, recursion as it was asked for and available.
    let flags = [0x80 | header[2] & 0x01, 0x80 | NO_SUCH_NAME];
    let head = [header[0], header[1], flags[0], flags[1], 0, 1, 0, 0, 0, 0, 0, u8::from(extended)];
    let mut at = 0;
    for part in [&head[..], question, option] {
        out.get_mut(at..at + part.len())?.copy_from_slice(part);
        at += part.len();
    }
    out.get(..at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_answered_by_itself() {
        let query = b"\x12\x34\x01\x20\x00\x01\x00\x00\x00\x00\x00\x01\x03www\x07example\x00\x00\x41\x00\x01\x00\x00\x29\x10\x00\x00\x00\x00\x00\x00\x00";
        let mut out = [0; DNS_ROOM];
        let answer = no_such_name(query, &mut out).unwrap();
        assert_eq!(&answer[..12], b"\x12\x34\x81\x83\x00\x01\x00\x00\x00\x00\x00\x01");
        assert_eq!(&answer[12..29], &query[12..29], "the question as it was asked");
        assert_eq!(&answer[29..], b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x06\x00\x0f\x00\x02\x00\x0f");
        let mut plain = query[..29].to_vec();
        plain[11] = 0;
        let answer = no_such_name(&plain, &mut out).unwrap();
        assert_eq!((answer.len(), answer[11]), (29, 0), "nothing that was not asked for");
        for cut in 0..29 {
            assert!(no_such_name(&plain[..cut], &mut out).is_none(), "{cut}");
        }
        let long = [&plain[..12], &[63; 255], &[0; 5]].concat();
        assert!(no_such_name(&long, &mut out).is_none_or(|a| a.len() <= DNS_ROOM));
    }
}
