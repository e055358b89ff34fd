//! A category of the lists of the University of Toulouse (UT1 Capitole): a folder of squidGuard's kind.

use super::Skip;
use super::plain::before_comment;
use super::sink::{Line, Sink};
use crate::category::Category;
use crate::signature::Scope;

/// What a file of the folder holds, by its name.
pub(super) fn reader(path: &str) -> fn(&mut Sink, Line<'_>) {
    match path.rsplit(['/', '\\']).next() {
        Some("urls" | "very_restrictive_urls") => urls,
        Some("expressions" | "very_restrictive_expression" | "very_restrictive_expressions") => expressions,
        _ => domains,
    }
}

fn domains(sink: &mut Sink, line: Line<'_>) {
    let text = before_comment(line.text);
    if !text.is_empty() {
        sink.counted();
        sink.name(line, text.strip_prefix('.').unwrap_or(text), Scope::Suffix, "");
    }
}

fn urls(sink: &mut Sink, line: Line<'_>) {
    sink.counted();
    sink.skip(line, line.text, Skip::Url);
}

fn expressions(sink: &mut Sink, line: Line<'_>) {
    sink.counted();
    sink.skip(line, line.text, Skip::Regexp);
}

/// Folders whose meaning is that of a category of ours. What is missing here is asked for.
pub(super) fn category(folder: &str) -> Option<Category> {
    Some(match folder {
        "audio-video" => Category::Video,
        "radio" => Category::Music,
        "bank" => Category::ProtectedBank,
        "associations_religieuses" => Category::ProtectedFaith,
        "adult" | "dating" | "lingerie" | "mixed_adult" | "sexual_education" => Category::ProtectedSexual,
        "child" | "educational_games" | "games" => Category::Games,
        "chat" => Category::Messaging,
        "doh" | "vpn" | "redirector" | "strict_redirector" | "strong_redirector" => Category::Tunnel,
        "filehosting" => Category::FileTransfer,
        "forums" | "social_networks" => Category::Social,
        "jobsearch" => Category::Recruitment,
        "malware" | "cryptojacking" | "stalkerware" | "ddos" => Category::Malware,
        "phishing" => Category::Phishing,
        "press" => Category::News,
        "publicite" | "marketingware" => Category::Ads,
        "shopping" => Category::Shopping,
        "update" => Category::Infrastructure,
        "webmail" => Category::Work,
        _ => return None,
    })
}
