//! iperf3 in the lab: servers at the router, clients on devices.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::Lab;
use super::devices::Device;
use crate::process::{self, Daemon};
use crate::stop::Stop;

/// The router: iperf3 answers datagrams from the first address of its host, whichever was asked.
pub const V4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// Its address of IPv6.
pub const V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);

/// A server at the router, which listens when this returns.
pub fn server(lab: &Lab, port: u16, stop: &Stop) -> Result<Daemon> {
    let mut command = lab.wan.command("iperf3");
    command.args(["--server", "--forceflush", "--port", &port.to_string()]);
    let mut server = Daemon::start("iperf3", &command, &lab.dir().join(format!("iperf3-{port}.log")))?;
    server.await_line("Server listening", Duration::from_secs(5), stop)?;
    Ok(server)
}

/// A client on a device, to be given its times and ways.
pub fn client(lab: &Lab, device: &Device, port: u16, v6: bool) -> Command {
    let mut command = lab.on(device, "iperf3");
    let server = if v6 { V6.to_string() } else { V4.to_string() };
    command.args(["--json", "--client", &server, "--port", &port.to_string()]);
    command
}

/// Runs a client to its end: what it says.
pub fn run(client: &mut Command, limit: Duration, stop: &Stop) -> Result<Value> {
    let done = process::run(client, &[], limit, stop)?;
    let said: Value = serde_json::from_slice(&done.stdout).context("iperf3 printed no JSON")?;
    if let Some(why) = said["error"].as_str() {
        bail!("iperf3: {why}");
    }
    Ok(said)
}
