use super::*;
use proptest::prelude::*;

pub(crate) const SECRET: &[u8] = b"a-shared-secret-of-24-by";

pub(crate) fn secret() -> Secret {
    Secret::new(SECRET).unwrap()
}

/// A packet whose sender knows the secret.
pub(crate) fn packet(code: u8, id: u8, attributes: &[(u8, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (kind, value) in attributes {
        body.extend([*kind, value.len() as u8 + 2]);
        body.extend_from_slice(value);
    }
    sealed(code, id, &body)
}

fn sealed(code: u8, id: u8, body: &[u8]) -> Vec<u8> {
    let [high, low] = (body.len() as u16 + 20).to_be_bytes();
    let head = [code, id, high, low];
    [&head[..], &digest(head, [0; 16], body, &secret()), body].concat()
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// As `radclient` 3.2.1 sends them, and the answers that it takes.
const START: &str = "0403007c2161344d044c92f70b0d5a0c061e0ebe010b7a68616e672e7765692806000000012c0a30303030303032410406c0000207200661702d3308060a0000051f1333432d32322d46422d30312d30322d3033a81220010db800000000000000000000000521043132501215094d60878c4d031a9b1444ad3755ea";
const START_ANSWER: &str = "050300180df9bde6c19bec84d53e77091afe598c21043132";
const STOP: &str = "047a004b21c7a6dc712abc7688a9a10c795c608301046c692806000000022c03372906000000056114004020010db8000100000000000000000000600a3e22fbfffe01020337066afd86c0";
const STOP_ANSWER: &str = "057a001477d660bdef50169143f51d7d5dd2d83b";

#[test]
fn what_radclient_sends_is_read_and_answered_as_it_expects() {
    let start = hex(START);
    let request = Request::read(&start, &secret()).unwrap();
    assert_eq!((request.id, request.status, request.account), (3, Status::Start, Some("zhang.wei")));
    assert_eq!(request.mac, Some(Mac([0x3c, 0x22, 0xfb, 1, 2, 3])));
    let addresses = request.addresses.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(addresses, ["10.0.0.5", "2001:db8::5"]);
    assert_eq!((request.nas, request.session), (&b"ap-3"[..], &b"0000002A"[..]));
    assert_eq!(request.nas_address, Some([192, 0, 2, 7].into()));
    assert_eq!(request.answer(&secret()), hex(START_ANSWER));

    let stop = hex(STOP);
    let request = Request::read(&stop, &secret()).unwrap();
    assert_eq!((request.status, request.account, request.delay_s), (Status::Stop, Some("li"), 5));
    assert_eq!(request.addresses, ["2001:db8:1::3e22:fbff:fe01:203".parse::<IpAddr>().unwrap()]);
    assert_eq!(request.event_time, Some(1_795_000_000));
    assert_eq!(request.answer(&secret()), hex(STOP_ANSWER));
}

#[test]
fn every_change_of_a_byte_is_noticed() {
    for whole in [hex(START), hex(STOP)] {
        for at in 0..whole.len() {
            for bit in [1, 0x80] {
                let mut bytes = whole.clone();
                bytes[at] ^= bit;
                assert!(Request::read(&bytes, &secret()).is_err(), "byte {at}");
            }
        }
        for length in 0..whole.len() {
            assert_eq!(Request::read(&whole[..length], &secret()), Err(Refused::Malformed));
        }
        let padded = [&whole[..], &[0; 9]].concat();
        assert!(Request::read(&padded, &secret()).is_ok(), "padding is ignored");
        let other = Secret::new(b"another secret of the same").unwrap();
        assert_eq!(Request::read(&whole, &other), Err(Refused::WrongSecret));
    }
}

#[test]
fn reasons_are_told_apart() {
    let begins: [(u8, &[u8]); 2] = [(40, &[0, 0, 0, 1]), (44, b"1")];
    let with = |more: &[(u8, &[u8])]| packet(4, 1, &[&begins[..], more].concat());
    let read = |bytes: &[u8]| Request::read(bytes, &secret()).map(|_| ());
    assert_eq!(read(&with(&[])), Ok(()));
    assert_eq!(read(&packet(1, 1, &begins)), Err(Refused::NotAccounting));
    // Lengths: an attribute of less than two bytes, one that is longer than the packet, one byte left over.
    for body in [&[1, 0][..], &[1, 1], &[1, 3], &[40, 6, 0, 0, 0], &[1]] {
        assert_eq!(read(&sealed(4, 1, body)), Err(Refused::Malformed), "{body:?}");
    }
    assert_eq!(read(&packet(4, 1, &[(80, &[0; 16]), (80, &[0; 16])])), Err(Refused::Malformed));
    assert_eq!(read(&with(&[(80, &[0; 16])])), Err(Refused::WrongSignature));
    for signature in [&[0; 15][..], &[], &[0; 17]] {
        assert_eq!(read(&with(&[(80, signature)])), Err(Refused::Malformed));
    }
    for (kind, value) in [
        (1, &b""[..]),
        (1, b"a\0b"),
        (1, b"\xff"),
        (4, &[1, 2, 3]),
        (8, &[1, 2, 3, 4, 5]),
        (40, &[1]),
        (41, &[]),
        (55, &[0; 8]),
        (95, &[0; 4]),
        (96, &[0; 7]),
        (97, &[0]),
        (97, &[0, 129, 1]),
        (97, &[0, 64, 1, 2, 3]),
        (168, &[0; 4]),
    ] {
        assert_eq!(read(&with(&[(kind, value)])), Err(Refused::BadValue), "{kind} {value:?}");
    }
    assert_eq!(read(&packet(4, 1, &[(44, b"1")])), Err(Refused::BadValue), "no status");
    assert_eq!(read(&packet(4, 1, &[(40, &[0, 0, 0, 2])])), Err(Refused::BadValue), "no session");
    assert_eq!(read(&packet(4, 1, &[(40, &[0, 0, 0, 7])])), Ok(()), "an access server came up");
}

#[test]
fn hardware_addresses_in_every_notation() {
    let mac = Mac([0x3c, 0x22, 0xfb, 1, 2, 0xff]);
    for text in [
        "3C-22-FB-01-02-FF",
        "3c:22:fb:01:02:ff",
        "3c22.fb01.02ff",
        "3c22-fb01-02ff",
        "3c22:fb01:02ff",
        "3c22fb-0102ff",
        "3C22FB:0102FF",
        "3c22fb0102ff",
        "3c.22.fb.01.02.ff",
    ] {
        assert_eq!(station(text), Some(mac), "{text}");
    }
    for text in [
        "",
        "10.0.0.5",
        "+86 138 0013 8000",
        "3c:22:fb:01:02",
        "3c:22:fb:01:02:ff:00",
        "3c:22-fb:01:02:ff",
        "3c2:2fb:010:2ff",
        "3:c:2:2:f:b:0:1:0:2:f:f",
        "3c22fb0102fg",
        "ff:ff:ff:ff:ff:ff",
        "zhang.wei",
    ] {
        assert_eq!(station(text), None, "{text}");
    }
}

#[test]
fn a_hardware_address_is_no_account_and_addresses_are_bounded() {
    let begins: [(u8, &[u8]); 3] = [(40, &[0, 0, 0, 1]), (44, b"1"), (31, b"3c-22-fb-01-02-03")];
    let bytes = packet(4, 1, &[&begins[..], &[(1, &b"3c22fb010203"[..])]].concat());
    assert_eq!(Request::read(&bytes, &secret()).unwrap().account, None);
    let bytes = packet(4, 1, &[&begins[..], &[(1, &b"3c22fb010204"[..])]].concat());
    assert_eq!(Request::read(&bytes, &secret()).unwrap().account, Some("3c22fb010204"));
    let values: Vec<[u8; 4]> = (1..20).map(|last| [10, 0, 0, last]).collect();
    let many: Vec<(u8, &[u8])> = values.iter().map(|v| (8, &v[..])).collect();
    let asks: [(u8, &[u8]); 2] = [(8, &[255; 4]), (8, &[255, 255, 255, 254])];
    let bytes = packet(4, 1, &[&begins[..], &asks, &many].concat());
    let addresses = Request::read(&bytes, &secret()).unwrap().addresses;
    assert_eq!((addresses.len(), addresses[0]), (MAX_ADDRESSES, IpAddr::from([10, 0, 0, 1])));
}

proptest! {
    #[test]
    fn hostile_packets_are_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Request::read(&bytes, &secret());
    }

    /// Whoever knows the secret may be hostile, too: an access server that was taken over.
    #[test]
    fn hostile_attributes_are_refused_or_read(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(request) = Request::read(&sealed(4, 1, &body), &secret()) {
            prop_assert!(request.addresses.len() <= MAX_ADDRESSES);
            prop_assert!(request.answer(&secret()).len() <= MAX_PACKET);
        }
    }

    #[test]
    fn what_proxies_added_goes_back(
        values in proptest::collection::vec((prop::sample::select(vec![25u8, 31, 32, 33, 33, 44]),
            proptest::collection::vec(any::<u8>(), 0..20)), 0..12)
    ) {
        let mut attributes: Vec<(u8, &[u8])> = values.iter().map(|(kind, value)| (*kind, &value[..])).collect();
        attributes.push((40, &[0, 0, 0, 9]));
        let bytes = packet(4, 1, &attributes);
        let answer = Request::read(&bytes, &secret()).unwrap().answer(&secret());
        attributes.retain(|(kind, _)| *kind == 33);
        prop_assert_eq!(&answer[20..], &packet(5, 1, &attributes)[20..]);
    }
}
