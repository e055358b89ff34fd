//! Hardware addresses.

use std::fmt;

/// A MAC address, IEEE 802.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// From six pairs of hexadecimal digits with `:` or `-` between them, as every system prints it.
    pub fn parse(text: &str) -> Option<Self> {
        let separator = if text.contains('-') { '-' } else { ':' };
        let mut parts = text.split(separator);
        let mut out = [0; 6];
        for byte in &mut out {
            let part =
                parts.next().filter(|part| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit()))?;
            *byte = u8::from_str_radix(part, 16).ok()?;
        }
        parts.next().is_none().then_some(Self(out))
    }

    /// Whether the address was made up by its device: the bit for locally administered addresses is set. Phones and
    /// laptops do that so that nobody can recognize them; it is taken at its word.
    pub const fn is_random(self) -> bool {
        self.0[0] & 2 != 0
    }

    /// Whether it can be the address of one device.
    pub const fn is_unicast(self) -> bool {
        self.0[0] & 1 == 0 && !matches!(self.0, [0, 0, 0, 0, 0, 0])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_as_systems_write_them() {
        let mac = Mac([0x3c, 0x22, 0xfb, 1, 2, 0xff]);
        for text in ["3c:22:fb:01:02:ff", "3C-22-FB-01-02-FF"] {
            assert_eq!(Mac::parse(text), Some(mac));
        }
        assert_eq!(Mac::parse(&mac.to_string()), Some(mac));
        for bad in [
            "",
            "3c:22:fb:01:02",
            "3c:22:fb:01:02:ff:00",
            "3c:22:fb:01:02:+f",
            "3c:22:fb:01:02:fff",
            "3c22fb0102ff",
        ] {
            assert_eq!(Mac::parse(bad), None, "{bad}");
        }
        assert!(!mac.is_random() && mac.is_unicast());
        assert!(Mac([0xda, 0xa1, 0x19, 1, 2, 3]).is_random(), "as phones make them");
        assert!(!Mac([0xff; 6]).is_unicast() && !Mac([0; 6]).is_unicast());
    }
}
