//! The languages of the views: English and Chinese.
//!
//! `?lang=zh` or `?lang=en` decides, else what the browser prefers. A text stands in both languages at the place where it is used.

use axum::http::HeaderMap;
use axum::http::header::ACCEPT_LANGUAGE;

/// A language.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Lang {
    #[default]
    En,
    Zh,
}

impl Lang {
    /// The language that is asked for, else the one that the browser would rather have.
    pub(super) fn of(asked: Option<&str>, headers: &HeaderMap) -> Self {
        let accepted = headers.get(ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        match asked {
            Some("zh") => Self::Zh,
            Some("en") => Self::En,
            _ => preferred(accepted),
        }
    }

    /// Its tag, for `lang` and links.
    pub(super) const fn tag(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Zh => "zh",
        }
    }

    /// The other one.
    pub(super) const fn other(self) -> Self {
        match self {
            Self::En => Self::Zh,
            Self::Zh => Self::En,
        }
    }

    /// The text in this language.
    pub(super) const fn say<'a>(self, en: &'a str, zh: &'a str) -> &'a str {
        match self {
            Self::En => en,
            Self::Zh => zh,
        }
    }
}

/// The first of ours by weight (RFC 9110, section 12.5.4); English where none is named.
fn preferred(accepted: &str) -> Lang {
    let mut best = (0, Lang::En);
    for range in accepted.split(',').take(16) {
        let (tag, weight) = range.split_once(';').unwrap_or((range, "q=1"));
        let lang = match tag.trim().split('-').next().map(str::to_ascii_lowercase).as_deref() {
            Some("zh") => Lang::Zh,
            Some("en") => Lang::En,
            _ => continue,
        };
        let weight: f64 = weight.trim().trim_start_matches("q=").parse().unwrap_or(0.0);
        let weight = (weight.clamp(0.0, 1.0) * 1000.0) as u32;
        if weight > best.0 {
            best = (weight, lang);
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_browser_prefers() {
        for (accepted, lang) in [
            ("", Lang::En),
            ("de, fr", Lang::En),
            ("zh-CN,zh;q=0.9,en;q=0.8", Lang::Zh),
            ("en-GB,en;q=0.9,zh;q=0.8", Lang::En),
            ("en;q=0.3, zh-Hans ; q=0.7", Lang::Zh),
            ("zh;q=0", Lang::En),
            ("zh;q=x,;,,=", Lang::En),
        ] {
            assert_eq!(preferred(accepted), lang, "{accepted}");
        }
        let headers = HeaderMap::new();
        assert_eq!(Lang::of(Some("zh"), &headers), Lang::Zh);
        assert_eq!(Lang::of(Some("<x>"), &headers), Lang::En);
    }
}
