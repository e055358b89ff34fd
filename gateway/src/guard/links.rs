//! Links of the ports: whether there is one, for the alert `link_down`, and their propagation where that is asked for.
//!
//! Propagation: when one port loses its link, the other is taken down, so that whoever is connected to it
//! learns that there is no way through, and turns to another. For kernel interfaces; of a card that DPDK drives the
//! kernel knows nothing.
//!
//! ```text
//!  both well ─ a side without link for LOST ─► the other is taken down ─ the link is back ─► it is set up again
//!                                                                          └► GRACE: its own link may take that long
//! ```
//!
//! A port that is held down and set up by somebody else (a data plane that starts sets its ports up) is taken down again: at once the first time,
//! then later and later, as a program that keeps a port up answers every time.
//!
//! Without `LOST`, what a driver does to its link when a program is put on it would be passed on. Without `GRACE`, a port
//! that negotiates for three seconds after it was set up would take the other one down, and that one it, for ever.

use super::netlink::{self, Changes, LinkState};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use std::io;
use std::time::{Duration, Instant};
use tracing::warn;

/// How long a link must be gone.
const LOST: Duration = Duration::from_millis(500);
/// How long a port that was set up may take to get its link: 1000BASE-T negotiates for up to four seconds.
const GRACE: Duration = Duration::from_secs(8);
/// The longest time between two acts against somebody who keeps setting a held port up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Both ports' links.
pub(super) struct Links {
    changes: Changes,
    names: [String; 2],
    pair: Pair,
    /// Whether a port that loses its link takes the other one down.
    propagates: bool,
}

impl Links {
    /// Watches these interfaces, LAN first.
    pub(super) fn watch(names: [&str; 2], propagates: bool) -> io::Result<Self> {
        let changes = Changes::subscribe()?;
        for name in names {
            changes.ask(name)?;
        }
        Ok(Self { changes, names: names.map(str::to_owned), pair: Pair::default(), propagates })
    }

    /// To be waited for.
    pub(super) fn fd(&self) -> &OwnedFd {
        self.changes.fd()
    }

    /// Takes what the kernel said.
    pub(super) fn hear(&mut self) {
        match self.changes.take() {
            Ok(links) => links.iter().for_each(|link| {
                // An interface that was taken away and comes back has a new number under its old name.
                if let Some(side) = self.names.iter().position(|name| link.name == *name) {
                    self.pair.tell(side, link.state);
                }
            }),
            Err(Errno::NOBUFS) => {
                for name in &self.names {
                    // If this fails too, the next change brings it right.
                    _ = self.changes.ask(name);
                }
            }
            Err(e) => warn!("links can't be heard of: {e}"),
        }
    }

    /// Does what is due; whether something was done.
    pub(super) fn due(&mut self, now: Instant) -> bool {
        if !self.propagates {
            return false;
        }
        let Some(act) = self.pair.due(now) else { return false };
        let Act { side, up } = act;
        let (name, other) = (self.name(side), self.name(1 - side));
        let done = set_up(name, up);
        match (&done, up) {
            (Ok(()), true) => warn!("`{other}` has a link again: `{name}` is set up"),
            (Ok(()), false) => match self.pair.again {
                0 => warn!("`{other}` has no link: `{name}` is taken down (ports.propagate_link)"),
                2 => warn!(
                    "`{name}` is held down, and somebody keeps setting it up: it is taken down each time"
                ),
                _ => {}
            },
            (Err(e), _) => warn!("`{name}` can't be set {}: {e}", if up { "up" } else { "down" }),
        }
        if done.is_err() {
            self.pair.failed(act, now);
        }
        true
    }

    /// When something is due, if nothing happens.
    pub(super) fn deadline(&self) -> Option<Instant> {
        if self.propagates { self.pair.deadline() } else { None }
    }

    /// Ports without a link, by side; one that is held down is not meant.
    pub(super) fn down(&self) -> [bool; 2] {
        self.pair.down()
    }

    /// The port that is held down, and the one because of which.
    pub(super) fn held(&self) -> Option<(&str, &str)> {
        self.pair.held.map(|side| (self.name(side), self.name(1 - side)))
    }

    fn name(&self, side: usize) -> &str {
        self.names.get(side).map_or("", String::as_str)
    }
}

/// When the guard ends, no port stays down because of it; one that is killed leaves it down.
impl Drop for Links {
    fn drop(&mut self) {
        if let Some(side) = self.pair.held.take()
            && let Err(e) = set_up(self.name(side), true)
        {
            warn!("`{}` can't be set up again: {e}", self.name(side));
        }
    }
}

/// By its name: an interface that was taken away comes back with another index.
fn set_up(name: &str, up: bool) -> io::Result<()> {
    netlink::set_up(netlink::index(name)?, up)
}

/// A port that is to be set up or taken down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Act {
    side: usize,
    up: bool,
}

/// What is known of both, by itself: no clock, no kernel.
#[derive(Default)]
struct Pair {
    /// Nothing is known at first.
    now: [Option<LinkState>; 2],
    lost_since: [Option<Instant>; 2],
    grace_until: [Option<Instant>; 2],
    /// The one that was taken down.
    held: Option<usize>,
    /// How often it was set up by somebody else since.
    again: u32,
    /// When it is taken down again at the earliest.
    again_at: Option<Instant>,
    /// An act that failed is not tried again before.
    not_before: Option<Instant>,
}

impl Pair {
    fn tell(&mut self, side: usize, link: LinkState) {
        if let Some(now) = self.now.get_mut(side) {
            *now = Some(link);
        }
    }

    fn is_well(&self, side: usize) -> Option<bool> {
        self.now.get(side).copied().flatten().map(|link| link.up && link.carrier)
    }

    fn down(&self) -> [bool; 2] {
        [0, 1].map(|side| self.held != Some(side) && self.is_well(side) == Some(false))
    }

    fn due(&mut self, now: Instant) -> Option<Act> {
        if self.not_before.is_some_and(|at| now < at) {
            return None;
        }
        self.not_before = None;
        if let Some(side) = self.held {
            if self.is_well(1 - side) == Some(true) {
                self.held = None;
                self.lost_since = [None; 2];
                self.grace_until = [None; 2];
                self.grace_until[side] = Some(now + GRACE);
                return Some(Act { side, up: true });
            }
            // What the kernel has not said yet is not asked for again.
            let up = self.now[side].as_mut().filter(|link| link.up)?;
            if self.again_at.is_some_and(|at| now < at) {
                return None;
            }
            up.up = false;
            let wait = LOST.saturating_mul(1 << self.again.min(16)).min(PATIENCE);
            (self.again, self.again_at) = (self.again.saturating_add(1), Some(now + wait));
            return Some(Act { side, up: false });
        }
        let before = [0, 1].map(|side| self.lost_since[side].is_some());
        for side in 0..2 {
            if self.is_well(side) == Some(true) {
                self.grace_until[side] = None;
            }
            self.lost_since[side] = match self.is_well(side) {
                Some(false) => Some(self.lost_since[side].unwrap_or(now)),
                _ => None,
            };
        }
        // When both were gone (the box, or both switches, had no power) and one is back, the other one is probably on its way.
        for side in 0..2 {
            if before == [true, true]
                && self.lost_since[side].is_some()
                && self.lost_since[1 - side].is_none()
            {
                self.grace_until[side] = Some(now + GRACE);
            }
        }
        let lost = (0..2).find(|side| self.lost_at(*side).is_some_and(|at| at <= now))?;
        // With both gone there is nobody to tell.
        if self.is_well(1 - lost) != Some(true) {
            return None;
        }
        (self.held, self.again, self.again_at) = (Some(1 - lost), 0, None);
        Some(Act { side: 1 - lost, up: false })
    }

    /// An act could not be done: as before, and again later.
    fn failed(&mut self, act: Act, now: Instant) {
        self.held = if act.up { Some(act.side) } else { None };
        self.not_before = Some(now + LOST);
    }

    /// When a side that has no link counts as one that lost it.
    fn lost_at(&self, side: usize) -> Option<Instant> {
        let since = self.lost_since.get(side).copied().flatten()?;
        Some((since + LOST).max(self.grace_until.get(side).copied().flatten().unwrap_or(since)))
    }

    fn deadline(&self) -> Option<Instant> {
        if self.not_before.is_some() {
            return self.not_before;
        }
        match self.held {
            Some(side) => self.again_at.filter(|_| self.now[side].is_some_and(|link| link.up)),
            None => (0..2)
                .filter(|side| self.is_well(1 - side) == Some(true))
                .filter_map(|side| self.lost_at(side))
                .min(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(up: bool, carrier: bool) -> LinkState {
        LinkState { up, carrier }
    }

    fn well() -> (Pair, Instant) {
        let mut pair = Pair::default();
        let now = Instant::now();
        assert_eq!(pair.due(now), None, "nothing is known yet");
        pair.tell(0, link(true, true));
        pair.tell(1, link(true, true));
        assert_eq!((pair.due(now), pair.deadline()), (None, None));
        (pair, now)
    }

    #[test]
    fn a_lost_link_takes_the_other_down_and_brings_it_back() {
        for side in 0..2 {
            let (mut pair, mut now) = well();
            pair.tell(side, link(true, false));
            assert_eq!(pair.due(now), None, "not at once");
            assert_eq!(pair.deadline(), Some(now + LOST));
            now += LOST;
            assert_eq!(pair.due(now), Some(Act { side: 1 - side, up: false }));
            pair.tell(1 - side, link(false, false));
            now += Duration::from_secs(60);
            assert_eq!((pair.due(now), pair.deadline()), (None, None));
            pair.tell(side, link(true, true));
            assert_eq!(pair.due(now), Some(Act { side: 1 - side, up: true }));
            // It negotiates: that is no loss.
            pair.tell(1 - side, link(true, false));
            now += GRACE - Duration::from_millis(1);
            assert_eq!(pair.due(now), None);
            pair.tell(1 - side, link(true, true));
            assert_eq!((pair.due(now + GRACE), pair.held), (None, None));
        }
    }

    #[test]
    fn a_port_without_a_link_is_told_and_one_that_is_held_down_is_not() {
        let (mut pair, now) = well();
        assert_eq!(pair.down(), [false, false]);
        pair.tell(1, link(true, false));
        assert_eq!(pair.down(), [false, true]);
        assert_eq!(pair.due(now), None);
        assert!(pair.due(now + LOST).is_some());
        pair.tell(0, link(false, false));
        assert_eq!(pair.down(), [false, true], "the other one is held");
        assert_eq!(Pair::default().down(), [false, false], "nothing is known yet");
    }

    #[test]
    fn the_grace_ends_with_the_link() {
        let (mut pair, mut now) = well();
        pair.tell(0, link(true, false));
        assert_eq!(pair.due(now), None);
        now += LOST;
        assert!(pair.due(now).is_some());
        pair.tell(0, link(true, true));
        assert_eq!(pair.due(now), Some(Act { side: 1, up: true }));
        pair.tell(1, link(true, true));
        assert_eq!(pair.due(now), None);
        pair.tell(1, link(true, false));
        assert_eq!(pair.due(now), None);
        assert_eq!(pair.due(now + LOST), Some(Act { side: 0, up: false }));
    }

    #[test]
    fn a_link_that_flickers_is_left_alone() {
        let (mut pair, mut now) = well();
        for _ in 0..100 {
            pair.tell(0, link(true, false));
            assert_eq!(pair.due(now), None);
            now += LOST / 2;
            pair.tell(0, link(true, true));
            assert_eq!(pair.due(now), None);
            now += LOST;
        }
    }

    #[test]
    fn when_both_are_gone_neither_is_taken_down() {
        let (mut pair, now) = well();
        pair.tell(0, link(true, false));
        pair.tell(1, link(true, false));
        assert_eq!(pair.due(now), None);
        assert_eq!((pair.due(now + LOST * 9), pair.deadline()), (None, None));
        // One comes back: the other one has its time to follow, then its loss is told.
        pair.tell(1, link(true, true));
        let back = now + LOST * 10;
        assert_eq!((pair.due(back), pair.deadline()), (None, Some(back + GRACE)));
        assert_eq!(pair.due(back + GRACE - Duration::from_millis(1)), None);
        assert_eq!(pair.due(back + GRACE), Some(Act { side: 1, up: false }));
    }

    #[test]
    fn a_held_port_that_somebody_sets_up_is_taken_down_again() {
        let (mut pair, mut now) = well();
        pair.tell(0, link(true, false));
        assert_eq!(pair.due(now), None);
        now += LOST;
        assert!(pair.due(now).is_some());
        pair.tell(1, link(false, false));
        assert_eq!(pair.due(now), None);
        let mut waited = Vec::new();
        for _ in 0..10 {
            pair.tell(1, link(true, true));
            let before = now;
            if pair.due(now).is_none() {
                now = pair.deadline().unwrap();
                assert_eq!(pair.due(now), Some(Act { side: 1, up: false }));
            }
            assert_eq!(pair.due(now), None, "once for each time");
            assert_eq!(pair.deadline(), None, "nothing to do while it is down");
            waited.push((now - before).as_millis());
        }
        assert_eq!(waited, [0, 500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]);
        pair.tell(0, link(true, true));
        assert_eq!(pair.due(now), Some(Act { side: 1, up: true }));
    }

    #[test]
    fn what_could_not_be_done_is_tried_again() {
        let (mut pair, mut now) = well();
        pair.tell(0, link(true, false));
        assert_eq!(pair.due(now), None);
        now += LOST;
        let down = pair.due(now).unwrap();
        pair.failed(down, now);
        assert_eq!((pair.due(now), pair.deadline()), (None, Some(now + LOST)));
        now += LOST;
        assert_eq!(pair.due(now), Some(down));
        pair.tell(1, link(false, false));
        pair.tell(0, link(true, true));
        let up = pair.due(now).unwrap();
        pair.failed(up, now);
        assert_eq!((pair.due(now), pair.deadline(), pair.held), (None, Some(now + LOST), Some(1)));
        assert_eq!(pair.due(now + LOST), Some(up));
    }

    #[test]
    fn one_that_never_gets_its_link_back_is_a_loss_after_the_grace() {
        let (mut pair, mut now) = well();
        pair.tell(0, link(true, false));
        assert_eq!(pair.due(now), None);
        now += LOST;
        assert!(pair.due(now).is_some());
        pair.tell(1, link(false, false));
        pair.tell(0, link(true, true));
        assert_eq!(pair.due(now), Some(Act { side: 1, up: true }));
        pair.tell(1, link(true, false));
        assert_eq!(pair.due(now), None);
        assert_eq!(pair.deadline(), Some(now + GRACE));
        assert_eq!(pair.due(now + GRACE), Some(Act { side: 0, up: false }));
    }
}
