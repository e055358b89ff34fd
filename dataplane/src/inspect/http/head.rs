//! The head of an HTTP/1 request.

use super::authority::{self, trim};
use super::{Body, HEAD_CAP, Head, Method, Upgrade, Version};
use crate::probe::Probe;
use glassgate_policy::name::Kind;
use glassgate_policy::{Name, Reason};
use memchr::memchr;

/// Empty lines before the method are read over up to this many bytes (RFC 9112 section 2.2 asks for one at least).
const EMPTY_LINES: usize = 8;

/// The longest method: the longest registered one has 17 bytes.
const METHOD_CAP: usize = 32;

pub(super) fn request_head(stream: &[u8]) -> Probe<Head> {
    let window = stream.get(..HEAD_CAP).unwrap_or(stream);
    match scan(window) {
        Scan::NotThis => Probe::NotThis,
        Scan::Whole(fields, len) => Probe::Done(fields.head(len)),
        Scan::Cut(_) if window.len() < HEAD_CAP => Probe::NeedMore(window.len() + 1),
        Scan::Cut(Some(fields)) if fields.names_somebody() => Probe::Done(fields.head_cut_at(window.len())),
        Scan::Cut(_) => Probe::Malformed(Reason::ReasmCap),
    }
}

pub(super) fn unfinished(stream: &[u8]) -> Option<Head> {
    let window = stream.get(..HEAD_CAP).unwrap_or(stream);
    match scan(window) {
        Scan::Cut(Some(fields)) if fields.names_somebody() => Some(fields.head_cut_at(window.len())),
        _ => None,
    }
}

/// Whether a head whose first `seen` bytes were not enough may have become readable: false as long as its request line
/// was among them and no empty line has come since.
pub(super) fn may_end_after(stream: &[u8], seen: usize) -> bool {
    let old = stream.get(..seen).unwrap_or(stream);
    let start = old.iter().position(|b| !matches!(b, b'\r' | b'\n')).unwrap_or(old.len());
    if memchr(b'\n', old.get(start..).unwrap_or_default()).is_none() {
        return true;
    }
    // The LF that ends the line before the empty one may be among the last two bytes seen.
    let mut rest = stream.get(seen.saturating_sub(2)..).unwrap_or_default();
    while let Some(at) = memchr(b'\n', rest) {
        rest = rest.get(at + 1..).unwrap_or_default();
        if matches!(rest, [b'\n', ..] | [b'\r', b'\n', ..]) {
            return true;
        }
    }
    false
}

enum Scan<'a> {
    NotThis,
    /// The head ends beyond the window; what its whole lines say, if the request line is whole.
    Cut(Option<Fields<'a>>),
    /// The head and its length.
    Whole(Fields<'a>, usize),
}

fn scan(window: &[u8]) -> Scan<'_> {
    let Some(start) = window.iter().position(|b| !matches!(b, b'\r' | b'\n')) else {
        return if window.len() <= EMPTY_LINES { Scan::Cut(None) } else { Scan::NotThis };
    };
    if start > EMPTY_LINES {
        return Scan::NotThis;
    }
    let text = window.get(start..).unwrap_or_default();
    let method = match text.iter().take(METHOD_CAP + 1).position(|b| !is_token(*b)) {
        None if text.len() <= METHOD_CAP => return Scan::Cut(None),
        Some(at) if at > 0 => text.get(..at).unwrap_or_default(),
        _ => return Scan::NotThis,
    };
    let Some(end) = memchr(b'\n', text) else {
        return if may_be_request_line(method, text) { Scan::Cut(None) } else { Scan::NotThis };
    };
    let (line, mut rest) = text.split_at_checked(end).unwrap_or_default();
    rest = rest.get(1..).unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if !may_be_request_line(method, line) {
        return Scan::NotThis;
    }
    let target = match target_of(method, line) {
        Target::Of(target) => target,
        Target::WithoutVersion(target) => match may_be_field(rest) {
            Some(true) => target,
            Some(false) => return Scan::NotThis,
            None => return Scan::Cut(None),
        },
        Target::NotThis => return Scan::NotThis,
    };
    let mut fields = Fields::new(method, target);
    let mut last = Line::Start;
    while let Some(end) = memchr(b'\n', rest) {
        let (line, after) = rest.split_at_checked(end).unwrap_or_default();
        rest = after.get(1..).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            return Scan::Whole(fields, window.len() - rest.len());
        }
        last = fields.read(line, last);
    }
    Scan::Cut(Some(fields))
}

/// Whether the text of a request line may be one so far: a blank follows the method, and no control characters are in
/// it. A method that everybody knows may stand alone, and they are let pass after it, as some servers do.
fn may_be_request_line(method: &[u8], text: &[u8]) -> bool {
    let well_known = is_well_known(method);
    let after = text.get(method.len()).copied();
    let control = |b: &u8| (*b < b' ' && !matches!(b, b'\t' | b'\r')) || *b == 0x7f;
    match after {
        Some(b' ' | b'\t') => well_known || !text.iter().any(control),
        Some(b'\r') | None => well_known,
        _ => false,
    }
}

enum Target<'a> {
    Of(&'a [u8]),
    /// It may be a request if fields follow.
    WithoutVersion(&'a [u8]),
    NotThis,
}

/// What stands between method and version. The version is the last word of the line, `HTTP/1.1`. Requests are seen,
/// and answered, whose version is cut short, or hangs on to the target, or with a well-known method is missing.
fn target_of<'a>(method: &[u8], line: &'a [u8]) -> Target<'a> {
    const VERSION: &[u8] = b"HTTP/";
    let line = trim(line.get(method.len()..).unwrap_or_default());
    let last = line.iter().rposition(|b| matches!(b, b' ' | b'\t')).map_or(0, |at| at + 1);
    let (before, word) = line.split_at_checked(last).unwrap_or_default();
    if word.starts_with(VERSION) {
        return Target::Of(trim(before));
    }
    let well_known = is_well_known(method);
    let (start, place) = if well_known { (0, line) } else { (last, word) };
    match memchr::memmem::rfind(place, VERSION) {
        Some(at) => Target::Of(trim(line.get(..start + at).unwrap_or_default())),
        // A path is no version of another protocol, as RTSP/1.0 is.
        None if well_known && matches!(word, [] | [b'/', ..]) => Target::WithoutVersion(line),
        None => Target::NotThis,
    }
}

/// Whether `text` begins with the name of a field. `None` when that is not to be said yet.
fn may_be_field(text: &[u8]) -> Option<bool> {
    let end = text.iter().take(METHOD_CAP).position(|b| !is_token(*b));
    match end {
        None if text.len() < METHOD_CAP => None,
        Some(at) => Some(at > 0 && text.get(at) == Some(&b':')),
        None => Some(false),
    }
}

fn is_well_known(method: &[u8]) -> bool {
    matches!(
        method,
        b"GET" | b"POST" | b"HEAD" | b"PUT" | b"DELETE" | b"OPTIONS" | b"CONNECT" | b"PATCH" | b"TRACE"
    )
}

/// RFC 9110 section 5.6.2.
const fn is_token(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}

/// What the line before was: a folded line belongs to it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Line {
    Start,
    Host,
    Framing,
    Other,
}

/// A host with its port.
type Authority = (Name, Option<u16>);

/// A `Host` field.
#[derive(Clone, Copy)]
enum Host<'a> {
    None,
    One(&'a [u8]),
    /// Twice, or folded.
    Bad,
}

struct Fields<'a> {
    connect: bool,
    target: &'a [u8],
    host: Host<'a>,
    upgrade: Option<Upgrade>,
    length: Option<u64>,
    chunked: bool,
    bad_framing: bool,
}

impl<'a> Fields<'a> {
    fn new(method: &[u8], target: &'a [u8]) -> Self {
        Self {
            connect: method == b"CONNECT",
            target,
            host: Host::None,
            upgrade: None,
            length: None,
            chunked: false,
            bad_framing: false,
        }
    }

    /// Reads a line that is not empty.
    fn read(&mut self, line: &'a [u8], last: Line) -> Line {
        let Some(first) = line.first() else { return last };
        // Most fields are told apart by their first letter alone: a head costs one look at each line.
        match first | 0x20 {
            b'h' | b't' | b'c' | b'u' => {}
            _ if matches!(first, b' ' | b'\t') => return self.fold(line, last),
            _ => return Line::Other,
        }
        let Some((name, value)) = field(line) else { return Line::Other };
        if name.eq_ignore_ascii_case(b"host") {
            self.host = match self.host {
                Host::None => Host::One(trim(value)),
                _ => Host::Bad,
            };
            Line::Host
        } else if name.eq_ignore_ascii_case(b"content-length") {
            match (number(trim(value)), self.length) {
                (Some(new), Some(old)) if new != old => self.bad_framing = true,
                (Some(new), _) => self.length = Some(new),
                (None, _) => self.bad_framing = true,
            }
            Line::Framing
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            let last = value.rsplit(|b| *b == b',').next().unwrap_or_default();
            let chunked = trim(last).eq_ignore_ascii_case(b"chunked");
            self.bad_framing |= self.chunked || !chunked;
            self.chunked |= chunked;
            Line::Framing
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            self.upgrade = self.upgrade.or(Some(upgrade(trim(value))));
            Line::Other
        } else {
            Line::Other
        }
    }

    /// A line that begins with a blank goes on with the field before it, or is dropped, or is a field of its own:
    /// servers differ (RFC 9112 sections 2.2 and 5.2). None of these readings counts where it would matter.
    fn fold(&mut self, line: &[u8], last: Line) -> Line {
        let hidden = field(trim(line)).map(|(name, _)| name);
        if last == Line::Host || hidden.is_some_and(|name| name.eq_ignore_ascii_case(b"host")) {
            self.host = Host::Bad;
        }
        self.bad_framing |= last == Line::Framing;
        last
    }

    fn names_somebody(&self) -> bool {
        self.head(0).name.is_ok()
    }

    fn head(&self, len: usize) -> Head {
        let mut head = Head {
            name: Err(Reason::MalformedHttp),
            rival: None,
            is_from_target: false,
            version: Version::Http1,
            port: None,
            method: match (self.connect, self.upgrade) {
                (true, _) => Method::Connect,
                (false, Some(upgrade)) => Method::Upgrade(upgrade),
                (false, None) => Method::Other,
            },
            body: match (self.bad_framing, self.chunked, self.length) {
                (false, false, length) => Body::Length(length.unwrap_or(0)),
                (false, true, None) => Body::Chunked,
                _ => Body::Unknown,
            },
            len,
        };
        let host = match self.host {
            Host::Bad => return head,
            Host::None | Host::One(b"") => None,
            Host::One(value) => Some(value),
        };
        let target = if self.connect { Some(self.target) } else { authority::of_absolute(self.target) };
        match (target, host) {
            (None, None) => {}
            // Nearly every request. Names are large for values: this one is written once, into its place.
            (None, Some(value)) => {
                if let Some((host, port)) = authority::split(value) {
                    head.name = Name::from_host(host).map_err(|_| Reason::MalformedHttp);
                    head.port = port;
                }
            }
            (Some(target), host) => self.settle(&mut head, authority::parse(target), host),
        }
        head
    }

    /// The name of a request whose target names a server.
    fn settle(&self, head: &mut Head, target: Option<Authority>, host: Option<&[u8]>) {
        let host = match host.map(authority::parse) {
            None => None,
            Some(Some(host)) => Some(host),
            Some(None) => return,
        };
        let address = |(name, _): &Authority| name.kind() == Kind::Address;
        let chosen = match (target, host) {
            // A proxy connects to the target of CONNECT; an address there contradicts no name, and a client that was
            // diverted to the proxy knows no more than that.
            (Some(target), Some(host)) if self.connect && address(&target) && !address(&host) => Some(host),
            (Some(target), Some(host)) => {
                head.rival = (target.0 != host.0).then_some(host.0);
                Some(target)
            }
            (Some(target), None) => {
                head.is_from_target = true;
                Some(target)
            }
            // What is no authority is refused by the proxy.
            (None, host) => host.filter(|_| self.connect),
        };
        if let Some((name, port)) = chosen {
            (head.name, head.port) = (Ok(name), port);
        }
    }

    fn head_cut_at(&self, len: usize) -> Head {
        Head { body: Body::Unknown, ..self.head(len) }
    }
}

/// Splits a field line. Blanks before the colon are let pass (RFC 9112 section 5.1 has servers refuse them).
fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, value) = line.split_at_checked(memchr(b':', line)?)?;
    Some((trim(name), value.get(1..)?))
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 18 {
        return None;
    }
    digits.iter().try_fold(0u64, |n, d| d.is_ascii_digit().then(|| n * 10 + u64::from(d - b'0')))
}

fn upgrade(value: &[u8]) -> Upgrade {
    let token = value.split(|b| matches!(b, b',' | b'/')).next().map(trim).unwrap_or_default();
    if token.eq_ignore_ascii_case(b"websocket") {
        Upgrade::WebSocket
    } else if token.eq_ignore_ascii_case(b"h2c") {
        Upgrade::H2c
    } else if token.eq_ignore_ascii_case(b"tls") {
        Upgrade::Tls
    } else {
        Upgrade::Other
    }
}
