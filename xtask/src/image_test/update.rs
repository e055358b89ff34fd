//! Updates: refused, taken on trial, confirmed, rolled back.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::machine::Machine;
use super::traffic::Pings;
use super::{BOOT, Held, Stage};

/// To install: on hardware seconds, in the emulator minutes.
pub const INSTALL: Duration = Duration::from_secs(420);
/// A trial that fails is given up within this.
const TRIAL: Duration = Duration::from_secs(300);
/// Wrong signature, good update, broken update: one machine, as it would be.
pub fn run(stage: &Stage<'_>, held: &mut Held, machine: &mut Option<Machine>) -> Result<()> {
    let mut taken = stage.take(machine)?;
    updates(stage, held, &mut taken)?;
    *machine = Some(taken);
    Ok(())
}

fn updates(stage: &Stage<'_>, held: &mut Held, machine: &mut Machine) -> Result<()> {
    machine.await_forwarding()?;

    let (from, since) = (machine.console.len(), Instant::now());
    machine.stick(&stage.images.foreign, "glassgate.raucb")?;
    let said = machine.console.expect(&["update refused", "is installed"], from, INSTALL, stage.stop)?;
    held.hold(
        "an update signed by somebody else",
        said.contains("update refused"),
        last(&said),
        &format!("refused; took {:.1} s", since.elapsed().as_secs_f64()),
    );
    machine.pull_stick()?;

    let pings = Pings::start(stage.lab, Duration::from_millis(50), stage.dir)?;
    stage.recording().begin()?;
    let (from, since) = (machine.console.len(), Instant::now());
    machine.stick(&stage.images.second.bundle, "glassgate.raucb")?;
    let said = machine.console.expect(&["is installed", "update refused"], from, INSTALL, stage.stop)?;
    let outcome = pings.end()?;
    held.hold(
        "a good update is installed",
        said.contains("is installed"),
        format!("{:.0} s", since.elapsed().as_secs_f64()),
        "while frames pass",
    );
    held.hold(
        "pings lost meanwhile",
        outcome.lost == 0,
        format!("{} of {}", outcome.lost, outcome.sent),
        "0",
    );
    let said = machine.console.expect(&["is on trial"], from, BOOT, stage.stop)?;
    machine.pull_stick()?;
    let since = Instant::now();
    held.hold(
        "it starts in the other slot, on trial",
        said.contains("1.1.0 in slot B is on trial"),
        last(&said),
        "slot B",
    );
    let said =
        machine.console.expect(&["is confirmed", "starting the version before"], from, TRIAL, stage.stop)?;
    let took = since.elapsed();
    held.hold(
        "it is confirmed by itself, not before a minute of work",
        said.contains("1.1.0 in slot B is confirmed") && took >= Duration::from_secs(55),
        format!("{:.0} s after it began", took.as_secs_f64()),
        "60 s or more",
    );
    stage.recording().end()?;

    let from = machine.console.len();
    machine.stick(&stage.images.broken.bundle, "glassgate.raucb")?;
    let said = machine.console.expect(
        &["1.2.0 in slot A is on trial", "update refused"],
        from,
        INSTALL + BOOT,
        stage.stop,
    )?;
    held.hold("a broken update starts on trial", said.contains("on trial"), last(&said), "slot A");
    let since = Instant::now();
    let pings = Pings::start(stage.lab, Duration::from_millis(50), stage.dir)?;
    // The whole line: what is awaited may come in pieces over a serial line.
    let said = machine.console.expect(
        &["did not confirm itself; running 1.1.0 in slot B again", "in slot A is confirmed"],
        from,
        TRIAL + BOOT,
        stage.stop,
    )?;
    held.hold(
        "it is left by itself, and the version before runs again",
        said.contains("running 1.1.0 in slot B again"),
        format!("{:.0} s after it began", since.elapsed().as_secs_f64()),
        "180 s and a start",
    );
    let outcome = pings.end()?;
    held.hold(
        "meanwhile frames passed by the kernel's bridge",
        outcome.sent > outcome.lost,
        format!(
            "{} of {} pings lost, the longest silence {} s (two starts of the machine among them)",
            outcome.lost,
            outcome.sent,
            outcome.silence.as_secs()
        ),
        "",
    );
    machine.await_forwarding()?;
    let history = machine.run(
        "cat /var/lib/glassgate/updates/history; grub-editenv /run/glassgate-boot/esp/glassgate/grubenv list",
    )?;
    held.hold(
        "the state of the slots",
        history.contains("CONFIRMED=B") && history.contains("rolled back"),
        history.trim().replace('\n', " | "),
        "",
    );
    Ok(())
}

/// The last line of ours on the console.
pub fn last(said: &str) -> String {
    let mut lines = said.lines().rev().filter(|line| line.contains("Glassgate"));
    lines.next().unwrap_or("").trim().to_owned()
}
