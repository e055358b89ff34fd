//! The names and addresses that this gateway is asked for by. A request for another is refused before anything else is looked at: a name that
//! somebody else's DNS points here (DNS rebinding) would make the gateway one site with theirs.

use axum::http::HeaderMap;
use axum::http::header::HOST;
use std::net::{IpAddr, SocketAddr};

/// What the gateway is called.
#[derive(Clone, Debug)]
pub(crate) struct Hosts {
    /// Its own addresses.
    own: Vec<SocketAddr>,
    /// In lower case.
    names: Vec<String>,
}

impl Hosts {
    /// The addresses that it is served at, and what else it is configured to be called.
    pub(crate) fn new(own: Vec<SocketAddr>, names: &[String]) -> Self {
        Self { own, names: names.iter().map(|name| name.to_ascii_lowercase()).collect() }
    }

    /// What stands in its certificate.
    pub(crate) fn in_certificate(&self) -> Vec<String> {
        let own =
            self.own.iter().map(SocketAddr::ip).filter(|ip| !ip.is_unspecified()).map(|ip| ip.to_string());
        let bare = self.names.iter().map(|name| host_and_port(name).map_or(name.as_str(), |(host, _)| host));
        let bare = bare.map(|name| name.trim_matches(['[', ']']).to_owned());
        let mut all: Vec<String> = ["localhost".to_owned()].into_iter().chain(own).chain(bare).collect();
        all.dedup();
        all
    }

    /// Whether a request is for this gateway: one `Host`, and that is it. The loopback names may have any port, since a tunnel ends where it
    /// likes; no DNS points them elsewhere.
    pub(super) fn admit(&self, headers: &HeaderMap) -> bool {
        let mut all = headers.get_all(HOST).iter();
        let (Some(host), None) = (all.next(), all.next()) else { return false };
        let Some((host, port)) = host.to_str().ok().and_then(host_and_port) else { return false };
        let is_name = |name: &String| {
            host_and_port(name).is_some_and(|(ours, at)| {
                ours.eq_ignore_ascii_case(host)
                    && port.is_none_or(|port| match at {
                        Some(at) => at == port,
                        None => self.own.iter().any(|own| own.port() == port),
                    })
            })
        };
        if self.names.iter().any(is_name) || host.eq_ignore_ascii_case("localhost") {
            return true;
        }
        let ip: Option<IpAddr> = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(v6) => v6.parse().ok().filter(IpAddr::is_ipv6),
            None => host.parse().ok().filter(IpAddr::is_ipv4),
        };
        let is = |ip: IpAddr, own: &SocketAddr| {
            let same = ip == own.ip() || own.ip().is_unspecified() && own.is_ipv4() == ip.is_ipv4();
            same && port.is_none_or(|port| port == own.port())
        };
        ip.is_some_and(|ip| ip.is_loopback() || self.own.iter().any(|own| is(ip, own)))
    }
}

/// A host, in brackets if it is an IPv6 address, and its port. `None` if it is neither name nor address (RFC 9110, section 7.2).
fn host_and_port(text: &str) -> Option<(&str, Option<u16>)> {
    let end = if text.starts_with('[') { text.find(']')? + 1 } else { text.find(':').unwrap_or(text.len()) };
    let (host, rest) = text.split_at_checked(end)?;
    let port = match rest.strip_prefix(':') {
        None if rest.is_empty() => None,
        Some(port) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => {
            Some(port.parse().ok()?)
        }
        _ => return None,
    };
    let good = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
    (!host.is_empty() && host.bytes().all(good)).then_some((host, port))
}

/// Whether a text can be one of the names: a name or an address, with a port or without.
pub(crate) fn is_name(text: &str) -> bool {
    host_and_port(text).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(hosts: &Hosts, host: &[u8]) -> bool {
        let mut headers = HeaderMap::new();
        if let Ok(value) = axum::http::HeaderValue::from_bytes(host) {
            headers.insert(HOST, value);
        }
        hosts.admit(&headers)
    }

    #[test]
    fn its_own_names_and_no_others() {
        let names = ["gateway.office.example".to_owned(), "gw:8443".to_owned()];
        let hosts = Hosts::new(vec!["10.9.0.2:8480".parse().unwrap()], &names);
        for host in [
            "10.9.0.2:8480",
            "10.9.0.2",
            "localhost",
            "LOCALHOST:1",
            "127.0.0.1:9000",
            "[::1]",
            "[::1]:8480",
            "gateway.office.example",
            "Gateway.Office.Example:8480",
            "gw:8443",
            "gw",
        ] {
            assert!(admits(&hosts, host.as_bytes()), "{host}");
        }
        let hostile: [&[u8]; 36] = [
            b"evil.example",
            b"10.9.0.2.evil.example",
            b"localhost.evil.example:8480",
            b"evil.localhost",
            b"",
            b" ",
            b"10.9.0.3",
            b"10.9.0.2:8481",
            b"10.9.0.2:",
            b"10.9.0.2:x",
            b"10.9.0.2:99999",
            b"10.9.0.2:8480:8480",
            b"10.9.0.2@evil.example",
            b"evil.example@10.9.0.2",
            b"10.9.0.2/evil",
            b"10.9.0.2#",
            b"10.9.0.2?",
            b"10.9.0.2,evil.example",
            b"10.9.0.2 evil.example",
            b"[::1",
            b"::1",
            b"[x]",
            b"[::1]x",
            b"[::1]:x",
            b"[]",
            b"[10.9.0.2]",
            b"0x0a090002",
            b"168361986",
            b"010.9.0.2",
            b"10.9.2",
            b"gw.:8443",
            b"gw:8480",
            b"gateway.office.example.",
            b"gateway.office.example:80",
            b"\xe2\x80\xae",
            b"http://10.9.0.2",
        ];
        for host in hostile {
            assert!(!admits(&hosts, host), "{}", String::from_utf8_lossy(host));
        }
        assert!(!hosts.admit(&HeaderMap::new()), "none");
        let mut two = HeaderMap::new();
        two.append(HOST, "localhost".parse().unwrap());
        two.append(HOST, "localhost".parse().unwrap());
        assert!(!hosts.admit(&two), "two");
        let any = Hosts::new(vec!["0.0.0.0:8480".parse().unwrap()], &[]);
        assert!(admits(&any, b"192.0.2.7:8480") && !admits(&any, b"evil.example"));
        assert_eq!(any.in_certificate(), ["localhost"]);
        assert_eq!(hosts.in_certificate(), ["localhost", "10.9.0.2", "gateway.office.example", "gw"]);
    }
}
