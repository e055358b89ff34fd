//! Three holders who ask, approve, look, refuse and tell, in and out of turn.

use std::collections::BTreeMap;

use glassgate_policy::case::CaseAct;
use glassgate_policy::charter::CaseTerms;
use jiff::ToSpan as _;

use super::{CATEGORIES, PURPOSES, SUBJECTS, World};
use crate::case::{Asked as Scope, Book, Brief, Circumstances, Request, Step, Taken};
use crate::holder::{read_view, sign};
use crate::keys::KeyId;
use crate::on_record::{self, Submitted};
use crate::view::{Look, View};

const ACTS: [CaseAct; 6] =
    [CaseAct::Open, CaseAct::Approve, CaseAct::Refuse, CaseAct::Show, CaseAct::Close, CaseAct::Tell];

/// A case, as those who ask know it.
pub(super) struct Asked {
    case: String,
    scope: Scope,
    brief: Brief,
    opener: Option<usize>,
    approver: Option<usize>,
    shown: bool,
    told: bool,
}

impl Asked {
    /// What is not shown is forgotten by a gateway that stops.
    pub(super) fn restarted(&mut self) -> bool {
        self.shown
    }
}

/// The kind of the record of a step.
fn word(act: CaseAct) -> &'static str {
    match act {
        CaseAct::Open => "case_opened",
        CaseAct::Approve => "case_approved",
        CaseAct::Refuse => "case_refused",
        CaseAct::Show => "case_shown",
        CaseAct::Close => "case_closed",
        CaseAct::Tell => "case_told",
    }
}

fn counted(act: CaseAct) -> &'static str {
    match act {
        CaseAct::Open => "open",
        CaseAct::Approve => "approve",
        CaseAct::Refuse => "refuse",
        CaseAct::Show => "show",
        CaseAct::Close => "close",
        CaseAct::Tell => "tell",
    }
}

impl World {
    pub(super) fn case_step(&mut self) {
        if self.asked.is_empty() || self.asked.len() < 4 && self.random.chance(200) {
            self.draft();
        } else {
            self.say();
        }
    }

    fn draft(&mut self) {
        let now = self.now();
        let Some(today) = self.today() else { return };
        let from = today.saturating_sub((1 + self.random.below(8) as i32).days());
        let of = self.random.below(2) as usize;
        let scope = Scope {
            subject: SUBJECTS[self.random.below(2) as usize].to_owned(),
            purpose: PURPOSES[of].0.as_str().to_owned(),
            categories: CATEGORIES[of][self.random.below(2) as usize..]
                .iter()
                .map(|c| c.as_str().to_owned())
                .collect(),
            from,
            to: from.saturating_add((self.random.below(5) as i32).days()),
            reason: "suspected_leak".to_owned(),
            valid_days: 1 + self.random.below(7) as u8,
        };
        let Some((keys, book)) = &mut self.kept else { return };
        let circumstances =
            Circumstances { charter: Some(&self.fixture.charter), now: &now, gateway: "simulated" };
        let Ok(brief) = book.draft(&scope, keys, circumstances) else { return };
        let case = Request::read(&brief.request).unwrap().case;
        self.tally.count("drafted", 1);
        self.asked.push(Asked {
            case,
            scope,
            brief,
            opener: None,
            approver: None,
            shown: false,
            told: false,
        });
    }

    fn say(&mut self) {
        let at = self.random.below(self.asked.len() as u64) as usize;
        let (any, who) = (ACTS[self.random.below(6) as usize], self.random.below(3) as usize);
        let asked = &self.asked[at];
        let next = match asked {
            Asked { shown: true, .. } => CaseAct::Tell,
            Asked { approver: Some(_), .. } => CaseAct::Show,
            Asked { opener: Some(_), .. } => CaseAct::Approve,
            _ => CaseAct::Open,
        };
        let act = if self.random.chance(800) { next } else { any };
        let said =
            sign(&asked.brief, act, &self.fixture.signing[who], Some(&self.fixture.identities[who])).unwrap();
        let now = self.now();
        let Some((keys, book)) = &mut self.kept else { return };
        let circumstances =
            Circumstances { charter: Some(&self.fixture.charter), now: &now, gateway: "simulated" };
        let taken = match on_record::submit(&said, keys, book, circumstances, &mut self.ledger) {
            Ok(Submitted { taken, .. }) => taken,
            Err(not) => {
                self.tally.count(if not.log.is_some() { "not on record" } else { "denied" }, 1);
                return;
            }
        };
        let asked = &mut self.asked[at];
        self.tally.count(counted(act), 1);
        assert!(self.ledger.has(word(act), &asked.case), "{act} of {} is not on record", asked.case);
        match (act, taken) {
            (CaseAct::Open, Taken::Done(Step::Open)) => asked.opener = Some(who),
            (CaseAct::Approve, Taken::Done(Step::Approved)) => asked.approver = Some(who),
            (CaseAct::Show, Taken::Shown(look)) => {
                asked.shown = true;
                self.look(at, who, *look);
            }
            (CaseAct::Tell, Taken::Told) => asked.told = true,
            (CaseAct::Refuse, Taken::Done(Step::Refused)) | (CaseAct::Close, Taken::Done(Step::Closed)) => {
                self.asked.remove(at);
            }
            (act, taken) => panic!("{act}: {taken:?}"),
        }
    }

    /// What is shown is what was approved, all of it that is there, and nothing else.
    fn look(&mut self, at: usize, who: usize, look: Look) {
        // A disk that fails now shows nothing.
        let Ok(lines) = self.ledger.lines() else { return };
        let asked = &self.asked[at];
        let (opener, approver) = (asked.opener.unwrap(), asked.approver.unwrap());
        assert!(opener != approver && (who == opener || who == approver), "{opener} {approver} {who}");
        let (keys, _) = self.kept.as_ref().unwrap();
        let approved: BTreeMap<&str, bool> = asked
            .brief
            .keys
            .iter()
            .map(|key| {
                let id = KeyId::parse(&key.key).unwrap();
                assert!(
                    id.purpose.as_str() == asked.scope.purpose
                        && (asked.scope.from..=asked.scope.to).contains(&id.day)
                );
                (key.key.as_str(), keys.shares(id) == Some(&key.shares))
            })
            .collect();
        let wanted = lines.iter().filter_map(|(seq, line)| {
            let (record, session) = self.session_of(line)?;
            let is_it = approved.get(record.key.as_str()) == Some(&true)
                && self.is_of_now(&record.key, session)
                && session.subject == asked.scope.subject
                && asked.scope.categories.iter().any(|word| word == session.category.as_str());
            is_it.then(|| (*seq, Some(session.service.clone())))
        });
        let wanted: Vec<_> = wanted.collect();
        let sealed = look.at(lines.iter().map(|(_, line)| Ok::<_, ()>(line.clone()))).unwrap();
        let view: View = read_view(&sealed, &self.fixture.identities[who]).unwrap();
        for other in (0..3).filter(|other| *other != who) {
            assert!(read_view(&sealed, &self.fixture.identities[other]).is_err());
        }
        let shown: Vec<_> = view.sessions.iter().map(|seen| (seen.seq, seen.facts.service.clone())).collect();
        assert_eq!(shown, wanted, "what is shown of {}", asked.case);
        assert_eq!((view.spoilt, view.more_sessions), (0, 0));
        let roles = [&view.opened_by, &view.approved_by, &view.shown_to].map(|person| person.role.clone());
        assert_eq!(roles, [opener, approver, who].map(|n| CaseTerms::ROLES[n].as_str().to_owned()));
        assert_eq!(
            (&view.subject, view.from, view.to),
            (&asked.scope.subject, asked.scope.from, asked.scope.to)
        );
        self.tally.count("sessions shown", shown.len() as u64);
    }

    /// No case is further than the log says, and no look is forgotten.
    pub(super) fn check_cases(&self, book: &Book) {
        let list = book.list();
        for summary in &list {
            let needs: &[&str] = match summary.step {
                Step::Drafted | Step::Expired => &[],
                Step::Open => &["case_opened"],
                Step::Approved => &["case_opened", "case_approved"],
                Step::Shown => &["case_opened", "case_approved", "case_shown"],
                Step::Refused => &["case_refused"],
                Step::Closed => &["case_closed"],
            };
            let told = summary.told.is_some().then_some("case_told");
            for kind in needs.iter().copied().chain(told) {
                assert!(self.ledger.has(kind, &summary.case), "{:?} without {kind}", summary.step);
            }
        }
        for asked in self.asked.iter().filter(|asked| asked.shown) {
            let kept = list.iter().find(|summary| summary.case == asked.case && summary.step == Step::Shown);
            let told =
                kept.unwrap_or_else(|| panic!("the look at {} is forgotten", asked.case)).told.is_some();
            assert!(told || !asked.told, "that the subject of {} was told is forgotten", asked.case);
        }
    }
}
