use super::*;
use glassgate_policy::name::Kind;
use proptest::prelude::*;

fn head(text: &str) -> Head {
    match request_head(text.as_bytes()) {
        Probe::Done(head) => head,
        other => panic!("{other:?} for {text:?}"),
    }
}

fn name(text: &str) -> Result<String, Reason> {
    let head = head(text);
    assert_eq!(head.rival, None, "{text:?}");
    head.name.map(|n| n.to_string())
}

const BAD: Result<String, Reason> = Err(Reason::MalformedHttp);

fn ok(name: &str) -> Result<String, Reason> {
    Ok(name.to_string())
}

#[test]
fn a_plain_request() {
    let text =
        "GET /a?b=c HTTP/1.1\r\nUser-Agent: x\r\nHost: www.example.com:8080\r\nAccept: */*\r\n\r\nrest";
    let head = head(text);
    assert_eq!(head.name.unwrap().as_str(), "www.example.com");
    assert_eq!(head.port, Some(8080));
    assert_eq!((head.rival, head.method, head.body), (None, Method::Other, Body::Length(0)));
    assert_eq!(head.len, text.len() - 4);
}

#[test]
fn the_field_name_in_any_case() {
    for spelling in ["Host", "host", "HOST", "hoSt", "HosT"] {
        assert_eq!(name(&format!("GET / HTTP/1.1\r\n{spelling}: a.example\r\n\r\n")), ok("a.example"));
    }
}

#[test]
fn blanks_round_the_value() {
    for line in [
        "Host:a.example",
        "Host:   a.example",
        "Host:\ta.example",
        "Host: a.example  ",
        "Host: a.example\t",
        "Host : a.example",
        "Host\t:\t a.example \t ",
    ] {
        assert_eq!(name(&format!("GET / HTTP/1.1\r\nX: y\r\n{line}\r\n\r\n")), ok("a.example"), "{line:?}");
    }
}

#[test]
fn every_prefix_wants_more() {
    let text = "GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n";
    for cut in 0..text.len() {
        let answer = request_head(&text.as_bytes()[..cut]);
        assert!(
            matches!(answer, Probe::NeedMore(len) if len > cut && len <= text.len()),
            "{cut}: {answer:?}"
        );
    }
}

#[test]
fn empty_lines_before_the_method() {
    for before in ["\r\n", "\n", "\n\n", "\r\n\r\n"] {
        let text = format!("{before}GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
        assert_eq!(name(&text), ok("a.example"));
        assert_eq!(head(&text).len, text.len());
    }
    assert_eq!(request_head(b"\r\n\r\n"), Probe::NeedMore(5));
    assert_eq!(request_head(&b"\r\n".repeat(5)), Probe::NotThis);
    assert_eq!(request_head(b"\n\n\n\n\n\n\n\n\nGET / HTTP/1.1\r\nHost: a.example\r\n\r\n"), Probe::NotThis);
}

#[test]
fn line_ends_without_cr_and_folds() {
    assert_eq!(name("GET / HTTP/1.1\nHost: a.example\n\n"), ok("a.example"));
    assert_eq!(name("GET / HTTP/1.1\r\nX: y\r\n  folded: z\r\nHost: a.example\r\n\r\n"), ok("a.example"));
    for folded in [
        "Host: a.example\r\n b\r\n",
        "Host:\r\n a.example\r\n",
        "Host: a.example\r\n \r\n",
        " Host: a.example\r\n",
        "X: y\r\n Host: b.example\r\nHost: a.example\r\n",
        "Host: a.example\r\nX: y\r\n\thost : b.example\r\n",
    ] {
        assert_eq!(name(&format!("GET / HTTP/1.1\r\n{folded}\r\n")), BAD, "{folded:?}");
    }
    assert_eq!(name("GET / HTTP/1.1\r\nHost: a.example\rHost: b.example\r\n\r\n"), BAD);
}

#[test]
fn absolute_targets() {
    assert_eq!(name("GET http://a.example/x HTTP/1.1\r\nHost: a.example\r\n\r\n"), ok("a.example"));
    assert_eq!(name("GET http://a.example:80/x HTTP/1.1\r\nHost: A.example\r\n\r\n"), ok("a.example"));
    assert_eq!(name("GET http://a.example/x HTTP/1.0\r\n\r\n"), ok("a.example"));
    assert_eq!(name("GET http://u@a.example/x HTTP/1.1\r\nHost:\r\n\r\n"), ok("a.example"));
    assert_eq!(name("GET http://a b/ HTTP/1.1\r\nHost: a.example\r\n\r\n"), BAD);
    let both = head("GET http://a.example/x HTTP/1.1\r\nHost: b.example\r\n\r\n");
    assert_eq!(both.name.unwrap().as_str(), "a.example");
    assert_eq!(both.rival.unwrap().as_str(), "b.example");
}

#[test]
fn two_hosts_are_none() {
    assert_eq!(name("GET / HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n\r\n"), BAD);
    assert_eq!(name("GET / HTTP/1.1\r\nHost: a.example\r\nHost: a.example\r\n\r\n"), BAD);
    assert_eq!(name("GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\nhost: a.example\r\n\r\n"), BAD);
}

#[test]
fn hosts_that_are_no_host_names() {
    let with = |host: &str| format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
    assert_eq!(name(&with("WWW.Example.COM.:80")), ok("www.example.com"));
    let literal = head(&with("192.0.2.1:8080"));
    assert_eq!(literal.name.map(|n| (n.to_string(), n.kind())), Ok(("192.0.2.1".into(), Kind::Address)));
    assert_eq!(name(&with("[2001:DB8::1]:8080")), ok("[2001:db8::1]"));
    for bad in
        ["", "%s", "a b.example", "a\0b", "a.example:x", "a,b", "http://a.example", "a..b", "ü.example"]
    {
        assert_eq!(name(&with(bad)), BAD, "{bad:?}");
    }
    assert_eq!(name("GET / HTTP/1.0\r\n\r\n"), BAD, "a request that names nobody");
}

#[test]
fn methods() {
    for method in ["GET", "M-SEARCH", "UPDATEREDIRECTREF", "RPC_IN_DATA", "x"] {
        assert_eq!(name(&format!("{method} /x y HTTP/1.1\r\nHost: a.example\r\n\r\n")), ok("a.example"));
        assert_eq!(name(&format!("{method}    / \t HTTP/1.0 \r\nHost: a.example\r\n\r\n")), ok("a.example"));
    }
    assert_eq!(request_head(b"    GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"), Probe::NotThis);
    assert_eq!(request_head(&[b"X".repeat(33).as_slice(), b" / HTTP/1.1\r\n"].concat()), Probe::NotThis);
    let connect = head("CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n");
    assert_eq!(
        (connect.name.unwrap().as_str(), connect.port, connect.method),
        ("a.example", Some(443), Method::Connect)
    );
    for (value, upgrade) in [
        ("websocket", Upgrade::WebSocket),
        ("WebSocket", Upgrade::WebSocket),
        ("h2c", Upgrade::H2c),
        ("TLS/1.0, HTTP/1.1", Upgrade::Tls),
        ("foo", Upgrade::Other),
    ] {
        let text =
            format!("GET / HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: {value}\r\n\r\n");
        assert_eq!(head(&text).method, Method::Upgrade(upgrade));
    }
}

#[test]
fn versions_that_are_cut_glued_or_missing() {
    for line in [
        "GET / HTTP/1.",
        "GET /HTTP/1.1",
        "GET / HTTP/d.1",
        "GET / x HTTP/1.1 y",
        "GET /",
        "OPTIONS",
        "X / HTTP/1.",
        "X /HTTP/1.1",
    ] {
        for end in ["\n", "\r\n"] {
            assert_eq!(name(&format!("{line}{end}Host: a.example{end}{end}")), ok("a.example"), "{line:?}");
        }
    }
    for line in ["X /", "X", "X / HTTP/1.1 y", "10.0.0.1 - - \"GET / HTTP/1.1\" 200"] {
        assert_eq!(
            request_head(format!("{line}\r\nHost: a.example\r\n\r\n").as_bytes()),
            Probe::NotThis,
            "{line:?}"
        );
    }
    assert_eq!(name("GET http://a.example/HTTP/1.1\nHost:\n\n"), ok("a.example"));
    assert_eq!(request_head(b"GET /\r\nHo"), Probe::NeedMore(10));
}

#[test]
fn connect() {
    assert_eq!(name("CONNECT / HTTP/1.1\r\nHost: a.example\r\n\r\n"), ok("a.example"));
    assert_eq!(name("CONNECT 192.0.2.1:443 HTTP/1.1\r\nHost: a.example\r\n\r\n"), ok("a.example"));
    assert_eq!(name("CONNECT a.example:443 HTTP/1.1\r\nHost: a.example\r\n\r\n"), ok("a.example"));
    assert_eq!(name("CONNECT 192.0.2.1:443 HTTP/1.1\r\n\r\n"), ok("192.0.2.1"));
    assert_eq!(name("CONNECT / HTTP/1.1\r\n\r\n"), BAD);
    for (target, host) in [("a.example", "b.example"), ("a.example", "192.0.2.1"), ("192.0.2.1", "192.0.2.2")]
    {
        let both = head(&format!("CONNECT {target}:443 HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!((both.name.unwrap().as_str(), both.rival.unwrap().as_str()), (target, host));
    }
    assert!(head("CONNECT a.example:443 HTTP/1.1\r\n\r\n").is_from_target);
    assert!(!head("CONNECT a.example:443 HTTP/1.1\r\nHost: a.example\r\n\r\n").is_from_target);
}

#[test]
fn other_protocols() {
    for text in [
        &b"\x16\x03\x01\x02\x00\x01"[..],
        b"SSH-2.0-OpenSSH_9.2p1\r\n",
        b"EHLO a.example\r\n",
        b"USER a\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"OPTIONS rtsp://a.example/x RTSP/1.0\r\n",
        b"INVITE sip:a@a.example SIP/2.0\r\n",
        b"REQMOD icap://a.example/x ICAP/1.0\r\n",
        b"GET /\r\nGET /\r\n",
        b"GET /\r\n\r\n",
        b"GET\0/ HTTP/1.1\r\n",
        b"get key\r\n",
        b"a\0b",
        b"FOO \x01 HTTP/1.1\r\nHost: a.example\r\n\r\n",
        b" ",
    ] {
        assert_eq!(request_head(text), Probe::NotThis, "{}", text.escape_ascii());
    }
}

#[test]
fn framing() {
    let body = |fields: &str| head(&format!("POST / HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n")).body;
    assert_eq!(body(""), Body::Length(0));
    assert_eq!(body("content-length: 12\r\n"), Body::Length(12));
    assert_eq!(body("Content-Length: 12\r\nContent-Length: 12\r\n"), Body::Length(12));
    assert_eq!(body("Transfer-Encoding: chunked\r\n"), Body::Chunked);
    assert_eq!(body("Transfer-Encoding: gzip, Chunked\r\n"), Body::Chunked);
    for unclear in [
        "Content-Length: 12\r\nContent-Length: 13\r\n",
        "Content-Length: +12\r\n",
        "Content-Length: 12, 12\r\n",
        "Content-Length: \r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Content-Length: 1\r\n 2\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
    ] {
        assert_eq!(body(unclear), Body::Unknown, "{unclear:?}");
    }
}

#[test]
fn heads_beyond_the_cap() {
    let filler = "X-Filler: 0123456789012345678901234567890123456789\r\n".repeat(1260);
    assert!(filler.len() > 4 * HEAD_CAP - 1024);
    let late = format!("GET / HTTP/1.1\r\n{filler}Host: a.example\r\n\r\n");
    assert_eq!(request_head(late.as_bytes()), Probe::Malformed(Reason::ReasmCap));
    assert_eq!(request_head(&late.as_bytes()[..HEAD_CAP - 1]), Probe::NeedMore(HEAD_CAP));
    let early = format!("GET / HTTP/1.1\r\nHost: a.example\r\n{filler}\r\n");
    let cut = head(&early);
    assert_eq!((cut.name.unwrap().as_str(), cut.body, cut.len), ("a.example", Body::Unknown, HEAD_CAP));
    let twice = format!("GET / HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n{filler}\r\n");
    assert_eq!(request_head(twice.as_bytes()), Probe::Malformed(Reason::ReasmCap));
    let line = [b"GET /".as_slice(), &[b'a'; HEAD_CAP]].concat();
    assert_eq!(request_head(&line), Probe::Malformed(Reason::ReasmCap));
}

#[test]
fn unfinished_heads() {
    let text = "GET /x HTTP/1.1\r\nHost: a.example\r\nUser-Agent: y";
    assert_eq!(unfinished_head(text.as_bytes()).unwrap().name.unwrap().as_str(), "a.example");
    assert_eq!(unfinished_head(b"GET /x HTTP/1.1\r\nHost: a.exam"), None, "the line is not whole");
    assert_eq!(
        unfinished_head(b"GET http://a.example/ HTTP/1.1\r\nX").unwrap().name.unwrap().as_str(),
        "a.example"
    );
    assert_eq!(unfinished_head(b"EHLO a.example\r\n"), None);
}

/// A request of a client with prior knowledge, its header block in one frame or split at `cuts`.
fn h2c(block: &[u8], cuts: &[usize], padded: bool) -> Vec<u8> {
    let frame = |kind: u8, flags: u8, stream: u32, payload: &[u8]| {
        [&(payload.len() as u32).to_be_bytes()[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    };
    let mut out =
        [h2::PREFACE, &frame(4, 0, 0, &[0, 3, 0, 0, 0, 100]), &frame(8, 0, 0, &[0, 1, 0, 0])].concat();
    let mut at = 0;
    for (i, end) in cuts.iter().copied().chain([block.len()]).enumerate() {
        let last = if i == cuts.len() { 4 } else { 0 };
        let part = &block[at..end];
        at = end;
        out.extend(match i {
            0 if padded => {
                let payload = [&[2], [0x80, 0, 0, 0, 15].as_slice(), part, &[0, 0]].concat();
                frame(1, 0x28 | last | 1, 1, &payload)
            }
            0 => frame(1, last | 1, 1, part),
            _ => frame(9, last, 1, part),
        });
    }
    out
}

#[test]
fn h2c_with_prior_knowledge() {
    let block = [
        &[0x82, 0x86, 0x84, 0x41, 0x8c],
        &[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff][..],
    ]
    .concat();
    for cuts in [&[][..], &[0], &[5], &[4, 4, 9], &[1, 2, 3, 4, 5]] {
        for padded in [false, true] {
            let stream = h2c(&block, cuts, padded);
            for cut in 0..stream.len() {
                assert!(
                    matches!(request_head(&stream[..cut]), Probe::NeedMore(len) if len > cut && len <= stream.len())
                );
            }
            let Probe::Done(head) = request_head(&stream) else { panic!() };
            assert_eq!(head.name.unwrap().as_str(), "www.example.com");
            assert_eq!((head.len, head.body), (stream.len(), Body::Unknown));
        }
    }
    let host_too = [&block[..], &[0x0f, 38 - 15, 9], b"a.example"].concat();
    let Probe::Done(head) = request_head(&h2c(&host_too, &[], false)) else { panic!() };
    assert_eq!(head.rival.unwrap().as_str(), "a.example");
    assert_eq!(request_head(&h2c(&[0x80], &[], false)), Probe::Malformed(Reason::MalformedHttp));
    let Probe::Done(nameless) = request_head(&h2c(&[0x82], &[], false)) else { panic!() };
    assert_eq!(nameless.name, Err(Reason::MalformedHttp));
    let mut no_settings = h2::PREFACE.to_vec();
    no_settings.extend([0, 0, 0, 1, 0, 0, 0, 0, 1]);
    assert_eq!(request_head(&no_settings), Probe::Malformed(Reason::MalformedHttp));
    let mut huge = h2::PREFACE.to_vec();
    huge.extend([0, 0x40, 1, 4, 0, 0, 0, 0, 0]);
    assert_eq!(request_head(&huge), Probe::Malformed(Reason::MalformedHttp));
}

fn names_of(stream: &[u8], cuts: &[usize]) -> Vec<String> {
    let (mut tracker, mut kept, mut names) = (Tracker::new(), Vec::new(), Vec::new());
    let mut at = 0;
    for end in cuts.iter().copied().chain([stream.len()]) {
        kept.extend_from_slice(&stream[at..end.max(at)]);
        at = end.max(at);
        loop {
            match tracker.next(&kept) {
                Step::Request { head, used } => {
                    names.push(head.name.map_or_else(|r| r.to_string(), |n| n.to_string()));
                    kept.drain(..used);
                }
                Step::More { used, want } => {
                    kept.drain(..used);
                    assert!(want > kept.len(), "asks for what it was shown");
                    break;
                }
                Step::Stop => {
                    assert!(tracker.is_stopped());
                    return names;
                }
            }
        }
    }
    names
}

const REQUESTS: &[u8] = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n\
    POST / HTTP/1.1\r\nHost: b.example\r\nContent-Length: 39\r\n\r\nGET / HTTP/1.1\r\nHost: wrong.example\r\n\r\n\
    POST / HTTP/1.1\r\nHost: c.example\r\nTransfer-Encoding: chunked\r\n\r\n\
    27;x=y\r\nGET / HTTP/1.1\r\nHost: wrong.example\r\n\r\n\r\n3\r\nabc\r\n0\r\nT: u\r\n\r\n\r\n\
    GET / HTTP/1.1\r\nHost: d.example\r\nUpgrade: h2c\r\n\r\n\
    CONNECT e.example:80 HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\nHost: inner.example\r\n\r\n";

#[test]
fn later_requests() {
    assert_eq!(names_of(REQUESTS, &[]), ["a.example", "b.example", "c.example", "d.example", "e.example"]);
    for stop in [
        &b"POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\nx\r\nGET / HTTP/1.1\r\nHost: b.example\r\n\r\n"[..],
        b"POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\nGET / HTTP/1.1\r\nHost: b.example\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: b.example\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nGET / HTTP/1.1\r\nHost: b.example\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a.example\r\nUpgrade: websocket\r\n\r\n\x81\x85GET / HTTP/1.1\r\nHost: b.example\r\n\r\n",
    ] {
        assert_eq!(names_of(stop, &[]), ["a.example"]);
    }
}

#[test]
fn bodies_may_be_skipped() {
    let head = head("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 10\r\n\r\n");
    let mut tracker = Tracker::after(&head);
    assert_eq!(tracker.indifferent(), 10);
    tracker.skip(4);
    assert_eq!(tracker.next(b"123456"), Step::More { used: 6, want: 1 });
    assert_eq!(tracker.indifferent(), 0);
    tracker.skip(0);
    assert!(matches!(tracker.next(b"GET / HTTP/1.1\r\nHost: b.example\r\n\r\n"), Step::Request { .. }));
    tracker.skip(1);
    assert!(tracker.is_stopped());
    let mut tracker = Tracker::after(&head);
    tracker.skip(11);
    assert!(tracker.is_stopped());
}

/// Bytes that look like heads, whole and broken.
fn near_heads() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => proptest::sample::select(vec![
            "GET", "POST", "CONNECT", "PRI", "X", " ", "\t", "\r\n", "\n", "\r", "/", "http://a.example/", "HTTP/1.1", "HTTP/2.0", "Host:",
            "host", ":", "a.example", "b.example:80", "Content-Length: 5", "Transfer-Encoding: chunked", "Upgrade: h2c", "*", "SM",
            "GET / HTTP/1.1\r\n", "Host: a.example\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\0\0\0\x04\0\0\0\0\0", "\0\0\x01\x01\x04\0\0\0\x01\u{41}",
        ]).prop_map(|s| s.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 1..4),
    ];
    proptest::collection::vec(piece, 0..24).prop_map(|p| p.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// More bytes never change an answer, and an answer is never passed over.
    #[test]
    fn answers_are_final(stream in near_heads()) {
        let mut answer = None;
        let mut seen = 0;
        for cut in 0..=stream.len() {
            let now = request_head(&stream[..cut]);
            let resumed = request_head_resumed(&stream[..cut], seen);
            match (&answer, &now) {
                (Some(old), now) => prop_assert_eq!(old, now),
                (None, Probe::NeedMore(want)) => prop_assert!(*want > cut),
                (None, _) => answer = Some(now),
            }
            match resumed {
                Probe::NeedMore(want) => {
                    prop_assert!(want > cut);
                    seen = cut;
                }
                resumed => prop_assert_eq!(resumed, now),
            }
            if let Some(unfinished) = unfinished_head(&stream[..cut]) {
                prop_assert!(unfinished.name.is_ok());
                prop_assert!(matches!(now, Probe::NeedMore(_)));
            }
        }
    }

    #[test]
    fn resuming_finds_what_a_whole_look_finds(cuts in proptest::collection::vec(0usize..200, 0..12), text in near_heads()) {
        let stream = [b"GET / HTTP/1.1\r\nX: ".as_slice(), &text, b"\r\nHost: z.example\r\n\r\n"].concat();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(stream.len())).collect();
        cuts.sort();
        let mut seen = 0;
        for cut in cuts {
            if !matches!(request_head_resumed(&stream[..cut], seen), Probe::NeedMore(_)) {
                return Ok(());
            }
            seen = cut;
        }
        prop_assert_eq!(request_head_resumed(&stream, seen), request_head(&stream));
    }

    #[test]
    fn any_split_gives_the_same_requests(mut cuts in proptest::collection::vec(0..REQUESTS.len(), 0..40)) {
        cuts.sort();
        prop_assert_eq!(names_of(REQUESTS, &cuts), names_of(REQUESTS, &[]));
    }

    #[test]
    fn the_tracker_stands_anything(stream in near_heads(), mut cuts in proptest::collection::vec(0usize..300, 0..10)) {
        cuts.iter_mut().for_each(|c| *c = (*c).min(stream.len()));
        cuts.sort();
        prop_assert_eq!(names_of(&stream, &cuts), names_of(&stream, &[]));
    }
}
