use super::*;
use std::path::PathBuf;

/// A machine as a folder.
pub(crate) struct Fake(tempfile::TempDir);

impl Fake {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn root(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn card(&self, address: &str, driver: Option<&str>, interface: Option<&str>) -> PathBuf {
        let dir = format!("sys/bus/pci/devices/{address}");
        self.write(&format!("{dir}/class"), "0x020000\n");
        self.write(&format!("{dir}/vendor"), "0x1af4\n");
        self.write(&format!("{dir}/device"), "0x1041\n");
        if let Some(driver) = driver {
            std::os::unix::fs::symlink(
                format!("../../../bus/pci/drivers/{driver}"),
                self.root().join(&dir).join("driver"),
            )
            .unwrap();
        }
        if let Some(interface) = interface {
            self.write(&format!("{dir}/virtio0/net/{interface}/address"), "52:54:00:00:00:01\n");
            self.write(&format!("{dir}/virtio0/net/{interface}/carrier"), "1\n");
        }
        self.root().join(dir)
    }
}

fn at(text: &str) -> PciAddress {
    text.parse().unwrap()
}

#[test]
fn cards_are_found_and_nothing_else() {
    let fake = Fake::new();
    fake.card("0000:00:04.0", Some("virtio-pci"), Some("enp0s4"));
    fake.card("0000:00:03.0", Some("vfio-pci"), None);
    fake.write("sys/bus/pci/devices/0000:00:01.0/class", "0x010802\n");
    fake.write("sys/bus/pci/devices/not an address/class", "0x020000\n");
    let nics = survey(fake.root());
    assert_eq!(
        nics.iter().map(|nic| nic.address).collect::<Vec<_>>(),
        [at("0000:00:03.0"), at("0000:00:04.0")]
    );
    assert!(nics[0].is_handed_over() && nics[0].is_usable() && nics[0].interface.is_none());
    let second = &nics[1];
    assert_eq!(
        (second.interface.as_deref(), second.link, second.dpdk_driver),
        (Some("enp0s4"), Some(true), Some("net_virtio"))
    );
    assert_eq!((second.mac.as_deref(), second.id.as_str()), (Some("52:54:00:00:00:01"), "1af4:1041"));
    assert!(survey(Path::new("/nowhere")).is_empty());
}

#[test]
fn the_management_port_is_never_a_port_of_the_bridge() {
    let fake = Fake::new();
    for (address, interface) in [("0000:00:02.0", "a"), ("0000:00:03.0", "b"), ("0000:00:04.0", "c")] {
        fake.card(address, Some("virtio-pci"), Some(interface));
    }
    let nics = survey(fake.root());
    let choice = choose(&nics).unwrap();
    assert_eq!(choice, Choice { management: Some(at("00:02.0")), lan: at("00:03.0"), uplink: at("00:04.0") });
    // Kept, it holds when a card comes before the others.
    fake.card("0000:00:01.0", Some("igb"), None);
    let nics = survey(fake.root());
    assert_eq!(kept_choice(&choice.words(), &nics), Ok(choice.clone()));
    assert_ne!(choose(&nics).unwrap(), choice);
    // And when one is gone nothing is chosen in its place.
    let without: Vec<Nic> = nics.into_iter().filter(|nic| nic.address != at("00:03.0")).collect();
    assert!(kept_choice(&choice.words(), &without).unwrap_err().contains("gone"));
}

#[test]
fn two_cards_are_the_bridge_and_one_is_too_few() {
    let fake = Fake::new();
    fake.card("0000:01:00.0", Some("ixgbe"), None);
    assert!(choose(&survey(fake.root())).unwrap_err().contains("needs two"));
    fake.card("0000:02:00.0", Some("r8169"), None);
    assert!(choose(&survey(fake.root())).is_err(), "no driver of DPDK for it");
    fake.card("0000:01:00.1", Some("ixgbe"), None);
    let choice = choose(&survey(fake.root())).unwrap();
    assert_eq!((choice.management, choice.lan), (None, at("01:00.0")));
    assert!(!configuration(&choice, machine(fake.root())).contains("[page]"), "loopback only");
}

#[test]
fn what_was_written_by_hand_is_checked() {
    let fake = Fake::new();
    fake.card("0000:00:02.0", Some("igb"), None);
    fake.card("0000:00:03.0", Some("igb"), None);
    let nics = survey(fake.root());
    for (text, why) in [
        ("LAN=0000:00:02.0\n", "UPLINK= is missing"),
        ("LAN=0000:00:02.0\nUPLINK=0000:00:02.0\n", "twice"),
        ("MANAGEMENT=0000:00:02.0\nLAN=0000:00:02.0\nUPLINK=0000:00:03.0\n", "twice"),
        ("LAN=eth0\nUPLINK=0000:00:02.0\n", "no PCI address"),
        ("", "LAN= is missing"),
    ] {
        assert!(kept_choice(text, &nics).unwrap_err().contains(why), "{text}");
    }
    let fine = "# swapped\nMANAGEMENT=\nLAN=0000:00:03.0\n UPLINK = 0000:00:02.0\n";
    assert_eq!(kept_choice(fine, &nics).unwrap().lan, at("00:03.0"));
}

#[test]
fn the_first_configuration_is_valid_and_stays() {
    let fake = Fake::new();
    for address in ["0000:00:02.0", "0000:00:03.0", "0000:00:04.0"] {
        fake.card(address, Some("virtio-pci"), None);
    }
    fake.write("proc/meminfo", "MemTotal:        2019584 kB\nMemFree: 5 kB\n");
    fake.write("proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu hypervisor\n\nprocessor\t: 1\n");
    let machine = machine(fake.root());
    assert_eq!(machine, Machine { memory_mib: 1972, cpus: 2, is_virtual: true });
    let keep = fake.root().join("keep");
    let args = Args {
        keep: Some(keep.clone()),
        tell: Some(fake.root().join("told")),
        root: fake.root().into(),
        json: false,
    };
    run(&args).unwrap();
    let config = crate::config::Config::load(&keep.join("glassgate.toml")).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(config.dataplane.memory_mib, 448);
    assert_eq!(config.both_ports().unwrap()[1].to_string(), "pci:0000:00:04.0");
    let told = std::fs::read_to_string(fake.root().join("told")).unwrap();
    assert!(told.contains("MANAGEMENT=0000:00:02.0\n") && told.contains("HUGE_PAGES=280\n"), "{told}");
    std::fs::write(keep.join("glassgate.toml"), "# mine\n").unwrap();
    run(&args).unwrap();
    assert_eq!(std::fs::read_to_string(keep.join("glassgate.toml")).unwrap(), "# mine\n");
}
