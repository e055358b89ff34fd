//! The real clients: curl, openssl, dig, and quinn for QUIC. Each act ends with a comparison of what both ends have.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::scenario::{Act, Client};
use crate::lab::devices::Device;
use crate::lab::{Lab, dns, payload, quic};
use crate::process::{self, Finished};
use crate::stop::Stop;

/// Longest a client may take. A transfer takes under a second; on a crowded machine with lost frames, some.
const LIMIT: Duration = Duration::from_secs(30);

/// Does what the act says and compares the result with what the origin has. Gives the time it took.
pub fn perform(act: &Act, lab: &Lab, stop: &Stop) -> Result<Duration> {
    let device = Device::named(act.device).context("no such device")?;
    let client = On { act, device, lab, stop };
    match act.client {
        Client::Https(size) => client.fetch("https", size),
        Client::Http(size) => client.fetch("http", size),
        Client::Upload(size) => client.upload(size),
        Client::OpenSsl(size) => client.openssl(size),
        Client::Quic(size) => client.quic(size),
        Client::Dig => client.dig(&[]),
        Client::DigTcp => client.dig(&["+tcp"]),
    }
}

struct On<'a> {
    act: &'a Act,
    device: &'static Device,
    lab: &'a Lab,
    stop: &'a Stop,
}

impl On<'_> {
    fn fetch(&self, scheme: &str, size: usize) -> Result<Duration> {
        let url = format!("{scheme}://{}/bytes/{size}", self.act.name);
        let done = self.curl(&[&url], &[])?;
        self.compare(&payload::sha256([done.stdout.as_slice()]), size)?;
        Ok(done.took)
    }

    fn upload(&self, size: usize) -> Result<Duration> {
        let url = format!("https://{}/upload", self.act.name);
        let done = self.curl(&["--data-binary", "@-", &url], self.lab.origin.bytes(size))?;
        self.compare(&String::from_utf8_lossy(&done.stdout), size)?;
        Ok(done.took)
    }

    fn curl(&self, args: &[&str], input: &[u8]) -> Result<Finished> {
        let mut command = self.lab.on(self.device, "curl");
        command
            .args(["--silent", "--show-error", "--fail", self.ip_flag(), "--cacert"])
            .arg(self.lab.ca())
            .args(args);
        ended_well(process::run(&mut command, input, LIMIT, self.stop)?)
    }

    fn openssl(&self, size: usize) -> Result<Duration> {
        let name = self.act.name;
        let mut command = self.lab.on(self.device, "openssl");
        command.args(["s_client", "-quiet", "-ign_eof", "-verify_return_error", self.ip_flag()]);
        command.args(["-connect", &format!("{name}:443"), "-servername", name, "-CAfile"]).arg(self.lab.ca());
        let request = format!("GET /bytes/{size} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
        let done = ended_well(process::run(&mut command, request.as_bytes(), LIMIT, self.stop)?)?;
        let head =
            done.stdout.windows(4).position(|window| window == b"\r\n\r\n").context("no HTTP answer")?;
        self.compare(&payload::sha256([&done.stdout[head + 4..]]), size)?;
        Ok(done.took)
    }

    fn quic(&self, size: usize) -> Result<Duration> {
        let server = SocketAddr::from((dns::address(self.act.name, self.act.v6)?, 443));
        let (name, ca, started) = (self.act.name, self.lab.ca(), Instant::now());
        let fetched =
            self.lab.netns(self.device).enter(move || quic::fetch(server, name, &ca, size, LIMIT))?;
        self.compare(&fetched.join().unwrap_or_else(|_| bail!("a thread panicked"))?, size)?;
        Ok(started.elapsed())
    }

    fn dig(&self, extra: &[&str]) -> Result<Duration> {
        let server = if self.act.v6 { dns::SERVER_V6 } else { dns::SERVER_V4 };
        let record = if self.act.v6 { "AAAA" } else { "A" };
        let mut command = self.lab.on(self.device, "dig");
        command.args(["+short", "+tries=1", "+time=5"]).args(extra);
        command.args([&format!("@{server}"), self.act.name, record]);
        let done = ended_well(process::run(&mut command, &[], LIMIT, self.stop)?)?;
        let said = String::from_utf8_lossy(&done.stdout).trim().to_owned();
        let wanted = dns::address(self.act.name, self.act.v6)?;
        ensure!(said.parse::<IpAddr>().ok() == Some(wanted), "the name server says {said:?}, not {wanted}");
        Ok(done.took)
    }

    fn ip_flag(&self) -> &'static str {
        if self.act.v6 { "-6" } else { "-4" }
    }

    fn compare(&self, came: &str, size: usize) -> Result<()> {
        let sent = self.lab.origin.sha256(size);
        ensure!(came == sent, "bytes changed on the way: SHA-256 is {came} where {sent} was sent");
        Ok(())
    }
}

fn ended_well(done: Finished) -> Result<Finished> {
    if !done.status.success() {
        bail!("{}: {}", done.status, done.stderr.trim());
    }
    Ok(done)
}
