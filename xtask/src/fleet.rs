//! `cargo xtask fleet`: several boxes, a cluster and a hub, with what happens to such things, and the exact count afterwards.
//!
//! | part | done | asked |
//! |---|---|---|
//! | `once` | three boxes write their logs; a server of the cluster is killed, a site is cut off, the hub and an agent are killed; a box writes its past anew | each row of counts is at the hub once; no canary is in a stream; no witness signs the other past |
//! | `rollout` | twelve boxes are offered packs: a good one, one that harms, and such as they refuse | the first goes to all in three stages, each other one halts by itself and boxes have the one before |
//! | `thousand` | a thousand agents in one process send an hour of records each | what the hub takes of a core |
//!
//! Everything is on loopback, with real servers, agents and certificates, and needs neither root nor the lock of the labs. A link is a relay in this process, and a link that is cut
//! passes no byte and closes nothing, as a cable does.

mod boxes;
mod gateways;
mod relay;
mod rollout;
mod stage;
mod witnesses;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Serialize;

use crate::stop::Stop;
use crate::ui;
use boxes::Writer;
use stage::Stage;

/// Options of the task.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Options {
    /// Only this part: `once`, `rollout` or `thousand`.
    #[arg(long, value_name = "PART")]
    pub only: Vec<String>,
    /// Write what was found as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Seconds that a site is cut off.
    #[arg(long, value_name = "SECONDS", default_value_t = 15)]
    pub cut: u64,
    /// Cut a site off for ten minutes.
    #[arg(long)]
    pub long: bool,
    /// Boxes of `thousand`.
    #[arg(long, value_name = "BOXES", default_value_t = 1000)]
    pub boxes: u32,
    /// Leave the files of the fleet where they are, and say where.
    #[arg(long)]
    pub keep: bool,
}

impl Options {
    /// Without the thousand boxes: two minutes, which is what a run of all tests can spare.
    pub fn short() -> Self {
        Self { only: vec!["once".to_owned(), "rollout".to_owned()], cut: 15, boxes: 1000, ..Self::default() }
    }
}

const PARTS: [&str; 3] = ["once", "rollout", "thousand"];
const SITES: [&str; 3] = ["north", "south", "west"];
const SERVERS: [&str; 3] = ["alpha", "beta", "gamma"];
/// The site that is cut off, and the one whose agent is killed.
const CUT: usize = 1;
const KILLED: usize = 0;
/// How long everything may take to arrive when all is well again.
const ARRIVES: Duration = Duration::from_secs(120);

/// What was found, beside its goal.
#[derive(Clone, Debug, Serialize)]
struct Finding {
    part: &'static str,
    what: String,
    found: String,
    goal: String,
    met: bool,
}

/// Runs the parts; an error when a goal was missed.
pub fn run(options: &Options, stop: &Stop) -> Result<()> {
    if let Some(unknown) = options.only.iter().find(|name| !PARTS.contains(&name.as_str())) {
        bail!("there is no part `{unknown}`; there are {}", PARTS.join(", "));
    }
    let asked = |part: &str| options.only.is_empty() || options.only.iter().any(|name| name == part);
    let mut findings = Vec::new();
    let server = crate::setup::nats::server()?;
    stage::build(stop)?;
    if asked("once") {
        ui::heading("once: three boxes, three servers, one hub");
        once(options, &server, &mut findings, stop)?;
    }
    if asked("rollout") {
        ui::heading("rollout: packs for twelve boxes, three servers, one hub");
        let mut found = |what: &str, found: String, goal: &str, met| {
            ui::line(format_args!("  {what}: {found}"));
            findings.push(Finding {
                part: "rollout",
                what: what.to_owned(),
                found,
                goal: goal.to_owned(),
                met,
            });
        };
        rollout::run(&server, options.keep, &mut found, stop)?;
    }
    if asked("thousand") {
        ui::heading(format_args!("thousand: {} boxes, one server, one hub", options.boxes));
        thousand(options, &server, &mut findings, stop)?;
    }
    conclude(&findings, options)
}

fn conclude(findings: &[Finding], options: &Options) -> Result<()> {
    let mut table = ui::table();
    table.set_header(["part", "what", "found", "goal", ""]);
    for Finding { part, what, found, goal, met } in findings {
        let mark = if *met { ui::green("met") } else { ui::red("MISSED") };
        table.add_row([*part, what.as_str(), found.as_str(), goal.as_str(), mark.as_str()]);
    }
    ui::heading("Found");
    ui::line(table);
    if let Some(path) = &options.json {
        let all = serde_json::json!({ "findings": findings });
        std::fs::write(path, format!("{all:#}\n")).with_context(|| path.display().to_string())?;
    }
    let missed = findings.iter().filter(|finding| !finding.met).count();
    ensure!(missed == 0, "{missed} of {} goals missed", findings.len());
    Ok(())
}

/// Rows of counts, by site, log and number.
type Rows = BTreeMap<(String, String, u64), (String, u64, u64)>;

fn once(options: &Options, server: &std::path::Path, findings: &mut Vec<Finding>, stop: &Stop) -> Result<()> {
    let mut found = |what: &str, found: String, goal: &str, met| {
        ui::line(format_args!("  {what}: {found}"));
        findings.push(Finding { part: "once", what: what.to_owned(), found, goal: goal.to_owned(), met });
    };
    let cut = Duration::from_secs(if options.long { 600 } else { options.cut });
    let mut stage = Stage::new(server, &SITES, &SERVERS, options.keep)?;
    ui::line(format_args!("  in {}", stage.dir().display()));
    let writers: Vec<Writer> = SITES
        .iter()
        .enumerate()
        .map(|(at, site)| Writer::start(&stage.log_of(site), at as u64))
        .collect::<Result<_>>()?;
    for name in SERVERS.iter().chain(&SITES) {
        stage.start_server(name)?;
    }
    SITES.iter().try_for_each(|site| stage.start_agent(site))?;
    stage.start_hub(stop)?;
    // A box that says it is another one: it has the certificate of the first site, and sends that one's log as the second.
    stage.start_forger(SITES[0], SITES[1])?;
    stage.await_rows(20, ARRIVES, stop)?;
    ui::line("  everything is up, and rows arrive");

    ui::line(format_args!("  {} is cut off for {} s, and a server is killed", SITES[CUT], cut.as_secs()));
    stage.relays[CUT].cut();
    stage.kill(SERVERS[0])?;
    let began = Instant::now();
    // An agent reads what is durable: what is written after this can't have crossed a link before.
    let last: BTreeMap<&str, u64> =
        SITES.iter().map(|site| Ok((*site, boxes::last(&stage.log_of(site))?))).collect::<Result<_>>()?;
    stop.pause(Duration::from_secs(3))?;
    stage.kill("hub")?;
    stage.kill(&format!("agent-{}", SITES[KILLED]))?;
    stop.pause(Duration::from_secs(3))?;
    stage.start_hub(stop)?;
    stage.start_agent(SITES[KILLED])?;
    // While nothing comes from one site, the others go on: once the servers have agreed who does the work of the dead one.
    let since = |rows: &Rows, site: &str| {
        rows.keys().filter(|key| key.0 == site && Some(&key.2) > last.get(site)).count()
    };
    let others: Vec<_> = SITES.into_iter().filter(|site| *site != SITES[CUT]).collect();
    let all_others = |rows: &Rows| others.iter().all(|site| since(rows, site) > 0);
    while !all_others(&stage.rows()?) && began.elapsed() < ARRIVES {
        stop.pause(Duration::from_millis(500))?;
    }
    let went_on = began.elapsed();
    stop.pause(cut.saturating_sub(began.elapsed() + Duration::from_secs(1)))?;
    let during = stage.rows()?;
    found(
        "rows that each of the others wrote after that and that arrived during it, with the hub dead for 3 s",
        format!(
            "{}; the first of both after {:.0} s",
            others.iter().map(|site| since(&during, site).to_string()).collect::<Vec<_>>().join(", "),
            went_on.as_secs_f32()
        ),
        "more than 0",
        all_others(&during),
    );
    let crept = since(&during, SITES[CUT]);
    found("such rows of the site that is cut off", crept.to_string(), "0", crept == 0);
    stop.pause(cut.saturating_sub(began.elapsed()))?;
    let lasted = began.elapsed();
    stage.relays[CUT].mend();
    stage.start_server(SERVERS[0])?;
    // The hub once more, in the middle of what now comes all at once.
    stop.pause(Duration::from_secs(1))?;
    stage.kill("hub")?;
    stop.pause(Duration::from_secs(4))?;
    let mut own = Rows::new();
    for (site, writer) in SITES.iter().zip(writers) {
        writer.stop()?;
        own.extend(boxes::rows(site, &stage.log_of(site))?);
    }
    let [waiting, deleted, informed, obeyed] = stage.lose()?;
    found(
        "messages that the servers lost before the hub saw them, among them the last ones",
        format!("{deleted} of {waiting}"),
        "more than 0",
        deleted > 0,
    );
    found(
        "commands of the hub that boxes let in, and boxes that say what they have when it asks",
        format!("{obeyed}, {informed}"),
        "0, all",
        obeyed == 0 && informed == SITES.len() as u64,
    );
    stage.start_hub(stop)?;
    let mended = Instant::now();
    let arrived = stage.await_rows(own.len(), ARRIVES, stop);
    let took = mended.elapsed();
    let there = stage.rows()?;
    let missing = own.keys().filter(|key| !there.contains_key(*key)).count();
    let foreign = there.keys().filter(|key| !own.contains_key(*key)).count();
    let differ = own.iter().filter(|(key, row)| there.get(*key).is_some_and(|other| other != *row)).count();
    let printed = stage.printed_rows()?;
    found(
        "rows at the hub",
        format!(
            "{printed} of {} in the logs of the boxes: {missing} missing, {} doubled, {foreign} of nowhere, {differ} not the same",
            own.len(),
            printed - there.len(),
        ),
        "each once, as it was",
        arrived.is_ok() && there == own && printed == own.len(),
    );
    found(
        "time until all were there, after the end of everything",
        format!("{:.1} s; the cut lasted {:.0} s", took.as_secs_f32(), lasted.as_secs_f32()),
        "120 s",
        arrived.is_ok(),
    );
    let forged = stage.forged()?;
    found(
        "messages that a box sent in the name of another one, and those of them at the hub",
        format!("{forged}, {foreign}"),
        "more than 0, 0",
        forged > 0 && foreign == 0,
    );
    let sizes: BTreeMap<&str, u64> =
        SITES.iter().map(|site| Ok((*site, boxes::last(&stage.log_of(site))? + 1))).collect::<Result<_>>()?;
    let signed = stage.await_checkpoints(&sizes, Duration::from_secs(30), stop)?;
    found(
        "entries that signed checkpoints at the hub stand for",
        format!("{} of {}", signed.values().sum::<u64>(), sizes.values().sum::<u64>()),
        "all",
        signed
            .iter()
            .map(|(site, size)| (site.as_str(), *size))
            .eq(sizes.iter().map(|(site, size)| (*site, *size))),
    );
    let status = stage.status()?;
    let holes: i64 =
        status["sites"].as_array().into_iter().flatten().filter_map(|site| site["missing"].as_i64()).sum();
    found("entries that another one names and that did not come", holes.to_string(), "0", holes == 0);
    let refused = status["refused"].to_string();
    found("messages refused", refused.clone(), "[]", refused == "[]");
    let (canaries, witnesses, bytes) = stage.search(boxes::CANARY, boxes::WITNESS)?;
    found(
        "canaries in the streams of boxes and servers and in the store of the hub",
        format!("{canaries} in {:.1} MB (a word that went up: {witnesses})", bytes as f64 / 1e6),
        "0 (and more than 0)",
        canaries == 0 && witnesses > 0,
    );
    let (messages, sent) = stage.sent(&SITES)?;
    found(
        "a message, with its subject",
        format!("{} bytes on average of {messages}", sent / messages.max(1)),
        "under 1024",
        sent / messages.max(1) < 1024,
    );
    let crossed: u64 = stage.relays.iter().map(relay::Relay::bytes).sum();
    found(
        "bytes that crossed the links, both ways",
        format!(
            "{} a message, with TLS, acknowledgements, and what was sent again",
            crossed / messages.max(1)
        ),
        "at least what was sent, under 4096",
        crossed >= sent && crossed / messages.max(1) < 4096,
    );
    arrived?;
    witnesses::run(&mut stage, &sizes, SITES[CUT], SITES[0], &mut found, stop)?;
    let revoked = stage.revoke(SITES[2], &SERVERS, stop);
    found(
        "a site that is left out of the fleet",
        revoked.as_ref().map_or_else(|why| format!("{why:#}"), |()| "its server is turned away".to_owned()),
        "its server is turned away",
        revoked.is_ok(),
    );
    Ok(())
}

fn thousand(
    options: &Options,
    server: &std::path::Path,
    findings: &mut Vec<Finding>,
    stop: &Stop,
) -> Result<()> {
    let measured = stage::thousand(server, options.boxes, options.keep, stop)?;
    let mut found = |what: &str, found: String, goal: &str, met| {
        ui::line(format_args!("  {what}: {found}"));
        findings.push(Finding { part: "thousand", what: what.to_owned(), found, goal: goal.to_owned(), met });
    };
    let stage::Thousand {
        messages,
        bytes,
        rows,
        there,
        hub_cpu,
        took,
        server_cpu,
        stream_bytes,
        store_bytes,
    } = measured;
    found("rows at the hub", format!("{there} of {rows}"), "each once", there == rows);
    found(
        "an hour of all boxes, sent as fast as they can",
        format!("{messages} messages, {:.1} MB, there after {:.1} s", bytes as f64 / 1e6, took.as_secs_f64()),
        "within an hour",
        took < Duration::from_secs(3600),
    );
    let a_day = |n: u64| n as f64 * 24.0 / f64::from(options.boxes.max(1));
    found(
        "a box and day, at this rate",
        format!(
            "{:.0} messages, {:.2} MB sent, {:.2} MB in a stream, {:.2} MB in the hub's store",
            a_day(messages),
            a_day(bytes) / 1e6,
            a_day(stream_bytes) / 1e6,
            a_day(store_bytes) / 1e6
        ),
        "-",
        true,
    );
    found("CPU of the hub for it", format!("{hub_cpu:.2} s (the server: {server_cpu:.2} s)"), "-", true);
    let share = hub_cpu / 3600.0;
    found(
        "share of a core that one hub needs for it, hour by hour",
        format!("{:.3} %", share * 100.0),
        "under 100 %",
        share < 1.0,
    );
    let busy = hub_cpu / took.as_secs_f64();
    found(
        "share of a core while all of it comes at once",
        format!("{:.0} %", busy * 100.0),
        "under 100 %",
        busy < 1.0,
    );
    Ok(())
}
