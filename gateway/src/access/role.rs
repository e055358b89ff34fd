//! The roles. What each may read of the audit log is in [`crate::redact`], what each may do at the page in the table of routes.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// What somebody is to the gateway; also whoever gets an extract of its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
#[value(rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// Runs the gateway: nothing about people, nothing of cases
    Operator,
    /// Mends the gateway: as an operator
    Engineer,
    /// Checks what was done: all but what is sealed
    Auditor,
    /// Holds shares of keys: all of it
    HumanResources,
    /// Holds shares of keys: all of it
    DataProtectionOfficer,
    /// Holds shares of keys: all of it
    WorksCouncil,
}

impl Role {
    /// All of them.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 6] = [
        Self::Operator,
        Self::Engineer,
        Self::Auditor,
        Self::HumanResources,
        Self::DataProtectionOfficer,
        Self::WorksCouncil,
    ];

    /// As it is written everywhere.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Engineer => "engineer",
            Self::Auditor => "auditor",
            Self::HumanResources => "human_resources",
            Self::DataProtectionOfficer => "data_protection_officer",
            Self::WorksCouncil => "works_council",
        }
    }

    /// Whether nothing of the log is left out.
    pub(crate) const fn sees_all(self) -> bool {
        matches!(self, Self::HumanResources | Self::DataProtectionOfficer | Self::WorksCouncil)
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
