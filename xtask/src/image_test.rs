//! `cargo xtask image-test`: the firmware in an emulator, in the middle of the [lab](crate::lab), with real clients on both sides.
//!
//! ```text
//!   desk1 … ── switch ── port-a ═ br-lan ═ tap ┐            ┌ tap ═ br-uplink ═ port-b ── router, origins
//!                                              │  firmware  │
//!                             gw namespace ═ br-mgmt ═ tap ─┘ 2 serial lines, QMP
//! ```
//!
//! QEMU without KVM: everything in the machine is some ten times slower than on hardware, so times are upper bounds. A power cut is a disk as it
//! was after some write of an update, see [`cuts`].
//!
//! Parts that measure how long nothing passes have the builder for themselves. After them a second machine runs beside the one in the lab, on
//! wires: a clock of 1970, the configuration by a stick, and the power cuts as soon as the update is there that they cut; at the end two of them run side by side.
//!
//! The images differ from those that are shipped by one service, a shell on the second serial line; it looks inside, and does nothing
//! that the machine should do by itself.

pub mod boot;
pub mod configure;
pub mod crash;
pub mod cuts;
pub mod forget;
pub mod journal;
pub mod line;
pub mod machine;
pub mod tested;
pub mod traffic;
pub mod update;
pub mod wires;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde::Serialize;

use crate::image::bundle::Keys;
use crate::image::{self, Made, Recipe};
use crate::lab::{Lab, slot};
use crate::stop::{Interrupted, Stop};
use crate::{setup, ui, workspace};
use cuts::Recording;
use machine::{Machine, Start};
use tested::Tested;

/// Until frames pass: firmware, boot loader, kernel, initrd and systemd in an emulator on a busy machine.
pub const BOOT: Duration = Duration::from_secs(420);

/// Options of the task.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask image-test                       all parts, less than half an hour
  cargo xtask image-test --only update
  cargo xtask image-test --binary target/image/root/usr/bin/glassgate --only boot

The console of the machine is in target/image/test/console.log, figures are in target/image/test/result.json.")]
pub struct Options {
    /// Only these parts.
    #[arg(long, value_enum)]
    pub only: Vec<Part>,
    /// The gateway to put in, in place of a release build.
    #[arg(long, value_name = "FILE")]
    pub binary: Option<PathBuf>,
    /// Use the images that the last run made.
    #[arg(long)]
    pub keep_images: bool,
    /// Install what is missing without asking.
    #[arg(long, short)]
    pub yes: bool,
}

/// A part of the task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// From power-on to forwarding; clients through it; the page; the first secret.
    Boot,
    /// Wrong signature, good update, broken update.
    Update,
    /// Power cuts while an update is written.
    PowerCut,
    /// The fast path killed and stopped.
    Crash,
    /// What is written to the disk while nothing happens.
    Wear,
    /// Factory reset by the console and by the button.
    Forget,
    /// A clock of 1970.
    Clock,
    /// The configuration by a stick.
    Configure,
}

/// What was held.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    part: String,
    what: String,
    fine: bool,
    figure: String,
    goal: String,
}

/// What a part has held so far.
#[derive(Debug, Default)]
pub struct Held {
    part: &'static str,
    /// Another part is under way, so lines say whose they are.
    beside: bool,
    checks: Vec<Check>,
}

impl Held {
    /// Notes a figure beside its goal, and says it at once.
    pub fn hold(&mut self, what: &str, fine: bool, figure: impl Into<String>, goal: &str) {
        let figure = figure.into();
        let mark = if fine { ui::green("ok") } else { ui::red("FAILED") };
        let beside = if goal.is_empty() {
            String::new()
        } else {
            format!(" {}", ui::dim(format_args!("(goal: {goal})")))
        };
        let whose = if self.beside { ui::dim(format_args!("{}: ", self.part)) } else { String::new() };
        ui::line(format_args!("  {mark} {whose}{what}: {figure}{beside}"));
        self.checks.push(Check {
            part: self.part.to_owned(),
            what: what.to_owned(),
            fine,
            figure,
            goal: goal.to_owned(),
        });
    }

    /// Notes a part that could not go on.
    fn broke(&mut self, why: &anyhow::Error) {
        self.hold("the part went to its end", false, format!("{why:#}"), "");
    }

    fn fine(&self) -> bool {
        self.checks.iter().all(|check| check.fine)
    }
}

/// What all parts have held, and which of them the repository is told of.
struct Results {
    checks: Vec<Check>,
    tested: Tested,
    /// What is tried, of the moment at which the run began; nothing where that is not what the work tree gives.
    inputs: Option<String>,
    noted: bool,
    file: PathBuf,
}

impl Results {
    /// A part has ended.
    fn take(&mut self, part: Part, held: Held, took: Duration) -> Result<()> {
        ui::line(ui::dim(format_args!("  {} took {:.0} s", held.part, took.as_secs_f64())));
        if let Some(inputs) = self.inputs.as_deref().filter(|_| held.fine()) {
            self.tested.note(part, inputs, held.checks.len(), took)?;
            self.noted = true;
        }
        self.checks.extend(held.checks);
        std::fs::write(&self.file, serde_json::to_string_pretty(&self.checks)? + "\n")?;
        Ok(())
    }
}

/// The images that parts start and install.
#[derive(Debug)]
pub struct Images {
    /// What is on the disk.
    pub first: Made,
    /// A good update.
    pub second: Made,
    /// The good update, signed by somebody else.
    pub foreign: PathBuf,
    /// An update whose gateway does not start.
    pub broken: Made,
}

/// What a part works with.
pub struct Stage<'a> {
    /// The network.
    pub lab: &'a Lab,
    /// The images.
    pub images: &'a Images,
    /// Where the machine's files are.
    pub dir: &'a Path,
    /// The writes of the machine that parts hand on to each other.
    recording: Recording,
    /// Whether the user asks to end.
    pub stop: &'a Stop,
}

impl Stage<'_> {
    /// The machine that the part before has left, or one with an empty history, switched on.
    pub fn take(&self, machine: &mut Option<Machine>) -> Result<Machine> {
        if let Some(machine) = machine.take() {
            return Ok(machine);
        }
        machine::empty_disk(&self.images.first.disk, self.dir)?;
        let how = Start { lab: Some(self.lab), journal: Some(&self.recording.path), ..Start::default() };
        Machine::start(self.dir, &how, self.stop)
    }

    /// What is written to the disk of that machine.
    pub fn recording(&self) -> &Recording {
        &self.recording
    }
}

/// Runs the parts; an error when something was not as it should be.
pub fn run(options: &Options, stop: &Stop) -> Result<()> {
    // Of now: what is edited while it runs is not what it tries.
    let inputs = tested::inputs()?;
    ui::heading("Setup");
    setup::run(&setup::Options { yes: options.yes, image: true, ..setup::Options::default() })?;
    ui::heading("Images");
    let dir = image::folder().join("test");
    let images = images(options, &dir, stop)?;
    ui::heading("Lab");
    let began = Instant::now();
    let lab = Lab::start(slot::Kind::Test, &workspace::target().join("lab"), stop)?;
    machine::cable(&lab)?;
    let stage = Stage {
        lab: &lab,
        images: &images,
        recording: Recording::new(std::path::absolute(dir.join("journal"))?),
        dir: &dir,
        stop,
    };
    let results = Mutex::new(Results {
        checks: Vec::new(),
        tested: Tested::read(),
        inputs: (options.binary.is_none() && !options.keep_images).then_some(inputs),
        noted: false,
        file: dir.join("result.json"),
    });
    let wanted = |part| options.only.is_empty() || options.only.contains(&part);
    let part = |part: Part, title, beside, run: &mut dyn FnMut(&mut Held) -> Result<()>| -> Result<()> {
        if !wanted(part) {
            return Ok(());
        }
        ui::heading(title);
        let mut held = Held { part: title, beside, checks: Vec::new() };
        let began = Instant::now();
        match run(&mut held) {
            Err(why) if why.is::<Interrupted>() => return Err(why),
            Err(why) => held.broke(&why),
            Ok(()) => {}
        }
        results.lock().unwrap_or_else(PoisonError::into_inner).take(part, held, began.elapsed())
    };
    // One machine lives through the parts in the lab.
    let mut machine = None;
    part(Part::Boot, "Boot", false, &mut |held| boot::run(&stage, held, &mut machine))?;
    part(Part::Crash, "Crash", false, &mut |held| crash::run(&stage, held, &mut machine))?;
    let in_lab_done = AtomicBool::new(false);
    std::thread::scope(|scope| -> Result<()> {
        let beside = scope.spawn(|| -> Result<()> {
            part(Part::Clock, "Clock", true, &mut |held| cuts::clock(&stage, held))?;
            part(Part::Configure, "Configure", true, &mut |held| configure::run(&stage, held))?;
            part(Part::PowerCut, "Power cut", true, &mut |held| cuts::run(&stage, held, &in_lab_done))
        });
        // The machine ends with the thread that started it.
        let mut in_lab = || -> Result<()> {
            part(Part::Update, "Update", true, &mut |held| update::run(&stage, held, &mut machine))?;
            stage.recording.close();
            part(Part::Wear, "Wear", true, &mut |held| boot::wear(&stage, held, &mut machine))?;
            part(Part::Forget, "Forget", true, &mut |held| forget::run(&stage, held, &mut machine))
        };
        let in_lab = in_lab();
        stage.recording.close();
        drop(machine.take());
        in_lab_done.store(true, Ordering::Relaxed);
        let beside = beside.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?;
        in_lab.and(beside)
    })?;
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    if results.noted {
        ui::line(format_args!("\nnoted in {}: commit it", results.tested.write()?.display()));
    }
    let failed = results.checks.iter().filter(|check| !check.fine).count();
    if failed > 0 {
        bail!(
            "{failed} of {} checks failed; see {}",
            results.checks.len(),
            dir.join("console.log").display()
        );
    }
    let took = began.elapsed();
    ui::line(format_args!(
        "\n{} checks held in {:.1} minutes; {}",
        results.checks.len(),
        took.as_secs_f64() / 60.0,
        results.file.display()
    ));
    Ok(())
}

fn images(options: &Options, dir: &Path, stop: &Stop) -> Result<Images> {
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => image::build_binary(stop)?,
    };
    let keys = Keys::for_tests(&image::folder().join("keys"), stop)?;
    let overlays = vec![image::sources().join("root"), image::sources().join("test-root")];
    let recipe = |name: &str, version: &str, overlays: Vec<PathBuf>| Recipe {
        version: version.to_owned(),
        binary: binary.clone(),
        keys: keys.clone(),
        overlays,
        quick: true,
        out: dir.join(name),
    };
    let fault = dir.join("fault");
    let drop_in = fault.join("usr/lib/systemd/system/glassgate.service.d");
    std::fs::create_dir_all(&drop_in)?;
    std::fs::write(drop_in.join("fault.conf"), "[Service]\nExecStart=\nExecStart=/bin/false\n")?;
    let broken: Vec<PathBuf> = overlays.iter().cloned().chain([fault]).collect();
    let make = |recipe: &Recipe| -> Result<Made> {
        match Made::of_last_run(recipe) {
            Some(made) if options.keep_images => Ok(made),
            _ => image::make(recipe, stop),
        }
    };
    let first = make(&recipe("first", "1.0.0", overlays.clone()))?;
    let second = recipe("second", "1.1.0", overlays);
    let made = make(&second)?;
    let foreign = dir.join("foreign");
    let foreign = image::bundle::sign_again(
        &made.bundle,
        &second,
        &Keys::for_tests(&foreign.join("keys"), stop)?,
        &foreign,
        stop,
    )?;
    let broken = make(&recipe("broken", "1.2.0", broken))?;
    Ok(Images { first, second: made, foreign, broken })
}
