//! Whose password is looked at next: each takes 46 MiB and a good part of a CPU, so few are looked at at once and few wait.
//!
//! Not who came first. Whoever logs in from where they did before comes before all others, and among those whoever tried less in the
//! last minute. Where everybody waits already, it is the one who tried most that is sent away. So whoever guesses all day waits
//! behind whoever has a password, not the other way round.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// Looked at at the same time.
const AT_ONCE: usize = 2;
/// Those that wait; more are sent away.
const WAITING: usize = 16;

/// Who comes first: the lower, the sooner. 0: from where they came in before, or with a secret that was handed to them.
pub(crate) type Rank = usize;

/// The turns.
#[derive(Clone, Default)]
pub(crate) struct Turns(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    taken: usize,
    arrived: u64,
    waiting: Vec<Waiting>,
}

struct Waiting {
    rank: Rank,
    arrived: u64,
    come: oneshot::Sender<Turn>,
}

/// A turn, until it is dropped: by whoever does the work, since that goes on when who asked for it hangs up.
pub(crate) struct Turn(Turns);

impl Turns {
    /// Waits for a turn; `None` if there are too many others with a better claim.
    pub(crate) async fn wait(&self, rank: Rank) -> Option<Turn> {
        let turn = {
            let mut inner = self.lock();
            if inner.taken < AT_ONCE {
                inner.taken += 1;
                return Some(Turn(self.clone()));
            }
            // Whoever hung up waits no more.
            inner.waiting.retain(|waiting| !waiting.come.is_closed());
            if inner.waiting.len() >= WAITING {
                let last = inner.waiting.iter().enumerate().max_by_key(|(_, who)| (who.rank, who.arrived));
                let (at, last) = last.map(|(at, who)| (at, who.rank))?;
                if last <= rank {
                    return None;
                }
                inner.waiting.swap_remove(at);
            }
            let (come, turn) = oneshot::channel();
            inner.arrived += 1;
            let arrived = inner.arrived;
            inner.waiting.push(Waiting { rank, arrived, come });
            turn
        };
        turn.await.ok()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next one that still waits, or nobody: then the turn is free.
    fn next(&self) -> Option<oneshot::Sender<Turn>> {
        let mut inner = self.lock();
        inner.waiting.retain(|waiting| !waiting.come.is_closed());
        let first = inner.waiting.iter().enumerate().min_by_key(|(_, who)| (who.rank, who.arrived));
        match first.map(|(at, _)| at) {
            Some(at) => Some(inner.waiting.swap_remove(at).come),
            None => {
                inner.taken -= 1;
                None
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(come) = self.0.next() {
            // If they are gone this very moment, the turn comes back and is dropped: it goes to the one after them.
            _ = come.send(Self(self.0.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    type Waits = Pin<Box<dyn Future<Output = Option<Turn>>>>;

    fn wait(turns: &Turns, rank: Rank) -> Waits {
        let turns = turns.clone();
        let mut waits: Waits = Box::pin(async move { turns.wait(rank).await });
        assert!(now(&mut waits).is_pending());
        waits
    }

    fn now(waits: &mut Waits) -> Poll<Option<Turn>> {
        waits.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    fn at_once(turns: &Turns, rank: Rank) -> Option<Turn> {
        let turns = turns.clone();
        let mut waits: Waits = Box::pin(async move { turns.wait(rank).await });
        match now(&mut waits) {
            Poll::Ready(turn) => turn,
            Poll::Pending => panic!("it waits"),
        }
    }

    #[test]
    fn the_better_claim_comes_first_and_the_worst_is_sent_away() {
        let turns = Turns::default();
        let mut taken: Vec<Turn> = (0..AT_ONCE).map(|_| at_once(&turns, 9).unwrap()).collect();
        let mut guessers: Vec<Waits> = (0..WAITING).map(|n| wait(&turns, 5 + n)).collect();
        assert!(at_once(&turns, 5 + WAITING).is_none(), "all of the others have tried less");
        let mut owner = wait(&turns, 0);
        assert!(matches!(now(&mut guessers[WAITING - 1]), Poll::Ready(None)), "who tried most gave way");
        let mut other = wait(&turns, 1);
        drop(taken.pop());
        let Poll::Ready(Some(first)) = now(&mut owner) else { panic!("not the owner") };
        assert!(now(&mut guessers[0]).is_pending() && now(&mut other).is_pending());
        drop(first);
        assert!(matches!(now(&mut other), Poll::Ready(Some(_))));
        assert!(matches!(now(&mut guessers[0]), Poll::Ready(Some(_))), "in their order");
    }

    #[test]
    fn who_hangs_up_gives_no_turn_away_and_takes_none() {
        let turns = Turns::default();
        let taken: Vec<Turn> = (0..AT_ONCE).map(|_| at_once(&turns, 1).unwrap()).collect();
        // As many as there are places hang up, and leave no trace.
        for _ in 0..10 * WAITING {
            drop(wait(&turns, 1));
        }
        let mut last = wait(&turns, 1);
        drop(taken);
        assert!(matches!(now(&mut last), Poll::Ready(Some(_))));
        drop(last);
        assert_eq!(turns.lock().taken, 0);
        // One that was given a turn and never looked at it.
        let one = at_once(&turns, 1).unwrap();
        let two = at_once(&turns, 1).unwrap();
        let gone = wait(&turns, 1);
        drop(one);
        drop(gone);
        drop(two);
        assert_eq!(turns.lock().taken, 0);
    }
}
