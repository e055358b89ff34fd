//! `[reports]`: what is written down of each day, week or month that is over.

use super::{Check, schema};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Reports that are written by themselves.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reports {
    /// None: no report is written.
    pub(crate) every: Option<Every>,
    pub(crate) dir: PathBuf,
    /// How many are kept.
    pub(crate) keep: u32,
    /// Whether the report is in Chinese.
    pub(crate) chinese: bool,
    /// Whether the webhook is told of each.
    pub(crate) announce: bool,
}

/// How long a report is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Every {
    Day,
    /// From Monday to Sunday.
    Week,
    Month,
}

impl Every {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }
}

pub(super) fn check(check: &mut Check<'_>, raw: &schema::reports) -> Option<Reports> {
    let every = match raw.every.value.as_str() {
        "" => None,
        "day" => Some(Every::Day),
        "week" => Some(Every::Week),
        "month" => Some(Every::Month),
        other => {
            check
                .fault(&raw.every, "unknown-word", format!("`{other}` is not known here"))
                .help("write \"day\", \"week\" or \"month\", or nothing");
            return None;
        }
    };
    let chinese = match raw.language.value.as_str() {
        "en" => false,
        "zh" => true,
        other => {
            check
                .fault(&raw.language, "unknown-word", format!("`{other}` is not known here"))
                .help("write \"en\" or \"zh\"");
            return None;
        }
    };
    let announce = raw.announce.value;
    let keep = check.number(&raw.keep, 1..=1000, "reports");
    Some(Reports { every, dir: check.path(&raw.dir)?, keep: keep?, chinese, announce })
}
