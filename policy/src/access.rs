//! The records of who comes to the page: logins, refusals, and what becomes of accounts.
//!
//! An account is somebody who works with the gateway, never somebody whose traffic crosses it. A record names the account, its role and the side that the
//! request came from; no address, no browser, and of a login that failed no name that is nobody's: people type their password
//! there.

use serde::Serialize;

use crate::audit::{Hex, Window, Word};
use crate::vocab::coded;

coded! {
    /// From which side of the gateway a request came.
    pub enum CameFrom {
        /// The management side.
        Management = 1 => "management",
        /// The side of the people whose traffic crosses the gateway.
        Lan = 2 => "lan",
        /// The command line of the gateway itself.
        Console = 3 => "console",
    }
}

coded! {
    /// Why somebody was not let in.
    pub enum LoginRefusal {
        /// There is no such account.
        NoAccount = 1 => "no_account",
        /// There is, and it may not come in: it is disabled, or was never given a password.
        NotActive = 2 => "not_active",
        /// The password is wrong.
        Password = 3 => "password",
        /// The password is right, the code is wrong or was used before.
        Code = 4 => "code",
        /// Too much was guessed: it was not looked at.
        TooMany = 5 => "too_many",
        /// The secret of an invitation is wrong, used or too old.
        Invitation = 6 => "invitation",
    }
}

coded! {
    /// Why somebody's sessions end before their time.
    pub enum LogoutCause {
        /// They asked for it.
        Asked = 1 => "asked",
        /// They chose another password.
        PasswordChanged = 2 => "password_changed",
        /// Somebody changed the account.
        AccountChanged = 3 => "account_changed",
        /// They logged in elsewhere more often than is allowed.
        Displaced = 4 => "displaced",
    }
}

coded! {
    /// What becomes of an account.
    pub enum AccountChange {
        /// The first one is made, with the secret of the first start.
        First = 1 => "first",
        /// It is added, and its person invited.
        Added = 2 => "added",
        /// It is added for a program.
        ProgramAdded = 3 => "program_added",
        /// Its person accepts the invitation: password and codes are theirs.
        Joined = 4 => "joined",
        /// Its person chooses another password.
        Password = 5 => "password",
        /// What it comes in with is void, and its person is invited again.
        Reset = 6 => "reset",
        /// It may not come in.
        Disabled = 7 => "disabled",
        /// It may again.
        Enabled = 8 => "enabled",
        /// It is no more.
        Removed = 9 => "removed",
        /// Whatever was guessed at it is forgotten.
        Unlocked = 10 => "unlocked",
    }
}

/// Somebody came in.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Login<'a> {
    /// Who.
    pub account: &'a str,
    /// As what.
    pub role: &'a str,
    /// From where.
    pub side: Word<CameFrom>,
    /// Whether a code was shown beside the password.
    pub code: bool,
}

/// Somebody was not let in. The first of an hour are told one by one, further ones in sum at its end.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct LoginFailed<'a> {
    /// The account that was meant, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<&'a str>,
    /// From where.
    pub side: Word<CameFrom>,
    /// Why.
    pub reason: Word<LoginRefusal>,
    /// How often.
    pub count: u64,
    /// In what time, where it is a sum.
    #[serde(flatten)]
    pub window: Option<Window>,
}

/// Sessions end before their time.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Logout<'a> {
    /// Whose.
    pub account: &'a str,
    /// Their role.
    pub role: &'a str,
    /// Why.
    pub cause: Word<LogoutCause>,
}

/// Somebody who is logged in asked for what their role may not have. Told one by one and in sum, as logins that failed.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Denied<'a> {
    /// Who.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<&'a str>,
    /// As what.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'a str>,
    /// From where.
    pub side: Word<CameFrom>,
    /// The endpoint, as the OpenAPI file calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<&'a str>,
    /// How often.
    pub count: u64,
    /// In what time, where it is a sum.
    #[serde(flatten)]
    pub window: Option<Window>,
}

/// Something becomes of an account.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct AccountLine<'a> {
    /// What.
    pub change: Word<AccountChange>,
    /// Which.
    pub account: &'a str,
    /// Its role.
    pub role: &'a str,
    /// From where.
    pub side: Word<CameFrom>,
    /// User id of who did it on the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
}

/// Somebody has looked at a version of a subscribed list that was held, and takes it.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ListAccepted<'a> {
    /// The list.
    pub list: &'a str,
    /// SHA-256 of the version, hexadecimal.
    pub sha256: &'a str,
    /// Names of it.
    pub names: usize,
    /// Those that the version before did not have.
    pub added: usize,
    /// Those of the version before that it does not have.
    pub removed: usize,
    /// Who, where they came by the page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<&'a str>,
    /// As what.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'a str>,
    /// From where.
    pub side: Word<CameFrom>,
    /// User id of who did it on the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
}

/// The accounts that there are at start: a file that was changed while nothing ran shows by it.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct AccountsFound<'a> {
    /// How many.
    pub accounts: u64,
    /// SHA-256 of their file.
    pub sha256: Hex<'a>,
}
