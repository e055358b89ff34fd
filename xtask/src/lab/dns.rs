//! The lab's name server: dnsmasq, which answers for the lab's names and for nothing else.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::netns::Netns;
use super::origin;
use crate::process::Daemon;
use crate::stop::Stop;

/// Its IPv4 address.
pub const SERVER_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 53));

/// Its IPv6 address.
pub const SERVER_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, 0, 0, 0, 53));

/// The running name server.
pub struct NameServer(#[expect(dead_code, reason = "held so that it is ended when dropped")] Daemon);

impl NameServer {
    /// Starts it in the Internet's namespace and waits until it says that it is ready.
    pub fn start(wan: &Netns, dir: &Path, stop: &Stop) -> Result<Self> {
        let config = dir.join("dnsmasq.conf");
        std::fs::write(&config, configuration())?;
        let mut command = wan.command("dnsmasq");
        command.args(["--keep-in-foreground", "--log-facility=-", "--user=root"]);
        command.arg(format!("--conf-file={}", config.display()));
        let mut daemon = Daemon::start("dnsmasq", &command, &dir.join("dnsmasq.log"))?;
        daemon.await_line("started, version", Duration::from_secs(10), stop)?;
        Ok(Self(daemon))
    }
}

/// Asks the name server from `netns` until it answers: by then frames pass in both directions.
pub fn await_answer(netns: &Netns, server: IpAddr, limit: Duration, stop: &Stop) -> Result<()> {
    let name = netns.name().to_owned();
    let stop = stop.clone();
    let asked = netns.enter(move || {
        let socket = UdpSocket::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)))?;
        // A turn is as long as an answer may take: a lost question is asked again after it.
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let end = Instant::now() + limit;
        while Instant::now() < end {
            stop.check()?;
            if socket.send_to(QUESTION, (server, 53)).is_err() {
                stop.pause(Duration::from_millis(100))?; // no route or no neighbour yet
            } else if socket.recv(&mut [0; 512]).is_ok() {
                return Ok(());
            }
        }
        bail!("no answer from {server} at {name} within {limit:?}")
    })?;
    asked.join().unwrap_or_else(|_| bail!("a thread panicked"))
}

/// The root's NS records: a question that every name server answers, if only with a refusal.
const QUESTION: &[u8] = b"\x67\x67\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x01";

fn configuration() -> String {
    let mut text =
        String::from("# Written by xtask for one run.\nno-resolv\nno-hosts\nbind-interfaces\nlocal=/#/\n");
    for server in &origin::NAMES {
        let _ = writeln!(text, "host-record={},{},{},600", server.name, server.v4(), server.v6());
    }
    text
}

/// The address of a name of the lab.
pub fn address(name: &str, v6: bool) -> Result<IpAddr> {
    let server = origin::NAMES.iter().find(|server| server.name == name);
    let server = server.with_context(|| format!("{name} is no name of the lab"))?;
    Ok(if v6 { server.v6().into() } else { server.v4().into() })
}
