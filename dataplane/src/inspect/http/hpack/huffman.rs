//! The Huffman code of HPACK (RFC 7541 section 5.2 and appendix B).
//!
//! The code is canonical: codes of one length are consecutive numbers in the order of their symbols, and a length
//! begins where the one before ended, one bit longer. So the lengths say it all, and decoding needs three numbers a
//! length. Bit by bit it costs a few nanoseconds a byte of input, once a flow; tables that take a nibble at a time were
//! not worth their two cache lines a state here.

const EOS: u16 = 256;
const SHORTEST: usize = 5;
const LONGEST: usize = 30;

/// The bits of each symbol's code, without the one of EOS, which has 30.
#[rustfmt::skip]
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];

struct Code {
    /// The first code of each length.
    first: [u32; LONGEST + 1],
    /// How many codes of each length there are.
    count: [u16; LONGEST + 1],
    /// Where the symbols of each length begin in `symbols`.
    start: [u16; LONGEST + 1],
    /// The symbols by length, then by value.
    symbols: [u16; 257],
}

static CODE: Code = Code::new();

impl Code {
    #[expect(clippy::indexing_slicing, reason = "runs in the compiler, which refuses an index out of range")]
    const fn new() -> Self {
        let mut code = Self {
            first: [0; LONGEST + 1],
            count: [0; LONGEST + 1],
            start: [0; LONGEST + 1],
            symbols: [0; 257],
        };
        let (mut len, mut next, mut at) = (1, 0u32, 0u16);
        while len <= LONGEST {
            next <<= 1;
            code.first[len] = next;
            code.start[len] = at;
            let mut symbol = 0;
            while symbol <= EOS {
                let bits = if symbol == EOS { LONGEST } else { LENGTHS[symbol as usize] as usize };
                if bits == len {
                    code.symbols[at as usize] = symbol;
                    (at, next) = (at + 1, next + 1);
                    code.count[len] += 1;
                }
                symbol += 1;
            }
            len += 1;
        }
        // A complete code uses up all of its space: any wrong length breaks this.
        assert!(at == 257 && next == 1 << LONGEST && code.count[SHORTEST] == 10);
        code
    }
}

/// Decodes a whole string. `None` when a byte is missing, EOS is in it, or it ends with anything but fewer than eight
/// bits of ones.
pub(super) fn decode(bytes: impl Iterator<Item = Option<u8>>, mut out: impl FnMut(u8)) -> Option<()> {
    let (mut bits, mut len) = (0u32, 0usize);
    for byte in bytes {
        let byte = byte?;
        for shift in (0..8).rev() {
            bits = bits << 1 | u32::from(byte >> shift & 1);
            len += 1;
            let offset = bits.checked_sub(*CODE.first.get(len)?);
            if let Some(offset) = offset.filter(|o| *o < u32::from(CODE.count.get(len).copied().unwrap_or(0)))
            {
                let at = usize::from(*CODE.start.get(len)?) + offset as usize;
                out(u8::try_from(*CODE.symbols.get(at)?).ok()?);
                (bits, len) = (0, 0);
            }
        }
    }
    (len < 8 && bits == (1 << len) - 1).then_some(())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn encode(text: &[u8]) -> Vec<u8> {
        let (mut out, mut bits, mut len) = (Vec::new(), 0u64, 0u32);
        for byte in text {
            let symbol = u16::from(*byte);
            let wide = usize::from(LENGTHS[usize::from(*byte)]);
            let at = CODE.symbols.iter().position(|s| *s == symbol).unwrap() - usize::from(CODE.start[wide]);
            bits = bits << wide | u64::from(CODE.first[wide] + at as u32);
            len += wide as u32;
            while len >= 8 {
                len -= 8;
                out.push((bits >> len) as u8);
            }
        }
        if len > 0 {
            out.push((bits << (8 - len)) as u8 | (0xff >> len));
        }
        out
    }

    fn decoded(bytes: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        decode(bytes.iter().map(|b| Some(*b)), |byte| out.push(byte)).map(|()| out)
    }

    /// RFC 7541 appendix C.4 and C.6.
    #[test]
    fn examples_of_the_rfc() {
        for (text, code) in [
            ("www.example.com", "f1e3c2e5f23a6ba0ab90f4ff"),
            ("no-cache", "a8eb10649cbf"),
            ("custom-key", "25a849e95ba97d7f"),
            ("custom-value", "25a849e95bb8e8b4bf"),
            ("Mon, 21 Oct 2013 20:13:21 GMT", "d07abe941054d444a8200595040b8166e082a62d1bff"),
            (
                "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
                "94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
            ),
        ] {
            let code: Vec<u8> = (0..code.len())
                .step_by(2)
                .map(|i| u8::from_str_radix(&code[i..i + 2], 16).unwrap())
                .collect();
            assert_eq!(decoded(&code).as_deref(), Some(text.as_bytes()));
            assert_eq!(encode(text.as_bytes()), code);
        }
    }

    #[test]
    fn bad_endings() {
        assert_eq!(decoded(&[]), Some(vec![]));
        assert_eq!(decoded(&[0xff]), None, "eight bits of padding");
        assert_eq!(decoded(&[0x1e]), None, "padding of zeros");
        assert_eq!(decoded(&[0xff, 0xff, 0xff, 0xff]), None, "EOS");
        assert_eq!(decode([Some(0x1f), None].into_iter(), |_| ()), None, "cut off");
    }

    proptest! {
        #[test]
        fn round_trips(text: Vec<u8>) {
            prop_assert_eq!(decoded(&encode(&text)), Some(text));
        }
    }
}
