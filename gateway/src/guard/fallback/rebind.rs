//! Cards that DPDK drives itself: the kernel has no interface for them, so they are given to their kernel driver when the fast path is gone,
//! put under a bridge, and taken back when the next one has made all ready but its ports.
//!
//! A card with a cable resets its link each time that it changes hands, and negotiates for seconds. For such cards the way to the kernel and
//! back is gone only where no fast path follows soon; those of a hypervisor, which have no link to lose, go at once.
//!
//! Which driver a card is taken back to is the one that it has at the start, or what stands in its `driver_override`: so whoever prepares a
//! machine can leave the cards, and the traffic, with the kernel until the first fast path is ready.
//!
//! Linux tells of changes of links once a second (`net/core/link_watch.c`; at once only for an interface that is up and has just got its link). The
//! driver of virtio says that it has none and right after that it has one: where the first is told, the second waits, and the bridge lets nothing
//! through for a second. So the turn of the second is taken before the cards are given back, by an interface of our own whose link goes and comes: what
//! the driver says falls into the next turn, both of it, and nothing is told of a link that was gone. A card that was told of all the same, in the one
//! case in a few where the turn was taken already, is bound again, which took 200 ms in the emulator.
//!
//! Both cards are done side by side, since binding takes the longest.
//!
//! All of it by files of sysfs (`Documentation/ABI/testing/sysfs-bus-pci`): `driver_override` says who may have a device, `driver/unbind` takes it
//! from who has it, `drivers_probe` has it looked at again. An interface that does not come within [`PATIENCE`] is an error, and the other port
//! is done all the same: a bridge of one port forwards nothing, but the next try may find both.

use super::super::netlink::{self, Interface};
use super::bridge;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// How long a kernel driver gets to make its interface.
const PATIENCE: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(5);
/// The interface whose link takes the turn: it is never up, and nothing goes by it. The kernel takes up to 15 letters.
const TURN: &str = "glassgate-turn";
/// Drivers that let a process drive a card.
const FOR_PROCESSES: [&str; 3] = ["vfio-pci", "uio_pci_generic", "igb_uio"];
/// Makers (PCI vendors) of cards without a cable: virtio, VMware, Amazon, Google.
const WITHOUT_CABLE: [&str; 4] = ["0x1af4", "0x15ad", "0x1d0f", "0x1ae0"];

/// Both cards.
pub(super) struct Rebind {
    cards: [Card; 2],
    /// The index of [`TURN`], if this kernel has such interfaces.
    turn: Option<u32>,
}

struct Card {
    address: String,
    /// The driver by which a process drives it.
    ours: String,
    /// `/sys`.
    root: PathBuf,
    /// Writes to one of its files; in tests, what a kernel does then.
    write: fn(&Self, &Path, &str) -> io::Result<()>,
}

impl Rebind {
    /// Looks whether both can be given to the kernel. The error is why not.
    pub(super) fn prepare(addresses: [String; 2]) -> Result<Self, String> {
        let cards = addresses.map(|address| Card::find(address, Path::new("/sys")));
        let [lan, uplink] = cards;
        let (cards, mut turn) = ([lan?, uplink?], None);
        bridge::make().map_err(|e| format!("a bridge can't be made: {e}"))?;
        if cards.iter().all(Card::is_without_cable) {
            match make_turn() {
                Ok(index) => turn = Some(index),
                Err(e) => warn!("links may be told of late when the kernel gets the ports: no `{TURN}`: {e}"),
            }
        }
        let rebind = Self { cards, turn };
        if rebind.is_with_kernel() {
            // Frames pass from now on, if they did not before.
            rebind.engage().map_err(|e| format!("the ports can't be put under a bridge: {e}"))?;
        }
        Ok(rebind)
    }

    /// Whether the kernel drives both.
    pub(super) fn is_with_kernel(&self) -> bool {
        self.cards.iter().all(|card| card.driver().is_some_and(|driver| driver != card.ours))
    }

    /// Whether the way to the kernel and back costs less than to wait for the next fast path.
    pub(super) fn is_quick(&self) -> bool {
        self.cards.iter().all(Card::is_without_cable)
    }

    pub(super) fn engage(&self) -> io::Result<()> {
        if let Some(turn) = self.turn {
            // Without it frames pass as well, later.
            _ = netlink::set_carrier(turn, false).and_then(|()| netlink::set_carrier(turn, true));
        }
        let until = Instant::now() + PATIENCE;
        let [lan, uplink] = &self.cards;
        thread::scope(|scope| {
            let other = scope.spawn(|| uplink.engage(until));
            let one = lan.engage(until);
            let other = other.join().unwrap_or_else(|_| Err(io::Error::other("a thread panicked")));
            one.and(other)
        })
    }

    pub(super) fn make_way(&self) -> io::Result<()> {
        self.cards.iter().try_for_each(Card::take_back)
    }
}

/// Makes the interface that takes the turn, unless a predecessor has. Its index.
fn make_turn() -> io::Result<u32> {
    match netlink::create(TURN, "dummy", &[]) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        other => other?,
    }
    netlink::index(TURN)
}

impl Card {
    fn find(address: String, root: &Path) -> Result<Self, String> {
        let mut card = Self { address, ours: String::new(), root: root.to_owned(), write };
        let wanted = std::fs::read_to_string(card.device().join("driver_override")).unwrap_or_default();
        let is_ours = |driver: &str| FOR_PROCESSES.contains(&driver);
        match (card.driver(), wanted.trim()) {
            (Some(driver), _) if is_ours(&driver) => card.ours = driver,
            (_, wanted) if is_ours(wanted) => wanted.clone_into(&mut card.ours),
            (Some(driver), _) => {
                return Err(format!("{} is driven by `{driver}`, which it is not taken from", card.address));
            }
            (None, _) => return Err(format!("{} has no driver", card.address)),
        }
        Ok(card)
    }

    fn is_without_cable(&self) -> bool {
        let vendor = std::fs::read_to_string(self.device().join("vendor")).unwrap_or_default();
        WITHOUT_CABLE.contains(&vendor.trim())
    }

    fn device(&self) -> PathBuf {
        self.root.join("bus/pci/devices").join(&self.address)
    }

    /// Who drives it.
    fn driver(&self) -> Option<String> {
        let link = std::fs::read_link(self.device().join("driver")).ok()?;
        Some(link.file_name()?.to_string_lossy().into_owned())
    }

    /// Gives it to the kernel, and lets frames pass between it and the other port.
    fn engage(&self, until: Instant) -> io::Result<()> {
        self.give_to_kernel()?;
        if self.put_under(until)?.is_held_back() {
            info!(
                card = self.address,
                "given to its kernel driver once more: the first time its link is told of only after a second"
            );
            self.bind("")?;
            self.put_under(until)?;
        }
        Ok(())
    }

    fn give_to_kernel(&self) -> io::Result<()> {
        match self.driver() {
            Some(driver) if driver != self.ours => Ok(()),
            _ => self.bind(""),
        }
    }

    fn take_back(&self) -> io::Result<()> {
        if self.driver().as_deref() == Some(&self.ours) {
            return Ok(());
        }
        self.bind(&self.ours)?;
        match self.driver() {
            Some(driver) if driver == self.ours => Ok(()),
            other => {
                let has = other.unwrap_or_else(|| "nobody".to_owned());
                Err(io::Error::other(format!(
                    "{}: `{}` did not take it, {has} has it",
                    self.address, self.ours
                )))
            }
        }
    }

    /// Has it bound to this driver; without a name, to the one that the kernel chooses.
    fn bind(&self, driver: &str) -> io::Result<()> {
        let device = self.device();
        (self.write)(self, &device.join("driver_override"), &format!("{driver}\n"))?;
        if self.driver().is_some() {
            (self.write)(self, &device.join("driver/unbind"), &self.address)?;
        }
        (self.write)(self, &self.root.join("bus/pci/drivers_probe"), &self.address)
    }

    /// Puts its kernel driver's interface under the bridge, and gives how that is then.
    fn put_under(&self, until: Instant) -> io::Result<Interface> {
        let interface = self.await_interface(until)?;
        netlink::without_ipv6(interface)?;
        bridge::put_under(interface)?;
        netlink::ask(interface)
    }

    /// The index of its kernel driver's interface. Not the name: on a machine with udev that is `eth0` for some milliseconds and then another one, and
    /// the step that came too late left the port outside the bridge until the next data plane had started.
    fn await_interface(&self, until: Instant) -> io::Result<u32> {
        loop {
            if let Some(index) = self.interface() {
                return Ok(index);
            }
            if Instant::now() >= until {
                let has = self.driver().unwrap_or_else(|| "nobody".to_owned());
                return Err(io::Error::other(format!(
                    "{}: no interface of it comes, {has} has it",
                    self.address
                )));
            }
            thread::sleep(LOOK);
        }
    }

    /// Virtio devices have theirs one folder further down. None while it is not there, and when it gets its other name meanwhile.
    fn interface(&self) -> Option<u32> {
        let first = |folder: &Path| {
            let entry = std::fs::read_dir(folder).ok()?.flatten().next()?;
            std::fs::read_to_string(entry.path().join("ifindex")).ok()?.trim().parse().ok()
        };
        let device = self.device();
        first(&device.join("net")).or_else(|| {
            let below = std::fs::read_dir(&device).ok()?.flatten();
            below
                .filter(|entry| entry.file_name().to_string_lossy().starts_with("virtio"))
                .find_map(|entry| first(&entry.path().join("net")))
        })
    }
}

fn write(_: &Card, file: &Path, text: &str) -> io::Result<()> {
    std::fs::OpenOptions::new()
        .write(true)
        .open(file)
        .and_then(|mut file| io::Write::write_all(&mut file, text.as_bytes()))
        .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", file.display())))
}

impl fmt::Display for Rebind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [lan, uplink] = &self.cards;
        write!(f, "a kernel bridge gets {} and {} with their kernel drivers", lan.address, uplink.address)?;
        f.write_str(if self.is_quick() { " at once" } else { " where no fast path follows" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    const ADDRESS: &str = "0000:00:03.0";

    /// A tree like sysfs, of a virtio device or of one that has its interface in its own folder.
    fn tree(net: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let device = dir.path().join("bus/pci/devices").join(ADDRESS);
        std::fs::create_dir_all(&device).unwrap();
        std::fs::write(device.join("net_is_at"), net).unwrap();
        symlink("../../drivers/vfio-pci", device.join("driver")).unwrap();
        dir
    }

    /// What a kernel does when one of its files is written.
    fn kernel(card: &Card, file: &Path, text: &str) -> io::Result<()> {
        let device = card.device();
        let net = device.join(std::fs::read_to_string(device.join("net_is_at")).unwrap());
        match file.file_name().unwrap().to_str().unwrap() {
            "driver_override" => std::fs::write(file, text).unwrap(),
            "unbind" => {
                assert_eq!(text, ADDRESS);
                std::fs::remove_file(device.join("driver")).unwrap();
                _ = std::fs::remove_dir_all(net);
            }
            "drivers_probe" => {
                assert_eq!(text, ADDRESS);
                let wanted = std::fs::read_to_string(device.join("driver_override")).unwrap();
                let driver = if wanted.trim().is_empty() { "virtio-pci" } else { wanted.trim() };
                symlink(format!("../../drivers/{driver}"), device.join("driver")).unwrap();
                if driver == "virtio-pci" {
                    std::fs::create_dir_all(net.join("eth0")).unwrap();
                    std::fs::write(net.join("eth0/ifindex"), "7\n").unwrap();
                }
            }
            other => panic!("{other} is written"),
        }
        Ok(())
    }

    #[test]
    fn there_and_back() {
        for net in ["net", "virtio0/net"] {
            let dir = tree(net);
            let mut card = Card::find(ADDRESS.to_owned(), dir.path()).unwrap();
            card.write = kernel;
            for _ in 0..2 {
                card.give_to_kernel().unwrap();
                card.give_to_kernel().unwrap();
                assert_eq!(card.await_interface(Instant::now()).unwrap(), 7);
                card.take_back().unwrap();
                card.take_back().unwrap();
                assert_eq!((card.driver().as_deref(), card.interface()), (Some("vfio-pci"), None));
                assert!(card.await_interface(Instant::now()).is_err());
            }
        }
    }

    #[test]
    fn an_interface_that_just_gets_its_other_name_is_waited_for() {
        let dir = tree("net");
        let mut card = Card::find(ADDRESS.to_owned(), dir.path()).unwrap();
        card.write = kernel;
        card.give_to_kernel().unwrap();
        // Gone between the look into the folder and that for the number.
        let net = card.device().join("net");
        std::fs::remove_file(net.join("eth0/ifindex")).unwrap();
        let index = std::thread::scope(|scope| {
            let waits = scope.spawn(|| card.await_interface(Instant::now() + PATIENCE));
            std::fs::create_dir_all(net.join("enp0s3")).unwrap();
            std::fs::write(net.join("enp0s3/ifindex"), "7\n").unwrap();
            std::fs::remove_dir(net.join("eth0")).unwrap();
            waits.join().unwrap()
        });
        assert_eq!(index.unwrap(), 7);
    }

    #[test]
    fn a_card_that_is_with_the_kernel_still_is_taken_by_the_driver_that_was_named() {
        let dir = tree("net");
        let device = dir.path().join("bus/pci/devices").join(ADDRESS);
        std::fs::remove_file(device.join("driver")).unwrap();
        symlink("../../drivers/ixgbe", device.join("driver")).unwrap();
        assert!(Card::find(ADDRESS.to_owned(), dir.path()).err().unwrap().contains("ixgbe"));
        std::fs::write(device.join("driver_override"), "(null)\n").unwrap();
        assert!(Card::find(ADDRESS.to_owned(), dir.path()).is_err());
        std::fs::write(device.join("driver_override"), "vfio-pci\n").unwrap();
        let mut card = Card::find(ADDRESS.to_owned(), dir.path()).unwrap();
        card.write = kernel;
        card.give_to_kernel().unwrap();
        assert_eq!(card.driver().as_deref(), Some("ixgbe"), "it is there");
        card.take_back().unwrap();
        assert_eq!(card.driver().as_deref(), Some("vfio-pci"));
    }

    #[test]
    fn cards_of_hypervisors_have_no_link_to_lose() {
        let dir = tree("net");
        let card = Card::find(ADDRESS.to_owned(), dir.path()).unwrap();
        let vendor = card.device().join("vendor");
        assert!(!card.is_without_cable(), "nobody says so");
        for (id, quick) in [("0x8086\n", false), ("0x1af4\n", true)] {
            std::fs::write(&vendor, id).unwrap();
            assert_eq!(card.is_without_cable(), quick, "{id}");
        }
    }

    #[test]
    fn a_driver_that_does_not_take_it_is_an_error() {
        let dir = tree("net");
        let mut card = Card::find(ADDRESS.to_owned(), dir.path()).unwrap();
        card.write = kernel;
        card.give_to_kernel().unwrap();
        card.write = |card, file, text| match file.ends_with("drivers_probe") {
            true => Ok(()),
            false => kernel(card, file, text),
        };
        let why = card.take_back().unwrap_err().to_string();
        assert!(why.contains("nobody has it"), "{why}");
    }

    #[test]
    fn a_card_that_no_process_drives_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let device = dir.path().join("bus/pci/devices").join(ADDRESS);
        std::fs::create_dir_all(&device).unwrap();
        let why = Card::find(ADDRESS.to_owned(), dir.path()).err().unwrap();
        assert!(why.contains("has no driver"), "{why}");
        symlink("../../drivers/mlx5_core", device.join("driver")).unwrap();
        let why = Card::find(ADDRESS.to_owned(), dir.path()).err().unwrap();
        assert!(why.contains("mlx5_core"), "{why}");
    }
}
