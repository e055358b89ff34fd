//! `glassgate account …`: through the running gateway, which puts each change on record first; where none runs, on the file of the accounts.
//!
//! So it works for whoever is locked out of the page, and who may is whoever may open the control socket or the file.

use crate::access::accounts::Change;
use crate::access::{AccountAnswer, AccountAsk, offline};
use crate::ask::{ask, is_not_running, socket};
use crate::cli::Ask;
use crate::cli::account::Account;
use crate::control::socket::{Answer, Question};
use crate::exit::{Ended, Exit};
use anyhow::Result;
use std::fmt::Write as _;

/// Does it.
pub(crate) fn run(verb: &Account) -> Result<Exit> {
    let named = |name: &String| name.clone();
    let (args, asked) = match verb {
        Account::Add(add) => {
            let change = Change::Add { name: named(&add.name), role: add.role, program: add.program };
            (&add.ask, AccountAsk::Change(change))
        }
        Account::List(args) => (args, AccountAsk::List),
        Account::Reset(one) => (&one.ask, AccountAsk::Change(Change::Reset { name: named(&one.name) })),
        Account::Disable(one) => (&one.ask, AccountAsk::Change(Change::Disable { name: named(&one.name) })),
        Account::Enable(one) => (&one.ask, AccountAsk::Change(Change::Enable { name: named(&one.name) })),
        Account::Remove(one) => (&one.ask, AccountAsk::Change(Change::Remove { name: named(&one.name) })),
        Account::Unlock(one) => (&one.ask, AccountAsk::Unlock { name: named(&one.name) }),
        Account::FirstSecret(args) => (args, AccountAsk::FirstSecret),
    };
    let answer = answer(args, asked).map_err(|why| match why.downcast::<Ended>() {
        Ok(ended) => ended,
        Err(why) => Ended::new(Exit::Failed, format!("{why:#}")),
    })?;
    let text = match (&answer, args.json) {
        (AccountAnswer::List(all), true) => serde_json::to_string(all)? + "\n",
        (AccountAnswer::Done(done), true) => serde_json::to_string(done)? + "\n",
        (AccountAnswer::List(all), false) if all.is_empty() => {
            "no accounts: `glassgate account first-secret` begins\n".to_owned()
        }
        (AccountAnswer::List(all), false) => {
            let mut out = String::new();
            for one in all {
                let code = if one.code { "code" } else { "-" };
                let sessions = one.sessions.map_or_else(|| "-".to_owned(), |n| n.to_string());
                let (name, role) = (&one.name, one.role.as_str());
                _ = writeln!(out, "{name:<32}  {role:<23}  {:<8}  {code:<4}  sessions {sessions}", one.state);
            }
            out
        }
        (AccountAnswer::Done(done), false) => {
            let secret = done.secret.as_ref().map(|secret| format!("{secret}\n")).unwrap_or_default();
            format!("{}\n{secret}", done.what)
        }
    };
    crate::print(&text)
}

fn answer(args: &Ask, asked: AccountAsk) -> Result<AccountAnswer> {
    let refused = |why: String| Ended::new(Exit::Failed, why).into();
    match ask(&socket(args)?, &Question::Account(asked.clone())) {
        Ok(Answer::Account(answer)) => Ok(answer),
        Ok(Answer::Denied(why)) => Err(refused(why)),
        Ok(_) => anyhow::bail!("the gateway gave another answer than was asked for"),
        // A socket that was named is the one that is meant.
        Err(why) if is_not_running(&why) && args.socket.is_none() => {
            let file = crate::load(&args.config)?.page.dir.join("accounts");
            offline(&file, &asked).map_err(refused)
        }
        Err(why) => Err(why),
    }
}
