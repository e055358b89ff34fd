//! The machine: QEMU with three cards, a disk, a watchdog and a place for sticks, in the gateway's namespace of the lab or with its ports on
//! [`super::wires`].

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::line::Line;
use super::{BOOT, wires};
use crate::image::disk as filesystem;
use crate::lab::Lab;
use crate::process::{self, Daemon};
use crate::stop::Stop;

/// The firmware's own address where no lease is had, and ours beside it.
pub const MANAGEMENT: &str = "169.254.77.1";
const BESIDE: &str = "169.254.77.2/16";
/// Each card: our interface, the lab's end of its cable, its place on the bus.
const CARDS: [(&str, &str, &str); 3] =
    [("mgmt", "", "0x2"), ("lan", "port-a", "0x3"), ("uplink", "port-b", "0x4")];
/// A command in the machine takes no longer.
const COMMAND: Duration = Duration::from_secs(120);

/// Bridges the cables of the lab to taps, in the gateway's namespace.
pub fn cable(lab: &Lab) -> Result<()> {
    for (name, cable, _) in CARDS {
        lab.gateway.ip(&format!(
            "link add name br-{name} type bridge mcast_snooping 0 forward_delay 0
             tuntap add dev tap-{name} mode tap
             link set dev tap-{name} txqueuelen 1000 master br-{name}
             link set dev tap-{name} up
             link set dev br-{name} up"
        ))?;
        match cable {
            "" => lab.gateway.ip(&format!("addr add {BESIDE} dev br-{name}"))?,
            cable => lab.gateway.ip(&format!("link set dev {cable} master br-{name}"))?,
        }
    }
    Ok(())
}

/// How a machine is switched on.
#[derive(Clone, Copy, Default)]
pub struct Start<'a> {
    /// What its clock shows, as QEMU's `-rtc base=`.
    pub clock: Option<&'static str>,
    /// In this file goes every write to the disk, see [`super::journal`].
    pub journal: Option<&'a Path>,
    /// The lab that its ports are cabled to; without one they are [wires] in its folder.
    pub lab: Option<&'a Lab>,
    /// With one CPU: comes up with a third less work for the builder, and measures nothing.
    pub one_cpu: bool,
}

/// A machine that is on.
pub struct Machine {
    qemu: Daemon,
    /// The console, which says what people see.
    pub console: Line,
    shell: Line,
    qmp: Qmp,
    /// When it was switched on.
    pub since: Instant,
    stop: Stop,
    dir: PathBuf,
}

/// The disk as it is flashed, and a firmware without variables.
pub fn empty_disk(image: &Path, dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir)?;
    let copy = |from: &Path, to: &str| {
        let to = dir.join(to);
        process::capture(Command::new("cp").args(["--sparse=always", "--reflink=auto"]).arg(from).arg(&to))
            .map(drop)
    };
    copy(image, "disk.img")?;
    copy(Path::new("/usr/share/OVMF/OVMF_VARS_4M.fd"), "vars.fd")
}

impl Machine {
    /// Switches a machine on with the disk that is in its folder.
    pub fn start(dir: &Path, how: &Start<'_>, stop: &Stop) -> Result<Self> {
        let dir = std::path::absolute(dir)?;
        let at = |name: &str| dir.join(name).display().to_string();
        for socket in ["console.sock", "shell.sock", "qmp.sock"] {
            drop(std::fs::remove_file(dir.join(socket)));
        }
        let mut qemu = match how.lab {
            Some(lab) => lab.gateway.command("qemu-system-x86_64"),
            None => Command::new("qemu-system-x86_64"),
        };
        qemu.args([
            "-M",
            "q35",
            "-accel",
            "tcg,thread=multi",
            "-cpu",
            "max",
            "-smp",
            if how.one_cpu { "1" } else { "2" },
            "-m",
            "1536",
            "-display",
            "none",
        ]);
        qemu.args(["-nodefaults", "-no-user-config", "-device", "i6300esb", "-action", "watchdog=reset"]);
        qemu.args(["-drive", "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd"]);
        qemu.args(["-drive", &format!("if=pflash,format=raw,file={}", at("vars.fd"))]);
        qemu.args(["-blockdev", &disk(&at("disk.img"), how.journal)?]);
        // What the log of writes can't tell is not offered.
        qemu.args(["-device", "virtio-blk-pci,drive=disk,addr=0x8,bootindex=1,discard=off,write-zeroes=off"]);
        qemu.args(["-device", "qemu-xhci,id=xhci,addr=0x9"]);
        for (number, (name, cable, place)) in CARDS.iter().enumerate() {
            let net = match (how.lab, *cable) {
                (Some(_), _) => {
                    Some(format!("tap,id={name},ifname=tap-{name},script=no,downscript=no,vnet_hdr=off"))
                }
                (None, "") => None,
                (None, _) => Some(wires::netdev(name, &dir)),
            };
            let peer = net.as_ref().map_or(String::new(), |_| format!("netdev={name},"));
            if let Some(net) = net {
                qemu.args(["-netdev", &net]);
            }
            let mac = format!("52:54:00:67:67:0{}", number + 1);
            qemu.args([
                "-device",
                &format!("virtio-net-pci,{peer}mac={mac},addr={place},romfile=,disable-legacy=on"),
            ]);
        }
        for name in ["console", "shell"] {
            let socket = at(&format!("{name}.sock"));
            qemu.args(["-chardev", &format!("socket,id={name},path={socket},server=on,wait=off")]);
            qemu.args(["-serial", &format!("chardev:{name}")]);
        }
        qemu.args(["-qmp", &format!("unix:{},server=on,wait=off", at("qmp.sock"))]);
        if let Some(clock) = how.clock {
            qemu.args(["-rtc", &format!("base={clock}")]);
        }
        let since = Instant::now();
        let qemu = Daemon::start("qemu", &qemu, &dir.join("qemu.log"))?;
        let connect = |name: &str, log: Option<&Path>| Line::connect(&dir.join(name), log, stop);
        let connected = connect("console.sock", Some(&dir.join("console.log"))).and_then(|console| {
            Ok((console, connect("shell.sock", None)?, Qmp::connect(&dir.join("qmp.sock"), stop)?))
        });
        let (console, shell, qmp) =
            connected.with_context(|| format!("QEMU does not run\n{}", qemu.last_words()))?;
        Ok(Self { qemu, console, shell, qmp, since, stop: stop.clone(), dir })
    }

    /// Pulls the plug.
    pub fn cut(mut self) {
        self.qemu.kill();
    }

    /// Runs a command in the machine; gives what it printed, and whether it ended well.
    pub fn ask(&self, command: &str) -> Result<(String, bool)> {
        let from = self.shell.len();
        // The mark is put together by the shell, so that an echo of the command does not have it.
        self.shell.send(&format!("{{ {command}\n}} 2>&1; echo \"@@\"\"$?@@\"\n"))?;
        let text = self.shell.expect(&["@@0@@", "@@1@@", "@@"], from, COMMAND, &self.stop)?;
        // The end of the mark may still be under way.
        let text = if text.matches("@@").count() < 2 {
            self.shell.expect(&["@@\r\n", "@@\n"], from, COMMAND, &self.stop)?
        } else {
            text
        };
        let (said, code) = text
            .rsplit_once("@@")
            .and_then(|(rest, _)| rest.rsplit_once("@@"))
            .context("no end of a command")?;
        Ok((said.replace('\r', ""), code == "0"))
    }

    /// Runs a command that must end well.
    pub fn run(&self, command: &str) -> Result<String> {
        let (said, fine) = self.ask(command)?;
        ensure!(fine, "`{command}` failed in the machine:\n{said}");
        Ok(said)
    }

    /// Waits until the console has said where the page is: then the gateway has answered.
    pub fn await_up(&self, from: usize) -> Result<String> {
        self.console.expect(&["fingerprint  "], from, BOOT, &self.stop)
    }

    /// Waits until DPDK has the ports and the data plane forwards.
    pub fn await_forwarding(&self) -> Result<()> {
        let end = Instant::now() + BOOT;
        while Instant::now() < end {
            if let Ok((said, true)) = self.ask("glassgate doctor --running")
                && said.contains("lcores make progress")
            {
                return Ok(());
            }
            self.stop.pause(Duration::from_secs(2))?;
        }
        let (said, _) = self.ask("glassgate doctor --running; journalctl -n 30 --no-pager -u glassgate")?;
        bail!("the gateway does not forward within {BOOT:?}:\n{said}")
    }

    /// Puts in a stick with a file.
    pub fn stick(&mut self, file: &Path, name: &str) -> Result<()> {
        let image = self.dir.join("stick.img");
        let bytes = (std::fs::metadata(file)?.len() + (8 << 20)).next_multiple_of(1 << 20);
        filesystem::fat(&image, bytes, "GLASSGATE", 0x6747_5354, &[(file, name)], &self.stop)?;
        self.qmp.ask(
            "blockdev-add",
            json!({ "driver": "raw", "node-name": "stick", "read-only": true,
                    "file": { "driver": "file", "filename": image, "read-only": true } }),
        )?;
        self.qmp.ask(
            "device_add",
            json!({ "driver": "usb-storage", "id": "usb", "bus": "xhci.0", "drive": "stick" }),
        )?;
        Ok(())
    }

    /// Presses the button of the case.
    pub fn press(&mut self) -> Result<()> {
        self.qmp.ask("system_powerdown", json!({})).map(drop)
    }

    /// Waits until it has switched itself off.
    pub fn await_off(mut self, limit: Duration) -> Result<()> {
        let end = Instant::now() + limit;
        while self.qemu.ended().is_none() {
            ensure!(Instant::now() < end, "it is still on after {limit:?}");
            self.stop.pause(Duration::from_millis(200))?;
        }
        Ok(())
    }

    /// Pulls it out.
    pub fn pull_stick(&mut self) -> Result<()> {
        self.qmp.ask("device_del", json!({ "id": "usb" }))?;
        // The event that it is gone may come before the last of its parts is.
        let end = Instant::now() + COMMAND;
        while let Err(why) = self.qmp.ask("blockdev-del", json!({ "node-name": "stick" })) {
            if Instant::now() > end || !why.to_string().contains("in use") {
                return Err(why);
            }
            self.stop.pause(Duration::from_millis(200))?;
        }
        Ok(())
    }
}

/// The disk, as QEMU is told of it; with a journal, all that is written to it is written there, too.
fn disk(file: &str, journal: Option<&Path>) -> Result<String> {
    let raw = |file: &str| json!({ "driver": "file", "filename": file });
    let Some(journal) = journal else {
        return Ok(json!({ "driver": "raw", "node-name": "disk", "file": raw(file) }).to_string());
    };
    std::fs::write(journal, "")?;
    let log = journal.display().to_string();
    Ok(json!({ "driver": "blklogwrites", "node-name": "disk", "log-sector-size": 512, "log-super-update-interval": 1,
               "file": { "driver": "raw", "file": raw(file) }, "log": { "driver": "raw", "file": raw(&log) } })
    .to_string())
}

/// QEMU's own line.
struct Qmp {
    stream: UnixStream,
    lines: BufReader<UnixStream>,
}

impl Qmp {
    fn connect(socket: &Path, stop: &Stop) -> Result<Self> {
        let end = Instant::now() + Duration::from_secs(20);
        let stream = loop {
            match UnixStream::connect(socket) {
                Ok(stream) => break stream,
                Err(why) if Instant::now() > end => return Err(why.into()),
                Err(_) => stop.pause(Duration::from_millis(100))?,
            }
        };
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let mut qmp = Self { lines: BufReader::new(stream.try_clone()?), stream };
        qmp.line()?;
        qmp.ask("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    fn line(&mut self) -> Result<Value> {
        let mut line = String::new();
        ensure!(self.lines.read_line(&mut line)? > 0, "QEMU has closed its line");
        Ok(serde_json::from_str(&line)?)
    }

    fn ask(&mut self, what: &str, with: Value) -> Result<Value> {
        let question = json!({ "execute": what, "arguments": with }).to_string();
        self.stream.write_all(question.as_bytes())?;
        loop {
            let answer = self.line()?;
            if answer.get("event").is_some() {
                continue;
            }
            if let Some(error) = answer.get("error") {
                bail!("QEMU refuses {what}: {error}");
            } else {
                return Ok(answer);
            }
        }
    }
}
