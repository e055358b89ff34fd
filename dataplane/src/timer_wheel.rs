//! When flows are looked at again: a wheel of intrusive lists, one per second.
//!
//! Arming and disarming touch two neighbours; nothing allocates. Timers are lazy: a flow's timer is not moved by
//! its frames, and when it fires the caller looks at the flow's last frame and arms it again if it is still
//! active. A turn does bounded work; what is due but not reached stays due.

use crate::flow::FlowId;

const NIL: u32 = u32::MAX;
const SLOTS: usize = 512;

/// A wheel for the flows of one table.
pub struct TimerWheel {
    heads: Box<[u32; SLOTS]>,
    /// Of the slots that were armed at least once; room for all was taken at start.
    links: Vec<Link>,
    capacity: usize,
    /// The second whose list is being worked off.
    now_s: u64,
}

#[derive(Clone, Copy)]
struct Link {
    prev: u32,
    next: u32,
    /// Index of the list, or [`NIL`] when not armed.
    slot: u32,
}

impl Link {
    const UNARMED: Self = Self { prev: NIL, next: NIL, slot: NIL };
}

impl TimerWheel {
    /// The longest time, in seconds, that a timer is armed for; longer ones fire early and are armed again.
    pub const HORIZON_S: u64 = SLOTS as u64 - 2;

    /// A wheel for as many flows as the table has slots, starting at `now_s` seconds of the lcore's clock.
    pub fn new(capacity: usize, now_s: u64) -> Self {
        Self { heads: Box::new([NIL; SLOTS]), links: Vec::with_capacity(capacity), capacity, now_s }
    }

    /// Arms the timer of `id` for `at_s`, at least one second from now and at most [`Self::HORIZON_S`]. An armed
    /// timer is moved.
    pub fn arm(&mut self, id: FlowId, at_s: u64) {
        self.disarm(id);
        if self.links.len() <= id.index() && id.index() < self.capacity {
            self.links.resize(id.index() + 1, Link::UNARMED);
        }
        let wait = at_s.saturating_sub(self.now_s).clamp(1, Self::HORIZON_S);
        let slot = ((self.now_s + wait) % SLOTS as u64) as u32;
        let Some(head) = self.heads.get_mut(slot as usize) else { return };
        let next = std::mem::replace(head, id.0);
        if let Some(link) = self.links.get_mut(id.index()) {
            *link = Link { prev: NIL, next, slot };
        }
        if let Some(link) = self.links.get_mut(next as usize) {
            link.prev = id.0;
        }
    }

    /// Takes the timer of `id` out, if it is armed.
    pub fn disarm(&mut self, id: FlowId) {
        let Some(link) = self.links.get_mut(id.index()) else { return };
        let Link { prev, next, slot } = *link;
        if slot == NIL {
            return;
        }
        *link = Link::UNARMED;
        match self.links.get_mut(prev as usize) {
            Some(before) => before.next = next,
            None => {
                if let Some(head) = self.heads.get_mut(slot as usize) {
                    *head = next;
                }
            }
        }
        if let Some(after) = self.links.get_mut(next as usize) {
            after.prev = prev;
        }
    }

    /// The next flow that is due by `now_s`, disarmed. Call until `None`, or until enough work was done this turn.
    pub fn due(&mut self, now_s: u64) -> Option<FlowId> {
        // After a jump past the whole wheel every list is due once; walking it further would find nothing.
        if now_s.saturating_sub(self.now_s) > SLOTS as u64 {
            self.now_s = now_s - SLOTS as u64;
        }
        while self.now_s <= now_s {
            let head = self.heads.get((self.now_s % SLOTS as u64) as usize).copied().unwrap_or(NIL);
            if head != NIL {
                self.disarm(FlowId(head));
                return Some(FlowId(head));
            }
            if self.now_s == now_s {
                break;
            }
            self.now_s += 1;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(wheel: &mut TimerWheel, now: u64) -> Vec<u32> {
        let mut out: Vec<u32> = std::iter::from_fn(|| wheel.due(now)).map(|id| id.0).collect();
        out.sort_unstable();
        out
    }

    #[test]
    fn fires_when_due_and_not_before() {
        let mut wheel = TimerWheel::new(8, 100);
        wheel.arm(FlowId(1), 105);
        wheel.arm(FlowId(2), 103);
        wheel.arm(FlowId(3), 105);
        wheel.arm(FlowId(4), 0);
        assert_eq!(drain(&mut wheel, 102), [4]);
        assert_eq!(drain(&mut wheel, 104), [2]);
        wheel.disarm(FlowId(1));
        assert_eq!(drain(&mut wheel, 105), [3]);
        assert_eq!(drain(&mut wheel, 10_000), [] as [u32; 0]);
    }

    #[test]
    fn a_jump_of_the_clock_loses_no_timer() {
        let mut wheel = TimerWheel::new(1_000, 5);
        for i in 0..1_000 {
            wheel.arm(FlowId(i), 6 + u64::from(i));
        }
        assert_eq!(drain(&mut wheel, 1 << 40).len(), 1_000);
        wheel.arm(FlowId(7), (1 << 40) + 2);
        assert_eq!(drain(&mut wheel, (1 << 40) + 1), [] as [u32; 0]);
        assert_eq!(drain(&mut wheel, (1 << 40) + 2), [7]);
    }

    #[test]
    fn rearming_moves_and_disarming_twice_is_harmless() {
        let mut wheel = TimerWheel::new(4, 0);
        wheel.arm(FlowId(0), 10);
        wheel.arm(FlowId(0), 20);
        wheel.disarm(FlowId(3));
        assert_eq!(drain(&mut wheel, 19), [] as [u32; 0]);
        assert_eq!(drain(&mut wheel, 20), [0]);
        wheel.disarm(FlowId(0));
        assert_eq!(drain(&mut wheel, 400), [] as [u32; 0]);
    }
}
