//! The notice as it is shown to a device that it was not read on, and what a receipt of it is for.

use std::collections::BTreeSet;

use ring::digest::{Context, SHA256, digest};

use super::file::{CharterFile, Notice, PurposeEntry};
use crate::audit::Hex;
use crate::matrix::MAX_NOTICES;

/// The longest page of notices: fifteen segments, which any client takes at once.
pub const MAX_NOTICE_BODY: usize = 16 << 10;
/// Where in the page the token of the device stands, by which its receipt is known to be its own.
pub const TOKEN: &[u8; 16] = b"@@GLASSGATE-ID@@";

/// The first half of SHA-256 of a page of notices: by it a receipt says which page was read.
pub type PageDigest = [u8; 16];

/// The digest of a page.
pub fn page_digest(page: &[u8]) -> PageDigest {
    digest(&SHA256, page).as_ref().first_chunk().copied().unwrap_or_default()
}

/// What a receipt is for: a version of a notice, and its very text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReceiptFor {
    /// The version of the notice.
    pub version: String,
    /// SHA-256 of its texts, so that another text under the same version is another notice.
    pub sha256: String,
}

/// What somebody has to have read before they count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// The notices.
    pub notices: Vec<ReceiptFor>,
    /// They, as a page of HTML of at most [`MAX_NOTICE_BODY`] bytes, with [`TOKEN`] in it once. Empty where they are longer: then they
    /// can't be shown, and receipts come from elsewhere or not at all.
    pub page: Box<[u8]>,
    /// The digest of the page.
    pub digest: PageDigest,
}

impl ReceiptFor {
    /// Of a notice.
    pub fn of(notice: &Notice) -> Self {
        let mut context = Context::new(&SHA256);
        for part in notice.text.iter().flat_map(|(language, text)| [language, text]) {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part.as_bytes());
        }
        let sha256 = Hex(context.finish().as_ref()).to_string();
        Self { version: notice.version.clone(), sha256 }
    }
}

impl Unread {
    /// The notices of some versions, as one page.
    pub(super) fn of(file: &CharterFile, versions: &[&str]) -> Self {
        let notices: Vec<&Notice> = versions.iter().filter_map(|version| file.notice(version)).collect();
        let page = page(file, &notices);
        let page = if page.len() > MAX_NOTICE_BODY { String::new() } else { page };
        Self {
            notices: notices.into_iter().map(ReceiptFor::of).collect(),
            digest: page_digest(page.as_bytes()),
            page: page.into_bytes().into(),
        }
    }
}

/// The versions that a group has to have read, sorted: of those purposes that ask it for receipts and that `counts` says yes to.
pub(super) fn versions_for<'a>(
    file: &'a CharterFile,
    group: &str,
    counts: impl Fn(&PurposeEntry) -> bool,
) -> Vec<&'a str> {
    let asks = asking(file, group).filter(|(_, entry)| counts(entry));
    let mut versions: Vec<&str> = asks.map(|(_, entry)| entry.notice.as_str()).collect();
    versions.sort_unstable();
    versions.dedup();
    versions
}

/// A group that asks for receipts of more than can be shown.
pub(super) fn too_long(file: &CharterFile) -> Option<&str> {
    let too_long = |group: &&str| {
        let versions = versions_for(file, group, |_| true);
        !versions.is_empty() && Unread::of(file, &versions).page.is_empty()
    };
    groups(file).find(too_long)
}

/// Whether there may be more pages than a matrix has room for. Each set of purposes counts as a page: as purposes begin and end, groups
/// that have read the same today may differ tomorrow.
pub(super) fn too_many(file: &CharterFile) -> bool {
    let sets = groups(file).map(|group| asking(file, group).map(|(at, _)| at).collect());
    sets.collect::<BTreeSet<Vec<usize>>>().len() > MAX_NOTICES
}

/// The groups that are asked for receipts, once for each purpose that does.
fn groups(file: &CharterFile) -> impl Iterator<Item = &str> {
    file.purposes.iter().filter(|entry| entry.receipt).flat_map(|entry| &entry.groups).map(String::as_str)
}

/// The purposes that ask a group for receipts, with their place.
fn asking<'a>(file: &'a CharterFile, group: &str) -> impl Iterator<Item = (usize, &'a PurposeEntry)> {
    let asks =
        move |(_, entry): &(usize, &PurposeEntry)| entry.receipt && entry.groups.iter().any(|g| g == group);
    file.purposes.iter().enumerate().filter(asks)
}

fn page(file: &CharterFile, notices: &[&Notice]) -> String {
    let texts =
        notices.iter().flat_map(|notice| notice.text.iter().map(move |(tag, text)| (notice, tag, text)));
    let texts = texts.map(|(notice, tag, text)| {
        let text = escaped(text).replace('\n', "<br>");
        format!(
            "<section lang=\"{tag}\"><p>{text}</p><p><small>{}</small></p></section>",
            escaped(&notice.version)
        )
    });
    let token = String::from_utf8_lossy(TOKEN);
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>Notice · 告知</title>\
         <style>body{{font:1.05em/1.6 system-ui,sans-serif;max-width:38em;margin:2em auto;padding:0 1em}}button{{font:inherit;padding:.6em 1.4em}}</style>\
         <h1>{}</h1>{}<p>{}</p>\
         <form method=\"post\" action=\"/glassgate-notice/{token}\"><button>I have read this · 我已阅读</button></form></html>\n",
        escaped(&file.controller),
        texts.collect::<String>(),
        escaped(&file.contact),
    )
}

/// With what HTML gives a meaning to written as text.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            // What looks like the place of the token is not.
            '@' => out.push_str("&#64;"),
            c => out.push(c),
        }
    }
    out
}
