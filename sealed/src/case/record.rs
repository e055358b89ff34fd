//! What the audit log says of a case.

use glassgate_policy::audit::{Hex, OnRecord, Word};
use glassgate_policy::case::{About, CaseReason, CaseRecord, Denial};
use glassgate_policy::charter::Role;
use glassgate_policy::{Category, Purpose};
use jiff::Timestamp;
use jiff::civil::Date;

use super::Request;
use crate::digest;
use crate::holder::commitment_to;

/// What a record says of a case, with what it borrows.
#[derive(Clone, Debug)]
pub struct Known {
    case: String,
    purpose: Purpose,
    categories: Vec<OnRecord>,
    days: [Date; 2],
    reason: CaseReason,
    expires: Timestamp,
    commitment: [u8; 32],
    request: [u8; 32],
}

impl Known {
    pub(super) fn of(request: &Request, text: &str) -> Option<Self> {
        let categories = request.categories.iter().filter_map(|word| Category::from_word(word));
        Some(Self {
            case: request.case.clone(),
            purpose: Purpose::from_word(&request.purpose)?,
            categories: categories.filter_map(OnRecord::new).collect(),
            days: [request.from, request.to],
            reason: CaseReason::from_word(&request.reason)?,
            expires: request.expires,
            commitment: commitment_to(&request.salt, &request.subject),
            request: digest("glassgate-case-v1 request", &[text.as_bytes()]),
        })
    }

    /// The record of a step.
    pub fn record(&self, role: Option<Role>, why: Option<Denial>, others: u64) -> CaseRecord<'_> {
        let about = About {
            purpose: Word(self.purpose),
            categories: self.categories.clone(),
            days: self.days,
            reason: Word(self.reason),
            expires: self.expires,
            subject_commitment: Hex(&self.commitment),
            request: Hex(&self.request),
        };
        let (role, why) = (role.map(Word), why.map(Word));
        CaseRecord { case: &self.case, role, about: Some(about), why, others }
    }
}
