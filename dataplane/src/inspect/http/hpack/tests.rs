use super::huffman::tests::encode;
use super::*;

/// A literal with an indexed name, in plain or Huffman code.
pub(crate) fn literal(kind: u8, prefix: u32, index: u8, value: &[u8], huffman: bool) -> Vec<u8> {
    assert!(u32::from(index) < (1 << prefix) - 1);
    let mut out = vec![kind | index];
    out.extend(text(value, huffman));
    out
}

fn text(value: &[u8], huffman: bool) -> Vec<u8> {
    let coded = if huffman { encode(value) } else { value.to_vec() };
    assert!(coded.len() < 127);
    let mut out = vec![coded.len() as u8 | if huffman { 0x80 } else { 0 }];
    out.extend(coded);
    out
}

fn new_name(kind: u8, name: &[u8], value: &[u8], huffman: bool) -> Vec<u8> {
    [&[kind], text(name, huffman).as_slice(), &text(value, huffman)].concat()
}

type Said = (Option<String>, Option<String>, bool);

fn said(block: &[u8]) -> Option<Said> {
    let text = |t: Option<Text>| t.map(|t| String::from_utf8_lossy(t.as_bytes()).into_owned());
    request(block.iter().copied()).map(|r| (text(r.authority), text(r.host), r.connect))
}

/// RFC 7541 appendices C.3.1 and C.4.1: the same request, plain and in Huffman code.
#[test]
fn examples_of_the_rfc() {
    let want = Some((Some("www.example.com".to_string()), None, false));
    let plain = [&[0x82, 0x86, 0x84, 0x41, 0x0f], b"www.example.com".as_slice()].concat();
    assert_eq!(said(&plain), want);
    let coded = [
        0x82, 0x86, 0x84, 0x41, 0x8c, 0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff,
    ];
    assert_eq!(said(&coded), want);
}

#[test]
fn every_way_to_say_a_name() {
    for huffman in [false, true] {
        for (kind, prefix) in [(0x40, 6), (0x00, 4), (0x10, 4)] {
            let block = literal(kind, prefix, 1, b"a.example:8080", huffman);
            assert_eq!(said(&block), Some((Some("a.example:8080".into()), None, false)));
            let block = new_name(kind, b":authority", b"b.example", huffman);
            assert_eq!(said(&block), Some((Some("b.example".into()), None, false)));
            let block = new_name(kind, b"host", b"c.example", huffman);
            assert_eq!(said(&block), Some((None, Some("c.example".into()), false)));
        }
    }
    let mut block = vec![0x0f, 38 - 15];
    block.extend(text(b"d.example", false));
    assert_eq!(said(&block), Some((None, Some("d.example".into()), false)), "an index that takes two bytes");
    let connect =
        [literal(0x40, 6, 2, b"CONNECT", true), literal(0x40, 6, 1, b"e.example:443", true)].concat();
    assert_eq!(said(&connect), Some((Some("e.example:443".into()), None, true)));
}

#[test]
fn contradictions_name_nobody() {
    let twice = [literal(0x40, 6, 1, b"a.example", false), literal(0x40, 6, 1, b"b.example", false)].concat();
    assert_eq!(said(&twice), None);
    let other = new_name(0x40, b"x", b"y", false);
    // Index 62 is the newest insertion, 63 the one before it.
    let hidden =
        [literal(0x40, 6, 1, b"a.example", false), other, literal(0x40, 6, 62, b"z", false)].concat();
    assert_eq!(said(&hidden), Some((Some("a.example".into()), None, false)), "another value of x");
    let mut behind = [literal(0x40, 6, 1, b"a.example", false), new_name(0x40, b"x", b"y", false)].concat();
    behind.extend([0x7f, 0]);
    behind.extend(text(b"b.example", false));
    assert_eq!(said(&behind), None, "another :authority behind its index");
}

#[test]
fn broken_blocks() {
    for block in [
        &[0x80][..],
        &[0x41],
        &[0x41, 0x05, b'a'],
        &[0x41, 0x81, 0xff],
        &[0xff, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01],
        &[0x7e, 0x01, b'a'],
        &[0x00, 0x01],
    ] {
        assert_eq!(said(block), None, "{block:02x?}");
    }
    assert_eq!(said(&[]), Some((None, None, false)));
    let long = [&[0x41, 0x7f, 0x81, 0x02][..], &[b'a'; 384]].concat();
    let cut = request(long.iter().copied()).unwrap().authority.unwrap();
    assert_eq!(cut.as_bytes().len(), Text::CAP, "longer than any name");
}
