//! How a policy gets from the thread that validates it to the lcores.
//!
//! An lcore looks at one atomic number per turn and takes the lock only when the number has changed, which it does a few
//! times a minute. Old policies are dropped by the thread that published them, once no lcore holds them: freeing a
//! table of a hundred megabytes on an lcore would cost frames.

use std::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Release};
use std::sync::{Arc, Mutex, PoisonError};

/// The latest policy, and those that may still be in use.
#[derive(Debug)]
pub(super) struct PolicySlot<T> {
    /// Counts publications.
    generation: AtomicU64,
    held: Mutex<Held<T>>,
}

#[derive(Debug)]
struct Held<T> {
    latest: Arc<T>,
    retired: Vec<Arc<T>>,
}

impl<T> PolicySlot<T> {
    pub(super) fn new(first: T) -> Self {
        let held = Held { latest: Arc::new(first), retired: Vec::new() };
        Self { generation: AtomicU64::new(1), held: Mutex::new(held) }
    }

    /// Puts a policy in place of the latest, and drops those that nobody uses any more.
    pub(super) fn publish(&self, policy: T) {
        let policy = Arc::new(policy);
        let unused: Vec<Arc<T>>;
        {
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            let old = std::mem::replace(&mut held.latest, policy);
            held.retired.push(old);
            let (keep, drop): (Vec<_>, Vec<_>) =
                held.retired.drain(..).partition(|policy| Arc::strong_count(policy) > 1);
            held.retired = keep;
            unused = drop;
            self.generation.fetch_add(1, Release);
        }
        // Outside of the lock: this may take long.
        drop(unused);
    }

    /// The latest policy, if it is not the one that `seen` stands for. Never waits: when the lock is taken, the
    /// answer comes with a later turn.
    #[inline]
    pub(super) fn newer(&self, seen: &mut u64) -> Option<Arc<T>> {
        let generation = self.generation.load(Acquire);
        if generation == *seen {
            return None;
        }
        let held = self.held.try_lock().ok()?;
        *seen = generation;
        Some(held.latest.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_policies_go_when_nobody_uses_them() {
        let (first, second) = (Arc::new(1), Arc::new(2));
        let slot = PolicySlot::new(first.clone());
        let mut seen = 0;
        let in_use = slot.newer(&mut seen).unwrap();
        assert_eq!(**in_use, 1);
        assert!(slot.newer(&mut seen).is_none(), "nothing new");
        slot.publish(second.clone());
        assert_eq!(Arc::strong_count(&first), 2, "an lcore still uses it");
        let next = slot.newer(&mut seen).unwrap();
        drop(in_use);
        slot.publish(Arc::new(3));
        assert_eq!(Arc::strong_count(&first), 1, "dropped by the publisher");
        assert_eq!((**next, Arc::strong_count(&second)), (2, 2));
    }
}
