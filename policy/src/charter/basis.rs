//! What a lawful basis carries: the most that may be written for each purpose, and where that comes from.
//!
//! The table is not legal advice. It says where this project has drawn the line, and names the text that the line rests
//! on, so that somebody who knows the law can check it; a charter can only stay below it. `docs/charter.md` shows it whole,
//! and a test holds the two together.

use crate::category::Category;
use crate::vocab::{ObservationLevel, Purpose, coded};

coded! {
    /// Why observing may be lawful.
    pub enum Basis {
        /// Every person concerned has agreed, and can take it back.
        Consent = 1 => "consent",
        /// It is necessary for a contract with the person.
        Contract = 2 => "contract",
        /// Rules of labour, made by the procedure that the law asks for and made known.
        LabourRules = 3 => "labour_rules",
        /// An agreement with the representatives of the staff.
        CollectiveAgreement = 4 => "collective_agreement",
        /// A law demands it.
        LegalDuty = 5 => "legal_duty",
    }
}

/// What a basis carries for a purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carries {
    /// The highest level.
    pub level: ObservationLevel,
    /// Why not more, or why this much.
    pub why: &'static str,
    /// The text it rests on.
    pub source: &'static str,
}

const IMBALANCE: &str = "GDPR art. 7(3)-(4) and recital 43; PIPL art. 14-16";
const PERFORMANCE: &str = "GDPR art. 6(1)(b) and 5(1)(c); PIPL art. 13 no. 2 and art. 6";
const RULES: &str = "PIPL art. 13 no. 2; Labour Contract Law of the PRC art. 4; ECtHR [GC] Barbulescu v. Romania, no. 61496/08, 121";
const AGREEMENT: &str =
    "GDPR art. 88 and recital 155; CJEU C-65/23; PIPL art. 13 no. 2; Labour Contract Law of the PRC art. 51";
const MINIMAL: &str = "GDPR art. 5(1)(c); PIPL art. 6";
const DUTY: &str = "GDPR art. 6(1)(c) and 32; PIPL art. 13 no. 3 and art. 51";
const NO_DUTY: &str = "GDPR art. 6(3); PIPL art. 13 no. 3";

/// The most that `basis` carries for `purpose`.
pub const fn carries(basis: Basis, purpose: Purpose) -> Carries {
    use Basis as B;
    use ObservationLevel::{Aggregate, None, Sealed};
    use Purpose as P;
    let (level, why, source) = match (basis, purpose) {
        (B::Consent, _) => (
            Aggregate,
            "consent to an employer is rarely free, and one person's withdrawal can't be told from a group's flows",
            IMBALANCE,
        ),
        (B::Contract, P::Recruitment) => (
            None,
            "whether somebody looks for another job is not necessary for the contract that they have",
            PERFORMANCE,
        ),
        (B::Contract, _) => (
            Aggregate,
            "no contract of employment needs records of single sessions to be performed",
            PERFORMANCE,
        ),
        (_, P::Bandwidth) if !matches!(basis, B::LegalDuty) => {
            (Aggregate, "capacity is planned from counts: no person is needed for it", MINIMAL)
        }
        (B::LabourRules, P::Recruitment) => (
            Aggregate,
            "an intention to leave is not necessary for the management of staff; trends of groups are the most",
            RULES,
        ),
        (B::LabourRules, P::Conduct) => {
            (Aggregate, "less intrusive means come first: counts, announced beforehand", RULES)
        }
        (B::LabourRules, _) => {
            (Sealed, "rules that staff were told of may protect systems and secrets", RULES)
        }
        (B::CollectiveAgreement, _) => {
            (Sealed, "the representatives of the staff have agreed to it in writing", AGREEMENT)
        }
        (B::LegalDuty, P::Security | P::Leak) => {
            (Sealed, "the law demands that systems and the data on them are protected", DUTY)
        }
        (B::LegalDuty, _) => {
            (None, "a duty must stand in a law, and none is known that asks for this", NO_DUTY)
        }
    };
    Carries { level, why, source }
}

/// Whether `purpose` has anything to do with `category`: data collected for one purpose is not used for another
/// (GDPR art. 5(1)(b), PIPL art. 6).
pub const fn is_for(purpose: Purpose, category: Category) -> bool {
    use Category as C;
    if category.is_protected() {
        return false;
    }
    match purpose {
        Purpose::Security => matches!(category, C::Malware | C::Phishing | C::Tunnel),
        // What people look for is not a matter of capacity.
        Purpose::Bandwidth => {
            !matches!(category, C::Recruitment | C::RecruitmentAts | C::Malware | C::Phishing)
        }
        Purpose::Conduct => matches!(
            category,
            C::ShortVideo
                | C::Video
                | C::Music
                | C::Shopping
                | C::FoodDelivery
                | C::Games
                | C::Social
                | C::Messaging
                | C::News
        ),
        Purpose::Recruitment => matches!(category, C::Recruitment | C::RecruitmentAts),
        Purpose::Leak => matches!(category, C::CloudStorage | C::FileTransfer),
    }
}

/// The most that may be written about `category` for `purpose` on `basis`.
pub const fn most(basis: Basis, purpose: Purpose, category: Category) -> ObservationLevel {
    if is_for(purpose, category) { carries(basis, purpose).level } else { ObservationLevel::None }
}
