//! A kernel interface under a port: what DPDK's drivers for them don't tell, or tell wrongly.

use std::fs;
use std::io;
use std::path::Path;

use glassgate_dataplane::port::spec::InterfaceName;
use rustix::fd::OwnedFd;
use rustix::ioctl::{Opcode, Updater, ioctl};
use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketType, socket};

/// An interface by name, in the network namespace in which this was made.
#[derive(Debug)]
pub(super) struct Interface {
    name: InterfaceName,
    /// Any socket: what the kernel takes questions about interfaces through.
    socket: OwnedFd,
}

const SIOCGIFFLAGS: Opcode = 0x8913;
const SIOCSIFFLAGS: Opcode = 0x8914;
const SIOCETHTOOL: Opcode = 0x8946;
const IFF_UP: u16 = 1;
const ETHTOOL_GLINK: u32 = 0x0a;

/// `struct ifreq` of netdevice(7), with one member of its union.
#[repr(C, align(8))]
struct Request<T, const REST: usize> {
    name: [u8; InterfaceName::MAX_LEN + 1],
    member: T,
    rest: [u8; REST],
}

type FlagsRequest = Request<u16, 22>;
type PointerRequest = Request<*mut LinkQuestion, 16>;

const _: () = assert!(size_of::<FlagsRequest>() == 40 && size_of::<PointerRequest>() == 40);

/// `struct ethtool_value`.
#[repr(C)]
struct LinkQuestion {
    command: u32,
    answer: u32,
}

impl Interface {
    /// `None` if there is no interface of this name.
    pub(super) fn find(name: &InterfaceName) -> Option<Self> {
        let socket = socket(AddressFamily::INET, SocketType::DGRAM, None).ok()?;
        let interface = Self { name: name.clone(), socket };
        interface.index().map(|_| interface)
    }

    /// Whether it is up and its link too. False when it is gone.
    pub(super) fn link_is_up(&self) -> bool {
        if !self.flags().is_ok_and(|flags| flags & IFF_UP != 0) {
            return false;
        }
        // Not IFF_RUNNING: the kernel may take a second to update that.
        let mut question = LinkQuestion { command: ETHTOOL_GLINK, answer: 0 };
        let mut request =
            PointerRequest { name: self.padded_name(), member: &raw mut question, rest: [0; 16] };
        // SAFETY: reads one `struct ifreq`, and writes the answer into the `struct ethtool_value` it points to.
        let asked = unsafe { ioctl(&self.socket, Updater::<SIOCETHTOOL, PointerRequest>::new(&mut request)) };
        asked.is_ok() && question.answer != 0
    }

    /// Brings it up, if it is not.
    pub(super) fn bring_up(&self) -> io::Result<()> {
        let flags = self.flags()?;
        if flags & IFF_UP == 0 {
            let mut request = self.flags_request(flags | IFF_UP);
            // SAFETY: reads one `struct ifreq`.
            unsafe { ioctl(&self.socket, Updater::<SIOCSIFFLAGS, FlagsRequest>::new(&mut request)) }?;
        }
        Ok(())
    }

    /// How many receive queues it has in use. `None` if that can't be told.
    pub(super) fn rx_queues(&self) -> Option<usize> {
        let folder = Path::new("/sys/class/net").join(self.name.as_str());
        // A thread that changed its namespace still sees the /sys of the old one, maybe with another interface of
        // this name.
        let listed: u32 = fs::read_to_string(folder.join("ifindex")).ok()?.trim().parse().ok()?;
        if self.index() != Some(listed) {
            return None;
        }
        let queues = fs::read_dir(folder.join("queues")).ok()?.flatten();
        Some(queues.filter(|entry| entry.file_name().to_string_lossy().starts_with("rx-")).count())
    }

    fn index(&self) -> Option<u32> {
        name_to_index(&self.socket, self.name.as_str()).ok()
    }

    fn flags(&self) -> io::Result<u16> {
        let mut request = self.flags_request(0);
        // SAFETY: writes one `struct ifreq`, of which the flags are a part.
        unsafe { ioctl(&self.socket, Updater::<SIOCGIFFLAGS, FlagsRequest>::new(&mut request)) }?;
        Ok(request.member)
    }

    fn flags_request(&self, flags: u16) -> FlagsRequest {
        FlagsRequest { name: self.padded_name(), member: flags, rest: [0; 22] }
    }

    fn padded_name(&self) -> [u8; InterfaceName::MAX_LEN + 1] {
        let mut name = [0; InterfaceName::MAX_LEN + 1];
        for (to, from) in name.iter_mut().zip(self.name.as_str().bytes()) {
            *to = from;
        }
        name
    }
}
