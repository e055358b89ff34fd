//! Cases, as people ask for them over the control socket: each step judged, put on record, and then taken.

use super::{Kept, Sealed};
use crate::control::log::Log;
use glassgate_policy::audit::{AuditSink, Now, Record};
use glassgate_policy::case::{CaseRecord, Denial, KeyChange};
use glassgate_policy::charter::Charter;
use glassgate_sealed::case::{Asked as Scope, Brief, Circumstances, Denied, Statement, Step, Summary, Taken};
use glassgate_sealed::keys::Listed;
use glassgate_sealed::on_record::{self, NotTaken, Submitted};
use glassgate_sealed::view::Look;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use tokio::sync::oneshot;
use tracing::{info, warn};

/// Denials that have a record of their own in an hour; of more the number is told with the next.
const MOST_DENIALS: u64 = 120;
const HOUR_NS: u64 = 3_600_000_000_000;

/// What is asked about cases.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CaseAsk {
    /// Write a request.
    Draft(Scope),
    /// What a holder needs to say something about a case.
    Brief(String),
    /// What a holder says.
    Submit(Statement),
    /// All cases.
    List,
    /// All keys.
    Keys,
    /// What was looked at of a subject who has the code of it.
    LookedAt { subject: String, code: String },
    /// The wall clock is right: what is over by it is to be destroyed.
    ClockIsRight,
}

/// What is answered.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CaseAnswer {
    Brief(Brief),
    /// The case, and how it is now.
    Step(String, Step),
    /// The subject was told.
    Told(String),
    /// What is shown, sealed to who looks.
    Shown(String),
    Cases(Vec<Summary>),
    Keys(Vec<Listed>),
    Destroyed(Vec<String>),
}

/// An answer, or why there is none.
pub(crate) type Answer = oneshot::Sender<Result<CaseAnswer, String>>;

/// What is asked, by whom, and where the answer goes.
pub(in crate::control) struct Asked<'a> {
    pub(in crate::control) ask: CaseAsk,
    pub(in crate::control) uid: Option<u32>,
    pub(in crate::control) answer: Answer,
    /// The charter in force.
    pub(in crate::control) charter: Option<&'a Charter>,
    /// Where the log lies.
    pub(in crate::control) folder: PathBuf,
}

/// How many steps were denied, lately.
#[derive(Debug, Default)]
pub(super) struct Denials {
    since_ns: u64,
    written: u64,
    untold: u64,
}

impl Denials {
    /// Whether a record is due for one more, and for how many others it speaks.
    fn one(&mut self, now: &Now) -> Option<u64> {
        if now.mono_ns.saturating_sub(self.since_ns) >= HOUR_NS {
            (self.since_ns, self.written) = (now.mono_ns, 0);
        }
        if self.written >= MOST_DENIALS {
            self.untold += 1;
            return None;
        }
        self.written += 1;
        Some(std::mem::take(&mut self.untold))
    }
}

impl Sealed {
    /// Answers. What is to be shown is read from the log by a thread of its own, which then answers.
    pub(in crate::control) fn asked(&mut self, asked: Asked<'_>, now: &Now, log: &mut Log) {
        let Asked { ask, uid, answer, charter, folder } = asked;
        let gateway = log.origin().to_owned();
        let circumstances = Circumstances { charter, now, gateway: &gateway };
        let outcome = match ask {
            CaseAsk::Submit(said) => match self.submit(&said, circumstances, log) {
                Ok((_, Taken::Shown(look))) => return self.show(*look, &folder, answer),
                Ok((case, Taken::Done(step))) => Ok(CaseAnswer::Step(case, step)),
                Ok((case, Taken::Told)) => Ok(CaseAnswer::Told(case)),
                Err(denied) => Err(denied),
            },
            CaseAsk::ClockIsRight => {
                let due = self.kept.as_ref().map(|kept| kept.keys.due_by_the_clock(now)).unwrap_or_default();
                warn!("somebody says that the clock is right: {} keys are over by it", due.len());
                Ok(CaseAnswer::Destroyed(self.destroy(due, KeyChange::ClockConfirmed, uid, now, log)))
            }
            ask => self.look_up(ask, circumstances),
        };
        let outcome = outcome.map_err(|denied| {
            self.record_denied(&denied, now, log);
            denied.to_string()
        });
        // Whoever asked may have gone.
        _ = answer.send(outcome);
    }

    /// Goes through the log beside the slow path: it may take seconds.
    fn show(&self, look: Look, folder: &Path, answer: Answer) {
        // Whoever asked may have gone: the case is used all the same.
        let tell = Box::new(|shown: Result<String, String>| _ = answer.send(shown.map(CaseAnswer::Shown)));
        if let Err(e) = self.machine.show(look, folder, tell) {
            warn!("a case can't be shown: {e}");
        }
    }

    fn look_up(&mut self, ask: CaseAsk, circumstances: Circumstances<'_>) -> Result<CaseAnswer, Denied> {
        let Some(Kept { keys, book }) = &mut self.kept else {
            // No record of a question that is nobody's to deny.
            let is_look = matches!(ask, CaseAsk::LookedAt { .. });
            return if is_look { Ok(CaseAnswer::Cases(Vec::new())) } else { Err(not_kept()) };
        };
        match ask {
            CaseAsk::LookedAt { subject, code } => {
                Ok(CaseAnswer::Cases(book.looked_at(&subject, &code).into_iter().collect()))
            }
            CaseAsk::Draft(scope) => book.draft(&scope, keys, circumstances).map(CaseAnswer::Brief),
            CaseAsk::Brief(case) => book.brief(&case, keys, circumstances).map(CaseAnswer::Brief),
            CaseAsk::Keys => Ok(CaseAnswer::Keys(keys.list(circumstances.now))),
            _ => Ok(CaseAnswer::Cases(book.list())),
        }
    }

    /// Judged, on record, taken.
    fn submit(
        &mut self,
        said: &Statement,
        circumstances: Circumstances<'_>,
        log: &mut dyn AuditSink,
    ) -> Result<(String, Taken), Denied> {
        let Some(Kept { keys, book }) = &mut self.kept else { return Err(not_kept()) };
        let NotTaken { denied, log } = match on_record::submit(said, keys, book, circumstances, log) {
            Ok(Submitted { case, act, role, taken }) => {
                info!("case {case}: {act} by {role}");
                return Ok((case, taken));
            }
            Err(not) => not,
        };
        if let Some(why) = log {
            let case = &denied.case;
            warn!("case {case}: nothing is done, since the audit log does not take the record of it: {why}");
        }
        Err(denied)
    }

    fn record_denied(&mut self, denied: &Denied, now: &Now, log: &mut dyn AuditSink) {
        let Denied { case, role, why } = denied;
        warn!("a case is denied: {denied}");
        let Some(others) = self.denied.one(now) else { return };
        let known = self.kept.as_ref().and_then(|kept| kept.book.about(case));
        let record = match &known {
            Some(known) => known.record(*role, Some(*why), others),
            None => CaseRecord {
                case,
                role: role.map(glassgate_policy::audit::Word),
                about: None,
                why: Some(glassgate_policy::audit::Word(*why)),
                others,
            },
        };
        log.append(now, &Record::CaseDenied(record));
    }

    /// Ends cases whose time is over.
    pub(super) fn end_cases(&mut self, now: &Now, log: &mut dyn AuditSink) {
        let Some(kept) = &mut self.kept else { return };
        let ended = kept.book.sweep(now);
        expired(kept, ended, now, log);
    }

    /// Cases that are open are forgotten when the gateway stops.
    pub(super) fn void_cases(&mut self, now: &Now, log: &mut dyn AuditSink) {
        let Some(kept) = &mut self.kept else { return };
        let pending = kept.book.pending();
        expired(kept, pending, now, log);
    }
}

fn expired(kept: &Kept, cases: Vec<String>, now: &Now, log: &mut dyn AuditSink) {
    for known in cases.iter().filter_map(|case| kept.book.about(case)) {
        log.append(now, &Record::CaseExpired(known.record(None, None, 0)));
    }
}

fn not_kept() -> Denied {
    Denied { case: String::new(), role: None, why: Denial::NotKept }
}
