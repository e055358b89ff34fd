//! What the guides show works.

use glassgate_policy::builtin;
use glassgate_policy::rules::{Declared, RuleFile};

#[test]
fn the_rules_of_the_guide_are_good_rules() {
    let guide = include_str!("../../docs/rules.md");
    let blocks: Vec<&str> = guide.split("```toml\n").skip(1).filter_map(|b| b.split("```").next()).collect();
    assert!(!blocks.is_empty());
    let table = builtin::table().unwrap();
    for block in blocks {
        let file = RuleFile::parse("docs/rules.md", block.as_bytes()).unwrap_or_else(|e| panic!("{e}"));
        let (rules, warnings) =
            file.bind(&table, &Declared::default(), Some("2026-11-21".parse().unwrap())).unwrap();
        assert!(warnings.is_empty() && !rules.as_slice().is_empty(), "{warnings}");
    }
}
