//! Numbers for subjects: so that people can be counted, and nobody be known by what is counted.
//!
//! A number is drawn at random when a directory first names a subject, and forgotten when none does any more. It never
//! leaves the gateway's memory, says nothing of its subject's place in the directory, and is another one after a restart.

use std::collections::{HashMap, HashSet};

use ring::rand::{SecureRandom, SystemRandom};

use super::Directory;
use crate::vocab::SubjectId;

/// The numbers in use. Bounded as the directory is.
#[derive(Clone, Debug, Default)]
pub struct Subjects {
    numbers: HashMap<String, SubjectId>,
}

impl Subjects {
    /// Deals numbers to the subjects of a directory. Those who had one keep it, so that nobody is two people in one hour
    /// because a file was read again. Without random bytes a subject is nobody, and of nobody nothing is counted.
    pub fn deal(&mut self, directory: &Directory) {
        let named: HashSet<&str> = directory.subjects().collect();
        self.numbers.retain(|subject, _| named.contains(subject.as_str()));
        let mut taken: HashSet<SubjectId> = self.numbers.values().copied().collect();
        for subject in named {
            if !self.numbers.contains_key(subject)
                && let Some(number) = draw(&taken)
            {
                taken.insert(number);
                self.numbers.insert(subject.to_owned(), number);
            }
        }
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
        subjects.deal(&directory(&["a", "b", "c"]));
        let before = ["a", "b", "c", "d"].map(|s| subjects.number(s));
        assert_eq!(before[3], SubjectId::NOBODY);
        assert_eq!(before.iter().collect::<HashSet<_>>().len(), 4, "{before:?}");
        subjects.deal(&directory(&["c", "d", "a"]));
        let after = ["a", "b", "c", "d"].map(|s| subjects.number(s));
        assert_eq!((after[0], after[1], after[2]), (before[0], SubjectId::NOBODY, before[2]));
        assert_ne!(after[3], SubjectId::NOBODY);
        let mut again = Subjects::default();
        again.deal(&directory(&["a", "b", "c"]));
        assert_ne!(["a", "b", "c"].map(|s| again.number(s)), [before[0], before[1], before[2]]);
    }
}
