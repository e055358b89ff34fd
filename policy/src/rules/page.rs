//! What the client of a blocked flow is told, where it asked in clear: which rule, why, and who answers for it.

use super::Rule;
use crate::matrix::MAX_PAGE;

/// The longest of owner and note that is shown.
const TEXT: usize = 200;

/// A whole HTTP response, no longer than [`MAX_PAGE`]: one segment.
pub(super) fn of(rule: &Rule) -> Box<[u8]> {
    let (name, purpose) = (&rule.name, rule.purpose);
    let (owner, note) = (shown(&rule.owner), shown(&rule.note));
    let mut page = response(&body(name, purpose.as_str(), &owner, &note));
    if page.len() > MAX_PAGE {
        // Characters that take many bytes when they are escaped.
        page = response(&body(name, purpose.as_str(), "", ""));
    }
    page.into_bytes().into()
}

fn response(body: &str) -> String {
    format!(
        "HTTP/1.1 403 Forbidden\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn body(name: &str, purpose: &str, owner: &str, note: &str) -> String {
    let note = if note.is_empty() { String::new() } else { format!("<p>{note}</p>") };
    let owner = if owner.is_empty() { String::new() } else { format!("<p>{owner}</p>") };
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>Blocked</title><h1>Blocked by this network</h1><p lang=\"zh\">本网络已阻止访问</p>\
         <p>Rule <b>{name}</b>, purpose {purpose}</p>{note}{owner}</html>\n"
    )
}

/// The beginning of a text, with what HTML gives a meaning to written as text.
fn shown(text: &str) -> String {
    let mut out = String::new();
    for (at, c) in text.char_indices() {
        if at + c.len_utf8() > TEXT {
            out.push('…');
            break;
        }
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{Match, RuleAction, State};
    use crate::vocab::Purpose;

    fn rule(owner: &str, note: &str) -> Rule {
        Rule {
            name: "n".repeat(48),
            line: 1,
            matches: Match::default(),
            action: RuleAction::Block,
            state: State::Enforce,
            owner: owner.to_owned(),
            purpose: Purpose::Recruitment,
            expires: None,
            note: note.to_owned(),
        }
    }

    #[test]
    fn a_page_says_which_rule_and_fits() {
        let long = "&".repeat(512);
        for (owner, note) in
            [("net@example.com", "<b>ask & see</b>"), (&long, &long), ("", "很".repeat(170).as_str())]
        {
            let page = String::from_utf8(of(&rule(owner, note)).into()).unwrap();
            assert!(page.len() <= MAX_PAGE, "{}", page.len());
            let (head, body) = page.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with("HTTP/1.1 403 ") && body.contains(&"n".repeat(48)), "{page}");
            assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{page}");
            assert!(!body.contains("<b>ask"), "{page}");
        }
        let page = String::from_utf8(of(&rule("net", "<b>ask & see</b>")).into()).unwrap();
        assert!(page.contains("&lt;b&gt;ask &amp; see") && page.contains("purpose recruitment"), "{page}");
    }
}
