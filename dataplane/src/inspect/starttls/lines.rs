//! Dialogues of lines that end in a request for TLS.

use super::{CAP, Step, tls_begins};
use memchr::memchr;

/// The longest line: RFC 5321 section 4.5.3.1.4 has 512 bytes.
const LINE_CAP: usize = 512;

/// The longest tag of IMAP that is read; clients use four or five letters.
const TAG_CAP: usize = 32;

/// Sets of protocols: the words of a dialogue leave fewer and fewer of them.
mod family {
    pub(super) const SMTP: u8 = 1;
    pub(super) const IMAP: u8 = 2;
    pub(super) const POP3: u8 = 4;
    pub(super) const FTP: u8 = 8;
    pub(super) const NNTP: u8 = 16;
    pub(super) const SIEVE: u8 = 32;
    pub(super) const IRC: u8 = 64;
    pub(super) const ALL: u8 = 127;
}
use family::{ALL, FTP, IMAP, IRC, NNTP, POP3, SIEVE, SMTP};

/// What clients say before they ask for TLS. Commands that come only afterwards, like a login, are not here: they end
/// the search at once.
const COMMANDS: &[(&[u8], u8)] = &[
    (b"EHLO", SMTP),
    (b"HELO", SMTP),
    (b"LHLO", SMTP),
    (b"RSET", SMTP),
    (b"CAPA", POP3),
    (b"STLS", POP3),
    (b"AUTH", POP3 | FTP),
    (b"FEAT", FTP),
    (b"SYST", FTP),
    (b"HOST", FTP),
    (b"CLNT", FTP),
    (b"OPTS", FTP),
    (b"CAPABILITIES", NNTP),
    (b"MODE", NNTP),
    (b"DATE", NNTP),
    (b"CAPABILITY", SIEVE),
    (b"CAP", IRC),
    (b"NICK", IRC),
    (b"USER", IRC),
    (b"PASS", IRC),
    (b"STARTTLS", SMTP | NNTP | SIEVE | IRC),
    (b"NOOP", SMTP | POP3 | FTP | SIEVE),
    (b"HELP", SMTP | FTP | NNTP),
];

/// Likewise for IMAP, where a tag comes first.
const TAGGED: &[&[u8]] = &[b"CAPABILITY", b"NOOP", b"ID", b"STARTTLS"];

pub(super) fn dialogue(stream: &[u8]) -> Step {
    let (mut families, mut at) = (ALL, 0);
    // Every turn reads a line.
    while at <= CAP {
        let rest = stream.get(at..).unwrap_or_default();
        let window = rest.get(..LINE_CAP).unwrap_or(rest);
        let Some(end) = memchr(b'\n', window) else {
            let may = rest.len() < LINE_CAP && Words::of(window).may_become(families);
            return if may { Step::More(stream.len() + 1) } else { Step::NotThis };
        };
        let line = window.get(..end).unwrap_or_default();
        let words = Words::of(line.strip_suffix(b"\r").unwrap_or(line));
        families &= words.families();
        if families == 0 {
            return Step::NotThis;
        }
        at += end + 1;
        if words.ask_for_tls(families) {
            match stream.get(at..).and_then(tls_begins) {
                Some(true) => return Step::Tls(at),
                Some(false) => {}
                None => return Step::More(stream.len() + 1),
            }
        }
    }
    Step::NotThis
}

/// The first two words of a line, and whether they are whole.
#[derive(Clone, Copy)]
struct Words<'a> {
    first: &'a [u8],
    second: &'a [u8],
    first_ends: bool,
    second_ends: bool,
    is_text: bool,
}

impl<'a> Words<'a> {
    fn of(line: &'a [u8]) -> Self {
        let blank = |bytes: &[u8]| bytes.iter().position(|b| *b == b' ');
        let end = blank(line);
        let (first, rest) = end.and_then(|at| line.split_at_checked(at)).unwrap_or((line, b""));
        let rest = rest.strip_prefix(b" ").unwrap_or(rest);
        let second_end = blank(rest);
        Self {
            first,
            second: second_end.and_then(|at| rest.get(..at)).unwrap_or(rest),
            first_ends: end.is_some(),
            second_ends: second_end.is_some(),
            is_text: line.iter().all(|b| matches!(b, b' '..=b'~' | b'\t' | b'\r')),
        }
    }

    fn is_tag(&self) -> bool {
        (1..=TAG_CAP).contains(&self.first.len())
            && self
                .first
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'$' | b'#'))
    }

    /// The protocols in which a client may say the whole line here.
    fn families(&self) -> u8 {
        if !self.is_text {
            return 0;
        }
        let command = COMMANDS.iter().find(|(command, _)| self.first.eq_ignore_ascii_case(command));
        let tagged = self.is_tag() && TAGGED.iter().any(|command| self.second.eq_ignore_ascii_case(command));
        command.map_or(0, |(_, families)| *families) | if tagged { IMAP } else { 0 }
    }

    /// Whether the beginning of a line may become one of these protocols.
    fn may_become(&self, families: u8) -> bool {
        let first = |command: &[u8]| {
            if self.first_ends {
                self.first.eq_ignore_ascii_case(command)
            } else {
                prefixes(self.first, command)
            }
        };
        let second = |command: &[u8]| {
            if self.second_ends {
                self.second.eq_ignore_ascii_case(command)
            } else {
                prefixes(self.second, command)
            }
        };
        let tagged = || match (self.first_ends, self.is_tag()) {
            (true, is_tag) => is_tag && TAGGED.iter().any(|command| second(command)),
            (false, is_tag) => is_tag || self.first.is_empty(),
        };
        self.is_text
            && (COMMANDS.iter().any(|(command, of)| of & families != 0 && first(command))
                || (families & IMAP != 0 && tagged()))
    }

    fn ask_for_tls(&self, families: u8) -> bool {
        let first = |word: &[u8]| self.first.eq_ignore_ascii_case(word);
        let second = |word: &[u8]| self.second.eq_ignore_ascii_case(word);
        (families & (SMTP | NNTP | SIEVE | IRC) != 0 && first(b"STARTTLS"))
            || (families & IMAP != 0 && second(b"STARTTLS"))
            || (families & POP3 != 0 && first(b"STLS"))
            || (families & FTP != 0
                && first(b"AUTH")
                && [b"TLS".as_slice(), b"SSL", b"TLS-C", b"TLS-P"].into_iter().any(second))
    }
}

/// Whether `word` is the beginning of `command`, in any case. A line may end in the middle of its line end.
fn prefixes(word: &[u8], command: &[u8]) -> bool {
    let word = word.strip_suffix(b"\r").unwrap_or(word);
    command.get(..word.len()).is_some_and(|beginning| beginning.eq_ignore_ascii_case(word))
}
