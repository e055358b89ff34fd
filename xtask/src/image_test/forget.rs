//! Factory reset, by the console and by the button: what the machine kept is gone, and which versions it takes is not.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::machine::{Machine, Start, empty_disk};
use super::{BOOT, Held, Stage};

/// A line on the console, or an answer to the button.
const SOON: Duration = Duration::from_secs(30);
/// Presses that ask for it.
const PRESSES: usize = 5;
/// What is on the data partition, to be looked for afterwards.
const MARK: &str = "/var/lib/glassgate/config/mark";

/// What must change, and what must not.
struct Looked {
    id: String,
    certificate: String,
    slot: String,
    floor: String,
    /// Something that was kept is there.
    kept: bool,
}

/// One machine: by the console, then by the button, then switched off by it.
pub fn run(stage: &Stage<'_>, held: &mut Held, machine: &mut Option<Machine>) -> Result<()> {
    match machine.take() {
        Some(machine) => machine.cut(),
        None => empty_disk(&stage.images.first.disk, stage.dir)?,
    }
    // Without a log of its writes: QEMU 7.2 answers some of those of a file system that is being made with an error when it keeps one.
    let how = Start { lab: Some(stage.lab), ..Start::default() };
    let mut machine = Machine::start(stage.dir, &how, stage.stop)?;
    machine.await_forwarding()?;
    // Where no version was ever confirmed, the one that runs is the floor.
    machine.run("cd /var/lib/glassgate/updates 2> /dev/null || mkdir /var/lib/glassgate/updates; . /usr/lib/os-release; [ -s /var/lib/glassgate/updates/floor ] || echo $VERSION_ID > /var/lib/glassgate/updates/floor")?;

    let before = look(&machine)?;
    machine.run(&format!("echo kept > {MARK}; sync"))?;
    let asked = |machine: &Machine, line: &str, answer: &str| {
        let from = machine.console.len();
        machine.console.send(line)?;
        machine.console.expect(&[answer], from, SOON, stage.stop)
    };
    asked(&machine, "factory-reset\n", "To go on, type ")?;
    let said = asked(&machine, "no\n", "Nothing was deleted.");
    held.hold("by the console: another answer than the number deletes nothing", said.is_ok(), "", "");
    let said = asked(&machine, "factory-reset\n", "and press Enter")?;
    let number = said.rsplit_once("To go on, type ").and_then(|(_, rest)| rest.split_whitespace().next());
    let number = number.context("no number on the console")?.to_owned();
    let (from, since) = (machine.console.len(), Instant::now());
    machine.console.send(&format!("{number}\n"))?;
    let after = forgotten(stage, &machine, from)?;
    hold(held, "by the console", &before, &after, since);

    machine.run(&format!("echo kept > {MARK}; sync"))?;
    let from = machine.console.len();
    press(stage, &mut machine, 2)?;
    let said = machine.console.expect(&["pressed 2 times: nothing happens"], from, SOON, stage.stop);
    held.hold("by the button: two presses do nothing", said.is_ok(), "", "");
    let (from, since) = (machine.console.len(), Instant::now());
    press(stage, &mut machine, PRESSES)?;
    let last = forgotten(stage, &machine, from)?;
    hold(held, "by the button", &after, &last, since);
    let history = machine.run("cat /var/lib/glassgate/updates/history")?;
    held.hold("it says how", history.contains("factory reset by the button"), history.trim().to_owned(), "");

    machine.press()?;
    let off = machine.await_off(Duration::from_secs(120));
    held.hold(
        "one press switches off",
        off.is_ok(),
        off.err().map_or(String::new(), |why| why.to_string()),
        "",
    );
    Ok(())
}

/// Presses the button so often, as a finger does: to ACPI two presses are one as long as nobody has seen the first.
fn press(stage: &Stage<'_>, machine: &mut Machine, times: usize) -> Result<()> {
    let from = machine.console.len();
    machine.press()?;
    machine.console.expect(&["the button was pressed: once"], from, SOON, stage.stop)?;
    for _ in 1..times {
        stage.stop.pause(Duration::from_millis(1200))?;
        machine.press()?;
    }
    Ok(())
}

/// Waits for a start without a past, and looks.
fn forgotten(stage: &Stage<'_>, machine: &Machine, from: usize) -> Result<Looked> {
    machine.console.expect(&["everything is deleted; this is a first start"], from, BOOT, stage.stop)?;
    machine.console.expect(&["open /join"], from, BOOT, stage.stop)?;
    machine.await_forwarding()?;
    look(machine)
}

fn look(machine: &Machine) -> Result<Looked> {
    let line = |command: &str| Ok::<_, anyhow::Error>(machine.run(command)?.trim().to_owned());
    let status = machine.run("glassgate status --json")?;
    let certificate = status.split_once("\"certificate\":\"").and_then(|(_, rest)| rest.split('"').next());
    Ok(Looked {
        id: line("cat /etc/machine-id")?,
        certificate: certificate.context("status names no certificate")?.to_owned(),
        slot: line("cat /run/glassgate-boot/slot; . /usr/lib/os-release; echo $VERSION_ID")?
            .replace('\n', " "),
        floor: line("cat /var/lib/glassgate/updates/floor")?,
        kept: machine.ask(&format!("[ -e {MARK} ] || [ -s /var/lib/glassgate/page/accounts ]"))?.1,
    })
}

fn hold(held: &mut Held, how: &str, before: &Looked, after: &Looked, since: Instant) {
    held.hold(
        &format!("{how}: another machine, with another certificate and without an account"),
        before.id != after.id && before.certificate != after.certificate && !after.kept,
        format!("forwards again {:.0} s after it was asked", since.elapsed().as_secs_f64()),
        "",
    );
    held.hold(
        &format!("{how}: the same version in the same slot, and no older one is taken"),
        before.slot == after.slot && before.floor == after.floor,
        format!("{}, floor {}", after.slot, after.floor),
        &format!("{}, floor {}", before.slot, before.floor),
    );
}
