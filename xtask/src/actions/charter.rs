//! What a charter does to what is seen, in an office: two departments, a guest, somebody with a random hardware address, and a
//! recruiter, who is exempt. All of them visit the same job site, again and again, while the charter comes, its calendar
//! opens and closes, and it is revoked.
//!
//! | | sales, 12 people | research, 4 | recruiter | guest, random address |
//! |---|---|---|---|---|
//! | no charter | counts of the whole network, without groups ||||
//! | calendar closed | off hours | off hours | private | private |
//! | calendar open | **counted** | not covered: too few for counts | private | private |
//! | closed again | off hours | off hours | private | private |
//! | revoked | nothing, for lack of a charter ||||
//! | another's last day, open | **counted** | not covered | private | private |
//! | expired | nothing, for lack of a charter ||||

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _, Unit, Zoned};

use super::{Tried, accounted};
use crate::demo::api::{self, Now};
use crate::demo::gateway::{Driver, Gateway, Setup};
use crate::lab::netns::Netns;
use crate::lab::{Lab, dns};
use crate::process;
use crate::stop::Stop;

pub(super) const SITE: &str = "www.zhipin.com";
const SERVICE: &str = "boss-zhipin";
/// A site that is in no list.
pub(super) const NEUTRAL: &str = "news.example";
const SALES: usize = 12;
const RESEARCH: usize = 4;
/// Everybody: the departments, the recruiter, the guest, the random address.
const ALL: usize = SALES + RESEARCH + 3;
/// Questions to DNS until the path was there: one, and one that came too early.
pub(super) const LAB_FLOWS: u64 = 2;
/// A closed flow is forgotten, and then counted, after ten seconds; the rest is for a busy machine.
const ENDED: Duration = Duration::from_secs(30);
/// How long before midnight the gateway begins whose charter expires then.
const BEFORE: SignedDuration = SignedDuration::from_secs(80);

/// Somebody with a device.
struct Person {
    netns: Netns,
    mac: String,
    group: Option<&'static str>,
}

/// Everybody in the office.
struct Office<'a> {
    lab: &'a Lab,
    people: Vec<Person>,
    stop: &'a Stop,
}

/// Goes through all stages, in order.
pub fn run(lab: &Lab, binary: &Path, driver: Driver, tried: &mut Tried<'_>, stop: &Stop) -> Result<()> {
    let office = Office::open(lab, stop)?;
    let approvers = Approvers::new(lab.dir(), binary)?;
    std::fs::write(lab.dir().join("office.csv"), office.directory())?;
    let setup = Setup {
        charter_keys: approvers.keys.clone(),
        more: "\n[identity]\ndirectory = \"office.csv\"\n".to_owned(),
        clock_is_set: true,
        ..Setup::default()
    };
    let gateway = Gateway::start_as(lab, binary, driver, &setup, stop)?;
    office.make_known(&gateway)?;

    let before = gateway.now()?;
    office.everybody_visits(SITE)?;
    let counted = await_flows(&gateway, stop, |now| service(now) - service(&before) >= ALL as u64)?;
    let words = format!(
        "{} visits counted of {ALL}; {}",
        service(&counted) - service(&before),
        counted.recording.basis
    );
    tried.hold(
        "no charter: counts of the whole network, nobody told apart",
        service(&counted) - service(&before) == ALL as u64,
        words,
    );

    let opens = next_minute()?;
    let at = |when: &Zoned| when.strftime("%H:%M").to_string();
    let hours = format!("{}-{}", at(&opens), at(&opens.checked_add(SignedDuration::from_secs(60))?));
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    // Not the day on which it opens: that may be tomorrow, and what is issued tomorrow is not in force.
    let days = [today, today.checked_add(30.days())?];
    approvers.install(&gateway, &approvers.charter(1, days, &hours, "")?)?;
    office.stage(&gateway, tried, "calendar closed", 0)?;

    await_wall(opens.timestamp(), stop)?;
    gateway.await_acknowledged(stop)?;
    office.stage(&gateway, tried, "calendar open", SALES as u64)?;

    await_wall(opens.timestamp() + SignedDuration::from_secs(60), stop)?;
    gateway.await_acknowledged(stop)?;
    office.stage(&gateway, tried, "calendar closed again", 0)?;

    approvers.revoke(&gateway)?;
    office.stage(&gateway, tried, "charter revoked", 0)?;
    let (fine, words) = accounted(&gateway.now()?);
    tried.hold("every frame is accounted for", fine, words);

    log(&gateway.stop_for_records()?, &office, tried)?;
    expires(lab, binary, driver, &office, &approvers, tried)
}

/// A charter on its last day, and after it. The gateway's wall clock is shortly before midnight; its calendar stays open beyond.
fn expires(
    lab: &Lab,
    binary: &Path,
    driver: Driver,
    office: &Office<'_>,
    approvers: &Approvers<'_>,
    tried: &mut Tried<'_>,
) -> Result<()> {
    let real = Timestamp::now().to_zoned(TimeZone::UTC);
    // Midnight as the gateway has it: the next one that leaves time for what comes before.
    let midnight = real.checked_add(BEFORE)?.tomorrow()?.start_of_day()?;
    let ahead = midnight.timestamp().duration_since(real.timestamp()) - BEFORE;
    let setup = Setup {
        charter_keys: approvers.keys.clone(),
        more: "\n[identity]\ndirectory = \"office.csv\"\n".to_owned(),
        clock_is_set: true,
        clock_ahead_s: u64::try_from(ahead.as_secs())?,
        ..Setup::default()
    };
    let gateway = Gateway::start_as(lab, binary, driver, &setup, office.stop)?;
    office.make_known(&gateway)?;
    let last = midnight.yesterday()?.date();
    approvers.install(&gateway, &approvers.charter(2, [last, last], "20:00-02:00", "")?)?;
    gateway.await_acknowledged(office.stop)?;
    office.stage(&gateway, tried, "its last day", SALES as u64)?;
    await_wall(real.timestamp() + BEFORE, office.stop)?;
    gateway.await_acknowledged(office.stop)?;
    office.stage(&gateway, tried, "charter expired", 0)?;
    let now = gateway.now()?;
    tried.hold(
        "the page says that it has expired",
        now.recording.basis.contains("has expired"),
        now.recording.basis,
    );
    let (fine, words) = accounted(&gateway.now()?);
    tried.hold("every frame is accounted for", fine, words);
    gateway.stop();
    Ok(())
}

/// What the log says in the end: counts of sales, told as those of at least ten people, and nobody's anything.
fn log(text: &str, office: &Office<'_>, tried: &mut Tried<'_>) -> Result<()> {
    let records: Vec<serde_json::Value> =
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let rows: Vec<_> = records.iter().filter(|record| record["event_type"] == "group_rollup").collect();
    let words = rows.iter().map(|row| {
        format!(
            "{} {} {}: {} flows of {} people",
            row["group"], row["category"], row["service"], row["flows"], row["subjects"]
        )
    });
    let words = words.collect::<Vec<_>>().join("; ");
    let fine = rows.len() == 1
        && rows.iter().all(|row| {
            row["group"] == "sales"
                && row["service"] == SERVICE
                && row["flows"] == SALES as u64
                && row["subjects"] == "10-19"
        });
    tried.hold("the log has sales as one row, and no other group", fine, words);
    let changes: Vec<_> = records
        .iter()
        .filter(|record| record["event_type"] == "charter")
        .map(|record| {
            format!("{}: {}", record["cause"].as_str().unwrap_or(""), record["level"].as_str().unwrap_or(""))
        })
        .collect();
    let levels: Vec<&str> = changes.iter().filter_map(|change| change.split(": ").nth(1)).collect();
    let opened_and_closed = levels.windows(3).any(|three| three == ["none", "aggregate", "none"]);
    tried.hold("each change is on record", opened_and_closed, changes.join(", "));
    let names = office.people.iter().map(|person| person.mac.as_str()).chain((0..ALL).map(|_| SITE));
    let found: Vec<&str> = names
        .filter(|name| text.contains(name))
        .chain(["10.77.0."].into_iter().filter(|network| text.contains(network)))
        .collect();
    tried.hold(
        "no address and no name in the log",
        found.is_empty(),
        if found.is_empty() { format!("{} records", records.len()) } else { found.join(", ") },
    );
    Ok(())
}

impl<'a> Office<'a> {
    fn open(lab: &'a Lab, stop: &'a Stop) -> Result<Self> {
        let mut people = Vec::new();
        for n in 0..ALL {
            let (group, mac) = match n {
                0..SALES => (Some("sales"), format!("00:00:5e:00:53:{:02x}", 0x60 + n)),
                n if n < SALES + RESEARCH => (Some("research"), format!("00:00:5e:00:53:{:02x}", 0x60 + n)),
                n if n == SALES + RESEARCH => {
                    (Some("recruiters"), format!("00:00:5e:00:53:{:02x}", 0x60 + n))
                }
                n if n == SALES + RESEARCH + 1 => (None, format!("00:00:5e:00:53:{:02x}", 0x60 + n)),
                _ => (None, format!("02:00:5e:00:53:{:02x}", 0x60 + n)),
            };
            let netns = lab.newcomer(&format!("o{n}"), &mac)?;
            netns.ip(&format!("addr add 10.77.0.{}/24 dev eth0\nroute add default via 10.77.0.1", 60 + n))?;
            people.push(Person { netns, mac, group });
            stop.check()?;
        }
        Ok(Self { lab, people, stop })
    }

    /// The directory of everybody who is enrolled.
    fn directory(&self) -> String {
        let mut text = "subject,group,device,enrolled_by,enrolled\n".to_owned();
        for (n, Person { mac, group, .. }) in self.people.iter().enumerate() {
            if let Some(group) = group {
                text += &format!("e{n},{group},{mac},it@example.com,2026-01-04\n");
            }
        }
        text
    }

    /// Everybody speaks once, so that the gateway knows whose addresses they are.
    fn make_known(&self, gateway: &Gateway) -> Result<()> {
        for person in &self.people {
            // Those that know the router's address ask nobody for it.
            person.netns.ip("neigh flush dev eth0")?;
        }
        self.everybody_visits(NEUTRAL)?;
        let enrolled = self.people.iter().filter(|person| person.group.is_some()).count() as u64;
        await_flows(gateway, self.stop, |now| now.identity.members >= enrolled)?;
        gateway.await_acknowledged(self.stop)
    }

    /// One HTTPS flow of everybody, all at once. Nobody asks DNS.
    fn everybody_visits(&self, name: &str) -> Result<()> {
        let address = dns::address(name, false)?;
        let resolve = format!("{name}:443:{address}");
        let (url, ca) = (format!("https://{name}/bytes/1000"), self.lab.ca());
        let results: Vec<Result<bool>> = std::thread::scope(|scope| {
            let threads = self.people.iter().map(|person| {
                let mut command = person.netns.command("curl");
                command.args([
                    "--silent",
                    "--show-error",
                    "--fail",
                    "--http1.1",
                    "--resolve",
                    &resolve,
                    "--cacert",
                ]);
                command.arg(&ca).args(["--output", "/dev/null", &url]);
                scope.spawn(move || {
                    Ok(process::run(&mut command, &[], Duration::from_secs(30), self.stop)?.status.success())
                })
            });
            let threads: Vec<_> = threads.collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|_| bail!("a thread panicked")))
                .collect()
        });
        for result in results {
            ensure!(result?, "a visit to {name} failed");
        }
        Ok(())
    }

    /// Everybody visits the job site: how much of it is not observed. Why is not told, as some reasons are about one person.
    fn stage(&self, gateway: &Gateway, tried: &mut Tried<'_>, what: &str, observed: u64) -> Result<()> {
        // What was visited before has ended, but for the lab's own flows.
        let before = await_flows(gateway, self.stop, |now| active(now) <= LAB_FLOWS)?;
        self.everybody_visits(SITE)?;
        let wanted = ALL as u64 - observed;
        let since = |now: &Now| now.not_looked_at - before.not_looked_at;
        // The end of everything: of what is observed too, which would count here if it were not.
        let now = await_flows(gateway, self.stop, |now| since(now) >= wanted && active(now) <= LAB_FLOWS)?;
        let level = if observed > 0 { "aggregate" } else { "none" };
        // The lab's own questions to DNS may end meanwhile: that device is in no group.
        let others = active(&before).min(LAB_FLOWS);
        let fine = (wanted..=wanted + others).contains(&since(&now)) && now.recording.level == level;
        tried.hold(
            what,
            fine,
            format!("{} of {ALL} visits not observed; level {}", since(&now), now.recording.level),
        );
        let mut told = Vec::new();
        for path in ["", "api/v1/now", "metrics"] {
            let text = api::get(gateway.address(), &format!("/{path}"))?;
            let names = self.people.iter().map(|person| person.mac.as_str()).chain(["off_hours", "exempt"]);
            // The page may say of what nothing is told: then without a count.
            told.extend(names.filter(|name| text.contains(name)).map(|name| format!("{name} at /{path}")));
        }
        let words = if told.is_empty() { "none".to_owned() } else { told.join(", ") };
        tried.hold(&format!("{what}: devices and reasons on page, API and metrics"), told.is_empty(), words);
        Ok(())
    }
}

/// Those who sign: the controller and the works council.
pub(super) struct Approvers<'a> {
    dir: &'a Path,
    binary: &'a Path,
    pub(super) keys: Vec<String>,
}

const FILE: &str = "office.toml";
const SIGNATURES: &str = "office.toml.sig";
const KEYS: [&str; 2] = ["controller.key", "works-council.key"];

impl<'a> Approvers<'a> {
    pub(super) fn new(dir: &'a Path, binary: &'a Path) -> Result<Self> {
        let mut approvers = Self { dir, binary, keys: Vec::new() };
        for key in KEYS {
            let public = approvers.glassgate(&["charter", "key", key])?;
            approvers.keys.push(public.trim().to_owned());
        }
        Ok(approvers)
    }

    pub(super) fn glassgate(&self, words: &[&str]) -> Result<String> {
        process::capture(Command::new(self.binary).current_dir(self.dir).args(words))
    }

    /// Signs and installs a charter.
    pub(super) fn install(&self, gateway: &Gateway, text: &str) -> Result<()> {
        std::fs::write(self.path(), text)?;
        // Those of a text before, perhaps of other approvers, are good for nothing, and are not passed over.
        match std::fs::remove_file(self.dir.join(SIGNATURES)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e.into()),
            _ => {}
        }
        for key in KEYS {
            // It says with another exit code that somebody else has yet to sign.
            Command::new(self.binary)
                .current_dir(self.dir)
                .args(["charter", "sign", FILE, "--key", key])
                .output()?;
        }
        self.hand_in(gateway)
    }

    fn revoke(&self, gateway: &Gateway) -> Result<()> {
        self.glassgate(&["charter", "sign", FILE, "--key", KEYS[1], "--revoke"])?;
        self.hand_in(gateway)
    }

    fn hand_in(&self, gateway: &Gateway) -> Result<()> {
        gateway.command(&["charter", "install", &self.path().display().to_string()]).map(drop)
    }

    fn path(&self) -> PathBuf {
        self.dir.join(FILE)
    }

    /// A charter for counts of visits to job sites, in these hours of each day; `more` stands in its purpose.
    pub(super) fn charter(
        &self,
        serial: u32,
        [today, expires]: [Date; 2],
        hours: &str,
        more: &str,
    ) -> Result<String> {
        let [controller, council] = self.keys.as_slice() else {
            bail!("two approvers have {} keys", self.keys.len())
        };
        let (year, known) = (today.year(), expires.checked_add(30.days())?);
        Ok(format!(
            "version = 1
name = \"office\"
serial = {serial}
controller = \"Example Ltd.\"
contact = \"privacy@example.com\"
issued = {today}
expires = {expires}
time_zone = \"UTC\"
exempt = [\"recruiters\"]

[[approver]]
role = \"controller\"
name = \"the managing director\"
key = \"{controller}\"

[[approver]]
role = \"works_council\"
name = \"the chair\"
key = \"{council}\"

[[purpose]]
name = \"recruitment\"
basis = \"labour_rules\"
document = {{ title = \"Staff handbook\", sha256 = \"{:064x}\" }}
categories = [\"recruitment\"]
groups = [\"sales\", \"research\"]
calendar = \"shift\"
level = \"aggregate\"
retention_days = 30
k = 10
notice = \"1\"
{more}
[[notice]]
version = \"1\"
given = {today}
text = {{ zh = \"按部门统计工作时间内访问招聘网站的次数。\", en = \"Visits to job sites are counted by department.\" }}

[[calendar]]
name = \"shift\"
time_zone = \"UTC\"
valid = \"{year}-01-01..{known}\"
week = [\"mon-sun {hours}\"]
",
            7
        ))
    }
}

/// Flows that the gateway knows.
pub(super) fn active(now: &Now) -> u64 {
    now.lcores.iter().map(|lcore| lcore.flows_active).sum()
}

/// Flows to the job site, as far as they are counted.
fn service(now: &Now) -> u64 {
    now.flows_by_service().get(SERVICE).copied().unwrap_or(0)
}

/// The next full minute that leaves time for what comes before it.
fn next_minute() -> Result<Zoned> {
    let soon = Timestamp::now().to_zoned(TimeZone::UTC).checked_add(SignedDuration::from_secs(50))?;
    let minute = soon.round(jiff::ZonedRound::new().smallest(Unit::Minute).mode(jiff::RoundMode::Ceil))?;
    Ok(minute)
}

pub(super) fn await_wall(at: Timestamp, stop: &Stop) -> Result<()> {
    let left = at.duration_since(Timestamp::now());
    stop.pause(Duration::try_from(left).unwrap_or_default() + Duration::from_secs(1))
}

/// Waits until flows are over and counted. An lcore says at once that a flow is over, and what it was is counted as its event is read: what is asked between the two has
/// it in neither. So it is asked again until two answers, which are of different moments, agree.
pub(super) fn await_counted(gateway: &Gateway, stop: &Stop) -> Result<Now> {
    let mut last = None;
    await_flows(gateway, stop, |now| {
        let over = active(now) <= LAB_FLOWS;
        let is_other = last.as_ref().is_some_and(|(time, _)| *time != now.uptime_ms);
        let agrees = last.as_ref().is_some_and(|(_, count)| *count == now.not_looked_at);
        if last.is_none() || is_other {
            let done = over && is_other && agrees;
            last = over.then_some((now.uptime_ms, now.not_looked_at));
            return done;
        }
        false
    })
}

/// Waits until the gateway has counted what must be.
pub(super) fn await_flows(gateway: &Gateway, stop: &Stop, mut done: impl FnMut(&Now) -> bool) -> Result<Now> {
    let end = Instant::now() + ENDED;
    loop {
        let now = gateway.now()?;
        if done(&now) {
            return Ok(now);
        }
        ensure!(
            Instant::now() < end,
            "after {ENDED:?}: {} flows active, {} not looked at, {} members",
            active(&now),
            now.not_looked_at,
            now.identity.members
        );
        stop.pause(Duration::from_millis(100))?;
    }
}
