//! Cases: who may open what, step by step.
//!
//! ```text
//!              open (shares)      approve (shares)      show
//!  drafted ───────────────► open ───────────────► approved ───► shown ── tell ──► told
//!     │ an hour               │ refuse, close       │ refuse, close
//!     ▼                       ▼                     ▼
//!  forgotten               refused, closed       refused, closed          and at any step: expired
//! ```
//!
//! * **Two roles.** One holder opens, another approves; either may then look, once. The third can only refuse.
//! * **Nothing wider than what was signed.** A signature covers the request: one subject, one purpose, categories, days, expiry,
//!   and a random number of this case. Whoever changes any of them has no signature.
//! * **In memory only.** Shares are sealed to a key of the case that was never on disk. A gateway that stops forgets its cases.
//! * **On record first.** [`Book::judge`] says whether a step may be taken, and changes nothing; who calls it puts the step
//!   on record; [`Book::take`] takes it, if nothing else happened to the case in between.
//!
//! Bounded: [`MOST_OPEN`] cases at once; of drafts that nobody signed the oldest gives way.

mod letter;
mod record;

pub use letter::{Asked, Brief, BriefHolder, BriefKey, Request, Statement, message};
pub use record::Known;

use std::sync::Arc;

use age::x25519::Identity;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use glassgate_audit::disk::Disk;
use glassgate_policy::audit::Now;
use glassgate_policy::case::{CaseAct, CaseReason, Denial, MAX_SPAN_DAYS, MAX_VALID_DAYS};
use glassgate_policy::charter::{CaseTerms, Charter, Holder, PublicKey, Role};
use glassgate_policy::{Category, ObservationLevel, Purpose};
use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use serde::{Deserialize, Serialize};

use crate::files::Place;
use crate::holder::{HandedShare, commitment_to};
use crate::keys::{KeyId, Keys, place};
use crate::share::Share;
use crate::view::{Look, Person, View};
use crate::{Secret, hex};

/// The most cases that are open at once.
pub const MOST_OPEN: usize = 64;
/// Cases that are over and still listed.
const MOST_OVER: usize = 256;
/// The most cases that were shown and are kept.
const MOST_KEPT: usize = 4096;
/// How long a draft waits for its first signature.
const DRAFT_S: u64 = 3600;
const MAX_SUBJECT: usize = 256;
const S: u64 = 1_000_000_000;

/// How a case is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Nobody has signed it.
    Drafted,
    /// One has.
    Open,
    /// Two have.
    Approved,
    /// It was looked at.
    Shown,
    /// A holder refused it.
    Refused,
    /// It was closed.
    Closed,
    /// Its time was over.
    Expired,
}

impl Step {
    fn is_over(self) -> bool {
        !matches!(self, Self::Drafted | Self::Open | Self::Approved)
    }
}

/// What steps are held against.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// The charter, if it is in force.
    pub charter: Option<&'a Charter>,
    /// What time it is.
    pub now: &'a Now,
    /// The gateway, by the name of its log.
    pub gateway: &'a str,
}

/// A step that is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.words())]
pub struct Denied {
    /// The case, where it is known.
    pub case: String,
    /// Who, where that is known for sure.
    pub role: Option<Role>,
    /// Why.
    pub why: Denial,
}

impl Denied {
    fn words(&self) -> &'static str {
        match self.why {
            Denial::NoCharter => "no charter is in force that says who may open sealed records",
            Denial::OtherCharter => "another charter is in force than the one that the case was opened under",
            Denial::NotCovered => "the charter has no sealed records for that purpose and category",
            Denial::BadDays => "a case is about days that are over, in their order, and no more than 31",
            Denial::BadExpiry => "a case is open for 1 to 7 days",
            Denial::BadSubject => "this can be no subject",
            Denial::NothingKept => {
                "there is no key of these days for that purpose: nothing was sealed, or its time is over"
            }
            Denial::TooMany => "as many cases are open as may be",
            Denial::UnknownCase => {
                "there is no such case; cases that were open when the gateway stopped are gone"
            }
            Denial::Expired => "the time of the case is over",
            Denial::NotAHolder => "whoever signed this holds no shares under the charter",
            Denial::BadSignature => "the signature is not good for this case and this step",
            Denial::SameRole => "whoever opened a case can't approve it: that takes another holder",
            Denial::NotInvolved => "that is for those who opened and approved the case",
            Denial::WrongStep => "the case is not at that step",
            Denial::Used => "the case was looked at: it takes another case to look again",
            Denial::BadShares => "the shares are missing, of other keys, or not good",
            Denial::NotUnderstood => "what was said means nothing",
            Denial::NotKept => "it can't be put on record or kept, so it is not done",
        }
    }
}

/// Who did what, when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Done {
    /// Who.
    #[serde(flatten)]
    pub by: Person,
    /// When, by the wall clock.
    pub at: Option<Timestamp>,
}

/// A case, as lists show it: without whom it is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Summary {
    /// Which.
    pub case: String,
    /// How it is.
    pub step: Step,
    /// The purpose.
    pub purpose: String,
    /// The categories.
    pub categories: Vec<String>,
    /// The first day.
    pub from: Date,
    /// The last.
    pub to: Date,
    /// Why.
    pub reason: String,
    /// When it is over.
    pub expires: Timestamp,
    /// Who opened it.
    pub opened: Option<Done>,
    /// Who approved it.
    pub approved: Option<Done>,
    /// Who looked.
    pub shown: Option<Done>,
    /// The day on which the subject is to be told.
    pub tell_on: Option<Date>,
    /// Who told them.
    pub told: Option<Done>,
}

/// A case that was shown, as it is kept: until after its subject was told, and as long as there is room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    request: String,
    opened: Done,
    approved: Done,
    shown: Done,
    tell_on: Option<Date>,
    told: Option<Done>,
}

#[derive(Debug)]
struct Case {
    request: Request,
    text: String,
    step: Step,
    /// Counts what happened to it.
    moves: u64,
    identity: Option<Identity0>,
    keys: Vec<KeyId>,
    opened: Option<Voice>,
    approved: Option<Voice>,
    begun_ns: u64,
    until_ns: u64,
}

/// Who said yes, and the shares that they handed over.
#[derive(Debug)]
struct Voice {
    role: Role,
    done: Done,
    shares: Shares,
}

/// Of each key of a case one.
type Shares = Vec<(KeyId, Share)>;

/// An identity that is not printed.
struct Identity0(Identity);

impl std::fmt::Debug for Identity0 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity")
    }
}

/// A step that may be taken, once it is on record.
#[derive(Debug)]
pub struct Judged {
    case: String,
    act: CaseAct,
    role: Role,
    done: Done,
    shares: Shares,
    moves: u64,
    recipient: String,
    tell_after_days: u16,
}

/// What came of a step.
#[derive(Debug)]
pub enum Taken {
    /// It is done.
    Done(Step),
    /// It may be looked at, now.
    Shown(Box<Look>),
    /// The subject was told.
    Told,
}

/// All cases.
#[derive(Debug)]
pub struct Book {
    place: Place,
    cases: Vec<Case>,
    kept: Vec<(Request, Kept)>,
}

impl Book {
    /// Reads the cases that were shown, from a disk that holds nothing else. Others are not kept.
    pub fn open(disk: Arc<dyn Disk>) -> std::io::Result<Self> {
        let place = Place::new(disk);
        let mut kept = Vec::new();
        for name in place.names()?.iter().filter(|name| name.ends_with(".json")).take(MOST_KEPT) {
            let bytes = place.read(name)?.unwrap_or_default();
            let Ok(case) = serde_json::from_slice::<Kept>(&bytes) else { continue };
            if let Ok(request) = Request::read(&case.request) {
                kept.push((request, case));
            }
        }
        kept.sort_by_key(|(request, _)| request.drafted);
        Ok(Self { place, cases: Vec::new(), kept })
    }

    /// Writes a request for what somebody asks, if it may be asked. Nothing comes of it until a holder signs it.
    pub fn draft(
        &mut self,
        asked: &Asked,
        keys: &Keys,
        circumstances: Circumstances<'_>,
    ) -> Result<Brief, Denied> {
        self.sweep(circumstances.now);
        let deny = |why| Denied { case: String::new(), role: None, why };
        let (charter, terms) = terms_of(circumstances.charter).ok_or_else(|| deny(Denial::NoCharter))?;
        let now = circumstances.now;
        let wall = now.trusted_wall().ok_or_else(|| deny(Denial::NoCharter))?;
        let purpose = Purpose::from_word(&asked.purpose).ok_or_else(|| deny(Denial::NotUnderstood))?;
        CaseReason::from_word(&asked.reason).ok_or_else(|| deny(Denial::NotUnderstood))?;
        let covered = |word: &String| {
            let category = Category::from_word(word).filter(|category| !category.is_protected())?;
            let entries = charter.file().purposes.iter().filter(|entry| entry.purpose == purpose);
            let mut sealed = entries.filter(|entry| entry.level == ObservationLevel::Sealed);
            sealed.any(|entry| entry.categories.contains(&category)).then_some(category)
        };
        let mut categories: Vec<Category> =
            asked.categories.iter().take(Category::SLOTS).map_while(covered).collect();
        if categories.is_empty() || categories.len() != asked.categories.len() {
            return Err(deny(Denial::NotCovered));
        }
        categories.sort();
        categories.dedup();
        let today = wall.to_zoned(charter.file().zone.clone()).date();
        let span = asked.to.since(asked.from).map(|span| span.get_days()).unwrap_or(-1);
        if !(0..MAX_SPAN_DAYS).contains(&span) || asked.to >= today {
            return Err(deny(Denial::BadDays));
        }
        if !(1..=MAX_VALID_DAYS).contains(&asked.valid_days) {
            return Err(deny(Denial::BadExpiry));
        }
        let subject = asked.subject.as_str();
        if subject.is_empty() || subject.len() > MAX_SUBJECT || subject.chars().any(char::is_control) {
            return Err(deny(Denial::BadSubject));
        }
        let ids = keys.of(asked.from..=asked.to, purpose);
        if ids.is_empty() {
            return Err(deny(Denial::NothingKept));
        }
        self.make_room().map_err(deny)?;
        let valid = SignedDuration::from_hours(24 * i64::from(asked.valid_days));
        let random = || Secret::random().map(|secret| hex(&secret.0)).map_err(|_| deny(Denial::NotKept));
        let identity = Identity::generate();
        let request = Request {
            version: 1,
            case: random()?.chars().take(12).collect(),
            gateway: circumstances.gateway.to_owned(),
            subject: subject.to_owned(),
            purpose: purpose.as_str().to_owned(),
            categories: categories.iter().map(|category| category.as_str().to_owned()).collect(),
            from: asked.from,
            to: asked.to,
            reason: asked.reason.clone(),
            charter: hex(charter.sha256()),
            drafted: wall,
            expires: wall.checked_add(valid).map_err(|_| deny(Denial::BadExpiry))?,
            recipient: identity.to_public().to_string(),
            salt: random()?,
        };
        let text = serde_json::to_string(&request).map_err(|_| deny(Denial::NotKept))?;
        let valid_ns = u64::from(asked.valid_days) * 86_400 * S;
        self.cases.push(Case {
            request,
            text,
            step: Step::Drafted,
            moves: 0,
            identity: Some(Identity0(identity)),
            keys: ids,
            opened: None,
            approved: None,
            begun_ns: now.mono_ns,
            until_ns: now.mono_ns.saturating_add(valid_ns),
        });
        let last = self.cases.last().ok_or_else(|| deny(Denial::NotKept))?;
        Ok(brief_of(last, keys, terms))
    }

    /// What a holder needs to say something about a case.
    pub fn brief(&self, case: &str, keys: &Keys, circumstances: Circumstances<'_>) -> Result<Brief, Denied> {
        let deny = |why| Denied { case: case.to_owned(), role: None, why };
        let (_, terms) = terms_of(circumstances.charter).ok_or_else(|| deny(Denial::NoCharter))?;
        if let Some(case) = self.cases.iter().find(|known| known.request.case == case) {
            return Ok(brief_of(case, keys, terms));
        }
        let kept = self.kept.iter().find(|(request, _)| request.case == case);
        let (_, kept) = kept.ok_or_else(|| deny(Denial::UnknownCase))?;
        Ok(Brief { request: kept.request.clone(), holders: holders_of(terms), keys: Vec::new() })
    }

    /// Whether a step may be taken. Changes nothing: what may be done is to be put on record, then [taken](Self::take).
    pub fn judge(
        &self,
        said: &Statement,
        keys: &Keys,
        circumstances: Circumstances<'_>,
    ) -> Result<Judged, Denied> {
        let deny = |role, why| Denied { case: String::new(), role, why };
        let act = CaseAct::from_word(&said.act).ok_or_else(|| deny(None, Denial::NotUnderstood))?;
        let case = self.cases.iter().find(|case| case.request.case == said.case);
        let kept = self.kept.iter().find(|(request, _)| request.case == said.case);
        let (request, text) = match (case, kept) {
            (Some(case), _) => (&case.request, &case.text),
            (None, Some((request, kept))) => (request, &kept.request),
            (None, None) => return Err(deny(None, Denial::UnknownCase)),
        };
        let deny = |role, why| Denied { case: request.case.clone(), role, why };
        let (charter, terms) =
            terms_of(circumstances.charter).ok_or_else(|| deny(None, Denial::NoCharter))?;
        let key = PublicKey::parse(&said.key).ok_or_else(|| deny(None, Denial::NotUnderstood))?;
        let holder = terms.holders.iter().find(|holder| holder.key == key);
        let holder = holder.ok_or_else(|| deny(None, Denial::NotAHolder))?;
        let signature = unhex(&said.signature).ok_or_else(|| deny(None, Denial::BadSignature))?;
        if !key.verify(&message(act, text, said.shares.as_deref()), &signature) {
            return Err(deny(None, Denial::BadSignature));
        }
        let role = holder.role;
        let deny = |why| deny(Some(role), why);
        let by = Person { role: role.as_str().to_owned(), name: holder.name.clone() };
        let done = Done { by, at: circumstances.now.wall };
        let mut judged = Judged {
            case: request.case.clone(),
            act,
            role,
            done,
            shares: Vec::new(),
            moves: 0,
            recipient: holder.recipient.clone(),
            tell_after_days: terms.tell_after_days,
        };
        if act == CaseAct::Tell {
            let (_, kept) = kept.ok_or_else(|| deny(Denial::WrongStep))?;
            return if kept.told.is_none() { Ok(judged) } else { Err(deny(Denial::WrongStep)) };
        }
        let Some(case) = case else { return Err(deny(Denial::Used)) };
        // Refusing and closing take nothing from anybody: a case that is over, or under another charter, can be ended too.
        if !matches!(act, CaseAct::Refuse | CaseAct::Close) {
            if case.is_late(circumstances.now) || case.step == Step::Expired {
                return Err(deny(Denial::Expired));
            }
            if request.charter != hex(charter.sha256()) {
                return Err(deny(Denial::OtherCharter));
            }
        }
        judged.moves = case.moves;
        let opener = case.opened.as_ref().map(|voice| voice.role);
        let approver = case.approved.as_ref().map(|voice| voice.role);
        match (act, case.step) {
            (CaseAct::Open, Step::Drafted) => {
                judged.shares = case.shares(said, holder).ok_or_else(|| deny(Denial::BadShares))?
            }
            (CaseAct::Approve, Step::Open) if opener == Some(role) => return Err(deny(Denial::SameRole)),
            (CaseAct::Approve, Step::Open) => {
                judged.shares = case.shares(said, holder).ok_or_else(|| deny(Denial::BadShares))?;
                if !case.make_keys(&judged.shares, keys) {
                    return Err(deny(Denial::BadShares));
                }
            }
            (CaseAct::Refuse, Step::Open | Step::Approved) => {}
            (CaseAct::Close | CaseAct::Show, Step::Open | Step::Approved)
                if opener != Some(role) && approver != Some(role) =>
            {
                return Err(deny(Denial::NotInvolved));
            }
            (CaseAct::Close, Step::Open | Step::Approved) | (CaseAct::Show, Step::Approved) => {}
            (CaseAct::Show, Step::Shown) => return Err(deny(Denial::Used)),
            _ => return Err(deny(Denial::WrongStep)),
        }
        Ok(judged)
    }

    /// Takes a step that is on record. What was shown is kept first, so that its subject will be told of it.
    pub fn take(&mut self, judged: Judged, keys: &Keys, zone: &jiff::tz::TimeZone) -> Result<Taken, Denied> {
        let denied = Denied { case: judged.case.clone(), role: Some(judged.role), why: Denial::WrongStep };
        if judged.act == CaseAct::Tell {
            return self.tell(judged);
        }
        let case = self.cases.iter_mut().find(|case| case.request.case == judged.case);
        // Somebody else was faster.
        let Some(case) = case.filter(|case| case.moves == judged.moves) else { return Err(denied) };
        let voice = Voice { role: judged.role, done: judged.done.clone(), shares: judged.shares };
        case.moves += 1;
        case.step = match judged.act {
            CaseAct::Open => {
                case.opened = Some(voice);
                Step::Open
            }
            CaseAct::Approve => {
                case.approved = Some(voice);
                Step::Approved
            }
            CaseAct::Refuse => Step::Refused,
            CaseAct::Close => Step::Closed,
            CaseAct::Show | CaseAct::Tell => Step::Shown,
        };
        if case.step != Step::Shown {
            if case.step.is_over() {
                case.forget();
            }
            return Ok(Taken::Done(case.step));
        }
        let look = case.look(&judged.done.by, &judged.recipient, keys, zone);
        let (Some(opened), Some(approved)) = (&case.opened, &case.approved) else {
            return Err(denied);
        };
        let tell_on = judged.done.at.and_then(|at| {
            at.to_zoned(zone.clone()).date().checked_add(i32::from(judged.tell_after_days).days()).ok()
        });
        let kept = Kept {
            request: case.text.clone(),
            opened: opened.done.clone(),
            approved: approved.done.clone(),
            shown: judged.done,
            tell_on,
            told: None,
        };
        let request = case.request.clone();
        // Whatever comes of it now: it was used.
        case.forget();
        let not_kept = |_| Denied { why: Denial::NotKept, ..denied.clone() };
        keep(&self.place, &request.case, &kept).map_err(not_kept)?;
        if self.kept.len() >= MOST_KEPT {
            self.give_up_oldest();
        }
        self.cases.retain(|case| case.request.case != request.case);
        self.kept.push((request, kept));
        look.map(|look| Taken::Shown(Box::new(look))).ok_or(denied)
    }

    /// Ends cases whose time is over. Gives those that a holder had signed.
    pub fn sweep(&mut self, now: &Now) -> Vec<String> {
        let draft_ns = DRAFT_S * S;
        self.cases.retain(|case| {
            case.step != Step::Drafted || now.mono_ns.saturating_sub(case.begun_ns) < draft_ns
        });
        let over = self.cases.iter().filter(|case| case.step.is_over()).count();
        let mut too_many = over.saturating_sub(MOST_OVER);
        self.cases.retain(|case| {
            let goes = case.step.is_over() && too_many > 0;
            too_many -= usize::from(goes);
            !goes
        });
        let mut ended = Vec::new();
        for case in self.cases.iter_mut().filter(|case| !case.step.is_over() && case.is_late(now)) {
            case.step = Step::Expired;
            case.moves += 1;
            case.forget();
            ended.push(case.request.case.clone());
        }
        ended
    }

    /// Cases that a holder signed and that are not over: what a gateway that stops forgets.
    pub fn pending(&self) -> Vec<String> {
        let open = self.cases.iter().filter(|case| matches!(case.step, Step::Open | Step::Approved));
        open.map(|case| case.request.case.clone()).collect()
    }

    /// What a record says of a case.
    pub fn about(&self, case: &str) -> Option<Known> {
        let open = self.cases.iter().find(|known| known.request.case == case);
        let kept = || self.kept.iter().find(|(request, _)| request.case == case);
        let (request, text) = match open {
            Some(case) => (&case.request, &case.text),
            None => kept().map(|(request, kept)| (request, &kept.request))?,
        };
        Known::of(request, text)
    }

    /// All cases, oldest first.
    pub fn list(&self) -> Vec<Summary> {
        let open = self.cases.iter().filter(|case| case.step != Step::Shown).map(|case| {
            let done = |voice: &Option<Voice>| voice.as_ref().map(|voice| voice.done.clone());
            Summary {
                step: case.step,
                opened: done(&case.opened),
                approved: done(&case.approved),
                ..summary(&case.request)
            }
        });
        let kept = self.kept.iter().map(|(request, kept)| Summary {
            step: Step::Shown,
            opened: Some(kept.opened.clone()),
            approved: Some(kept.approved.clone()),
            shown: Some(kept.shown.clone()),
            tell_on: kept.tell_on,
            told: kept.told.clone(),
            ..summary(request)
        });
        let mut all: Vec<_> = kept.chain(open).collect();
        all.sort_by_key(|summary| summary.expires);
        all
    }

    /// What was looked at of this subject, as far as this is the code of it: the salt of the commitment, which only the letter to the
    /// subject has beside those who hold the request. One code is of one case.
    pub fn looked_at(&self, subject: &str, code: &str) -> Option<Summary> {
        let fits = |request: &Request| {
            request.subject == subject
                // Of hashes, how long it takes says nothing.
                && commitment_to(&request.salt, &request.subject) == commitment_to(code, subject)
        };
        let (request, _) = self.kept.iter().find(|(request, _)| fits(request))?;
        self.list().into_iter().find(|summary| summary.case == request.case)
    }

    /// How many cases there are whose subject should have been told by this day, and was not.
    pub fn untold(&self, today: Date) -> usize {
        let untold = |kept: &Kept| kept.told.is_none() && kept.tell_on.is_some_and(|day| day <= today);
        self.kept.iter().filter(|(_, kept)| untold(kept)).count()
    }

    fn tell(&mut self, judged: Judged) -> Result<Taken, Denied> {
        let (case, role) = (judged.case.clone(), Some(judged.role));
        let deny = |why| Denied { case: case.clone(), role, why };
        let kept = self.kept.iter_mut().find(|(request, _)| request.case == case);
        let Some((_, kept)) = kept.filter(|(_, kept)| kept.told.is_none()) else {
            return Err(deny(Denial::WrongStep));
        };
        let told = Kept { told: Some(judged.done), ..kept.clone() };
        keep(&self.place, &case, &told).map_err(|_| deny(Denial::NotKept))?;
        *kept = told;
        Ok(Taken::Told)
    }

    /// Room for one more.
    fn make_room(&mut self) -> Result<(), Denial> {
        let open = self.cases.iter().filter(|case| !case.step.is_over());
        if open.count() < MOST_OPEN {
            return Ok(());
        }
        let oldest = self.cases.iter().position(|case| case.step == Step::Drafted);
        match oldest {
            Some(at) => {
                self.cases.remove(at);
                Ok(())
            }
            None => Err(Denial::TooMany),
        }
    }

    /// Of those that are kept, one that was told gives way, or else the oldest.
    fn give_up_oldest(&mut self) {
        let at = self.kept.iter().position(|(_, kept)| kept.told.is_some()).unwrap_or_default();
        if at < self.kept.len() {
            let (request, _) = self.kept.remove(at);
            // What can't be removed is read again by the next start, and given up then.
            _ = self.place.remove(&format!("{}.json", request.case));
        }
    }
}

impl Case {
    fn is_late(&self, now: &Now) -> bool {
        // Either clock ends it: that only takes away.
        now.mono_ns >= self.until_ns || now.trusted_wall().is_none_or(|wall| wall >= self.request.expires)
    }

    /// The shares that a holder hands over: of each key of the case one, and theirs.
    fn shares(&self, said: &Statement, holder: &Holder) -> Option<Vec<(KeyId, Share)>> {
        let sealed = BASE64.decode(said.shares.as_ref()?).ok()?;
        let text = zeroize::Zeroizing::new(age::decrypt(&self.identity.as_ref()?.0, &sealed).ok()?);
        let handed: Vec<HandedShare> = serde_json::from_slice(&text).ok()?;
        let mut shares = Vec::new();
        for id in &self.keys {
            let one = handed.iter().find(|handed| handed.key == id.to_string())?;
            let bytes = zeroize::Zeroizing::new(BASE64.decode(&one.share).ok()?);
            let share = Share::from_bytes(&bytes)?;
            if Some(share.holder()) != place(holder.role) {
                return None;
            }
            shares.push((*id, share));
        }
        (handed.len() == shares.len()).then_some(shares)
    }

    /// Whether these shares and those of who opened it make the keys. Keys that were destroyed meanwhile are passed over.
    fn make_keys(&self, shares: &[(KeyId, Share)], keys: &Keys) -> bool {
        let Some(Voice { shares: others, .. }) = &self.opened else { return false };
        let mut pairs = shares.iter().zip(others).filter(|((id, _), _)| keys.shares(*id).is_some());
        pairs.all(|((id, one), (same, other))| id == same && keys.open_with(*id, one, other).is_some())
    }

    fn look(&self, by: &Person, recipient: &str, keys: &Keys, zone: &jiff::tz::TimeZone) -> Option<Look> {
        let (Some(opened), Some(approved)) = (&self.opened, &self.approved) else {
            return None;
        };
        let request = &self.request;
        let categories: Vec<Category> =
            request.categories.iter().filter_map(|word| Category::from_word(word)).collect();
        let opener = |((id, one), (_, other)): (&(KeyId, Share), &(KeyId, Share))| {
            // The key of the day is gone as soon as what opens this person's records is made of it.
            keys.open_with(*id, one, other).map(|key| key.opener(&request.subject, &categories))
        };
        let midnight = |day: Date| day.to_zoned(zone.clone()).ok().map(|at| at.timestamp());
        let (from, to) = (request.from.yesterday().ok()?, request.to.checked_add(2.days()).ok()?);
        Some(Look {
            head: View {
                case: request.case.clone(),
                gateway: request.gateway.clone(),
                opened_by: opened.done.by.clone(),
                approved_by: approved.done.by.clone(),
                shown_to: by.clone(),
                subject: request.subject.clone(),
                purpose: request.purpose.clone(),
                categories: request.categories.clone(),
                from: request.from,
                to: request.to,
                reason: request.reason.clone(),
                sessions: Vec::new(),
                more_sessions: 0,
                spoilt: 0,
                gaps: Vec::new(),
                more_gaps: 0,
            },
            openers: opened.shares.iter().zip(&approved.shares).filter_map(opener).collect(),
            recipient: recipient.to_owned(),
            span: [midnight(from)?, midnight(to)?],
        })
    }

    /// Forgets shares and key.
    fn forget(&mut self) {
        self.identity = None;
        for voice in self.opened.iter_mut().chain(&mut self.approved) {
            voice.shares.clear();
        }
    }
}

impl Judged {
    /// Which case.
    pub fn case(&self) -> &str {
        &self.case
    }

    /// What is about to be done.
    pub fn act(&self) -> CaseAct {
        self.act
    }

    /// By whom.
    pub fn role(&self) -> Role {
        self.role
    }
}

fn terms_of(charter: Option<&Charter>) -> Option<(&Charter, &CaseTerms)> {
    let charter = charter?;
    Some((charter, charter.file().case.as_ref()?))
}

fn holders_of(terms: &CaseTerms) -> Vec<BriefHolder> {
    let holder = |holder: &Holder| BriefHolder {
        role: holder.role.as_str().to_owned(),
        name: holder.name.clone(),
        key: holder.key.to_string(),
    };
    terms.holders.iter().map(holder).collect()
}

fn brief_of(case: &Case, keys: &Keys, terms: &CaseTerms) -> Brief {
    let key = |id: &KeyId| Some(BriefKey { key: id.to_string(), shares: keys.shares(*id)?.to_vec() });
    let keys = case.keys.iter().filter_map(key).collect();
    Brief { request: case.text.clone(), holders: holders_of(terms), keys }
}

fn summary(request: &Request) -> Summary {
    Summary {
        case: request.case.clone(),
        step: Step::Drafted,
        purpose: request.purpose.clone(),
        categories: request.categories.clone(),
        from: request.from,
        to: request.to,
        reason: request.reason.clone(),
        expires: request.expires,
        opened: None,
        approved: None,
        shown: None,
        tell_on: None,
        told: None,
    }
}

fn keep(place: &Place, case: &str, kept: &Kept) -> std::io::Result<()> {
    let text = serde_json::to_vec_pretty(kept).map_err(std::io::Error::other)?;
    place.replace(&format!("{case}.json"), &text)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    (digits.len() == 128 && digits.iter().all(u8::is_ascii_hexdigit))
        .then(|| digits.chunks(2).map(pair).collect())
        .flatten()
}

#[cfg(test)]
mod tests;
