//! The notice, shown to a device on which it has not been read: which requests are answered with it, and how a receipt is
//! known.
//!
//! ```text
//!  GET  what a system asks for to see whether there is a network behind the network ─► the notice, as 200: it opens a window
//!  GET  a page, from a browser                                                      ─► the notice, as 511 (RFC 6585 section 6)
//!  POST /glassgate-notice/TOKEN, the token of this device                           ─► thanks, and a receipt
//!  everything else, and all of it when the notice was shown for a while             ─► passes
//! ```
//!
//! **Never for long.** A system that finds a notice in place of the network may turn to another network until it has seen its way out.
//! So a device is shown the notice for [`SHOWN_NS`] from the first time on, and then not for [`AGAIN_NS`]. What programs ask for
//! (lists of revoked certificates, packages, updates) is never answered, as they don't say that they take XHTML, which browsers do when
//! somebody goes to a page. A Java program says that it takes HTML.
//!
//! **A receipt is of the page that was shown, to whom it was shown.** Its token is an HMAC over network and hardware address, the
//! number of who has the address, and the page. So that of another text, of somebody who had the address before, or of another
//! device is none; who sends it is shown the notice that they have to read. It does not say that a person pressed the button: in clear, what a
//! script of the same host does can't be told from what its reader does. The page can't be put into a frame and runs no scripts.
//!
//! Only what is asked for in clear. Nothing is kept of a request.

use glassgate_policy::SubjectId;
use glassgate_policy::charter::{MAX_NOTICE_BODY, TOKEN};
use glassgate_policy::identity::Mac;
use glassgate_policy::matrix;
use ring::hmac;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// How long a device is shown the notice.
pub const SHOWN_NS: u64 = 10 * 60 * SECOND;
/// From when on it is shown it again.
pub const AGAIN_NS: u64 = 24 * 3600 * SECOND;
const SECOND: u64 = 1_000_000_000;
/// Devices of which it is kept when they were shown the notice, for all lcores together: 512 KiB. What finds no place is shown nothing.
const PLACES: usize = 1 << 16;
/// Places of a bucket: a cache line.
const WAYS: usize = 8;
/// Where receipts are sent to, of whatever host.
const RECEIPTS: &[u8] = b"/glassgate-notice/";
/// The longest head of an answer.
const HEAD: usize = 384;
/// No frame shows it, so that no page can press its button; nothing in it runs, and nothing is fetched for it.
const FENCED: &[u8] =
    b"\r\nX-Frame-Options: DENY\r\nContent-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; \
    frame-ancestors 'none'; sandbox allow-forms";

/// What a request asks for, as far as notices are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// Whether there is a network: what systems ask for by themselves.
    Probe,
    /// A page, from a browser.
    Page,
    /// Somebody has read the notice, and this is the token that stood in it.
    Receipt(&'a [u8]),
    /// Something else, or not all of it is there.
    Other,
}

/// What is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The notice, as what was asked for.
    ToProbe,
    /// The notice, in place of what was asked for.
    ToPage,
    /// That the receipt was taken.
    Thanks,
}

/// When devices were shown the notice, and the key of tokens: the same for all lcores, since a receipt may come by another than the
/// page went by. Clones are the same.
#[derive(Clone, Debug)]
pub struct Shown(Arc<All>);

#[derive(Debug)]
struct All {
    key: hmac::Key,
    buckets: Box<[Bucket]>,
}

/// Of each device a tag, in the upper half, and the second of the clock at which it was first shown the notice; zero for nobody yet.
#[repr(align(64))]
#[derive(Debug, Default)]
struct Bucket([AtomicU64; WAYS]);

const _: () = assert!(size_of::<Bucket>() == 64);

impl Shown {
    /// Nobody was shown anything yet. Takes all memory here.
    pub fn new(key: &[u8; 32]) -> Self {
        Self::with_places(key, PLACES)
    }

    fn with_places(key: &[u8; 32], places: usize) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        Self(Arc::new(All { key, buckets: (0..places / WAYS).map(|_| Bucket::default()).collect() }))
    }

    /// HMAC over parts of fixed length.
    fn sign(&self, parts: &[&[u8]]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.0.key);
        parts.iter().for_each(|part| context.update(part));
        context.sign()
    }

    /// Whether a device may be shown the notice now; if it is the first time, that is kept.
    fn may_show(&self, to: &Reader, now_ns: u64) -> bool {
        let tag = self.sign(&[b"shown", &to.address, &to.mac.0]);
        let hash = tag.as_ref().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let at = hash as u32 as usize % self.0.buckets.len().max(1);
        let Some(Bucket(ways)) = self.0.buckets.get(at) else { return false };
        let now = now_ns / SECOND;
        let age = |held: u64| now.saturating_sub(held & u64::from(u32::MAX)) * SECOND;
        // Never zero, which is nobody.
        let (whose, new) = (hash >> 32, hash >> 32 << 32 | now.clamp(1, u64::from(u32::MAX)));
        let mine = ways.iter().map(|way| way.load(Relaxed)).find(|held| *held != 0 && held >> 32 == whose);
        if let Some(age) = mine.map(age).filter(|age| *age < AGAIN_NS) {
            return age < SHOWN_NS;
        }
        // Of two lcores that do this at once for one device, both keep it.
        ways.iter().any(|way| {
            let held = way.load(Relaxed);
            let is_free = held == 0 || age(held) >= AGAIN_NS;
            is_free && way.compare_exchange(held, new, Relaxed, Relaxed).is_ok()
        })
    }
}

impl Default for Shown {
    /// For tests and captures.
    fn default() -> Self {
        Self::with_places(&[0; 32], 1024)
    }
}

/// Who may be shown a notice.
#[derive(Clone, Copy, Debug)]
pub struct Reader {
    /// Network address, in sixteen bytes.
    pub address: [u8; 16],
    /// Hardware address that the request came from.
    pub mac: Mac,
    /// The number of who has the address, where people have numbers.
    pub subject: SubjectId,
}

/// What an lcore answers with. All memory is taken here.
pub struct Notices {
    shown: Shown,
    answer: Vec<u8>,
}

impl Notices {
    /// With what lcores share.
    pub fn new(shown: Shown) -> Self {
        Self { shown, answer: Vec::with_capacity(HEAD + MAX_NOTICE_BODY) }
    }

    /// What a request is answered with. `None`: it passes.
    pub fn answers(
        &self,
        to: &Reader,
        notice: &matrix::Notice,
        request: Request<'_>,
        now_ns: u64,
    ) -> Option<Answer> {
        match request {
            Request::Receipt(token) if token == self.token(to, notice) => Some(Answer::Thanks),
            // Of a page that this device has not to read, or not any more: there is nothing that it could be for but this one.
            Request::Receipt(_) => Some(Answer::ToProbe),
            Request::Probe => self.shown.may_show(to, now_ns).then_some(Answer::ToProbe),
            Request::Page => self.shown.may_show(to, now_ns).then_some(Answer::ToPage),
            Request::Other => None,
        }
    }

    /// The whole response; `notice` is what is to be read. Thanks need none, as there may be nothing to read any more when they are sent
    /// again.
    pub fn response(&mut self, to: &Reader, answer: Answer, notice: Option<&matrix::Notice>) -> &[u8] {
        let status: &[u8] = match answer {
            Answer::ToProbe | Answer::Thanks => b"200 OK",
            Answer::ToPage => b"511 Network Authentication Required",
        };
        let body = match (answer, notice) {
            (Answer::Thanks, _) => THANKS,
            (_, Some(notice)) => &notice.page,
            (_, None) => &[],
        };
        let token = notice.map(|notice| self.token(to, notice)).unwrap_or_default();
        let mut digits = [0; 20];
        self.answer.clear();
        for part in [
            b"HTTP/1.1 ",
            status,
            b"\r\nContent-Type: text/html; charset=utf-8\r\nCache-Control: no-store\r\nConnection: close",
            FENCED,
            b"\r\nContent-Length: ",
            decimal(body.len(), &mut digits),
            b"\r\n\r\n",
        ] {
            self.answer.extend_from_slice(part);
        }
        let (before, after) = match body.windows(TOKEN.len()).position(|window| window == TOKEN) {
            Some(at) => (body.get(..at), body.get(at + TOKEN.len()..)),
            None => (Some(body), None),
        };
        self.answer.extend_from_slice(before.unwrap_or_default());
        if let Some(after) = after {
            self.answer.extend_from_slice(&token);
            self.answer.extend_from_slice(after);
        }
        &self.answer
    }

    /// What stands in a page that somebody is shown: nobody else can know it, so no other page can send its receipt.
    fn token(&self, to: &Reader, notice: &matrix::Notice) -> [u8; 16] {
        let subject = to.subject.0.to_le_bytes();
        let tag = self.shown.sign(&[b"token", &to.address, &to.mac.0, &subject, &notice.digest]);
        let mut token = [0; 16];
        for (two, byte) in token.as_chunks_mut::<2>().0.iter_mut().zip(tag.as_ref()) {
            *two =
                [byte >> 4, byte & 15].map(|digit| if digit < 10 { b'0' + digit } else { b'a' + digit - 10 });
        }
        token
    }
}

const THANKS: &[u8] = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
    <meta name=\"viewport\" content=\"width=device-width\"><title>Thank you · 谢谢</title>\
    <body style=\"font:1.1em/1.6 system-ui,sans-serif;max-width:38em;margin:2em auto;padding:0 1em\">\
    <h1>Thank you · 谢谢</h1><p>It is being noted that the notice was read on this device. This window can be closed. \
    If the notice comes again, that could not be kept: please press the button once more then.</p>\
    <p lang=\"zh\">正在记录本设备已阅读该告知，可以关闭此窗口。如果该告知再次出现，说明未能保存，请再按一次按钮。</p></html>\n"
    .as_bytes();

/// Reads what begins a segment.
pub fn request(payload: &[u8]) -> Request<'_> {
    let lines = payload.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
    let mut lines = lines.map(<[u8]>::trim_ascii);
    let mut words = lines.next().unwrap_or_default().split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version)) = (words.next(), words.next(), words.next()) else {
        return Request::Other;
    };
    if !version.starts_with(b"HTTP/1.") {
        return Request::Other;
    }
    let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
    let asks = match method {
        b"POST" => match path.strip_prefix(RECEIPTS) {
            Some(token) => Request::Receipt(token),
            None => return Request::Other,
        },
        b"GET" if PROBE_PATHS.contains(&path) => Request::Probe,
        b"GET" => Request::Other,
        _ => return Request::Other,
    };
    let (mut takes_pages, mut is_probe, mut is_whole) = (false, false, false);
    for line in lines {
        if line.is_empty() {
            is_whole = true;
            break;
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (field, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        let is = |name: &[u8]| field.eq_ignore_ascii_case(name);
        if is(b"accept") {
            takes_pages = holds(value, b"text/html") && holds(value, b"application/xhtml+xml");
        } else if is(b"host") {
            is_probe = PROBE_HOSTS.iter().any(|host| value.eq_ignore_ascii_case(host));
        } else if is(b"sec-fetch-dest") && !value.eq_ignore_ascii_case(b"document")
            || is(b"x-requested-with") && value.eq_ignore_ascii_case(b"xmlhttprequest")
            || is(b"purpose") && holds(value, b"prefetch")
            || is(b"sec-purpose") && holds(value, b"prefetch")
        {
            // Nobody goes there: a script or the browser itself asks.
            return Request::Other;
        }
    }
    match asks {
        Request::Other if is_whole && is_probe => Request::Probe,
        Request::Other if is_whole && takes_pages => Request::Page,
        asks => asks,
    }
}

fn holds(value: &[u8], word: &[u8]) -> bool {
    value.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word))
}

/// What systems ask for, whatever the host: Android and its kin, Apple, Windows, Firefox, NetworkManager.
const PROBE_PATHS: &[&[u8]] = &[
    b"/generate_204",
    b"/gen_204",
    b"/hotspot-detect.html",
    b"/library/test/success.html",
    b"/connecttest.txt",
    b"/ncsi.txt",
    b"/check_network_status.txt",
];

/// Hosts that are there for nothing else.
const PROBE_HOSTS: &[&[u8]] = &[
    b"connectivitycheck.gstatic.com",
    b"connectivitycheck.android.com",
    b"connectivitycheck.platform.hicloud.com",
    b"connect.rom.miui.com",
    b"conn1.oppomobile.com",
    b"wifi.vivo.com.cn",
    b"captive.apple.com",
    b"www.msftconnecttest.com",
    b"www.msftncsi.com",
    b"detectportal.firefox.com",
    b"nmcheck.gnome.org",
    b"connectivity-check.ubuntu.com",
    b"network-test.debian.org",
];

fn decimal(n: usize, digits: &mut [u8; 20]) -> &[u8] {
    let (mut at, mut rest) = (digits.len(), n);
    for (place, digit) in digits.iter_mut().enumerate().rev() {
        (*digit, at) = (b'0' + (rest % 10) as u8, place);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    digits.get(at..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICE: Reader = Reader { address: [7; 16], mac: Mac([2; 6]), subject: SubjectId(5) };

    fn notice(page: &[u8]) -> matrix::Notice {
        matrix::Notice { page: page.into(), digest: glassgate_policy::charter::page_digest(page) }
    }

    fn get(target: &str, more: &str) -> Vec<u8> {
        format!("GET {target} HTTP/1.1\r\n{more}\r\n").into_bytes()
    }

    #[test]
    fn probes_and_pages_are_told_from_what_programs_ask_for() {
        let browser = "Host: news.example\r\nAccept: text/html,application/xhtml+xml\r\n";
        for (bytes, expected) in [
            (get("/generate_204", "Host: a.example\r\n"), Request::Probe),
            (get("/gen_204?x=1", "Host: a.example\r\n"), Request::Probe),
            (get("/", "host:  Captive.Apple.com \r\n"), Request::Probe),
            (get("/news", browser), Request::Page),
            (get("/news", "Host: a.example\r\nAccept: */*\r\n"), Request::Other),
            // What Java says by itself, whatever it asks for.
            (
                get(
                    "/ca.crl",
                    "Accept: text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2\r\nHost: crl.example\r\n",
                ),
                Request::Other,
            ),
            (get("/news", &format!("{browser}Sec-Fetch-Dest: document\r\n")), Request::Page),
            (get("/news", &format!("{browser}Sec-Fetch-Dest: iframe\r\n")), Request::Other),
            (get("/news", &format!("{browser}Purpose: prefetch\r\n")), Request::Other),
            (get("/generate_204", "X-Requested-With: XMLHttpRequest\r\n"), Request::Other),
            (get("/ocsp/AAAA", "Host: ocsp.example\r\n"), Request::Other),
            (b"GET / HTTP/1.1\r\nAccept: text/html\r\n".to_vec(), Request::Other),
            (b"POST /form HTTP/1.1\r\nAccept: text/html\r\n\r\n".to_vec(), Request::Other),
            (b"POST /glassgate-notice/0123 HTTP/1.1\r\n\r\n".to_vec(), Request::Receipt(b"0123")),
            (b"GET /glassgate-notice/0123 HTTP/1.1\r\n\r\n".to_vec(), Request::Other),
            (b"GET /generate_204 RTSP/1.0\r\n\r\n".to_vec(), Request::Other),
            (b"\x16\x03\x01".to_vec(), Request::Other),
            (Vec::new(), Request::Other),
        ] {
            assert_eq!(request(&bytes), expected, "{:?}", String::from_utf8_lossy(&bytes));
        }
        let whole = get("/news", browser);
        for cut in 0..whole.len() - 2 {
            assert_eq!(request(&whole[..cut]), Request::Other, "{cut}");
        }
    }

    fn token(response: &[u8]) -> String {
        let response = String::from_utf8(response.to_vec()).unwrap();
        let (_, token) = response.split_once("/glassgate-notice/").unwrap();
        token[..16].to_owned()
    }

    #[test]
    fn a_response_is_whole_and_no_frame_shows_it() {
        let mut notices = Notices::new(Shown::default());
        let page = notice(&[b"<form action=/glassgate-notice/", TOKEN.as_slice(), b">"].concat());
        for answer in [Answer::ToProbe, Answer::ToPage, Answer::Thanks] {
            let response =
                String::from_utf8(notices.response(&DEVICE, answer, Some(&page)).to_vec()).unwrap();
            let (head, body) = response.split_once("\r\n\r\n").unwrap();
            assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{head}");
            assert!(head.lines().any(|line| line == "X-Frame-Options: DENY"), "{head}");
            let policy =
                head.lines().find_map(|line| line.strip_prefix("Content-Security-Policy: ")).unwrap();
            assert!(policy.contains("frame-ancestors 'none'; sandbox allow-forms"), "{policy}");
        }
        let token = token(notices.response(&DEVICE, Answer::ToProbe, Some(&page)));
        assert!(token.bytes().all(|b| b.is_ascii_hexdigit()), "{token}");
        let response = notices.response(&DEVICE, Answer::Thanks, None);
        assert!(response.ends_with(THANKS) && notices.answer.capacity() == HEAD + MAX_NOTICE_BODY);
        let longest = notice(&vec![b'x'; MAX_NOTICE_BODY]);
        assert!(notices.response(&DEVICE, Answer::ToPage, Some(&longest)).starts_with(b"HTTP/1.1 511 "));
        assert_eq!(notices.answer.capacity(), HEAD + MAX_NOTICE_BODY, "nothing is allocated");
    }

    #[test]
    fn a_receipt_is_of_the_page_and_of_whom_it_was_shown_to() {
        let mut notices = Notices::new(Shown::new(&[1; 32]));
        let page = |text: &str| {
            notice(format!("{text} /glassgate-notice/{}", str::from_utf8(TOKEN).unwrap()).as_bytes())
        };
        let (first, second) = (page("one"), page("two"));
        let token = token(notices.response(&DEVICE, Answer::ToProbe, Some(&first)));
        let gives = |notices: &Notices, to: &Reader, page| {
            notices.answers(to, page, Request::Receipt(token.as_bytes()), 0) == Some(Answer::Thanks)
        };
        assert!(gives(&notices, &DEVICE, &first));
        assert!(!gives(&notices, &DEVICE, &second), "another text");
        for (other, why) in [
            (Reader { address: [8; 16], ..DEVICE }, "another address"),
            (Reader { mac: Mac([3; 6]), ..DEVICE }, "another device that has the address now"),
            (Reader { subject: SubjectId(6), ..DEVICE }, "somebody else who is logged in now"),
        ] {
            assert!(!gives(&notices, &other, &first), "{why}");
        }
        assert!(!gives(&Notices::new(Shown::new(&[2; 32])), &DEVICE, &first), "another gateway");
        // Whoever sends it is shown what they have to read.
        let stale = notices.answers(&DEVICE, &second, Request::Receipt(token.as_bytes()), 0);
        assert_eq!(stale, Some(Answer::ToProbe));
        assert_ne!(notices.answers(&DEVICE, &first, Request::Receipt(TOKEN), 0), Some(Answer::Thanks));
    }

    #[test]
    fn it_is_shown_for_a_while_and_then_not_until_the_next_day() {
        let shown = Shown::new(&[1; 32]);
        let at = |at| shown.may_show(&DEVICE, at);
        let began = 5 * SECOND;
        assert!(at(began) && at(began + SHOWN_NS - 1));
        assert!(!at(began + SHOWN_NS) && !at(began + AGAIN_NS - 1));
        assert!(at(began + AGAIN_NS) && at(began + AGAIN_NS + 1));
        assert!(!shown.clone().may_show(&DEVICE, began + AGAIN_NS + SHOWN_NS), "lcores share it");
    }

    #[test]
    fn whoever_finds_no_place_passes_and_nobody_loses_theirs() {
        let shown = Shown::with_places(&[1; 32], WAYS);
        let device = |n: u8| Reader { address: [n; 16], ..DEVICE };
        let all = |at| (0..20).filter(|n| shown.may_show(&device(*n), at)).collect::<Vec<_>>();
        let first = all(SECOND);
        assert_eq!(first.len(), WAYS);
        assert_eq!(all(2 * SECOND), first);
        assert!(all(SECOND + SHOWN_NS).is_empty(), "none of them is shown it anew");
        assert_eq!(all(SECOND + AGAIN_NS).len(), WAYS, "the next day");
    }
}
