//! What a port is made of: the words of `ports.lan` and `ports.uplink`.

use glassgate_dataplane::port::spec::{InterfaceName, PortSpec};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};

/// A device that can be a port. Between processes it travels as its own text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) enum Device {
    /// Whatever DPDK drives.
    Dpdk(PortSpec),
    /// Datagrams of one frame each on a Unix socket; the path is absolute.
    Socket(PathBuf),
}

impl Device {
    /// Reads a device; the error says what is wrong with it and what it could be. A relative path is joined to `base`.
    pub(crate) fn parse(text: &str, base: &Path) -> Result<Self, String> {
        match text.strip_prefix("socket") {
            Some("" | ":") => Err("incomplete: say which one, for example `socket:/run/lan.sock`".into()),
            Some(rest) if rest.starts_with(':') => Ok(Self::Socket(base.join(rest.trim_start_matches(':')))),
            _ => text.parse().map(Self::Dpdk).map_err(|e: glassgate_dataplane::port::spec::PortSpecError| {
                e.to_string().replace("ring or vdev:ARGUMENTS", "ring, socket:PATH or vdev:ARGUMENTS")
            }),
        }
    }

    /// Whether this device needs DPDK.
    pub(crate) fn needs_dpdk(&self) -> bool {
        matches!(self, Self::Dpdk(_))
    }

    /// The interface that gets an XDP program while this is open.
    pub(crate) fn xdp_interface(&self) -> Option<&str> {
        match self {
            Self::Dpdk(PortSpec::AfXdp(interface)) => Some(interface.as_str()),
            _ => None,
        }
    }

    /// The kernel interface that this stands on, if it is one.
    pub(crate) fn kernel_interface(&self) -> Option<&str> {
        match self {
            Self::Dpdk(spec) => spec.interface().map(InterfaceName::as_str),
            Self::Socket(_) => None,
        }
    }

    /// The address on the bus of a card that DPDK drives itself.
    pub(crate) fn pci_address(&self) -> Option<String> {
        match self {
            Self::Dpdk(PortSpec::Pci(address)) => Some(address.to_string()),
            _ => None,
        }
    }

    /// Whether two ports can both be this.
    pub(crate) fn can_be_twice(&self) -> bool {
        matches!(self, Self::Dpdk(PortSpec::Null | PortSpec::Ring))
    }
}

impl TryFrom<String> for Device {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text, Path::new("/"))
    }
}

impl From<Device> for String {
    fn from(device: Device) -> Self {
        device.to_string()
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dpdk(spec) => spec.fmt(f),
            Self::Socket(path) => write!(f, "socket:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Device, String> {
        Device::parse(text, Path::new("/etc/glassgate"))
    }

    #[test]
    fn what_is_written_is_what_is_shown_and_handed_over() {
        for text in ["pci:0000:03:00.1", "af_xdp:eth1", "null", "socket:/run/a"] {
            let device = parse(text).unwrap();
            assert_eq!(device.to_string(), text);
            let json = serde_json::to_string(&device).unwrap();
            assert_eq!(serde_json::from_str::<Device>(&json).unwrap(), device);
        }
        assert_eq!(parse("socket:a").unwrap(), Device::Socket("/etc/glassgate/a".into()));
    }

    #[test]
    fn what_is_no_device() {
        for text in ["eth1", "socket", "socket:", "sockets:/a", "pci:", "null:1"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse("what").unwrap_err().contains("socket:PATH"));
    }
}
