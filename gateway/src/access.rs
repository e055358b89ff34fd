//! Who may do what at the page: roles, accounts, and how somebody shows who they are.
//!
//! ```text
//!  name, password, code ──► guesses ──► argon2id, code ──► on record ──► session ──► viewer of a request
//!                             │ too many     │ wrong           │ not taken
//!                             ▼              ▼                 ▼
//!                            429            401               503
//! ```
//!
//! What an act changes is changed after its record is durable; if the log does not take that, nothing is changed. What goes wrong in a login is
//! told to whoever tries in one way, whatever it was, and after the same work.

pub(crate) mod accounts;
mod act;
mod guesses;
mod join;
mod manage;
pub(crate) mod password;
mod role;
mod sessions;
mod totp;
mod turns;

pub(crate) use act::Act;
pub(crate) use guesses::Source;
pub(crate) use join::{Joining, NotJoined};
pub(crate) use manage::{AccountAnswer, AccountAsk, offline};
pub(crate) use role::Role;
pub(crate) use sessions::Viewer;

use crate::clock;
use crate::control::Command;
use accounts::{Account, Accounts, needs_code};
use act::Queue;
use glassgate_policy::access::{AccountChange, CameFrom, LoginRefusal, LogoutCause};
use guesses::Guesses;
use join::{First, Pending};
use ring::hmac;
use sessions::Sessions;
use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;
use turns::{Rank, Turns};

/// Of whoever is logged in, or has a secret that was handed to them.
const OWN: Rank = 0;
/// What a password is looked at against where there is none: the cost of any other, and the hash of nothing that is known.
const NOBODY: &str =
    "$argon2id$v=19$m=47104,t=2,p=1$Z2xhc3NnYXRlLW5vYm9keQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Accounts, sessions, and what was guessed.
pub(crate) struct Access {
    file: PathBuf,
    inner: Mutex<Inner>,
    /// One change of the accounts at a time, from its check to its file.
    changing: tokio::sync::Mutex<()>,
    turns: Turns,
    /// What forms are signed with that are sent before anybody is logged in.
    forms: hmac::Key,
    queue: Queue,
    /// Codes of this step and before are taken for used: nobody knows which were, before this process began.
    since: u64,
}

#[derive(Default)]
struct Inner {
    accounts: Accounts,
    /// Why the file can't be read: nobody can log in.
    trouble: Option<String>,
    sessions: Sessions,
    guesses: Guesses,
    first: Option<First>,
    pending: VecDeque<Pending>,
    /// The step of the last code that an account used.
    used: HashMap<String, u64>,
}

/// What somebody wrote into the form.
#[derive(Clone, Copy)]
pub(crate) struct Tried<'a> {
    pub(crate) name: &'a str,
    pub(crate) password: &'a str,
    pub(crate) code: &'a str,
}

/// Why somebody is not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Something of it is wrong.
    Wrong,
    /// Too much was guessed; how long to wait.
    TooMany(Duration),
    /// Too many are being looked at.
    Busy,
    /// It can't be put on record.
    NotRecorded(String),
}

/// Why a password was not changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotChanged {
    Refused(Refused),
    Weak(password::Weak),
    /// The file.
    NotKept(String),
}

/// From where somebody comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct From {
    pub(crate) source: Source,
    pub(crate) side: CameFrom,
}

impl Access {
    /// Reads the accounts in a folder. If there are none, there is a secret to make the first with: what is returned is for the console.
    pub(crate) fn open(
        folder: &Path,
        commands: mpsc::Sender<Command>,
    ) -> anyhow::Result<(Self, Option<String>)> {
        let file = folder.join("accounts");
        let random = ring::rand::SystemRandom::new();
        let forms = hmac::Key::generate(hmac::HMAC_SHA256, &random)
            .map_err(|_| anyhow::anyhow!("there is no randomness"))?;
        let (accounts, trouble) = match Accounts::load(&file) {
            Ok(accounts) => (accounts, None),
            Err(why) => (Accounts::default(), Some(format!("{}: {why}", file.display()))),
        };
        let queue = Queue::new(commands);
        let (found, sha256) = (accounts.accounts.len() as u64, sessions::digest_of(&accounts.bytes()));
        queue.tell(Act::Found { accounts: found, sha256 });
        let inner = Inner { accounts, trouble, ..Inner::default() };
        let access = Self {
            file,
            inner: Mutex::new(inner),
            changing: tokio::sync::Mutex::new(()),
            turns: Turns::default(),
            forms,
            queue,
            since: totp::step(unix_s()),
        };
        let first = access.first_secret().ok();
        Ok((access, first))
    }

    /// Why nobody can log in, if so.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.lock().trouble.clone()
    }

    /// Whether there are no accounts yet.
    pub(crate) fn is_new(&self) -> bool {
        let inner = self.lock();
        inner.accounts.accounts.is_empty() && inner.trouble.is_none()
    }

    /// Whose session this is. `asked`: by a person, not by a script that looks again each second.
    pub(crate) fn viewer(&self, secret: &str, asked: bool) -> Option<Viewer> {
        self.lock().sessions.viewer(secret, asked, now())
    }

    /// The program that this token is of: what it may read, it may; it changes nothing.
    pub(crate) fn program(&self, token: &str) -> Option<Viewer> {
        let inner = self.lock();
        let account = inner.accounts.of_token(token)?;
        Some(Viewer { account: account.name.clone(), role: account.role, token: String::new() })
    }

    /// Lets somebody in: the secret of their session.
    pub(crate) async fn login(&self, tried: Tried<'_>, from: From) -> Result<String, Refused> {
        let account = self.lock().accounts.get(tried.name).cloned();
        let outcome = self.prove(tried, account.as_ref(), from).await?;
        let Some(account) = account.filter(|_| outcome.is_ok()) else {
            let reason = outcome.err().unwrap_or(LoginRefusal::NoAccount);
            let known = self.lock().accounts.get(tried.name).map(|account| account.name.clone());
            self.queue.tell(Act::Failed { account: known, side: from.side, reason, count: 1 });
            return Err(Refused::Wrong);
        };
        self.let_in(&account, from).await
    }

    /// Begins a session of somebody who has shown who they are.
    async fn let_in(&self, account: &Account, from: From) -> Result<String, Refused> {
        let login = Act::Login {
            account: account.name.clone(),
            role: account.role,
            side: from.side,
            code: account.totp.is_some(),
        };
        self.queue.act(login).await.map_err(Refused::NotRecorded)?;
        let (begun, now) = {
            let mut inner = self.lock();
            // Somebody may have changed the account meanwhile.
            if inner.accounts.get(&account.name) != Some(account) {
                return Err(Refused::Wrong);
            }
            inner.guesses.was_right(&account.name, from.source, now());
            (inner.sessions.begin(&account.name, account.role, now()), now())
        };
        let (secret, displaced) = begun.ok_or(Refused::Busy)?;
        if displaced > 0 && self.lock().sessions.of(&account.name, now) > 0 {
            self.tell_logout(&account.name, account.role, LogoutCause::Displaced);
        }
        Ok(secret)
    }

    /// Looks at what was tried. The work is the same whether there is such an account or not.
    async fn prove(
        &self,
        tried: Tried<'_>,
        account: Option<&Account>,
        from: From,
    ) -> Result<Result<(), LoginRefusal>, Refused> {
        let taken = self.lock().guesses.take(tried.name, account.is_some(), from.source, now());
        if let Err(wait) = taken {
            let known = account.map(|account| account.name.clone());
            self.queue.tell(Act::Failed {
                account: known,
                side: from.side,
                reason: LoginRefusal::TooMany,
                count: 1,
            });
            return Err(Refused::TooMany(wait));
        }
        let active = account.filter(|account| !account.disabled);
        let kept = active.and_then(|account| account.password.as_deref());
        let rank = self.lock().guesses.rank(tried.name, from.source);
        let Some(is) = self.is_password(tried.password, kept.unwrap_or(NOBODY), rank).await else {
            self.lock().guesses.give_back(tried.name, from.source);
            return Err(Refused::Busy);
        };
        let totp = active.and_then(|account| account.totp.as_deref());
        let used = self.used(tried.name);
        let step = totp.map(|secret| totp::check(secret, tried.code, unix_s(), Some(used)));
        Ok(match (account, kept, is, step) {
            (None, ..) => Err(LoginRefusal::NoAccount),
            (_, None, ..) => Err(LoginRefusal::NotActive),
            (_, _, false, _) => Err(LoginRefusal::Password),
            (_, _, _, Some(None)) => Err(LoginRefusal::Code),
            (Some(account), _, _, None) if needs_code(account.role) => Err(LoginRefusal::NotActive),
            (Some(account), _, _, Some(Some(step))) => self.use_up(&account.name, step),
            (Some(_), _, _, None) => Ok(()),
        })
    }

    /// Takes a code for used; `Err` if another login was faster.
    fn use_up(&self, name: &str, step: u64) -> Result<(), LoginRefusal> {
        let mut inner = self.lock();
        let used = inner.used.entry(name.to_owned()).or_insert(0);
        if step <= *used {
            return Err(LoginRefusal::Code);
        }
        *used = step;
        Ok(())
    }

    fn used(&self, name: &str) -> u64 {
        self.lock().used.get(name).copied().unwrap_or_default().max(self.since)
    }

    /// Whether it is the password, on a thread of its own; `None` if too many wait for that.
    async fn is_password(&self, password: &str, hash: &str, rank: Rank) -> Option<bool> {
        let (password, hash) = (password.to_owned(), hash.to_owned());
        self.hashing(rank, move || password::is(&password, &hash)).await
    }

    async fn hashing<T: Send + 'static>(
        &self,
        rank: Rank,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let turn = self.turns.wait(rank).await?;
        let work = move || {
            let done = work();
            // Not before: the work goes on when whoever asked for it has hung up.
            drop(turn);
            done
        };
        tokio::task::spawn_blocking(work).await.ok()
    }

    /// Ends a session, on record. It ends whether that is taken or not.
    pub(crate) async fn logout(&self, viewer: &Viewer, secret: &str) {
        let (account, role) = (viewer.account.clone(), viewer.role);
        _ = self.queue.act(Act::Logout { account, role, cause: LogoutCause::Asked }).await;
        self.lock().sessions.end(secret);
    }

    /// Ends a session that another takes the place of.
    pub(crate) fn forget(&self, secret: &str) {
        self.lock().sessions.end(secret);
    }

    /// Changes the password of somebody who is logged in; all their sessions end, a new one begins.
    pub(crate) async fn change_password(
        &self,
        viewer: &Viewer,
        old: &str,
        new: &str,
        from: From,
    ) -> Result<String, NotChanged> {
        password::check(new, &viewer.account).map_err(NotChanged::Weak)?;
        let refused = |why| Err(NotChanged::Refused(why));
        let account = self.lock().accounts.get(&viewer.account).cloned();
        let taken = self.lock().guesses.take(&viewer.account, true, from.source, now());
        if let Err(wait) = taken {
            return refused(Refused::TooMany(wait));
        }
        let kept = account.as_ref().and_then(|account| account.password.clone());
        match self.is_password(old, kept.as_deref().unwrap_or(NOBODY), OWN).await {
            None => {
                self.lock().guesses.give_back(&viewer.account, from.source);
                return refused(Refused::Busy);
            }
            Some(true) => {}
            Some(false) => {
                let (account, reason) = (Some(viewer.account.clone()), LoginRefusal::Password);
                self.queue.tell(Act::Failed { account, side: from.side, reason, count: 1 });
                return refused(Refused::Wrong);
            }
        }
        let text = new.to_owned();
        let Some(Some(hash)) = self.hashing(OWN, move || password::hash(&text)).await else {
            return refused(Refused::Busy);
        };
        let _changing = self.changing.lock().await;
        let mut accounts = self.lock().accounts.clone();
        match accounts.get_mut(&viewer.account).filter(|account| account.password == kept && kept.is_some()) {
            Some(account) => account.password = Some(hash),
            None => return refused(Refused::Wrong),
        }
        let what = Act::Account {
            change: AccountChange::Password,
            account: viewer.account.clone(),
            role: viewer.role,
            side: from.side,
            uid: None,
        };
        self.queue.act(what).await.map_err(|why| NotChanged::Refused(Refused::NotRecorded(why)))?;
        self.keep(accounts).await.map_err(NotChanged::NotKept)?;
        let mut inner = self.lock();
        inner.guesses.was_right(&viewer.account, from.source, now());
        inner.sessions.end_all(&viewer.account);
        let begun = inner.sessions.begin(&viewer.account, viewer.role, now());
        drop(inner);
        self.tell_logout(&viewer.account, viewer.role, LogoutCause::PasswordChanged);
        begun.map(|(secret, _)| secret).ok_or(NotChanged::Refused(Refused::Busy))
    }

    /// Puts on record that somebody was denied something.
    pub(crate) fn tell_denied(&self, viewer: Option<&Viewer>, side: CameFrom, endpoint: &'static str) {
        let account = viewer.map(|viewer| (viewer.account.clone(), viewer.role));
        self.queue.tell(Act::Denied { account, side, endpoint, count: 1 });
    }

    /// What a form must send back that is filled in before anybody is logged in; `nonce` is in a cookie.
    pub(crate) fn form_token(&self, nonce: &str) -> String {
        let tag = hmac::sign(&self.forms, nonce.as_bytes());
        data_encoding::BASE64URL_NOPAD.encode(tag.as_ref())
    }

    fn tell_logout(&self, account: &str, role: Role, cause: LogoutCause) {
        self.queue.tell(Act::Logout { account: account.to_owned(), role, cause });
    }

    /// Writes accounts down, then goes by them. Only while [`Self::changing`] is held.
    async fn keep(&self, accounts: Accounts) -> Result<(), String> {
        let (file, written) = (self.file.clone(), accounts.clone());
        let kept = tokio::task::spawn_blocking(move || written.save(&file)).await;
        match kept {
            Ok(Ok(())) => {
                self.lock().accounts = accounts;
                Ok(())
            }
            Ok(Err(why)) => Err(format!("{} can't be written: {why}", self.file.display())),
            Err(_) => Err("the accounts could not be written".to_owned()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing is left half done by a panic: what is changed is replaced.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// 256 random bits, as text.
pub(crate) fn random() -> Option<String> {
    sessions::random()
}

/// Monotonic time.
fn now() -> Duration {
    Duration::from_nanos(clock::mono_ns())
}

/// The wall clock: codes are of it.
fn unix_s() -> u64 {
    jiff::Timestamp::now().as_second().max(0).unsigned_abs()
}

#[cfg(test)]
impl Access {
    /// A session of somebody in this role, for tests: its secret.
    pub(crate) fn session_of(&self, role: Role) -> String {
        self.lock().sessions.begin(role.as_str(), role, now()).unwrap().0
    }

    /// An account with this password and without codes, for tests.
    pub(crate) fn add_for_tests(&self, name: &str, role: Role, password: &str) {
        let mut inner = self.lock();
        let account = Account {
            name: name.to_owned(),
            role,
            disabled: false,
            password: Some(password.to_owned()),
            totp: None,
            token: None,
            invitation: None,
        };
        inner.accounts.accounts.push(account);
    }

    /// Waits until what nobody waits for is on record, for tests.
    pub(crate) fn settle(&self) {
        while self.queue.under_way() > 0 {
            std::thread::yield_now();
        }
    }

    /// Accounts as they are, and how many sessions there are of a role, for tests.
    pub(crate) fn state(&self, role: Role) -> (Accounts, usize) {
        let inner = self.lock();
        (inner.accounts.clone(), inner.sessions.of(role.as_str(), now()))
    }
}

#[cfg(test)]
mod tests;
