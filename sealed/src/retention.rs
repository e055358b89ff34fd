//! How long something has been kept, by a clock that nobody can set forward.
//!
//! Retention ends what can't be brought back, so the wall clock alone must not decide it: a clock set ten years ahead, by
//! a time server that lies or by a battery that failed, would end all of it at once. What counts is time that passed while
//! the gateway watched: the monotonic clock, summed up over boots. The time that a machine was off is taken from the wall clock, of which
//! [`MOST_OFF_S`] are believed for each start; what was off for longer keeps its records for so much longer, unless somebody
//! says that the clock is right, or a witness does.

use glassgate_policy::audit::{BootId, Now};
use serde::{Deserialize, Serialize};

use crate::files::Place;

const FILE: &str = "elapsed.json";
/// Seconds of the time that a machine was off which are believed at a start: a long weekend.
const MOST_OFF_S: u64 = 3 * 86_400;
/// How often what passed is written down: so much is forgotten when a process dies.
const WRITE_EVERY_S: u64 = 600;

/// Seconds that have passed, over all boots.
#[derive(Debug)]
pub(crate) struct Elapsed {
    place: Place,
    boot: String,
    at: State,
    written_s: u64,
    /// The wall clock when the last boot was last heard of, as long as the time between is not counted.
    off_since: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    elapsed_s: u64,
    boot_id: String,
    /// The monotonic clock of that boot.
    mono_s: u64,
    /// The wall clock when it was last trusted, and what passed since: seconds since 1970.
    wall_s: Option<i64>,
    /// As in [`Elapsed`]: the next process of this boot may be the first that has a clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    off_since: Option<i64>,
}

impl Elapsed {
    /// Goes on from what was written down; at least from `least_s`, which is known to have passed.
    pub(crate) fn open(place: Place, boot: BootId, least_s: u64, now: &Now) -> std::io::Result<Self> {
        let boot = boot.to_string();
        let mono_s = now.mono_ns / 1_000_000_000;
        // A disk that fails is no reason to begin anew: what passed would be forgotten for good with the next write.
        let read = place.read(FILE)?;
        let state: Option<State> = read.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let (mut elapsed_s, mut off_since, mut wall_s) = (0, None, None);
        if let Some(state) = &state {
            // Within a boot the monotonic clock tells all of it; since another one it tells of this one.
            let same = state.boot_id == boot;
            let passed = if same { mono_s.saturating_sub(state.mono_s) } else { mono_s };
            elapsed_s = state.elapsed_s.saturating_add(passed);
            // What is known to have passed beyond what was written down passed on the wall clock as well: it is no time off.
            let beyond_s = least_s.saturating_sub(if same { elapsed_s } else { state.elapsed_s });
            let later = |wall: i64| wall.saturating_add_unsigned(beyond_s);
            off_since = if same { state.off_since } else { state.wall_s }.map(later);
            wall_s = state.wall_s.map(|wall| later(wall.saturating_add_unsigned(passed)));
        }
        let at =
            State { elapsed_s: elapsed_s.max(least_s), boot_id: boot.clone(), mono_s, wall_s, off_since };
        let mut elapsed = Self { place, boot, written_s: 0, at, off_since };
        elapsed.pass(now);
        Ok(elapsed)
    }

    /// Lets time pass, and says how much has in all. Writes it down now and then: what can't be written is tried again, and
    /// forgotten by the next start at worst.
    pub(crate) fn tick(&mut self, now: &Now) -> u64 {
        self.pass(now);
        if self.at.elapsed_s >= self.written_s.saturating_add(WRITE_EVERY_S) {
            _ = self.write();
        }
        self.at.elapsed_s
    }

    /// Seconds in all, as of the last tick.
    pub(crate) fn seconds(&self) -> u64 {
        self.at.elapsed_s
    }

    #[cfg(test)]
    pub(crate) fn written_s(&self) -> u64 {
        self.written_s
    }

    /// Writes down what has passed.
    pub(crate) fn write(&mut self) -> std::io::Result<()> {
        self.place.replace(FILE, &serde_json::to_vec(&self.at)?)?;
        self.written_s = self.at.elapsed_s;
        Ok(())
    }

    fn pass(&mut self, now: &Now) {
        let mono_s = now.mono_ns / 1_000_000_000;
        let passed = mono_s.saturating_sub(self.at.mono_s);
        let wall_s = now.trusted_wall().map(|wall| wall.as_second());
        let mut off = 0;
        if let (Some(since), Some(wall)) = (self.off_since, wall_s) {
            // The wall clock of when this boot began, less that of when the last one was heard of.
            let began = wall.saturating_sub(i64::try_from(mono_s).unwrap_or(i64::MAX));
            off = u64::try_from(began.saturating_sub(since)).unwrap_or_default().min(MOST_OFF_S);
            self.off_since = None;
        }
        let elapsed_s = self.at.elapsed_s.saturating_add(passed).saturating_add(off);
        // Without a clock, what it would show if the machine had not been off: that is what the time off is measured from.
        let wall_s = wall_s.or(self.at.wall_s.map(|wall| wall.saturating_add_unsigned(passed)));
        self.at = State {
            elapsed_s,
            boot_id: self.boot.clone(),
            mono_s: mono_s.max(self.at.mono_s),
            wall_s,
            off_since: self.off_since,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use glassgate_policy::audit::WallQuality;
    use jiff::Timestamp;

    const DAY: u64 = 86_400;

    fn now(mono_s: u64, wall_s: Option<i64>) -> Now {
        let wall = wall_s.map(|s| Timestamp::from_second(s).unwrap());
        Now { mono_ns: mono_s * 1_000_000_000, wall, quality: WallQuality::Synchronized }
    }

    fn place(dir: &tempfile::TempDir) -> Place {
        Place::new(std::sync::Arc::new(glassgate_audit::disk::Folder::private(dir.path()).unwrap()))
    }

    fn open(dir: &tempfile::TempDir, boot: u128, now: &Now) -> Elapsed {
        Elapsed::open(place(dir), BootId(boot), 0, now).unwrap()
    }

    #[test]
    fn clocks_that_jump_let_no_time_pass() {
        let dir = tempfile::tempdir().unwrap();
        let mut elapsed = open(&dir, 1, &now(100, Some(1_800_000_000)));
        let walls = [0, 2_147_483_647, 1_800_000_000 + 3653 * 86_400, 1_800_000_000 - 3653 * 86_400];
        for (passed, wall) in (1..).zip(walls) {
            assert_eq!(elapsed.tick(&now(100 + passed * 60, Some(wall))), passed * 60, "{wall}");
        }
        assert_eq!(elapsed.tick(&now(400, None)), 300);
        assert_eq!(elapsed.tick(&now(10, None)), 300, "a monotonic clock that goes back");
    }

    #[test]
    fn it_goes_on_over_processes_and_boots_and_believes_a_long_weekend() {
        let dir = tempfile::tempdir().unwrap();
        let mut elapsed = open(&dir, 1, &now(100, Some(1_000_000)));
        elapsed.tick(&now(1100, Some(1_001_000)));
        elapsed.write().unwrap();
        // Another process of the same boot: what passed between them counts.
        let mut elapsed = open(&dir, 1, &now(2100, Some(9_999_999_999)));
        assert_eq!(elapsed.seconds(), 2000);
        elapsed.tick(&now(2101, Some(1_002_001)));
        elapsed.write().unwrap();
        // Another boot, an hour later; the clock is trusted after a minute only.
        let mut elapsed = open(&dir, 2, &now(60, None));
        assert_eq!(elapsed.seconds(), 2001 + 60);
        elapsed.write().unwrap();
        assert_eq!(elapsed.tick(&now(120, Some(1_002_001 + 3600 + 120))), 2001 + 3600 + 120);
        elapsed.write().unwrap();
        // Off for ten years, says the clock.
        let mut elapsed = open(&dir, 3, &now(5, Some(1_005_721 + 3653 * 86_400)));
        assert_eq!(elapsed.tick(&now(5, None)), 5721 + 5 + MOST_OFF_S);
        elapsed.write().unwrap();
        // And back.
        let elapsed = open(&dir, 4, &now(5, Some(0)));
        assert_eq!(elapsed.seconds(), 5721 + 5 + MOST_OFF_S + 5);
    }

    #[test]
    fn the_time_off_is_known_after_a_start_without_a_clock() {
        let dir = tempfile::tempdir().unwrap();
        open(&dir, 1, &now(100, Some(1_000_000))).write().unwrap();
        // A boot that never has a clock, ended; then one that has.
        let mut second = open(&dir, 2, &now(0, None));
        second.tick(&now(1000, None));
        second.write().unwrap();
        let third = open(&dir, 3, &now(10, Some(1_000_000 + DAY as i64)));
        assert_eq!(third.seconds(), DAY);
    }

    #[test]
    fn the_time_off_is_known_to_a_later_process_of_the_boot() {
        let dir = tempfile::tempdir().unwrap();
        open(&dir, 1, &now(100, Some(1_000_000))).write().unwrap();
        // Two processes of the next boot: only the second has a clock.
        open(&dir, 2, &now(10, None)).write().unwrap();
        let third = open(&dir, 2, &now(20, Some(1_000_000 + DAY as i64)));
        assert_eq!(third.seconds(), DAY);
        // And it is counted once.
        let mut third = third;
        third.write().unwrap();
        assert_eq!(open(&dir, 2, &now(21, Some(1_000_001 + DAY as i64))).seconds(), DAY + 1);
    }

    #[test]
    fn a_file_that_can_not_be_read_now_is_not_begun_anew() {
        let memory = glassgate_audit::simulated::Memory::new(1);
        let open = |at: u64| {
            Elapsed::open(Place::new(std::sync::Arc::new(memory.clone())), BootId(1), 0, &now(at, None))
        };
        open(0).unwrap().write().unwrap();
        let mut first = open(5000).unwrap();
        first.write().unwrap();
        memory.fail(1000);
        assert!(open(5001).is_err());
        memory.mend();
        assert_eq!(open(5002).unwrap().seconds(), 5002);
    }

    #[test]
    fn what_a_key_knows_to_have_passed_is_not_counted_as_time_off_again() {
        let dir = tempfile::tempdir().unwrap();
        open(&dir, 1, &now(0, Some(1_000_000))).write().unwrap();
        // A day later a key is made, whose file says so, and the power goes before the time is written down; off for an hour.
        let wall_s = 1_000_000 + DAY as i64 + 3600;
        let next = Elapsed::open(place(&dir), BootId(2), DAY, &now(0, Some(wall_s))).unwrap();
        assert_eq!(next.seconds(), DAY + 3600);
    }

    #[test]
    fn a_file_that_means_nothing_is_begun_anew_and_not_below_what_is_known() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), b"{\"elapsed_s\":").unwrap();
        let elapsed = Elapsed::open(place(&dir), BootId(1), 77, &now(5, None)).unwrap();
        assert_eq!(elapsed.seconds(), 77);
    }
}
