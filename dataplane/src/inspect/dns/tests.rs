use super::*;
use crate::packet::Addr;
use glassgate_policy::name::Kind;
use proptest::prelude::*;

/// A message in the making.
#[derive(Clone)]
struct Build(Vec<u8>);

impl Build {
    fn new(flags: u16, counts: [u16; 4]) -> Self {
        let mut out = vec![0x12, 0x34];
        out.extend(flags.to_be_bytes());
        counts.iter().for_each(|n| out.extend(n.to_be_bytes()));
        Self(out)
    }

    fn query(name: &str) -> Self {
        Self::new(0x0100, [1, 0, 0, 0]).question(name, 1)
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    fn name(mut self, name: &str) -> Self {
        for label in name.split('.').filter(|l| !l.is_empty()) {
            self.0.push(label.len() as u8);
            self.0.extend(label.as_bytes());
        }
        self.bytes(&[0])
    }

    fn question(self, name: &str, qtype: u16) -> Self {
        self.name(name).bytes(&qtype.to_be_bytes()).bytes(&[0, 1])
    }

    fn record(self, owner: &[u8], kind: u16, ttl: u32, data: &[u8]) -> Self {
        let len = (data.len() as u16).to_be_bytes();
        self.bytes(owner)
            .bytes(&kind.to_be_bytes())
            .bytes(&[0, 1])
            .bytes(&ttl.to_be_bytes())
            .bytes(&len)
            .bytes(data)
    }
}

/// A pointer to the name of the first question.
const ASKED: &[u8] = &[0xc0, 12];

fn wire(name: &str) -> Vec<u8> {
    Build(Vec::new()).name(name).0
}

fn names(bytes: &[u8], place: Place) -> Probe<Vec<String>> {
    message(bytes, place).map(|m| m.questions().map(|q| q.name.to_string()).collect())
}

fn is(names: &[&str]) -> Probe<Vec<String>> {
    Probe::Done(names.iter().map(|n| n.to_string()).collect())
}

const BOTH: [Place; 2] = [Place::Port53, Place::Anywhere];

#[test]
fn a_query_anywhere() {
    for place in BOTH {
        assert_eq!(names(&Build::query("WWW.ExAmPlE.com").0, place), is(&["www.example.com"]), "any case");
        let Probe::Done(m) =
            message(&Build::query("a.example").0, place).map(|m| (m.id, m.is_response, m.opcode))
        else {
            panic!()
        };
        assert_eq!(m, (0x1234, false, 0));
        let edns = Build::new(0x0120, [1, 0, 0, 1]).question("a.example", 65).record(&[0], 41, 0, &[]);
        assert_eq!(names(&edns.0, place), is(&["a.example"]));
    }
}

#[test]
fn odd_names() {
    assert_eq!(names(&Build::query("").0, Place::Port53), is(&["."]));
    assert_eq!(names(&Build::query("a b.*.\u{e4}").0, Place::Port53), is(&["a\\x20b.*.\\xc3\\xa4"]));
    let dotted = Build::new(0x0100, [1, 0, 0, 0]).bytes(b"\x03a.b\x01c\0\0\x01\0\x01");
    assert_eq!(names(&dotted.0, Place::Port53), is(&["a.b.c"]));
    let Probe::Done(message) = message(&dotted.0, Place::Port53) else { panic!() };
    assert_eq!(message.questions().next().unwrap().name.kind(), Kind::Odd);
}

#[test]
fn several_questions_at_its_port_only() {
    let two = Build::new(0x0100, [2, 0, 0, 0]).question("a.example", 1).question("b.example", 28);
    assert_eq!(names(&two.0, Place::Port53), is(&["a.example", "b.example"]));
    assert_eq!(names(&two.0, Place::Anywhere), Probe::NotThis);
    let pointed =
        Build::new(0x0100, [2, 0, 0, 0]).question("a.example", 1).bytes(b"\x01b\xc0\x0e\0\x01\0\x01");
    assert_eq!(names(&pointed.0, Place::Port53), is(&["a.example", "b.example"]));
    let mut many = Build::new(0x0100, [QUESTIONS, 0, 0, 0]);
    (0..QUESTIONS).for_each(|_| many = many.clone().question("a.example", 1));
    assert_eq!(names(&many.0, Place::Port53), is(&["a.example"; QUESTIONS as usize]));
    many.0[5] += 1;
    assert_eq!(names(&many.0, Place::Port53), is(&["a.example"]), "then the first one only");
}

#[test]
fn loops_and_lengths() {
    let question = |name: &[u8]| Build::new(0x0100, [1, 0, 0, 0]).bytes(name).bytes(&[0, 1, 0, 1]).0;
    let max =
        [&[63], &[b'a'; 63][..], &[63], &[b'b'; 63], &[63], &[b'c'; 63], &[61], &[b'd'; 61], &[0]].concat();
    assert!(matches!(message(&question(&max), Place::Anywhere), Probe::Done(_)));
    let mut too_long = max.clone();
    too_long[192] = 62;
    too_long.insert(200, b'd');
    for broken in [
        &[0xc0, 12][..],
        &[1, b'a', 0xc0, 12],
        &[0xc0, 14, 0xc0, 12],
        &[0xc0, 0],
        &[0xff, 0xff],
        &[0x40, 1, 0],
        &[0x80, 1, 0],
        &[5, b'a'],
        &too_long,
        &[1, b'a'].repeat(127),
    ] {
        let message = question(broken);
        assert_eq!(names(&message, Place::Port53), Probe::Malformed(Reason::MalformedDns), "{broken:02x?}");
        assert_eq!(names(&message, Place::Anywhere), Probe::NotThis);
    }
    let forward = Build::new(0x0100, [1, 0, 0, 0]).bytes(&[0xc0, 18, 0, 1, 0, 1]).name("a.example");
    assert_eq!(names(&forward.0, Place::Port53), is(&["a.example"]));
}

#[test]
fn what_is_no_dns() {
    let query = Build::query("a.example").0;
    let with = |at: usize, byte: u8| {
        let mut changed = query.clone();
        changed[at] = byte;
        changed
    };
    for (what, bytes) in [
        ("a byte too many", [query.as_slice(), &[0]].concat()),
        ("a byte too few", query[..query.len() - 1].to_vec()),
        ("an answer in a query", with(7, 1)),
        ("a reserved bit", with(3, 0x40)),
        ("an error in a query", with(3, 0x03)),
        ("a dynamic update", with(2, 0x29)),
        ("NetBIOS", with(query.len() - 3, 0x20)),
        ("a class of mDNS", with(query.len() - 2, 0x80)),
        ("no question", with(5, 0)),
        ("more additional records than there are bytes", with(11, 2)),
    ] {
        assert_eq!(names(&bytes, Place::Anywhere), Probe::NotThis, "{what}");
    }
    for bytes in [
        &b""[..],
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\0\0\0\0\0\0",
        b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
        &[0; 12],
        &[0; 40],
        &[0xff; 40],
    ] {
        for place in BOTH {
            assert_eq!(names(bytes, place), Probe::NotThis, "{bytes:02x?}");
        }
    }
}

#[test]
fn counts_that_cannot_be_at_its_port() {
    let query = Build::query("a.example").0;
    for (at, byte) in [(4, 0x1c), (6, 0xc3), (8, 0x71), (10, 0x10)] {
        let mut changed = query.clone();
        changed[at] = byte;
        assert_eq!(names(&changed, Place::Port53), is(&["a.example"]));
        assert_eq!(names(&changed, Place::Anywhere), Probe::NotThis);
        let qtype = changed.len() - 4;
        changed[qtype] = 0x7f;
        assert_eq!(names(&changed, Place::Port53), Probe::NotThis, "of no known type");
    }
    let answer =
        Build::new(0x8180, [1, 2, 0, 0]).question("a.example", 1).record(ASKED, 1, 60, &[192, 0, 2, 1]).0;
    let cut = &answer[..answer.len() - 6];
    assert_eq!(names(cut, Place::Port53), is(&["a.example"]));
    let Probe::Done(message) = message(cut, Place::Port53) else { panic!() };
    assert_eq!((message.is_truncated, message.answers().count()), (true, 0));
}

#[test]
fn notifications_and_updates_ask_nothing() {
    for opcode in [4u16, 5] {
        let zone = Build::new(opcode << 11, [1, 0, 0, 0]).question("a.example", 6);
        assert_eq!(names(&zone.0, Place::Port53), is(&[]));
    }
    assert_eq!(
        names(&Build::new(0x8181, [0; 4]).0, Place::Port53),
        is(&[]),
        "a bare header that refuses a query"
    );
    assert_eq!(names(&Build::new(0x8181, [0, 1, 0, 0]).0, Place::Port53), Probe::NotThis);
}

#[test]
fn families() {
    assert_eq!(family(40000, 53), Some(Family::Dns));
    assert_eq!(family(53, 40000), Some(Family::Dns));
    assert_eq!(family(5353, 5353), Some(Family::Mdns));
    assert_eq!(family(40000, 5355), Some(Family::Llmnr));
    assert_eq!(family(137, 137), Some(Family::NetBios));
    assert_eq!(family(40000, 443), None);
}

fn addresses(bytes: &[u8]) -> Vec<(String, u32)> {
    let Probe::Done(message) = message(bytes, Place::Port53) else { panic!() };
    message.addresses().map(|(addr, ttl)| (addr.ip().to_string(), ttl)).collect()
}

#[test]
fn answers_follow_the_chain() {
    let chain = Build::new(0x8180, [1, 5, 0, 0])
        .question("www.a.example", 1)
        .record(ASKED, 5, 300, &wire("B.cdn.example"))
        .record(&wire("other.example"), 1, 60, &[192, 0, 2, 66])
        .record(&wire("b.CDN.example"), 1, 60, &[192, 0, 2, 1])
        .record(&wire("b.cdn.example"), 1, 6000, &[192, 0, 2, 2])
        .record(ASKED, 1, 60, &[192, 0, 2, 67]);
    assert_eq!(addresses(&chain.0), [("192.0.2.1".into(), 60), ("192.0.2.2".into(), 300)]);
    let Probe::Done(read) = message(&chain.0, Place::Anywhere) else { panic!() };
    assert_eq!(read.questions().next().unwrap().name.as_str(), "www.a.example");
    assert_eq!(read.answers().count(), 5);
}

#[test]
fn pointers_to_the_alias() {
    let start = 12 + 11 + 4;
    let chain = Build::new(0x8180, [1, 4, 0, 0])
        .question("a.example", 1)
        .record(ASKED, 5, 60, b"\x01b\xc0\x0e")
        .record(&[0xc0, start + 12], 5, 60, b"\xc0\x0c")
        .record(&[0xc0, start + 12], 1, 60, &[192, 0, 2, 1])
        .record(&[0xc0, 0x0c], 1, 60, &[192, 0, 2, 2]);
    assert_eq!(addresses(&chain.0), [("192.0.2.2".into(), 60)], "the last alias is the name itself again");
}

#[test]
fn answers_of_version_6_and_services() {
    let v6: [u8; 16] = std::array::from_fn(|i| i as u8);
    let service = [
        &[0, 1, 0][..],
        &[0, 1, 0, 3, 2, b'h', b'3'],
        &[0, 4, 0, 8, 192, 0, 2, 1, 192, 0, 2, 2],
        &[0, 5, 0, 1, 9],
        &[0, 6, 0, 16],
        &v6,
    ]
    .concat();
    let answer = Build::new(0x8180, [1, 2, 0, 0])
        .question("a.example", 65)
        .record(ASKED, 65, 30, &service)
        .record(ASKED, 28, 40, &v6);
    let six = Addr(v6).ip().to_string();
    assert_eq!(
        addresses(&answer.0),
        [("192.0.2.1".into(), 30), ("192.0.2.2".into(), 30), (six.clone(), 30), (six, 40)]
    );
    let Probe::Done(message) = message(&answer.0, Place::Anywhere) else { panic!() };
    assert!(matches!(
        message.answers().next().unwrap().data,
        Data::Service(Service { has_ech: true, priority: 1, .. })
    ));
    let alias = Build::new(0x8180, [1, 1, 0, 0]).question("a.example", 65).record(
        ASKED,
        65,
        30,
        &[&[0, 0, 0][..], &service[10..]].concat(),
    );
    assert_eq!(addresses(&alias.0), []);
}

#[test]
fn answers_that_do_not_count() {
    let one = |flags, counts: [u16; 4]| {
        Build::new(flags, counts).question("a.example", 1).record(ASKED, 1, 60, &[192, 0, 2, 1]).0
    };
    assert_eq!(addresses(&one(0x8180, [1, 1, 0, 0])).len(), 1);
    assert_eq!(addresses(&one(0x0100, [1, 1, 0, 0])), [], "a query");
    assert_eq!(addresses(&one(0x8183, [1, 1, 0, 0])), [], "an error");
    assert_eq!(addresses(&one(0xa180, [1, 1, 0, 0])), [], "a notification");
    assert_eq!(addresses(&one(0x8180, [1, 0, 1, 0])), [], "not in the answer section");
    let huge = Build::new(0x8180, [1, 1, 0, 0]).question("a.example", 1).record(
        ASKED,
        1,
        0x8000_0000,
        &[192, 0, 2, 1],
    );
    assert_eq!(addresses(&huge.0), [("192.0.2.1".into(), 0)]);
    let short = Build::new(0x8180, [1, 1, 0, 0]).question("a.example", 1).record(ASKED, 1, 60, &[192, 0, 2]);
    assert_eq!(addresses(&short.0), []);
    let chaos = Build::new(0x8180, [1, 1, 0, 0])
        .question("a.example", 1)
        .bytes(ASKED)
        .bytes(&[0, 1, 0, 3, 0, 0, 0, 60, 0, 4, 1, 2, 3, 4]);
    assert_eq!(addresses(&chaos.0), []);
    let mut many = Build::new(0x8180, [1, ANSWERS + 1, 0, 0]).question("a.example", 1);
    (0..=ANSWERS).for_each(|i| many = many.clone().record(ASKED, 1, 60, &[192, 0, 2, i as u8]));
    assert_eq!(addresses(&many.0).len(), usize::from(ANSWERS));
}

fn tcp(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes(), message].concat()
}

#[test]
fn over_tcp() {
    let one = tcp(&Build::query("a.example").0);
    let two = [one.as_slice(), &tcp(&Build::query("b.example").0)].concat();
    for place in BOTH {
        for cut in 0..one.len() {
            let answer = tcp_message(&one[..cut], place);
            assert!(
                matches!(answer, Probe::NeedMore(len) if len > cut && len <= one.len()),
                "{cut}: {answer:?}"
            );
        }
        let Probe::Done(first) = tcp_message(&two, place) else { panic!() };
        assert_eq!(
            (first.message.questions().next().unwrap().name.as_str(), first.len),
            ("a.example", one.len())
        );
        let Probe::Done(second) = tcp_message(&two[first.len..], place) else { panic!() };
        assert_eq!(second.message.questions().next().unwrap().name.as_str(), "b.example");
        for other in [
            &b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\0\0\0\0"[..],
            b"GET / HTTP/1.1",
            b"EHLO a.example",
            b"SSH-2.0-",
            b"\0\x05\0\0\0\0\0\x01",
        ] {
            assert_eq!(tcp_message(other, place), Probe::NotThis, "{other:02x?}");
        }
    }
    assert_eq!(
        tcp_message(&tcp(&[0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 12, 0, 1, 0, 1]), Place::Port53),
        Probe::Malformed(Reason::MalformedDns)
    );
}

#[test]
fn more_than_is_waited_for() {
    let mut answer = Build::new(0x8400, [1, 1000, 0, 0]).question("a.example", 252);
    for _ in 0..1000 {
        answer = answer.record(ASKED, 16, 60, &[20; 21]);
    }
    let stream = tcp(&answer.0);
    assert!(stream.len() > TCP_CAP);
    assert_eq!(tcp_message(&stream[..TCP_CAP - 1], Place::Port53), Probe::NeedMore(TCP_CAP));
    let Probe::Done(cut) = tcp_message(&stream[..TCP_CAP], Place::Port53) else { panic!() };
    assert_eq!((cut.len, cut.message.is_truncated), (stream.len(), true));
    assert_eq!(cut.message.questions().next().unwrap().name.as_str(), "a.example");
    assert_eq!(tcp_message(&stream[..TCP_CAP], Place::Anywhere), Probe::NotThis);
}

fn near_messages() -> impl Strategy<Value = Vec<u8>> {
    let counts = prop_oneof![Just(0u16), Just(1), Just(2), any::<u16>()];
    let piece = prop_oneof![
        proptest::sample::select(vec![
            &b"\x01a"[..],
            b"\x07example",
            b"\0",
            b"\xc0\x0c",
            b"\xc0\x0e",
            b"\0\x01\0\x01",
            b"\0\x05\0\x01",
            b"\0\x41\0\x01",
            b"\0\0\0\x3c\0\x04\x01\x02\x03\x04",
            b"\x3f",
        ])
        .prop_map(<[u8]>::to_vec),
        proptest::collection::vec(any::<u8>(), 1..5),
    ];
    let flags = prop_oneof![Just(0x0100u16), Just(0x8180), any::<u16>()];
    (flags, [counts.clone(), counts.clone(), counts.clone(), counts], proptest::collection::vec(piece, 0..20))
        .prop_map(|(flags, counts, pieces)| Build::new(flags, counts).bytes(&pieces.concat()).0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_is_checked_can_be_read(bytes in near_messages()) {
        for at in HEADER..bytes.len() {
            prop_assert_eq!(labels::check(&bytes, at), labels::name(&bytes, at).map(|(_, at)| at));
        }
    }

    #[test]
    fn hostile_messages(bytes in near_messages(), cut in 0usize..200) {
        for place in BOTH {
            for bytes in [&bytes[..], &bytes[..cut.min(bytes.len())]] {
                if let Probe::Done(message) = message(bytes, place) {
                    prop_assert!(message.questions().count() <= usize::from(QUESTIONS));
                    prop_assert!(message.answers().filter_map(|a| a.owner()).count() <= usize::from(ANSWERS));
                    prop_assert!(message.addresses().count() <= bytes.len() / 4);
                }
            }
        }
    }

    #[test]
    fn answers_over_tcp_are_final(bytes in near_messages(), len in prop_oneof![Just(None), any::<u16>().prop_map(Some)]) {
        let mut stream = tcp(&bytes);
        if let Some(len) = len {
            stream[..2].copy_from_slice(&len.to_be_bytes());
        }
        for place in BOTH {
            let mut answer = None;
            for cut in 0..=stream.len() {
                // The message borrows the stream; what is compared is what it says.
                let now = tcp_message(&stream[..cut], place).map(|m| (m.len, m.message.id, m.message.questions().collect::<Vec<_>>()));
                match (&answer, now) {
                    (Some(old), now) => prop_assert_eq!(old, &now),
                    (None, Probe::NeedMore(want)) => prop_assert!(want > cut),
                    (None, now) => answer = Some(now),
                }
            }
        }
    }

    #[test]
    fn every_name_round_trips(labels in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..20), 0..12)) {
        let mut query = Build::new(0x0100, [1, 0, 0, 0]);
        for label in &labels {
            query = query.bytes(&[label.len() as u8]).bytes(label);
        }
        let query = query.bytes(&[0, 0, 1, 0, 1]).0;
        prop_assert_eq!(labels::check(&query, HEADER), labels::name(&query, HEADER).map(|(_, at)| at));
        let want = glassgate_policy::Name::from_labels(labels.iter().map(Vec::as_slice)).unwrap();
        let Probe::Done(message) = message(&query, Place::Anywhere) else { panic!() };
        prop_assert_eq!(message.questions().next().unwrap().name, want);
    }
}
