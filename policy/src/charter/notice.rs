//! The notice as it is shown to a device that it was not read on, and what a receipt of it is for.

use ring::digest::{Context, SHA256};

use super::file::{CharterFile, Notice};
use crate::audit::Hex;

/// The longest page of notices: fifteen segments, which any client takes at once.
pub const MAX_NOTICE_BODY: usize = 16 << 10;
/// Where in the page the token of the device stands, by which its receipt is known to be its own.
pub const TOKEN: &[u8; 16] = b"@@GLASSGATE-ID@@";

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
    /// What a group has to have read: the notices of the purposes that ask it for receipts. `None` if none does.
    pub(super) fn of(file: &CharterFile, group: &str) -> Option<Self> {
        let asks =
            file.purposes.iter().filter(|entry| entry.receipt && entry.groups.iter().any(|g| g == group));
        let mut versions: Vec<&str> = asks.map(|entry| entry.notice.as_str()).collect();
        versions.sort_unstable();
        versions.dedup();
        let notices: Vec<&Notice> = versions.iter().filter_map(|version| file.notice(version)).collect();
        (!notices.is_empty()).then(|| {
            let page = page(file, &notices);
            let page = if page.len() > MAX_NOTICE_BODY { String::new() } else { page };
            Self {
                notices: notices.into_iter().map(ReceiptFor::of).collect(),
                page: page.into_bytes().into(),
            }
        })
    }
}

/// Whether the notices of every group that is asked for receipts can be shown.
pub(super) fn too_long(file: &CharterFile) -> Option<&str> {
    let groups = file.purposes.iter().filter(|entry| entry.receipt).flat_map(|entry| &entry.groups);
    let mut groups = groups.map(String::as_str);
    groups.find(|group| Unread::of(file, group).is_some_and(|unread| unread.page.is_empty()))
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
