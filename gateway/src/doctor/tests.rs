use super::checks::{clock, cpu_list, disk, huge_pages, iommu, landlock, lcores, ports};
use super::running::status;
use super::{Finding, State};
use crate::config::Config;
use crate::control::snapshot::Snapshot;
use crate::ports::survey;
use glassgate_policy::diagnostic::Text;
use std::path::Path;

struct Fake(tempfile::TempDir);

impl Fake {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn root(&self) -> &Path {
        self.0.path()
    }

    fn with(self, path: &str, text: &str) -> Self {
        let path = self.root().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    fn card(self, address: &str, driver: &str) -> Self {
        let dir = format!("sys/bus/pci/devices/{address}");
        let fake = self.with(&format!("{dir}/class"), "0x020000\n");
        std::os::unix::fs::symlink(format!("drivers/{driver}"), fake.root().join(dir).join("driver"))
            .unwrap();
        fake
    }
}

fn config(text: &str) -> Config {
    Config::parse(Text::new("test", text), Path::new("/")).unwrap_or_else(|e| panic!("{e}"))
}

fn on_cards() -> Config {
    config("[ports]\nlan = \"pci:0000:00:03.0\"\nuplink = \"pci:0000:00:04.0\"\n")
}

#[track_caller]
fn is(finding: &Finding, state: State, word: &str) {
    assert_eq!(finding.state, state, "{finding:?}");
    let text = format!("{} {}", finding.says, finding.mend.as_deref().unwrap_or_default());
    assert!(text.contains(word), "{word}: {finding:?}");
    assert_eq!(finding.mend.is_none(), state == State::Fine, "what is not fine says what to do");
}

#[test]
fn huge_pages_that_are_missing_are_counted() {
    let dir = "sys/kernel/mm/hugepages/hugepages-2048kB";
    let of = |total: &str, free: &str| {
        let fake = Fake::new()
            .with(&format!("{dir}/nr_hugepages"), total)
            .with(&format!("{dir}/free_hugepages"), free);
        huge_pages(fake.root(), &on_cards())
    };
    is(&of("256\n", "256\n"), State::Fine, "512 MiB");
    is(&of("256\n", "0\n"), State::Fine, "0 MiB of them free");
    is(&of("100\n", "100\n"), State::Fault, "vm.nr_hugepages=256");
    is(&huge_pages(Fake::new().root(), &on_cards()), State::Fault, "no huge pages");
    is(&huge_pages(Fake::new().root(), &config("[dataplane]\nhuge_pages = false\n")), State::Advice, "twice");
}

#[test]
fn whose_a_card_is() {
    let fake = Fake::new().card("0000:00:03.0", "virtio-pci").card("0000:00:04.0", "vfio-pci");
    let found = ports(fake.root(), &on_cards(), &survey(fake.root()));
    is(&found[0], State::Fault, "dpdk-devbind.py --bind=vfio-pci 0000:00:03.0");
    is(&found[1], State::Fine, "vfio-pci");
    is(&ports(fake.root(), &on_cards(), &[])[0], State::Fault, "no network card");
    is(&ports(fake.root(), &config(""), &[])[1], State::Fault, "[ports]");
}

#[test]
fn links_of_interfaces() {
    let config = config("[ports]\nlan = \"af_xdp:eth1\"\nuplink = \"af_packet:eth2\"\n");
    let fake =
        Fake::new().with("sys/class/net/eth1/carrier", "0\n").with("sys/class/net/eth2/carrier", "1\n");
    let found = ports(fake.root(), &config, &[]);
    is(&found[0], State::Fault, "cable");
    is(&found[1], State::Fine, "eth2");
    is(&ports(Fake::new().root(), &config, &[])[0], State::Fault, "no interface");
    let down = Fake::new().with("sys/class/net/eth1/operstate", "down\n");
    is(&ports(down.root(), &config, &[])[0], State::Fault, "ip link set eth1 up");
}

#[test]
fn cpus_of_lcores() {
    let two = || Fake::new().with("sys/devices/system/cpu/online", "0-1\n");
    let of = |fake: &Fake, lcores_text: &str| {
        lcores(fake.root(), &config(&format!("[dataplane]\nlcores = {lcores_text}\n"))).remove(0)
    };
    is(&of(&two(), "[1]"), State::Fine, "whole core");
    is(&of(&two(), "[2]"), State::Fault, "no CPU 2");
    is(&of(&two(), "[0, 1]"), State::Advice, "idle_sleep_us");
    let half = two().with("sys/devices/system/cpu/cpu1/topology/thread_siblings_list", "0-1\n");
    is(&of(&half, "[1]"), State::Advice, "half a core");
    assert_eq!(cpu_list("0-2, 5\n").into_iter().collect::<Vec<_>>(), [0, 1, 2, 5]);
    assert!(cpu_list("x-3,,").is_empty());
    assert_eq!(cpu_list("0-99999999").len(), 4096, "bounded");
}

#[test]
fn an_iommu_is_wanted_by_vfio() {
    let without = Fake::new().card("0000:00:03.0", "uio_pci_generic");
    is(&iommu(without.root(), &survey(without.root())), State::Advice, "VT-d");
    let vain = Fake::new().card("0000:00:03.0", "vfio-pci");
    is(&iommu(vain.root(), &survey(vain.root())), State::Fault, "does nothing");
    let with = Fake::new().with("sys/class/iommu/dmar0/x", "");
    is(&iommu(with.root(), &[]), State::Fine, "vfio-pci");
}

#[test]
fn a_clock_of_1970_and_one_that_nobody_set() {
    let now = 1_800_000_000;
    is(&clock(Fake::new().root(), 12), State::Advice, "never set");
    is(&clock(Fake::new().root(), now), State::Advice, "time server");
    let set = Fake::new().with("run/systemd/timesync/synchronized", "");
    is(&clock(set.root(), now), State::Fine, "time server");
}

#[test]
fn room_is_looked_for_where_the_log_will_be() {
    let fake = Fake::new();
    let found = disk(fake.root(), Path::new("/var/lib/glassgate/audit"));
    assert!(found.says.ends_with("MiB free for the audit log"), "{found:?}");
}

#[test]
fn landlock_is_a_module_of_its_own_name() {
    let fake = Fake::new().with("sys/kernel/security/lsm", "lockdown,capability,landlock,yama\n");
    is(&landlock(fake.root()), State::Fine, "confined");
    is(
        &landlock(Fake::new().with("sys/kernel/security/lsm", "yama\n").root()),
        State::Advice,
        "lsm=landlock",
    );
}

#[test]
fn a_gateway_that_forwards_one_way_only_is_faulty() {
    let fine: Snapshot = crate::page::sample::snapshot();
    for finding in status(&fine) {
        assert_eq!(finding.state, State::Fine, "{finding:?}");
    }
    let mut one_way = fine.clone();
    one_way.ports[1].tx_frames = 0;
    is(&status(&one_way)[2], State::Fault, "none went out");
    let mut stuck = fine.clone();
    stuck.lcores[0].seen_ms_ago = 60_000;
    is(&status(&stuck)[1], State::Fault, "stands still");
    let mut down = fine;
    down.processes[1].state = "waiting".to_owned();
    is(&status(&down)[0], State::Fault, "is waiting");
}
