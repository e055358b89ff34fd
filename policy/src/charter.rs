//! The charter: the lawful basis without which nothing beyond counts is written.
//!
//! A charter can't be read yet, so there is none, and the types know it: [`Charter`] has no value, and the only way to
//! a [`Ceiling`] above counts is through one. Whatever an event says about its level, the engine writes no more
//! than its ceiling allows.
//!
//! ```compile_fail
//! use glassgate_policy::charter::{Ceiling, Charter};
//! // There is no way to write this value down.
//! let ceiling = Ceiling::of(&Charter { never: unreachable!() });
//! ```
//!
//! ```
//! use glassgate_policy::{ObservationLevel, charter::Ceiling};
//! assert_eq!(Ceiling::default().level(), ObservationLevel::Aggregate);
//! ```

use std::convert::Infallible;

use crate::vocab::ObservationLevel;

/// A charter in force: checked signatures, notice given, not expired.
#[derive(Clone, Copy, Debug)]
pub struct Charter {
    never: Infallible,
}

impl Charter {
    /// The highest level that any of its purposes allows.
    pub const fn highest_level(&self) -> ObservationLevel {
        match self.never {}
    }
}

/// The most that may be written, whatever an event says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ceiling(ObservationLevel);

impl Ceiling {
    /// Without a charter: counts.
    pub const COUNTS: Self = Self(ObservationLevel::Aggregate);

    /// What a charter allows.
    pub const fn of(charter: &Charter) -> Self {
        Self(charter.highest_level())
    }

    /// The level.
    pub const fn level(self) -> ObservationLevel {
        self.0
    }

    /// The lower of the ceiling and what was asked for.
    pub fn clamp(self, asked: ObservationLevel) -> ObservationLevel {
        self.0.min(asked)
    }
}

impl Default for Ceiling {
    fn default() -> Self {
        Self::COUNTS
    }
}
