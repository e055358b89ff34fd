//! The command line of the developer tasks. `cargo xtask --help` lists them.

use std::process::ExitCode;

use clap::Parser;

use xtask::lab::slot::{self, Kind};
use xtask::stop::{Interrupted, Stop};
use xtask::{actions, bench, corpus, demo, faults, fleet, fuzz, image, image_test, setup, steps, ui};

/// Developer tasks of Glassgate.
///
/// The two that matter: `cargo xtask demo` shows the gateway at work, `cargo xtask test` proves it. Both install
/// what they need, after saying what that is. They need root, for network namespaces and packages.
///
/// Exit codes: 0 well, 1 something failed, 2 wrong usage, 130 ended by Ctrl-C.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Task {
    /// Install packages and reserve huge pages, after saying which.
    Setup(setup::Options),
    /// Show the gateway between real clients and servers, until Ctrl-C.
    Demo(demo::Options),
    /// Try every action of a rule on real clients: blocks by curl, dig and QUIC, limits by iperf3.
    Actions(actions::Options),
    /// What must not stop forwarding (floods, full disks, panics, kills, hours), each with its figure beside its goal.
    Faults(faults::Options),
    /// Several boxes, a cluster of servers and a hub: killed, cut off, a thousand of them; and the exact count afterwards.
    Fleet(fleet::Options),
    /// Prove that everything works: lints, all tests, one round of the demo, every action, faults.
    Test(steps::Options),
    /// The fast part of `test`: format, structure, lints. Needs no root and installs nothing.
    Check(steps::Options),
    /// Measure how many of the names in captures the gateway sees.
    Corpus(corpus::Options),
    /// Run the coverage-guided fuzzer on every target (nightly toolchain and cargo-fuzz).
    Fuzz(fuzz::Options),
    /// Measure the fast path against its references and goals.
    Bench(bench::Options),
    /// Make the firmware: a disk to flash, a signed update, the list of its parts. Needs no root and no loop device.
    Image(image::Options),
    /// Run the firmware in an emulator between real clients: start, updates, roll-back, power cuts, crashes.
    ImageTest(image_test::Options),
    /// Take away what killed demos and tests left (each start does so too).
    Sweep,
}

fn main() -> ExitCode {
    let task = Task::parse();
    let result = Stop::install().map_err(Into::into).and_then(|stop| match task {
        Task::Setup(options) => setup::run(&options),
        Task::Demo(options) => demo::run(&options, Kind::Demo, &stop),
        Task::Actions(options) => actions::run(&options, &stop),
        Task::Faults(options) => faults::run(&options, &stop),
        Task::Fleet(options) => fleet::run(&options, &stop),
        Task::Test(options) => steps::run(&options, false, &stop),
        Task::Check(options) => steps::run(&options, true, &stop),
        Task::Corpus(options) => corpus::run(&options),
        Task::Fuzz(options) => fuzz::run(&options, &stop),
        Task::Bench(options) => bench::run(&options, &stop),
        Task::Image(options) => image::run(&options, &stop),
        Task::ImageTest(options) => image_test::run(&options, &stop),
        Task::Sweep => slot::sweep().map(|swept| ui::line(format_args!("{swept:?}"))),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) if why.is::<Interrupted>() => ExitCode::from(130),
        Err(why) => {
            eprintln!("{} {why:#}", ui::red("error:"));
            ExitCode::FAILURE
        }
    }
}
