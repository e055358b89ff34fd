//! What the developer sees: a spinner for what is under way, a line for what is done.
//!
//! On a terminal the spinner is redrawn in place; elsewhere (CI, a pipe) only the lines are printed.

use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Prints a line that stays, above a spinner if there is one.
pub fn line(text: impl Display) {
    let mut out = std::io::stdout().lock();
    // A closed pipe is no reason to leave a lab behind.
    drop(writeln!(out, "{text}"));
    drop(out.flush());
}

/// Prints a heading.
pub fn heading(text: impl Display) {
    line(format_args!("\n{}", bold(text)));
}

/// A task under way. Dropped without [`Doing::done`] it counts as failed and says so.
pub struct Doing {
    what: String,
    since: Instant,
    bar: Option<ProgressBar>,
    ended: bool,
}

/// Starts a task and shows it.
pub fn doing(what: impl Display) -> Doing {
    let what = what.to_string();
    let bar = std::io::stdout().is_terminal().then(|| {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout());
        bar.set_style(
            ProgressStyle::with_template("{spinner} {msg} {elapsed}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner()),
        );
        bar.set_message(what.clone());
        bar.enable_steady_tick(Duration::from_millis(100));
        bar
    });
    Doing { what, since: Instant::now(), bar, ended: false }
}

impl Doing {
    /// Changes what is shown as under way.
    pub fn now(&self, detail: impl Display) {
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{}: {detail}", self.what));
        }
    }

    /// Ends the task with a line that says how it went.
    pub fn done(mut self, result: impl Display) {
        self.end(&green("ok"), &result.to_string());
    }

    /// Ends the task as failed, with the reason.
    pub fn failed(mut self, why: impl Display) {
        self.end(&red("FAILED"), &why.to_string());
    }

    fn end(&mut self, mark: &str, text: &str) {
        self.ended = true;
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        let seconds = self.since.elapsed().as_secs_f32();
        let gap = if text.is_empty() { "" } else { ": " };
        line(format_args!("  {mark} {}{gap}{text} {}", self.what, dim(format_args!("({seconds:.1} s)"))));
    }
}

impl Drop for Doing {
    fn drop(&mut self) {
        if !self.ended {
            self.end(&red("FAILED"), "");
        }
    }
}

/// A size in the unit that fits.
pub fn bytes(size: u64) -> String {
    match size {
        0..1_000 => format!("{size} B"),
        1_000..1_000_000 => format!("{:.1} kB", size as f64 / 1e3),
        _ => format!("{:.1} MB", size as f64 / 1e6),
    }
}

/// A table without lines, as wide as it needs to be.
pub fn table() -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table
}

/// Green on a terminal, plain elsewhere.
pub fn green(text: impl Display) -> String {
    paint("32", text)
}

/// Red on a terminal, plain elsewhere.
pub fn red(text: impl Display) -> String {
    paint("31", text)
}

/// Bold on a terminal, plain elsewhere.
pub fn bold(text: impl Display) -> String {
    paint("1", text)
}

/// Grey on a terminal, plain elsewhere.
pub fn dim(text: impl Display) -> String {
    paint("2", text)
}

fn paint(code: &str, text: impl Display) -> String {
    if std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_string()
    }
}
