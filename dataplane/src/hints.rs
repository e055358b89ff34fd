//! DNS answers kept as hints: which name a client had in mind when it calls an address.
//!
//! ```text
//!  client ─keyed hash─► set of 64: tags (4 lines) │ age, expiry, state │ client and address │ name │
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

use crate::flow_table::{fold, mixed};
use crate::packet::Addr;
use glassgate_policy::Name;
use glassgate_policy::name::{Kind, MAX_LEN};

/// Hints of one client, or of the clients that share its set.
pub const PER_CLIENT: usize = 64;

/// The longest that a hint holds, in seconds. Whoever keeps answers for longer moves on to other addresses meanwhile.
pub const TTL_CAP: u32 = 3600;

/// How long a turn of [`Hints::expire`] is put off, and the most slots it looks at: 65 536 hints in seven seconds.
const SWEEP_MS: u32 = 100;
const SWEEP: usize = 1024;

/// What is known of a hint besides its tag: the count of the last answer that said it, and when it is over.
type Slot = [u32; 2];
/// Client and address, as words.
type Who = [u64; 4];
/// A name's length and its bytes; of length 0 where there is more than one name. All of these are numbers, so that a
/// table that nobody has filled yet is memory that nobody has touched.
type Kept = [u8; KEPT];
const KEPT: usize = MAX_LEN + 1;

/// The tag of a free slot; no hint has it.
const FREE: u32 = 0;
/// Tags compared at once, which compilers make a few wide comparisons of.
const LANES: usize = 8;

/// Names by address, for the client that asked.
pub struct Hints {
    /// Of the hashes of client and address: what is looked through, sixteen to a cache line.
    tags: Box<[u32]>,
    slots: Box<[Slot]>,
    who: Box<[Who]>,
    /// [`Kept`] one behind the other: only of plain numbers is it known that zeros need not be written.
    names: Box<[u8]>,
    secret: [u64; 4],
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
        Self {
            tags: vec![FREE; capacity].into_boxed_slice(),
            slots: vec![[0; 2]; capacity].into_boxed_slice(),
            who: vec![[0; 4]; capacity].into_boxed_slice(),
            names: vec![0; capacity * KEPT].into_boxed_slice(),
            secret: mixed(secret),
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
            if let (Some(tag), Some(slot)) = (self.tags.get_mut(at), self.slots.get(at))
                && *tag != FREE
                && is_over(slot, now_ms)
            {
                *tag = FREE;
                if let (Some(who), Some(name)) =
                    (self.who.get_mut(at), self.names.as_chunks_mut::<KEPT>().0.get_mut(at))
                {
                    (*who, *name) = ([0; 4], [0; KEPT]);
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
        let (at, unique, expires_ms) = match self.find(set, tag, client, address, now_ms) {
            Some(at) => {
                let (Some([_, until]), Some(known)) =
                    (self.slots.get(at), self.names.as_chunks::<KEPT>().0.get(at))
                else {
                    return;
                };
                let later = if expires_ms.wrapping_sub(*until) as i32 > 0 { expires_ms } else { *until };
                (at, kept_name(known) == Some(name.as_bytes()), later)
            }
            None if ttl == 0 => return,
            None => (self.room(set, now_ms), true, expires_ms),
        };
        if let (Some(kept_tag), Some(slot), Some(who), Some(kept)) = (
            self.tags.get_mut(at),
            self.slots.get_mut(at),
            self.who.get_mut(at),
            self.names.as_chunks_mut::<KEPT>().0.get_mut(at),
        ) {
            (*kept_tag, *slot) = (tag, [self.answers, expires_ms]);
            *who = words(client, address);
            let name = if unique { name.as_bytes() } else { &[] };
            let Some((len, bytes)) = kept.split_first_mut() else { return };
            let before = std::mem::replace(len, name.len() as u8);
            if let Some((into, rest)) = bytes.split_at_mut_checked(name.len()) {
                into.copy_from_slice(name);
                // Nothing stays of a longer one.
                rest.iter_mut().take(usize::from(before).saturating_sub(name.len())).for_each(|b| *b = 0);
            }
        }
    }

    /// The one name for which `client` was told the address `server`, if that still holds.
    pub fn lookup(&self, client: Addr, server: Addr, now_ms: u32) -> Option<Name> {
        let (set, tag) = self.place(client, server);
        // Of an ambiguous address no name is kept.
        let kept =
            kept_name(self.names.as_chunks::<KEPT>().0.get(self.find(set, tag, client, server, now_ms)?)?)?;
        Name::from_wire(kept).ok()
    }

    /// The first slot of the client's set, and the tag of the pair.
    fn place(&self, client: Addr, address: Addr) -> (usize, u32) {
        let ([s0, s1, s2, s3], [c0, c1, a0, a1]) = (self.secret, words(client, address));
        let whose = fold(fold(c0 ^ s0, c1 ^ s1), s2);
        let both = fold(fold(a0 ^ s3, a1 ^ s2) ^ whose, s1);
        (((whose >> 32) as usize & self.mask) * PER_CLIENT, (both >> 32) as u32 | 1)
    }

    fn find(&self, set: usize, tag: u32, client: Addr, address: Addr, now_ms: u32) -> Option<usize> {
        let who = words(client, address);
        self.tagged(set, tag).find(|at| {
            self.who.get(*at) == Some(&who) && self.slots.get(*at).is_some_and(|slot| !is_over(slot, now_ms))
        })
    }

    /// Slots of the set that have this tag.
    fn tagged(&self, set: usize, tag: u32) -> impl Iterator<Item = usize> {
        let tags = self.tags.get(set..set + PER_CLIENT).unwrap_or_default();
        let chunks = tags.as_chunks::<LANES>().0.iter().enumerate();
        chunks.filter(move |(_, lanes)| lanes.iter().fold(false, |any, t| any | (*t == tag))).flat_map(
            move |(chunk, lanes)| {
                let at = set + chunk * LANES;
                lanes.iter().enumerate().filter(move |(_, t)| **t == tag).map(move |(lane, _)| at + lane)
            },
        )
    }

    /// A slot of the set that is free or over, else the one of the oldest answer.
    fn room(&mut self, set: usize, now_ms: u32) -> usize {
        if let Some(at) = self.tagged(set, FREE).next() {
            return at;
        }
        let slots = || self.slots.iter().enumerate().skip(set).take(PER_CLIENT);
        if let Some((at, _)) = slots().find(|(_, slot)| is_over(slot, now_ms)) {
            return at;
        }
        let oldest = slots().max_by_key(|(_, slot)| self.answers.wrapping_sub(slot[0]));
        let at = oldest.map_or(set, |(at, _)| at);
        self.pushed_out += 1;
        at
    }
}

fn words(client: Addr, address: Addr) -> Who {
    let [client, address] = [client, address].map(|addr| u128::from_le_bytes(addr.0));
    [client as u64, (client >> 64) as u64, address as u64, (address >> 64) as u64]
}

/// The name, if there is one.
fn kept_name(kept: &Kept) -> Option<&[u8]> {
    let (len, bytes) = kept.split_first()?;
    bytes.get(..usize::from(*len)).filter(|name| !name.is_empty())
}

/// Milliseconds wrap after 49 days, and no hint is older than the hour that it may hold plus a round of sweeping.
fn is_over([_, expires_ms]: &Slot, now_ms: u32) -> bool {
    expires_ms.wrapping_sub(now_ms) as i32 <= 0
}

#[cfg(test)]
mod tests;
