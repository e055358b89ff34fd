//! Accounts, and the file they are in.
//!
//! The file is JSON that only its owner may read. It holds no password and no token, only what they are checked against; of codes it holds the
//! secrets, which can't be hashed. It is replaced as a whole: written beside, made durable, renamed.

use super::Role;
use super::sessions::{key, random};
use crate::config::read_bounded;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// Accounts at most.
pub(crate) const MOST: usize = 128;
/// The file is never longer.
const MAX_BYTES: u64 = 256 << 10;
/// Seconds that an invitation is good for.
pub(crate) const INVITED_S: i64 = 86_400;

/// Somebody who may log in; or a program that may read, where there is a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) role: Role,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) disabled: bool,
    /// Argon2id, as a PHC string.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) password: Option<String>,
    /// The secret of its codes, in base 32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) totp: Option<String>,
    /// SHA-256 of a token that a program reads with, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) invitation: Option<Invitation>,
}

/// The right to choose a password for an account, once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Invitation {
    /// SHA-256 of its secret, hexadecimal.
    pub(crate) secret: String,
    /// Seconds since 1970.
    pub(crate) until: i64,
}

/// All accounts, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Accounts {
    pub(crate) accounts: Vec<Account>,
}

/// What is changed from the command line.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Change {
    /// A person, who is invited; or a program, which gets a token.
    Add {
        name: String,
        role: Role,
        program: bool,
    },
    /// Password and codes are void; the person is invited again, the program gets another token.
    Reset {
        name: String,
    },
    Disable {
        name: String,
    },
    Enable {
        name: String,
    },
    Remove {
        name: String,
    },
}

impl Change {
    /// Whom it is about.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Add { name, .. }
            | Self::Reset { name }
            | Self::Disable { name }
            | Self::Enable { name }
            | Self::Remove { name } => name,
        }
    }
}

impl Account {
    /// How it is, in a word.
    pub(crate) const fn state(&self) -> &'static str {
        match self {
            Self { disabled: true, .. } => "disabled",
            Self { token: Some(_), .. } => "program",
            Self { invitation: Some(_), .. } => "invited",
            _ => "active",
        }
    }
}

/// Whether people in this role must show a code.
pub(crate) const fn needs_code(role: Role) -> bool {
    !matches!(role, Role::Operator | Role::Auditor)
}

/// Whether a text can be the name of an account: it stands in records and on pages as it is.
pub(crate) fn is_name(text: &str) -> bool {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-_".contains(&b);
    (2..=32).contains(&text.len())
        && text.bytes().all(good)
        && text.starts_with(|c: char| c.is_ascii_lowercase())
}

impl Accounts {
    /// Reads the file; none is none. Whoever else could read it makes it useless, so that is an error.
    pub(crate) fn load(path: &Path) -> io::Result<Self> {
        let bytes = match read_bounded(path, MAX_BYTES) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(e) => return Err(e),
        };
        let mode = std::fs::metadata(path)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(io::Error::other(format!("it has mode {mode:03o}: run `chmod 600` on it")));
        }
        let read: Self = serde_json::from_slice(&bytes).map_err(io::Error::other)?;
        let names: std::collections::BTreeSet<&str> = read.accounts.iter().map(|a| a.name.as_str()).collect();
        if names.len() != read.accounts.len()
            || read.accounts.len() > MOST
            || !names.iter().all(|name| is_name(name))
        {
            return Err(io::Error::other("a name stands there twice or is none, or there are too many"));
        }
        Ok(read)
    }

    /// Puts them in the place of what was there, durably.
    pub(crate) fn save(&self, path: &Path) -> io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("/"));
        std::fs::create_dir_all(folder)?;
        write(path, &self.bytes())?;
        File::open(folder)?.sync_all()
    }

    /// What stands in the file.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// The account of that name.
    pub(crate) fn get(&self, name: &str) -> Option<&Account> {
        self.accounts.iter().find(|account| account.name == name)
    }

    /// The same, to change it.
    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut Account> {
        self.accounts.iter_mut().find(|account| account.name == name)
    }

    /// The program that this token is of.
    pub(crate) fn of_token(&self, token: &str) -> Option<&Account> {
        let hash = hash(token);
        let is = |account: &&Account| account.token.as_ref() == Some(&hash) && !account.disabled;
        self.accounts.iter().find(is)
    }

    /// Who was invited with this secret, while that is good.
    pub(crate) fn invited(&self, secret: &str, unix_s: i64) -> Option<&Account> {
        let hash = hash(secret);
        let is = |account: &&Account| {
            account.invitation.as_ref().is_some_and(|i| i.secret == hash && unix_s < i.until)
                && !account.disabled
        };
        self.accounts.iter().find(is)
    }

    /// Changes them; returns the role of whom it is about, and a secret where there is one to hand over.
    pub(crate) fn change(&mut self, change: &Change, unix_s: i64) -> Result<(Role, Option<String>), String> {
        let name = change.name();
        let nobody =
            || format!("there is no account `{name}`: `glassgate account list` shows those there are");
        match change {
            Change::Add { role, program, .. } => {
                if !is_name(name) {
                    return Err(format!(
                        "`{name}` can't be a name: 2 to 32 of a-z, 0-9, `.`, `-`, `_`, a letter first"
                    ));
                }
                if self.get(name).is_some() {
                    return Err(format!(
                        "there is an account `{name}`: `glassgate account reset` gives it a new secret"
                    ));
                }
                if self.accounts.len() >= MOST {
                    return Err(format!("there are {MOST} accounts, and there may be no more: remove some"));
                }
                if *program && !matches!(role, Role::Operator | Role::Auditor) {
                    return Err(format!(
                        "a program can't be `{role}`: it reads as an operator or an auditor"
                    ));
                }
                let mut account = Account {
                    name: name.to_owned(),
                    role: *role,
                    disabled: false,
                    password: None,
                    totp: None,
                    token: None,
                    invitation: None,
                };
                let secret = account.hand_over(*program, unix_s)?;
                self.accounts.push(account);
                self.accounts.sort_by(|a, b| a.name.cmp(&b.name));
                Ok((*role, Some(secret)))
            }
            Change::Reset { .. } => {
                let account = self.get_mut(name).ok_or_else(nobody)?;
                let program = account.token.is_some();
                let secret = account.hand_over(program, unix_s)?;
                Ok((account.role, Some(secret)))
            }
            Change::Disable { .. } | Change::Enable { .. } => {
                let account = self.get_mut(name).ok_or_else(nobody)?;
                account.disabled = matches!(change, Change::Disable { .. });
                Ok((account.role, None))
            }
            Change::Remove { .. } => {
                let role = self.get(name).ok_or_else(nobody)?.role;
                self.accounts.retain(|account| account.name != name);
                Ok((role, None))
            }
        }
    }
}

impl Account {
    /// Voids what it came in with; returns the secret of the token or of the invitation that takes the place.
    fn hand_over(&mut self, program: bool, unix_s: i64) -> Result<String, String> {
        let secret = random().ok_or("there is no randomness")?;
        (self.password, self.totp, self.token, self.invitation) = (None, None, None, None);
        if program {
            self.token = Some(hash(&secret));
        } else {
            self.invitation =
                Some(Invitation { secret: hash(&secret), until: unix_s.saturating_add(INVITED_S) });
        }
        Ok(secret)
    }
}

/// SHA-256, hexadecimal. Secrets have 256 random bits: how long it takes to compare their hashes tells nothing of them.
pub(crate) fn hash(secret: &str) -> String {
    data_encoding::HEXLOWER.encode(&key(secret))
}

/// Writes a file for its owner alone, in the place of what was there.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    match std::fs::remove_file(&beside) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(name: &str, role: Role, program: bool) -> Change {
        Change::Add { name: name.to_owned(), role, program }
    }

    #[test]
    fn what_is_written_is_read_again_by_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("page/accounts");
        assert_eq!(Accounts::load(&path).unwrap(), Accounts::default());
        let mut accounts = Accounts::default();
        let (role, secret) = accounts.change(&add("li.wei", Role::Engineer, false), 1000).unwrap();
        let (secret, token) =
            (secret.unwrap(), accounts.change(&add("lab", Role::Operator, true), 1000).unwrap().1.unwrap());
        assert_eq!(role, Role::Engineer);
        accounts.save(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(Accounts::load(&path).unwrap(), accounts);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains(&secret) && !text.contains(&token), "only their hashes");
        for mode in [0o640, 0o604, 0o660] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert!(Accounts::load(&path).unwrap_err().to_string().contains("chmod"), "{mode:o}");
        }
        accounts.save(&path).unwrap();
        assert_eq!(accounts.of_token(&token).unwrap().name, "lab");
        assert_eq!(accounts.of_token(&secret), None, "an invitation is no token");
        assert_eq!(accounts.invited(&secret, 1001).unwrap().name, "li.wei");
        assert_eq!(accounts.invited(&secret, 1000 + INVITED_S), None, "a day later");
        accounts.change(&Change::Disable { name: "lab".to_owned() }, 0).unwrap();
        assert_eq!(accounts.of_token(&token), None);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let mut accounts = Accounts::default();
        for name in ["", "a", "Li", "1li", "li wei", "<b>", "李伟", &"a".repeat(33), "li\n"] {
            assert!(accounts.change(&add(name, Role::Operator, false), 0).is_err(), "{name}");
        }
        for role in [Role::Engineer, Role::HumanResources, Role::WorksCouncil, Role::DataProtectionOfficer] {
            assert!(accounts.change(&add("prog", role, true), 0).is_err(), "{role}");
        }
        assert!(accounts.change(&Change::Reset { name: "li".to_owned() }, 0).unwrap_err().contains("list"));
        for n in 0..MOST {
            accounts.change(&add(&format!("n{n}"), Role::Operator, false), 0).unwrap();
        }
        assert!(accounts.change(&add("more", Role::Operator, false), 0).is_err());
        assert!(accounts.change(&add("n1", Role::Operator, false), 0).is_err(), "twice");
        assert!(accounts.bytes().len() < MAX_BYTES as usize);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("accounts");
        for junk in
            ["", "{", "[]", r#"{"accounts":[{"name":"x","role":"king"}]}"#, r#"{"accounts":[],"more":1}"#]
        {
            write(&path, junk.as_bytes()).unwrap();
            assert!(Accounts::load(&path).is_err(), "{junk}");
        }
    }
}
