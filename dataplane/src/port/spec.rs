//! Names of live ports, as the configuration writes them.
//!
//! | written | what it is | device name |
//! |---|---|---|
//! | `pci:0000:01:00.0` | a NIC bound to `vfio-pci` or `uio_pci_generic` | `0000:01:00.0` |
//! | `af_xdp:eth1` | a kernel interface through an XDP socket; the kernel keeps the interface | `net_af_xdp0` |
//! | `af_packet:eth1` | a kernel interface through a packet socket; slower, works everywhere | `net_af_packet0` |
//! | `tap:gg0` | a new TAP interface of that name | `net_tap0` |
//! | `null` | an endless source of empty frames that swallows what it is sent | `net_null0` |
//! | `ring` | a loop in memory: what is sent comes back | `net_ring0` |
//! | `vdev:net_pcap0,rx_pcap=a.pcap` | any other virtual device, with its arguments as DPDK reads them | `net_pcap0` |
//!
//! Parsing needs no DPDK: a configuration is checked anywhere, also where it can't run.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A live port by the name that the configuration gives it. Display writes what FromStr reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PortSpec {
    /// `af_xdp:IFNAME`.
    AfXdp(InterfaceName),
    /// `af_packet:IFNAME`.
    AfPacket(InterfaceName),
    /// `pci:ADDRESS`.
    Pci(PciAddress),
    /// `tap:IFNAME`.
    Tap(InterfaceName),
    /// `null`.
    Null,
    /// `ring`.
    Ring,
    /// `vdev:NAME[,KEY=VALUE…]`, handed to DPDK as it is.
    Vdev(VdevArgs),
}

impl PortSpec {
    /// The arguments that create the device, `None` for a NIC on the PCI bus. `index` makes names unique within a
    /// process; `queues` is how many queues each direction should have where the driver must know in advance.
    pub fn vdev_args(&self, index: usize, queues: u16) -> Option<String> {
        let name = self.device_name(index);
        match self {
            Self::Pci(_) => None,
            Self::Null | Self::Ring => Some(name),
            Self::Vdev(args) => Some(args.0.clone()),
            Self::Tap(interface) => Some(format!("{name},iface={interface}")),
            Self::AfXdp(interface) if queues > 1 => {
                Some(format!("{name},iface={interface},start_queue=0,queue_count={queues}"))
            }
            Self::AfXdp(interface) => Some(format!("{name},iface={interface}")),
            // The default of 512 frames overflows within one scheduling hiccup: 200 times the TCP retransmits.
            Self::AfPacket(interface) => {
                Some(format!("{name},iface={interface},framecnt=2048,qpairs={}", queues.max(1)))
            }
        }
    }

    /// The name under which DPDK lists the device created by [`PortSpec::vdev_args`] with the same index.
    pub fn device_name(&self, index: usize) -> String {
        match self {
            Self::AfXdp(_) => format!("net_af_xdp{index}"),
            Self::AfPacket(_) => format!("net_af_packet{index}"),
            Self::Pci(address) => address.to_string(),
            Self::Tap(_) => format!("net_tap{index}"),
            Self::Null => format!("net_null{index}"),
            Self::Ring => format!("net_ring{index}"),
            Self::Vdev(args) => args.device_name().to_owned(),
        }
    }

    /// The kernel interface that must exist before the port can be opened, if it stands on one.
    pub fn interface(&self) -> Option<&InterfaceName> {
        match self {
            Self::AfXdp(interface) | Self::AfPacket(interface) => Some(interface),
            _ => None,
        }
    }
}

impl FromStr for PortSpec {
    type Err = PortSpecError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (kind, rest) = match text.split_once(':') {
            Some((kind, rest)) => (kind, Some(rest)),
            None => (text, None),
        };
        let needs = |example| rest.filter(|r| !r.is_empty()).ok_or(PortSpecError::Incomplete { example });
        match kind {
            "af_xdp" => Ok(Self::AfXdp(needs("af_xdp:eth1")?.parse()?)),
            "af_packet" => Ok(Self::AfPacket(needs("af_packet:eth1")?.parse()?)),
            "tap" => Ok(Self::Tap(needs("tap:gg0")?.parse()?)),
            "pci" => Ok(Self::Pci(needs("pci:0000:01:00.0")?.parse()?)),
            "vdev" => Ok(Self::Vdev(needs("vdev:net_pcap0,rx_pcap=in.pcap")?.parse()?)),
            "null" | "ring" if rest.is_some() => Err(PortSpecError::NoArgument { kind: kind.to_owned() }),
            "null" => Ok(Self::Null),
            "ring" => Ok(Self::Ring),
            _ => Err(PortSpecError::UnknownKind { found: text.to_owned(), hint: hint(text) }),
        }
    }
}

impl fmt::Display for PortSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AfXdp(interface) => write!(f, "af_xdp:{interface}"),
            Self::AfPacket(interface) => write!(f, "af_packet:{interface}"),
            Self::Pci(address) => write!(f, "pci:{address}"),
            Self::Tap(interface) => write!(f, "tap:{interface}"),
            Self::Null => f.write_str("null"),
            Self::Ring => f.write_str("ring"),
            Self::Vdev(args) => write!(f, "vdev:{}", args.0),
        }
    }
}

/// A name the kernel accepts for a network interface, and that can stand in DPDK's comma-separated arguments.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InterfaceName(String);

impl InterfaceName {
    /// The longest name: IFNAMSIZ less the closing zero.
    pub const MAX_LEN: usize = 15;

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for InterfaceName {
    type Err = PortSpecError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = |why| Err(PortSpecError::InterfaceName { found: text.to_owned(), why });
        if text.is_empty() || text.len() > Self::MAX_LEN {
            return refuse("must have 1 to 15 bytes");
        }
        if matches!(text, "." | "..") {
            return refuse("is a directory to the kernel");
        }
        // '/', ':' and white space are refused by the kernel, the others would end DPDK's argument.
        match text.chars().all(|c| c.is_ascii_graphic() && !"/:,=[]\"'\\".contains(c)) {
            true => Ok(Self(text.to_owned())),
            false => refuse("may have letters, digits, '-', '_', '.', '@' and the like only"),
        }
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A function on the PCI bus: domain, bus, device, function. Written and listed as `0000:01:00.0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PciAddress {
    domain: u16,
    bus: u8,
    device: u8,
    function: u8,
}

impl FromStr for PciAddress {
    type Err = PortSpecError;

    /// Also reads the short form without domain that `lspci` prints.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_pci(text).ok_or_else(|| PortSpecError::PciAddress { found: text.to_owned() })
    }
}

impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:02x}:{:02x}.{}", self.domain, self.bus, self.device, self.function)
    }
}

/// Name and arguments of a virtual device, in DPDK's own notation. What they mean is the driver's affair.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VdevArgs(String);

impl VdevArgs {
    /// The part before the first comma.
    pub fn device_name(&self) -> &str {
        self.0.split(',').next().unwrap_or_default()
    }
}

impl FromStr for VdevArgs {
    type Err = PortSpecError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let args = Self(text.to_owned());
        let name = args.device_name();
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        match plain && name.starts_with("net_") && text.bytes().all(|b| b.is_ascii_graphic()) {
            true => Ok(args),
            false => Err(PortSpecError::Vdev { found: text.to_owned() }),
        }
    }
}

/// Why a text names no port.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PortSpecError {
    /// The part before the colon is none of the kinds.
    #[error(
        "`{found}` names no port: write pci:ADDRESS, af_xdp:IFNAME, af_packet:IFNAME, tap:IFNAME, null, ring or \
         vdev:ARGUMENTS{}", .hint.as_ref().map(|h| format!(" (did you mean `{h}`?)")).unwrap_or_default()
    )]
    UnknownKind {
        /// The whole text.
        found: String,
        /// What was probably meant.
        hint: Option<String>,
    },
    /// A kind that needs more after it.
    #[error("incomplete: say which one, for example `{example}`")]
    Incomplete {
        /// A complete one.
        example: &'static str,
    },
    /// A kind that takes nothing after it.
    #[error("`{kind}` stands alone: leave out the colon and what follows")]
    NoArgument {
        /// The kind.
        kind: String,
    },
    /// Not a name of a network interface.
    #[error(
        "`{found}` can't be the name of a network interface: it {why} (`ip -br link` lists those there are)"
    )]
    InterfaceName {
        /// The name.
        found: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Not a PCI address.
    #[error(
        "`{found}` is not a PCI address: write DOMAIN:BUS:DEVICE.FUNCTION in hexadecimal, for example 0000:01:00.0 (`lspci -D` lists them)"
    )]
    PciAddress {
        /// The text.
        found: String,
    },
    /// Not the arguments of a virtual network device.
    #[error(
        "`{found}` is not a virtual network device: write its DPDK name, which begins with net_, then ,KEY=VALUE without white space, for example net_pcap0,rx_pcap=in.pcap"
    )]
    Vdev {
        /// The text.
        found: String,
    },
}

fn parse_pci(text: &str) -> Option<PciAddress> {
    let hex = |digits: &str, len: usize| {
        // from_str_radix would take a sign.
        let ok = digits.len() == len && digits.bytes().all(|b| b.is_ascii_hexdigit());
        ok.then(|| u16::from_str_radix(digits, 16).ok()).flatten()
    };
    let (front, function) = text.rsplit_once('.')?;
    let (front, device) = front.rsplit_once(':')?;
    let (domain, bus) = front.rsplit_once(':').unwrap_or(("0000", front));
    let (bus, device, function) = (hex(bus, 2)?, hex(device, 2)?, hex(function, 1)?);
    // Five bits of device and three of function (PCI Local Bus 3.0, section 3.2.2.3.2).
    (device < 32 && function < 8).then_some(())?;
    Some(PciAddress {
        domain: hex(domain, 4)?,
        bus: u8::try_from(bus).ok()?,
        device: u8::try_from(device).ok()?,
        function: u8::try_from(function).ok()?,
    })
}

/// The likely intention behind a text of no kind: a bare address or interface, or another spelling of a kind.
fn hint(text: &str) -> Option<String> {
    if let Some(address) = parse_pci(text) {
        return Some(format!("pci:{address}"));
    }
    let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
    if kind.starts_with("net_") {
        return Some(format!("vdev:{text}"));
    }
    let kind = kind.to_ascii_lowercase().replace('-', "_");
    match (kind.as_str(), rest) {
        ("afxdp" | "xdp" | "af_xdp", rest) => Some(format!("af_xdp:{}", or_eth1(rest))),
        ("afpacket" | "packet" | "af_packet", rest) => Some(format!("af_packet:{}", or_eth1(rest))),
        ("null" | "ring", _) => Some(kind),
        (_, "") if text.parse::<InterfaceName>().is_ok() => Some(format!("af_xdp:{text}")),
        _ => None,
    }
}

fn or_eth1(rest: &str) -> &str {
    if rest.is_empty() { "eth1" } else { rest }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spec(text: &str) -> PortSpec {
        text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn every_kind_reads_and_writes_back() {
        for text in [
            "af_xdp:eth1",
            "af_packet:veth-a.100",
            "pci:0000:01:00.0",
            "tap:gg0",
            "null",
            "ring",
            "vdev:net_x1,a=b,c",
        ] {
            assert_eq!(spec(text).to_string(), text);
        }
        assert_eq!(spec("pci:3b:00.1").to_string(), "pci:0000:3b:00.1");
    }

    #[test]
    fn device_arguments_carry_the_index_and_what_the_driver_needs() {
        assert_eq!(spec("af_xdp:a").vdev_args(1, 1).unwrap(), "net_af_xdp1,iface=a");
        assert_eq!(
            spec("af_xdp:a").vdev_args(0, 4).unwrap(),
            "net_af_xdp0,iface=a,start_queue=0,queue_count=4"
        );
        let af_packet = spec("af_packet:a").vdev_args(0, 2).unwrap();
        assert_eq!(af_packet, "net_af_packet0,iface=a,framecnt=2048,qpairs=2");
        assert_eq!(spec("null").vdev_args(3, 1).unwrap(), "net_null3");
        assert_eq!(spec("vdev:net_pcap9,rx_pcap=x").device_name(0), "net_pcap9");
        assert_eq!(spec("pci:0000:01:00.0").vdev_args(0, 1), None);
        assert_eq!(spec("pci:0000:01:00.0").device_name(5), "0000:01:00.0");
    }

    #[test]
    fn errors_say_what_to_write() {
        for (text, part) in [
            ("eth1", "did you mean `af_xdp:eth1`"),
            ("0000:01:00.0", "did you mean `pci:0000:01:00.0`"),
            ("01:00.0", "did you mean `pci:0000:01:00.0`"),
            ("AF-XDP:eth3", "did you mean `af_xdp:eth3`"),
            ("net_pcap0,rx_pcap=a", "did you mean `vdev:net_pcap0,rx_pcap=a`"),
            ("", "names no port"),
            ("af_xdp:", "for example `af_xdp:eth1`"),
            ("af_packet", "for example `af_packet:eth1`"),
            ("af_xdp:a-name-that-is-long", "1 to 15 bytes"),
            ("af_xdp:a,start_queue=3", "can't be the name"),
            ("tap:a b", "can't be the name"),
            ("pci:1:2:3", "lspci -D"),
            ("pci:0000:01:20.0", "lspci -D"),
            ("pci:0000:01:00.8", "lspci -D"),
            ("pci:0000:+1:00.0", "lspci -D"),
            ("null:64", "stands alone"),
            ("vdev:eth0", "begins with net_"),
        ] {
            let error = text.parse::<PortSpec>().expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_is_read_is_written_back(text in "(af_xdp|af_packet|tap|pci|vdev|null|ring|[a-z]{1,4}):?[ -~]{0,20}") {
            if let Ok(read) = text.parse::<PortSpec>() {
                prop_assert_eq!(read.to_string().parse::<PortSpec>().unwrap(), read);
            }
        }
    }
}
