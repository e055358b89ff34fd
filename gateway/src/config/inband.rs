//! The gateway's own address on the ports of the bridge.

use super::schema::{Filled, Setting};
use super::{Check, Config};
use anyhow::{Context as _, Result};
use glassgate_dataplane::inband::own::{Own, Segment, link_local};
use ipnet::{Ipv4Net, Ipv6Net};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, Ipv6Addr};

/// Says which machine this is, and stays the same over restarts.
const MACHINE_ID: &str = "/etc/machine-id";

/// Where the gateway can be reached through the ports of the bridge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Inband {
    /// The hardware address; `None` until it is made from the machine's id.
    pub(crate) mac: Option<[u8; 6]>,
    /// Without a tag, and in the VLAN: at least one of them.
    pub(crate) untagged: Option<Network>,
    pub(crate) tagged: Option<(u16, Network)>,
    pub(crate) management: Management,
    /// TCP port of the page.
    pub(crate) port: u16,
}

/// Addresses in one network: at least one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Network {
    pub(crate) v4: Option<Ipv4Net>,
    pub(crate) v6: Option<Ipv6Net>,
    pub(crate) gateway: Option<Ipv4Addr>,
    pub(crate) gateway6: Option<Ipv6Addr>,
}

/// From where the management side of the page is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Management {
    /// From nowhere: everybody at these ports is one of the people.
    None,
    Vlan,
    Lan,
    Uplink,
}

impl Management {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Vlan => "vlan",
            Self::Lan => "lan",
            Self::Uplink => "uplink",
        }
    }
}

impl Inband {
    /// The networks, with their VLANs.
    pub(crate) fn networks(&self) -> impl Iterator<Item = (Option<u16>, &Network)> {
        let untagged = self.untagged.iter().map(|network| (None, network));
        untagged.chain(self.tagged.iter().map(|(vlan, network)| (Some(*vlan), network)))
    }

    /// Whether frames of this VLAN that came in by this port (0 is the LAN) are of the management side.
    pub(crate) fn is_management(&self, vlan: Option<u16>, port: usize) -> bool {
        match self.management {
            Management::None => false,
            Management::Vlan => vlan.is_some(),
            Management::Lan => vlan.is_none() && port == 0,
            Management::Uplink => vlan.is_none() && port == 1,
        }
    }

    /// What the fast path goes by.
    pub(crate) fn own(&self) -> Result<Own> {
        let mac = self.mac.context("no hardware address was made")?;
        let segment = |(vlan, network): (Option<u16>, &Network)| {
            let v6 = network.v6.iter().flat_map(|net| [net.addr().octets(), link_local(mac)]).collect();
            Segment { vlan, v4: network.v4.map(|net| net.addr().octets()), v6 }
        };
        Ok(Own::new(mac, self.networks().map(segment).collect())?)
    }

    /// The same, with a hardware address.
    pub(crate) fn with_mac(mut self) -> Result<Self> {
        if self.mac.is_none() {
            let id = std::fs::read_to_string(MACHINE_ID).unwrap_or_default();
            self.mac = Some(mac_of(id.trim()).with_context(|| {
                format!("{MACHINE_ID} does not say which machine this is: set `mac` in the table [inband]")
            })?);
        }
        Ok(self)
    }
}

/// A locally administered address that follows from the machine's id, and tells nobody what that is.
fn mac_of(machine_id: &str) -> Option<[u8; 6]> {
    if machine_id.len() != 32 || !machine_id.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let hash = digest(&SHA256, format!("glassgate in-band address of {machine_id}").as_bytes());
    let mut mac = *hash.as_ref().first_chunk::<6>()?;
    mac[0] = mac[0] & 0xfc | 0x02;
    Some(mac)
}

/// A hardware address in words.
pub(crate) fn mac_text(mac: &[u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

impl Config {
    /// Makes the hardware address where the configuration names none: by whoever may read the machine's id.
    pub(crate) fn with_inband_mac(mut self) -> Result<Self> {
        self.inband = self.inband.map(Inband::with_mac).transpose()?;
        Ok(self)
    }
}

impl Check<'_> {
    pub(super) fn inband(&mut self, raw: &Filled) -> Option<Option<Inband>> {
        let raw = &raw.inband;
        let untagged = self.network([&raw.address, &raw.gateway, &raw.address6, &raw.gateway6]);
        let tagged =
            self.network([&raw.vlan_address, &raw.vlan_gateway, &raw.vlan_address6, &raw.vlan_gateway6]);
        let vlan = self.number(&raw.vlan, 0..=4094, "(a VLAN)");
        let port = self.number(&raw.port, 1..=65_535, "(a port)");
        let mac = self.mac(&raw.mac);
        let management = match raw.management.value.as_str() {
            "none" => Some(Management::None),
            "vlan" => Some(Management::Vlan),
            "lan" => Some(Management::Lan),
            "uplink" => Some(Management::Uplink),
            other => {
                self.fault(&raw.management, "unknown-word", format!("`{other}` is not known here"))
                    .help("write \"none\", \"vlan\", \"lan\" or \"uplink\"");
                None
            }
        };
        let (untagged, tagged, vlan, port, mac, management) =
            (untagged?, tagged?, vlan? as u16, port? as u16, mac?, management?);
        if vlan == 0 && tagged.is_some() {
            let written = [&raw.vlan_address, &raw.vlan_address6].into_iter().find(|s| !s.value.is_empty());
            self.fault(written.unwrap_or(&raw.vlan_address), "no-vlan", "an address in no VLAN")
                .help("set `vlan`, or write it as `address`");
            return None;
        }
        if vlan != 0 && tagged.is_none() {
            self.fault(&raw.vlan, "no-address", "the gateway has no address in this VLAN")
                .help("set `vlan_address` or `vlan_address6`");
            return None;
        }
        let nowhere = match management {
            Management::None => false,
            Management::Vlan => tagged.is_none(),
            Management::Lan | Management::Uplink => untagged.is_none(),
        };
        if nowhere {
            let why = format!("nobody can come from the management side `{}`", management.as_str());
            self.fault(&raw.management, "no-address", why)
                .help("`vlan` needs `vlan` and `vlan_address`, `lan` and `uplink` need `address`");
            return None;
        }
        if untagged.is_none() && tagged.is_none() {
            return Some(None);
        }
        let tagged = tagged.map(|network| (vlan, network));
        Some(Some(Inband { mac, untagged, tagged, management, port }))
    }

    /// The addresses and gateways of one network, if it has any; IPv4 first.
    fn network(&mut self, [v4, gateway, v6, gateway6]: [&Setting<String>; 4]) -> Option<Option<Network>> {
        let (net4, net6) = (self.address4(v4), self.address6(v6));
        let via4 = self.via(gateway, |s| s.parse::<Ipv4Addr>().ok());
        let via6 = self.via(gateway6, |s| s.parse::<Ipv6Addr>().ok());
        let (net4, net6, via4, via6) = (net4?, net6?, via4?, via6?);
        let mut fine = true;
        let mut check = |this: &mut Self, setting: &Setting<String>, via: String, inside: Option<bool>| {
            let help = match inside {
                Some(true) => return,
                Some(false) => "the router that leads elsewhere must be in the gateway's own network",
                None => "a router needs an address of the gateway in its network",
            };
            this.fault(setting, "gateway", format!("`{via}` can't be reached")).help(help);
            fine = false;
        };
        if let Some(via) = via4 {
            let inside = net4.map(|net| net.contains(&via) && net.addr() != via);
            check(self, gateway, via.to_string(), inside);
        }
        if let Some(via) = via6 {
            let link_local = via.segments()[0] & 0xffc0 == 0xfe80;
            let inside = net6.map(|net| link_local || net.contains(&via) && net.addr() != via);
            check(self, gateway6, via.to_string(), inside);
        }
        if !fine {
            return None;
        }
        let network = Network { v4: net4, v6: net6, gateway: via4, gateway6: via6 };
        Some((net4.is_some() || net6.is_some()).then_some(network))
    }

    fn via<T>(&mut self, setting: &Setting<String>, parse: impl Fn(&str) -> Option<T>) -> Option<Option<T>> {
        if setting.value.is_empty() {
            return Some(None);
        }
        let via = parse(&setting.value);
        if via.is_none() {
            self.fault(setting, "address", format!("`{}` is no such address", setting.value))
                .help("write the address of a router alone, such as `10.0.0.1` or `fe80::1`");
        }
        via.map(Some)
    }

    fn address4(&mut self, setting: &Setting<String>) -> Option<Option<Ipv4Net>> {
        if setting.value.is_empty() {
            return Some(None);
        }
        let net: Option<Ipv4Net> = setting.value.parse().ok().filter(|net: &Ipv4Net| {
            let (ip, len) = (net.addr(), net.prefix_len());
            let is_a_host = len >= 31 || (ip != net.network() && ip != net.broadcast());
            let cannot =
                ip.is_loopback() || ip.is_multicast() || ip.octets()[0] == 0 || ip.octets()[0] >= 240;
            (8..=32).contains(&len) && is_a_host && !cannot
        });
        if net.is_none() {
            self.fault(setting, "address", format!("`{}` is no address of a host", setting.value))
                .help("write it with its prefix, as `10.0.0.2/24`");
        }
        net.map(Some)
    }

    fn address6(&mut self, setting: &Setting<String>) -> Option<Option<Ipv6Net>> {
        if setting.value.is_empty() {
            return Some(None);
        }
        let net: Option<Ipv6Net> = setting.value.parse().ok().filter(|net: &Ipv6Net| {
            let ip = net.addr();
            let link_local = ip.segments()[0] & 0xffc0 == 0xfe80;
            let cannot = ip.is_loopback() || ip.is_multicast() || ip.is_unspecified() || link_local;
            (16..=128).contains(&net.prefix_len()) && !cannot && ip.to_ipv4_mapped().is_none()
        });
        if net.is_none() {
            self.fault(setting, "address", format!("`{}` is no address of a host", setting.value))
                .help("write it with its prefix, as `fd00::2/64`; the link-local address comes by itself");
        }
        net.map(Some)
    }

    fn mac(&mut self, setting: &Setting<String>) -> Option<Option<[u8; 6]>> {
        if setting.value.is_empty() {
            return Some(None);
        }
        let mut mac = [0; 6];
        let mut parts = setting.value.split(':');
        let read = mac.iter_mut().all(|byte| {
            let part = parts.next().filter(|part| part.len() == 2);
            part.and_then(|part| u8::from_str_radix(part, 16).ok()).is_some_and(|value| {
                *byte = value;
                true
            })
        });
        if !read || parts.next().is_some() || mac[0] & 1 != 0 || mac == [0; 6] {
            self.fault(setting, "mac", format!("`{}` is no hardware address of a station", setting.value))
                .help(
                    "write it as `02:00:5e:00:53:01`; the second digit is 2, 6, a or e for one of your own",
                );
            return None;
        }
        Some(Some(mac))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use glassgate_policy::diagnostic::{Diagnostics, Text};
    use std::path::Path;

    fn parse(text: &str) -> Result<Config, Diagnostics> {
        let text = format!("[inband]\n{text}");
        Config::parse(Text::new("glassgate.toml", &text), Path::new("/etc/glassgate"))
    }

    #[test]
    fn without_an_address_there_is_none() {
        assert_eq!(parse("").unwrap().inband, None);
        assert_eq!(parse("port = 80\n").unwrap().inband, None);
    }

    #[test]
    fn sides_are_told_by_port_and_vlan() {
        let both = "address = '10.0.0.2/24'\nvlan = 99\nvlan_address6 = 'fd99::2/64'\nmanagement = ";
        let sides = [(None, 0), (None, 1), (Some(99), 0), (Some(99), 1)];
        for (word, management) in [
            ("none", [false; 4]),
            ("vlan", [false, false, true, true]),
            ("lan", [true, false, false, false]),
            ("uplink", [false, true, false, false]),
        ] {
            let inband = parse(&format!("{both}'{word}'\n")).unwrap().inband.unwrap();
            assert_eq!(sides.map(|(vlan, port)| inband.is_management(vlan, port)), management, "{word}");
        }
    }

    #[test]
    fn the_fast_path_is_told_all_addresses() {
        let text = "address = '10.0.0.2/24'\naddress6 = 'fd00::2/64'\ngateway = '10.0.0.1'\ngateway6 = 'fe80::1'\n\
                    mac = '02:00:5e:00:53:01'\n";
        let inband = parse(text).unwrap().inband.unwrap();
        assert_eq!((inband.management, inband.port), (Management::None, 8480));
        let own = inband.own().unwrap();
        assert_eq!(own.mac(), [2, 0, 0x5e, 0, 0x53, 1]);
        assert_eq!(own.groups().count(), 3, "everybody, and the groups of two IPv6 addresses");
    }

    #[test]
    fn a_hardware_address_follows_from_the_machine() {
        let one = mac_of("0123456789abcdef0123456789abcdef").unwrap();
        assert_eq!(one, mac_of("0123456789abcdef0123456789abcdef").unwrap());
        assert_ne!(one, mac_of("0123456789abcdef0123456789abcdee").unwrap());
        assert_eq!(one[0] & 3, 2, "locally administered, of one station");
        assert!(mac_of("").is_none() && mac_of("uninitialized").is_none());
    }

    #[test]
    fn what_cannot_be_is_refused_where_it_stands() {
        for (text, code, line) in [
            ("address = '10.0.0.2'\n", "address", 2),
            ("address = '10.0.0.0/24'\n", "address", 2),
            ("address = '10.0.0.255/24'\n", "address", 2),
            ("address = '127.0.0.1/8'\n", "address", 2),
            ("address6 = 'fe80::2/64'\n", "address", 2),
            ("address6 = '::ffff:10.0.0.2/120'\n", "address", 2),
            ("address = '10.0.0.2/24'\ngateway = '10.0.1.1'\n", "gateway", 3),
            ("address = '10.0.0.2/24'\ngateway = '10.0.0.2'\n", "gateway", 3),
            ("gateway6 = 'fe80::1'\n", "gateway", 2),
            ("address = '10.0.0.2/24'\nmac = '01:00:00:00:00:01'\n", "mac", 3),
            ("address = '10.0.0.2/24'\nmac = '2:0:0:0:0:1'\n", "mac", 3),
            ("vlan = 4095\n", "range", 2),
            ("vlan = 9\n", "no-address", 2),
            ("vlan_address = '10.0.0.2/24'\n", "no-vlan", 2),
            ("address = '10.0.0.2/24'\nmanagement = 'vlan'\n", "no-address", 3),
            ("vlan = 9\nvlan_address = '10.0.0.2/24'\nmanagement = 'uplink'\n", "no-address", 4),
            ("address = '10.0.0.2/24'\nmanagement = 'wan'\n", "unknown-word", 3),
            ("address = '10.0.0.2/24'\nport = 0\n", "range", 3),
        ] {
            let faults = parse(text).unwrap_err();
            let fault = &faults.as_slice()[0];
            assert_eq!((fault.code, fault.line), (code, line), "{text}");
        }
    }
}
