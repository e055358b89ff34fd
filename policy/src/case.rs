//! Cases: the words and records of how sealed records are opened.
//!
//! A case is about one person, one purpose, named categories and named days. One holder of shares opens it, another approves
//! it, and one of the two looks, once. What they say is signed by them; each step is on record before it is done, and so is each
//! that was refused. No record names the person: it commits to them, so that whoever is told which case was about them can check it.

use jiff::Timestamp;
use jiff::civil::Date;
use serde::Serialize;

use crate::audit::{Hex, OnRecord, Word};
use crate::charter::Role;
use crate::vocab::{Purpose, coded};

/// The longest that a case may be open, in days.
pub const MAX_VALID_DAYS: u8 = 7;
/// The most days that a case may be about.
pub const MAX_SPAN_DAYS: i32 = 31;

coded! {
    /// What a holder says about a case.
    pub enum CaseAct {
        /// It shall be looked at.
        Open = 1 => "open",
        /// Somebody else says so too.
        Approve = 2 => "approve",
        /// It shall not be.
        Refuse = 3 => "refuse",
        /// Shows it, once.
        Show = 4 => "show",
        /// Nobody needs it any more.
        Close = 5 => "close",
        /// The subject was told.
        Tell = 6 => "tell",
    }
}

coded! {
    /// Why a case is opened.
    pub enum CaseReason {
        /// Data may have been carried out.
        SuspectedLeak = 1 => "suspected_leak",
        /// Something happened to systems.
        SecurityIncident = 2 => "security_incident",
        /// Somebody complained.
        Complaint = 3 => "complaint",
        /// A claim is to be established or defended.
        LegalClaim = 4 => "legal_claim",
        /// The subject asks what is there: GDPR art. 15, PIPL art. 45.
        AccessRequest = 5 => "access_request",
    }
}

coded! {
    /// Why a step of a case is denied.
    pub enum Denial {
        /// No charter is in force that says who may open sealed records.
        NoCharter = 1 => "no_charter",
        /// Another charter is in force than the one that the case was opened under.
        OtherCharter = 2 => "other_charter",
        /// The charter has no sealed records for that purpose and category.
        NotCovered = 3 => "not_covered",
        /// Days that are not over, not in order, or too many.
        BadDays = 4 => "bad_days",
        /// An expiry that is longer than a week, or none.
        BadExpiry = 5 => "bad_expiry",
        /// No subject, or none that can be one.
        BadSubject = 6 => "bad_subject",
        /// There is no key of these days: nothing was sealed, or it is destroyed.
        NothingKept = 7 => "nothing_kept",
        /// As many cases are open as may be.
        TooMany = 8 => "too_many",
        /// There is no such case, or not any more.
        UnknownCase = 9 => "unknown_case",
        /// It is over.
        Expired = 10 => "expired",
        /// Whoever signed holds no shares under the charter.
        NotAHolder = 11 => "not_a_holder",
        /// The signature is not good for this case and this step.
        BadSignature = 12 => "bad_signature",
        /// Whoever opened a case can't approve it.
        SameRole = 13 => "same_role",
        /// Only those look, or close, who opened and approved.
        NotInvolved = 14 => "not_involved",
        /// The case is not at that step.
        WrongStep = 15 => "wrong_step",
        /// It was looked at already.
        Used = 16 => "used",
        /// The shares are missing, or of other keys, or not good.
        BadShares = 17 => "bad_shares",
        /// What was said means nothing.
        NotUnderstood = 18 => "not_understood",
        /// The log or the disk does not take it.
        NotKept = 19 => "not_kept",
    }
}

/// What the record of a step says.
#[derive(Clone, Debug, Serialize)]
pub struct CaseRecord<'a> {
    /// The case.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub case: &'a str,
    /// Who acts, where somebody does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Word<Role>>,
    /// What it is about, where the case is known.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub about: Option<About<'a>>,
    /// Why it is denied, where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<Word<Denial>>,
    /// Steps that were denied before this one, and of which there is no record of their own.
    #[serde(skip_serializing_if = "is_zero")]
    pub others: u64,
}

/// What a case is about.
#[derive(Clone, Debug, Serialize)]
pub struct About<'a> {
    /// The purpose that its records were sealed for.
    pub purpose: Word<Purpose>,
    /// Its categories.
    pub categories: Vec<OnRecord>,
    /// Its first and its last day.
    pub days: [Date; 2],
    /// Why.
    pub reason: Word<CaseReason>,
    /// When it is over at the latest.
    pub expires: Timestamp,
    /// SHA-256 over a salt and the subject. Who is told the salt can check whom the case was about.
    pub subject_commitment: Hex<'a>,
    /// SHA-256 of the request that was signed.
    pub request: Hex<'a>,
}

/// A session, as it stands in the log.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct SessionLine<'a> {
    /// The key that opens it.
    pub key: &'a str,
    /// Whose it is, to who has the key.
    pub pseudonym: &'a str,
    /// What was done, in Base64.
    pub sealed: &'a str,
}

coded! {
    /// What became of a key of sealed records.
    pub enum KeyChange {
        /// It is made: sealing begins.
        Made = 1 => "made",
        /// It is destroyed since it was kept for long enough: what it sealed can't be opened any more.
        RetentionOver = 2 => "retention_over",
        /// Likewise, since somebody says that the wall clock is right.
        ClockConfirmed = 3 => "clock_confirmed",
    }
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}
