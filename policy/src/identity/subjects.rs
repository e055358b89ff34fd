//! Numbers for subjects: so that people can be counted, and nobody be known by what is counted.
//!
//! A number is drawn at random when a directory first names a subject, and forgotten a day after none does any more: somebody
//! who is taken out of it by mistake and put back would otherwise be two people of the same day. It never leaves the gateway's memory,
//! says nothing of its subject's place in the directory, and is another one after a restart. **A subject whose key is changed is
//! two people until the day is over**: nothing says that they are one.

use std::collections::{HashMap, HashSet};

use ring::rand::{SecureRandom, SystemRandom};

use super::Directory;
use crate::vocab::SubjectId;

/// Counts of a day are over by then, whatever the zone and the changes of its clocks.
const KEPT_NS: u64 = 25 * 3_600_000_000_000;
/// The most that are kept of those who are in no directory any more: as many as fit into one.
const MAX_LEFT: usize = 1 << 16;

/// The numbers in use. Bounded as the directory is.
#[derive(Clone, Debug, Default)]
pub struct Subjects {
    numbers: HashMap<String, SubjectId>,
    /// Of those and of `left`: whose a number is.
    names: HashMap<SubjectId, String>,
    /// Those who were taken out of the directory, and when.
    left: HashMap<String, (SubjectId, u64)>,
}

impl Subjects {
    /// Deals numbers to the subjects of a directory, at `now_ns` of the monotonic clock. Those who had one keep it, so that
    /// nobody is two people in one day because a file was read again. Without random bytes a subject is nobody, and of nobody nothing
    /// is counted. Beyond 65 536 who left within a day, one who comes back has another number.
    pub fn deal(&mut self, directory: &Directory, now_ns: u64) {
        let named: HashSet<&str> = directory.subjects().collect();
        self.left.retain(|_, (_, at)| now_ns.saturating_sub(*at) < KEPT_NS);
        for (subject, number) in self.numbers.extract_if(|subject, _| !named.contains(subject.as_str())) {
            if self.left.len() < MAX_LEFT {
                self.left.insert(subject, (number, now_ns));
            }
        }
        let left = self.left.values().map(|(number, _)| *number);
        let mut taken: HashSet<SubjectId> = self.numbers.values().copied().chain(left).collect();
        for subject in named {
            if self.numbers.contains_key(subject) {
                continue;
            }
            let had = self.left.remove(subject).map(|(number, _)| number);
            if let Some(number) = had.or_else(|| draw(&taken)) {
                taken.insert(number);
                self.numbers.insert(subject.to_owned(), number);
            }
        }
        let left = self.left.iter().map(|(subject, (number, _))| (*number, subject.clone()));
        let here = self.numbers.iter().map(|(subject, number)| (*number, subject.clone()));
        self.names = here.chain(left).collect();
    }

    /// Whose a number is: of somebody in the directory, or who was within a day. For sealing what they did, and nothing else.
    pub fn name(&self, number: SubjectId) -> Option<&str> {
        self.names.get(&number).map(String::as_str)
    }

    /// The number of a subject.
    pub fn number(&self, subject: &str) -> SubjectId {
        self.numbers.get(subject).copied().unwrap_or(SubjectId::NOBODY)
    }
}

/// A number that nobody has.
fn draw(taken: &HashSet<SubjectId>) -> Option<SubjectId> {
    let random = SystemRandom::new();
    // Of 2^32 numbers at most 2^17 are taken: eight draws all fail once in 10^36.
    for _ in 0..8 {
        let mut bytes = [0; 4];
        random.fill(&mut bytes).ok()?;
        let number = SubjectId(u32::from_le_bytes(bytes));
        if number != SubjectId::NOBODY && !taken.contains(&number) {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(subjects: &[&str]) -> Directory {
        let mut text = "subject,group,device,enrolled_by,enrolled\n".to_owned();
        for (i, subject) in subjects.iter().enumerate() {
            text += &format!(
                "{subject},sales,10.0.0.{i},it,2027-01-04\n{subject},sales,10.0.1.{i},it,2027-01-04\n"
            );
        }
        Directory::parse("d.csv", text.as_bytes()).unwrap()
    }

    #[test]
    fn numbers_stay_while_a_subject_does_and_mean_nothing() {
        let mut subjects = Subjects::default();
        subjects.deal(&directory(&["a", "b", "c"]), 0);
        let before = ["a", "b", "c", "d"].map(|s| subjects.number(s));
        assert_eq!(before[3], SubjectId::NOBODY);
        assert_eq!(before.iter().collect::<HashSet<_>>().len(), 4, "{before:?}");
        subjects.deal(&directory(&["c", "d", "a"]), 1);
        let after = ["a", "b", "c", "d"].map(|s| subjects.number(s));
        assert_eq!((after[0], after[1], after[2]), (before[0], SubjectId::NOBODY, before[2]));
        assert_ne!(after[3], SubjectId::NOBODY);
        let names = before[..3].iter().chain([&after[3]]).map(|number| subjects.name(*number));
        assert_eq!(names.collect::<Vec<_>>(), [Some("a"), Some("b"), Some("c"), Some("d")]);
        assert_eq!(subjects.name(SubjectId::NOBODY), None);
        let mut again = Subjects::default();
        again.deal(&directory(&["a", "b", "c"]), 0);
        assert_ne!(["a", "b", "c"].map(|s| again.number(s)), [before[0], before[1], before[2]]);
    }

    #[test]
    fn who_comes_back_within_the_day_is_the_same_and_later_another() {
        let mut subjects = Subjects::default();
        subjects.deal(&directory(&["a", "b"]), 0);
        let before = subjects.number("b");
        subjects.deal(&directory(&["a"]), 1);
        assert_eq!(subjects.number("b"), SubjectId::NOBODY);
        subjects.deal(&directory(&["a", "b"]), KEPT_NS);
        assert_eq!(subjects.number("b"), before);
        subjects.deal(&directory(&["a"]), KEPT_NS);
        subjects.deal(&directory(&["a", "b"]), 2 * KEPT_NS);
        assert_ne!(subjects.number("b"), before);
    }
}
