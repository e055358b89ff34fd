//! What the devices do in a round, and what a gateway that looks must have seen of it.

use crate::lab::devices::Device;
use crate::lab::origin;
use crate::ui::bytes;

/// One thing that a device does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Act {
    /// The device, by name.
    pub device: &'static str,
    /// What it does.
    pub client: Client,
    /// The name it does it with.
    pub name: &'static str,
    /// Whether over IPv6.
    pub v6: bool,
}

/// A client and what it transfers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// `curl` fetches so many bytes by HTTPS.
    Https(usize),
    /// `curl` fetches so many bytes by plain HTTP.
    Http(usize),
    /// `curl` uploads so many bytes by HTTPS.
    Upload(usize),
    /// A QUIC client fetches so many bytes.
    Quic(usize),
    /// `openssl s_client` fetches so many bytes.
    OpenSsl(usize),
    /// `dig` asks for the address, by UDP.
    Dig,
    /// `dig` asks for the address, by TCP.
    DigTcp,
}

/// A flow that the gateway must have seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Expected {
    /// The client's address.
    pub client: &'static str,
    /// The VLAN its frames are tagged with.
    pub vlan: Option<u16>,
    /// `tls`, `quic`, `http` or `dns`.
    pub kind: &'static str,
    /// The name said in it.
    pub name: &'static str,
    /// How the name is known.
    pub evidence: &'static str,
    /// The service it belongs to, if it is in the signature table.
    pub service: Option<&'static str>,
    /// The category of that service.
    pub category: Option<&'static str>,
}

const MIB: usize = 1 << 20;

/// A round: every client, both IP versions, tagged and untagged, transfers of many full frames in both directions.
pub const ROUND: [Act; 20] = [
    Act { device: "desk1", client: Client::Dig, name: "www.zhipin.com", v6: false },
    Act { device: "desk1", client: Client::Https(4 * MIB), name: "www.zhipin.com", v6: false },
    Act { device: "desk1", client: Client::Https(MIB), name: "www.liepin.com", v6: true },
    Act { device: "desk1", client: Client::OpenSsl(200_000), name: "www.jd.com", v6: false },
    Act { device: "desk1", client: Client::Upload(2 * MIB), name: "pan.baidu.com", v6: false },
    Act { device: "desk2", client: Client::Https(2 * MIB), name: "www.douyin.com", v6: true },
    Act { device: "desk2", client: Client::Http(4 * MIB), name: "intranet.example", v6: false },
    Act { device: "desk2", client: Client::DigTcp, name: "music.163.com", v6: true },
    Act { device: "desk2", client: Client::Http(300_000), name: "news.example", v6: true },
    Act { device: "phone", client: Client::Https(2 * MIB), name: "waimai.meituan.com", v6: false },
    Act { device: "phone", client: Client::OpenSsl(50_000), name: "music.163.com", v6: true },
    Act { device: "phone", client: Client::Https(100_000), name: "shop.example", v6: true },
    Act { device: "phone", client: Client::Quic(MIB), name: "www.douyin.com", v6: false },
    Act { device: "desk1", client: Client::Quic(300_000), name: "www.zhipin.com", v6: true },
    Act { device: "dock", client: Client::Quic(500_000), name: "music.163.com", v6: false },
    Act { device: "dock", client: Client::Dig, name: "www.liepin.com", v6: true },
    Act { device: "dock", client: Client::Https(4 * MIB), name: "www.zhipin.com", v6: true },
    Act { device: "dock", client: Client::Https(MIB), name: "www.douyin.com", v6: false },
    Act { device: "dock", client: Client::Http(2 * MIB), name: "www.jd.com", v6: false },
    Act { device: "dock", client: Client::Upload(MIB), name: "intranet.example", v6: true },
];

impl Client {
    /// Bytes that it transfers.
    pub fn payload(self) -> usize {
        match self {
            Self::Https(size)
            | Self::Http(size)
            | Self::Upload(size)
            | Self::Quic(size)
            | Self::OpenSsl(size) => size,
            Self::Dig | Self::DigTcp => 0,
        }
    }
}

impl Act {
    /// The flows it makes: the client's own, and the question for the address that precedes it. A question has no
    /// service: to ask for an address is not to use what is there.
    pub fn expected(&self) -> Vec<Expected> {
        let Some(device) = Device::named(self.device) else { return Vec::new() };
        let client = if self.v6 { device.v6 } else { device.v4 };
        let vlan = device.vlan.map_or(&[][..], |vlan| vlan.tags).last().map(|(_, id)| *id);
        let server = origin::NAMES.iter().find(|server| server.name == self.name);
        let (service, category) = server.and_then(|server| server.service).unzip();
        let question = |client| Expected {
            client,
            vlan,
            kind: "dns",
            name: self.name,
            evidence: "dns",
            service: None,
            category: None,
        };
        let flow =
            |kind, evidence| Expected { client, vlan, kind, name: self.name, evidence, service, category };
        match self.client {
            Client::Dig | Client::DigTcp => vec![question(client)],
            // It is told the address.
            Client::Quic(_) => vec![flow("quic", "quic_sni")],
            // The resolver of the C library asks the first server of its list, which is an IPv4 address.
            Client::Http(_) => vec![question(device.v4), flow("http", "http_host")],
            Client::Https(_) | Client::Upload(_) | Client::OpenSsl(_) => {
                vec![question(device.v4), flow("tls", "sni")]
            }
        }
    }

    /// A few words for a line of progress.
    pub fn words(&self) -> String {
        let what = match self.client {
            Client::Https(size) => format!("curl https, {}", bytes(size as u64)),
            Client::Http(size) => format!("curl http, {}", bytes(size as u64)),
            Client::Upload(size) => format!("curl upload, {}", bytes(size as u64)),
            Client::OpenSsl(size) => format!("openssl, {}", bytes(size as u64)),
            Client::Quic(size) => format!("quic, {}", bytes(size as u64)),
            Client::Dig => "dig".to_owned(),
            Client::DigTcp => "dig +tcp".to_owned(),
        };
        format!("{:<6} {:<20} IPv{} {what}", self.device, self.name, if self.v6 { 6 } else { 4 })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::lab::devices::DEVICES;
    use crate::lab::payload;

    #[test]
    fn every_act_has_its_device_its_server_and_a_payload_that_exists() {
        for act in ROUND {
            assert!(Device::named(act.device).is_some(), "{act:?}");
            assert!(origin::NAMES.iter().any(|server| server.name == act.name), "{act:?}");
            assert!(act.client.payload() <= payload::MAX, "{act:?}");
        }
    }

    #[test]
    fn a_round_covers_what_the_demo_promises() {
        let both = BTreeSet::from([false, true]);
        let tagged: BTreeSet<_> =
            DEVICES.iter().filter(|device| device.vlan.is_some()).map(|d| d.name).collect();
        for is_tagged in [false, true] {
            let acts = || ROUND.iter().filter(|act| tagged.contains(act.device) == is_tagged);
            let https = acts().filter(|act| matches!(act.client, Client::Https(_)));
            assert_eq!(https.map(|act| act.v6).collect::<BTreeSet<_>>(), both);
            assert!(acts().any(|act| matches!(act.client, Client::Upload(_))));
            assert!(acts().any(|act| matches!(act.client, Client::Http(_))));
        }
        for device in &DEVICES {
            assert!(ROUND.iter().any(|act| act.device == device.name), "{} is idle", device.name);
        }
    }
}
