//! Rules about source files: where `unsafe` may stand, and how long a file may be.

use std::path::Path;

use anyhow::Result;

use super::files;

/// Longest source file, lines. Long before that it is about two subjects.
const MAX_LINES: usize = 900;

/// The only crates that may hold `unsafe`: DPDK on one side, bytes of frames on the other.
const UNSAFE_IN: &str = "dataplane/dpdk";

/// Crates with lints of their own. The entry points of libFuzzer are `no_mangle`, which the lint against `unsafe`
/// refuses; the keyword is looked for in them as everywhere.
const OWN_LINTS: [&str; 1] = ["dataplane/fuzz/Cargo.toml"];

/// Files that are too long or hold `unsafe` where it may not be, and crates that do not take part in the lints of
/// the workspace, which forbid it.
pub fn findings(root: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for path in files(root, &[".rs", ".c", ".h"])? {
        let shown = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        let text = std::fs::read_to_string(&path)?;
        let lines = text.lines().count();
        if lines > MAX_LINES {
            found.push(format!("{shown} has {lines} lines, more than {MAX_LINES}: split it by subject"));
        }
        if !shown.starts_with(UNSAFE_IN) {
            let places = text.lines().enumerate().filter(|(_, line)| says_unsafe(line));
            found.extend(places.map(|(at, _)| format!("{shown}:{}: `unsafe` outside {UNSAFE_IN}*", at + 1)));
        }
    }
    for path in files(root, &["Cargo.toml"])? {
        let shown = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        let manifest: toml::Table = std::fs::read_to_string(&path)?.parse()?;
        let inherits = manifest.get("lints").and_then(|lints| lints.get("workspace")) == Some(&true.into());
        let exempt = shown.starts_with(UNSAFE_IN) || OWN_LINTS.contains(&shown.as_str());
        if manifest.contains_key("package") && !inherits && !exempt {
            found.push(format!("{shown} does not say `lints.workspace = true`"));
        }
    }
    Ok(found)
}

/// Whether a line of code has the keyword. A line that only talks about it (a comment, a string) does not count:
/// the compiler's own lint is the one that can't be fooled, this finds a crate that has switched it off.
fn says_unsafe(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    let code: String = code.replace("\\\"", "").split('"').step_by(2).collect();
    code.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '`').any(|word| word == "unsafe")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keyword_is_found_and_the_word_is_not() {
        assert!(says_unsafe("    let n = unsafe { sys::rx(port) };"));
        assert!(says_unsafe("pub unsafe fn raw() {}"));
        assert!(!says_unsafe("// unsafe is not needed here"));
        assert!(!says_unsafe("#![forbid(unsafe_code)]"));
        assert!(!says_unsafe("let text = \"no unsafe here\";"));
    }

    #[test]
    fn each_fault_of_a_tree_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let write = |path: &str, text: &str| {
            std::fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            std::fs::write(root.join(path), text).unwrap();
        };
        write("policy/src/long.rs", &"\n".repeat(901));
        write("policy/src/raw.rs", "fn f() {\n    unsafe { g() }\n}\n");
        write("policy/Cargo.toml", "[package]\nname = \"p\"\n");
        write("dataplane/dpdk/src/eal.rs", "unsafe { g() }\n");
        write("target/debug/build/bindings.rs", "unsafe { g() }\n");
        let found = findings(root).unwrap();
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].starts_with("policy/src/long.rs has 901 lines"));
        assert!(found[1].starts_with("policy/src/raw.rs:2:"));
        assert!(found[2].starts_with("policy/Cargo.toml"));
    }
}
