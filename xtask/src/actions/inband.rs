//! The gateway's own address on the ports of the bridge: asked for by arping, ping and curl of the LAN, of the VLAN and from the
//! uplink, and then flooded.
//!
//! | who | what |
//! |---|---|
//! | `desk1` | the LAN, without a tag: gets what is for the people, and no more |
//! | `dock` | the VLAN, which is the management side: gets the page |
//! | the router | the uplink |
//! | newcomers | 10 000 SYNs a second with a source that nobody has, 1000 idle flows, and requests that never end |
//! | guessers | 50 wrong passwords a second, from twenty addresses of the VLAN, while others log in with the right one |
//!
//! While they do, a stream of numbered datagrams crosses the gateway: none of them may be missing.

mod flood;
mod guess;

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use self::flood::Flood;
use self::guess::Guessing;
use super::{Tried, accounted, stream};
use crate::demo::gateway::{Driver, Gateway, Setup};
use crate::lab::Lab;
use crate::lab::devices::DEVICES;
use crate::lab::housekeeping::Housekeeping;
use crate::lab::netns::Netns;
use crate::process::{self, Finished};
use crate::stop::Stop;

pub(super) const V4: &str = "10.77.0.2";
const V6: &str = "fd77::2";
pub(super) const VLAN_V4: &str = "10.77.20.2";
const VLAN_V6: &str = "fd77:0:0:20::2";
pub(super) const PORT: u16 = 8480;
const MAC: &str = "02:00:5e:00:53:02";
/// The addresses, and the hardware address that goes with them.
pub(super) const CONFIG: &str = "
[inband]
address = \"10.77.0.2/24\"
address6 = \"fd77::2/64\"
gateway = \"10.77.0.1\"
gateway6 = \"fd77::1\"
vlan = 20
vlan_address = \"10.77.20.2/24\"
vlan_address6 = \"fd77:0:0:20::2/64\"
management = \"vlan\"
mac = \"02:00:5e:00:53:02\"
";
/// How long a page may take while all of this goes on.
const PAGE_WITHIN: Duration = Duration::from_secs(2);
/// How long it goes on.
const FLOOD: Duration = Duration::from_secs(15);

/// All of it: without an address, with one, and flooded, and guessed at meanwhile.
pub fn run(lab: &Lab, binary: &Path, driver: Driver, tried: &mut Tried<'_>, stop: &Stop) -> Result<()> {
    let lan = lab.netns(&DEVICES[0]);
    let gateway = Gateway::start_as(lab, binary, driver, &Setup::default(), stop)?;
    let (heard, words) = arping(lan, "eth0", V4, 2, stop)?;
    tried.hold("without an address: ARP is not answered", heard == 0, words);
    let page = fetch(lan, &format!("[{V6}]"), stop)?;
    tried.hold("without an address: no page", page.status != "200" && page.status != "404", page.words());
    gateway.stop();

    let setup = Setup { more: CONFIG.to_owned(), people: guess::people(), ..Setup::default() };
    let gateway = Gateway::start_as(lab, binary, driver, &setup, stop)?;
    reach(lab, tried, stop)?;
    let (fine, words) = accounted(&gateway.now()?);
    tried.hold("every frame is accounted for", fine, words);
    let housekeeping = Housekeeping::without(&setup.cpus)?;
    for name in ["guard", "control"] {
        housekeeping.keep(gateway.pid_of(name)?)?;
    }
    flooded(lab, &gateway, tried, stop)?;
    drop(housekeeping);
    let now = gateway.now()?;
    let (fine, words) = accounted(&now);
    tried.hold("flooded: every frame is accounted for", fine, words);
    gateway.kill_process("control")?;
    let began = std::time::Instant::now();
    let back = await_page(lab, stop)?;
    tried.hold(
        "the page is back after the control process was killed",
        back.is_page(),
        format!("{:.1?}: {}", began.elapsed(), back.words()),
    );
    Ok(())
}

/// Everybody reaches it, by IPv4 and IPv6, and gets what is for their side.
fn reach(lab: &Lab, tried: &mut Tried<'_>, stop: &Stop) -> Result<()> {
    let (lan, vlan, wan) = (lab.netns(&DEVICES[0]), lab.netns(&DEVICES[3]), &lab.wan);
    for (who, netns, interface, address) in
        [("LAN", lan, "eth0", V4), ("uplink", wan, "router", V4), ("VLAN", vlan, "eth0", VLAN_V4)]
    {
        let (heard, words) = arping(netns, interface, address, 3, stop)?;
        tried.hold(
            &format!("{who}: ARP is answered"),
            heard == 3 && words.to_lowercase().contains(MAC),
            words,
        );
    }
    for (who, netns, address) in [
        ("LAN", lan, V4),
        ("LAN", lan, V6),
        ("uplink", wan, V4),
        ("uplink", wan, V6),
        ("VLAN", vlan, VLAN_V4),
        ("VLAN", vlan, VLAN_V6),
    ] {
        let (lost, words) = ping(netns, address, 200, stop)?;
        tried.hold(&format!("{who}: ping {address}"), lost == "0%", words);
    }
    for (who, netns, address, status) in [
        ("LAN", lan, V4.to_owned(), "404"),
        ("LAN", lan, format!("[{V6}]"), "404"),
        ("uplink", wan, V4.to_owned(), "404"),
        ("VLAN", vlan, VLAN_V4.to_owned(), "200"),
        ("VLAN", vlan, format!("[{VLAN_V6}]"), "200"),
    ] {
        let page = fetch(netns, &address, stop)?;
        let fine = page.status == status && page.body.contains("<html") == (status == "200");
        tried.hold(&format!("{who}: the page at {address} is {status}"), fine, page.words());
    }
    let mut probe = lan.command("arping");
    probe.args(["-D", "-I", "eth0", "-c", "2", "-w", "3", V4]);
    let done = process::run(&mut probe, &[], Duration::from_secs(20), stop)?;
    let taken = done.status.code() == Some(1);
    tried.hold("LAN: who wants its address is told that it is taken", taken, done.status.to_string());
    // The VLAN's address is not one of the LAN's, though the LAN has a way to it: the router is not asked.
    let (heard, words) = arping(lan, "eth0", VLAN_V4, 2, stop)?;
    tried.hold("LAN: the address of the VLAN is not answered for", heard == 0, words);
    Ok(())
}

/// Floods it, and asks for the page meanwhile.
fn flooded(lab: &Lab, gateway: &Gateway, tried: &mut Tried<'_>, stop: &Stop) -> Result<()> {
    let before = gateway.now()?;
    let cables_before = lab.cables_dropped()?;
    let flood = Flood::start(lab, FLOOD)?;
    let certificate = lab.dir().join("page/certificate.pem");
    let guessing = Guessing::start(lab, &certificate, flood.until())?;
    let mut worst = [Duration::ZERO; 2];
    let (mut asked, mut got) = (0, 0);
    while !flood.is_over() {
        for (at, (netns, address, status)) in
            [(lab.netns(&DEVICES[3]), VLAN_V4, "200"), (lab.netns(&DEVICES[1]), V4, "404")]
                .into_iter()
                .enumerate()
        {
            let page = fetch(netns, address, stop)?;
            asked += 1;
            got += usize::from(page.status == status);
            worst[at] = worst[at].max(page.done.took);
        }
        stop.pause(Duration::from_millis(300))?;
    }
    let figures = flood.end()?;
    let guessed = guessing.end(lab)?;
    let now = gateway.now()?;
    let words = format!("{asked} asked, {got} got it; VLAN {:.0?}, LAN {:.0?} at most", worst[0], worst[1]);
    let fine = got == asked && worst.iter().all(|took| *took <= PAGE_WITHIN);
    tried.hold("flooded: others get the page within two seconds", fine, words);
    let words = format!(
        "{} SYNs a second, {} of {} idle flows opened, {} requests that never end",
        figures.syns_per_s, figures.opened, figures.wanted, figures.slow
    );
    tried.hold("flooded: by what was to be", figures.syns_per_s >= 9_500, words);
    guesses(&guessed, tried);
    let (fine, words) = untouched(lab, &figures.stream, stop)?;
    tried.hold("flooded: what passes is not touched", fine, words);
    let dropped = now.lost() - before.lost();
    let by_cables = lab.cables_dropped()? - cables_before;
    let words = format!("{dropped} dropped, and {by_cables} by the cables before it");
    tried.hold("flooded: no frame is dropped", dropped == 0, words);
    let inband = now.inband.unwrap_or_default();
    let words: Vec<_> =
        inband.refused.iter().chain(&inband.turned_away).map(|c| format!("{} {}", c.count, c.name)).collect();
    let stopped = inband.refused.iter().any(|c| c.name == "over_source" && c.count > 100_000);
    tried.hold("flooded: stopped before the ring", stopped, words.join(", "));
    Ok(())
}

/// Whether the stream came through a flood whole. Where it did not, it must do so twice more: the middle of three rounds counts, since this machine may have been
/// elsewhere for the 20 ms that it takes to fill the cable. What the cable dropped before the gateway could take it is said beside.
fn untouched(lab: &Lab, first: &stream::Figures, stop: &Stop) -> Result<(bool, String)> {
    let (mut fine, mut words) = first.unharmed();
    if fine {
        return Ok((fine, words));
    }
    fine = true;
    for _ in 0..2 {
        stop.check()?;
        let before = lab.cables_dropped()?;
        let (whole, said) = Flood::start(lab, FLOOD)?.end()?.stream.unharmed();
        let dropped = lab.cables_dropped()? - before;
        words.push_str(&format!("; again: {said}, {dropped} frames dropped by the cables"));
        fine &= whole;
    }
    Ok((fine, words))
}

/// What became of those who guess and of those who need not.
fn guesses(guessed: &guess::Figures, tried: &mut Tried<'_>) {
    let per_s = guessed.sent / FLOOD.as_secs();
    let answers: Vec<_> = guessed.answers.iter().map(|(said, times)| format!("{times} {said}")).collect();
    let right = guessed.answers.keys().any(|said| said == "303" || said == "200");
    let enough = per_s + 2 >= u64::from(guess::A_SECOND);
    let words = format!("{per_s} a second; {}", answers.join(", "));
    tried.hold("flooded: 50 wrong passwords a second, and nobody is let in by one", enough && !right, words);
    let mut took = guessed.logins.clone();
    took.sort_unstable();
    let (half, most) = (took.get(took.len() / 2), took.last());
    let fine = guessed.failed.is_empty() && most.is_some_and(|most| *most <= PAGE_WITHIN);
    let words = format!(
        "{} logins, half of them within {:.0?}, all within {:.0?} (goal: {PAGE_WITHIN:?}) {}",
        took.len(),
        half.copied().unwrap_or_default(),
        most.copied().unwrap_or_default(),
        guessed.failed.join("; ")
    );
    tried.hold("flooded: whoever has password and code is in within two seconds", fine, words);
}

/// The page, once it is there again.
fn await_page(lab: &Lab, stop: &Stop) -> Result<Page> {
    let until = std::time::Instant::now() + Duration::from_secs(10);
    loop {
        let page = fetch(lab.netns(&DEVICES[3]), VLAN_V4, stop)?;
        if page.is_page() || std::time::Instant::now() > until {
            return Ok(page);
        }
        stop.pause(Duration::from_millis(50))?;
    }
}

/// How many of `count` questions are answered, and what arping says.
fn arping(netns: &Netns, interface: &str, address: &str, count: u32, stop: &Stop) -> Result<(u32, String)> {
    let mut command = netns.command("arping");
    command.args(["-I", interface, "-c", &count.to_string(), "-w", &(count + 1).to_string(), address]);
    let done = process::run(&mut command, &[], Duration::from_secs(20), stop)?;
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    let heard = said.lines().filter(|line| line.contains("reply from")).count() as u32;
    let last = said.lines().rfind(|line| line.contains("reply from"));
    Ok((heard, format!("{heard} of {count}; {}", last.unwrap_or_default().trim())))
}

/// The share that was lost, and what ping says.
fn ping(netns: &Netns, address: &str, count: u32, stop: &Stop) -> Result<(String, String)> {
    let mut command = netns.command("ping");
    command.args(["-q", "-i", "0.01", "-c", &count.to_string(), "-W", "2", address]);
    let done = process::run(&mut command, &[], Duration::from_secs(30), stop)?;
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    let lost = said.split(", ").find_map(|part| {
        part.strip_suffix(" packet loss").or_else(|| part.split_once(" packet loss").map(|(share, _)| share))
    });
    let times = said.lines().find(|line| line.starts_with("rtt")).unwrap_or_default();
    Ok((lost.unwrap_or("?").to_owned(), format!("{} lost; {times}", lost.unwrap_or("?"))))
}

/// What curl got.
struct Page {
    status: String,
    body: String,
    done: Finished,
}

impl Page {
    fn words(&self) -> String {
        let (status, bytes, took) = (&self.status, self.body.len(), self.done.took);
        format!("{status}, {bytes} bytes in {took:.0?} {}", self.done.stderr.trim())
    }

    fn is_page(&self) -> bool {
        self.status == "200" && self.body.contains("<html")
    }
}

fn fetch(netns: &Netns, address: &str, stop: &Stop) -> Result<Page> {
    let mut command = netns.command("curl");
    let url = format!("https://{address}:{PORT}/");
    let token = format!("Authorization: Bearer {}", crate::demo::api::TOKEN);
    command.args(["--insecure", "--header", &token]);
    command.args(["--silent", "--show-error", "--max-time", "8", "--write-out", "\n%{http_code}", &url]);
    let done = process::run(&mut command, &[], Duration::from_secs(20), stop)?;
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    let (body, status) = said.rsplit_once('\n').unwrap_or(("", ""));
    Ok(Page { status: status.to_owned(), body: body.to_owned(), done })
}
