//! Who says that they read the notice: whether they may, what is kept, and what of it goes on record.
//!
//! A receipt is taken if the page that it names is what its device has to read now, who has the address is who it was shown to, and it came
//! from the hardware address that has been heard to have it. It is kept first, once a second for all who gave one, and counts then. The
//! audit log has how many an hour brought: a record of each would say when one person of a small group pressed a button.

use super::Receipts;
use crate::clock;
use crate::control::identity::Identity;
use glassgate_policy::audit::{AuditSink, Bucket, Hex, Now, ReadIn, ReceiptsCause, Record, Window, Word};
use glassgate_policy::charter::{Levels, ReceiptFor};
use glassgate_policy::identity::{Holder, IdentityEvent};
use glassgate_policy::{Category, GroupId, SubjectId};
use jiff::civil::Date;
use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use tracing::warn;

/// The most that wait to be kept. What comes beyond is lost, and its device is shown the notice again.
const MAX_WAITING: usize = 1 << 14;
/// How long to wait before receipts that could not be kept are tried again.
const RETRY_NS: u64 = 10_000_000_000;
const HOUR_NS: u64 = 3_600_000_000_000;

/// Receipts as they come.
pub(in crate::control) struct Readers {
    receipts: Receipts,
    waiting: Vec<IdentityEvent>,
    not_before_ns: u64,
    hour: Hour,
    /// How many receipts there were when the last hour was over: the number of this moment would tell who presses a button now.
    shown: usize,
    swept: Option<Date>,
}

/// What this hour brought.
struct Hour {
    began: Now,
    given: u64,
    removed: u64,
    groups: BTreeMap<String, (usize, HashSet<SubjectId>)>,
}

impl Hour {
    fn begin(now: &Now) -> Self {
        Self { began: *now, given: 0, removed: 0, groups: BTreeMap::new() }
    }
}

impl Readers {
    /// Reads the receipts of before, and puts on record what is found.
    pub(in crate::control) fn load(dir: &Path, now: &Now, log: &mut dyn AuditSink) -> Self {
        let receipts = Receipts::load(dir);
        let readers = Self {
            shown: receipts.len(),
            receipts,
            waiting: Vec::new(),
            not_before_ns: 0,
            hour: Hour::begin(now),
            swept: None,
        };
        if readers.receipts.file().0 > 0 {
            readers.record(ReceiptsCause::Found, now, log);
        }
        readers
    }

    /// The receipts.
    pub(in crate::control) fn receipts(&self) -> &Receipts {
        &self.receipts
    }

    /// How many receipts there were at the end of the last hour, or at start.
    pub(in crate::control) fn shown(&self) -> usize {
        self.shown
    }

    /// Somebody says that they have read the notice.
    pub(in crate::control) fn hear(&mut self, event: &IdentityEvent) {
        if self.waiting.len() < MAX_WAITING {
            self.waiting.push(*event);
        }
    }

    /// Takes what has come, if the disk does. Whether somebody counts now who did not before.
    pub(in crate::control) fn take(
        &mut self,
        identity: &Identity,
        levels: Option<&Levels>,
        now: &Now,
    ) -> bool {
        let Some(levels) = levels.filter(|_| !self.waiting.is_empty() && now.mono_ns >= self.not_before_ns)
        else {
            return false;
        };
        let holders = identity.holders(self.waiting.iter().map(|event| event.ip), now.mono_ns);
        let mut given: BTreeMap<String, Vec<ReceiptFor>> = BTreeMap::new();
        let mut by = Vec::new();
        for (event, holder) in self.waiting.iter().zip(holders) {
            let Some(holder) = holder.filter(|holder| is_from(event, holder)) else { continue };
            let Some((_, unread)) = levels.unread(holder.member.group) else { continue };
            if event.read.is_none_or(|read| read.page != unread.digest) {
                continue;
            }
            let device = holder.device.to_string();
            let missing = self.receipts.missing(&device, &unread.notices);
            if !missing.is_empty() {
                given.entry(device).or_insert_with(|| missing.into_iter().cloned().collect());
                by.push(holder.member);
            }
        }
        if given.is_empty() {
            self.waiting.clear();
            return false;
        }
        if let Err(e) = self.receipts.add(&given, &clock::wall_text_at(now)) {
            warn!("receipts are not taken yet: {e:#}");
            self.not_before_ns = now.mono_ns.saturating_add(RETRY_NS);
            return false;
        }
        self.waiting.clear();
        self.hour.given += given.values().map(|notices| notices.len() as u64).sum::<u64>();
        for member in by {
            let group = usize::from(member.group.0).checked_sub(1);
            let Some(group) = group.and_then(|at| identity.groups().get(at)) else { continue };
            let (k, subjects) = self.hour.groups.entry(group.name.clone()).or_default();
            *k = (*k).max(k_of(levels, member.group));
            subjects.insert(member.subject);
        }
        true
    }

    /// Lets time pass: forgets who left, once a day, and puts an hour on record that is over.
    pub(in crate::control) fn tick(&mut self, identity: &Identity, now: &Now, log: &mut dyn AuditSink) {
        let today = clock::today(now);
        if today.is_some() && today != self.swept {
            self.swept = today;
            self.sweep(identity, today);
        }
        if now.mono_ns.saturating_sub(self.hour.began.mono_ns) >= HOUR_NS {
            self.end_hour(now, log);
        }
    }

    /// Puts on record what is not yet.
    pub(in crate::control) fn end_hour(&mut self, now: &Now, log: &mut dyn AuditSink) {
        if self.hour.given + self.hour.removed > 0 {
            self.record(ReceiptsCause::Hour, now, log);
        }
        self.shown = self.receipts.len();
        self.hour = Hour::begin(now);
    }

    fn sweep(&mut self, identity: &Identity, today: Option<Date>) {
        let enrolled = identity.enrolled();
        // Without a directory, nobody has left it.
        let Some(today) = today.filter(|_| !enrolled.is_empty()) else { return };
        match self.receipts.sweep(&enrolled, today) {
            Ok(removed) => self.hour.removed += removed as u64,
            Err(e) => warn!("receipts of those who left stay until tomorrow: {e:#}"),
        }
    }

    fn record(&self, cause: ReceiptsCause, now: &Now, log: &mut dyn AuditSink) {
        let Hour { began, given, removed, groups } = &self.hour;
        let enough = groups.iter().filter(|(_, (k, subjects))| subjects.len() >= *k);
        let groups = enough.map(|(group, (k, subjects))| ReadIn {
            group: group.clone(),
            subjects: Bucket::of(subjects.len(), *k),
        });
        let window = Window {
            start: began.wall,
            end: now.wall,
            start_mono_ns: began.mono_ns,
            end_mono_ns: now.mono_ns,
            complete: now.mono_ns.saturating_sub(began.mono_ns) >= HOUR_NS,
        };
        let (bytes, sha256) = self.receipts.file();
        let record = Record::Receipts {
            cause: Word(cause),
            window: (cause == ReceiptsCause::Hour).then_some(window),
            given: *given,
            removed: *removed,
            groups: groups.collect(),
            kept: self.receipts.len() as u64,
            bytes,
            sha256: Hex(&sha256),
        };
        log.append(now, &record);
    }
}

/// Whether it comes from who the page was shown to, and who has the address now.
fn is_from(event: &IdentityEvent, holder: &Holder) -> bool {
    event.read.is_some_and(|read| read.subject == holder.member.subject)
        && holder.mac.is_none_or(|mac| mac == event.mac)
}

/// How many people of a group must stand behind what is told of it.
fn k_of(levels: &Levels, group: GroupId) -> usize {
    Category::ALL.iter().map(|category| levels.k(group, *category)).max().unwrap_or(u32::MAX) as usize
}

#[cfg(test)]
mod tests;
