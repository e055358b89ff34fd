//! The signature table beside other ways to look names up by suffix, in one run.
//!
//! ```text
//! cargo run --release -p glassgate-benches --bin signature_table
//! ```
//!
//! Names are made up, with the shape of real lists (see [`names`]); half of what is asked for is listed, with or without
//! labels in front. All ways answer every question alike, which is checked before anything is timed. Then they take turns,
//! a pass over all questions each, and the median of the passes counts, in CPU time of the thread: what else the machine does
//! disturbs all of them, and at most some of the passes.

mod engines;
mod names;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use engines::{Engine, Glassgate, compile_pack};
use glassgate_policy::Name;
use glassgate_policy::pack::{Pack, PublicKey};
use glassgate_policy::table::Aligned;
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Arc;

/// What the table promises for a million names.
const GOALS: [(&str, f64); 5] = [
    ("bytes a name, at most", 28.0),
    ("ns a lookup, at most", 90.0),
    ("times as fast as hashbrown, at least", 2.5),
    ("compile, seconds, at most", 1.0),
    ("load of a pack, ms, at most", 5.0),
];

/// The signature table beside hashbrown on suffixes, fst and aho-corasick.
#[derive(Debug, Parser)]
struct Args {
    /// Sizes of the list
    #[arg(long, value_delimiter = ',', default_values_t = [10_000, 100_000, 1_000_000])]
    names: Vec<usize>,
    /// Questions a pass
    #[arg(long, default_value_t = 1 << 18)]
    questions: usize,
    /// Passes of each way; the median counts
    #[arg(long, default_value_t = 5)]
    passes: usize,
    /// Leave aho-corasick out of lists longer than this: it takes long to build
    #[arg(long, default_value_t = 100_000)]
    aho_corasick_up_to: usize,
    /// Write all figures to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// One way, with one list.
#[derive(Debug, Serialize)]
struct Row {
    engine: &'static str,
    names: usize,
    ns_per_lookup: f64,
    /// Fastest and slowest pass.
    ns_range: [f64; 2],
    bytes_per_name: f64,
    build_ms: f64,
}

#[derive(Debug, Serialize)]
struct Report {
    rows: Vec<Row>,
    /// Of the largest list.
    read_ms: f64,
    compile_ms: f64,
    pack_load_ms: f64,
    pack_verify_ms: f64,
    goals: Vec<Goal>,
}

#[derive(Debug, Serialize)]
struct Goal {
    what: &'static str,
    goal: f64,
    found: f64,
    met: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let mut report = Report {
        rows: Vec::new(),
        read_ms: 0.0,
        compile_ms: 0.0,
        pack_load_ms: 0.0,
        pack_verify_ms: 0.0,
        goals: Vec::new(),
    };
    for &size in &args.names {
        one_size(size, &args, &mut report)?;
    }
    goals(&mut report);
    print(&report);
    if let Some(path) = &args.json {
        std::fs::write(path, serde_json::to_string_pretty(&report)? + "\n")
            .with_context(|| format!("{} can't be written", path.display()))?;
    }
    Ok(())
}

fn one_size(size: usize, args: &Args, report: &mut Report) -> Result<()> {
    let list = names::list(size);
    let questions = names::questions(&list, args.questions);
    let mut builds = vec![cpu_ms(|| Glassgate::build(&list))];
    builds.push(cpu_ms(|| engines::hashbrown(&list)));
    builds.push(cpu_ms(|| engines::fst(&list)));
    if size <= args.aho_corasick_up_to {
        builds.push(cpu_ms(|| engines::aho_corasick(&list)));
    }
    let (times, engines): (Vec<f64>, Vec<Box<dyn Engine>>) = builds.into_iter().unzip();

    // Everybody says the same, and half of it is a hit.
    let mut expected = vec![0; questions.len()];
    engines[0].pass(&questions, &mut expected);
    let hits = expected.iter().filter(|class| **class != 0).count();
    ensure!(
        hits.abs_diff(questions.len() / 2) < questions.len() / 20,
        "{hits} of {} are hits",
        questions.len()
    );
    for engine in &engines[1..] {
        let mut answers = vec![0; questions.len()];
        engine.pass(&questions, &mut answers);
        let other = answers.iter().zip(&expected).position(|(a, b)| a != b);
        ensure!(other.is_none(), "{} differs at `{}`", engine.name(), questions[other.unwrap_or(0)]);
    }

    let mut passes = vec![Vec::new(); engines.len()];
    for _ in 0..args.passes {
        for (engine, passes) in engines.iter().zip(&mut passes) {
            let (ms, ()) = cpu_ms(|| engine.pass(&questions, &mut expected));
            passes.push(ms * 1e6 / questions.len() as f64);
        }
    }
    for ((engine, mut passes), build_ms) in engines.iter().zip(passes).zip(times) {
        passes.sort_by(f64::total_cmp);
        report.rows.push(Row {
            engine: engine.name(),
            names: size,
            ns_per_lookup: passes[passes.len() / 2],
            ns_range: [passes[0], passes[passes.len() - 1]],
            bytes_per_name: engine.bytes() as f64 / list.len() as f64,
            build_ms,
        });
    }
    if Some(size) == args.names.iter().copied().max() {
        packs(&list, &questions, report)?;
    }
    Ok(())
}

/// How long it takes from text to a table, and from a file to the first answer.
fn packs(list: &[names::Entry], questions: &[Name], report: &mut Report) -> Result<()> {
    let text = names::source(list);
    let (mut reads, mut compiles, mut pack) = (Vec::new(), Vec::new(), None);
    for _ in 0..3 {
        let (read, source) = cpu_ms(|| glassgate_policy::source::Source::parse("bench", text.as_bytes()));
        let source = source.map_err(|e| anyhow::anyhow!("{e}"))?;
        let (compile, made) = cpu_ms(|| compile_pack(&source));
        reads.push(read);
        compiles.push(compile);
        pack = Some(made);
    }
    let (bytes, key) = pack.context("at least one")?;
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), &bytes)?;
    let trusted = [PublicKey::of(&key)];
    let (mut loads, mut verifies) = (Vec::new(), Vec::new());
    for _ in 0..11 {
        let (load, pack) = cpu_ms(|| -> Result<Pack> {
            let file = std::fs::File::open(file.path())?;
            let len = file.metadata()?.len() as usize;
            let pack = Pack::open(Arc::new(Aligned::read(file, len)?), &trusted, 0)?;
            std::hint::black_box(pack.table().lookup(&questions[0]));
            Ok(pack)
        });
        let pack = pack?;
        loads.push(load);
        verifies.push(cpu_ms(|| pack.verify()).0);
    }
    (report.read_ms, report.compile_ms) = (median(reads), median(compiles));
    (report.pack_load_ms, report.pack_verify_ms) = (median(loads), median(verifies));
    Ok(())
}

fn goals(report: &mut Report) {
    let largest = report.rows.iter().map(|row| row.names).max().unwrap_or(0);
    let row = |engine| report.rows.iter().find(|row| row.engine == engine && row.names == largest);
    let (Some(own), Some(other)) = (row("glassgate"), row("hashbrown")) else { return };
    let found = [
        own.bytes_per_name,
        own.ns_per_lookup,
        other.ns_per_lookup / own.ns_per_lookup,
        report.compile_ms / 1000.0,
        report.pack_load_ms,
    ];
    let goals = GOALS.iter().zip(found).map(|((what, goal), found)| {
        let met = if what.ends_with("at least") { found >= *goal } else { found <= *goal };
        Goal { what, goal: *goal, found, met }
    });
    report.goals = goals.collect();
}

fn print(report: &Report) {
    println!(
        "| names | | ns a lookup | slowest–fastest pass | bytes a name | build |\n|---|---|---|---|---|---|"
    );
    for row in &report.rows {
        let [low, high] = row.ns_range;
        let (ns, bytes) = (row.ns_per_lookup, row.bytes_per_name);
        println!(
            "| {} | {} | {ns:.1} | {high:.1}–{low:.1} | {bytes:.1} | {:.0} ms |",
            row.names, row.engine, row.build_ms
        );
    }
    println!(
        "\nsource text to entries {:.0} ms, entries to a signed pack {:.0} ms; pack: load {:.2} ms, verify {:.1} ms\n",
        report.read_ms, report.compile_ms, report.pack_load_ms, report.pack_verify_ms
    );
    println!("| for the largest list | goal | found | |\n|---|---|---|---|");
    for Goal { what, goal, found, met } in &report.goals {
        println!("| {what} | {goal} | {found:.2} | {} |", if *met { "met" } else { "missed" });
    }
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Milliseconds of CPU that this thread takes for something, and what comes of it.
fn cpu_ms<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let now = || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
    };
    let before = now();
    let out = work();
    (now() - before, out)
}
