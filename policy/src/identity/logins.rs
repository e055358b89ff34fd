//! Who is logged in where, as servers say: RADIUS accounting, and whoever may push over HTTP.
//!
//! A session says an account, a hardware address, network addresses, or some of them. It counts until it is said to be
//! over, or has not been heard of for a while, or a later one began on the same device or address. What a session says
//! counts only as far as nothing else contradicts it:
//!
//! | happens | then |
//! |---|---|
//! | two sessions name different accounts for one device or address, and it is not known which began later | nobody has it |
//! | a session names another device for an address than the frames that pass | nobody has it |
//! | a beginning arrives that is older than what is known of its session | it changes nothing |
//! | a beginning, or a sign of life, is older than [`FRESH_S`], or is one of a session that ended | it changes nothing |
//! | an end arrives late, or before its beginning | the session is over |
//! | the access server says that it came up or goes down | all its sessions are over |
//!
//! So packets that are lost, late or out of order can make a device private, and never somebody else's. One that is played
//! again is known by its Event-Timestamp, if it has one.
//!
//! Bounded: at most [`MAX_SESSIONS`]; when there is no room, the new one is refused, and counted. What is remembered of places
//! without a session is bounded too.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use super::bindings::is_of_one_host;
use super::radius::{Refused, Request, Status};
use super::{Mac, Who};
use crate::vocab::coded;

/// The most sessions, with those that ended a while ago.
pub const MAX_SESSIONS: usize = 1 << 16;
/// How old news may be that makes somebody known, seconds: what is older may have been over for long.
pub const FRESH_S: u32 = 300;
/// A session that ended is kept so long, so that what is late does not begin it anew.
const LATE_NS: u64 = 120 * 1_000_000_000;
/// A beginning that is repeated within this time is the same one, whatever its delay says.
const SAME_NS: u64 = 60 * 1_000_000_000;
/// How often what is known of beginnings is cleared of devices without sessions.
const CLEAR_NS: u64 = 60 * 1_000_000_000;

coded! {
    /// What a request that was taken did.
    pub enum Effect {
        /// A session began, or was heard of for the first time.
        Began = 1 => "began",
        /// A session goes on.
        Renewed = 2 => "renewed",
        /// A session ended, or all of an access server.
        Ended = 3 => "ended",
        /// It is too late for what it says.
        Stale = 4 => "stale",
        /// It says nothing of accounts, devices or addresses.
        Nothing = 5 => "nothing",
    }
}

/// What a session is known by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Accounting { nas: Nas, session: Box<[u8]> },
    Pushed(IpAddr),
}

/// An access server: of which client of ours, its address, its name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Nas(usize, IpAddr, Box<[u8]>);

#[derive(Clone, Debug)]
struct Session {
    account: Option<Box<str>>,
    mac: Option<Mac>,
    /// The device that the frames which pass showed at one of its addresses, where nobody said. It stays when they fall
    /// silent: what was seen on a random address is not forgotten with it.
    seen: Option<Mac>,
    addresses: Box<[IpAddr]>,
    /// When it began, or was first heard of.
    began_ns: u64,
    /// Until when it counts; of one that ended: until when it is remembered.
    until_ns: u64,
    /// When it ended.
    ended_ns: Option<u64>,
}

impl Session {
    fn begun(account: Option<Box<str>>, began_ns: u64) -> Self {
        Self { account, mac: None, seen: None, addresses: [].into(), began_ns, until_ns: 0, ended_ns: None }
    }
}

/// Where there is one session at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Place {
    Device(Mac),
    Address(IpAddr),
}

/// Who is logged in.
#[derive(Clone, Debug, Default)]
pub struct Logins {
    sessions: HashMap<Key, Session>,
    /// When the latest session began there that was said to begin.
    latest: HashMap<Place, u64>,
    cleared_ns: u64,
    /// Above so many places those are forgotten that no session is at.
    clear_at: usize,
    effects: [u64; Effect::ALL.len()],
    changed: bool,
}

/// When something is heard.
#[derive(Clone, Copy, Debug)]
pub struct Heard {
    /// Monotonic.
    pub now_ns: u64,
    /// Seconds since 1970, where the clock can be trusted.
    pub wall_s: Option<i64>,
    /// How long a session counts that is not heard of.
    pub silence_ns: u64,
}

impl Logins {
    /// Takes a request of a client; `source` stands for an access server that does not say its address.
    pub fn account(
        &mut self,
        client: usize,
        source: IpAddr,
        request: &Request<'_>,
        heard: Heard,
    ) -> Result<Effect, Refused> {
        let nas = Nas(client, request.nas_address.unwrap_or(source), request.nas.into());
        let age_s = age(request, heard.wall_s);
        let at_ns = heard.now_ns.saturating_sub(u64::from(age_s) * 1_000_000_000);
        let key = |nas| Key::Accounting { nas, session: request.session.into() };
        let effect = match request.status {
            Status::Start | Status::Interim if age_s > FRESH_S => Effect::Stale,
            Status::Start | Status::Interim => self.goes_on(key(nas), request, at_ns, heard)?,
            Status::Stop => self.ends(key(nas), at_ns, heard.now_ns),
            Status::On | Status::Off => {
                let before = self.sessions.len();
                self.sessions.retain(|key, session| {
                    session.began_ns > at_ns || !matches!(key, Key::Accounting { nas: of, .. } if *of == nas)
                });
                self.changed |= self.sessions.len() != before;
                Effect::Ended
            }
            Status::Other => Effect::Nothing,
        };
        if let Some(count) = self.effects.get_mut(effect as usize - 1) {
            *count += 1;
        }
        Ok(effect)
    }

    fn goes_on(
        &mut self,
        key: Key,
        request: &Request<'_>,
        at_ns: u64,
        heard: Heard,
    ) -> Result<Effect, Refused> {
        let begins = request.status == Status::Start;
        let addresses: Box<[IpAddr]> =
            request.addresses.iter().copied().filter(|ip| is_of_one_host(*ip)).collect();
        if request.mac.is_none() && addresses.is_empty() && !self.sessions.contains_key(&key) {
            return Ok(Effect::Nothing);
        }
        let until_ns = at_ns.saturating_add(heard.silence_ns);
        let full = self.sessions.len() >= MAX_SESSIONS;
        let (session, effect) = match self.sessions.entry(key) {
            Entry::Occupied(known) => {
                let session = known.into_mut();
                if session.ended_ns.is_some_and(|ended| !begins || at_ns <= ended) {
                    return Ok(Effect::Stale);
                }
                let again = session.ended_ns.take().is_some();
                let other = request.account.is_some() && request.account != session.account.as_deref();
                if begins && (again || other || at_ns > session.began_ns.saturating_add(SAME_NS)) {
                    // Access servers count sessions from the start again.
                    let account = request.account.map(Into::into);
                    *session = Session { until_ns: session.until_ns, ..Session::begun(account, at_ns) };
                    self.changed = true;
                }
                (session, if again { Effect::Began } else { Effect::Renewed })
            }
            Entry::Vacant(_) if full => return Err(Refused::NoRoom),
            Entry::Vacant(free) => {
                let account = request.account.map(Into::into);
                self.changed = true;
                (free.insert(Session::begun(account, at_ns)), Effect::Began)
            }
        };
        session.until_ns = session.until_ns.max(until_ns);
        if request.account.is_some() && request.account != session.account.as_deref() {
            session.account = request.account.map(Into::into);
            self.changed = true;
        }
        if request.mac.is_some() && session.mac != request.mac {
            session.mac = request.mac;
            self.changed = true;
        }
        if !addresses.is_empty() && session.addresses != addresses {
            session.addresses = addresses;
            self.changed = true;
        }
        if begins {
            for place in places(session.mac, &session.addresses) {
                let latest = self.latest.entry(place).or_default();
                *latest = (*latest).max(session.began_ns);
            }
            if self.latest.len() > self.clear_at {
                self.clear();
            }
        }
        Ok(effect)
    }

    fn ends(&mut self, key: Key, at_ns: u64, now_ns: u64) -> Effect {
        let full = self.sessions.len() >= MAX_SESSIONS;
        let until_ns = now_ns.saturating_add(LATE_NS);
        match self.sessions.entry(key) {
            Entry::Occupied(mut known) => {
                let session = known.get_mut();
                // A second of slack: delays are said in whole seconds.
                if session.ended_ns.is_some() || at_ns.saturating_add(1_000_000_000) < session.began_ns {
                    return Effect::Stale;
                }
                (session.ended_ns, session.until_ns) = (Some(at_ns.max(session.began_ns)), until_ns);
                self.changed = true;
                Effect::Ended
            }
            Entry::Vacant(free) => {
                // Its beginning may be on the way.
                if !full {
                    free.insert(Session { until_ns, ended_ns: Some(at_ns), ..Session::begun(None, at_ns) });
                }
                Effect::Stale
            }
        }
    }

    /// Somebody who may says that an account, or a device, or both have an address until then; it takes the place of what
    /// was said of this address before in the same way. `false`: there is no room.
    pub fn push(
        &mut self,
        ip: IpAddr,
        account: Option<&str>,
        mac: Option<Mac>,
        now_ns: u64,
        until_ns: u64,
    ) -> bool {
        let key = Key::Pushed(ip);
        if self.sessions.len() >= MAX_SESSIONS && !self.sessions.contains_key(&key) {
            return false;
        }
        let begun = Session::begun(account.map(Into::into), now_ns);
        self.sessions.insert(key, Session { mac, addresses: [ip].into(), until_ns, ..begun });
        self.changed = true;
        true
    }

    /// What was pushed of an address does not hold any more. Whether something was.
    pub fn withdraw(&mut self, ip: IpAddr) -> bool {
        let was = self.sessions.remove(&Key::Pushed(ip)).is_some();
        self.changed |= was;
        was
    }

    /// Forgets what has run out. Call it every second or so.
    pub(super) fn tick(&mut self, now_ns: u64) {
        let before = self.sessions.len();
        self.sessions.retain(|_, session| session.until_ns > now_ns);
        self.changed |= self.sessions.len() != before;
        if now_ns.saturating_sub(self.cleared_ns) >= CLEAR_NS {
            self.cleared_ns = now_ns;
            self.clear();
        }
    }

    /// Forgets places that no session is at.
    fn clear(&mut self) {
        let sessions = self.sessions.values();
        let known: HashSet<Place> = sessions.flat_map(|s| places(s.mac, &s.addresses)).collect();
        self.latest.retain(|place, _| known.contains(place));
        self.clear_at = MAX_SESSIONS.max(2 * self.latest.len());
    }

    /// Keeps the devices that were seen at addresses of sessions that name none.
    pub(super) fn see(&mut self, device: impl Fn(IpAddr) -> Option<Mac>) {
        for session in self.sessions.values_mut().filter(|s| s.mac.is_none() && s.seen.is_none()) {
            session.seen = session.addresses.iter().find_map(|ip| device(*ip));
        }
    }

    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// How many sessions count.
    pub fn len(&self) -> usize {
        self.sessions.values().filter(|session| session.ended_ns.is_none()).count()
    }

    /// Whether none does.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What requests did, by [`Effect::ALL`].
    pub fn effects(&self) -> [u64; Effect::ALL.len()] {
        self.effects
    }

    /// What is said at a moment.
    pub(super) fn view(&self, now_ns: u64) -> View<'_> {
        let mut view = View::default();
        for (key, session) in &self.sessions {
            if session.ended_ns.is_some() || session.until_ns <= now_ns {
                continue;
            }
            let pushed = matches!(key, Key::Pushed(_));
            let holds = |place: Place| {
                pushed || self.latest.get(&place).is_none_or(|latest| *latest <= session.began_ns)
            };
            // Who lost the device has lost its addresses.
            if session.mac.is_some_and(|mac| !holds(Place::Device(mac))) {
                continue;
            }
            let account = session.account.as_deref();
            if let (Some(mac), Some(_), false) = (session.mac, account, pushed) {
                claim(view.by_mac.entry(mac), Who { account, mac: Some(mac) });
            }
            for ip in session.addresses.iter().filter(|ip| holds(Place::Address(**ip))) {
                claim(view.by_ip.entry(*ip), Who { account, mac: session.mac.or(session.seen) });
            }
        }
        view
    }
}

/// Seconds since what a request says.
fn age(request: &Request<'_>, wall_s: Option<i64>) -> u32 {
    let by_clock = wall_s.zip(request.event_time).map(|(now, then)| {
        let age = now - i64::from(then);
        // A clock that runs ahead a little is not in the future.
        if age < -i64::from(FRESH_S) { u32::MAX } else { u32::try_from(age.max(0)).unwrap_or(u32::MAX) }
    });
    request.delay_s.max(by_clock.unwrap_or(0))
}

fn places(mac: Option<Mac>, addresses: &[IpAddr]) -> impl Iterator<Item = Place> {
    mac.map(Place::Device).into_iter().chain(addresses.iter().copied().map(Place::Address))
}

/// What sessions say of devices and addresses; `None`: they contradict each other.
#[derive(Debug, Default)]
pub(super) struct View<'a> {
    by_mac: HashMap<Mac, Option<Who<'a>>>,
    by_ip: HashMap<IpAddr, Option<Who<'a>>>,
}

fn claim<'a, K>(entry: Entry<'_, K, Option<Who<'a>>>, new: Who<'a>) {
    match entry {
        Entry::Vacant(free) => {
            free.insert(Some(new));
        }
        Entry::Occupied(mut known) => {
            let both = known.get().and_then(|known| known.and(new));
            known.insert(both);
        }
    }
}

impl<'a> View<'a> {
    /// Addresses that sessions name.
    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.by_ip.keys().copied()
    }

    /// Who has an address of which the frames that pass say that it is that of `device`. `None`: nobody can say.
    pub(super) fn who(&self, ip: IpAddr, device: Option<Mac>) -> Option<Who<'a>> {
        let seen = Who { account: None, mac: device };
        let who = match self.by_ip.get(&ip) {
            Some(said) => (*said)?.and(seen)?,
            None => seen,
        };
        match who.mac.and_then(|mac| self.by_mac.get(&mac)) {
            Some(said) => (*said)?.and(who),
            None => Some(who),
        }
    }
}

#[cfg(test)]
mod tests;
