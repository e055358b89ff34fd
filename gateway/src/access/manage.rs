//! What is done to accounts from the command line: through the running gateway, on record first; or, while none runs, on the file itself.

use super::accounts::{Accounts, Change};
use super::{Access, Act, Role, join, now, unix_s};
use glassgate_policy::access::{AccountChange, CameFrom, LogoutCause};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What is asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum AccountAsk {
    List,
    Change(Change),
    /// Forget what was guessed at it.
    Unlock {
        name: String,
    },
    /// A secret to make the first account with.
    FirstSecret,
}

/// What is answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AccountAnswer {
    List(Vec<Listed>),
    Done(Done),
}

/// What was done.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Done {
    /// In words.
    pub(crate) what: String,
    /// To be handed over: of an invitation, a token, or the first start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) secret: Option<String>,
}

/// An account.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Listed {
    pub(crate) name: String,
    pub(crate) role: Role,
    /// `active`, `invited`, `disabled` or `program`.
    pub(crate) state: String,
    /// Whether it shows a code beside its password.
    pub(crate) code: bool,
    /// Sessions now; not known while no gateway runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sessions: Option<usize>,
}

impl Access {
    /// Does it.
    pub(crate) async fn manage(&self, ask: AccountAsk, uid: Option<u32>) -> Result<AccountAnswer, String> {
        match ask {
            AccountAsk::List => {
                let inner = self.lock();
                if let Some(why) = &inner.trouble {
                    return Err(why.clone());
                }
                let sessions = |name: &str| Some(inner.sessions.of(name, now()));
                Ok(AccountAnswer::List(list(&inner.accounts, sessions)))
            }
            AccountAsk::FirstSecret => {
                let secret = self.first_secret()?;
                let minutes = join::FIRST.as_secs() / 60;
                let what = format!("open /join on the page within {minutes} minutes; it is good once");
                Ok(AccountAnswer::Done(Done { what, secret: Some(secret) }))
            }
            AccountAsk::Unlock { name } => {
                let role = self.lock().accounts.get(&name).map(|account| account.role);
                let role = role.ok_or_else(|| format!("there is no account `{name}`"))?;
                self.record(AccountChange::Unlocked, &name, role, uid).await?;
                self.lock().guesses.forgive(&name);
                let what = format!("what was guessed at {name} is forgotten");
                Ok(AccountAnswer::Done(Done { what, secret: None }))
            }
            AccountAsk::Change(change) => self.change(&change, uid).await,
        }
    }

    async fn change(&self, change: &Change, uid: Option<u32>) -> Result<AccountAnswer, String> {
        let _changing = self.changing.lock().await;
        let mut accounts = {
            let inner = self.lock();
            if let Some(why) = &inner.trouble {
                return Err(why.clone());
            }
            inner.accounts.clone()
        };
        let (role, secret) = accounts.change(change, i64::try_from(unix_s()).unwrap_or(i64::MAX))?;
        self.record(word(change), change.name(), role, uid).await?;
        self.keep(accounts).await?;
        let ended = self.lock().sessions.end_all(change.name());
        if ended > 0 {
            self.tell_logout(change.name(), role, LogoutCause::AccountChanged);
        }
        Ok(AccountAnswer::Done(done(change, role, secret)))
    }

    async fn record(
        &self,
        change: AccountChange,
        name: &str,
        role: Role,
        uid: Option<u32>,
    ) -> Result<(), String> {
        let account = name.to_owned();
        let act = Act::Account { change, account, role, side: CameFrom::Console, uid };
        let why = |why| format!("the audit log does not take the record of it: {why}");
        self.queue.act(act).await.map_err(why)
    }
}

/// Does it to the file. There is no record of it but that of the accounts found at the next start.
pub(crate) fn offline(file: &Path, ask: &AccountAsk) -> Result<AccountAnswer, String> {
    let named = |why: &dyn std::fmt::Display| format!("{}: {why}", file.display());
    let mut accounts = Accounts::load(file).map_err(|why| named(&why))?;
    match ask {
        AccountAsk::List => Ok(AccountAnswer::List(list(&accounts, |_| None))),
        AccountAsk::Change(change) => {
            let (role, secret) = accounts.change(change, i64::try_from(unix_s()).unwrap_or(i64::MAX))?;
            accounts.save(file).map_err(|why| named(&why))?;
            Ok(AccountAnswer::Done(done(change, role, secret)))
        }
        AccountAsk::Unlock { .. } => Err("what was guessed is known to a running gateway alone".to_owned()),
        AccountAsk::FirstSecret => Err("the secret is good at a running gateway alone: start it".to_owned()),
    }
}

fn list(accounts: &Accounts, sessions: impl Fn(&str) -> Option<usize>) -> Vec<Listed> {
    let listed = accounts.accounts.iter().map(|account| Listed {
        name: account.name.clone(),
        role: account.role,
        state: account.state().to_owned(),
        code: account.totp.is_some(),
        sessions: sessions(&account.name),
    });
    listed.collect()
}

fn word(change: &Change) -> AccountChange {
    match change {
        Change::Add { program: true, .. } => AccountChange::ProgramAdded,
        Change::Add { .. } => AccountChange::Added,
        Change::Reset { .. } => AccountChange::Reset,
        Change::Disable { .. } => AccountChange::Disabled,
        Change::Enable { .. } => AccountChange::Enabled,
        Change::Remove { .. } => AccountChange::Removed,
    }
}

fn done(change: &Change, role: Role, secret: Option<String>) -> Done {
    let name = change.name();
    let what = match change {
        Change::Add { program: true, .. } => {
            format!(
                "{name} reads as {role}, with `Authorization: Bearer` and this token; it is not shown again"
            )
        }
        Change::Add { .. } => {
            format!("{name}, {role}, is invited: /join on the page takes this secret, once, for a day")
        }
        Change::Reset { .. } => {
            format!("what {name} came in with is void; this takes its place, a secret for a day or a token")
        }
        Change::Disable { .. } => format!("{name} can't come in, and is logged out"),
        Change::Enable { .. } => format!("{name} can come in again"),
        Change::Remove { .. } => format!("{name} is no more"),
    };
    Done { what, secret }
}
