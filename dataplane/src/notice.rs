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
//! (lists of revoked certificates, packages, updates) is never answered, as they say that they don't want a page.
//!
//! Only what is asked for in clear. Nothing is kept of a request.

use glassgate_policy::charter::{MAX_NOTICE_BODY, TOKEN};
use ring::hmac;

/// How long a device is shown the notice.
pub const SHOWN_NS: u64 = 10 * 60 * 1_000_000_000;
/// From when on it is shown it again.
pub const AGAIN_NS: u64 = 24 * 3600 * 1_000_000_000;
/// Devices of which it is kept when they were shown the notice. Where two have one place, the later one has it, and the other is
/// shown the notice anew.
const PLACES: usize = 4096;
/// Where receipts are sent to, of whatever host.
const RECEIPTS: &[u8] = b"/glassgate-notice/";
/// The longest head of an answer.
const HEAD: usize = 256;

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

/// What an lcore knows of notices. All memory is taken here.
pub struct Notices {
    key: hmac::Key,
    shown: Box<[Shown]>,
    answer: Vec<u8>,
}

/// When a device was first shown the notice.
#[derive(Clone, Copy, Default)]
struct Shown {
    device: u64,
    since_ns: u64,
}

impl Notices {
    /// With the key of tokens, which all lcores must share: a receipt may come by another than the page went by.
    pub fn new(key: &[u8; 32]) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, key),
            shown: vec![Shown::default(); PLACES].into_boxed_slice(),
            answer: Vec::with_capacity(HEAD + MAX_NOTICE_BODY),
        }
    }

    /// What a request of a device is answered with. `None`: it passes.
    pub fn answers(&mut self, device: &[u8; 16], request: Request<'_>, now_ns: u64) -> Option<Answer> {
        match request {
            Request::Receipt(token) => (token == self.token(device)).then_some(Answer::Thanks),
            Request::Probe => self.may_show(device, now_ns).then_some(Answer::ToProbe),
            Request::Page => self.may_show(device, now_ns).then_some(Answer::ToPage),
            Request::Other => None,
        }
    }

    /// The whole response; `page` is the notice.
    pub fn response(&mut self, device: &[u8; 16], answer: Answer, page: &[u8]) -> &[u8] {
        let status: &[u8] = match answer {
            Answer::ToProbe | Answer::Thanks => b"200 OK",
            Answer::ToPage => b"511 Network Authentication Required",
        };
        let body = if answer == Answer::Thanks { THANKS } else { page };
        let token = self.token(device);
        let mut digits = [0; 20];
        self.answer.clear();
        for part in [
            b"HTTP/1.1 ",
            status,
            b"\r\nContent-Type: text/html; charset=utf-8\r\nCache-Control: no-store\r\nConnection: close\r\nContent-Length: ",
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

    /// What stands in the page of a device: nobody else can know it, so no other page can send its receipt.
    fn token(&self, device: &[u8; 16]) -> [u8; 16] {
        let tag = hmac::sign(&self.key, device);
        let mut token = [0; 16];
        for (two, byte) in token.as_chunks_mut::<2>().0.iter_mut().zip(tag.as_ref()) {
            *two =
                [byte >> 4, byte & 15].map(|digit| if digit < 10 { b'0' + digit } else { b'a' + digit - 10 });
        }
        token
    }

    fn may_show(&mut self, device: &[u8; 16], now_ns: u64) -> bool {
        let tag = hmac::sign(&self.key, &[device.as_slice(), b"shown"].concat());
        let id = tag.as_ref().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let Some(shown) = self.shown.get_mut(id as usize % PLACES) else { return false };
        let since = now_ns.saturating_sub(shown.since_ns);
        if shown.device != id || since >= AGAIN_NS {
            *shown = Shown { device: id, since_ns: now_ns };
            return true;
        }
        since < SHOWN_NS
    }
}

const THANKS: &[u8] = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
    <meta name=\"viewport\" content=\"width=device-width\"><title>Thank you · 谢谢</title>\
    <body style=\"font:1.1em/1.6 system-ui,sans-serif;max-width:38em;margin:2em auto;padding:0 1em\">\
    <h1>Thank you · 谢谢</h1><p>That the notice was read on this device is noted. This window can be closed.</p>\
    <p lang=\"zh\">已记录本设备阅读过该告知，可以关闭此窗口。</p></html>\n"
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
    match method {
        b"POST" => path.strip_prefix(RECEIPTS).map_or(Request::Other, Request::Receipt),
        b"GET" if PROBE_PATHS.contains(&path) => Request::Probe,
        b"GET" => {
            let (mut is_page, mut is_probe, mut is_whole) = (false, false, false);
            for line in lines {
                if line.is_empty() {
                    is_whole = true;
                    break;
                }
                let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
                let (field, value) = line.split_at(colon);
                let value = value.get(1..).unwrap_or_default().trim_ascii();
                if field.eq_ignore_ascii_case(b"accept") {
                    is_page = value.windows(9).any(|window| window.eq_ignore_ascii_case(b"text/html"));
                } else if field.eq_ignore_ascii_case(b"host") {
                    is_probe = PROBE_HOSTS.iter().any(|host| value.eq_ignore_ascii_case(host));
                }
            }
            match (is_whole, is_probe, is_page) {
                (true, true, _) => Request::Probe,
                (true, false, true) => Request::Page,
                _ => Request::Other,
            }
        }
        _ => Request::Other,
    }
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

    const DEVICE: [u8; 16] = [7; 16];

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

    #[test]
    fn a_response_is_whole_and_bears_the_token_of_its_device() {
        let mut notices = Notices::new(&[1; 32]);
        let page = [b"<form action=/glassgate-notice/", TOKEN.as_slice(), b">"].concat();
        let response = String::from_utf8(notices.response(&DEVICE, Answer::ToProbe, &page).to_vec()).unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{head}");
        let token = body.strip_prefix("<form action=/glassgate-notice/").unwrap().strip_suffix('>').unwrap();
        assert!(token.len() == 16 && token.bytes().all(|b| b.is_ascii_hexdigit()), "{token}");
        assert_eq!(notices.answers(&DEVICE, Request::Receipt(token.as_bytes()), 0), Some(Answer::Thanks));
        assert_eq!(notices.answers(&[8; 16], Request::Receipt(token.as_bytes()), 0), None, "another device");
        assert_eq!(notices.answers(&DEVICE, Request::Receipt(TOKEN), 0), None);
        let mut other = Notices::new(&[2; 32]);
        assert_eq!(other.answers(&DEVICE, Request::Receipt(token.as_bytes()), 0), None, "another gateway");
        let response = notices.response(&DEVICE, Answer::Thanks, &page);
        assert!(response.ends_with(THANKS) && notices.answer.capacity() == HEAD + MAX_NOTICE_BODY);
        let longest = vec![b'x'; MAX_NOTICE_BODY];
        assert!(notices.response(&DEVICE, Answer::ToPage, &longest).starts_with(b"HTTP/1.1 511 "));
        assert_eq!(notices.answer.capacity(), HEAD + MAX_NOTICE_BODY, "nothing is allocated");
    }

    #[test]
    fn it_is_shown_for_a_while_and_then_not_until_the_next_day() {
        let mut notices = Notices::new(&[1; 32]);
        let mut shown = |at| notices.answers(&DEVICE, Request::Probe, at).is_some();
        let began = 5_000_000_000;
        assert!(shown(began) && shown(began + SHOWN_NS - 1));
        assert!(!shown(began + SHOWN_NS) && !shown(began + AGAIN_NS - 1));
        assert!(shown(began + AGAIN_NS) && shown(began + AGAIN_NS + 1));
    }
}
