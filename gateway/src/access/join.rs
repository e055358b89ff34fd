//! How an account gets its password: by a secret that somebody was handed, in two steps.
//!
//! The secret is that of an invitation (`glassgate account add`), or of the first start, while there is no account. With it a password is
//! chosen; then a phone reads the secret of its codes, and shows with a first code that it did. The account is as it was until then.

use super::accounts::{Account, Accounts, is_name, needs_code};
use super::sessions::{key, random};
use super::{Access, Act, From, OWN, Refused, now, password, totp, unix_s};
use glassgate_policy::access::{AccountChange, LoginRefusal};
use std::time::Duration;

use super::Role;

/// How long the secret of the first start is good for.
pub(crate) const FIRST: Duration = Duration::from_secs(30 * 60);
/// How long somebody may take between the two steps.
const BETWEEN: Duration = Duration::from_secs(10 * 60);
/// How many may be between the two steps; a further one takes the place of the oldest.
const PENDING: usize = 16;
/// Wrong codes after which the first step must be taken again.
const TRIES: u8 = 5;

/// The secret of the first start.
pub(super) struct First {
    key: [u8; 32],
    until: Duration,
}

/// Somebody between the two steps.
pub(super) struct Pending {
    key: [u8; 32],
    until: Duration,
    tries: u8,
    /// The account as it will be.
    account: Account,
    /// What the secret was of: the first account, or an invitation as it was.
    from: Option<Account>,
}

/// What the second step is made with.
#[derive(Clone, Debug)]
pub(crate) struct Joining {
    /// Comes back with the code.
    pub(crate) token: String,
    pub(crate) name: String,
    /// What a phone reads.
    pub(crate) uri: String,
    /// The same for those who type it.
    pub(crate) secret: String,
    /// Whether codes may be left out.
    pub(crate) may_skip: bool,
}

/// Why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotJoined {
    Refused(Refused),
    /// The name can't be one, or is somebody's.
    Name,
    Weak(password::Weak),
    /// The code is not the phone's.
    Code(Box<SameAgain>),
    /// The file.
    NotKept(String),
}

/// What is shown again after a wrong code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SameAgain {
    pub(crate) name: String,
    pub(crate) secret: String,
    pub(crate) uri: String,
    pub(crate) may_skip: bool,
}

impl Access {
    /// A new secret for the first account; the one before is void. `Err` if there is an account, or nobody knows.
    pub(crate) fn first_secret(&self) -> Result<String, String> {
        let mut inner = self.lock();
        if let Some(why) = &inner.trouble {
            return Err(why.clone());
        }
        if !inner.accounts.accounts.is_empty() {
            return Err("there are accounts already: `glassgate account add` invites somebody".to_owned());
        }
        let secret = random().ok_or("there is no randomness")?;
        inner.first = Some(First { key: key(&secret), until: now() + FIRST });
        Ok(secret)
    }

    /// The first step: a secret against a password.
    pub(crate) async fn join(
        &self,
        secret: &str,
        name: &str,
        text: &str,
        from: From,
    ) -> Result<Joining, NotJoined> {
        let refuse = |why| Err(NotJoined::Refused(why));
        if let Err(wait) = self.lock().guesses.source(from.source, now()) {
            return refuse(Refused::TooMany(wait));
        }
        let (account, invited) = match self.entitled(secret) {
            Some(Some(invited)) => (invited.clone(), Some(invited)),
            Some(None) if !is_name(name) => return Err(NotJoined::Name),
            Some(None) => (new(name, Role::Engineer), None),
            None => {
                let reason = LoginRefusal::Invitation;
                self.queue.tell(Act::Failed { account: None, side: from.side, reason, count: 1 });
                return refuse(Refused::Wrong);
            }
        };
        password::check(text, &account.name).map_err(NotJoined::Weak)?;
        if text.contains(secret) {
            return Err(NotJoined::Weak(password::Weak::Common));
        }
        let chosen = text.to_owned();
        let Some(Some(hash)) = self.hashing(OWN, move || password::hash(&chosen)).await else {
            return refuse(Refused::Busy);
        };
        let (Some(token), Some(totp)) = (random(), totp::secret()) else { return refuse(Refused::Busy) };
        let joining = Joining {
            token,
            name: account.name.clone(),
            uri: totp::uri(&account.name, &totp),
            secret: totp.clone(),
            may_skip: !needs_code(account.role),
        };
        let account = Account { password: Some(hash), totp: Some(totp), invitation: None, ..account };
        let pending =
            Pending { key: key(&joining.token), until: now() + BETWEEN, tries: 0, account, from: invited };
        let mut inner = self.lock();
        inner.pending.retain(|pending| pending.until > now());
        while inner.pending.len() >= PENDING {
            inner.pending.pop_front();
        }
        inner.pending.push_back(pending);
        Ok(joining)
    }

    /// The second step: the first code. The account is as it was until this is on record; then a session begins.
    pub(crate) async fn confirm(&self, token: &str, code: &str, from: From) -> Result<String, NotJoined> {
        let (account, invited, step) = self.confirmed(token, code)?;
        let _changing = self.changing.lock().await;
        let mut accounts = self.lock().accounts.clone();
        let change = put(&mut accounts, &account, invited.as_ref())?;
        let what = Act::Account {
            change,
            account: account.name.clone(),
            role: account.role,
            side: from.side,
            uid: None,
        };
        let not_recorded = |why| NotJoined::Refused(Refused::NotRecorded(why));
        self.queue.act(what).await.map_err(not_recorded)?;
        self.keep(accounts).await.map_err(NotJoined::NotKept)?;
        {
            let mut inner = self.lock();
            inner.first = None;
            inner.pending.retain(|pending| pending.key != key(token) && pending.account.name != account.name);
            inner.used.insert(account.name.clone(), step);
        }
        self.let_in(&account, from).await.map_err(NotJoined::Refused)
    }

    /// What a secret is good for: an invitation, or the first account (`None` within).
    fn entitled(&self, secret: &str) -> Option<Option<Account>> {
        let inner = self.lock();
        let is_new = inner.accounts.accounts.is_empty() && inner.trouble.is_none();
        let first = inner.first.as_ref().filter(|first| is_new && now() < first.until);
        if first.is_some_and(|first| first.key == key(secret)) {
            return Some(None);
        }
        inner.accounts.invited(secret, i64::try_from(unix_s()).unwrap_or(i64::MAX)).cloned().map(Some)
    }

    /// Who is between the two steps with this token, if the code is theirs.
    fn confirmed(&self, token: &str, code: &str) -> Result<(Account, Option<Account>, u64), NotJoined> {
        let mut inner = self.lock();
        let (is, at) = (key(token), now());
        let Some(pending) = inner.pending.iter_mut().find(|pending| pending.key == is && pending.until > at)
        else {
            return Err(NotJoined::Refused(Refused::Wrong));
        };
        let may_skip = !needs_code(pending.account.role);
        let secret = pending.account.totp.clone().unwrap_or_default();
        if code.is_empty() && may_skip {
            let account = Account { totp: None, ..pending.account.clone() };
            return Ok((account, pending.from.clone(), 0));
        }
        if let Some(step) = totp::check(&secret, code, unix_s(), None) {
            return Ok((pending.account.clone(), pending.from.clone(), step));
        }
        pending.tries += 1;
        if pending.tries >= TRIES {
            inner.pending.retain(|pending| pending.key != is);
            return Err(NotJoined::Refused(Refused::Wrong));
        }
        let name = pending.account.name.clone();
        Err(NotJoined::Code(Box::new(SameAgain { uri: totp::uri(&name, &secret), name, secret, may_skip })))
    }
}

/// Puts an account among the others, if that is still as it was when it was begun.
fn put(
    accounts: &mut Accounts,
    account: &Account,
    invited: Option<&Account>,
) -> Result<AccountChange, NotJoined> {
    let gone = NotJoined::Refused(Refused::Wrong);
    match invited {
        None if accounts.accounts.is_empty() => {
            accounts.accounts.push(account.clone());
            Ok(AccountChange::First)
        }
        None => Err(gone),
        Some(invited) => match accounts.get_mut(&account.name).filter(|now| *now == invited) {
            Some(place) => {
                *place = account.clone();
                Ok(AccountChange::Joined)
            }
            None => Err(gone),
        },
    }
}

fn new(name: &str, role: Role) -> Account {
    Account {
        name: name.to_owned(),
        role,
        disabled: false,
        password: None,
        totp: None,
        token: None,
        invitation: None,
    }
}
