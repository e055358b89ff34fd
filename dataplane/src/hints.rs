//! DNS answers kept as hints: which name a client had in mind when it calls an address.
//!
//! ```text
//!  client ─keyed hash─► set of 64 slots │ tag, age, expiry, state │ client and address │ name │
//! ```
//!
//! A hint holds for the client that asked, within the TTL (an hour at most), and as long as the client was told one
//! name only for that address: a second name makes the address ambiguous until both are over, because the client
//! may mean either. Hints are weak evidence, and the caller never lets them say anything about a person.
//!
//! Memory is taken at start and never grows. All hints of a client lie in one set, so a client that asks for thousands
//! of names pushes out its own hints, and those of the few clients that share its set, but never those of the
//! network. In a full set the oldest hint goes first, and is counted. Which clients share a set depends on a secret
//! of the process. A hint that was pushed out can no longer make its address ambiguous: that is the price of a bound.

use crate::packet::Addr;
use glassgate_policy::Name;
use glassgate_policy::name::Kind;
use std::hash::{DefaultHasher, Hasher};

/// Hints of one client, or of the clients that share its set.
pub const PER_CLIENT: usize = 64;

/// The longest that a hint holds, in seconds. Whoever keeps answers for longer moves on to other addresses meanwhile.
pub const TTL_CAP: u32 = 3600;

/// How long a turn of [`Hints::expire`] is put off, and the most slots it looks at: 65 536 hints in seven seconds.
const SWEEP_MS: u32 = 100;
const SWEEP: usize = 1024;

/// What is looked through to find a hint: four to a cache line, apart from what is read once it is found.
#[derive(Clone, Copy)]
struct Slot {
    /// Of the hash of client and address.
    tag: u32,
    /// Count of the last answer that said it.
    age: u32,
    expires_ms: u32,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Free,
    /// One name.
    Unique,
    /// More than one.
    Ambiguous,
}

const _: () = assert!(size_of::<Slot>() == 16);

const FREE: Slot = Slot { tag: 0, age: 0, expires_ms: 0, state: State::Free };
const NOBODY: Addr = Addr([0; 16]);

/// Names by address, for the client that asked.
pub struct Hints {
    slots: Box<[Slot]>,
    who: Box<[(Addr, Addr)]>,
    names: Box<[Option<Name>]>,
    /// A hasher that has taken in the secret.
    keyed: DefaultHasher,
    mask: usize,
    answers: u32,
    hand: usize,
    swept_ms: u32,
    pushed_out: u64,
}

impl Hints {
    /// Room for `capacity` hints, rounded up to a power of two and 64 at least: about 300 bytes each. `secret` keys the
    /// hash: random, per process.
    pub fn new(capacity: usize, secret: [u64; 4]) -> Self {
        let capacity = capacity.max(PER_CLIENT).next_power_of_two();
        let mut keyed = DefaultHasher::new();
        secret.iter().for_each(|word| keyed.write_u64(*word));
        Self {
            slots: vec![FREE; capacity].into_boxed_slice(),
            who: vec![(NOBODY, NOBODY); capacity].into_boxed_slice(),
            names: vec![None; capacity].into_boxed_slice(),
            keyed,
            mask: capacity / PER_CLIENT - 1,
            answers: 0,
            hand: 0,
            swept_ms: 0,
            pushed_out: 0,
        }
    }

    /// Hints that had to go for others while they still held.
    pub fn pushed_out(&self) -> u64 {
        self.pushed_out
    }

    /// Forgets what is over, a part of the table every tenth of a second, `budget` slots at most. [`Self::lookup`] does
    /// not depend on it, but no name stays in memory for long after its time.
    pub fn expire(&mut self, now_ms: u32, budget: usize) {
        if now_ms.wrapping_sub(self.swept_ms) < SWEEP_MS {
            return;
        }
        self.swept_ms = now_ms;
        for _ in 0..budget.min(SWEEP).min(self.slots.len()) {
            let at = self.hand;
            self.hand = if at + 1 < self.slots.len() { at + 1 } else { 0 };
            if let Some(slot) = self.slots.get_mut(at)
                && slot.state != State::Free
                && is_over(slot, now_ms)
            {
                *slot = FREE;
                if let (Some(who), Some(name)) = (self.who.get_mut(at), self.names.get_mut(at)) {
                    (*who, *name) = ((NOBODY, NOBODY), None);
                }
            }
        }
    }

    /// `client` was told that `name` has `address`, for `ttl` seconds. Nothing is learned of names that are no host names
    /// and of addresses that nobody calls; of an answer that may not be kept (TTL 0) only that the address is ambiguous.
    pub fn learn(&mut self, client: Addr, address: Addr, name: &Name, ttl: u32, now_ms: u32) {
        let ip = address.ip();
        if name.kind() != Kind::Host || ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() {
            return;
        }
        let expires_ms = now_ms.wrapping_add(ttl.min(TTL_CAP) * 1000);
        self.answers = self.answers.wrapping_add(1);
        let (set, tag) = self.place(client, address);
        let (at, state, expires_ms) = match self.find(set, tag, client, address, now_ms) {
            Some(at) => {
                let (Some(slot), Some(known)) = (self.slots.get(at), self.names.get(at)) else { return };
                let same = slot.state == State::Unique && known.as_ref() == Some(name);
                let later = if expires_ms.wrapping_sub(slot.expires_ms) as i32 > 0 {
                    expires_ms
                } else {
                    slot.expires_ms
                };
                (at, if same { State::Unique } else { State::Ambiguous }, later)
            }
            None if ttl == 0 => return,
            None => (self.room(set, now_ms), State::Unique, expires_ms),
        };
        if let (Some(slot), Some(who), Some(kept)) =
            (self.slots.get_mut(at), self.who.get_mut(at), self.names.get_mut(at))
        {
            *slot = Slot { tag, age: self.answers, expires_ms, state };
            *who = (client, address);
            *kept = (state == State::Unique).then_some(*name);
        }
    }

    /// The one name for which `client` was told the address `server`, if that still holds.
    pub fn lookup(&self, client: Addr, server: Addr, now_ms: u32) -> Option<Name> {
        let (set, tag) = self.place(client, server);
        // Of an ambiguous address no name is kept.
        *self.names.get(self.find(set, tag, client, server, now_ms)?)?
    }

    /// The first slot of the client's set, and the tag of the pair.
    fn place(&self, client: Addr, address: Addr) -> (usize, u32) {
        let mut hasher = self.keyed.clone();
        hasher.write(&client.0);
        let set = hasher.finish() as usize & self.mask;
        hasher.write(&address.0);
        (set * PER_CLIENT, (hasher.finish() >> 32) as u32)
    }

    fn set(&self, set: usize) -> impl Iterator<Item = (usize, &Slot)> {
        self.slots.iter().enumerate().skip(set).take(PER_CLIENT)
    }

    fn find(&self, set: usize, tag: u32, client: Addr, address: Addr, now_ms: u32) -> Option<usize> {
        self.set(set)
            .filter(|(_, slot)| slot.tag == tag && slot.state != State::Free && !is_over(slot, now_ms))
            .find(|(at, _)| self.who.get(*at) == Some(&(client, address)))
            .map(|(at, _)| at)
    }

    /// A slot of the set that is free or over, else the one of the oldest answer.
    fn room(&mut self, set: usize, now_ms: u32) -> usize {
        let usable = |slot: &Slot| slot.state == State::Free || is_over(slot, now_ms);
        if let Some((at, _)) = self.set(set).find(|(_, slot)| usable(slot)) {
            return at;
        }
        self.pushed_out += 1;
        self.set(set).max_by_key(|(_, slot)| self.answers.wrapping_sub(slot.age)).map_or(set, |(at, _)| at)
    }
}

/// Milliseconds wrap after 49 days, and no hint is older than the hour that it may hold plus a round of sweeping.
fn is_over(slot: &Slot, now_ms: u32) -> bool {
    slot.expires_ms.wrapping_sub(now_ms) as i32 <= 0
}

#[cfg(test)]
mod tests;
