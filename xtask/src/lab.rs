//! A small network on one machine: a LAN with devices, the gateway in the cable, and an Internet of our own.
//!
//! ```text
//!   desk1  desk2  phone          dock                    host
//!     │      │      │             │ untagged               │ 198.18.N.1
//!     └──────┼──────┘          ┌──┴───┐                    │
//!        ┌───┴────┐  802.1Q    │tagger│                    │ mgmt 198.18.N.2
//!        │ switch ├────────────┴──────┘             ┌──────┴──────┐
//!        └───┬────┘ uplink ════════════════ port-a  │  gateway    │  port-b ════════ uplink ┌─────────┐
//!            lan                                    └─────────────┘                         │   wan   │
//!                                                                                           └─────────┘
//!   wan: router 10.77.0.1, name server, HTTPS and HTTP origins on 203.0.113.0/24 and 2001:db8:113::/64
//! ```
//!
//! Every box is a network namespace `LAB-NAME`, every line a veth pair. Frames are captured on both uplinks, so
//! that each one that went in can be looked for on the other side, byte for byte.
//!
//! What it promises: two labs at a time never meet (each holds a [slot]); everything is taken away when
//! the lab is dropped, and by the next start if it could not be (`kill -9`). What it refuses: to touch an
//! interface, namespace or process that no lab made.

pub mod browser;
pub mod capture;
pub mod certs;
pub mod devices;
pub mod dns;
pub mod housekeeping;
pub mod iperf;
pub mod netns;
pub mod origin;
pub mod payload;
pub mod quic;
pub mod slot;
pub mod tagger;
pub mod topology;
pub mod webdriver;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};

use crate::stop::Stop;
use crate::{process, ui};
use capture::Capture;
use devices::{DEVICES, Device};
use dns::NameServer;
use netns::Netns;
use origin::Origin;
use slot::Slot;
use tagger::Tagger;

/// A running lab. Fields are dropped in this order: what sends first, the namespaces after what lives in them,
/// and the slot, which marks the lab as alive, last.
pub struct Lab {
    taggers: Vec<Tagger>,
    captures: Option<Captures>,
    name_server: Option<NameServer>,
    /// The servers behind the made-up Internet.
    pub origin: Origin,
    /// One namespace for each of [`DEVICES`], in that order.
    devices: Vec<Netns>,
    /// The switch of the LAN.
    pub lan: Netns,
    /// Where the gateway runs.
    pub gateway: Netns,
    /// Router, name server and origins.
    pub wan: Netns,
    slot: Slot,
    dir: PathBuf,
    stop: Stop,
}

/// The captures on both sides of the gateway.
struct Captures {
    lan: Capture,
    wan: Capture,
    /// From when on both see everything.
    since: SystemTime,
}

impl Lab {
    /// Takes a free slot, clears away what dead labs left, and sets everything up but the gateway. A folder with
    /// the lab's name below `base` gets logs, captures and configuration; it is emptied first.
    pub fn start(kind: slot::Kind, base: &Path, stop: &Stop) -> Result<Self> {
        let slot = Slot::take(kind)?;
        let dir = &base.join(slot.name());
        if dir.exists() {
            std::fs::remove_dir_all(dir).with_context(|| format!("cannot empty {}", dir.display()))?;
        }
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        slot.record(dir)?;
        let doing = ui::doing(format_args!("lab {}", slot.name()));

        doing.now("namespaces");
        let lan = Netns::create(&slot, "lan")?;
        let gateway = Netns::create(&slot, "gw")?;
        let wan = Netns::create(&slot, "wan")?;
        let devices =
            DEVICES.iter().map(|device| Netns::create(&slot, device.name)).collect::<Result<Vec<_>>>()?;
        stop.check()?;

        doing.now("links");
        topology::switch(&lan, &gateway)?;
        topology::internet(&wan, &gateway)?;
        topology::ports(&gateway, &slot)?;
        let mut taggers = Vec::new();
        for (device, netns) in DEVICES.iter().zip(&devices) {
            match device.vlan {
                None => topology::plain_device(device, netns, &lan)?,
                Some(vlan) => {
                    taggers.push(Tagger::start(&vlan, (netns, "eth0"), (&lan, vlan.trunk))?);
                    taggers.push(Tagger::start(&vlan, (&wan, vlan.interface), (&wan, "trunk"))?);
                    topology::tagged_device(device, &vlan, netns, &lan, &wan)?;
                }
            }
            stop.check()?;
        }

        doing.now("origins");
        let origin = Origin::start(&wan, &dir.join("ca.pem"))?;
        doing.now("name server");
        let name_server = NameServer::start(&wan, dir, stop)?;
        doing.done(format_args!("{} devices, {} names", DEVICES.len(), origin::NAMES.len()));

        Ok(Self {
            taggers,
            captures: None,
            name_server: Some(name_server),
            origin,
            devices,
            lan,
            gateway,
            wan,
            slot,
            dir: dir.to_owned(),
            stop: stop.clone(),
        })
    }

    /// The name of the lab, which every namespace of it begins with.
    pub fn name(&self) -> &str {
        self.slot.name()
    }

    /// The address of the gateway's management interface, reachable from the host.
    pub fn management(&self) -> std::net::Ipv4Addr {
        self.slot.management()
    }

    /// The folder of logs, captures and configuration.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The certificate authority that signed the origins' certificates.
    pub fn ca(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// A command that runs on a device.
    pub fn on(&self, device: &Device, program: &str) -> Command {
        self.netns(device).command(program)
    }

    /// The namespace of a device.
    pub fn netns(&self, device: &Device) -> &Netns {
        let index = DEVICES.iter().position(|other| other.name == device.name).unwrap_or_default();
        &self.devices[index]
    }

    /// Frames that the cables to the gateway's ports could not take, both together, since the lab began: what is lost before it comes to the gateway.
    pub fn cables_dropped(&self) -> Result<u64> {
        Ok(self.lan.dropped("uplink")? + self.wan.dropped("uplink")?)
    }

    /// A device more, in the switch of the LAN, with its interface up and without addresses; gone when dropped.
    pub fn newcomer(&self, name: &str, mac: &str) -> Result<Netns> {
        let netns = Netns::create(&self.slot, name)?;
        topology::cable(name, mac, &netns, &self.lan)?;
        netns.ip("link set dev eth0 up")?;
        Ok(netns)
    }

    /// Joins the two ports by a bridge of the kernel instead of the gateway: to see that the lab is right.
    pub fn bridge_by_kernel(&self) -> Result<()> {
        topology::kernel_bridge(&self.gateway)
    }

    /// Waits until a frame of a device comes back from the router: the path is there in both directions.
    pub fn await_path(&self, limit: Duration) -> Result<()> {
        dns::await_answer(&self.devices[0], dns::SERVER_V4, limit, &self.stop)
    }

    /// Starts to capture on both uplinks.
    pub fn start_captures(&mut self) -> Result<()> {
        let lan = Capture::start(&self.lan, "uplink", &self.dir.join("lan.pcap"), &self.stop)?;
        let wan = Capture::start(&self.wan, "uplink", &self.dir.join("wan.pcap"), &self.stop)?;
        self.captures = Some(Captures { lan, wan, since: SystemTime::now() });
        Ok(())
    }

    /// Waits until no frame moves on either uplink, then ends the captures and compares them.
    pub fn compare_captures(&mut self) -> Result<capture::Comparison> {
        let captures = self.captures.take().context("no capture is running")?;
        capture::await_quiet(&[(&self.lan, "uplink"), (&self.wan, "uplink")], &self.stop)?;
        let window = captures.since..SystemTime::now();
        let (lan, wan) = (captures.lan.end(&self.stop)?, captures.wan.end(&self.stop)?);
        capture::compare(&lan, &wan, &window)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.captures = None;
        self.taggers.clear();
        self.name_server = None;
        self.origin.end();
        // What the gateway started and did not end itself; namespaces of living processes would linger.
        drop(process::kill_marked(self.slot.name()));
    }
}
