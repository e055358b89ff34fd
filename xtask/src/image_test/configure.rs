//! The configuration by a stick: refused, taken, on trial, kept, undone by itself, undone after a power cut, and what is closed once there are accounts.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::machine::{Machine, Start, empty_disk};
use super::update::last;
use super::wires::Wires;
use super::{BOOT, Held, Stage};

/// The file on the machine, and the folder in which another one is made.
const CONFIG: &str = "/var/lib/glassgate/config/glassgate.toml";
const MADE: &str = "/run/made";
/// A trial is given up after two minutes of looks, each of which takes its time in an emulator.
const TRIAL: Duration = Duration::from_secs(420);
/// To read a stick and look at what is on it.
const READ: Duration = Duration::from_secs(120);
/// In place of what it asks for: more memory than the machine has, so that the data plane can't start: a configuration that is valid and no good.
const NO_GOOD: &str = "memory_mib = 65536";

/// One machine on wires, one start of it more.
pub fn run(stage: &Stage<'_>, held: &mut Held) -> Result<()> {
    let dir = stage.dir.join("configure");
    empty_disk(&stage.images.first.disk, &dir)?;
    let wires = Wires::lay(&dir)?;
    let machine = Machine::start(&dir, &Start::default(), stage.stop)?;
    let mut desk = Desk { stage, machine, wires, dir, from: 0 };
    desk.machine.await_forwarding()?;
    let given = desk.machine.run(&format!("cat {CONFIG}"))?;
    let memory = given.lines().find(|line| line.starts_with("memory_mib")).unwrap_or_default().to_owned();
    ensure!(!given.contains("[rules]") && !memory.is_empty(), "it configures itself:\n{given}");
    first(&mut desk, &given, held)?;
    let with = |number| format!("{given}\n{}", seconds(number));
    trial(&mut desk, [&with(62), &with(62).replace(&memory, NO_GOOD)], held)?;
    let mut desk = power_cut(desk, &with(63), held)?;
    closed(&mut desk, &format!("{}[charter]\nwithout = \"none\"\n", with(64)), held)
}

/// A folder on the stick, which is taken if it is valid.
fn first(desk: &mut Desk<'_, '_>, given: &str, held: &mut Held) -> Result<()> {
    let folder = |desk: &mut Desk<'_, '_>, more: &str, answers: &[&str]| {
        let file = desk.dir.join("glassgate.toml");
        std::fs::write(&file, format!("{given}\n{more}"))?;
        desk.stick(&file, "glassgate/glassgate.toml", answers, READ)
    };
    let answers = ["configuration taken", "configuration refused: it is not valid"];
    let said = folder(desk, "[rules]\nvalid_for_s = \"a minute\"\n", &answers)?;
    let (now, _) = desk.machine.ask(&format!("cat {CONFIG}"))?;
    held.hold(
        "a folder that is not valid is refused, and nothing changes",
        said.contains("refused") && now == given,
        last(&said),
        "refused",
    );
    let said = folder(desk, &seconds(61), &answers)?;
    held.hold("a folder that is valid is taken", said.contains("taken"), last(&said), "taken");
    desk.forwards_by(61, "and the gateway forwards by it", held)
}

/// One file that is taken on trial.
fn trial(desk: &mut Desk<'_, '_>, [good, no_good]: [&str; 2], held: &mut Held) -> Result<()> {
    let kept = desk.backup(good)?;
    let answers = ["configuration kept", "configuration before is back", "configuration refused"];
    let since = Instant::now();
    let said = desk.stick(&kept, "glassgate.backup", &answers, TRIAL)?;
    held.hold(
        "a backup is taken on trial, and kept where the gateway comes up with it",
        said.contains("taken on trial") && said.contains("configuration kept"),
        format!("after {:.0} s", since.elapsed().as_secs_f64()),
        "kept",
    );
    desk.forwards_by(62, "and the gateway forwards by it", held)?;
    let said = desk.stick(&kept, "glassgate.backup", &["that of the stick already", "on trial"], READ)?;
    held.hold("the same once more is no change", said.contains("already"), last(&said), "");

    let no_good = desk.backup(no_good)?;
    let since = Instant::now();
    let said = desk.stick(&no_good, "glassgate.backup", &answers, TRIAL)?;
    held.hold(
        "one that the gateway does not come up with is undone by itself",
        said.contains("taken on trial") && said.contains("configuration before is back"),
        format!("after {:.0} s", since.elapsed().as_secs_f64()),
        "two minutes of trial",
    );
    desk.forwards_by(62, "and the gateway forwards by the one before", held)
}

/// The power goes while one is on trial.
fn power_cut<'a, 'b>(mut desk: Desk<'a, 'b>, other: &str, held: &mut Held) -> Result<Desk<'a, 'b>> {
    let cut = desk.backup(other)?;
    desk.stick_in(&cut, "glassgate.backup", &["taken on trial", "configuration refused"], READ)?;
    let now = desk.machine.run(&format!("cat {CONFIG} && sync"))?;
    ensure!(now.contains("valid_for_s = 63"), "it is not on trial:\n{now}");
    let Desk { stage, machine, wires, dir, .. } = desk;
    machine.cut();
    let machine = Machine::start(&dir, &Start::default(), stage.stop)?;
    let mut desk = Desk { stage, machine, wires, dir, from: 0 };
    desk.forwards_by(62, "after a power cut on trial the one before is in force", held)?;
    Ok(desk)
}

/// With an account only what forwards may differ.
fn closed(desk: &mut Desk<'_, '_>, other: &str, held: &mut Held) -> Result<()> {
    let open = desk.backup(other)?;
    // As far as the stick's program can tell, there is one.
    desk.machine.run("mkdir -p /var/lib/glassgate/page && echo one >> /var/lib/glassgate/page/accounts")?;
    let said = desk.stick(&open, "glassgate.backup", &["configuration refused", "on trial"], READ)?;
    let named = desk.machine.console.expect(&["charter"], desk.from, READ, desk.stage.stop);
    held.hold(
        "once there is an account, a backup that changes who is observed is refused, and says what is in the way",
        said.contains("refused") && named.is_ok(),
        last(&named.unwrap_or_default()),
        "charter.without",
    );
    let file = desk.dir.join("glassgate.toml");
    let answers = ["this gateway has accounts", "configuration taken", "it is not valid"];
    let said = desk.stick(&file, "glassgate/glassgate.toml", &answers, READ)?;
    held.hold("and so is a folder", said.contains("has accounts"), last(&said), "refused");
    let (now, _) = desk.machine.ask(&format!("cat {CONFIG}"))?;
    held.hold("nothing has changed", now.contains("valid_for_s = 62"), "", "");
    Ok(())
}

/// The machine, and who stands before it.
struct Desk<'a, 'b> {
    stage: &'a Stage<'b>,
    machine: Machine,
    wires: Wires,
    dir: PathBuf,
    /// Where the console was when the last stick was put in.
    from: usize,
}

impl Desk<'_, '_> {
    /// Puts in a stick with this file, waits for one of the answers, and pulls it out.
    fn stick(&mut self, file: &Path, name: &str, answers: &[&str], limit: Duration) -> Result<String> {
        let said = self.stick_in(file, name, answers, limit)?;
        // What it says further, and until it has let go.
        self.machine.run("while systemctl is-active -q 'glassgate-stick@*' || [ -n \"$(systemctl list-units -q --state=activating 'glassgate-stick@*')\" ]; do sleep 0.2; done")?;
        self.machine.pull_stick()?;
        Ok(said)
    }

    fn stick_in(&mut self, file: &Path, name: &str, answers: &[&str], limit: Duration) -> Result<String> {
        self.from = self.machine.console.len();
        self.machine.stick(file, name)?;
        self.machine.console.expect(answers, self.from, limit, self.stage.stop)
    }

    /// A backup as `glassgate config backup` makes it on the machine, of its own configuration with this in `glassgate.toml`.
    fn backup(&mut self, text: &str) -> Result<PathBuf> {
        ensure!(!text.contains('\''), "the shell would end the text there");
        let folder = Path::new(CONFIG).parent().unwrap_or(Path::new("/")).display();
        self.machine.run(&format!(
            "rm -rf {MADE}; cp -r {folder} {MADE} && printf '%s' '{text}' > {MADE}/glassgate.toml && glassgate config backup -c {MADE}/glassgate.toml {MADE}.backup"
        ))?;
        let file = self.dir.join("made.backup");
        std::fs::write(&file, self.machine.run(&format!("cat {MADE}.backup"))?)?;
        Ok(file)
    }

    fn forwards_by(&mut self, seconds_of: u32, what: &str, held: &mut Held) -> Result<()> {
        self.machine.await_forwarding()?;
        let (now, _) = self.machine.ask(&format!("cat {CONFIG}"))?;
        let passes = self.wires.await_passing(BOOT, self.stage.stop);
        let is = seconds(seconds_of);
        held.hold(
            what,
            now.contains(is.trim_end()) && passes.is_ok(),
            now.lines().find(|line| line.contains("valid_for_s")).unwrap_or_default().to_owned(),
            is.lines().last().unwrap_or_default(),
        );
        Ok(())
    }
}

/// A setting that does no harm, by which one configuration is told from another.
fn seconds(of: u32) -> String {
    format!("[rules]\nvalid_for_s = {of}\n")
}
