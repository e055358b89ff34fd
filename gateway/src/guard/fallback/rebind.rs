//! Cards that DPDK drives itself: the kernel has no interface for them, so they are given to their kernel driver when the fast path is gone, put
//! under a bridge, and given back before the next one starts.
//!
//! All of it by files of sysfs (`Documentation/ABI/testing/sysfs-bus-pci`): `driver_override` says who may have a device, `driver/unbind` takes it
//! from who has it, `drivers_probe` has it looked at again. An interface that does not come within [`PATIENCE`] is an error, and the other port
//! is done all the same: a bridge of one port forwards nothing, but the next try may find both.

use super::bridge;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// How long a kernel driver gets to make its interface.
const PATIENCE: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(5);
/// Drivers that let a process drive a card.
const FOR_PROCESSES: [&str; 3] = ["vfio-pci", "uio_pci_generic", "igb_uio"];

/// Both cards.
pub(super) struct Rebind {
    cards: [Card; 2],
}

struct Card {
    address: String,
    /// The driver by which a process drives it.
    ours: String,
    /// `/sys`.
    root: PathBuf,
}

impl Rebind {
    /// Looks whether both can be given to the kernel. The error is why not.
    pub(super) fn prepare(addresses: [String; 2]) -> Result<Self, String> {
        let cards = addresses.map(|address| Card::find(address, Path::new("/sys")));
        let [lan, uplink] = cards;
        let rebind = Self { cards: [lan?, uplink?] };
        bridge::make().map_err(|e| format!("a bridge can't be made: {e}"))?;
        Ok(rebind)
    }

    pub(super) fn engage(&self) -> io::Result<()> {
        // Both are asked for before either is waited for: drivers take their time.
        let given = self.cards.each_ref().map(Card::give_to_kernel);
        let until = Instant::now() + PATIENCE;
        for (card, given) in self.cards.iter().zip(given) {
            given?;
            bridge::put_under(&card.await_interface(until)?)?;
        }
        Ok(())
    }

    pub(super) fn make_way(&self) -> io::Result<()> {
        self.cards.iter().try_for_each(Card::take_back)
    }
}

impl Card {
    fn find(address: String, root: &Path) -> Result<Self, String> {
        let mut card = Self { address, ours: String::new(), root: root.to_owned() };
        match card.driver() {
            Some(driver) if FOR_PROCESSES.contains(&driver.as_str()) => card.ours = driver,
            Some(driver) => {
                return Err(format!("{} is driven by `{driver}`, which it is not taken from", card.address));
            }
            None => return Err(format!("{} has no driver", card.address)),
        }
        Ok(card)
    }

    fn device(&self) -> PathBuf {
        self.root.join("bus/pci/devices").join(&self.address)
    }

    /// Who drives it.
    fn driver(&self) -> Option<String> {
        let link = std::fs::read_link(self.device().join("driver")).ok()?;
        Some(link.file_name()?.to_string_lossy().into_owned())
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
        self.write(&device.join("driver_override"), &format!("{driver}\n"))?;
        if self.driver().is_some() {
            self.write(&device.join("driver/unbind"), &self.address)?;
        }
        self.write(&self.root.join("bus/pci/drivers_probe"), &self.address)
    }

    fn write(&self, file: &Path, text: &str) -> io::Result<()> {
        std::fs::OpenOptions::new()
            .write(true)
            .open(file)
            .and_then(|mut file| io::Write::write_all(&mut file, text.as_bytes()))
            .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", file.display())))
    }

    /// The interface of its kernel driver.
    fn await_interface(&self, until: Instant) -> io::Result<String> {
        loop {
            if let Some(name) = self.interface() {
                return Ok(name);
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

    /// Virtio devices have theirs one folder further down.
    fn interface(&self) -> Option<String> {
        let first = |folder: &Path| {
            let entry = std::fs::read_dir(folder).ok()?.flatten().next()?;
            Some(entry.file_name().to_string_lossy().into_owned())
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

impl fmt::Display for Rebind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [lan, uplink] = &self.cards;
        write!(f, "a kernel bridge gets {} and {} with their kernel drivers", lan.address, uplink.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    const ADDRESS: &str = "0000:00:03.0";

    /// A tree like sysfs, with a kernel that answers what is written to two of its files, which are pipes.
    fn tree(net: &'static str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let device = dir.path().join("bus/pci/devices").join(ADDRESS);
        std::fs::create_dir_all(&device).unwrap();
        std::fs::write(device.join("driver_override"), "").unwrap();
        for driver in ["vfio-pci", "virtio-pci"] {
            let folder = dir.path().join("bus/pci/drivers").join(driver);
            std::fs::create_dir_all(&folder).unwrap();
            let pipe = folder.join("unbind");
            rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
            let device = device.clone();
            thread::spawn(move || {
                while let Ok(said) = std::fs::read_to_string(&pipe) {
                    assert_eq!(said, ADDRESS);
                    std::fs::remove_file(device.join("driver")).unwrap();
                    _ = std::fs::remove_dir_all(device.join(net));
                }
            });
        }
        symlink("../../drivers/vfio-pci", device.join("driver")).unwrap();
        let probe = dir.path().join("bus/pci/drivers_probe");
        rustix::fs::mknodat(rustix::fs::CWD, &probe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        thread::spawn(move || {
            while let Ok(said) = std::fs::read_to_string(&probe) {
                assert_eq!(said, ADDRESS);
                let wanted = std::fs::read_to_string(device.join("driver_override")).unwrap();
                let (driver, has_interface) = match wanted.trim() {
                    "" => ("virtio-pci", true),
                    _ => ("vfio-pci", false),
                };
                symlink(format!("../../drivers/{driver}"), device.join("driver")).unwrap();
                if has_interface {
                    std::fs::create_dir_all(device.join(net).join("ens3")).unwrap();
                }
            }
        });
        dir
    }

    #[test]
    fn there_and_back() {
        for net in ["net", "virtio0/net"] {
            let dir = tree(net);
            let card = Card::find(ADDRESS.to_owned(), dir.path()).unwrap();
            for _ in 0..2 {
                card.give_to_kernel().unwrap();
                card.give_to_kernel().unwrap();
                let interface = card.await_interface(Instant::now() + PATIENCE).unwrap();
                assert_eq!(interface, "ens3");
                until(|| card.take_back().is_ok());
                until(|| card.driver().as_deref() == Some("vfio-pci") && card.interface().is_none());
            }
        }
    }

    /// The kernel answers before a write to sysfs returns; that of the test some time after.
    fn until(is_so: impl Fn() -> bool) {
        let end = Instant::now() + Duration::from_secs(10);
        while !is_so() {
            assert!(Instant::now() < end);
            thread::yield_now();
        }
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
