//! Sealed records and a case, from a visit to a look at it: two people of a department visit a job site under an agreement
//! that allows sealed records; midnight passes, and with it the day's key; two holders of shares open what one of the two did.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use serde_json::Value;

use super::charter::{Approvers, LAB_FLOWS, NEUTRAL, SITE, active, await_flows, await_wall};
use super::inband::{CONFIG, PORT, V4};
use super::{Tried, accounted};
use crate::demo::api::Now;
use crate::demo::gateway::{self, Driver, Gateway, Setup};
use crate::demo::records::{ClockSteps, parse, since_last_start};
use crate::lab::netns::Netns;
use crate::lab::{Lab, dns};
use crate::process;
use crate::stop::Stop;

/// Subject, hardware and network address.
const PEOPLE: [[&str; 3]; 2] =
    [["s-chen", "00:00:5e:00:53:b0", "10.77.0.150"], ["l-wang", "00:00:5e:00:53:b1", "10.77.0.151"]];
/// People of the department, with those who are elsewhere.
const DEPARTMENT: usize = 12;
const ROLES: [&str; 3] = ["human_resources", "data_protection_officer", "works_council"];
/// How long before midnight the gateway begins.
const BEFORE: SignedDuration = SignedDuration::from_secs(60);
/// How near a clock has to be to have taken a step.
const ONE_STEP: SignedDuration = SignedDuration::from_mins(10);
const SERVICE: &str = "boss-zhipin";

/// Goes from a visit to a look.
pub fn run(lab: &Lab, binary: &Path, driver: Driver, tried: &mut Tried<'_>, stop: &Stop) -> Result<()> {
    let newcomer = |n: usize| {
        let [_, mac, address] = PEOPLE[n];
        let netns = lab.newcomer(&format!("case{n}"), mac)?;
        netns.ip(&format!("addr add {address}/24 dev eth0\nroute add default via 10.77.0.1"))?;
        anyhow::Ok(netns)
    };
    let people = [newcomer(0)?, newcomer(1)?];
    let approvers = Approvers::new(lab.dir(), binary)?;
    std::fs::write(lab.dir().join("cases.csv"), directory())?;
    let real = Timestamp::now().to_zoned(TimeZone::UTC);
    let midnight = real.checked_add(BEFORE)?.tomorrow()?.start_of_day()?;
    let ahead = midnight.timestamp().duration_since(real.timestamp()) - BEFORE;
    let setup = Setup {
        charter_keys: approvers.keys.clone(),
        more: format!("\n[identity]\ndirectory = \"cases.csv\"\n{CONFIG}"),
        clock_is_set: true,
        clock_ahead_s: u64::try_from(ahead.as_secs())?,
        ..Setup::default()
    };
    let gateway = Gateway::start_as(lab, binary, driver, &setup, stop)?;
    for person in &people {
        visit(lab, person, NEUTRAL, stop)?;
    }
    await_flows(&gateway, stop, |now| now.identity.members >= PEOPLE.len() as u64)?;
    let day = midnight.yesterday()?.date();
    let text = approvers.charter(4, [day, day.checked_add(3.days())?], "20:00-02:00", "")?;
    let text = text
        .replace("basis = \"labour_rules\"", "basis = \"collective_agreement\"")
        .replace("level = \"aggregate\"", "level = \"sealed\"")
        + &holders(&approvers)?;
    approvers.install(&gateway, &text)?;
    gateway.await_acknowledged(stop)?;
    await_flows(&gateway, stop, |now| now.recording.level == "sealed")?;

    visit(lab, &people[0], SITE, stop)?;
    visit(lab, &people[0], SITE, stop)?;
    visit(lab, &people[1], SITE, stop)?;
    await_flows(&gateway, stop, |now| active(now) <= LAB_FLOWS)?;
    let asked =
        ["case", "open", "--subject", "s-chen", "--purpose", "recruitment", "--category", "recruitment"];
    let day = day.to_string();
    let asked = [&asked[..], &["--from", &day, "--to", &day, "--reason", "access_request"]].concat();
    let as_hr = signed(lab.dir(), 0);
    let early = refused(&gateway, &[&asked[..], &words(&as_hr)].concat());
    tried.hold("the day goes on: nothing of it can be opened", early.contains("days that are over"), early);

    await_wall(real.timestamp() + BEFORE, stop)?;
    let keys = await_keys(&gateway, stop)?;
    tried.hold("midnight: the day's sessions are sealed under one key", keys.len() == 1, keys.join(", "));
    let opened = gateway.command(&[&asked[..], &words(&as_hr)].concat())?;
    let case =
        opened.split_whitespace().nth(1).context("no case in the answer")?.trim_end_matches(':').to_owned();
    let act = |verb: &'static str, holder: usize| {
        let by = signed(lab.dir(), holder);
        let line: Vec<String> = ["case", verb, &case].map(str::to_owned).into_iter().chain(by).collect();
        line
    };
    let alone = refused(&gateway, &words(&act("approve", 0)));
    tried.hold("nobody approves a case of their own", alone.contains("another holder"), alone);
    let soon = refused(&gateway, &words(&act("show", 0)));
    tried.hold("nothing is shown to one alone", soon.contains("not at that step"), soon);
    gateway.command(&words(&act("approve", 1)))?;
    let third = refused(&gateway, &words(&act("show", 2)));
    tried.hold("nor to a third", third.contains("opened and approved"), third);
    let show = act("show", 1);
    let shown = gateway.command(&[&words(&show)[..], &["--json"]].concat())?;
    let view: Value = serde_json::from_str(&shown).context("what was shown")?;
    let sessions = view["sessions"].as_array().cloned().unwrap_or_default();
    let facts =
        sessions.iter().map(|s| format!("{} {} flows, known by {}", s["service"], s["flows"], s["evidence"]));
    let facts = facts.collect::<Vec<_>>().join("; ");
    let fine = sessions.len() == 1 && sessions[0]["service"] == SERVICE && sessions[0]["flows"] == 2;
    tried.hold("two people see what one did, and nobody else's", fine, facts);
    let again = refused(&gateway, &words(&act("show", 0)));
    tried.hold("it is shown once", again.contains("another case"), again);
    let told = gateway.command(&words(&act("tell", 2)))?;
    tried.hold("that the subject was told is on record", told.contains("was told"), told);
    letter(lab, &gateway, &case, &people, tried)?;
    let steps = clocks(lab, &gateway, &people[0], tried, stop)?;
    let (fine, words) = accounted(&gateway.now()?);
    tried.hold("every frame is accounted for", fine, words);
    records(&gateway.stop_for_records()?, &steps, tried);
    Ok(())
}

/// Who has the letter is told by the page, on the LAN and without a login, who looked; who has not is told nothing.
fn letter(
    lab: &Lab,
    gateway: &Gateway,
    case: &str,
    [person, other]: &[Netns; 2],
    tried: &mut Tried<'_>,
) -> Result<()> {
    let letter: Value = serde_json::from_str(&gateway.command(&["case", "letter", case, "--json"])?)?;
    let text = |name: &str| letter[name].as_str().map(str::to_owned).with_context(|| format!("no {name}"));
    let (subject, code) = (text("subject")?, text("code")?);
    let said = ask_who_looked(lab, person, &subject, &code)?;
    let fine =
        ["Your records were looked at", "holder 0", "holder 1", case].iter().all(|part| said.contains(part));
    tried.hold("by the letter the subject is told who looked", fine, format!("case {case}"));
    for (who, netns, subject, code) in [
        ("another name", other, PEOPLE[1][0], code.as_str()),
        ("another code", person, subject.as_str(), "0123456789abcdef"),
    ] {
        let said = ask_who_looked(lab, netns, subject, code)?;
        let fine =
            said.contains("No look fits this code") && !said.contains(case) && !said.contains("holder 0");
        tried.hold("without it nobody is", fine, who);
    }
    Ok(())
}

/// What the page answers to the form of a letter, sent as browsers send it.
fn ask_who_looked(lab: &Lab, netns: &Netns, subject: &str, code: &str) -> Result<String> {
    let jar = lab.dir().join("letter.cookies").display().to_string();
    let origin = format!("https://{V4}:{PORT}");
    let curl = |words: &[&str]| {
        let mut command = netns.command("curl");
        command.args(["--insecure", "--silent", "--show-error", "--max-time", "20"]).args(words);
        process::capture(&mut command)
    };
    let page = curl(&["--cookie-jar", &jar, &format!("{origin}/device?lang=en")])?;
    let token = page.split_once("name=\"token\" value=\"").and_then(|(_, rest)| rest.split('"').next());
    let token = token.with_context(|| format!("no form on the page: {page}"))?;
    let fields = [("token", token), ("lang", "en"), ("subject", subject), ("code", code)];
    let fields = fields.map(|(name, value)| format!("{name}={value}"));
    let from = format!("Origin: {origin}");
    let mut words = vec!["--cookie", &jar, "--header", &from, "--header", "Sec-Fetch-Site: same-origin"];
    words.extend(fields.iter().flat_map(|field| ["--data-urlencode", field]));
    let to = format!("{origin}/device/looks");
    words.push(&to);
    curl(&words)
}

/// The clock steps far and farther while the gateway runs: frames pass, the log goes on, and no key is destroyed.
fn clocks(
    lab: &Lab,
    gateway: &Gateway,
    person: &Netns,
    tried: &mut Tried<'_>,
    stop: &Stop,
) -> Result<ClockSteps> {
    let mut steps = ClockSteps::begin(gateway)?;
    let keys = gateway.command(&["case", "keys"])?;
    let before = gateway.now()?;
    let pids = |now: &Now| now.processes.iter().map(|process| process.pid).collect::<Vec<_>>();
    let year = SignedDuration::from_hours(24 * 365);
    let now = Timestamp::now();
    for (what, to) in [
        ("1970", "1970-01-01T00:10:00Z".parse()?),
        ("2038", "2038-01-19T03:14:00Z".parse()?),
        ("ten years on", now + year * 10),
        ("ten years back", now - year * 10),
        ("where it was", now),
    ] {
        let ahead = to.duration_since(Timestamp::now());
        gateway::set_clock(lab.dir(), ahead.as_secs())?;
        let said = await_flows(gateway, stop, |now| {
            now.time.parse::<Timestamp>().is_ok_and(|wall| wall.duration_since(to).abs() < ONE_STEP)
        })?;
        visit(lab, person, NEUTRAL, stop)?;
        steps.made(gateway, stop)?;
        let after = gateway.now()?;
        let kept = gateway.command(&["case", "keys"])?;
        // How long a key was kept is told in days by the monotonic clock, and whether it is over by the other.
        let names = |text: &str| -> Vec<String> {
            text.lines().filter_map(|line| Some(line.split_whitespace().next()?.to_owned())).collect()
        };
        let fine = names(&kept) == names(&keys) && pids(&after) == pids(&before);
        let words =
            format!("{}: {}; {}", said.time, kept.trim().replace('\n', "; "), after.troubles.join("; "));
        tried.hold(&format!("the clock steps to {what}: all goes on, and the key is kept"), fine, words);
    }
    Ok(steps)
}

/// What the log says: each step, and nobody's name.
fn records(text: &str, steps: &ClockSteps, tried: &mut Tried<'_>) {
    // Others have told what groups did.
    let text = since_last_start(text);
    let records = parse(text);
    let kinds: Vec<String> =
        records.iter().filter_map(|record| Some(record["event_type"].as_str()?.to_owned())).collect();
    let cases: Vec<&str> =
        kinds.iter().map(String::as_str).filter(|kind| kind.starts_with("case_")).collect();
    let expected = [
        "case_denied",
        "case_opened",
        "case_denied",
        "case_denied",
        "case_approved",
        "case_denied",
        "case_shown",
        "case_denied",
        "case_told",
    ];
    tried.hold("each step is on record, in order", cases == expected, cases.join(", "));
    let (fine, words) = steps.told(&records);
    tried.hold("each step of the clock is on record, once", fine, words);
    let sessions = kinds.iter().filter(|kind| *kind == "session").count();
    tried.hold("a sealed record each", sessions == PEOPLE.len(), format!("{sessions} sessions"));
    let names = PEOPLE.iter().flatten().copied().chain([SITE, SERVICE]);
    let found: Vec<&str> = names.filter(|name| text.contains(name)).collect();
    tried.hold("no person, address or service in the log", found.is_empty(), found.join(", "));
}

fn directory() -> String {
    let mut text = "subject,group,device,enrolled_by,enrolled\n".to_owned();
    for [subject, mac, _] in PEOPLE {
        text += &format!("{subject},sales,{mac},it@example.com,2026-01-04\n");
    }
    for n in PEOPLE.len()..DEPARTMENT {
        text += &format!("e{n},sales,00:00:5e:00:53:{:02x},it@example.com,2026-01-04\n", 0xc0 + n);
    }
    text
}

/// The holders of shares, with keys made for them.
fn holders(approvers: &Approvers<'_>) -> Result<String> {
    let mut text = "\n[case]\ntell_after_days = 0\n".to_owned();
    for (n, role) in ROLES.iter().enumerate() {
        let key = approvers.glassgate(&["charter", "key", &format!("holder{n}.key")])?;
        let recipient = approvers.glassgate(&["case", "identity", &format!("holder{n}.age")])?;
        text += &format!(
            "\n[[case.holder]]\nrole = \"{role}\"\nname = \"holder {n}\"\nkey = \"{}\"\nrecipient = \"{}\"\n",
            key.trim(),
            recipient.trim()
        );
    }
    Ok(text)
}

/// Options by which a holder signs.
fn signed(dir: &Path, holder: usize) -> [String; 4] {
    let file = |ending: &str| dir.join(format!("holder{holder}.{ending}")).display().to_string();
    ["--key".to_owned(), file("key"), "--identity".to_owned(), file("age")]
}

fn words(line: &[String]) -> Vec<&str> {
    line.iter().map(String::as_str).collect()
}

/// What is said when it is refused; or that it was not.
fn refused(gateway: &Gateway, line: &[&str]) -> String {
    gateway.command(line).map_or_else(|e| format!("{e:#}"), |said| format!("not refused: {said}"))
}

/// One HTTPS flow.
fn visit(lab: &Lab, netns: &Netns, name: &str, stop: &Stop) -> Result<()> {
    let resolve = format!("{name}:443:{}", dns::address(name, false)?);
    let mut command = netns.command("curl");
    command.args(["--silent", "--fail", "--http1.1", "--resolve", &resolve, "--cacert"]);
    command.arg(lab.ca()).args(["--output", "/dev/null", &format!("https://{name}/bytes/1000")]);
    let done = process::run(&mut command, &[], Duration::from_secs(30), stop)?;
    ensure!(done.status.success(), "a visit to {name} failed");
    Ok(())
}

/// The keys that there are, once there is one.
fn await_keys(gateway: &Gateway, stop: &Stop) -> Result<Vec<String>> {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let said = gateway.command(&["case", "keys"])?;
        let keys: Vec<String> =
            said.lines().filter(|line| line.contains(".recruitment.")).map(str::to_owned).collect();
        if !keys.is_empty() {
            return Ok(keys);
        }
        ensure!(Instant::now() < end, "no key was made: {said}");
        stop.pause(Duration::from_millis(200))?;
    }
}
