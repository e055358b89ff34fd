//! The charter that is installed, and what it allows now.
//!
//! Two files in a folder of their own, `charter.toml` and `charter.toml.sig`, read at start and replaced together when
//! another charter is installed. What is wrong with them is said on the page; nothing is observed then.

use super::machine::{Machine, ThisMachine};
use crate::config::{Charter as Settings, Without, read_bounded};
use crate::page::lang::Lang;
use crate::page::terms;
use crate::said::Said;
use anyhow::{Context as _, Result, bail};
use glassgate_policy::audit::{AuditSink, CharterCause, Hex, Now, PurposeNow, Record, Word};
use glassgate_policy::calendar::State as Hours;
use glassgate_policy::charter::{
    self, Charter, CharterFile, Group, Installed, Levels, NotNewer, Observation, Standing, observe,
};
use glassgate_policy::{ObservationLevel, Unobserved};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

const FILE: &str = "charter.toml";
const SIGNATURES: &str = "charter.toml.sig";

/// The charter that is installed.
pub(super) struct Charters {
    machine: Arc<dyn Machine>,
    settings: Settings,
    installed: State,
}

enum State {
    Nothing,
    /// What is wrong with it, and what may take its place.
    NotValid(String, Floor),
    Charter(Box<Charter>),
}

/// What a charter must be newer than, where the one that is there can't be used.
enum Floor {
    /// Than nothing: what is there is no charter.
    Nothing,
    /// Than the text that is there, of which it is not known whether somebody revoked it.
    Serial(u64),
    /// Than one that could not be put in its place as a whole.
    Charter(Box<Charter>),
}

/// What is observed now, and since when it is on record.
#[derive(Clone, Debug)]
pub(super) struct Observed {
    pub(super) observation: Observation,
    pub(super) levels: Arc<Levels>,
    /// What to tell people of it.
    pub(super) basis: Said,
}

impl Charters {
    /// Reads what is installed.
    pub(super) fn load(machine: Arc<dyn Machine>, settings: &Settings) -> Self {
        let installed = match read(&*machine, settings) {
            Ok(Some(charter)) => State::Charter(Box::new(charter)),
            Ok(None) => State::Nothing,
            Err(why) => State::NotValid(format!("{why:#}"), floor(&*machine, settings)),
        };
        Self { machine, settings: settings.clone(), installed }
    }

    /// What may be observed now. The clock decides only while it can be trusted.
    pub(super) fn observe(&self, now: &Now, groups: &[Group]) -> Observed {
        let rows = groups.len() + 1;
        let without = match self.settings.without {
            Without::Counts => Levels::counts(rows),
            Without::None => Levels::nothing(rows, Unobserved::NoCharter),
        };
        let observation = observe(self.installed(), now.trusted_wall(), groups, &without);
        Observed {
            levels: Arc::new(observation.levels.clone()),
            basis: self.basis(&observation),
            observation,
        }
    }

    /// What is installed.
    pub(super) fn installed(&self) -> Installed<'_> {
        match &self.installed {
            State::Nothing => Installed::Nothing,
            State::NotValid(..) => Installed::NotValid,
            State::Charter(charter) => Installed::Charter(charter),
        }
    }

    /// What may be written while nothing is installed.
    pub(super) fn without(&self) -> ObservationLevel {
        match self.settings.without {
            Without::Counts => ObservationLevel::Aggregate,
            Without::None => ObservationLevel::None,
        }
    }

    /// The zone that its days are in.
    pub(super) fn zone(&self) -> TimeZone {
        self.charter().map_or(TimeZone::UTC, |charter| charter.file().zone.clone())
    }

    /// Checks a charter that somebody wants to install: all of it, and that it is newer than the one installed.
    pub(super) fn check(&self, text: &str, signatures: &str) -> Result<Charter, String> {
        let keys = &self.settings.keys;
        let charter = Charter::verify(FILE, text.as_bytes(), SIGNATURES, signatures.as_bytes(), keys);
        let (charter, _) = charter.map_err(|faults| faults.to_string())?;
        let serial = charter.file().serial;
        match &self.installed {
            State::Charter(before) | State::NotValid(_, Floor::Charter(before)) => charter.may_follow(before),
            State::NotValid(_, Floor::Serial(before)) if serial <= *before => {
                Err(NotNewer::Serial { serial, before: *before })
            }
            State::NotValid(..) | State::Nothing => Ok(()),
        }
        .map_err(|e| e.to_string())?;
        Ok(charter)
    }

    /// Puts a charter that was checked, and is on record, in the place of the one installed.
    pub(super) fn install(&mut self, charter: Charter, text: &str, signatures: &str) -> Result<()> {
        let dir = &self.settings.dir;
        // The signatures first: with the old text they are not good, so a crash between the two leaves nothing in force.
        self.machine.replace(&dir.join(SIGNATURES), signatures).context("keeping the signatures")?;
        let kept = self.machine.replace(&dir.join(FILE), text).context("keeping the charter");
        let charter = Box::new(charter);
        self.installed = match &kept {
            Ok(()) => State::Charter(charter),
            Err(_) => State::NotValid("a charter was being installed".to_owned(), Floor::Charter(charter)),
        };
        kept
    }

    /// Its calendars: whether they are open, and until when that holds. One that nobody can decide is left out.
    pub(super) fn calendars(&self, now: &Now) -> (BTreeMap<String, bool>, Option<Timestamp>) {
        let (Some(charter), Some(at)) = (self.charter(), now.trusted_wall()) else {
            return Default::default();
        };
        let said = charter.file().calendars.iter().map(|calendar| (calendar.name(), calendar.decide(at)));
        let said: Vec<_> = said.collect();
        let until = said.iter().filter_map(|(_, decision)| decision.until).min();
        let decided = said.into_iter().filter(|(_, decision)| decision.state != Hours::Undecided);
        (decided.map(|(name, d)| (name.to_owned(), d.state == Hours::Open)).collect(), until)
    }

    /// Names of its calendars, as rules use them.
    pub(super) fn calendar_names(&self) -> BTreeSet<String> {
        let calendars = self.charter().map(|charter| charter.file().calendars.as_slice());
        calendars.unwrap_or_default().iter().map(|calendar| calendar.name().to_owned()).collect()
    }

    /// What is wrong with the charter, for people.
    pub(super) fn trouble(&self) -> Option<Said> {
        match &self.installed {
            State::NotValid(why, _) => {
                let first = why.lines().next().unwrap_or_default();
                Some(Said::new(
                    format!("the charter can't be used, so nothing is observed: {first}"),
                    format!("章程无法使用，因此不观察：{first}"),
                ))
            }
            _ => None,
        }
    }

    /// The charter that is installed, where what is observed says that it is in force.
    pub(super) fn in_force(&self, observed: Option<&Observed>) -> Option<&Charter> {
        self.charter().filter(|_| observed.is_some_and(|o| o.observation.standing == Standing::InForce))
    }

    /// The charter that is installed, in force or not.
    pub(super) fn charter(&self) -> Option<&Charter> {
        match &self.installed {
            State::Charter(charter) => Some(charter),
            _ => None,
        }
    }

    fn basis(&self, observation: &Observation) -> Said {
        let file = self.charter().map(Charter::file);
        let name = file.map(|file| {
            let (name, serial) = (&file.name, file.serial);
            Said::new(format!("Charter {name} no. {serial}"), format!("章程 {name} 第 {serial} 号"))
        });
        let Said { en: name, zh: name_zh } = name.unwrap_or_else(|| Said::new("The charter", "章程"));
        match observation.standing {
            Standing::InForce => {
                let last = file.map(|file| file.expires.to_string()).unwrap_or_default();
                let purposes = observation.purposes.iter();
                let purposes: Vec<_> =
                    purposes.map(|(purpose, standing)| format!("{purpose} {standing}")).collect();
                let zh = observation.purposes.iter().map(|(purpose, standing)| {
                    let (purpose, standing) = (purpose.as_str(), standing.as_str());
                    let purpose = terms::purpose(purpose, Lang::Zh).split('：').next().unwrap_or_default();
                    format!("{purpose}（{}）", terms::state(standing, Lang::Zh))
                });
                Said::new(
                    format!("{name}, in force until {last}: {}.", purposes.join(", ").replace('_', " ")),
                    format!("{name_zh}，有效期至 {last}：{}。", zh.collect::<Vec<_>>().join("、")),
                )
            }
            Standing::Absent => Said::new(
                "No charter is in force, so nothing beyond counts may be recorded.",
                "没有生效的章程，除计数外不得记录任何内容。",
            ),
            Standing::NotValid => {
                Said::new("A charter is installed that can't be used.", "已安装的章程无法使用。")
            }
            Standing::Revoked => {
                let by = self.charter().map(|c| c.revoked_by().join(", ")).unwrap_or_default();
                Said::new(format!("{name} was revoked by {by}."), format!("{name_zh} 已由 {by} 撤销。"))
            }
            Standing::NotYet => {
                Said::new(format!("{name} is not in force yet."), format!("{name_zh} 尚未生效。"))
            }
            Standing::Expired => Said::new(format!("{name} has expired."), format!("{name_zh} 已过期。")),
            Standing::ClockNotTrusted => Said::new(
                format!("{name} is installed, but the clock is not set by a time server."),
                format!("{name_zh} 已安装，但时钟未经时间服务器校准。"),
            ),
        }
    }

    /// Writes that what is observed changes. To be called before it does. `Err` if the record can't be made durable now.
    pub(super) fn record(&self, observed: &Observed, now: &Now, log: &mut dyn AuditSink) -> io::Result<()> {
        write_record(CharterCause::Changed, self.charter(), observed, now, log)
    }

    /// Writes that a charter is about to be installed, with what it will allow at once.
    pub(super) fn record_install(
        &self,
        charter: &Charter,
        groups: &[Group],
        now: &Now,
        log: &mut dyn AuditSink,
    ) -> io::Result<()> {
        let nothing = Levels::nothing(groups.len() + 1, Unobserved::NoCharter);
        let observation = observe(Installed::Charter(charter), now.trusted_wall(), groups, &nothing);
        let levels = Arc::new(observation.levels.clone());
        let observed = Observed { observation, levels, basis: Said::default() };
        write_record(CharterCause::Installed, Some(charter), &observed, now, log)
    }
}

impl Observed {
    /// Whether another record is due when this takes the place of `before`.
    pub(super) fn differs(&self, before: &Self) -> bool {
        let key = |o: &Self| (o.observation.standing, o.observation.purposes.clone(), o.levels.clone());
        key(self) != key(before)
    }

    /// The same with nothing observed: for when what is observed can't be put on record.
    pub(super) fn silenced(&self) -> Arc<Levels> {
        Arc::new(Levels::nothing(self.levels.groups(), Unobserved::Undecided))
    }

    /// The monotonic time until which this holds.
    pub(super) fn until_ns(&self, now: &Now) -> u64 {
        Self::mono_ns(self.observation.until, now)
    }

    /// The monotonic time of a moment of the wall clock.
    pub(super) fn mono_ns(at: Option<Timestamp>, now: &Now) -> u64 {
        let (Some(at), Some(wall)) = (at, now.wall) else { return u64::MAX };
        let left = u64::try_from((at.as_nanosecond() - wall.as_nanosecond()).max(0)).unwrap_or(u64::MAX);
        now.mono_ns.saturating_add(left)
    }

    /// Whether the time has come to look again.
    pub(super) fn is_over(&self, now: &Now) -> bool {
        let reached = |until: Timestamp| now.trusted_wall().is_none_or(|wall| wall >= until);
        let clock_came_back =
            self.observation.standing == Standing::ClockNotTrusted && now.trusted_wall().is_some();
        self.observation.until.is_some_and(reached) || clock_came_back
    }

    /// The highest level observed now.
    pub(super) fn highest(&self) -> ObservationLevel {
        self.levels.highest()
    }
}

fn write_record(
    cause: CharterCause,
    charter: Option<&Charter>,
    observed: &Observed,
    now: &Now,
    log: &mut dyn AuditSink,
) -> io::Result<()> {
    let purposes = observed.observation.purposes.iter();
    let record = Record::Charter {
        cause: Word(cause),
        standing: Word(observed.observation.standing),
        charter: charter.map(|c| c.file().name.as_str()),
        serial: charter.map(|c| c.file().serial),
        sha256: charter.map(|c| Hex(c.sha256())),
        level: Word(observed.highest()),
        purposes: purposes.map(|(p, s)| PurposeNow { purpose: Word(*p), standing: Word(*s) }).collect(),
    };
    log.act(now, &record)
}

fn read(machine: &dyn Machine, settings: &Settings) -> Result<Option<Charter>> {
    let path = settings.dir.join(FILE);
    let bytes = match machine.read(&path, charter::MAX_BYTES as u64) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => bail!("{} can't be read: {e}", path.display()),
    };
    let at = settings.dir.join(SIGNATURES);
    let signatures = machine
        .read(&at, charter::MAX_SIGNATURE_BYTES as u64)
        .with_context(|| format!("{} can't be read", at.display()))?;
    let (path, at) = (path.display().to_string(), at.display().to_string());
    let (charter, _) = Charter::verify(&path, &bytes, &at, &signatures, &settings.keys)?;
    Ok(Some(charter))
}

/// What the text that is there says of itself, whoever signed it.
fn floor(machine: &dyn Machine, settings: &Settings) -> Floor {
    let bytes = machine.read(&settings.dir.join(FILE), charter::MAX_BYTES as u64);
    let file = bytes.ok().and_then(|bytes| CharterFile::parse(FILE, &bytes).ok());
    file.map_or(Floor::Nothing, |(file, _)| Floor::Serial(file.serial))
}

/// The charter that is installed and its signatures as they stand, good or not.
pub(crate) fn read_charter(settings: &Settings) -> Option<(String, String)> {
    let read = |name: &str, most: usize| {
        let bytes = read_bounded(&settings.dir.join(name), most as u64).ok()?;
        String::from_utf8(bytes).ok()
    };
    Some((read(FILE, charter::MAX_BYTES)?, read(SIGNATURES, charter::MAX_SIGNATURE_BYTES)?))
}

/// Installs a charter where no gateway runs that would: checked the same way, on no record.
pub(crate) fn install_charter(settings: &Settings, text: &str, signatures: &str) -> Result<(), String> {
    let mut charters = Charters::load(ThisMachine::shared(), settings);
    let charter = charters.check(text, signatures)?;
    std::fs::create_dir_all(&settings.dir).map_err(|e| e.to_string())?;
    charters.install(charter, text, signatures).map_err(|e| format!("{e:#}"))
}

#[cfg(test)]
pub(super) mod tests;
