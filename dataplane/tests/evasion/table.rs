//! The table: one row per transformation and case, with the outcome that it must have.

use crate::rows;
use crate::scene::Scene;
use crate::wire::Family;
use glassgate_policy::{Category, Evidence, Reason};

/// What must become of the scene's first flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    /// The true name, with this evidence; ambiguity or another name is a failure.
    Name(Evidence),
    /// As `Name`, and the hello carries the label `ech`.
    NameWithEch,
    /// As `Name`, and the flow is marked as one with several names.
    FirstOfSeveral(Evidence),
    /// As `Name`, and the service is of this category.
    NameIn(Evidence, Category),
    /// No name, for this reason: the flow's own, or counted by frame where no flow could be told.
    Reason(Reason),
    /// No name, and both readings are kept as candidates.
    Ambiguous(Reason),
    /// No name, ambiguous, but only the reading with the true name is one.
    AmbiguousOne(Reason),
    /// No name, ambiguous, and no reading is kept: endpoints with a current system discard all of them.
    AmbiguousUnread(Reason),
}

impl Expect {
    pub(crate) fn is_ambiguous(self) -> bool {
        matches!(self, Self::Ambiguous(_) | Self::AmbiguousOne(_) | Self::AmbiguousUnread(_))
    }
}

/// One case of a transformation.
pub(crate) struct Row {
    /// Of the catalogue of 112 transformations. A transformation with several cases has several rows.
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    pub(crate) expect: Expect,
    /// Where it exists in one family only.
    pub(crate) only: Option<Family>,
    /// Seeds 0 to this are played.
    pub(crate) seeds: u64,
    /// Whether a real server is played against, too.
    #[allow(dead_code, reason = "asked by the other test that plays these rows")]
    pub(crate) live: bool,
    pub(crate) build: fn(&mut Scene),
}

impl Row {
    pub(crate) fn new(id: &'static str, title: &'static str, expect: Expect, build: fn(&mut Scene)) -> Self {
        Self { id, title, expect, only: None, seeds: 1, live: false, build }
    }

    pub(crate) fn only(self, family: Family) -> Self {
        Self { only: Some(family), ..self }
    }

    pub(crate) fn seeds(self, seeds: u64) -> Self {
        Self { seeds, ..self }
    }

    /// Also played against a real server.
    pub(crate) fn live(self) -> Self {
        Self { live: true, ..self }
    }

    pub(crate) fn families(&self) -> impl Iterator<Item = Family> {
        [Family::V4, Family::V6].into_iter().filter(|f| self.only.is_none_or(|only| only == *f))
    }
}

/// All rows, in the order of the catalogue.
pub(crate) fn rows() -> Vec<Row> {
    [rows::tcp::rows(), rows::ip::rows(), rows::tls::rows(), rows::quic::rows(), rows::plain::rows()]
        .into_iter()
        .flatten()
        .collect()
}
