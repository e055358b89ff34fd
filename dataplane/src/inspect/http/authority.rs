//! `host[:port]`, as in `Host`, `:authority` and the target of CONNECT.

use glassgate_policy::Name;

/// Reads `host`, `host:` or `host:port` (RFC 9110 section 7.2), blanks round it taken off. `None` when the host is no
/// name or the port no number.
pub(super) fn parse(wire: &[u8]) -> Option<(Name, Option<u16>)> {
    let (host, port) = split(wire)?;
    Some((Name::from_host(host).ok()?, port))
}

/// The parts of an authority, the host unread.
pub(super) fn split(wire: &[u8]) -> Option<(&[u8], Option<u16>)> {
    let wire = trim(wire);
    match wire.iter().rposition(|b| matches!(b, b':' | b']')).and_then(|at| wire.split_at_checked(at)) {
        Some((host, [b':', port @ ..])) => Some((host, port_number(port)?)),
        _ => Some((wire, None)),
    }
}

/// The authority of a target in absolute form (`scheme://[user@]host[:port]/…`), or `None` for another form.
pub(super) fn of_absolute(target: &[u8]) -> Option<&[u8]> {
    let colon =
        target.iter().position(|b| !(b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.')))?;
    let rest = target.get(colon..)?.strip_prefix(b"://")?;
    if !target.first().is_some_and(u8::is_ascii_alphabetic) {
        return None;
    }
    let end = rest.iter().position(|b| matches!(b, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    let authority = rest.get(..end)?;
    let host = authority.iter().rposition(|b| *b == b'@').map_or(0, |at| at + 1);
    authority.get(host..)
}

/// Takes spaces and tabs off both ends.
pub(super) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

fn port_number(digits: &[u8]) -> Option<Option<u16>> {
    if digits.is_empty() {
        return Some(None);
    }
    let mut port = 0u16;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        port = port.checked_mul(10)?.checked_add(u16::from(digit - b'0'))?;
    }
    Some(Some(port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports() {
        let read = |wire: &str| parse(wire.as_bytes()).map(|(name, port)| (name.to_string(), port));
        let is = |name: &str, port| Some((name.to_string(), port));
        assert_eq!(read("Example.COM"), is("example.com", None));
        assert_eq!(read(" \texample.com.:8080\t "), is("example.com", Some(8080)));
        assert_eq!(read("example.com:"), is("example.com", None));
        assert_eq!(read("192.0.2.1:80"), is("192.0.2.1", Some(80)));
        assert_eq!(read("[2001:db8::1]"), is("[2001:db8::1]", None));
        assert_eq!(read("[2001:db8::1]:443"), is("[2001:db8::1]", Some(443)));
        for bad in [
            "",
            ":80",
            "example.com:http",
            "example.com:65536",
            "a b",
            "a@b",
            "::1",
            "2001:db8::1:443",
            "[::1]x",
            "a/b",
            "a,b",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn absolute_targets() {
        let read =
            |target: &str| of_absolute(target.as_bytes()).map(|a| String::from_utf8_lossy(a).into_owned());
        assert_eq!(read("http://a.example/x").as_deref(), Some("a.example"));
        assert_eq!(read("HTTP://u:p@a.example:80?x=http://b").as_deref(), Some("a.example:80"));
        assert_eq!(read("coap+tcp://a.example").as_deref(), Some("a.example"));
        for other in
            ["/", "/http://b/", "*", "a.example:443", "//a.example/x", "http:/a", "://a", "", "1x://a"]
        {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
