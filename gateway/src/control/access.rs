//! Who comes to the page, on record.
//!
//! Logins and changes of accounts are acts: durable before they take effect. Refusals are taken as they come, the first [`ONE_BY_ONE`] of
//! an hour each with its record; further ones are added up and told at the end of the hour, so that nobody fills the log by guessing.

use crate::access::Act;
use glassgate_policy::access::{
    AccountLine, AccountsFound, CameFrom, Denied, Login, LoginFailed, LoginRefusal, Logout,
};
use glassgate_policy::audit::{AuditSink, Hex, Now, Record, Window, Word};
use std::collections::BTreeMap;

/// Refusals of an hour that have a record each.
const ONE_BY_ONE: u64 = 60;
/// Sums of an hour; what is of others is added to that of no account.
const SUMS: usize = 64;
const HOUR_NS: u64 = 3_600_000_000_000;

/// What is added up.
type Sum = (Option<String>, CameFrom, Option<LoginRefusal>);

/// What was refused in this hour.
#[derive(Default)]
pub(super) struct Visits {
    began: Option<Now>,
    told: u64,
    /// Refused logins since the process began.
    failed: u64,
    sums: BTreeMap<Sum, u64>,
}

impl Visits {
    /// Puts an act on record. On an error it must not be done.
    pub(super) fn take(&mut self, act: &Act, now: &Now, log: &mut dyn AuditSink) -> Result<(), String> {
        match act {
            Act::Login { account, role, side, code } => {
                let login = Login { account, role: role.as_str(), side: Word(*side), code: *code };
                log.act(now, &Record::Login(login)).map_err(|e| e.to_string())
            }
            Act::Logout { account, role, cause } => {
                let logout = Logout { account, role: role.as_str(), cause: Word(*cause) };
                log.act(now, &Record::Logout(logout)).map_err(|e| e.to_string())
            }
            Act::Account { change, account, role, side, uid } => {
                let (change, side, uid) = (Word(*change), Word(*side), *uid);
                let line = AccountLine { change, account, role: role.as_str(), side, uid };
                log.act(now, &Record::Account(line)).map_err(|e| e.to_string())
            }
            Act::Found { accounts, sha256 } => {
                let found = AccountsFound { accounts: *accounts, sha256: Hex(sha256) };
                log.append(now, &Record::Accounts(found));
                Ok(())
            }
            Act::Failed { account, side, reason, count } => {
                self.failed = self.failed.saturating_add(*count);
                if self.is_told(now) {
                    failed(account.as_deref(), *side, *reason, *count, None, now, log);
                } else {
                    self.add((account.clone(), *side, Some(*reason)), *count);
                }
                Ok(())
            }
            Act::Denied { account, side, endpoint, count } => {
                let name = account.as_ref().map(|(name, _)| name.as_str());
                if self.is_told(now) {
                    let role = account.as_ref().map(|(_, role)| role.as_str());
                    let (side, endpoint) = (Word(*side), Some(*endpoint));
                    let denied = Denied { account: name, role, side, endpoint, count: *count, window: None };
                    log.append(now, &Record::AccessDenied(denied));
                } else {
                    self.add((name.map(str::to_owned), *side, None), *count);
                }
                Ok(())
            }
        }
    }

    /// Refused logins since the process began, of whomever.
    pub(super) fn failed(&self) -> u64 {
        self.failed
    }

    /// Tells the sums of an hour that is over.
    pub(super) fn tick(&mut self, now: &Now, log: &mut dyn AuditSink) {
        if self.began.is_some_and(|began| now.mono_ns.saturating_sub(began.mono_ns) >= HOUR_NS) {
            self.end(now, log);
        }
    }

    /// Tells the sums.
    pub(super) fn end(&mut self, now: &Now, log: &mut dyn AuditSink) {
        let Some(began) = self.began.take() else { return };
        self.told = 0;
        let window = Window {
            start: began.wall,
            end: now.wall,
            start_mono_ns: began.mono_ns,
            end_mono_ns: now.mono_ns,
            complete: now.mono_ns.saturating_sub(began.mono_ns) >= HOUR_NS,
        };
        for ((account, side, reason), count) in std::mem::take(&mut self.sums) {
            let account = account.as_deref();
            match reason {
                Some(reason) => failed(account, side, reason, count, Some(window), now, log),
                None => {
                    let (side, window) = (Word(side), Some(window));
                    let denied = Denied { account, role: None, side, endpoint: None, count, window };
                    log.append(now, &Record::AccessDenied(denied));
                }
            }
        }
    }

    fn is_told(&mut self, now: &Now) -> bool {
        self.began.get_or_insert(*now);
        self.told += 1;
        self.told <= ONE_BY_ONE
    }

    fn add(&mut self, sum: Sum, count: u64) {
        let has_room = self.sums.len() < SUMS || self.sums.contains_key(&sum);
        // There are a dozen sums without an account, so these find room always.
        let sum = if has_room { sum } else { (None, sum.1, sum.2) };
        *self.sums.entry(sum).or_insert(0) += count;
    }
}

fn failed(
    account: Option<&str>,
    side: CameFrom,
    reason: LoginRefusal,
    count: u64,
    window: Option<Window>,
    now: &Now,
    log: &mut dyn AuditSink,
) {
    let failed = LoginFailed { account, side: Word(side), reason: Word(reason), count, window };
    log.append(now, &Record::LoginFailed(failed));
}

#[cfg(test)]
mod tests {
    use super::*;
    use glassgate_policy::audit::{BootId, MemoryLog, WallQuality};

    fn at(s: u64) -> Now {
        Now { mono_ns: s * 1_000_000_000, wall: None, quality: WallQuality::Unknown }
    }

    #[test]
    fn a_day_of_guessing_is_a_few_records_an_hour_and_none_is_missing() {
        let (mut visits, mut log) = (Visits::default(), MemoryLog::new(BootId(1)));
        let mut sent = 0;
        for second in 0..7200 {
            for n in 0..10 {
                let account = (n % 2 == 0).then(|| format!("n{}", second % 100));
                let act = Act::Failed {
                    account,
                    side: CameFrom::Management,
                    reason: LoginRefusal::TooMany,
                    count: 1,
                };
                visits.take(&act, &at(second), &mut log).unwrap();
                sent += 1;
            }
            visits.tick(&at(second), &mut log);
        }
        visits.end(&at(7200), &mut log);
        let told: u64 = log
            .lines
            .iter()
            .map(|line| {
                let record: serde_json::Value = serde_json::from_str(line).unwrap();
                assert_eq!(record["event_type"], "login_failed");
                record["count"].as_u64().unwrap()
            })
            .sum();
        assert_eq!(told, sent);
        assert!(log.lines.len() <= 3 * (ONE_BY_ONE as usize + SUMS + 12), "{}", log.lines.len());
    }
}
