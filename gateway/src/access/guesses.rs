//! How often passwords may be tried.
//!
//! | bound | of |
//! |---|---|
//! | 10 a minute | a source, whatever names it tries |
//! | 10 in 24 hours, with a growing wait from the third on | an account from one source |
//! | 60 in 24 hours | an account from all sources it never came in from |
//! | 4 | sources that an account came in from, each with its own 10: nobody else's guesses count against them |
//!
//! So an account is guessed at 100 times in 24 hours at most, and whoever logs in where they did before is not kept out by others who
//! guess. A source is an IPv4 address, or the /64 of an IPv6 address. A name that is nobody's is treated as any other: whether there
//! is such an account can't be told from when a guess is refused.
//!
//! Both tables are bounded. When one is full, what was used least recently is forgotten, of names only those that are nobody's. Whoever has thousands of
//! sources gains by that a few more guesses a minute, and none at an account.

use super::sessions::key;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);
/// Of a source in a minute.
const A_MINUTE: usize = 10;
/// Of an account from one source in a day.
const FROM_ONE: usize = 10;
/// Of an account in a day, from all sources it never came in from.
const FROM_STRANGERS: usize = 60;
/// Guesses after which there is a wait.
const FREE: usize = 3;
/// Sources that an account came in from.
const KNOWN: usize = 4;
const SOURCES: usize = 4096;
const NAMES: usize = 1024;

/// What a guess is counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Source(IpAddr);

impl Source {
    pub(crate) fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V6(v6) => Self(IpAddr::V6((v6.to_bits() & !u128::from(u64::MAX)).into())),
            v4 => Self(v4),
        }
    }
}

#[derive(Default)]
struct Name {
    /// There is such an account: it is not forgotten.
    is_account: bool,
    last: Duration,
    failed: VecDeque<(Duration, Source)>,
    /// Where it came in from, and when.
    known: Vec<(Source, Duration)>,
}

/// A guess of a source, whatever it was at.
struct Guess {
    at: Duration,
    was_right: bool,
}

/// What was tried.
#[derive(Default)]
pub(crate) struct Guesses {
    sources: HashMap<Source, VecDeque<Guess>>,
    names: HashMap<[u8; 32], Name>,
}

impl Guesses {
    /// Takes a guess into account before it is looked at. `Err`: how long to wait instead. It counts as wrong until [`Self::was_right`].
    pub(crate) fn take(
        &mut self,
        name: &str,
        is_account: bool,
        from: Source,
        now: Duration,
    ) -> Result<(), Duration> {
        self.source(from, now)?;
        if self.names.len() >= NAMES && !self.names.contains_key(&key(name)) {
            let oldest =
                self.names.iter().filter(|(_, name)| !name.is_account).min_by_key(|(_, name)| name.last);
            if let Some(oldest) = oldest.map(|(key, _)| *key) {
                self.names.remove(&oldest);
            }
        }
        let name = self.names.entry(key(name)).or_default();
        name.is_account |= is_account;
        name.last = now;
        name.failed.retain(|(at, _)| now.saturating_sub(*at) < DAY);
        let from_here = || name.failed.iter().filter(|(_, source)| *source == from).map(|(at, _)| *at);
        let (count, first, last) = (from_here().count(), from_here().min(), from_here().max());
        let until =
            |at: Option<Duration>, span: Duration| at.map_or(span, |at| (at + span).saturating_sub(now));
        if count >= FROM_ONE {
            return Err(until(first, DAY));
        }
        if count >= FREE {
            let wait = until(last, Duration::from_secs(1 << (count + 1 - FREE)));
            if !wait.is_zero() {
                return Err(wait);
            }
        }
        let is_known = |source: &Source| name.known.iter().any(|(known, _)| known == source);
        if !is_known(&from) {
            let strangers = || name.failed.iter().filter(|(_, source)| !is_known(source));
            if strangers().count() >= FROM_STRANGERS {
                return Err(until(strangers().map(|(at, _)| *at).min(), DAY));
            }
        }
        name.failed.push_back((now, from));
        Ok(())
    }

    /// The guess was none: it does not count, and its source is one that this account comes in from.
    pub(crate) fn was_right(&mut self, name: &str, from: Source, now: Duration) {
        let tried = self.sources.get_mut(&from).into_iter().flatten();
        if let Some(guess) = tried.rev().find(|guess| !guess.was_right) {
            guess.was_right = true;
        }
        let Some(name) = self.names.get_mut(&key(name)) else { return };
        name.failed.retain(|(_, source)| *source != from);
        name.known.retain(|(source, _)| *source != from);
        name.known.push((from, now));
        if name.known.len() > KNOWN {
            name.known.remove(0);
        }
    }

    /// Who is looked at first: 0 where this account came in before from there; else how often its source guessed wrong in the last minute,
    /// the guess that waits among them.
    pub(crate) fn rank(&self, name: &str, from: Source) -> usize {
        let known = |name: &Name| name.known.iter().any(|(known, _)| *known == from);
        if self.names.get(&key(name)).is_some_and(known) {
            return 0;
        }
        let wrong = |tried: &VecDeque<Guess>| tried.iter().filter(|guess| !guess.was_right).count();
        self.sources.get(&from).map_or(1, wrong).max(1)
    }

    /// The last guess was not looked at.
    pub(crate) fn give_back(&mut self, name: &str, from: Source) {
        let Some(name) = self.names.get_mut(&key(name)) else { return };
        if let Some(at) = name.failed.iter().rposition(|(_, source)| *source == from) {
            name.failed.remove(at);
        }
    }

    /// Forgets what was guessed at an account.
    pub(crate) fn forgive(&mut self, name: &str) {
        if let Some(name) = self.names.get_mut(&key(name)) {
            name.failed.clear();
        }
    }

    /// Holds a source to what it may try in a minute.
    pub(crate) fn source(&mut self, from: Source, now: Duration) -> Result<(), Duration> {
        if self.sources.len() >= SOURCES && !self.sources.contains_key(&from) {
            let last = |tried: &VecDeque<Guess>| tried.back().map(|guess| guess.at).unwrap_or_default();
            // Those that nothing holds back any more.
            self.sources.retain(|_, tried| now.saturating_sub(last(tried)) < MINUTE);
            if self.sources.len() >= SOURCES
                && let Some(oldest) =
                    self.sources.iter().min_by_key(|(_, tried)| last(tried)).map(|(key, _)| *key)
            {
                self.sources.remove(&oldest);
            }
        }
        let tried = self.sources.entry(from).or_default();
        while tried.front().is_some_and(|guess| now.saturating_sub(guess.at) >= MINUTE) {
            tried.pop_front();
        }
        if tried.len() >= A_MINUTE {
            let first = tried.front().map_or(now, |guess| guess.at);
            return Err((first + MINUTE).saturating_sub(now));
        }
        tried.push_back(Guess { at: now, was_right: false });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    const S: fn(u64) -> Duration = Duration::from_secs;

    fn v4(n: u32) -> Source {
        Source::of(IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + n)))
    }

    /// An attacker who never rests, for a day: 50 guesses a second from so many sources. The admin comes once an hour.
    fn a_day(sources: u32, admin_first: bool) -> (usize, usize, usize) {
        let mut guesses = Guesses::default();
        let (mut tried, mut most_a_minute, mut kept_out) = (0, 0, 0);
        let admin = v4(9_999_999);
        for second in 0..86_400_u64 {
            let now = S(1_000_000 + second);
            if second % 3600 == u64::from(!admin_first) * 1800 {
                match guesses.take("admin", true, admin, now) {
                    Ok(()) => guesses.was_right("admin", admin, now),
                    Err(_) => kept_out += 1,
                }
            }
            let mut this_second = 0;
            for n in 0..50 {
                let source = v4((second as u32 * 50 + n) % sources);
                this_second += usize::from(guesses.take("admin", true, source, now).is_ok());
            }
            tried += this_second;
            most_a_minute = most_a_minute.max(this_second);
        }
        (tried, most_a_minute, kept_out)
    }

    #[test]
    fn a_day_of_guessing_from_one_source_or_some_keeps_nobody_out() {
        for sources in [1, 2, 5] {
            let (tried, _, kept_out) = a_day(sources, false);
            assert!(tried <= 10 * sources as usize && tried >= 10, "{sources} sources: {tried}");
            assert_eq!(kept_out, 0, "{sources} sources");
        }
    }

    #[test]
    fn a_day_of_guessing_from_everywhere_is_a_hundred_guesses_at_most() {
        for sources in [100, 100_000] {
            let (tried, _, kept_out) = a_day(sources, true);
            assert!(tried <= 100, "{sources} sources: {tried}");
            assert_eq!(kept_out, 0, "where the admin came in before");
        }
    }

    #[test]
    fn ten_a_minute_whatever_the_names() {
        let mut guesses = Guesses::default();
        for minute in 0..3 {
            let taken =
                (0..60).filter(|s| guesses.take(&format!("n{s}"), false, v4(1), S(minute * 60 + s)).is_ok());
            assert!(taken.count() <= 10);
        }
        // Other sources are not held up by it; all of a /64 are one.
        assert!(guesses.take("li", true, v4(2), S(179)).is_ok());
        let of = |host: u16| Source::of(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host)));
        assert_eq!(of(1), of(0xffff));
        assert_eq!(Source::of("::ffff:10.0.0.1".parse().unwrap()), v4(1));
    }

    #[test]
    fn the_wait_grows_and_a_right_guess_ends_it() {
        let mut guesses = Guesses::default();
        let mut at = S(1000);
        for wait in [0, 0, 0, 2, 4, 8, 16, 32, 64, 128] {
            if [2, 128].contains(&wait) {
                assert_eq!(guesses.take("li", true, v4(1), at), Err(S(wait)));
            }
            at += S(wait);
            assert_eq!(guesses.take("li", true, v4(1), at), Ok(()));
        }
        at += S(3600);
        assert!(guesses.take("li", true, v4(1), at).unwrap_err() > S(80_000), "for a day");
        guesses.forgive("li");
        assert_eq!(guesses.take("li", true, v4(1), at), Ok(()));
        guesses.was_right("li", v4(1), at);
        for _ in 0..3 {
            assert_eq!(guesses.take("li", true, v4(1), at), Ok(()));
        }
    }

    #[test]
    fn who_came_in_before_is_first_and_who_guesses_is_last() {
        let mut guesses = Guesses::default();
        for n in 1..=5 {
            guesses.take(&format!("n{n}"), false, v4(1), S(n)).unwrap();
            assert_eq!(guesses.rank("li", v4(1)), n as usize);
        }
        assert_eq!(guesses.rank("li", v4(2)), 1, "nobody knows it");
        for name in ["li", "wang", "chen"] {
            guesses.take(name, true, v4(2), S(6)).unwrap();
            assert_eq!(guesses.rank(name, v4(2)), 1, "those of it that were right are no guesses");
            guesses.was_right(name, v4(2), S(6));
            assert_eq!(guesses.rank(name, v4(2)), 0);
        }
        assert_eq!(guesses.rank("li", v4(1)), 5, "where it came in from is not everywhere");
    }

    #[test]
    fn full_tables_forget_what_was_used_least_recently() {
        let mut guesses = Guesses::default();
        guesses.take("li", true, v4(0), S(0)).unwrap();
        for n in 0..20_000 {
            _ = guesses.take(&format!("nobody{n}"), false, v4(n), S(1 + u64::from(n)));
        }
        assert_eq!(guesses.names.len(), NAMES);
        assert!(guesses.sources.len() <= SOURCES, "{}", guesses.sources.len());
        // A thousand sources a second: nothing is old enough to be swept out.
        for n in 0..10_000_u64 {
            _ = guesses.take("li", true, v4(1_000_000 + n as u32), S(40_000) + Duration::from_millis(n));
        }
        assert_eq!(guesses.sources.len(), SOURCES);
        assert!(guesses.names.contains_key(&key("li")), "an account is not forgotten");
        assert!(
            guesses.names.contains_key(&key("nobody19999")) && !guesses.names.contains_key(&key("nobody0"))
        );
        // As many accounts as there may be leave room for others.
        for n in 0..super::super::accounts::MOST {
            guesses.take(&format!("account{n}"), true, v4(50_000 + n as u32), S(30_000)).unwrap();
        }
        assert_eq!(guesses.names.len(), NAMES);
    }
}
