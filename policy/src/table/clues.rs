//! Clues in a table: addresses, protocols, fingerprints.
//!
//! ```text
//!  address  16 first address │ length │ transport │ 2 first port │ 2 last port │ 2 zero │ 4 class │ 4 parent + 1
//!  alpn      4 class │ length │ 27 identifier
//!  ja4       4 class │ 36 fingerprint
//! ```
//!
//! Addresses stand in order; among prefixes that begin alike the longer, and with equal prefixes the narrower, comes later. Each
//! knows its *parent*: the last one before it whose prefix holds it. So the longest prefix that holds an address is
//! found from the last one that begins at or before it, going to parents until one holds it and takes its port: at most
//! [`MAX_DEPTH`] steps after a search among the beginnings. Both are total over any bytes.

use crate::clue::{Clue, JA4, MAX_ALPN, Prefix, is_ja4, masked};
use crate::vocab::L4;

/// Bytes of an address.
pub(crate) const ADDRESS: usize = 32;
/// Bytes of an ALPN identifier.
pub(crate) const ALPN: usize = 4 + 1 + MAX_ALPN;
/// Bytes of a fingerprint.
pub(crate) const FINGERPRINT: usize = 4 + JA4;
/// Prefixes within one another, at most; those that are alike and differ in their ports count, too. What they cost is paid once
/// for a flow without a name.
pub(crate) const MAX_DEPTH: usize = 256;

const _: () = assert!(ALPN == 32 && FINGERPRINT == 40);

/// The sections of a table.
#[derive(Debug, Default)]
pub(crate) struct Sections {
    pub(crate) addresses: Vec<u8>,
    pub(crate) alpns: Vec<u8>,
    pub(crate) ja4s: Vec<u8>,
}

/// Prefixes nest deeper than [`MAX_DEPTH`] at this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooDeep(pub(crate) Prefix);

/// Lays clues out; each is there once.
pub(crate) fn encode(clues: &[(Clue, u32)]) -> Result<Sections, TooDeep> {
    let (mut addresses, mut alpns, mut ja4s) = (Vec::new(), Vec::new(), Vec::new());
    for (clue, class) in clues {
        match clue {
            Clue::Address(prefix) => addresses.push((*prefix, *class)),
            Clue::Alpn(id) => alpns.push((id, *class)),
            Clue::Ja4(text) => ja4s.push((text, *class)),
        }
    }
    addresses.sort_by_key(|(prefix, _)| order(prefix));
    alpns.sort();
    ja4s.sort();
    let mut out = Sections { addresses: encode_addresses(&addresses)?, ..Sections::default() };
    for (id, class) in alpns {
        out.alpns.extend_from_slice(&class.to_le_bytes());
        out.alpns.push(id.len() as u8);
        out.alpns.extend(id.iter().copied().chain(std::iter::repeat(0)).take(MAX_ALPN));
    }
    for (text, class) in ja4s {
        out.ja4s.extend_from_slice(&class.to_le_bytes());
        out.ja4s.extend_from_slice(text);
    }
    Ok(out)
}

/// What comes later is asked first, where both hold an address.
pub(crate) fn order(prefix: &Prefix) -> ([u8; 16], u8, std::cmp::Reverse<u16>, bool, u16) {
    let (low, high) = prefix.ports;
    (prefix.address, prefix.len, std::cmp::Reverse(high - low), prefix.l4.is_some(), low)
}

fn encode_addresses(sorted: &[(Prefix, u32)]) -> Result<Vec<u8>, TooDeep> {
    let mut out = Vec::with_capacity(sorted.len() * ADDRESS);
    // Those that hold the one in hand, outermost first.
    let mut around: Vec<(Prefix, u32)> = Vec::new();
    for ((prefix, class), number) in sorted.iter().zip(1u32..) {
        while around.last().is_some_and(|(outer, _)| !outer.spans(&prefix.address)) {
            around.pop();
        }
        let parent = around.last().map_or(0, |(_, number)| *number);
        around.push((*prefix, number));
        if around.len() > MAX_DEPTH {
            return Err(TooDeep(*prefix));
        }
        out.extend_from_slice(&prefix.address);
        out.extend_from_slice(&[prefix.len, prefix.l4.map_or(0, |l4| l4 as u8)]);
        out.extend_from_slice(&prefix.ports.0.to_le_bytes());
        out.extend_from_slice(&prefix.ports.1.to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&class.to_le_bytes());
        out.extend_from_slice(&parent.to_le_bytes());
    }
    Ok(out)
}

/// An address as it is read.
struct Record {
    prefix: Prefix,
    class: u32,
    parent: u32,
}

#[expect(clippy::many_single_char_names, reason = "bytes of a record, by their order")]
fn record(bytes: &[u8; ADDRESS]) -> Record {
    let [address @ .., len, l4, a, b, c, d, _, _, e, f, g, h, i, j, k, l] = *bytes;
    Record {
        prefix: Prefix {
            address,
            len,
            l4: L4::from_code(l4),
            ports: (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d])),
        },
        class: u32::from_le_bytes([e, f, g, h]),
        parent: u32::from_le_bytes([i, j, k, l]),
    }
}

/// The longest prefix that holds an address and takes its port, and its class.
pub(crate) fn address(section: &[u8], address: &[u8; 16], l4: L4, port: u16) -> Option<(Prefix, u32)> {
    let (all, _) = section.as_chunks::<ADDRESS>();
    let mut number =
        all.partition_point(|bytes| bytes.first_chunk::<16>().is_some_and(|first| first <= address));
    for _ in 0..MAX_DEPTH {
        let Record { prefix, class, parent } = record(all.get(number.checked_sub(1)?)?);
        if prefix.takes(address, l4, port) {
            return Some((prefix, class));
        }
        // A parent stands before its child, so this ends.
        number = (parent as usize).min(number - 1);
    }
    None
}

/// The class of an ALPN identifier.
pub(crate) fn alpn(section: &[u8], id: &[u8]) -> Option<u32> {
    let (all, _) = section.as_chunks::<ALPN>();
    let at = all.partition_point(|bytes| alpn_of(bytes) < id);
    let found = all.get(at).filter(|bytes| alpn_of(bytes) == id)?;
    found.first_chunk().map(|class| u32::from_le_bytes(*class))
}

fn alpn_of(bytes: &[u8; ALPN]) -> &[u8] {
    let [_, _, _, _, len, text @ ..] = bytes;
    text.get(..usize::from(*len)).unwrap_or(text)
}

/// The class of a fingerprint.
pub(crate) fn ja4(section: &[u8], text: &[u8; JA4]) -> Option<u32> {
    let (all, _) = section.as_chunks::<FINGERPRINT>();
    let text_of = |bytes: &[u8; FINGERPRINT]| bytes.last_chunk::<JA4>().copied().unwrap_or([0; JA4]);
    let at = all.partition_point(|bytes| text_of(bytes) < *text);
    let found = all.get(at).filter(|bytes| text_of(bytes) == *text)?;
    found.first_chunk().map(|class| u32::from_le_bytes(*class))
}

/// Whether sections are as [`encode`] makes them; `class` says whether a class is one that a clue may have.
pub(crate) fn check(sections: [&[u8]; 3], class: impl Fn(u32) -> bool) -> Result<(), &'static str> {
    let [addresses, alpns, ja4s] = sections;
    let mut clues = Vec::new();
    let (all, _) = addresses.as_chunks::<ADDRESS>();
    for bytes in all {
        let Record { prefix, class: number, .. } = record(bytes);
        let good = prefix.len <= 128
            && prefix.address == masked(prefix.address, prefix.len)
            && prefix.ports.0 <= prefix.ports.1
            && class(number);
        if !good {
            return Err("addresses");
        }
        clues.push((Clue::Address(prefix), number));
    }
    let (all, _) = alpns.as_chunks::<ALPN>();
    for bytes in all {
        let number = bytes.first_chunk().map_or(0, |n| u32::from_le_bytes(*n));
        let id = alpn_of(bytes);
        if !class(number) || id.is_empty() || !id.iter().all(u8::is_ascii_graphic) {
            return Err("alpns");
        }
        clues.push((Clue::Alpn(id.to_vec()), number));
    }
    let (all, _) = ja4s.as_chunks::<FINGERPRINT>();
    for bytes in all {
        let number = bytes.first_chunk().map_or(0, |n| u32::from_le_bytes(*n));
        match bytes.last_chunk::<JA4>() {
            Some(text) if class(number) && is_ja4(text) => clues.push((Clue::Ja4(*text), number)),
            _ => return Err("ja4s"),
        }
    }
    // Order, parents and padding: there is one way to write them.
    let again = encode(&clues).map_err(|_| "addresses")?;
    match [again.addresses == addresses, again.alpns == alpns, again.ja4s == ja4s] {
        [true, true, true] => Ok(()),
        [false, ..] => Err("addresses"),
        [_, false, _] => Err("alpns"),
        _ => Err("ja4s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clue::Kind;
    use crate::matrix::address_key;
    use proptest::prelude::*;

    fn clues(all: &[(Kind, &str)]) -> Vec<(Clue, u32)> {
        all.iter().zip(1..).map(|((kind, text), class)| (Clue::parse(*kind, text).unwrap(), class)).collect()
    }

    #[test]
    fn the_longest_prefix_that_takes_the_port_wins() {
        let sections = encode(&clues(&[
            (Kind::Address, "192.0.2.0/24"),
            (Kind::Address, "192.0.2.128/25,udp/51820"),
            (Kind::Address, "0.0.0.0/0,any/853"),
            (Kind::Address, "192.0.2.129,tcp"),
            (Kind::Address, "192.0.2.0/24,tcp/400-500"),
            (Kind::Address, "2001:db8::/32"),
            (Kind::Address, "::/0,any/853"),
        ]))
        .unwrap();
        let ask = |at: &str, l4, port| {
            address(&sections.addresses, &address_key(at.parse().unwrap()), l4, port).map(|found| found.1)
        };
        assert_eq!(ask("192.0.2.1", L4::Udp, 51820), Some(1));
        assert_eq!(ask("192.0.2.200", L4::Udp, 51820), Some(2));
        assert_eq!(ask("192.0.2.200", L4::Udp, 51821), Some(1));
        assert_eq!(ask("192.0.2.1", L4::Tcp, 443), Some(5));
        assert_eq!(ask("192.0.2.129", L4::Tcp, 443), Some(4));
        assert_eq!(ask("192.0.2.129", L4::Udp, 443), Some(1));
        assert_eq!(ask("198.51.100.1", L4::Tcp, 853), Some(3));
        assert_eq!(ask("192.0.2.1", L4::Udp, 853), Some(1));
        assert_eq!(ask("198.51.100.1", L4::Tcp, 443), None);
        assert_eq!(ask("2001:db8:1::1", L4::Tcp, 1), Some(6));
        assert_eq!(ask("2001:db7::1", L4::Tcp, 853), Some(7), "what IPv4 lists lies in between");
        assert_eq!(ask("2001:db7::1", L4::Tcp, 854), None);
        assert_eq!(ask("::1", L4::Tcp, 853), Some(7));
        assert_eq!(ask("::fffd:c000:201", L4::Tcp, 853), Some(7));
        assert_eq!(check([&sections.addresses, &[], &[]], |_| true), Ok(()));
        assert_eq!(check([&sections.addresses, &[], &[]], |class| class != 4), Err("addresses"));
    }

    #[test]
    fn protocols_and_fingerprints_are_found() {
        let print = "t13d1516h2_8daaf6152771_b186095e22b6";
        let sections =
            encode(&clues(&[(Kind::Alpn, "doq"), (Kind::Alpn, "dot"), (Kind::Ja4, print)])).unwrap();
        let ask = |id: &[u8]| alpn(&sections.alpns, id);
        assert_eq!(
            [ask(b"doq"), ask(b"dot"), ask(b"do"), ask(b"dott"), ask(b"")],
            [Some(1), Some(2), None, None, None]
        );
        let text: [u8; JA4] = print.as_bytes().try_into().unwrap();
        assert_eq!(ja4(&sections.ja4s, &text), Some(3));
        assert_eq!(ja4(&sections.ja4s, &[b'0'; JA4]), None);
        assert_eq!(check([&[], &sections.alpns, &sections.ja4s], |_| true), Ok(()));
        for at in 0..sections.alpns.len() {
            let mut bad = sections.alpns.clone();
            bad[at] ^= 0x80;
            assert!(check([&[], &bad, &[]], |class| class <= 2).is_err(), "{at}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |n: usize| -> Vec<(Clue, u32)> {
            (0..n).map(|i| (Clue::parse(Kind::Address, &format!("::/0,udp/{}", 1 + i)).unwrap(), 1)).collect()
        };
        assert!(encode(&nested(MAX_DEPTH + 1)).is_err());
        let sections = encode(&nested(MAX_DEPTH)).unwrap();
        // The one that is asked last, and one that stands between the families.
        let ask = |at: &str, port| {
            address(&sections.addresses, &address_key(at.parse().unwrap()), L4::Udp, port)
                .map(|found| found.1)
        };
        assert_eq!(
            (ask("2001:db8::1", 1), ask("2001:db8::1", 300), ask("192.0.2.1", 1)),
            (Some(1), None, None)
        );
    }

    proptest! {
        #[test]
        fn agrees_with_trying_all(
            listed in proptest::collection::btree_map((0u8..4, 0u8..=3, 0u8..3, any::<bool>()), 1u32..9, 0..24),
            asked in proptest::collection::vec((0u8..8, any::<bool>(), 0u16..4), 1..30),
        ) {
            // Small prefixes of 192.0.2.0/29, with few ports, so that much nests.
            let all: Vec<(Clue, u32)> = listed
                .iter()
                .map(|((at, len, port, udp), class)| {
                    let at = (at * 2) & (0xff << (3 - len));
                    let ports = if *port == 0 { "any".to_owned() } else { format!("{}/{port}", if *udp { "udp" } else { "any" }) };
                    (format!("192.0.2.{at}/{},{ports}", 29 + len), *class)
                })
                .collect::<std::collections::BTreeMap<_, _>>()
                .into_iter()
                .map(|(text, class)| (Clue::parse(Kind::Address, &text).unwrap(), class))
                .collect();
            let sections = encode(&all).unwrap();
            prop_assert_eq!(check([&sections.addresses, &[], &[]], |_| true), Ok(()));
            for (host, udp, port) in asked {
                let (at, l4) = (address_key(std::net::Ipv4Addr::new(192, 0, 2, host).into()), if udp { L4::Udp } else { L4::Tcp });
                let naive = all
                    .iter()
                    .filter_map(|(clue, class)| match clue {
                        Clue::Address(p) => Some((p, *class)),
                        _ => None,
                    })
                    .filter(|(p, _)| p.takes(&at, l4, port))
                    .max_by_key(|(p, _)| order(p))
                    .map(|(prefix, class)| (*prefix, class));
                prop_assert_eq!(address(&sections.addresses, &at, l4, port), naive);
            }
        }

        #[test]
        fn any_bytes_give_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..600), at: [u8; 16], port: u16) {
            let _ = address(&bytes, &at, L4::Tcp, port);
            let _ = alpn(&bytes, &at[..4]);
            let _ = ja4(&bytes, &[b'a'; JA4]);
            let _ = check([&bytes, &bytes, &bytes], |_| true);
        }
    }
}
