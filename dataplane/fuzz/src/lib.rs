//! What the fuzzers run: one function per target, each a contract that must hold for any bytes.
//!
//! The programs that `cargo fuzz` builds are a line each and call these; the test of this crate calls them on the stable
//! toolchain with the committed corpora and with mutations of them. A target does more than not crash: it holds
//! the parser to what its documentation promises (prefixes, bounds, conservation of counts).

#![forbid(unsafe_code)]

use glassgate_dataplane::assembler::{Assembler, Ranges};
use glassgate_dataplane::classifier::{Classifier, NoSink, Options, Policy};
use glassgate_dataplane::defrag::{self, Defrag, Outcome};
use glassgate_dataplane::inspect::dns::{self, Place};
use glassgate_dataplane::inspect::{http, ja4, quic, starttls, tls};
use glassgate_dataplane::parse::{ParseOptions, Parsed, parse};
use glassgate_dataplane::port::capture::CaptureReader;
use glassgate_dataplane::port::{Frame as _, Link};
use glassgate_dataplane::probe::Probe;
use glassgate_policy::exchange::{self, File, Format};
use glassgate_policy::pack::{self, Pack};
use glassgate_policy::signature::{Meta, Role, Tier};
use glassgate_policy::source::Source;
use glassgate_policy::table::SignatureTable;
use glassgate_policy::{Category, FlowEvent, Name, Verdict, VerdictMatrix};
use std::sync::{Arc, OnceLock};

/// A target by its name.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("frame", frame),
    ("path", path),
    ("tls", tls),
    ("quic", quic),
    ("http", http),
    ("dns", dns),
    ("starttls", starttls),
    ("defrag", defrag),
    ("capture", capture),
    ("assembler", assembler),
    ("policy", policy),
];

const LINKS: [Link; 12] = [
    Link::Ethernet,
    Link::RawIp,
    Link::Null,
    Link::Sll,
    Link::Sll2,
    Link::Ppp,
    Link::Ieee80211Radiotap,
    Link::Ieee80211,
    Link::Nflog,
    Link::Pppoe,
    Link::Chdlc,
    Link::Ppi,
];

/// Any bytes as a frame: what is said of it lies within it.
pub fn frame(data: &[u8]) {
    let [selector, bytes @ ..] = data else { return };
    let link = LINKS[usize::from(selector & 15) % LINKS.len()];
    let options = ParseOptions { tunnel_depth: (selector >> 4) & 3, capture: selector & 64 != 0 };
    let wire_len = bytes.len() + if selector & 128 != 0 { 1000 } else { 0 };
    match parse(bytes, wire_len, link, &options) {
        Parsed::Packet(packet) => {
            assert_eq!(
                packet.payload(bytes).len(),
                packet.payload_len as usize,
                "the payload lies in the frame"
            );
            assert!(packet.payload_len <= packet.payload_wire_len);
            let _ = glassgate_dataplane::parse::l4_checksum_ok(&packet, bytes, &options);
        }
        Parsed::Fragment(fragment) => {
            assert_eq!(fragment.payload(bytes).len(), fragment.payload_len as usize)
        }
        Parsed::Opaque(_) | Parsed::Tunnel(_) | Parsed::Malformed(_) => {}
    }
}

/// A row of chunks, each with two bytes of length before it.
fn chunks(mut data: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (len, rest) = data.split_first_chunk::<2>()?;
        let len = usize::from(u16::from_be_bytes(*len) & 0x0fff).min(rest.len());
        let (chunk, rest) = rest.split_at(len);
        data = rest;
        Some(chunk)
    })
}

/// A row of chunks as it is read by the targets that take several messages: for those who write seeds.
pub fn join(chunks: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    for chunk in chunks {
        let len = chunk.len().min(0x0fff);
        out.extend_from_slice(&(len as u16).to_be_bytes());
        out.extend_from_slice(&chunk[..len]);
    }
    out
}

/// Frames through the classifier: every frame and every flow is counted once.
pub fn path(data: &[u8]) {
    let [selector, frames @ ..] = data else { return };
    let capture = selector & 1 != 0;
    let options = Options {
        flows: 64,
        slab: 8,
        hints: 64,
        quic_ids: 16,
        defrag: defrag::Options { datagrams: 8, bytes: 4096, timeout: 30_000 },
        parse: ParseOptions { tunnel_depth: (selector >> 1) & 3, capture },
        ..Options::default()
    };
    let mut classifier = Classifier::new(options, empty_policy(), NoSink, 1_000_000_000);
    let (mut now, mut count) = (1_000_000_000u64, 0u64);
    for bytes in chunks(frames) {
        count += 1;
        // Some frames come a minute later, so that timeouts are reached.
        now += if bytes.first().is_some_and(|b| b & 15 == 15) { 60_000_000_000 } else { 1_000_000 };
        classifier.frame(bytes, bytes.len(), Link::Ethernet, count, now);
        classifier.expire(now, 4);
    }
    classifier.finish();
    let c = &classifier.counters;
    let sum = |family: &[u64]| family.iter().sum::<u64>();
    let seen = c.flow_frames[0] + c.fragment_frames[0] + sum(&c.opaque_frames) + sum(&c.tunnel_frames);
    assert!(seen <= count && count <= seen + sum(&c.malformed_frames), "frames: {count} sent, {seen} seen");
    assert_eq!(c.flows_opened[0], sum(&c.flows_named) + sum(&c.flows_unnamed), "flows");
    assert_eq!(classifier.flows(), 0);
    assert_eq!(classifier.slab_fill().0, 0, "every slot came back");
}

fn empty_policy() -> Policy {
    static TABLE: OnceLock<Arc<SignatureTable>> = OnceLock::new();
    let table = TABLE.get_or_init(|| Arc::new(empty_table())).clone();
    Policy { table, matrix: Arc::new(VerdictMatrix::uniform(1, Verdict::FAIL_OPEN)) }
}

/// A table without entries.
pub fn empty_table() -> SignatureTable {
    let compiled = glassgate_policy::compile::compile(&[], &glassgate_policy::compile::Options::default());
    let bytes = compiled.unwrap_or_else(|e| panic!("{e}")).bytes;
    SignatureTable::from_bytes(&bytes).unwrap_or_else(|e| panic!("{e}"))
}

/// `probe` answers the same for every prefix as for the whole: `NeedMore(n)` is true, and other answers are final. Whether
/// what is refused is called another protocol or a broken one may depend on how much of it was shown; a name may not.
fn prefixes_agree<T: PartialEq + std::fmt::Debug>(data: &[u8], mut probe: impl FnMut(&[u8]) -> Probe<T>) {
    let whole = probe(data);
    // A few prefixes per input: the fuzzer finds the others.
    let step = data.len() / 5 + 1;
    for len in (0..data.len()).step_by(step) {
        match probe(&data[..len]) {
            Probe::NeedMore(n) => assert!(n > len, "more than {len} bytes are needed, not {n}"),
            Probe::NotThis | Probe::Malformed(_) if matches!(whole, Probe::NotThis | Probe::Malformed(_)) => {
            }
            answer => assert_eq!(answer, whole, "the answer for {len} of {} bytes was final", data.len()),
        }
    }
}

/// A stream as TLS.
pub fn tls(data: &[u8]) {
    let mut scratch = tls::Scratch::default();
    prefixes_agree(data, |d| tls::client_hello(d, &mut scratch));
    if let Probe::Done(hello) = tls::client_hello(data, &mut scratch) {
        assert!(hello.end <= data.len());
        let message = hello.message(data, &scratch);
        if let Some(ja4) = ja4::Ja4::new(message, ja4::Transport::Tcp) {
            assert!(ja4.as_str().is_ascii());
        }
        let _ = tls::second_client_hello(&data[hello.end..], &mut scratch);
    }
    let _ = tls::is_hello_retry_request(data);
    let _ = tls::looks_like_record(data);
}

/// Datagrams of one flow as QUIC.
pub fn quic(data: &[u8]) {
    let [selector, datagrams @ ..] = data else { return };
    let mut scratch = quic::Scratch::default();
    let mut state = quic::State::default();
    let (mut buf, mut ranges) = (vec![0; 16 * 1024], Ranges::default());
    for (i, datagram) in chunks(datagrams).enumerate() {
        let from_client = match (selector >> (i % 4 * 2)) & 3 {
            0 => None,
            1 => Some(false),
            _ => Some(true),
        };
        let mut crypto = Assembler::new(&mut buf, &mut ranges);
        let _ = quic::datagram(datagram, from_client, &mut state, &mut crypto, &mut scratch);
        let _ = (state.reason(), state.version(), state.server_cid().len(), scratch.rival().is_some());
    }
}

/// A stream as requests.
pub fn http(data: &[u8]) {
    prefixes_agree(data, http::request_head);
    if let Probe::Done(head) = http::request_head(data) {
        assert!(head.len <= data.len());
    }
    let _ = http::unfinished_head(data);
    let (mut tracker, mut at) = (http::Tracker::new(), 0);
    for _ in 0..64 {
        match tracker.next(&data[at..]) {
            http::Step::Request { used, .. } => at += used,
            http::Step::More { used, .. } => {
                assert!(at + used <= data.len());
                break;
            }
            http::Step::Stop => break,
        }
        assert!(at <= data.len());
    }
}

/// A datagram and a stream as DNS.
pub fn dns(data: &[u8]) {
    for place in [Place::Port53, Place::Anywhere] {
        if let Probe::Done(message) = dns::message(data, place) {
            let names = message.questions().map(|q| q.name.to_string().len()).sum::<usize>();
            assert!(names <= 16 * 4 * 256, "presentation form is bounded");
            let _ = (message.answers().count(), message.addresses().count());
        }
        prefixes_agree(data, |d| dns::tcp_message(d, place).map(|found| found.len));
    }
}

/// A stream that may turn to TLS.
pub fn starttls(data: &[u8]) {
    if let Probe::Done(found) = starttls::find(data) {
        assert!(found.at <= data.len() && found.at <= starttls::CAP);
    }
    prefixes_agree(data, starttls::find);
}

/// Frames of fragments.
pub fn defrag(data: &[u8]) {
    let options = ParseOptions { tunnel_depth: 1, capture: false };
    let mut defrag = Defrag::new(defrag::Options { datagrams: 8, bytes: 2048, timeout: 100 }, options);
    for (now, bytes) in chunks(data).enumerate() {
        if let Parsed::Fragment(fragment) = parse(bytes, bytes.len(), Link::RawIp, &options) {
            match defrag.offer(&fragment, bytes, now as u64 * 40, &mut |_| {}) {
                Outcome::Whole { bytes, parsed: Parsed::Packet(packet) } => {
                    assert_eq!(packet.payload(bytes).len(), packet.payload_len as usize);
                }
                Outcome::Whole { parsed, .. } => assert!(!matches!(parsed, Parsed::Fragment(_))),
                Outcome::Kept | Outcome::Refused { .. } | Outcome::Ignored => {}
            }
        }
        defrag.expire(now as u64 * 40, &mut |_| {});
    }
}

/// A capture file.
pub fn capture(data: &[u8]) {
    let Ok(mut reader) = CaptureReader::new(std::io::Cursor::new(data.to_vec())) else { return };
    let (mut number, mut bytes) = (0, 0);
    while let Some(Ok(frame)) = reader.next() {
        assert!(frame.number() > number, "frames are numbered upwards");
        number = frame.number();
        bytes += frame.bytes().len();
        assert!(bytes <= data.len(), "no byte is given twice");
    }
}

/// Segments by offset, against a map from offset to byte.
pub fn assembler(data: &[u8]) {
    let (mut buf, mut ranges) = ([0u8; 256], Ranges::default());
    let mut assembler = Assembler::new(&mut buf, &mut ranges);
    let mut model = [None; 256];
    for segment in chunks(data) {
        let [offset, bytes @ ..] = segment else { continue };
        let before = model;
        let (mut conflict, mut new) = (false, false);
        for (slot, byte) in model.iter_mut().skip(usize::from(*offset)).zip(bytes) {
            match slot {
                Some(there) => conflict |= there != byte,
                None => (*slot, new) = (Some(*byte), true),
            }
        }
        let got = assembler.insert(u64::from(*offset), bytes);
        if new && !got.new_bytes {
            // The one case in which bytes that fit are refused: a range too many.
            assert!(got.overflow, "bytes that fit are kept");
            model = before;
        }
        assert_eq!(got.conflict, conflict);
        let whole: Vec<u8> = model.iter().map_while(|b| *b).collect();
        assert_eq!(assembler.contiguous(), whole);
    }
}

/// Everything of the policy crate that comes from outside as bytes or text.
pub fn policy(data: &[u8]) {
    let _ = VerdictMatrix::from_bytes(data);
    if let Ok(table) = SignatureTable::from_bytes(data)
        && let Ok(name) = Name::from_wire(b"www.example.com")
    {
        let _ =
            table.lookup(&name).map(|m| (table.service(m.service).is_some(), table.entry(m.entry).is_some()));
    }
    pack(data);
    if let Some(bytes) = data.first_chunk() {
        let _ = FlowEvent::from_bytes(bytes);
    }
    if let Ok(name) = Name::from_wire(data) {
        assert_eq!(Name::from_wire(name.as_bytes()), Ok(name), "canonical form is a fixed point");
    }
    let _ = Name::from_host(data);
    _ = glassgate_policy::charter::CharterFile::parse("fuzz.toml", data);
    _ = glassgate_policy::charter::Signatures::parse("fuzz.sig", data);
    _ = glassgate_policy::calendar::CalendarFile::parse("fuzz.toml", data);
    if let Err(errors) = Source::parse("fuzz.tsv", data) {
        assert!(!errors.to_string().is_empty());
    }
    for format in Format::ALL {
        lists(*format, data);
    }
}

/// Bytes as a pack, and behind the header of a good one: what opens is used, damaged or not.
fn pack(data: &[u8]) {
    let mut behind = pack::build(&empty_table(), &pack::Info::default());
    let tail = behind.len().min(pack::HEADER + data.len());
    behind.iter_mut().skip(pack::HEADER).zip(data).for_each(|(to, from)| *to = *from);
    // The header names the digest that the table ends with, so that it opens.
    if let (true, Some(digest)) = (tail > pack::HEADER, behind.last_chunk::<32>().copied()) {
        behind.iter_mut().skip(48).zip(digest).for_each(|(to, from)| *to = from);
    }
    for bytes in [data.to_vec(), behind] {
        let Ok(pack) = Pack::look(Arc::new(bytes)) else { continue };
        let verified = pack.verify().is_ok();
        let Ok(name) = Name::from_wire(b"www.example.com") else { continue };
        let found = pack.table().lookup(&name);
        let mut batch = [None];
        pack.table().lookup_batch(&[&name], &mut batch);
        assert_eq!(batch, [found]);
        if let Some(found) = found {
            assert!(pack.table().entry(found.entry).is_some() || !verified);
        }
    }
}

/// A list of others: whatever its bytes, what is read of it can be written as a source and read back.
fn lists(format: Format, data: &[u8]) {
    let file = || File { path: "domains".to_owned(), bytes: data.to_vec() };
    let mut left = 3;
    let mut include = |_: &str| {
        left -= 1;
        if left > 0 { Ok(file()) } else { Err("no more".to_owned()) }
    };
    let list = exchange::import(exchange::Options::new(format), &[file()], &mut include);
    assert!(list.counts.refused <= list.faults.count());
    let meta = Meta {
        service: "fuzz".to_owned(),
        category: Category::Games,
        role: Role::Site,
        tier: Tier::Strong,
        source: "fuzz".to_owned(),
        licence: "MIT".to_owned(),
        added: Default::default(),
        expires: None,
        note: String::new(),
    };
    let source = Source::parse("fuzz.tsv", list.to_source(&meta, None).as_bytes());
    let source = source.unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(source.entries().len(), list.len());
}
