//! The benchmark's command line: `cargo xtask bench` builds and runs it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use glassgate_benches::measure::Effort;
use glassgate_benches::report::Report;
use glassgate_benches::rows::ROWS;
use glassgate_benches::stage::Stage;
use indicatif::{ProgressBar, ProgressStyle};

/// Measures the fast path against its references and goals.
///
/// Needs root, `dpdk-testpmd`, and huge pages to mean anything. Exit codes: 0 all rows ran, 1 one of them didn't or, with
/// --strict, a goal was missed.
#[derive(Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench")]
struct Arguments {
    /// Only these rows; may be given several times.
    #[arg(long, value_name = "NAME")]
    row: Vec<String>,
    /// Name the rows and end.
    #[arg(long)]
    list: bool,
    /// Small sizes, short rounds: shows that every row runs. The figures mean nothing.
    #[arg(long)]
    quick: bool,
    /// Rounds; the median of them counts.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Milliseconds of one contestant in one round.
    #[arg(long, default_value_t = 500)]
    time: u64,
    /// A folder of captures for the row `captures`, besides those that it makes itself.
    #[arg(long, value_name = "DIR")]
    captures: Option<PathBuf>,
    /// The program around nDPI's library that `cargo xtask bench` builds. Without it nothing is compared with nDPI.
    #[arg(long, value_name = "PROGRAM")]
    ndpi: Option<PathBuf>,
    /// What was measured on a line, which `cargo xtask bench` does beforehand.
    #[arg(long, value_name = "FILE")]
    line: Option<PathBuf>,
    /// Where to write the result as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Print the table in Markdown.
    #[arg(long)]
    markdown: bool,
    /// A missed goal is an error.
    #[arg(long)]
    strict: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    if arguments.list {
        for row in ROWS {
            println!("{:<12} {}", row.name, row.about);
        }
        return Ok(());
    }
    if let Some(unknown) = arguments.row.iter().find(|name| ROWS.iter().all(|row| row.name != **name)) {
        bail!("there is no row `{unknown}`; `--list` names them");
    }
    let effort = if arguments.quick {
        Effort { rounds: 1, time: Duration::from_millis(100), quick: true }
    } else {
        Effort { rounds: arguments.rounds, time: Duration::from_millis(arguments.time), quick: false }
    };
    let rows: Vec<_> = ROWS
        .iter()
        .filter(|row| arguments.row.is_empty() || arguments.row.iter().any(|name| name == row.name))
        .collect();
    let mut stage = Stage::new(effort)?;
    stage.ndpi.clone_from(&arguments.ndpi);
    stage.line.clone_from(&arguments.line);
    if let Some(dir) = &arguments.captures {
        let entries = std::fs::read_dir(dir).with_context(|| dir.display().to_string())?;
        stage.captures =
            entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|p| p.is_file()).collect();
        stage.captures.sort();
    }
    if stage.no_huge {
        eprintln!("no huge pages are free (`cargo xtask setup` reserves some): all figures are too slow");
    }
    let bar = ProgressBar::new(rows.len() as u64);
    bar.set_style(ProgressStyle::with_template("{bar:20} {pos}/{len} {msg} {elapsed}")?);
    bar.enable_steady_tick(Duration::from_millis(200));
    let mut report = Report::default();
    let mut failed = Vec::new();
    for row in rows {
        bar.set_message(row.name);
        report.begin(row.name);
        if let Err(why) = (row.run)(&mut stage, &mut report) {
            failed.push(format!("{}: {why:#}", row.name));
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    println!("{}", if arguments.markdown { report.markdown() } else { report.table() });
    if let Some(path) = &arguments.json {
        std::fs::write(path, serde_json::to_string_pretty(report.lines())?)
            .with_context(|| format!("writing {}", path.display()))?;
    }
    if !failed.is_empty() {
        bail!("{}", failed.join("; "));
    }
    if arguments.strict && report.missed() > 0 {
        bail!("{} goals are missed", report.missed());
    }
    Ok(())
}
