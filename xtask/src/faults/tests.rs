//! Rows that are tests of the workspace: no lab, but sizes that none of its clients reach.
//!
//! A test says what it found in lines that begin with `figure:`. It is built as `cargo xtask test` builds it, so that nothing is built twice.

use anyhow::Result;

use super::stage::Stage;
use crate::{steps, ui, workspace};

/// A test, and how large it is made.
struct Test {
    what: &'static str,
    goal: &'static str,
    /// Which targets of the workspace it is in.
    target: &'static str,
    name: &'static str,
    /// Its size by the environment: short, and at full length.
    size: Option<(&'static str, [&'static str; 2])>,
    /// Run by name alone, and where full length is asked for.
    ignored: bool,
}

/// A million tuples by somebody who knows the hash and not its key.
pub(super) fn hash(stage: &mut Stage<'_>) -> Result<()> {
    run(
        stage,
        &Test {
            what: "a million tuples that meet under another key",
            goal: "16 in a bucket at most, none refused",
            target: "--lib",
            name: "flow_table::tests::tuples_that_meet_under_another_key_do_not_meet_here",
            size: None,
            ignored: false,
        },
    )?;
    run(
        stage,
        &Test {
            what: "ten times as many new flows as the table holds",
            goal: "known flows keep their verdict, memory stays, every frame passes or was blocked",
            target: "--test overload",
            name: "a_full_table_keeps_what_it_knows",
            size: None,
            ignored: false,
        },
    )
}

/// Malformed frames through an lcore.
pub(super) fn storm(stage: &mut Stage<'_>) -> Result<()> {
    run(
        stage,
        &Test {
            what: "damaged frames of every protocol",
            goal: "all pass unchanged, each counted once, no panic",
            target: "--test overload",
            name: "a_storm_of_damaged_frames",
            size: Some(("GLASSGATE_FRAMES", ["3000000", "100000000"])),
            ignored: false,
        },
    )
}

/// Panics of inspectors.
pub(super) fn contain(stage: &mut Stage<'_>) -> Result<()> {
    run(
        stage,
        &Test {
            what: "100 000 panics among other frames",
            goal: "each flow marked, all frames pass, counters add up",
            target: "--lib",
            name: "classifier::contain::tests::a_hundred_thousand_panics_end_with_their_frames",
            size: None,
            ignored: false,
        },
    )
}

/// Policies that are swapped.
pub(super) fn swap(stage: &mut Stage<'_>) -> Result<()> {
    let long = stage.options.long;
    run(
        stage,
        &Test {
            what: "1000 policies under an lcore that forwards",
            goal: "0 frames and events lost, no event decided by a mix",
            target: "--bin glassgate",
            name: if long {
                "dataplane::reload_tests::a_thousand_reloads_in_ten_minutes"
            } else {
                "dataplane::reload_tests::a_thousand_reloads_lose_nothing_and_mix_nothing"
            },
            size: None,
            ignored: long,
        },
    )
}

/// The log: its tests of full disks, and lives by seed.
pub(super) fn log(stage: &mut Stage<'_>) -> Result<()> {
    run(
        stage,
        &Test {
            what: "a full disk",
            goal: "a thousand acts taken, all else counted",
            target: "--lib",
            name: "writer::tests::a_full_disk_takes_a_thousand_acts_and_counts_the_rest",
            size: None,
            ignored: false,
        },
    )?;
    run(
        stage,
        &Test {
            what: "lives of a log: errors, full disks, power cuts, by seed",
            goal: "nothing acknowledged is lost; offered = durable + lost",
            target: "--lib",
            name: "simulation::seeds",
            size: Some(("GLASSGATE_SEEDS", ["200", "20000"])),
            ignored: false,
        },
    )
}

fn run(stage: &mut Stage<'_>, test: &Test) -> Result<()> {
    let doing = ui::doing(test.name);
    let filter = if test.ignored { " --ignored" } else { "" };
    let mut command = steps::cargo(&format!(
        "test --workspace --exclude glassgate-fuzz {} -- --exact {}{filter} --nocapture",
        test.target, test.name
    ));
    if let Some((name, sizes)) = test.size {
        command.env(name, sizes[usize::from(stage.options.long)]);
    }
    let log = workspace::target().join("faults-test.log");
    std::fs::write(&log, "")?;
    let passed = steps::run_logged(&command, &log, stage.stop)?;
    let text = std::fs::read_to_string(&log)?;
    let ran = text.lines().any(|line| line.trim_start().starts_with("test result: ok. 1 passed"));
    let figures: Vec<_> =
        text.lines().filter_map(|line| line.split_once("figure: ")).map(|(_, f)| f).collect();
    doing.done("");
    let found = match (passed, ran, figures.is_empty()) {
        (true, true, false) => figures.join("; "),
        (true, true, true) => "so it is".to_owned(),
        (true, false, _) => "there is no such test".to_owned(),
        (false, ..) => format!("it failed: {}", log.display()),
    };
    stage.found(test.what, found, test.goal, passed && ran);
    Ok(())
}
