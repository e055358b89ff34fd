//! Under which charter, when and of whom: what `explain` and `replay --diff` can be asked about.

use crate::charter;
use crate::cli::charter::Under;
use crate::clock;
use crate::exit::{Ended, Exit};
use anyhow::Result;
use glassgate_policy::calendar::State;
use glassgate_policy::charter::{Charter, CharterFile, Group, Installed, why, without_charter};
use glassgate_policy::explain::Recording;
use glassgate_policy::rules::{Declared, Moment};
use glassgate_policy::{Category, GroupId, ObservationLevel};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::collections::BTreeSet;

/// What the options say.
#[derive(Debug)]
pub(crate) struct Terms {
    /// The charter, if one is asked about; none inside where its signatures are not good.
    charter: Option<Option<Box<Charter>>>,
    at: Timestamp,
    group: Option<Group>,
    /// The row of that group.
    pub(crate) row: GroupId,
    /// What rules may name.
    pub(crate) declared: Declared,
    /// When it is.
    pub(crate) moment: Moment,
}

impl Terms {
    /// Reads the charter that the options name. One whose signatures are not good is not in force, and standard error says so.
    pub(crate) fn read(under: &Under) -> Result<Self> {
        let at = under.at.unwrap_or_else(Timestamp::now);
        let mut terms = Self {
            charter: None,
            at,
            group: None,
            row: GroupId(0),
            declared: Declared::default(),
            moment: Moment::day(Some(under.at.map_or_else(clock::shown_day, |at| {
                // Rules count their days in UTC, as the gateway does.
                at.to_zoned(TimeZone::UTC).date()
            }))),
        };
        if let Some(path) = &under.charter {
            let (file, charter) =
                charter::load(path).map_err(|faults| Ended::new(Exit::Invalid, faults.to_string()))?;
            terms.declare(&file);
            let charter = charter.map(Box::new);
            if let Err(faults) = &charter {
                eprintln!("{} is not in force\n{faults}\n", path.display());
            }
            terms.charter = Some(charter.ok());
        }
        terms.of_group(under)?;
        Ok(terms)
    }

    /// Groups and calendars that a charter gives a meaning to.
    fn declare(&mut self, file: &CharterFile) {
        let groups: BTreeSet<&String> =
            file.purposes.iter().flat_map(|purpose| &purpose.groups).chain(&file.exempt).collect();
        let rows = groups.into_iter().cloned().zip(1..);
        self.declared.groups = rows.map(|(name, row)| (name, GroupId(row))).collect();
        for calendar in &file.calendars {
            self.declared.calendars.insert(calendar.name().to_owned());
            let state = calendar.decide(self.at).state;
            if state != State::Undecided {
                self.moment.calendars.insert(calendar.name().to_owned(), state == State::Open);
            }
        }
    }

    fn of_group(&mut self, under: &Under) -> Result<(), Ended> {
        let Some(name) = &under.group else { return Ok(()) };
        let Some(row) = self.declared.groups.get(name) else {
            let known: Vec<&str> = self.declared.groups.keys().map(String::as_str).collect();
            let known = if known.is_empty() {
                "there are none without a charter (--charter FILE)".to_owned()
            } else {
                known.join(", ")
            };
            let why = format!("nothing says who is in group `{name}`; known groups: {known}");
            return Err(Ended::new(Exit::Usage, why));
        };
        self.row = *row;
        self.group = Some(Group { name: name.clone(), members: under.members.unwrap_or(u32::MAX) });
        Ok(())
    }

    /// Whether a charter is asked about.
    pub(crate) fn asks_charter(&self) -> bool {
        self.charter.is_some()
    }

    /// What says how much may be written.
    pub(crate) fn recording(&self) -> Recording<'_> {
        match self.installed() {
            None => Recording::WithoutCharter,
            Some(installed) => Recording::Under {
                installed,
                at: Some(self.at),
                group: self.group.as_ref(),
                without: ObservationLevel::Aggregate,
            },
        }
    }

    /// The gates of the charter for a category; none where no charter is asked about.
    pub(crate) fn gates(&self, category: Category) -> Vec<why::Gate> {
        let Some(installed) = self.installed() else { return Vec::new() };
        why::gates(installed, Some(self.at), self.group.as_ref(), category, without_charter(category))
    }

    /// The most that may be written about a category.
    pub(crate) fn level(&self, category: Category) -> ObservationLevel {
        let least = self.gates(category).into_iter().map(|gate| gate.lets).min();
        least.unwrap_or(without_charter(category)).min(if category.is_protected() {
            ObservationLevel::None
        } else {
            ObservationLevel::Sealed
        })
    }

    fn installed(&self) -> Option<Installed<'_>> {
        let charter = self.charter.as_ref()?;
        Some(charter.as_deref().map_or(Installed::NotValid, Installed::Charter))
    }
}
