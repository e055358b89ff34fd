//! The packages of Debian 12 that the project needs, each with its reason: the only list of them.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::process;

/// What a package is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// To build the gateway with DPDK.
    Build,
    /// To run the lab and its clients.
    Lab,
    /// To have a browser as a client, or take a picture of the page.
    Browser,
    /// To compare with another classifier.
    Peer,
    /// To build the firmware and run it in an emulator.
    Image,
}

/// A package.
pub struct Package {
    /// Its name.
    pub name: &'static str,
    /// What needs it.
    pub need: Need,
    /// Why.
    pub why: &'static str,
}

/// None of these starts a service, and it should stay so: a demo must not leave a web server on somebody's
/// machine. Hence `dnsmasq-base` and not `dnsmasq`, and origins of our own instead of a packaged web server.
pub const PACKAGES: [Package; 46] = [
    Package { name: "build-essential", need: Need::Build, why: "C compiler and linker" },
    Package { name: "pkg-config", need: Need::Build, why: "finds DPDK" },
    Package { name: "libdpdk-dev", need: Need::Build, why: "DPDK 22.11: headers and libraries" },
    Package { name: "dpdk-dev", need: Need::Build, why: "dpdk-testpmd, the reference for speed" },
    Package { name: "strace", need: Need::Build, why: "tests of the audit log kill its writer at each call" },
    Package { name: "valgrind", need: Need::Build, why: "counts instructions a frame" },
    Package {
        name: "libclang-dev",
        need: Need::Build,
        why: "bindings to DPDK are generated from its headers",
    },
    Package { name: "clang", need: Need::Build, why: "the compiler's own headers, for the same" },
    Package { name: "iproute2", need: Need::Lab, why: "ip: namespaces and links" },
    Package { name: "ethtool", need: Need::Lab, why: "switches checksum offload off on virtual links" },
    Package { name: "util-linux", need: Need::Lab, why: "setpriv: servers end with the lab" },
    Package { name: "tcpdump", need: Need::Lab, why: "captures both sides of the gateway" },
    Package { name: "dnsmasq-base", need: Need::Lab, why: "name server of the lab (no service)" },
    Package { name: "curl", need: Need::Lab, why: "client" },
    Package { name: "openssl", need: Need::Lab, why: "client" },
    Package { name: "bind9-dnsutils", need: Need::Lab, why: "dig, client" },
    Package { name: "iperf3", need: Need::Lab, why: "measures what a limit leaves" },
    Package { name: "iputils-ping", need: Need::Lab, why: "asks whether the gateway itself is there" },
    Package { name: "iputils-arping", need: Need::Lab, why: "the same by ARP" },
    Package { name: "udhcpc", need: Need::Lab, why: "DHCP client" },
    Package { name: "faketime", need: Need::Lab, why: "shows the gateway another wall clock" },
    Package { name: "isc-dhcp-client", need: Need::Lab, why: "dhclient, DHCPv6 client (no service)" },
    Package { name: "freeradius-utils", need: Need::Lab, why: "radclient, RADIUS client (no service)" },
    Package { name: "ca-certificates", need: Need::Lab, why: "curl looks for them even when given others" },
    Package {
        name: "chromium",
        need: Need::Browser,
        why: "browser: draws the page, and is a client of the lab",
    },
    Package {
        name: "chromium-driver",
        need: Need::Browser,
        why: "chromedriver: types, clicks and looks in it",
    },
    Package { name: "fonts-dejavu-core", need: Need::Browser, why: "a font to draw it with" },
    Package { name: "fonts-wqy-zenhei", need: Need::Browser, why: "and one for names in Chinese" },
    Package { name: "libndpi-dev", need: Need::Peer, why: "nDPI's library, the peer in speed" },
    Package { name: "libndpi-bin", need: Need::Peer, why: "ndpiReader, the peer in recall" },
    Package { name: "squashfs-tools", need: Need::Image, why: "writes the root" },
    Package { name: "cryptsetup-bin", need: Need::Image, why: "veritysetup: the hash tree behind it" },
    Package { name: "systemd", need: Need::Image, why: "systemctl: which services of the root start" },
    Package {
        name: "systemd-boot-efi",
        need: Need::Image,
        why: "the stub that makes a kernel an EFI program",
    },
    Package { name: "binutils", need: Need::Image, why: "objcopy joins kernel, initrd and command line" },
    Package { name: "kmod", need: Need::Image, why: "depmod: which modules need which" },
    Package { name: "cpio", need: Need::Image, why: "packs the initrd" },
    Package { name: "zstd", need: Need::Image, why: "compresses it" },
    Package { name: "fdisk", need: Need::Image, why: "sfdisk: partitions" },
    Package { name: "mtools", need: Need::Image, why: "FAT file systems without mounting" },
    Package { name: "e2fsprogs", need: Need::Image, why: "the data partition" },
    Package {
        name: "grub-efi-amd64-bin",
        need: Need::Image,
        why: "GRUB, which chooses the slot (not installed on this machine)",
    },
    Package { name: "grub-common", need: Need::Image, why: "grub-mkstandalone, grub-editenv" },
    Package { name: "rauc", need: Need::Image, why: "signs and packs updates" },
    Package { name: "qemu-system-x86", need: Need::Image, why: "the emulator of image-test" },
    Package { name: "ovmf", need: Need::Image, why: "its UEFI" },
];

/// The packages for `needs` that are not installed.
pub fn missing(needs: &[Need]) -> Result<Vec<&'static Package>> {
    let wanted: Vec<_> = PACKAGES.iter().filter(|package| needs.contains(&package.need)).collect();
    let mut query = Command::new("dpkg-query");
    query
        .args(["-W", "-f", "${Package} ${db:Status-Status}\\n"])
        .args(wanted.iter().map(|package| package.name));
    // dpkg-query fails when it does not know one of the names; what it says about the others is right.
    let output = query.stderr(Stdio::null()).output();
    let output = output.context("cannot start dpkg-query: this setup knows Debian and its relatives only")?;
    let said = String::from_utf8_lossy(&output.stdout);
    let installed: Vec<_> = said.lines().filter_map(|line| line.strip_suffix(" installed")).collect();
    Ok(wanted.into_iter().filter(|package| !installed.contains(&package.name)).collect())
}

/// Installs packages by apt, without questions.
pub fn install(packages: &[&Package]) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        let names: Vec<_> = packages.iter().map(|package| package.name).collect();
        bail!("installing packages needs root; run\n  apt-get install {}", names.join(" "));
    }
    // Lists may be old or absent on a fresh machine. When the update fails, an old list may still do.
    if let Err(why) = apt(&["update"]) {
        crate::ui::line(format_args!(
            "  apt-get update failed, going on with the lists that are there: {why:#}"
        ));
    }
    let mut args = vec!["install", "--no-install-recommends", "-y"];
    args.extend(packages.iter().map(|package| package.name));
    apt(&args)
}

fn apt(args: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command.args(["-q", "-o", "DPkg::Lock::Timeout=300"]).args(args).env("DEBIAN_FRONTEND", "noninteractive");
    process::capture(&mut command).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_is_named_once_with_a_reason() {
        let mut names: Vec<_> = PACKAGES.iter().map(|package| package.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), PACKAGES.len());
        assert!(PACKAGES.iter().all(|package| !package.why.is_empty()));
    }
}
