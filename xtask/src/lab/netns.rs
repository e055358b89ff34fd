//! Network namespaces by name, as `ip netns` makes them, gone when dropped.

use std::path::PathBuf;
use std::process::Command;
use std::thread::JoinHandle;

use anyhow::{Context, Result, bail};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::dns;
use super::slot::Slot;
use crate::process::{self, LAB_MARK};

/// `ip netns exec` lays the files of the folder `NAME` in here over those of `/etc`.
pub const RESOLVER_DIR: &str = "/etc/netns";

/// A network namespace that this lab made.
pub struct Netns {
    name: String,
    lab: String,
}

impl Netns {
    /// Makes the namespace `LAB-role`, with loopback up, IPv6 autoconfiguration off, and the lab's name server.
    pub fn create(slot: &Slot, role: &str) -> Result<Self> {
        let name = format!("{}-{role}", slot.name());
        process::capture(Command::new("ip").args(["netns", "add", &name]))?;
        let netns = Self { name, lab: slot.name().to_owned() };
        let dir = netns.resolver_dir();
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let servers = format!(
            "nameserver {}\nnameserver {}\noptions timeout:2 attempts:2\n",
            dns::SERVER_V4,
            dns::SERVER_V6
        );
        std::fs::write(dir.join("resolv.conf"), servers)?;
        // The host's file may name resolvers that talk to a daemon of the host over a socket, past the lab.
        std::fs::write(dir.join("nsswitch.conf"), "hosts: files dns\n")?;
        // No DAD, no router advertisements: an address is usable at once, and no frame is sent unasked.
        netns.sysctl("ipv6/conf/all/accept_dad", "0")?;
        netns.sysctl("ipv6/conf/default/accept_dad", "0")?;
        netns.sysctl("ipv6/conf/default/accept_ra", "0")?;
        netns.sysctl("ipv6/conf/default/router_solicitations", "0")?;
        netns.ip("link set dev lo up")?;
        Ok(netns)
    }

    /// The name that `ip netns` knows it by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `ip` commands in the namespace, one a line; blank lines are skipped. The first that fails ends it.
    pub fn ip(&self, batch: &str) -> Result<()> {
        let mut lines = String::new();
        for line in batch.lines().map(str::trim).filter(|line| !line.is_empty()) {
            lines.push_str(line);
            lines.push('\n');
        }
        let mut command = Command::new("ip");
        command.args(["-n", &self.name, "-batch", "-"]);
        command.stdin(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let mut child = command.spawn().context("cannot start `ip` (package iproute2)")?;
        if let Some(mut stdin) = child.stdin.take() {
            use std::io::Write;
            stdin.write_all(lines.as_bytes())?;
        }
        let output = child.wait_with_output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("`ip` in {} failed\n{}\nwhile running\n{lines}", self.name, said.trim_end());
        }
        Ok(())
    }

    /// Switches the named offloads of an interface off.
    pub fn no_offload(&self, interface: &str) -> Result<()> {
        let mut command = self.command("ethtool");
        command.args(["-K", interface]);
        command.args(["tx", "off", "rx", "off", "gro", "off", "gso", "off", "tso", "off"]);
        process::capture(&mut command).map(drop)
    }

    /// Has VLAN tags written into the frames that leave by a veth. Otherwise they travel beside the frame, where
    /// the peer's XDP program can't see them: a socket of XDP got every tagged frame without its tag.
    pub fn vlan_tags_in_frames(&self, interface: &str) -> Result<()> {
        let mut command = self.command("ethtool");
        command.args(["-K", interface, "txvlan", "off", "tx-vlan-stag-hw-insert", "off"]);
        process::capture(&mut command).map(drop)
    }

    /// Sets `/proc/sys/net/KEY` of the namespace.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        let path = PathBuf::from("/proc/sys/net").join(key);
        let value = value.to_owned();
        self.enter(move || {
            std::fs::write(&path, value).with_context(|| format!("cannot set {}", path.display()))
        })?
        .join()
        .unwrap_or_else(|_| bail!("a thread panicked"))
    }

    /// A command that runs in the namespace, with the mark of the lab.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]).env(LAB_MARK, &self.lab);
        command
    }

    /// Runs `work` on a thread of its own inside the namespace. Sockets opened there stay there, whichever
    /// thread uses them later.
    pub fn enter<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<JoinHandle<Result<T>>> {
        let path = PathBuf::from("/run/netns").join(&self.name);
        let name = self.name.clone();
        let thread = std::thread::Builder::new().name(self.name.clone()).spawn(move || {
            let file =
                std::fs::File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
            move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), Some(LinkNameSpaceType::Network))
                .with_context(|| format!("cannot enter {name}"))?;
            work()
        })?;
        Ok(thread)
    }

    /// Frames sent and received by an interface since it was made.
    pub fn frames(&self, interface: &str) -> Result<(u64, u64)> {
        let stats = self.stats(interface)?;
        let count = |direction| stats[direction]["packets"].as_u64().context("no packet counter");
        Ok((count("tx")?, count("rx")?))
    }

    /// Frames that could not be sent by an interface since it was made; of a veth, because the ring of the other end was full.
    pub fn dropped(&self, interface: &str) -> Result<u64> {
        self.stats(interface)?["tx"]["dropped"].as_u64().context("no counter of dropped frames")
    }

    fn stats(&self, interface: &str) -> Result<serde_json::Value> {
        let text = process::capture(
            Command::new("ip").args(["-n", &self.name, "-j", "-s", "link", "show", "dev", interface]),
        )?;
        let mut json: serde_json::Value = serde_json::from_str(&text)?;
        Ok(json[0]["stats64"].take())
    }

    fn resolver_dir(&self) -> PathBuf {
        PathBuf::from(RESOLVER_DIR).join(&self.name)
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        if let Err(why) = process::capture(Command::new("ip").args(["netns", "del", &self.name])) {
            crate::ui::line(format_args!("  {why:#}"));
        }
        drop(std::fs::remove_dir_all(self.resolver_dir()));
    }
}
