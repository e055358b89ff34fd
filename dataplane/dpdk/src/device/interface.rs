//! What the kernel says about one of its interfaces, in the network namespace of the caller.

use std::fs;
use std::path::Path;

use glassgate_dataplane::port::spec::InterfaceName;
use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketType, socket};

/// The number of the interface. `None` if there is none of this name.
pub(super) fn index(interface: &InterfaceName) -> Option<u32> {
    let any = socket(AddressFamily::INET, SocketType::DGRAM, None).ok()?;
    name_to_index(&any, interface.as_str()).ok()
}

/// How many receive queues it has in use. `None` if that can't be told.
pub(super) fn rx_queues(interface: &InterfaceName) -> Option<usize> {
    let folder = Path::new("/sys/class/net").join(interface.as_str());
    // A thread that changed its namespace still sees the /sys of its old one, maybe with another interface of the name.
    let listed: u32 = fs::read_to_string(folder.join("ifindex")).ok()?.trim().parse().ok()?;
    if index(interface) != Some(listed) {
        return None;
    }
    let queues = fs::read_dir(folder.join("queues")).ok()?.flatten();
    Some(queues.filter(|entry| entry.file_name().to_string_lossy().starts_with("rx-")).count())
}
