//! The configuration explained: as a file with all defaults, and as the reference in `docs/config.md`.

use super::schema::sections;
use std::fmt::Write as _;

/// `glassgate config`: a complete `glassgate.toml`, every setting with its default and its meaning.
pub(crate) fn commented_defaults() -> String {
    let mut out = String::from(
        "# Glassgate configuration. Every setting is shown with its default: what you leave out stays as it is here.\n",
    );
    for section in sections() {
        out.push('\n');
        comment(&mut out, section.doc);
        if section.is_list {
            // There is none by default: all of it is a comment, ready to be uncovered.
            _ = writeln!(out, "#\n#[[{}]]", section.name);
            for field in section.fields {
                comment(&mut out, field.doc);
                _ = writeln!(out, "#{} = {}", field.name, field.default);
            }
            continue;
        }
        _ = writeln!(out, "[{}]", section.name);
        for field in section.fields {
            comment(&mut out, field.doc);
            _ = writeln!(out, "{} = {}", field.name, field.default);
        }
    }
    out
}

/// The reference, in Markdown.
#[cfg(test)]
pub(super) fn reference() -> String {
    let mut out = String::from(
        "# glassgate.toml\n\n\
         The configuration of `glassgate run`. Read from `/etc/glassgate/glassgate.toml` or from where `--config` says. \
         Unknown settings are refused; every setting has a default. `glassgate config` prints a file with all of them, \
         `glassgate check` says what is wrong with yours, with file, line and column.\n\n\
         This page is made from the code (`UPDATE=1 cargo test -p glassgate docs_config` writes it).\n",
    );
    for section in sections() {
        let title =
            if section.is_list { format!("[[{}]]", section.name) } else { format!("[{}]", section.name) };
        _ = write!(out, "\n## {title}\n\n");
        for line in section.doc {
            _ = writeln!(out, "{}", line.trim());
        }
        out.push_str("\n| setting | default | meaning |\n|---|---|---|\n");
        for field in section.fields {
            let doc: Vec<_> = field.doc.iter().map(|line| line.trim()).collect();
            _ = writeln!(out, "| `{}` | `{}` | {} |", field.name, field.default, doc.join(" "));
        }
    }
    out
}

fn comment(out: &mut String, lines: &[&str]) {
    for line in lines {
        _ = writeln!(out, "#{}", line.trim_end());
    }
}
