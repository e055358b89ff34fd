//! `cargo xtask check` and `cargo xtask test`: a list of steps, all of which are run even when some fail.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::image_test::tested::{self, Tested};
use crate::lab::slot::Kind;
use crate::process::{self, tail};
use crate::stop::{Interrupted, Stop};
use crate::{actions, demo, faults, fleet, image_test, setup, ui, workspace};

/// Longest that a step may take.
const LIMIT: Duration = Duration::from_secs(40 * 60);

/// For how long each fuzz target is fed mutations of its corpus, on the stable toolchain. `cargo xtask fuzz` goes on longer.
const FUZZ_SECONDS: &str = "20";

/// Options of both tasks.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Options {
    /// Only this step; may be given several times.
    #[arg(long, value_name = "STEP")]
    pub only: Vec<String>,
    /// Name the steps and what they run, and end.
    #[arg(long)]
    pub list: bool,
    /// Install what is missing without asking.
    #[arg(long, short)]
    pub yes: bool,
}

/// A step: its name and what it does.
pub struct Step {
    name: &'static str,
    work: Work,
    /// Whether `check` runs it too.
    fast: bool,
}

enum Work {
    /// Commands that must all end well, in this order.
    Run(Vec<Command>),
    /// The demo, one round.
    Demo,
    /// Every action of a rule, on real clients.
    Actions,
    /// The firmware in an emulator, where it is another one than the last that was tried.
    Image,
    /// The faults that must not stop forwarding, in the short form.
    Faults,
    /// Boxes, servers and a hub, killed and cut off.
    Fleet,
    /// Nothing, for this reason.
    Skip(String),
}

enum Verdict {
    Passed(String),
    Failed(String),
    Skipped(String),
}

/// Runs the steps and prints what came out. An error when one failed.
pub fn run(options: &Options, fast_only: bool, stop: &Stop) -> Result<()> {
    let mut steps: Vec<_> = steps().into_iter().filter(|step| step.fast || !fast_only).collect();
    if let Some(unknown) = options.only.iter().find(|name| steps.iter().all(|step| step.name != **name)) {
        let names: Vec<_> = steps.iter().map(|step| step.name).collect();
        bail!("there is no step `{unknown}` here; there are {}", names.join(", "));
    }
    if !options.only.is_empty() {
        steps.retain(|step| options.only.iter().any(|name| name == step.name));
    }
    if options.list {
        for step in &steps {
            ui::line(format_args!("{:<12} {}", step.name, step.words()));
        }
        return Ok(());
    }
    if !fast_only {
        ui::heading("Setup");
        setup::run(&setup::Options { yes: options.yes, fleet: true, ..setup::Options::default() })?;
    }

    ui::heading("Steps");
    let logs = workspace::target().join("steps");
    std::fs::create_dir_all(&logs).with_context(|| format!("cannot make {}", logs.display()))?;
    let mut table = ui::table();
    table.set_header(["step", "", "time", ""]);
    let (mut passed, mut failed, mut skipped) = (0, Vec::new(), 0);
    for step in steps {
        let started = Instant::now();
        let log = logs.join(format!("{}.log", step.name));
        let verdict = step.run(&log, !options.only.is_empty(), stop)?;
        let (mark, detail) = match verdict {
            Verdict::Passed(detail) => {
                passed += 1;
                ("passed", detail)
            }
            Verdict::Failed(detail) => {
                failed.push((step.name, log));
                ("FAILED", detail)
            }
            Verdict::Skipped(why) => {
                skipped += 1;
                ("skipped", why)
            }
        };
        table.add_row([step.name, mark, &format!("{:.1} s", started.elapsed().as_secs_f32()), &detail]);
    }
    for (name, log) in &failed {
        ui::heading(format_args!("{name} failed; the end of {}", log.display()));
        ui::line(tail(log, 60));
    }
    ui::heading("Summary");
    ui::line(table);
    ui::line(format_args!("\n{passed} passed, {} failed, {skipped} skipped", failed.len()));
    if failed.is_empty() { Ok(()) } else { bail!("{} of the steps failed", failed.len()) }
}

impl Step {
    /// `asked_for`: it was named, which a step that takes as long as all the others together has to be.
    fn run(&self, log: &Path, asked_for: bool, stop: &Stop) -> Result<Verdict> {
        match &self.work {
            Work::Skip(why) => Ok(Verdict::Skipped(why.clone())),
            Work::Run(commands) => {
                let doing = ui::doing(self.name);
                std::fs::write(log, "")?;
                for command in commands {
                    doing.now(process::show(command));
                    if !run_logged(command, log, stop)? {
                        doing.failed(process::show(command));
                        return Ok(Verdict::Failed(process::show(command)));
                    }
                }
                let found = summary(log);
                doing.done(&found);
                Ok(Verdict::Passed(found))
            }
            Work::Demo => {
                let options = demo::Options { once: true, yes: true, ..demo::Options::default() };
                judge(demo::run(&options, Kind::Test, stop), log)
            }
            Work::Faults => {
                let only = faults::HELD.map(str::to_owned).to_vec();
                let options = faults::Options { yes: true, only, ..faults::Options::default() };
                judge(faults::run(&options, stop), log)
            }
            Work::Fleet => judge(fleet::run(&fleet::Options::short(), stop), log),
            Work::Actions => {
                let options = actions::Options { yes: true, ..actions::Options::default() };
                judge(actions::run(&options, stop), log)
            }
            Work::Image => {
                let now = tested::inputs()?;
                let tested = Tested::read();
                let only = tested.stale(&now);
                if only.is_empty() {
                    return Ok(Verdict::Skipped(tested.say(&now)));
                }
                if !asked_for {
                    let names = only.iter().map(|part| tested::name(*part)).collect::<Vec<_>>().join(", ");
                    let why = format!(
                        "NOT SEEN with this firmware: {names}; `cargo xtask test --only image` runs them"
                    );
                    return Ok(Verdict::Skipped(why));
                }
                let options = image_test::Options { yes: true, only, ..image_test::Options::default() };
                judge(image_test::run(&options, stop), log)
            }
        }
    }

    fn words(&self) -> String {
        match &self.work {
            Work::Run(commands) => commands.iter().map(process::show).collect::<Vec<_>>().join(" && "),
            Work::Demo => "cargo xtask demo --once".to_owned(),
            Work::Actions => "cargo xtask actions".to_owned(),
            Work::Image => {
                "with --only: cargo xtask image-test, of the parts whose inputs are not those of image/tested.toml"
                    .to_owned()
            }
            Work::Faults => format!("cargo xtask faults --only {}", faults::HELD.join(" --only ")),
            Work::Fleet => "cargo xtask fleet --only once --only rollout".to_owned(),
            Work::Skip(why) => format!("(skipped: {why})"),
        }
    }
}

fn judge(outcome: Result<()>, log: &Path) -> Result<Verdict> {
    match outcome {
        Ok(()) => Ok(Verdict::Passed(String::new())),
        Err(why) if why.is::<Interrupted>() => Err(why),
        Err(why) => {
            std::fs::write(log, format!("{why:#}\n"))?;
            Ok(Verdict::Failed(why.to_string()))
        }
    }
}

/// The steps in the order in which a fault is found soonest.
fn steps() -> Vec<Step> {
    let step = |name, fast, commands| Step { name, fast, work: Work::Run(commands) };
    let mut document = cargo("doc --workspace --no-deps");
    document.env("RUSTDOCFLAGS", "-D warnings");
    // With its feature the fuzz crate compiles libFuzzer, which only the fuzzer needs.
    let clippy = vec![
        cargo("clippy --workspace --exclude glassgate-fuzz --all-targets --all-features -- -D warnings"),
        cargo("clippy -p glassgate-fuzz --all-targets -- -D warnings"),
    ];
    // Nextest shows a failing test sooner and runs each in a process of its own; without it, cargo's own runner.
    let tests = if has("cargo-nextest") {
        vec![
            cargo("nextest run --workspace --exclude glassgate-fuzz --no-fail-fast --hide-progress-bar"),
            cargo("test --workspace --doc --no-fail-fast"),
        ]
    } else {
        vec![cargo("test --workspace --exclude glassgate-fuzz --no-fail-fast")]
    };
    // A step of its own, because it lasts as long as it is told to.
    let mut fuzz = cargo("test -p glassgate-fuzz --no-fail-fast");
    fuzz.env("GLASSGATE_FUZZ_SECONDS", FUZZ_SECONDS);
    let deny = match has("cargo-deny") {
        true => Work::Run(vec![cargo(deny_words())]),
        false => {
            Work::Skip("no cargo-deny; the test `structure` holds all of deny.toml but advisories".to_owned())
        }
    };
    vec![
        step("format", true, vec![cargo("fmt --all --check")]),
        step("structure", true, vec![cargo("test -p xtask --test structure")]),
        step("clippy", true, clippy),
        step(
            "clippy-min",
            false,
            vec![cargo("clippy -p glassgate --all-targets --no-default-features -- -D warnings")],
        ),
        Step { name: "deny", fast: false, work: deny },
        step("tests", false, tests),
        step("fuzz", false, vec![fuzz]),
        step("docs", false, vec![document]),
        Step { name: "demo", fast: false, work: Work::Demo },
        Step { name: "actions", fast: false, work: Work::Actions },
        Step { name: "image", fast: false, work: Work::Image },
        Step { name: "faults", fast: false, work: Work::Faults },
        Step { name: "fleet", fast: false, work: Work::Fleet },
    ]
}

/// Advisories need their database, which cargo-deny fetches by git; where it never has been, there is no network
/// for it either.
fn deny_words() -> &'static str {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    if home.is_some_and(|home| home.join("advisory-dbs").exists()) {
        "deny --all-features check"
    } else {
        "deny --all-features check bans licenses sources"
    }
}

fn has(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

/// A command of cargo in the work tree.
pub fn cargo(words: &str) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(words.split_whitespace()).current_dir(workspace::root());
    command
}

/// Runs a command with both outputs appended to the log. `false` when it fails.
pub fn run_logged(command: &Command, log: &Path, stop: &Stop) -> Result<bool> {
    let mut shell = Command::new("sh");
    // One file for both outputs, in the order in which they are written.
    shell.args(["-c", "log=$1; shift; echo \"$ $*\" >>\"$log\"; exec \"$@\" >>\"$log\" 2>&1", "sh"]).arg(log);
    shell.arg(command.get_program()).args(command.get_args());
    if let Some(dir) = command.get_current_dir() {
        shell.current_dir(dir);
    }
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(key, value),
            None => shell.env_remove(key),
        };
    }
    // The settings that cargo gave this program are not meant for the cargo that it starts.
    for (key, _) in std::env::vars_os() {
        let name = key.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST") || name == "CARGO_BIN_NAME" {
            shell.env_remove(&key);
        }
    }
    Ok(process::run(&mut shell, &[], LIMIT, stop)?.status.success())
}

/// How many tests a step ran, added up over what test runners say.
fn summary(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    match passed_tests(&text) {
        0 => String::new(),
        count => format!("{count} tests"),
    }
}

fn passed_tests(log: &str) -> u64 {
    let after = |line: &str, mark: &str| {
        let words: Vec<_> = line.split_once(mark)?.1.split_whitespace().collect();
        words.windows(2).find(|pair| pair[1].starts_with("passed"))?[0].parse::<u64>().ok()
    };
    log.lines().filter_map(|line| after(line, "test result: ok.").or_else(|| after(line, "tests run:"))).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_counted_from_both_runners() {
        let cargo = "test result: ok. 19 passed; 0 failed; 0 ignored\ntest result: ok. 2 passed; 0 failed\n";
        assert_eq!(passed_tests(cargo), 21);
        let nextest = "     Summary [   1.2s] 40 tests run: 40 passed (1 slow), 3 skipped\n";
        assert_eq!(passed_tests(nextest), 40);
        assert_eq!(passed_tests("nothing"), 0);
    }

    #[test]
    fn every_step_has_a_name_of_its_own() {
        let mut names: Vec<_> = steps().iter().map(|step| step.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), steps().len());
    }
}
