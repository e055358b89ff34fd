//! Who is in a group, as real clients come and go: a rule blocks short video for one group only, and who can get it says who
//! is a member.
//!
//! Three newcomers are in the LAN: one whose device is enrolled, one who logs in on a device that is not, and one whose device
//! made its hardware address up.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::block::BLOCKED;
use super::{Stage, Tried};
use crate::demo::api::Identity;
use crate::lab::netns::Netns;
use crate::lab::{Lab, dns};
use crate::process::{self, Daemon, Finished};

/// The hardware addresses of the newcomers.
const ENROLLED: &str = "00:00:5e:00:53:41";
const OTHER: &str = "00:00:5e:00:53:42";
const RANDOM: &str = "02:00:5e:00:53:43";
/// Where the one with the random address is: it asks nobody for an address.
const RANDOM_IP: &str = "10.77.0.43";
const DIRECTORY: &str = "subject,group,device,enrolled_by,enrolled
e1,sales,00:00:5e:00:53:41,it@example.com,2026-01-04
e2,sales,account:wang.fang,it@example.com,2026-01-04
e3,support,account:li.na,it@example.com,2026-01-04
";
const RULES: &str = "[[rule]]\nname = \"no-short-video-in-sales\"\nmatch = { category = [\"short_video\"], group = [\"sales\"] }\n\
                     action = \"block\"\nstate = \"enforce\"\nowner = \"network@example.com\"\npurpose = \"bandwidth\"\n";
const SECRET: &str = "the lab's secret, shared by all of it";
const TOKEN: &str = "the-token-of-the-lab";
/// A change holds within a second and is acknowledged within another; the rest is for a busy machine.
const SOON: Duration = Duration::from_secs(10);

/// Writes the files that the gateway needs for this part, and gives the tables that name them.
pub fn configure(lab: &Lab) -> Result<String> {
    let dir = lab.dir();
    std::fs::write(dir.join("directory.csv"), DIRECTORY)?;
    for (name, text) in [("radius.secret", SECRET), ("push.token", TOKEN)] {
        use std::os::unix::fs::PermissionsExt;
        let path = dir.join(name);
        std::fs::write(&path, text)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    }
    Ok(format!(
        "
[identity]
directory = \"directory.csv\"
push_token = \"push.token\"

[radius]
listen = \"{}:1813\"

[[radius_client]]
network = \"198.18.0.0/15\"
secret = \"radius.secret\"
",
        lab.management()
    ))
}

/// Lets newcomers come and go.
pub fn run(stage: &Stage<'_>, tried: &mut Tried<'_>) -> Result<()> {
    let began = Instant::now();
    stage.gateway.enforce(RULES, stage.stop)?;
    let _dhcp = server(stage)?;
    let enrolled = Newcomer::new(stage, "new1", ENROLLED)?;
    let other = Newcomer::new(stage, "new2", OTHER)?;
    let random = Newcomer::new(stage, "new3", RANDOM)?;
    random.netns.ip(&format!("addr add {RANDOM_IP}/24 dev eth0\nroute add default via 10.77.0.1"))?;

    leases(&enrolled, tried)?;
    leases_v6(&enrolled, tried)?;
    radius(&other, tried)?;
    push(&other, tried)?;
    made_up(&random, tried)?;
    let records = stage.gateway.command(&["audit", "export"])?;
    let logs = [std::fs::read(stage.gateway.log())?, records.into_bytes()];
    let says = |name: &str| logs.iter().any(|log| log.windows(name.len()).any(|w| w == name.as_bytes()));
    // What both are full of shows that they can be read.
    let fine = says("\"seq\"") && says("reloaded") && !says("wang.fang") && !says("li.na");
    let words = format!("{} bytes of both; all of it took {:.0?}", logs.concat().len(), began.elapsed());
    tried.hold("accounts stand in no record and no log", fine, words);
    Ok(())
}

/// A device that comes into the LAN.
struct Newcomer<'a> {
    stage: &'a Stage<'a>,
    name: &'static str,
    mac: &'static str,
    netns: Netns,
    /// What its DHCP clients run when they have an address, or have one no more.
    script: PathBuf,
}

impl<'a> Newcomer<'a> {
    fn new(stage: &'a Stage<'a>, name: &'static str, mac: &'static str) -> Result<Self> {
        let netns = stage.lab.newcomer(name, mac)?;
        let script = stage.lab.dir().join("dhcp-script");
        std::fs::write(&script, SCRIPT)?;
        process::capture(Command::new("chmod").arg("755").arg(&script))?;
        Ok(Self { stage, name, mac, netns, script })
    }

    /// Whether it gets what is blocked for sales.
    fn passes(&self, v6: bool) -> Result<bool> {
        let address = dns::address(BLOCKED, v6)?;
        let address = if v6 { format!("[{address}]") } else { address.to_string() };
        let mut command = self.netns.command("curl");
        command.args(["--silent", "--show-error", "--fail", "--max-time", "5", "--cacert"]);
        command.arg(self.stage.lab.ca()).args(["--resolve", &format!("{BLOCKED}:443:{address}")]);
        command.args(["--output", "/dev/null", &format!("https://{BLOCKED}/bytes/1000")]);
        let done = process::run(&mut command, &[], Duration::from_secs(10), self.stage.stop)?;
        match done.status.code() {
            Some(0) => Ok(true),
            // The flow is reset while it speaks TLS.
            Some(35) => Ok(false),
            code => bail!("curl on {} ended with {code:?}: {}", self.name, done.stderr.trim()),
        }
    }

    /// Says something of its session to the gateway, as an access server.
    fn says(&self, status: &str, account: &str, secret: &str, more: &str) -> Result<Finished> {
        let path = self.stage.lab.dir().join("radclient.secret");
        std::fs::write(&path, secret)?;
        let mut command = Command::new("radclient");
        command.args(["-t", "1", "-r", "1", "-S"]).arg(&path);
        command.args([&format!("{}:1813", self.stage.lab.management()), "acct"]);
        let request = format!(
            "Acct-Status-Type = {status}\nUser-Name = \"{account}\"\nAcct-Session-Id = \"{}\"\n\
             NAS-Identifier = \"switch-1\"\nNAS-IP-Address = 198.18.0.9\nCalling-Station-Id = \"{}\"\n\
             Message-Authenticator = 0x00\n{more}",
            self.name,
            self.mac.to_uppercase().replace(':', "-"),
        );
        process::run(&mut command, request.as_bytes(), SOON, self.stage.stop)
    }

    /// Its address, as its kernel has it.
    fn address(&self, v6: bool) -> Result<String> {
        let family = if v6 { "-6" } else { "-4" };
        let text = process::capture(Command::new("ip").args([
            family,
            "-n",
            self.netns.name(),
            "-o",
            "addr",
            "show",
            "dev",
            "eth0",
            "scope",
            "global",
        ]))?;
        let address = text.split_whitespace().nth(3).and_then(|word| word.split('/').next());
        address.map(str::to_owned).with_context(|| format!("{} has no address", self.name))
    }

    fn has_address(&self, v6: bool) -> Result<()> {
        let end = Instant::now() + SOON;
        while self.address(v6).is_err() {
            if Instant::now() > end {
                bail!("{} got no address\n{}", self.name, process::tail(&self.log(), 20));
            }
            self.stage.stop.pause(Duration::from_millis(50))?;
        }
        Ok(())
    }

    fn log(&self) -> PathBuf {
        self.stage.lab.dir().join(format!("dhcp-{}.log", self.name))
    }

    /// Gets an address by DHCP, and keeps it until what this gives is ended.
    fn lease(&self) -> Result<Daemon> {
        let mut command = self.netns.command("udhcpc");
        command.args(["-f", "-R", "-i", "eth0", "-t", "10", "-T", "1", "-s"]).arg(&self.script);
        let client = Daemon::start("udhcpc", &command, &self.log())?;
        self.has_address(false)?;
        Ok(client)
    }
}

/// For both clients: udhcpc says what happened in its argument, dhclient in `reason`.
const SCRIPT: &str = "#!/bin/sh
case \"$1$reason\" in
bound | renew) ip addr replace \"$ip/$mask\" dev \"$interface\" && ip route replace default via \"$router\" ;;
deconfig) ip -4 addr flush dev \"$interface\" ;;
BOUND6) ip addr replace \"$new_ip6_address/64\" dev \"$interface\" && ip -6 route replace default via fd77::1 ;;
RELEASE6 | STOP6 | EXPIRE6) ip -6 addr flush dev \"$interface\" scope global ;;
esac
exit 0
";

/// The DHCP server, behind the gateway.
fn server(stage: &Stage<'_>) -> Result<Daemon> {
    let dir = stage.lab.dir();
    let mut command = stage.lab.wan.command("dnsmasq");
    command.args([
        "--keep-in-foreground",
        "--log-facility=-",
        "--user=root",
        "--conf-file=/dev/null",
        "--port=0",
    ]);
    command.args([
        "--interface=router",
        "--bind-interfaces",
        "--no-ping",
        "--dhcp-authoritative",
        "--log-dhcp",
    ]);
    command.args(["--dhcp-range=10.77.0.100,10.77.0.150,1h", "--dhcp-range=fd77::100,fd77::150,64,1h"]);
    command.args(["--dhcp-option=3,10.77.0.1", "--pid-file="]);
    command.arg(format!("--dhcp-leasefile={}", dir.join("dhcp.leases").display()));
    let mut daemon = Daemon::start("DHCP server", &command, &dir.join("dhcp-server.log"))?;
    daemon.await_line("started, version", SOON, stage.stop)?;
    Ok(daemon)
}

/// Waits until what is known is as it should be, and the fast path uses it; how long that took.
fn known(stage: &Stage<'_>, what: &str, is_so: impl Fn(&Identity) -> bool) -> Result<Duration> {
    let began = Instant::now();
    loop {
        let now = stage.gateway.now()?;
        if is_so(&now.identity) && now.is_ready() {
            return Ok(began.elapsed());
        }
        if began.elapsed() > SOON {
            bail!("{what} does not come: {:?}", now.identity);
        }
        stage.stop.pause(Duration::from_millis(50))?;
    }
}

fn members(stage: &Stage<'_>) -> Result<u64> {
    Ok(stage.gateway.now()?.identity.members)
}

/// An enrolled device gets a lease and gives it back.
fn leases(newcomer: &Newcomer<'_>, tried: &mut Tried<'_>) -> Result<()> {
    let stage = newcomer.stage;
    let before = stage.gateway.now()?.identity;
    let mut client = newcomer.lease()?;
    let took = known(stage, "a member by its lease", |id| id.members == before.members + 1)?;
    let passes = newcomer.passes(false)?;
    let words = format!("{} after {took:.0?}, short video passes: {passes}", newcomer.address(false)?);
    tried.hold("udhcpc, enrolled device: in its group", !passes, words);
    client.end(SOON);
    let took = known(stage, "the end of the lease", |id| id.members == before.members)?;
    tried.hold("udhcpc, release: forgotten", true, format!("after {took:.0?}"));
    Ok(())
}

/// The same with DHCPv6.
fn leases_v6(newcomer: &Newcomer<'_>, tried: &mut Tried<'_>) -> Result<()> {
    let stage = newcomer.stage;
    let before = members(stage)?;
    let file = |name: &str| stage.lab.dir().join(name);
    let client = |words: &[&str]| {
        let mut command = newcomer.netns.command("dhclient");
        command
            .args(["-6", "-v"])
            .args(words)
            .args(["-cf", "/dev/null", "-lf"])
            .arg(file("dhclient6.leases"));
        command.arg("-pf").arg(file("dhclient6.pid")).arg("-sf").arg(&newcomer.script).arg("eth0");
        command
    };
    let _running = Daemon::start("dhclient", &client(&["-d", "-1"]), &newcomer.log())?;
    newcomer.has_address(true)?;
    // The server asks for its link-local address first, and so that is known as well, until it has been silent for a while.
    let took = known(stage, "a member by its DHCPv6 lease", |id| id.members == before + 2)?;
    let passes = newcomer.passes(true)?;
    let words = format!("{} after {took:.0?}, short video passes: {passes}", newcomer.address(true)?);
    tried.hold("dhclient -6, enrolled device: in its group", !passes, words);
    process::run(&mut client(&["-r"]), &[], SOON, stage.stop)?;
    let took = known(stage, "the end of the DHCPv6 lease", |id| id.members == before + 1)?;
    tried.hold("dhclient -6, release: forgotten", true, format!("after {took:.0?}"));
    Ok(())
}

/// Somebody logs in and out on a device that nobody enrolled.
fn radius(newcomer: &Newcomer<'_>, tried: &mut Tried<'_>) -> Result<()> {
    let stage = newcomer.stage;
    let _client = newcomer.lease()?;
    let before = members(stage)?;
    tried.hold("nobody is logged in", newcomer.passes(false)?, "short video passes");

    let wrong = newcomer.says("Start", "wang.fang", "another secret than it should be", "")?;
    let refused = |id: &Identity| {
        let counts = id.radius.iter().flat_map(|radius| &radius.refused);
        counts.filter(|count| count.name == "wrong_secret").any(|count| count.count == 1)
    };
    known(stage, "a packet with a wrong secret", refused)?;
    let passes = newcomer.passes(false)?;
    tried.hold(
        "radclient, wrong secret: refused, counted",
        !wrong.status.success() && passes,
        format!("no answer within {:.0?}", wrong.took),
    );

    let start = newcomer.says("Start", "wang.fang", SECRET, "")?;
    let took = known(stage, "a member by a session", |id| id.members == before + 1)?;
    let passes = newcomer.passes(false)?;
    let fine = start.status.success() && !passes;
    tried.hold("radclient, Accounting-Start: in the group of the account", fine, format!("after {took:.0?}"));
    let alive = newcomer.says("Interim-Update", "wang.fang", SECRET, "")?;
    let renewed = |id: &Identity| id.radius.as_ref().is_some_and(|radius| radius.effect("renewed") > 0);
    let took = known(stage, "a session that was renewed", renewed)?;
    let same = stage.gateway.now()?.identity;
    let fine = alive.status.success() && same.sessions == 1 && same.members == before + 1;
    tried.hold(
        "radclient, Interim-Update: goes on",
        fine,
        format!("{} session after {took:.0?}", same.sessions),
    );
    let stop = newcomer.says("Stop", "wang.fang", SECRET, "")?;
    let took = known(stage, "the end of the session", |id| id.members == before && id.sessions == 0)?;
    let fine = stop.status.success() && newcomer.passes(false)?;
    tried.hold("radclient, Accounting-Stop: private again", fine, format!("after {took:.0?}"));

    // Another group, by address; the access server goes down.
    let address = newcomer.address(false)?;
    let more = format!("Framed-IP-Address = {address}\nAcct-Multi-Session-Id = \"x\"\n");
    let start = newcomer.says("Start", "li.na", SECRET, &more)?;
    known(stage, "a member of another group", |id| id.members == before + 1)?;
    let passes = newcomer.passes(false)?;
    tried.hold(
        "radclient, an account of another group",
        start.status.success() && passes,
        "short video passes",
    );
    let off = newcomer.says("Accounting-Off", "", SECRET, "")?;
    known(stage, "the end of all sessions", |id| id.members == before && id.sessions == 0)?;
    tried.hold("radclient, Accounting-Off: no sessions", off.status.success(), "none");
    Ok(())
}

/// Something pushes who has an address.
fn push(newcomer: &Newcomer<'_>, tried: &mut Tried<'_>) -> Result<()> {
    let stage = newcomer.stage;
    let _client = newcomer.lease()?;
    let before = members(stage)?;
    let until = process::capture(Command::new("date").args(["-u", "-d", "+1 hour", "+%Y-%m-%dT%H:%M:%SZ"]))?;
    let body = format!("{{\"account\": \"wang.fang\", \"until\": \"{}\"}}", until.trim());
    let address = newcomer.address(false)?;
    let ask = |method: &str, token: &str| {
        let url = format!("https://{}/api/v1/identity/addresses/{address}", stage.gateway.address());
        let mut command = Command::new("curl");
        command.args([
            "--silent",
            "--insecure",
            "--noproxy",
            "*",
            "--max-time",
            "5",
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_code}",
            "-X",
            method,
        ]);
        command.args(["-H", &format!("Authorization: Bearer {token}"), "-d", &body, &url]);
        process::capture(&mut command)
    };
    let refused = ask("PUT", "another-token-of-the-lab")?;
    let set = ask("PUT", TOKEN)?;
    known(stage, "a member by a push", |id| id.members == before + 1)?;
    let fine = refused.trim() == "401" && set.trim() == "204" && !newcomer.passes(false)?;
    tried.hold(
        "push: in the group of the account",
        fine,
        format!("{} with another token, then {set}", refused.trim()),
    );
    let withdrawn = [ask("DELETE", TOKEN)?, ask("DELETE", TOKEN)?];
    known(stage, "the end of a push", |id| id.members == before)?;
    let fine = withdrawn.iter().all(|status| status.trim() == "204") && newcomer.passes(false)?;
    tried.hold("push, withdrawn: private again", fine, format!("{withdrawn:?}, twice the same"));
    Ok(())
}

/// Somebody who is enrolled logs in on a device with a made-up hardware address.
fn made_up(newcomer: &Newcomer<'_>, tried: &mut Tried<'_>) -> Result<()> {
    let stage = newcomer.stage;
    let before = members(stage)?;
    let quiet = newcomer.passes(false)?;
    let start = newcomer.says("Start", "wang.fang", SECRET, &format!("Framed-IP-Address = {RANDOM_IP}\n"))?;
    known(stage, "the session", |id| id.sessions == 1)?;
    // A second: had it made somebody a member, it would have by now.
    stage.stop.pause(Duration::from_millis(1500))?;
    let fine = start.status.success() && quiet && newcomer.passes(false)? && members(stage)? == before;
    tried.hold("a random hardware address stays private", fine, "logged in, and short video passes");
    newcomer.says("Stop", "wang.fang", SECRET, "").map(drop)
}
