//! Two of three holders look at what one person did.

use super::World;
use crate::control::slow_path::simulation::fixture::{SERVICES, SUBJECTS};
use crate::control::{CaseAnswer, CaseAsk, Command};
use glassgate_policy::Purpose;
use glassgate_policy::case::CaseAct;
use glassgate_sealed::case::{Asked as Scope, Brief, Step};
use glassgate_sealed::holder::{read_view, sign};
use jiff::ToSpan as _;
use jiff::tz::TimeZone;

impl World {
    fn ask_case(&mut self, ask: CaseAsk) -> Result<CaseAnswer, String> {
        self.ask(|answer| Command::Case { ask, uid: Some(0), answer })
            .unwrap_or(Err("nobody is there".to_owned()))
    }

    fn say(&mut self, brief: &Brief, act: CaseAct, who: usize) -> Result<CaseAnswer, String> {
        let identity = &self.fixture.identities[who];
        let said = sign(brief, act, &self.fixture.signing[who], Some(identity)).unwrap();
        self.ask_case(CaseAsk::Submit(said))
    }

    /// From the request to the look, as far as it gets.
    pub(super) fn case(&mut self) {
        let Some(wall) = self.machine.clocks().now().trusted_wall() else { return };
        let today = wall.to_zoned(TimeZone::UTC).date();
        let subject = self.random.below(2) as usize;
        let purpose = if self.random.chance(500) { Purpose::Leak } else { Purpose::Conduct };
        let categories = SERVICES.iter().filter(|(.., of)| *of == purpose);
        let scope = Scope {
            subject: SUBJECTS[subject].to_owned(),
            purpose: purpose.to_string(),
            categories: categories.map(|(_, category, _)| category.to_string()).collect(),
            from: today.saturating_sub(3.days()),
            to: today,
            reason: "suspected_leak".to_owned(),
            valid_days: 2,
        };
        let Ok(CaseAnswer::Brief(brief)) = self.ask_case(CaseAsk::Draft(scope)) else {
            return self.tally.count("cases denied", 1);
        };
        let opened = self.say(&brief, CaseAct::Open, 0);
        if !matches!(opened, Ok(CaseAnswer::Step(_, Step::Open))) {
            return self.tally.count("cases denied", 1);
        }
        self.turn();
        if !matches!(self.say(&brief, CaseAct::Approve, 1), Ok(CaseAnswer::Step(_, Step::Approved))) {
            return self.tally.count("cases denied", 1);
        }
        match self.say(&brief, CaseAct::Show, 1) {
            Ok(CaseAnswer::Shown(sealed)) => {
                let view = read_view(&sealed, &self.fixture.identities[1]).unwrap();
                assert_eq!(view.subject, SUBJECTS[subject]);
                assert_eq!(view.spoilt, 0);
                self.tally.count("cases shown", 1);
                self.tally.count("sessions shown", view.sessions.len() as u64);
            }
            _ => self.tally.count("cases denied", 1),
        }
    }
}
