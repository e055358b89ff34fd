//! `glassgate ports`: which network cards the machine has, and which of them are LAN, uplink and management.
//!
//! Read from `/sys` below a root, so that tests lay out machines as folders. Nothing is changed here but the files that are named:
//! binding drivers is the business of whoever runs this (in the firmware a script of the image).
//!
//! The choice is made once and kept. A card that is added or taken away later must not turn the management port into a port of the
//! bridge: a kept choice whose cards are gone is an error, not a reason to choose again.

mod survey;

pub(crate) use survey::{Nic, survey};

use crate::cli::machine::Ports as Args;
use crate::exit::{Ended, Exit};
use anyhow::{Context as _, Result};
use glassgate_dataplane::port::spec::PciAddress;
use serde::Serialize;
use std::fmt::Write as _;
use std::path::Path;

/// Huge pages have 2 MiB.
const HUGE_PAGE_MIB: u64 = 2;
/// No file of a choice is longer.
const MAX_BYTES: u64 = 4096;

/// Which card is what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Choice {
    /// Never part of the bridge. There is none where the machine has two cards only.
    #[serde(serialize_with = "shown")]
    pub(crate) management: Option<PciAddress>,
    #[serde(serialize_with = "plain")]
    pub(crate) lan: PciAddress,
    #[serde(serialize_with = "plain")]
    pub(crate) uplink: PciAddress,
}

fn plain<S: serde::Serializer>(address: &PciAddress, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(address)
}

fn shown<S: serde::Serializer>(address: &Option<PciAddress>, to: S) -> Result<S::Ok, S::Error> {
    match address {
        Some(address) => to.collect_str(address),
        None => to.serialize_none(),
    }
}

/// What a machine offers beside its cards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Machine {
    pub(crate) memory_mib: u64,
    pub(crate) cpus: u32,
    /// Whether a hypervisor says that it is one: then others want its CPUs, too.
    pub(crate) is_virtual: bool,
}

/// Shows the cards, and keeps the choice where that is asked for.
pub(crate) fn run(args: &Args) -> Result<Exit> {
    let nics = survey(&args.root);
    let kept = args.keep.as_ref().map(|dir| dir.join("ports"));
    let text = kept.as_ref().and_then(|path| crate::config::read_bounded(path, MAX_BYTES).ok());
    let choice = match text {
        Some(bytes) => kept_choice(&String::from_utf8_lossy(&bytes), &nics),
        None => choose(&nics),
    };
    let machine = machine(&args.root);
    if args.json {
        let choice = choice.as_ref().ok();
        crate::print(&(serde_json::json!({ "nics": nics, "choice": choice }).to_string() + "\n"))?;
    } else {
        crate::print(&describe(&nics, choice.as_ref().ok()))?;
    }
    let choice = choice.map_err(|why| Ended::new(Exit::Failed, why))?;
    let mut words = choice.words();
    if let Some(path) = &args.tell {
        let pages = memory(machine) / HUGE_PAGE_MIB;
        // A quarter more than the gateway takes at start: pools of further queues come out of it.
        let told = format!("{words}HUGE_PAGES={}\n", pages + pages / 4);
        std::fs::write(path, told).with_context(|| format!("writing {}", path.display()))?;
    }
    if let (Some(dir), Some(path)) = (&args.keep, &kept) {
        std::fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
        words.insert_str(0, "# Which network card is what, by PCI address. Change it here, then restart.\n");
        write_if_missing(path, &words)?;
        write_if_missing(&dir.join("glassgate.toml"), &configuration(&choice, machine))?;
    }
    Ok(Exit::Done)
}

/// Writes a file as a whole or not at all, and leaves one that is there.
fn write_if_missing(path: &Path, text: &str) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    let part = path.with_extension("new");
    let write = || -> std::io::Result<()> {
        std::fs::write(&part, text)?;
        std::fs::File::open(&part)?.sync_all()?;
        std::fs::rename(&part, path)?;
        path.parent().map_or(Ok(()), |dir| std::fs::File::open(dir)?.sync_all())
    };
    write().with_context(|| format!("writing {}", path.display()))
}

/// Chooses by place on the bus: the first is for management, the next two are LAN and uplink; of two, both are the bridge.
/// Cards without a driver of ours are left out. The error says what is missing.
pub(crate) fn choose(nics: &[Nic]) -> Result<Choice, String> {
    let usable: Vec<PciAddress> = nics.iter().filter(|nic| nic.is_usable()).map(|nic| nic.address).collect();
    match usable[..] {
        [lan, uplink] => Ok(Choice { management: None, lan, uplink }),
        [management, lan, uplink, ..] => Ok(Choice { management: Some(management), lan, uplink }),
        _ => Err(format!(
            "a bridge needs two network cards, and {} of {} can be driven: see `glassgate ports` for which, and \
             docs/flash.md for cards that are known to work",
            usable.len(),
            nics.len()
        )),
    }
}

/// Reads a choice that was kept.
fn kept_choice(text: &str, nics: &[Nic]) -> Result<Choice, String> {
    let value = |key: &str| {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let mut values = lines.filter_map(|line| line.split_once('=')).filter(|(k, _)| k.trim() == key);
        values.next().map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
    };
    let address = |key: &str| -> Result<Option<PciAddress>, String> {
        let Some(text) = value(key) else { return Ok(None) };
        let address = text
            .parse::<PciAddress>()
            .map_err(|_| format!("{key}={text} in the file of the ports is no PCI address"))?;
        match nics.iter().any(|nic| nic.address == address) {
            true => Ok(Some(address)),
            false => Err(format!("{key}={text}: this card is gone; put it back, or name another one")),
        }
    };
    let management = address("MANAGEMENT")?;
    let need = |key: &str| address(key)?.ok_or_else(|| format!("{key}= is missing in the file of the ports"));
    let (lan, uplink) = (need("LAN")?, need("UPLINK")?);
    if lan == uplink || management.is_some_and(|management| management == lan || management == uplink) {
        return Err("the file of the ports names one card twice".to_owned());
    }
    Ok(Choice { management, lan, uplink })
}

impl Choice {
    /// For scripts and for [`kept_choice`].
    fn words(&self) -> String {
        let management = self.management.map(|address| address.to_string()).unwrap_or_default();
        format!("MANAGEMENT={management}\nLAN={}\nUPLINK={}\n", self.lan, self.uplink)
    }
}

/// Memory for DPDK: a quarter of the machine, 64 to 512 MiB.
fn memory(machine: Machine) -> u64 {
    (machine.memory_mib / 4 / 64 * 64).clamp(64, 512)
}

/// The first configuration of a machine: two ports, the page on every address of the management port.
fn configuration(choice: &Choice, machine: Machine) -> String {
    let Choice { management, lan, uplink } = choice;
    let cpu = u32::from(machine.cpus > 1);
    let memory = memory(machine);
    let flows = if machine.memory_mib < 3072 { 1 << 18 } else { 1 << 20 };
    let mut text = format!(
        "# Made at the first start. `glassgate config` prints every setting.\n\n\
         [ports]\nlan = \"pci:{lan}\"\nuplink = \"pci:{uplink}\"\n\n\
         [dataplane]\nlcores = [{cpu}]\nmemory_mib = {memory}\nflows = {flows}\n"
    );
    if machine.is_virtual {
        text += "# A virtual machine shares its CPUs.\nidle_sleep_us = 50\n";
    }
    if management.is_some() {
        // Nothing but the management port has an address.
        text += "\n[page]\nlisten = \"0.0.0.0:8480\"\n";
    }
    text
}

/// What the machine has.
pub(crate) fn machine(root: &Path) -> Machine {
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap_or_default();
    let memory = read("proc/meminfo");
    let kib = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse().ok());
    let cpuinfo = read("proc/cpuinfo");
    let cpus = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let flags = cpuinfo.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
    Machine {
        memory_mib: kib.unwrap_or(0u64) / 1024,
        cpus: cpus.max(1) as u32,
        is_virtual: flags.split_whitespace().any(|flag| flag == "hypervisor"),
    }
}

fn describe(nics: &[Nic], choice: Option<&Choice>) -> String {
    let mut out = String::new();
    if nics.is_empty() {
        out += "no network cards on the PCI bus\n";
    }
    for nic in nics {
        let role = choice.map_or("", |choice| match nic.address {
            address if choice.management == Some(address) => "management",
            address if choice.lan == address => "lan",
            address if choice.uplink == address => "uplink",
            _ => "-",
        });
        let dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let link = match nic.link {
            Some(true) => "link",
            Some(false) => "no link",
            None => "-",
        };
        _ = writeln!(
            out,
            "{}  {role:<10}  {}  {:<16} {:<10} {:<17}  {link:<7}  {}",
            nic.address,
            nic.id,
            dash(&nic.driver),
            dash(&nic.interface),
            dash(&nic.mac),
            match nic.dpdk_driver {
                Some(driver) => format!("DPDK {driver}"),
                None if nic.is_handed_over() => "DPDK has it".to_owned(),
                None => "no driver of DPDK in this build".to_owned(),
            },
        );
    }
    out
}

#[cfg(test)]
mod tests;
