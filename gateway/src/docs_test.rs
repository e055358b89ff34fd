//! Holds pages under `docs/` to what the code says.

/// Compares a page with its text; with `UPDATE=1` in the environment writes it instead.
pub(crate) fn holds(page: &str, expected: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(page);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "docs/{page} is out of date: run the test again with UPDATE=1");
}
