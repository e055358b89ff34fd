//! What is read from TLS client streams: real ones, and every way to cut, frame, decorate and spoil them.

#[path = "support/hello.rs"]
mod hello;
#[path = "support/random.rs"]
mod random;

use glassgate_dataplane::inspect::ja4::{Ja4, Transport};
use glassgate_dataplane::inspect::tls::{
    self, AlpnId, ClientHello, EchSeen, Framing, MAX_STREAM, Scratch, ServerName, client_hello, ech,
};
use glassgate_dataplane::probe::Probe;
use glassgate_policy::Reason;
use hello::{ALPN, ECH, ESNI, Hello, SERVER_NAME, alpn, message, record, records, server_name};
use proptest::prelude::*;
use random::Random;

const CHROME: &[u8] = include_bytes!("samples/chrome_tls.bin");
const FIREFOX: &[u8] = include_bytes!("samples/firefox_tls.bin");
const CHROME_ECH: &[u8] = include_bytes!("samples/chrome_ech.bin");
const RETRY_CLIENT: &[u8] = include_bytes!("samples/openssl_retry_client.bin");
const RETRY_SERVER: &[u8] = include_bytes!("samples/openssl_retry_server.bin");

/// Miri runs a thousand times slower; it looks for other faults than these seeds do.
const SEEDS: u64 = if cfg!(miri) { 10 } else { 10_000 };

fn read(stream: &[u8]) -> Probe<ClientHello> {
    client_hello(stream, &mut Scratch::default())
}

#[track_caller]
fn done(stream: &[u8]) -> ClientHello {
    match read(stream) {
        Probe::Done(hello) => hello,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn named(stream: &[u8]) -> String {
    done(stream).name().unwrap().to_string()
}

fn reason(stream: &[u8]) -> Reason {
    match read(stream) {
        Probe::Done(hello) => hello.name().unwrap_err(),
        Probe::Malformed(reason) => reason,
        other => panic!("{other:?}"),
    }
}

/// Shows longer and longer prefixes, each time as long as the last answer asked for. Gives the last answer and how often was asked.
fn feed(stream: &[u8]) -> (Probe<ClientHello>, usize) {
    let (mut len, mut asked) = (0, 0);
    let mut scratch = Scratch::default();
    loop {
        asked += 1;
        match client_hello(&stream[..len.min(stream.len())], &mut scratch) {
            Probe::NeedMore(n) if len < stream.len() => {
                assert!(n > len, "asks for no more than it has: {n} at {len}");
                len = n;
            }
            answer => return (answer, asked),
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "hashes with ring, which is assembly")]
fn real_browsers() {
    for (stream, ja4) in
        [(CHROME, "t13d1516h2_8daaf6152771_806a8c22fdea"), (FIREFOX, "t13d1717h2_5b57614c22b0_3cbfd9057e0d")]
    {
        let mut scratch = Scratch::default();
        let Probe::Done(hello) = client_hello(stream, &mut scratch) else { panic!() };
        assert_eq!(hello.name().unwrap().as_str(), "www.example.com");
        assert!(matches!(hello.ech, EchSeen::Outer { kdf: 1, aead: 1, enc_len: 32, .. }), "{:?}", hello.ech);
        assert_eq!((hello.versions.legacy, hello.versions.best()), (0x0303, 0x0304));
        assert!(
            hello.alpn.offers(AlpnId::Http2)
                && hello.alpn.offers(AlpnId::Http1)
                && !hello.alpn.offers(AlpnId::Http3)
        );
        assert_eq!((hello.framing, hello.end), (Framing::Record, stream.len()));
        assert_eq!(hello.message(stream, &scratch), &stream[5..]);
        assert_eq!(Ja4::new(hello.message(stream, &scratch), Transport::Tcp).unwrap().as_str(), ja4);
    }
}

#[test]
fn a_prefix_is_never_more_than_unfinished() {
    for stream in [CHROME, FIREFOX, &RETRY_CLIENT[..323]] {
        for len in 0..stream.len() {
            match read(&stream[..len]) {
                Probe::NeedMore(n) => assert!(n > len && n <= stream.len(), "{n} at {len}"),
                other => panic!("{other:?} at {len}"),
            }
        }
        assert_eq!(feed(stream).1, 5, "nothing, header, type, length, message");
    }
}

#[test]
fn two_records_cut_anywhere() {
    let message = &CHROME[5..];
    for cut in 1..message.len() {
        let stream = records(message, &[0, cut, message.len()]);
        let mut scratch = Scratch::default();
        let Probe::Done(hello) = client_hello(&stream, &mut scratch) else { panic!("cut at {cut}") };
        assert_eq!(hello.name().unwrap().as_str(), "www.example.com");
        assert_eq!((hello.framing, hello.end), (Framing::Records, stream.len()));
        assert_eq!(hello.message(&stream, &scratch), message);
        // Once the length of the message is seen, all that is missing is asked for at one go.
        if cut >= 9 {
            assert_eq!(read(&stream[..5 + cut - 1]), Probe::NeedMore(stream.len()), "cut at {cut}");
        }
    }
    // Bytes behind the message in its last record are not the hello's.
    let mut stream = records(message, &[0, 700, message.len()]);
    let end = stream.len();
    stream.extend([0xee; 3]);
    let len = (message.len() - 700 + 3) as u16;
    stream[708..710].copy_from_slice(&len.to_be_bytes());
    assert_eq!(done(&stream).end, end);
}

#[test]
fn records_of_one_byte() {
    let small = Hello::named("www.example.com").message();
    let stream = records(&small, &(0..=small.len()).collect::<Vec<_>>());
    let (answer, asked) = feed(&stream);
    assert!(matches!(answer, Probe::Done(hello) if hello.name().is_ok()));
    assert!(asked < 64, "asked {asked} times for {} bytes", stream.len());
    // The largest that still fits with its headers, and one byte more.
    for (len, fits) in [(MAX_STREAM / 6, true), (MAX_STREAM / 6 + 1, false)] {
        let big = Hello::named("www.example.com").padded_to(len).message();
        let stream = records(&big, &(0..=big.len()).collect::<Vec<_>>());
        match feed(&stream).0 {
            Probe::Done(hello) => assert!(fits && hello.name().is_ok()),
            Probe::Malformed(Reason::ReasmCap) => assert!(!fits),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn random_records_and_prefixes() {
    for seed in 0..SEEDS {
        let mut random = Random::new(seed);
        let message =
            if seed % 2 == 0 { CHROME[5..].to_vec() } else { Hello::named("www.example.com").message() };
        let parts = random.within(1, 40);
        let stream = records(&message, &random.cuts(message.len(), parts));
        let cut = random.within(0, stream.len() - 1);
        assert!(
            matches!(read(&stream[..cut]), Probe::NeedMore(n) if n > cut && n <= stream.len()),
            "seed {seed}"
        );
        assert!(matches!(feed(&stream).0, Probe::Done(hello) if hello.name().is_ok()), "seed {seed}");
    }
}

#[test]
fn record_versions_do_not_matter() {
    for version in (0x0300..=0x0304).chain([0x0305, 0x037f, 0x03ff]) {
        let mut stream = CHROME.to_vec();
        stream[1..3].copy_from_slice(&u16::to_be_bytes(version));
        assert_eq!(named(&stream), "www.example.com", "{version:#x}");
    }
    let mut stream = CHROME.to_vec();
    stream[1] = 2;
    assert_eq!(read(&stream), Probe::NotThis);
}

#[test]
fn what_may_stand_before_the_hello() {
    let ccs = record(20, 0x0303, &[1]);
    let warning = record(21, 0x0301, &[1, 112]);
    let empty = record(22, 0x0301, &[]);
    for before in
        [ccs.clone(), warning.clone(), empty.clone(), [ccs.clone(), warning, empty.clone()].concat()]
    {
        assert_eq!(named(&[&before[..], CHROME].concat()), "www.example.com");
        assert!(matches!(read(&before), Probe::NeedMore(n) if n > before.len()));
    }
    let fatal = record(21, 0x0301, &[2, 40]);
    assert_eq!(read(&[&fatal[..], CHROME].concat()), Probe::Malformed(Reason::MalformedTls));
    assert_eq!(read(&[&ccs[..], b"GET / HTTP/1.1\r\n"].concat()), Probe::Malformed(Reason::MalformedTls));
    assert_eq!(read(&[&empty.repeat(33)[..], CHROME].concat()), Probe::Malformed(Reason::MalformedTls));
    // Between the parts of a message nothing may stand.
    let message = &CHROME[5..];
    let split =
        [&record(22, 0x0301, &message[..100])[..], &ccs, &record(22, 0x0301, &message[100..])].concat();
    assert_eq!(read(&split), Probe::Malformed(Reason::MalformedTls));
}

#[test]
fn junk_before_the_hello_is_not_tls() {
    for len in [1, 2, 5, 11, 512, 4096] {
        for fill in [b'A', 0, 0x17, 0xff] {
            let stream = [&vec![fill; len][..], CHROME].concat();
            assert_eq!(read(&stream), Probe::NotThis, "{len} × {fill:#x}");
        }
    }
    // Encrypted records of a flow that was joined midway.
    assert_eq!(read(&record(23, 0x0303, &[1; 40])), Probe::NotThis);
    assert_eq!(read(&record(22, 0x0303, &[1, 0x55, 0x13, 0x77, 0xab, 0xcd, 0xef])), Probe::NotThis);
    assert!(tls::looks_like_record(&record(23, 0x0303, &[1; 40])));
    assert!(!tls::looks_like_record(b"SSH-2.0-OpenSSH"));
}

#[test]
fn names_are_canonical() {
    assert_eq!(named(&Hello::named("wWw.ExAmPlE.CoM").record()), "www.example.com");
    assert_eq!(named(&Hello::named("www.example.com.").record()), "www.example.com");
}

#[test]
fn names_that_are_none() {
    let with = |names: &[&[u8]]| Hello::nameless().with(SERVER_NAME, server_name(names)).record();
    assert_eq!(reason(&Hello::nameless().record()), Reason::NoSni);
    assert_eq!(reason(&with(&[b""])), Reason::MalformedSni);
    assert_eq!(reason(&with(&[&[b'a'; 256]])), Reason::MalformedSni);
    assert_eq!(reason(&with(&[&b"abc.".repeat(64)])), Reason::MalformedSni);
    assert_eq!(reason(&with(&[b"www.exam\0ple.com"])), Reason::MalformedSni);
    assert_eq!(reason(&with(&["bücher.example".as_bytes()])), Reason::MalformedSni);
    assert_eq!(reason(&with(&[b"192.0.2.7"])), Reason::NoSni);
    assert_eq!(reason(&with(&[b"2001:db8::7"])), Reason::NoSni);
    assert_eq!(reason(&with(&[b"999.0.0.1"])), Reason::MalformedSni);
    assert_eq!(reason(&with(&[b"a.example", b"b.example"])), Reason::MalformedSni);
    assert_eq!(reason(&with(&[])), Reason::MalformedSni);
    assert_eq!(reason(&Hello::nameless().with(SERVER_NAME, []).record()), Reason::MalformedSni);
    assert_eq!(
        reason(&Hello::named("a.example").with(SERVER_NAME, server_name(&[b"a.example"])).record()),
        Reason::MalformedSni,
        "two extensions, even with the same name"
    );
    // What the client claimed is kept beside the reason.
    assert!(
        matches!(done(&with(&[b"192.0.2.7"])).server_name, ServerName::IpLiteral(ip) if ip.to_string() == "192.0.2.7")
    );
    assert!(
        matches!(done(&with(&[b"Server4:443"])).server_name, ServerName::Odd(odd) if odd.as_str() == "server4:443")
    );
}

#[test]
fn any_order_of_extensions_and_grease_everywhere() {
    for seed in 0..SEEDS {
        let mut random = Random::new(seed);
        let mut hello = Hello::named("www.example.com").with(ECH, hello::ech(7, 208)).post_quantum();
        if seed % 2 == 0 {
            hello = hello.greased(&mut random);
        }
        let hello = done(&hello.shuffled(&mut random).record());
        assert_eq!(hello.name().unwrap().as_str(), "www.example.com", "seed {seed}");
        assert_eq!(hello.versions.best(), 0x0304, "seed {seed}");
        assert_eq!(
            hello.ech,
            EchSeen::Outer { kdf: 1, aead: 1, config_id: 7, enc_len: 32, payload_len: 208 }
        );
    }
}

#[test]
fn real_ech_shows_the_provider_only() {
    let hello = done(CHROME_ECH);
    assert!(hello.ech.is_seen());
    assert_eq!(hello.name(), Err(Reason::EchOuter));
    assert!(matches!(hello.server_name, ServerName::EchOuter(name) if name.as_str() == "public.tls-ech.dev"));
    let cloudflare = Hello::named("Cloudflare-ECH.com").with(ECH, hello::ech(1, 208));
    assert_eq!(reason(&cloudflare.record()), Reason::EchOuter);
    // The same name without the extension is a visit to that site.
    assert_eq!(named(&Hello::named("cloudflare-ech.com").record()), "cloudflare-ech.com");
}

#[test]
fn grease_ech_and_esni_leave_the_name_alone() {
    assert_eq!(named(CHROME), "www.example.com");
    let both = done(&Hello::named("www.example.com").with(ESNI, vec![1; 300]).record());
    assert!(both.esni);
    assert_eq!(both.name().unwrap().as_str(), "www.example.com");
    assert_eq!(reason(&Hello::nameless().with(ESNI, vec![1; 300]).record()), Reason::NoSni);
    for broken in [vec![], vec![0], vec![2, 0], vec![0, 0, 1, 0, 1, 7, 0, 9]] {
        let hello = done(&Hello::named("www.example.com").with(ECH, broken).record());
        assert_eq!(hello.ech, EchSeen::Broken);
        assert!(hello.name().is_ok());
    }
    assert_eq!(done(&Hello::named("www.example.com").with(ECH, [1]).record()).ech, EchSeen::Inner);
}

#[test]
fn public_names_stand_in_clear_in_dns() {
    // Two configurations; the first has a version that nobody knows.
    let contents = |id: u8, name: &[u8]| {
        [
            &[id, 0, 0x20][..],
            &hello::vec16(&[4; 32]),
            &hello::vec16(&[0, 1, 0, 1]),
            &[0, name.len() as u8],
            name,
            &[0, 0],
        ]
        .concat()
    };
    let known = contents(42, b"Provider.Example");
    let list = [&[0xfe, 0x0a][..], &hello::vec16(&[1, 2, 3]), &[0xfe, 0x0d], &hello::vec16(&known)].concat();
    let list = hello::vec16(&list);
    let found: Vec<_> = ech::configs(&list).map(|c| (c.config_id, c.public_name.to_string())).collect();
    assert_eq!(found, [(42, "provider.example".to_owned())]);
    for len in 0..list.len() {
        assert_eq!(ech::configs(&list[..len]).count(), 0, "cut at {len}");
    }
}

#[test]
fn post_quantum_hellos_are_the_usual_case() {
    let hello = Hello::named("www.example.com").post_quantum();
    assert!((1300..2000).contains(&hello.message().len()));
    assert_eq!(named(&hello.record()), "www.example.com");
}

#[test]
fn the_longest_hello() {
    let longest = MAX_STREAM - 5;
    assert_eq!(named(&Hello::named("www.example.com").padded_to(longest).record()), "www.example.com");
    let stream = Hello::named("www.example.com").padded_to(longest + 1).record();
    assert_eq!(feed(&stream).0, Probe::Malformed(Reason::ReasmCap));
    // Told as soon as the length is seen.
    assert_eq!(read(&stream[..12]), Probe::Malformed(Reason::ReasmCap));
    let message = Hello::named("www.example.com").padded_to(40_000).message();
    assert_eq!(read(&records(&message, &[0, 16_000])), Probe::Malformed(Reason::ReasmCap));
}

#[test]
fn hello_retry_request() {
    assert!(tls::is_hello_retry_request(RETRY_SERVER));
    for len in 0..RETRY_SERVER.len() {
        assert!(!tls::is_hello_retry_request(&RETRY_SERVER[..len]), "{len}");
    }
    let mut scratch = Scratch::default();
    let Probe::Done(first) = client_hello(RETRY_CLIENT, &mut scratch) else { panic!() };
    let Probe::Done(second) = tls::second_client_hello(&RETRY_CLIENT[first.end..], &mut scratch) else {
        panic!()
    };
    assert_eq!(first.name(), second.name());
    // With early data between, and another name.
    let early = record(23, 0x0303, &[0x16; 300]);
    let stream = [&early[..], &record(20, 0x0303, &[1]), &Hello::named("other.example").record()].concat();
    let Probe::Done(second) = tls::second_client_hello(&stream, &mut scratch) else { panic!() };
    assert_eq!(second.name().unwrap().as_str(), "other.example");
    assert!(matches!(tls::second_client_hello(&stream[..200], &mut scratch), Probe::NeedMore(n) if n > 200));
}

#[test]
fn server_hellos() {
    let Probe::Done(hello) = tls::server_hello(RETRY_SERVER) else { panic!() };
    assert_eq!((hello.version, hello.retry), (0x0304, true));
    let mut other = RETRY_SERVER.to_vec();
    other[20] ^= 1;
    assert!(matches!(tls::server_hello(&other), Probe::Done(hello) if !hello.retry));
    assert_eq!(tls::server_hello(CHROME), Probe::NotThis);
    assert_eq!(tls::server_hello(&record(21, 0x0303, &[2, 40])), Probe::Malformed(Reason::MalformedTls));
    assert_eq!(read(RETRY_SERVER), Probe::NotThis, "no ClientHello");
}

#[test]
fn hellos_in_the_framing_of_ssl_2() {
    let body = [&[1, 3, 1, 0, 9, 0, 0, 0, 32][..], &[0, 0, 0x2f, 0, 0, 5, 1, 0, 0x80], &[7; 32]].concat();
    let stream = [&[0x80, body.len() as u8][..], &body].concat();
    let hello = done(&stream);
    assert_eq!((hello.framing, hello.name(), hello.end), (Framing::Sslv2, Err(Reason::NoSni), stream.len()));
    assert_eq!((hello.versions.best(), hello.cipher_suites), (0x0301, 3));
    assert!(hello.message(&stream, &Scratch::default()).is_empty());
    for len in 0..stream.len() {
        assert!(matches!(read(&stream[..len]), Probe::NeedMore(n) if n > len), "{len}");
    }
    for (at, value) in [(1, 51), (2, 4), (3, 1), (6, 8), (8, 3), (10, 33)] {
        let mut other = stream.clone();
        other[at] = value;
        assert_eq!(read(&other), Probe::NotThis, "byte {at}");
    }
    // The lengths add up, and a cipher suite has two bytes.
    let mut other = stream.clone();
    (other[6], other[10]) = (10, 31);
    assert_eq!(read(&other), Probe::NotThis);
}

#[test]
fn alpn_is_told_apart() {
    let offers = |ids: &[&[u8]]| {
        let mut hello = Hello::named("a.example");
        hello.extensions.retain(|(kind, _)| *kind != ALPN);
        done(&hello.with(ALPN, alpn(ids)).record()).alpn
    };
    assert_eq!(offers(&[b"dot"]).first, AlpnId::Dot);
    assert_eq!(offers(&[b"doq-i03", b"doq"]).first, AlpnId::Doq);
    assert_eq!(offers(&[b"h3-29"]).first, AlpnId::Http3);
    assert_eq!(offers(&[b"\x8a\x8a", b"h2"]).first, AlpnId::Grease);
    assert!(offers(&[b"\x8a\x8a", b"h2"]).offers(AlpnId::Http2));
    assert_eq!(offers(&[b"acme-tls/1"]).first, AlpnId::Acme);
    assert_eq!(offers(&[b"apns-pack-v1"]).first, AlpnId::Other);
    // A list that runs over its end costs nothing but itself.
    let hello = done(&Hello::named("a.example").with(ALPN, [0, 9, 2, b'h', b'2']).record());
    assert!(hello.name().is_ok() && hello.alpn.first == AlpnId::None);
}

#[test]
fn lengths_that_do_not_add_up() {
    let hello = Hello::named("www.example.com");
    let message_bytes = hello.message();
    let body = &message_bytes[4..];
    let frame = |body: &[u8]| record(22, 0x0301, &message(1, body));
    assert_eq!(named(&frame(body)), "www.example.com");
    assert_eq!(reason(&frame(&[body, &[0]].concat())), Reason::MalformedTls, "bytes behind the extensions");
    assert_eq!(reason(&frame(&body[..body.len() - 1])), Reason::MalformedTls, "extensions cut off");
    assert_eq!(reason(&frame(&body[..60])), Reason::MalformedTls, "cipher suites cut off");
    let none = Hello { ciphers: vec![], ..hello.clone() };
    assert_eq!(reason(&none.record()), Reason::MalformedTls, "no cipher suites");
    let long = Hello { session_id: vec![0; 33], ..hello.clone() };
    assert_eq!(reason(&long.record()), Reason::MalformedTls, "session id of 33 bytes");
    // Without extensions: SSL 3 and early TLS 1.0.
    let bare = [&[3, 0][..], &[1; 32], &[0, 0, 2, 0, 0x2f, 1, 0]].concat();
    assert_eq!(reason(&frame(&bare)), Reason::NoSni);
}

/// The example of the JA4 specification.
#[test]
#[cfg_attr(miri, ignore = "hashes with ring, which is assembly")]
fn published_fingerprint() {
    let hello = Hello {
        legacy: 0x0303,
        session_id: vec![],
        ciphers: vec![
            0x1a1a, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014,
            0x009c, 0x009d, 0x002f, 0x0035,
        ],
        extensions: [
            0x2a2a, 0x1b, 0, 0x33, 0x10, 0x4469, 0x17, 0x2d, 0x0d, 5, 0x23, 0x12, 0x2b, 0xff01, 0x0b, 0x0a,
            0x15,
        ]
        .map(|kind| {
            let data = match kind {
                0 => server_name(&[b"www.example.com"]),
                0x10 => alpn(&[b"h2", b"http/1.1"]),
                0x2b => vec![6, 0x3a, 0x3a, 3, 4, 3, 3],
                0x0d => vec![0, 16, 4, 3, 8, 4, 4, 1, 5, 3, 8, 5, 5, 1, 8, 6, 6, 1],
                _ => vec![],
            };
            (kind, data)
        })
        .to_vec(),
    };
    let message = hello.message();
    assert_eq!(Ja4::new(&message, Transport::Tcp).unwrap().as_str(), "t13d1516h2_8daaf6152771_e5627efa2ab1");
    assert_eq!(
        Ja4::raw(&message, Transport::Quic).unwrap().to_string(),
        "q13d1516h2_002f,0035,009c,009d,1301,1302,1303,c013,c014,c02b,c02c,c02f,c030,cca8,cca9_\
         0005,000a,000b,000d,0012,0015,0017,001b,0023,002b,002d,0033,4469,ff01_0403,0804,0401,0503,0805,0501,0806,0601"
    );
}

#[test]
#[cfg_attr(miri, ignore = "hashes with ring, which is assembly")]
fn fingerprints_of_odd_hellos() {
    let head = |hello: &Hello| Ja4::new(&hello.message(), Transport::Tcp).unwrap().as_str().to_owned();
    let mut hello = Hello::nameless();
    hello.extensions.retain(|(kind, _)| *kind != ALPN);
    assert!(head(&hello).starts_with("t13i040500_"), "{}", head(&hello));
    let odd = hello.clone().with(ALPN, alpn(&[b"\xba\xad"]));
    assert!(head(&odd).starts_with("t13i0406bd_"), "{}", head(&odd));
    let bare = Hello { legacy: 0x0300, extensions: vec![], ciphers: vec![0x0a0a], ..hello.clone() };
    assert_eq!(head(&bare), "ts3i000000_000000000000_000000000000");
    let many = Hello { ciphers: (1..=512).collect(), ..hello.clone() };
    assert!(head(&many).starts_with("t13i9905"));
    assert_eq!(Ja4::new(&Hello { ciphers: (1..=513).collect(), ..hello }.message(), Transport::Tcp), None);
    assert_eq!(Ja4::new(&[], Transport::Tcp), None);
    assert_eq!(Ja4::new(&[2; 50], Transport::Tcp), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 20 } else { 2_000 }, failure_persistence: None, ..Default::default() })]

    /// Any bytes are answered, and an answer never asks for what is there.
    #[test]
    #[cfg_attr(miri, ignore = "hashes with ring, which is assembly")]
    fn any_bytes(mut stream in proptest::collection::vec(any::<u8>(), 0..400), start in 0usize..8) {
        for (to, from) in stream.iter_mut().zip(&CHROME[..start]) {
            *to = *from;
        }
        let mut scratch = Scratch::default();
        for answer in [client_hello(&stream, &mut scratch), tls::second_client_hello(&stream, &mut scratch), tls::crypto_client_hello(&stream, start)] {
            match answer {
                Probe::NeedMore(n) => prop_assert!(n > stream.len()),
                Probe::Done(hello) => { let _ = Ja4::new(hello.message(&stream, &scratch), Transport::Tcp); }
                _ => {}
            }
        }
        let _ = tls::server_hello(&stream);
        let _ = ech::configs(&stream).count();
    }

    /// A real hello with bytes changed, cut off or put in never gives a wrong kind of answer, and never a name with bytes outside the
    /// canonical set.
    #[test]
    fn spoiled_hellos(changes in proptest::collection::vec((0usize..1795, any::<u8>()), 1..6), cut in 0usize..1795) {
        let mut stream = CHROME.to_vec();
        for (at, value) in changes {
            stream[at] = value;
        }
        if cut % 3 == 0 {
            stream.truncate(cut);
        }
        if let Probe::Done(hello) = read(&stream)
            && let Ok(name) = hello.name()
        {
            prop_assert!(name.as_bytes().iter().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.')));
        }
    }
}
