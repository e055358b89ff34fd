//! What is done only once it is on record: steps of cases, and the destruction of keys.

use std::io;

use glassgate_policy::audit::{AuditSink, Now, Record, Word};
use glassgate_policy::case::{CaseAct, Denial, KeyChange};
use glassgate_policy::charter::Role;
use jiff::tz::TimeZone;

use crate::case::{Book, Circumstances, Denied, Statement, Taken};
use crate::keys::{KeyId, Keys};

/// A step that was taken.
#[derive(Debug)]
pub struct Submitted {
    /// Of which case.
    pub case: String,
    /// What was done.
    pub act: CaseAct,
    /// By whom.
    pub role: Role,
    /// What came of it.
    pub taken: Taken,
}

/// A step that was not taken.
#[derive(Debug)]
pub struct NotTaken {
    /// What there is to say about it.
    pub denied: Denied,
    /// Why the log did not take the record of it, if that is why.
    pub log: Option<io::Error>,
}

impl From<Denied> for NotTaken {
    fn from(denied: Denied) -> Self {
        Self { denied, log: None }
    }
}

/// Takes a step of a case: judged, durable in the log, and then taken. Where the log does not take the record, nothing is done.
pub fn submit(
    said: &Statement,
    keys: &Keys,
    book: &mut Book,
    circumstances: Circumstances<'_>,
    log: &mut dyn AuditSink,
) -> Result<Submitted, NotTaken> {
    let judged = book.judge(said, keys, circumstances)?;
    let (case, role, act) = (judged.case().to_owned(), judged.role(), judged.act());
    let denied = Denied { case: case.clone(), role: Some(role), why: Denial::NotKept };
    let Some(known) = book.about(&case) else { return Err(denied.into()) };
    let record = known.record(Some(role), None, 0);
    let record = match act {
        CaseAct::Open => Record::CaseOpened(record),
        CaseAct::Approve => Record::CaseApproved(record),
        CaseAct::Refuse => Record::CaseRefused(record),
        CaseAct::Show => Record::CaseShown(record),
        CaseAct::Close => Record::CaseClosed(record),
        CaseAct::Tell => Record::CaseTold(record),
    };
    if let Err(why) = log.act(circumstances.now, &record) {
        return Err(NotTaken { denied, log: Some(why) });
    }
    let zone = circumstances.charter.map_or(TimeZone::UTC, |charter| charter.file().zone.clone());
    let taken = book.take(judged, keys, &zone)?;
    Ok(Submitted { case, act, role, taken })
}

/// Destroys a key, after its record. That is not waited for: a log that takes none must not keep what is to be destroyed.
pub fn destroy(
    keys: &mut Keys,
    id: KeyId,
    (change, uid): (KeyChange, Option<u32>),
    now: &Now,
    log: &mut dyn AuditSink,
) -> io::Result<()> {
    let name = id.to_string();
    log.append(now, &Record::SealedKey { change: Word(change), key: &name, charter: None, uid });
    keys.destroy(id)
}
