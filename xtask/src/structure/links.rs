//! Links between the project's own documents.

use std::path::Path;

use anyhow::Result;

use super::files;

/// Relative links of Markdown files that lead to no file. Links to the web are not followed: a test must not fail
/// because somebody else's server does.
pub fn findings(root: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for path in files(root, &[".md"])? {
        let shown = path.strip_prefix(root).unwrap_or(&path).display();
        let text = std::fs::read_to_string(&path)?;
        let mut fenced = false;
        for (number, line) in text.lines().enumerate() {
            fenced ^= line.trim_start().starts_with("```");
            if fenced {
                continue;
            }
            for target in targets(line) {
                let file = target.split('#').next().unwrap_or_default();
                let outside = target.contains("://") || target.starts_with("mailto:");
                if !outside && !file.is_empty() && !path.with_file_name(file).exists() {
                    found.push(format!("{shown}:{}: nothing at `{target}`", number + 1));
                }
            }
        }
    }
    Ok(found)
}

/// What the inline links and images of a line point to.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](")
        .skip(1)
        .filter_map(|rest| Some(rest.split_once(')')?.0.split(' ').next().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_link_is_named_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("docs")).unwrap();
        std::fs::write(
            dir.path().join("docs/a.md"),
            "[b](b.md#part) [web](https://example.org/x)\n\n[up](../README.md)\n",
        )
        .unwrap();
        std::fs::write(
            dir.path().join("README.md"),
            "![p](docs/p.png \"page\") [a](docs/a.md)\n```\n[x](y)\n```\n",
        )
        .unwrap();
        let found = findings(dir.path()).unwrap();
        assert_eq!(found, ["README.md:1: nothing at `docs/p.png`", "docs/a.md:1: nothing at `b.md#part`"]);
    }
}
