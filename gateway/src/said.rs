//! A sentence for people, in both languages of the views.

/// The sentence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) en: String,
    pub(crate) zh: String,
}

impl Said {
    pub(crate) fn new(en: impl Into<String>, zh: impl Into<String>) -> Self {
        Self { en: en.into(), zh: zh.into() }
    }
}
