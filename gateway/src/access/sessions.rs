//! Sessions: who is logged in.
//!
//! A session is a number of 256 random bits, which its browser holds and of which the gateway keeps the SHA-256, in memory: what is in memory opens
//! nothing, and a restart ends all of them. It ends by itself a while after the last view that a person asked for, and in any case a
//! working day after the login. Time is monotonic.

use super::Role;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};
use std::collections::HashMap;
use std::time::Duration;

/// How long it lasts without a request of a person.
pub(crate) const IDLE: Duration = Duration::from_secs(15 * 60);
/// How long it lasts at most.
pub(crate) const LONGEST: Duration = Duration::from_secs(8 * 3600);
/// Sessions of one account; a further login ends the oldest.
pub(crate) const EACH: usize = 2;

/// What is kept of it.
struct Session {
    account: String,
    role: Role,
    /// Goes with everything that changes something.
    token: String,
    begun: Duration,
    seen: Duration,
}

/// Somebody who is logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Viewer {
    pub(crate) account: String,
    pub(crate) role: Role,
    /// What must come back with everything that changes something.
    pub(crate) token: String,
}

/// All sessions: never more than [`EACH`] for each account, of which there are few.
#[derive(Default)]
pub(crate) struct Sessions(HashMap<[u8; 32], Session>);

impl Sessions {
    /// Begins one; returns its secret, and how many of the account were ended for it.
    pub(crate) fn begin(&mut self, account: &str, role: Role, now: Duration) -> Option<(String, usize)> {
        self.sweep(now);
        let mut ended = 0;
        while self.0.values().filter(|session| session.account == account).count() >= EACH {
            let oldest = self.0.iter().filter(|(_, session)| session.account == account);
            let Some(oldest) = oldest.min_by_key(|(_, session)| session.begun).map(|(key, _)| *key) else {
                break;
            };
            self.0.remove(&oldest);
            ended += 1;
        }
        let (secret, token) = (random()?, random()?);
        let session = Session { account: account.to_owned(), role, token, begun: now, seen: now };
        self.0.insert(key(&secret), session);
        Some((secret, ended))
    }

    /// Whose session this is, if it is one. `asked`: a person did, not a script that looks again each second.
    pub(crate) fn viewer(&mut self, secret: &str, asked: bool, now: Duration) -> Option<Viewer> {
        let key = key(secret);
        let session = self.0.get_mut(&key)?;
        if is_over(session, now) {
            self.0.remove(&key);
            return None;
        }
        if asked {
            session.seen = now;
        }
        Some(Viewer { account: session.account.clone(), role: session.role, token: session.token.clone() })
    }

    /// Ends one.
    pub(crate) fn end(&mut self, secret: &str) {
        self.0.remove(&key(secret));
    }

    /// Ends all of an account; says how many there were.
    pub(crate) fn end_all(&mut self, account: &str) -> usize {
        let before = self.0.len();
        self.0.retain(|_, session| session.account != account);
        before - self.0.len()
    }

    /// How many an account has.
    pub(crate) fn of(&self, account: &str, now: Duration) -> usize {
        self.0.values().filter(|session| session.account == account && !is_over(session, now)).count()
    }

    fn sweep(&mut self, now: Duration) {
        self.0.retain(|_, session| !is_over(session, now));
    }
}

fn is_over(session: &Session, now: Duration) -> bool {
    now.saturating_sub(session.seen) >= IDLE || now.saturating_sub(session.begun) >= LONGEST
}

/// 256 random bits, as text.
pub(crate) fn random() -> Option<String> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(data_encoding::BASE64URL_NOPAD.encode(&bytes))
}

/// What is kept of a secret: whoever reads it can't present it. Looking it up by its hash leaks nothing that helps to find it.
pub(crate) fn key(secret: &str) -> [u8; 32] {
    digest_of(secret.as_bytes())
}

/// SHA-256.
pub(crate) fn digest_of(bytes: &[u8]) -> [u8; 32] {
    let mut key = [0; 32];
    for (to, from) in key.iter_mut().zip(digest(&SHA256, bytes).as_ref()) {
        *to = *from;
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    #[test]
    fn it_ends_when_nobody_asks_and_at_the_end_of_the_day() {
        let mut sessions = Sessions::default();
        let (secret, _) = sessions.begin("li", Role::Operator, S(100)).unwrap();
        assert_eq!(secret.len(), 43, "256 bits");
        let viewer = sessions.viewer(&secret, true, S(100)).unwrap();
        assert_eq!((viewer.account.as_str(), viewer.role, viewer.token.len()), ("li", Role::Operator, 43));
        // A script that looks again each second does not keep it.
        for at in 101..1000 {
            assert!(sessions.viewer(&secret, false, S(at)).is_some());
        }
        assert_eq!(sessions.viewer(&secret, true, S(100 + 900)), None);
        assert_eq!(sessions.viewer(&secret, true, S(101)), None, "it does not come back");
        let (secret, _) = sessions.begin("li", Role::Operator, S(0)).unwrap();
        for at in (0..8 * 3600).step_by(60) {
            assert!(sessions.viewer(&secret, true, S(at)).is_some(), "{at}");
        }
        assert_eq!(sessions.viewer(&secret, true, S(8 * 3600)), None);
    }

    #[test]
    fn two_each_and_a_third_ends_the_oldest() {
        let mut sessions = Sessions::default();
        let (a, _) = sessions.begin("li", Role::Operator, S(1)).unwrap();
        let (b, _) = sessions.begin("li", Role::Operator, S(2)).unwrap();
        let (other, _) = sessions.begin("wang", Role::Auditor, S(2)).unwrap();
        let (c, ended) = sessions.begin("li", Role::Operator, S(3)).unwrap();
        assert_eq!((ended, sessions.of("li", S(3))), (1, 2));
        let is = |sessions: &mut Sessions, secret: &str| sessions.viewer(secret, true, S(4)).is_some();
        assert_eq!([&a, &b, &c, &other].map(|s| is(&mut sessions, s)), [false, true, true, true]);
        sessions.end(&b);
        assert_eq!((is(&mut sessions, &b), sessions.end_all("li"), is(&mut sessions, &c)), (false, 1, false));
        assert!(is(&mut sessions, &other) && !is(&mut sessions, "") && !is(&mut sessions, &other[1..]));
    }

    #[test]
    fn no_more_than_two_an_account_are_kept_however_many_logins() {
        let mut sessions = Sessions::default();
        for at in 0..1000 {
            sessions.begin(if at % 2 == 0 { "li" } else { "wang" }, Role::Operator, S(at)).unwrap();
        }
        assert_eq!(sessions.0.len(), 4);
    }
}
