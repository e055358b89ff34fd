//! DNS messages: the names that are asked for, and the addresses that are answered.
//!
//! ```text
//!   0      2      4      6      8      10     12
//!   │ id   │ flags│ qd   │ an   │ ns   │ ar   │ questions │ answers │ authority │ additional
//!                                              name type class   name type class ttl len data
//! ```
//!
//! [`message`] reads a datagram, [`tcp_message`] a message with its length in front. Both answer for any bytes, on any
//! port: a [`Place::Anywhere`] message has to be DNS to its last byte, one at its own port may be cut off or have
//! bytes after it. RFC 1035 section 4, with RFC 9460 for HTTPS records.
//!
//! Promises: no allocation, no panic, no name longer than 253 bytes, at most [`POINTERS`] compression pointers for a
//! name, at most [`QUESTIONS`] questions and [`ANSWERS`] answers of a message. What is beyond is not looked at.

mod encrypted;
mod labels;
mod records;

pub use encrypted::{Encrypted, encrypted};
pub use records::{Addresses, Answer, Answers, Data, Service};

use crate::probe::Probe;
use glassgate_policy::name::Kind;
use glassgate_policy::{Name, Reason};

/// Compression pointers that are followed for one name. Real servers need two or three; a loop ends here.
pub const POINTERS: usize = 16;

/// Questions of a message that are read. Every server asks one; some refuse more (RFC 9619).
pub const QUESTIONS: u16 = 16;

/// Answers of a message that are read.
pub const ANSWERS: u16 = 64;

/// The largest message over TCP that is waited for. Of a longer one at the port of DNS the questions are read.
pub const TCP_CAP: usize = 16 * 1024;

const HEADER: usize = 12;

/// Where a message was found, which says how sure it must be that it is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// At the port of DNS.
    Port53,
    /// Anywhere else.
    Anywhere,
}

/// The protocols that share the message format, by their ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Port 53.
    Dns,
    /// Port 5353 (RFC 6762). Not name resolution by a server, and not reported as DNS.
    Mdns,
    /// Port 5355 (RFC 4795). Likewise.
    Llmnr,
    /// Port 137 (RFC 1002). Likewise.
    NetBios,
}

/// The protocol that the ports of a flow stand for.
pub const fn family(one: u16, other: u16) -> Option<Family> {
    match (one, other) {
        (53, _) | (_, 53) => Some(Family::Dns),
        (5353, _) | (_, 5353) => Some(Family::Mdns),
        (5355, _) | (_, 5355) => Some(Family::Llmnr),
        (137, _) | (_, 137) => Some(Family::NetBios),
        _ => None,
    }
}

/// A message whose first question, if it has any, was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Pairs an answer with its question.
    pub id: u16,
    /// Sent by the server.
    pub is_response: bool,
    /// What is asked for: `0` query, `4` notify, `5` update.
    pub opcode: u8,
    /// How it went, `0` well (without the bits of EDNS).
    pub rcode: u8,
    /// The TC bit, or the message was cut off by us.
    pub is_truncated: bool,
    bytes: &'a [u8],
    questions: u16,
    answers: u16,
}

/// A question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// The name asked for. [`glassgate_policy::name::Kind::Odd`] for the root and names with other bytes.
    pub name: Name,
    /// The type of the records asked for.
    pub qtype: u16,
    /// Their class, `1` for the Internet.
    pub class: u16,
}

/// A message over TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpMessage<'a> {
    /// The message.
    pub message: Message<'a>,
    /// Bytes that it takes in the stream, its length in front included. More than the stream has, where the message is
    /// longer than [`TCP_CAP`].
    pub len: usize,
}

/// Reads a datagram.
///
/// [`Reason::MalformedDns`] for a plausible header with a broken first question: a pointer loop, a name too long.
/// Counts that the message is too short for are let pass at the port of DNS, where captures and paths cut messages off,
/// if the first question asks for a host name, of a known type and class; then only that one is read.
pub fn message(bytes: &[u8], place: Place) -> Probe<Message<'_>> {
    let Some(header) = Header::read(bytes) else { return Probe::NotThis };
    if !header.is_plausible(place) {
        return Probe::NotThis;
    }
    let mut message = header.message(bytes);
    let Some((qtype, class)) = records::check_question(bytes, HEADER) else {
        return match (place, header.questions()) {
            // Servers send back a bare header when they make nothing of a query.
            (Place::Port53, 0) if header.fits(bytes.len()) => Probe::Done(message),
            (Place::Port53, 1..) => Probe::Malformed(Reason::MalformedDns),
            // Away from its port, a question that can't be read is no sign of DNS.
            _ => Probe::NotThis,
        };
    };
    let is_known = matches!(class, 1 | 3 | 4 | 254 | 255)
        && matches!(qtype, 1..=31 | 33..=110 | 128 | 249..=262 | 32768 | 32769);
    match place {
        Place::Port53 if header.fits(bytes.len()) => Probe::Done(message),
        Place::Port53 if header.questions() > 0 && is_known => {
            (message.questions, message.answers) = (1, 0);
            message.is_truncated = true;
            match records::question(bytes, HEADER) {
                Some((first, _)) if first.name.kind() == Kind::Host => Probe::Done(message),
                _ => Probe::NotThis,
            }
        }
        Place::Anywhere if is_known && header.is_whole(bytes) => Probe::Done(message),
        _ => Probe::NotThis,
    }
}

/// Reads the message at the beginning of `stream`, with its length in front (RFC 1035 section 4.2.2).
pub fn tcp_message(stream: &[u8], place: Place) -> Probe<TcpMessage<'_>> {
    let Some((len, rest)) = stream.split_first_chunk::<2>() else { return Probe::NeedMore(2) };
    let len = usize::from(u16::from_be_bytes(*len));
    if !Header::may_begin(rest, len, place) {
        return Probe::NotThis;
    }
    let done = |message| TcpMessage { message, len: 2 + len };
    match rest.get(..len) {
        Some(bytes) => message(bytes, place).map(done),
        None if rest.len() < HEADER => Probe::NeedMore(2 + HEADER),
        None if stream.len() < TCP_CAP => Probe::NeedMore((2 + len).min(TCP_CAP)),
        None if place == Place::Anywhere => Probe::NotThis,
        None => match message(stream.get(2..TCP_CAP).unwrap_or_default(), place) {
            Probe::Done(message) => Probe::Done(done(Message { is_truncated: true, ..message })),
            other => other.map(done),
        },
    }
}

impl<'a> Message<'a> {
    /// The questions in order, as far as they can be read. None where the section holds no question but a zone: in
    /// notifications and updates (RFC 1996, RFC 2136).
    pub fn questions(&self) -> Questions<'a> {
        let left = if self.opcode == 0 { self.questions.min(QUESTIONS) } else { 0 };
        Questions { bytes: self.bytes, at: HEADER, left }
    }

    /// The records of the answer section in order, as far as they can be read.
    pub fn answers(&self) -> Answers<'a> {
        match records::after_questions(self.bytes, self.questions) {
            Some(at) => Answers::new(self.bytes, at, self.answers.min(ANSWERS)),
            None => Answers::new(self.bytes, self.bytes.len(), 0),
        }
    }

    /// The addresses that the answer gives for the name of its only question: the first of [`Self::questions`]. None for
    /// anything but the answer to one query that went well. See [`Addresses`].
    pub fn addresses(&self) -> Addresses<'a> {
        let none = Addresses::new(self.bytes, self.bytes.len(), 0);
        if !self.is_response || self.opcode != 0 || self.rcode != 0 || self.questions != 1 {
            return none;
        }
        match records::check_question(self.bytes, HEADER) {
            Some((_, 1)) => match records::after_questions(self.bytes, 1) {
                Some(at) => Addresses::new(self.bytes, at, self.answers.min(ANSWERS)),
                None => none,
            },
            _ => none,
        }
    }
}

/// The questions of a message.
#[derive(Clone, Debug)]
pub struct Questions<'a> {
    bytes: &'a [u8],
    at: usize,
    left: u16,
}

impl Iterator for Questions<'_> {
    type Item = Question;

    fn next(&mut self) -> Option<Question> {
        self.left = self.left.checked_sub(1)?;
        match records::question(self.bytes, self.at) {
            Some((question, at)) => {
                self.at = at;
                Some(question)
            }
            None => {
                self.left = 0;
                None
            }
        }
    }
}

struct Header {
    id: u16,
    flags: u16,
    /// Questions, answers, authority, additional.
    counts: [u16; 4],
}

impl Header {
    fn read(bytes: &[u8]) -> Option<Self> {
        let [i0, i1, f0, f1, q0, q1, a0, a1, n0, n1, r0, r1] = *bytes.first_chunk::<HEADER>()?;
        let word = |high, low| u16::from_be_bytes([high, low]);
        Some(Self {
            id: word(i0, i1),
            flags: word(f0, f1),
            counts: [word(q0, q1), word(a0, a1), word(n0, n1), word(r0, r1)],
        })
    }

    /// Whether bytes of a stream, so many as there are, may begin a message of `len` bytes.
    fn may_begin(bytes: &[u8], len: usize, place: Place) -> bool {
        match Self::read(bytes) {
            Some(header) => header.is_plausible(place) && header.fits(len),
            // Other protocols show themselves by their first letters, where the number of questions would stand.
            None => {
                len >= HEADER
                    && !matches!(bytes, [_, _, _, _, high, ..] if *high != 0)
                    && !matches!(bytes, [_, _, _, _, _, low, ..] if u16::from(*low) > QUESTIONS)
            }
        }
    }

    const fn is_response(&self) -> bool {
        self.flags & 0x8000 != 0
    }

    const fn opcode(&self) -> u8 {
        (self.flags >> 11 & 15) as u8
    }

    const fn questions(&self) -> u16 {
        self.counts[0]
    }

    /// Whether a message can have this header, whatever its length.
    const fn is_plausible(&self, place: Place) -> bool {
        const Z: u16 = 0x0040;
        let common = self.is_response() || self.flags & 15 == 0;
        match place {
            Place::Port53 => common && self.opcode() <= 6 && (self.is_response() || self.questions() > 0),
            Place::Anywhere => {
                common
                    && self.questions() == 1
                    && self.opcode() == 0
                    && self.flags & Z == 0
                    && (self.is_response() || matches!(self.counts, [1, 0, 0, 0..=2]))
            }
        }
    }

    /// Whether so many records have room in `len` bytes: a question takes five at least, another record eleven.
    fn fits(&self, len: usize) -> bool {
        let [questions, records @ ..] = self.counts;
        let records = records.iter().map(|n| usize::from(*n)).sum::<usize>();
        questions <= QUESTIONS && HEADER + 5 * usize::from(questions) + 11 * records <= len
    }

    /// Whether every record is there and nothing after them.
    fn is_whole(&self, bytes: &[u8]) -> bool {
        let [questions, records @ ..] = self.counts;
        let records = records.iter().map(|n| u32::from(*n)).sum::<u32>();
        records::after_questions(bytes, questions)
            .and_then(|at| records::end_of(bytes, at, records))
            .is_some_and(|end| end == bytes.len())
    }

    fn message<'a>(&self, bytes: &'a [u8]) -> Message<'a> {
        let [questions, answers, ..] = self.counts;
        Message {
            id: self.id,
            is_response: self.is_response(),
            opcode: self.opcode(),
            rcode: (self.flags & 15) as u8,
            is_truncated: self.flags & 0x0200 != 0,
            bytes,
            questions,
            answers,
        }
    }
}

#[cfg(test)]
mod tests;
