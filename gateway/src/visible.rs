//! Characters that nobody sees, and that change what is seen round them: shown as `�` where a text may be of somebody else's making.
//!
//! A name from the wire, a file or a record can hold an escape that a terminal obeys, a mark that turns the rest of a line round, or
//! nothing visible at all between two letters. Markup is escaped elsewhere; this is about what remains.

use std::borrow::Cow;

/// What is shown instead.
const SHOWN: char = char::REPLACEMENT_CHARACTER;

/// Whether a character is obeyed, or hidden, instead of shown. A line feed and a tab are neither.
fn is_hidden(c: char) -> bool {
    match c {
        '\n' | '\t' => false,
        // C0, DEL, C1.
        c if c.is_control() => true,
        // Soft hyphen; Arabic letter mark; Mongolian vowel separator.
        '\u{ad}' | '\u{61c}' | '\u{180e}' => true,
        // Zero width, marks of direction; lines and paragraphs; embeddings and overrides; joiners, isolates, what is deprecated.
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => true,
        // Byte order mark; annotations; tags, which spell text that is not shown.
        '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}' => true,
        _ => false,
    }
}

/// The text with all of it shown.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    if text.chars().any(is_hidden) {
        text.chars().map(|c| if is_hidden(c) { SHOWN } else { c }).collect::<String>().into()
    } else {
        text.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hidden_is_shown_and_what_is_text_is_left_alone() {
        for (text, shown) in [
            ("boss\u{1b}[31m直聘", "boss�[31m直聘"),
            ("photo\u{202e}gpj.exe", "photo�gpj.exe"),
            ("a\0b\u{7f}c\u{9b}d\r\n\te", "a�b�c�d�\n\te"),
            ("pay\u{200b}pal\u{ad}\u{feff}\u{e0041}", "pay�pal���"),
        ] {
            assert_eq!(visible(text), shown);
        }
        for text in ["", "Straße – 招聘 …", "naïve e\u{301}", "🦀"] {
            assert!(matches!(visible(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }
}
