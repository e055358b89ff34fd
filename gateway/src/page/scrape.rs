//! Who may read `/metrics` without being logged in: whoever holds a token of its own, and where it was said so, whoever is on the machine itself.

use crate::secret;
use anyhow::{Context as _, Result};
use axum::http::HeaderMap;
use ring::hmac;
use std::net::IpAddr;
use std::path::Path;

/// Who may.
pub(crate) struct Scrape {
    /// What is compared are tags under a key that nobody knows, in constant time.
    token: Option<(hmac::Key, hmac::Tag)>,
    open_on_loopback: bool,
}

impl Scrape {
    /// Reads the token, if there is one.
    pub(crate) fn open(token: Option<&Path>, open_on_loopback: bool) -> Result<Self> {
        let read = |path: &Path| {
            let token = secret::read(path).with_context(|| format!("the token {}", path.display()))?;
            let random = ring::rand::SystemRandom::new();
            let key =
                hmac::Key::generate(hmac::HMAC_SHA256, &random).ok().context("there is no randomness")?;
            let tag = hmac::sign(&key, &token);
            anyhow::Ok((key, tag))
        };
        Ok(Self { token: token.map(read).transpose()?, open_on_loopback })
    }

    pub(super) fn admits(&self, headers: &HeaderMap) -> bool {
        let shown = super::gate::bearer(headers);
        let (Some((key, tag)), Some(shown)) = (&self.token, shown) else { return false };
        hmac::verify(key, shown.as_bytes(), tag.as_ref()).is_ok()
    }

    pub(super) fn is_open(&self, peer: IpAddr) -> bool {
        self.open_on_loopback && peer.to_canonical().is_loopback()
    }
}
