//! The page of counters that an lcore shows to the other processes.
//!
//! An lcore counts in its own memory ([`LcoreCounters`], plain numbers) and copies the whole to its page every few
//! milliseconds, so that watching costs the fast path nothing. The guard reads the progress word, the slow
//! path reads all of it, both as often as they like.
//!
//! ```text
//!    0  magic │ words
//!  128  progress                     written every few turns: proof that the loop turns, not that a process lives
//!  256  sequence                     odd while the copy is being written
//!  384  LcoreState, LcoreCounters    a word each, in the order of their fields
//! ```
//!
//! A copy is consistent: what is read belongs to one moment of the lcore, so that its sums can be checked exactly.
//! The reader tries a bounded number of times; a writer that was killed in the middle of a copy leaves it odd,
//! which is said ([`Reading::consistent`]) and mended by its successor.

use crate::counters::LcoreCounters;
use crate::shm::{Region, ShmError, load, store};
use glassgate_policy::matrix::MatrixHash;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::atomic::fence;

const MAGIC: u64 = u64::from_le_bytes(*b"GGSTATS1");
const WORDS_AT: usize = 8;
const PROGRESS_AT: usize = 128;
const SEQUENCE_AT: usize = 256;
const STATS_AT: usize = 384;
const SIZE: usize = 8192;
/// How often a reader tries for a consistent copy.
const TRIES: usize = 64;

/// Numbers that stand in the page one after the other.
trait Words {
    const COUNT: usize;
    fn put(&self, to: &mut impl FnMut(u64));
    fn take(from: &mut impl FnMut() -> u64) -> Self;
}

impl Words for u64 {
    const COUNT: usize = 1;
    #[inline]
    fn put(&self, to: &mut impl FnMut(u64)) {
        to(*self);
    }
    fn take(from: &mut impl FnMut() -> u64) -> Self {
        from()
    }
}

impl<T: Words, const N: usize> Words for [T; N] {
    const COUNT: usize = N * T::COUNT;
    #[inline]
    fn put(&self, to: &mut impl FnMut(u64)) {
        self.iter().for_each(|item| item.put(to));
    }
    fn take(from: &mut impl FnMut() -> u64) -> Self {
        std::array::from_fn(|_| T::take(from))
    }
}

macro_rules! words {
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[$fmeta:meta])* pub $field:ident: $type:ty,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name { $($(#[$fmeta])* pub $field: $type,)+ }

        impl Default for $name {
            fn default() -> Self {
                Self::take(&mut || 0)
            }
        }

        impl Words for $name {
            const COUNT: usize = 0 $(+ <$type as Words>::COUNT)+;
            #[inline]
            fn put(&self, to: &mut impl FnMut(u64)) {
                $(self.$field.put(to);)+
            }
            fn take(from: &mut impl FnMut() -> u64) -> Self {
                Self { $($field: Words::take(from),)+ }
            }
        }
    };
}

words! {
    /// The state of an lcore and its loop. What it counts of frames and flows is [`LcoreCounters`].
    pub struct LcoreState {
        /// Monotonic nanoseconds at which this copy was made.
        pub mono_ns: u64,
        /// Monotonic nanoseconds at which the lcore started.
        pub started_ns: u64,
        /// Turns of the loop.
        pub turns: u64,
        /// Turns in which no frame arrived at either port.
        pub idle_turns: u64,
        /// Flows in the table now.
        pub flows_active: u64,
        /// Flows the table can hold.
        pub flows_capacity: u64,
        /// Slots of the inspection slab in use now.
        pub slab_used: u64,
        /// Slots of the inspection slab.
        pub slab_capacity: u64,
        /// Epoch of the matrix in use; `0` before the first.
        pub matrix_epoch: u64,
        /// Monotonic nanoseconds at which that matrix decays.
        pub matrix_valid_until_ns: u64,
        /// SHA-256 of the matrix in use: the acknowledgement. All zero before the first.
        pub matrix_hash: [u64; 4],
        /// SHA-256 of the signature table in use. All zero before the first.
        pub table_hash: [u64; 4],
    }
}

impl LcoreState {
    /// Notes the acknowledgement of a matrix.
    pub fn acknowledge_matrix(&mut self, epoch: u64, valid_until_ns: u64, hash: &MatrixHash) {
        (self.matrix_epoch, self.matrix_valid_until_ns) = (epoch, valid_until_ns);
        self.matrix_hash = hash_words(hash);
    }

    /// Notes the acknowledgement of a signature table.
    pub fn acknowledge_table(&mut self, hash: &[u8; 32]) {
        self.table_hash = hash_words(hash);
    }
}

/// All words of a copy.
const WORDS: usize = LcoreState::COUNT + LcoreCounters::WORDS;

const _: () = assert!(STATS_AT + WORDS * 8 <= SIZE);

/// A SHA-256 as it stands in the page.
pub fn hash_words(hash: &[u8; 32]) -> [u64; 4] {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(hash.as_chunks::<8>().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    words
}

/// The inverse of [`hash_words`].
pub fn hash_bytes(words: &[u64; 4]) -> [u8; 32] {
    let mut hash = [0; 32];
    for (bytes, word) in hash.as_chunks_mut::<8>().0.iter_mut().zip(words) {
        *bytes = word.to_le_bytes();
    }
    hash
}

/// A page, seen by whoever makes it, hands it over or reads it.
#[derive(Clone, Debug)]
pub struct StatsPage {
    region: Region,
}

/// What a reader found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The loop.
    pub state: LcoreState,
    /// What it counted.
    pub counters: LcoreCounters,
    /// Whether they belong to one moment. False when the writer died in the middle of a copy.
    pub consistent: bool,
}

impl StatsPage {
    /// Makes a page, all zero.
    pub fn create(name: &str) -> Result<Self, ShmError> {
        let region = Region::create(name, SIZE)?;
        store(&region, WORDS_AT, WORDS as u64);
        if let Some(magic) = region.word(0) {
            magic.store(MAGIC, Release);
        }
        Ok(Self { region })
    }

    /// Maps a page that was made elsewhere.
    pub fn attach(fd: OwnedFd) -> Result<Self, ShmError> {
        let region = Region::attach(fd, SIZE)?;
        let magic = region.word(0).map_or(0, |w| w.load(Acquire));
        if magic != MAGIC {
            return Err(ShmError::Magic { expected: MAGIC, found: magic });
        }
        match load(&region, WORDS_AT) {
            found if found == WORDS as u64 => Ok(Self { region }),
            found => Err(ShmError::Header { what: "words", found }),
        }
    }

    /// The descriptor, to be handed to another process.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.region.fd()
    }

    /// The writing end. There must be one at a time.
    pub fn writer(&self) -> StatsWriter {
        let region = self.region.clone();
        let (progress, sequence) = (load(&region, PROGRESS_AT), load(&region, SEQUENCE_AT));
        // A predecessor that died in the middle of a copy left the sequence odd.
        StatsWriter { region, progress, sequence: sequence.wrapping_add(sequence & 1) }
    }

    /// How far the lcore's loop has come. Only whether it changes means something.
    pub fn progress(&self) -> u64 {
        load(&self.region, PROGRESS_AT)
    }

    /// The numbers of the last copy.
    pub fn read(&self) -> Reading {
        for _ in 0..TRIES {
            let before = self.region.word(SEQUENCE_AT).map_or(1, |w| w.load(Acquire));
            let (state, counters) = self.copy();
            // The loads of the copy come before the second look at the sequence.
            fence(Acquire);
            if before.is_multiple_of(2) && load(&self.region, SEQUENCE_AT) == before {
                return Reading { state, counters, consistent: true };
            }
            std::hint::spin_loop();
        }
        let (state, counters) = self.copy();
        Reading { state, counters, consistent: false }
    }

    fn copy(&self) -> (LcoreState, LcoreCounters) {
        let mut words = (0..WORDS).map(|i| load(&self.region, STATS_AT + i * 8));
        let state = LcoreState::take(&mut || words.next().unwrap_or(0));
        (state, LcoreCounters::from_words(words))
    }
}

/// The writing end, owned by one lcore.
#[derive(Debug)]
pub struct StatsWriter {
    region: Region,
    progress: u64,
    sequence: u64,
}

impl StatsWriter {
    /// Says that the loop has turned: one store to a line that others read rarely.
    #[inline]
    pub fn tick(&mut self) {
        self.progress = self.progress.wrapping_add(1);
        store(&self.region, PROGRESS_AT, self.progress);
    }

    /// Copies all numbers to the page. Costs some 400 stores: once per some hundred turns, or per millisecond.
    pub fn publish(&mut self, state: &LcoreState, counters: &LcoreCounters) {
        store(&self.region, SEQUENCE_AT, self.sequence.wrapping_add(1));
        // The sequence is odd before the first number changes.
        fence(Release);
        let mut at = STATS_AT;
        let mut put = |word| {
            store(&self.region, at, word);
            at += 8;
        };
        state.put(&mut put);
        counters.words().for_each(put);
        self.sequence = self.sequence.wrapping_add(2);
        if let Some(sequence) = self.region.word(SEQUENCE_AT) {
            sequence.store(self.sequence, Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(n: u64) -> (LcoreState, LcoreCounters) {
        (LcoreState::take(&mut || n), LcoreCounters::from_words(std::iter::repeat_n(n, LcoreCounters::WORDS)))
    }

    fn publish(writer: &mut StatsWriter, (state, counters): &(LcoreState, LcoreCounters)) {
        writer.publish(state, counters);
    }

    fn reading((state, counters): (LcoreState, LcoreCounters)) -> Reading {
        Reading { state, counters, consistent: true }
    }

    #[test]
    fn every_field_arrives_in_its_place() {
        let page = StatsPage::create("page").unwrap();
        let mut words = 1..;
        let state = LcoreState::take(&mut || words.next().unwrap());
        let counters = LcoreCounters::from_words(words.by_ref().take(LcoreCounters::WORDS));
        page.writer().publish(&state, &counters);
        let reader = StatsPage::attach(page.fd().try_clone_to_owned().unwrap()).unwrap();
        assert_eq!(reader.read(), Reading { state, counters, consistent: true });
        assert_eq!(words.next().unwrap(), WORDS as u64 + 1);
    }

    #[test]
    fn hashes_keep_their_bytes() {
        let hash: [u8; 32] = std::array::from_fn(|i| i as u8 * 7);
        assert_eq!(hash_bytes(&hash_words(&hash)), hash);
        let mut state = LcoreState::default();
        state.acknowledge_matrix(3, 4, &hash);
        assert_eq!((state.matrix_epoch, hash_bytes(&state.matrix_hash)), (3, hash));
    }

    #[test]
    fn a_reader_never_sees_half_a_copy() {
        let page = StatsPage::create("torn").unwrap();
        let mut writer = page.writer();
        let reader = page.clone();
        std::thread::scope(|scope| {
            let turns = scope.spawn(move || {
                for n in 1..20_000 {
                    publish(&mut writer, &numbered(n));
                    writer.tick();
                }
            });
            let mut last = 0;
            while !turns.is_finished() {
                let seen = reader.read();
                if seen.consistent {
                    assert_eq!(seen, reading(numbered(seen.state.turns)), "from one moment");
                    assert!(seen.state.turns >= last);
                    last = seen.state.turns;
                }
            }
        });
        assert_eq!(page.read(), reading(numbered(19_999)));
        assert_eq!(page.progress(), 19_999);
    }

    #[test]
    fn a_writer_that_died_in_the_middle_is_noticed_and_mended() {
        let page = StatsPage::create("dead").unwrap();
        let mut writer = page.writer();
        publish(&mut writer, &numbered(1));
        writer.tick();
        store(&page.region, SEQUENCE_AT, 3);
        store(&page.region, STATS_AT, 99);
        assert!(!page.read().consistent);
        let mut successor = page.writer();
        publish(&mut successor, &numbered(2));
        successor.tick();
        assert_eq!(page.read(), reading(numbered(2)));
        assert_eq!(page.progress(), 2, "progress goes on, it does not start again");
    }

    #[test]
    fn another_layout_is_refused() {
        let page = StatsPage::create("layout").unwrap();
        store(&page.region, WORDS_AT, 1);
        let attach = || StatsPage::attach(page.fd().try_clone_to_owned().unwrap());
        assert!(matches!(attach(), Err(ShmError::Header { what: "words", found: 1 })));
        store(&page.region, 0, 0);
        assert!(matches!(attach(), Err(ShmError::Magic { found: 0, .. })));
    }
}
