//! What a signature may say: which names belong to which service, and how we know.
//!
//! A signature is a fact with its provenance: a name, what it belongs to, who says so under which licence, since
//! when and until when. Facts only; a list whose licence forbids it is never a source.

use jiff::civil::Date;

use crate::category::Category;
use crate::vocab::coded;

coded! {
    /// Which names an entry covers.
    pub enum Scope {
        /// The name itself only.
        Exact = 0 => "exact",
        /// The name and everything below it, on label boundaries: `a.b` covers `a.b` and `x.a.b`, not `xa.b`.
        Suffix = 1 => "suffix",
    }
}

coded! {
    /// What the name is for within its service.
    pub enum Role {
        /// Pages and pictures.
        Site = 0 => "site",
        /// Calls of apps and pages.
        Api = 1 => "api",
        /// Where files are sent to.
        Upload = 2 => "upload",
        /// An employer's applicant tracking system or career portal.
        Ats = 3 => "ats",
        /// The recruiter's side.
        Recruiter = 4 => "recruiter",
    }
}

coded! {
    /// How sure the entry is.
    pub enum Tier {
        /// The name belongs to the service and to nothing else.
        Strong = 0 => "strong",
        /// Often right, also stands for other things; left out unless asked for.
        Weak = 1 => "weak",
        /// To be tried: compiled only into tables that count and never act.
        Candidate = 2 => "candidate",
    }
}

/// All that a signature says besides its name. Many names of a list share one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Meta {
    /// Key of the service, see [`is_service_key`].
    pub service: String,
    /// Its category, the same for all names of a service.
    pub category: Category,
    /// What the names are for.
    pub role: Role,
    /// How sure.
    pub tier: Tier,
    /// Who says so: a file of a public repository, a document, `maintainers`.
    pub source: String,
    /// SPDX identifier of the licence that the entry is given under.
    pub licence: String,
    /// When it was added here.
    pub added: Date,
    /// The last day on which it counts.
    pub expires: Option<Date>,
    /// What a reader should know.
    pub note: String,
}

/// A service, declared once: names refer to it by its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The key used in rules, records and metrics.
    pub key: String,
    /// What it is for. A service has one category: the recruiter's side of a job site is another service.
    pub category: Category,
    /// What people call it, in its own languages.
    pub title: String,
    /// Where it is used: country codes, or areas such as `EU` and `world`, joined by `/`.
    pub region: String,
}

/// The longest key of a service.
pub const MAX_SERVICE_KEY: usize = 48;

/// Whether a word can be the key of a service: lower-case letters, digits and hyphens, 1–48 of them, not starting or
/// ending with a hyphen.
pub fn is_service_key(word: &str) -> bool {
    !word.is_empty()
        && word.len() <= MAX_SERVICE_KEY
        && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !word.starts_with('-')
        && !word.ends_with('-')
}

/// Reads a date written as `YYYY-MM-DD`, and nothing else.
pub fn parse_date(text: &str) -> Option<Date> {
    let shape = text.len() == 10
        && text
            .bytes()
            .enumerate()
            .all(|(i, b)| if i == 4 || i == 7 { b == b'-' } else { b.is_ascii_digit() });
    if shape { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_have_one_form() {
        assert_eq!(parse_date("2026-02-28").unwrap().to_string(), "2026-02-28");
        for bad in ["2026-02-30", "20260228", "2026-2-8", "2026-02-28T00:00", "", "2026/02/28", "+026-02-28"]
        {
            assert_eq!(parse_date(bad), None, "{bad}");
        }
    }

    #[test]
    fn service_keys() {
        assert!(is_service_key("boss-zhipin") && is_service_key("51job"));
        for bad in ["", "-a", "a-", "A", "a_b", "智联", &"a".repeat(49)] {
            assert!(!is_service_key(bad), "{bad}");
        }
    }
}
