use super::*;
use proptest::prelude::*;

const HELLO: &[u8] = b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03";

fn upgrade(before: &[u8]) -> Probe<Found> {
    Probe::Done(Found { at: before.len(), via: Via::Upgrade })
}

fn proxy(before: &[u8]) -> Probe<Found> {
    Probe::Done(Found { at: before.len(), via: Via::Proxy })
}

fn adb(command: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let word = u32::from_le_bytes(*command);
    [&command[..], &[0; 8], &(data.len() as u32).to_le_bytes(), &[0; 4], &(!word).to_le_bytes(), data]
        .concat()
}

/// What clients say before TLS.
fn upgrades() -> Vec<Vec<u8>> {
    let mysql =
        [&[0x20, 0, 0, 1, 0x85, 0xae, 0xff, 0x20, 0, 0, 0, 1, 0x21][..], &[0; 19], &[1, 0, 0, 0]].concat();
    let bind = b"0\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\0\x80\0";
    let start_tls = b"0\x1d\x02\x01\x02w\x18\x80\x161.3.6.1.4.1.1466.20037";
    let start_tls_long = b"0\x84\0\0\0\x1d\x02\x01\x02w\x18\x80\x161.3.6.1.4.1.1466.20037";
    let mut all: Vec<Vec<u8>> = [
        &b"EHLO [IPv6:2001:db8::1]\r\nSTARTTLS\r\n"[..],
        b"ehlo a.example\nstarttls\n",
        b"EHLO a.example\r\nSTARTTLS\r\nNOOP\r\nHELO a.example\r\nSTARTTLS\r\n",
        b"LHLO a.example\r\nSTARTTLS\r\n",
        b". CAPABILITY\r\n. STARTTLS\r\n",
        b"0001 ID (\"name\" \"x\")\r\n0002 STARTTLS\r\n",
        b"STLS\r\n",
        b"AUTH\r\nCAPA\r\nSTLS\r\n",
        b"AUTH TLS\r\n",
        b"FEAT\r\nAUTH SSL\r\n",
        b"CAPABILITIES\r\nMODE READER\r\nSTARTTLS\r\n",
        b"CAPABILITY\r\nSTARTTLS\r\n",
        b"CAP LS 302\r\nNICK a\r\nUSER a 0 * :A B\r\nSTARTTLS\r\n",
        b"<stream:stream to='a.example' version='1.0'><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
        b"<?xml version='1.0'?>\n<stream:stream to='a.example'><starttls xmlns=\"urn:ietf:params:xml:ns:xmpp-tls\"><required /></starttls>\n",
        b"\0\0\0\x08\x04\xd2\x16\x2f",
        b"\0\0\0\x08\x04\xd2\x16\x30\0\0\0\x08\x04\xd2\x16\x2f",
        b"\0\0\0\x14\0\0\x70\x0c\0\0\x02\x5c\0\0\0\x01\x01\x02\0\x11",
        b"\x03\0\0\x13\x0e\xe0\0\0\0\0\0\x01\0\x08\0\x0b\0\0\0",
        b"\x03\0\0\x2f\x2a\xe0\0\0\0\0\0Cookie: mstshash=administr\r\n\x01\0\x08\0\x03\0\0\0",
        start_tls,
        start_tls_long,
    ]
    .into_iter()
    .map(<[u8]>::to_vec)
    .collect();
    all.push(mysql);
    all.push([&bind[..], start_tls].concat());
    all.push([adb(b"CNXN", b"host::\0"), adb(b"STLS", b"")].concat());
    all
}

fn proxies() -> Vec<Vec<u8>> {
    let proxy_2 =
        [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..], &[192, 0, 2, 1, 192, 0, 2, 2, 0, 80, 1, 187]].concat();
    let mut all: Vec<Vec<u8>> = [
        &b"\x05\x02\0\x01\x05\x01\0\x01\xc0\0\x02\x01\x01\xbb"[..],
        b"\x05\x01\0\x05\x01\0\x03\x09a.example\x01\xbb",
        b"\x05\x02\0\x02\x01\x04user\x04pass\x05\x01\0\x04\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x01\xbb",
        b"\x04\x01\x01\xbb\xc0\0\x02\x01user\0",
        b"\x04\x01\x01\xbb\0\0\0\x01\0a.example\0",
        b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example\r\n\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 40000 443\r\n",
        b"PROXY UNKNOWN\r\n",
    ]
    .into_iter()
    .map(<[u8]>::to_vec)
    .collect();
    all.push(proxy_2);
    all
}

#[test]
fn tls_after_every_dialogue() {
    for before in upgrades() {
        let stream = [&before, HELLO].concat();
        let done = before.len() + TLS_PREFIX;
        for cut in 0..done {
            let answer = find(&stream[..cut]);
            assert!(
                matches!(answer, Probe::NeedMore(len) if len > cut && len <= done),
                "{}: {answer:?}",
                stream[..cut].escape_ascii()
            );
        }
        for cut in done..=stream.len() {
            assert_eq!(find(&stream[..cut]), upgrade(&before), "{}", stream.escape_ascii());
        }
        let old = [&before, &b"\x80\x2e\x01\x03\x01"[..]].concat();
        assert_eq!(find(&old), upgrade(&before));
        let plain = [&before, &b"\x17\x03\x03 not a handshake"[..]].concat();
        assert_eq!(find(&plain), Probe::NotThis, "{}", plain.escape_ascii());
    }
}

#[test]
fn anything_behind_a_proxy() {
    for before in proxies() {
        for cut in 0..before.len() {
            let answer = find(&before[..cut]);
            assert!(
                matches!(answer, Probe::NeedMore(len) if len > cut && len <= before.len()),
                "{}: {answer:?}",
                before[..cut].escape_ascii()
            );
        }
        assert_eq!(find(&before), proxy(&before), "{}", before.escape_ascii());
        assert_eq!(find(&[&before, HELLO].concat()), proxy(&before));
        assert_eq!(find(&[&before, &b"GET / HTTP/1.1\r\n"[..]].concat()), proxy(&before));
    }
}

#[test]
fn what_says_nothing_leads_nowhere() {
    for junk in [
        &b"x"[..],
        b"\0",
        b"\n",
        b" ",
        b"hello\r\n",
        b"STARTTLS now\r\nplease\r\n",
        b"EHLO a.example\r\nMAIL FROM:<a@a.example>\r\nSTARTTLS\r\n",
        b"EHLO a.example\r\nCAPA\r\nSTLS\r\n",
        b"EHLO a.example\r\n. STARTTLS\r\n",
        b"EHLO \x01\r\nSTARTTLS\r\n",
        b"STLS\r\n\r\n",
        b"AUTH GSSAPI\r\n",
        b"<html><starttls/>",
        b"<stream:stream><starttls/><presence/>",
        b"<stream:stream>\0<starttls/>",
        b"\0\0\0\x08\x04\xd2\x16\x31",
        b"\0\0\0\x14\0\0\x70\x0c\0\0\x02\x5c\0\0\0\x02\x01\x02\0\x11",
        b"\x03\0\0\x13\x0f\xe0\0\0\0\0\0\x01\0\x08\0\x0b\0\0\0",
        b"\x03\x01\0\x13\x0e\xe0",
        b"\x05\x01\0\x05\x02\0\x01\xc0\0\x02\x01\x01\xbb",
        b"\x05\0",
        b"\x05\x01\x55",
        b"\x04\x02\x01\xbb\xc0\0\x02\x01user\0",
        b"\x04\x01\x01\xbb\xc0\0\x02\x01\x01\0",
        b"PROXY TCP5 ",
        b"PROXY TCP4 192.0.2.1\n",
        b"\r\n\r\n\0\r\nQUIT\n\x11\x11\0\x0c",
        b"0\x0c\x02\x01\x01\x30\x07\x02\x01\x03\x04\0\x80\0",
        b"CNXN\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"CONNECT a.example SMTP/1.0\r\n",
    ] {
        assert_eq!(find(&[junk, HELLO].concat()), Probe::NotThis, "{}", junk.escape_ascii());
    }
    let plain_mysql =
        [&[0x20, 0, 0, 1, 0x85, 0xa6, 0xff, 0x20, 0, 0, 0, 1, 0x21][..], &[0; 23], HELLO].concat();
    assert_eq!(find(&plain_mysql), Probe::NotThis, "a client that doesn't ask for TLS");
    assert_eq!(find(HELLO), Probe::NotThis, "TLS itself needs no search");
    let words: Vec<u8> = (0..CAP).map(|i| b"EHLOSTARTTLS \r\nabc"[i * 7 % 18]).collect();
    for len in (1..CAP).step_by(97) {
        assert_eq!(find(&[&words[..len], HELLO].concat()), Probe::NotThis, "{len} bytes of junk");
    }
}

#[test]
fn within_the_cap_only() {
    let dialogue = |noops: usize, pad: usize| {
        [b"EHLO ", &vec![b'a'; pad][..], b"\r\n", &b"NOOP\r\n".repeat(noops), b"STARTTLS\r\n", HELLO].concat()
    };
    let within = dialogue(678, 11);
    assert_eq!(find(&within), Probe::Done(Found { at: CAP, via: Via::Upgrade }));
    let beyond = dialogue(678, 12);
    for cut in 0..=beyond.len() {
        let answer = find(&beyond[..cut]);
        assert!(
            answer == Probe::NotThis
                || matches!(answer, Probe::NeedMore(len) if len > cut && cut < CAP + TLS_PREFIX)
        );
    }
    assert_eq!(find(&beyond), Probe::NotThis);
    assert_eq!(find(&[&b"EHLO "[..], &[b'a'; 600]].concat()), Probe::NotThis, "a line without end");
    let proxied = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x10\x00";
    assert_eq!(find(proxied), Probe::NotThis, "a header of 4112 bytes");
}

fn near_dialogues() -> impl Strategy<Value = Vec<u8>> {
    let whole: Vec<Vec<u8>> = upgrades().into_iter().chain(proxies()).chain([HELLO.to_vec()]).collect();
    let piece = prop_oneof![
        (proptest::sample::select(whole), any::<prop::sample::Index>(), any::<prop::sample::Index>())
            .prop_map(|(text, from, to)| {
                let (from, to) = (from.index(text.len()), to.index(text.len() + 1));
                text.get(from..to).map_or(text.clone(), <[u8]>::to_vec)
            }),
        proptest::sample::select(vec![
            "EHLO a\r\n",
            "STARTTLS\r\n",
            "NOOP\r\n",
            ". ",
            "<starttls/>",
            "\r\n",
            " ",
            "\x16\x03\x01"
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        proptest::collection::vec(any::<u8>(), 1..3),
    ];
    proptest::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn answers_are_final(stream in near_dialogues()) {
        let mut answer = None;
        for cut in 0..=stream.len() {
            match (&answer, find(&stream[..cut])) {
                (Some(old), now) => prop_assert_eq!(old, &now),
                (None, Probe::NeedMore(want)) => prop_assert!(want > cut),
                (None, now) => answer = Some(now),
            }
        }
        if let Some(Probe::Done(found)) = answer {
            prop_assert!(found.at <= stream.len());
            prop_assert!(found.via == Via::Proxy || tls_begins(&stream[found.at..]) == Some(true));
        }
    }
}
