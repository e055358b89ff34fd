//! Each code: a file with which it fires, and one that differs as little as possible with which it doesn't.

use super::*;
use crate::builtin;
use crate::rules::{Moment, Outcome, RuleFile, Target};
use crate::source::COLUMNS;
use crate::vocab::ServiceId;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::LazyLock;

static TABLE: LazyLock<SignatureTable> = LazyLock::new(|| builtin::table().unwrap());

const OPTIONS: Options = Options { today: Date::constant(2026, 6, 1), soon_days: 30 };

fn lint(text: &str) -> Vec<Diagnostic> {
    let declared = Declared {
        groups: [("sales".to_owned(), crate::vocab::GroupId(1))].into(),
        calendars: ["lunch", "evening"].map(str::to_owned).into(),
    };
    let file = RuleFile::parse("r", text.as_bytes()).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let (bound, found) =
        file.bind(&TABLE, &declared, Some(OPTIONS.today)).unwrap_or_else(|e| panic!("{e}\n{text}"));
    found.into_iter().chain(rules(&file, &bound, &TABLE, &declared, &OPTIONS)).collect()
}

/// A rule in six lines, of which the last holds what else there is to say.
fn rule(name: &str, matches: &str, action: &str, rest: &str) -> String {
    format!(
        "[[rule]]\nname = \"{name}\"\nmatch = {{ {matches} }}\naction = \"{action}\"\nowner = \"net\"\npurpose = \"security\"\n{}\n",
        if rest.is_empty() { "state = \"enforce\"".to_owned() } else { rest.to_owned() }
    )
}

const SHADOW: &str = "state = \"shadow\"";
const GAMES: &str = "category = [\"games\"]";
const STEAM: &str = "service = [\"steam\"]";
const PLAY: &str = "category = [\"games\", \"music\"]";

/// Code, the line of the rule that is named, a text that fires it, one that doesn't.
fn cases() -> Vec<(&'static str, u32, String, String)> {
    let two = |first: String, second: String| format!("version = 1\n{first}{second}");
    let one = |rule: String| format!("version = 1\n{rule}");
    let declared = |what: &str, body: String| format!("version = 1\n{what} = [\"x\"]\n{body}");
    let with = |also: &str| format!("{GAMES}, {also}");
    vec![
        (
            "unreachable",
            10,
            two(rule("a", GAMES, "block", ""), rule("b", STEAM, "allow", "")),
            two(rule("b", STEAM, "allow", ""), rule("a", GAMES, "block", "")),
        ),
        // One that ends does not cover for good.
        (
            "unreachable",
            10,
            two(rule("a", GAMES, "block", ""), rule("b", GAMES, "allow", SHADOW)),
            two(
                rule("a", GAMES, "block", "state = \"enforce\"\nexpires = 2027-06-30"),
                rule("b", GAMES, "allow", SHADOW),
            ),
        ),
        // Two together cover a third; without one of them they don't.
        (
            "unreachable",
            17,
            two(
                rule("a", GAMES, "block", "") + &rule("b", "category = [\"music\"]", "block", ""),
                rule("c", PLAY, "allow", ""),
            ),
            two(
                rule("a", GAMES, "block", "") + &rule("b", "category = [\"news\"]", "block", ""),
                rule("c", PLAY, "allow", ""),
            ),
        ),
        // A calendar or a group covers its own time and people only.
        (
            "unreachable",
            10,
            two(
                rule("a", &with("calendar = [\"lunch\"]"), "block", ""),
                rule("b", &with("calendar = [\"lunch\"]"), "allow", ""),
            ),
            two(rule("a", &with("calendar = [\"lunch\"]"), "block", ""), rule("b", GAMES, "allow", "")),
        ),
        (
            "unreachable",
            10,
            two(rule("a", GAMES, "block", ""), rule("b", &with("group = [\"sales\"]"), "allow", "")),
            two(rule("a", &with("group = [\"sales\"]"), "block", ""), rule("b", GAMES, "allow", "")),
        ),
        (
            "overlap",
            10,
            two(rule("a", PLAY, "block", ""), rule("b", "category = [\"games\", \"news\"]", "allow", "")),
            two(rule("a", PLAY, "block", ""), rule("b", "category = [\"games\", \"news\"]", "block", "")),
        ),
        (
            "overlap",
            10,
            two(
                rule("a", &with("calendar = [\"lunch\"]"), "allow", ""),
                rule("b", &with("group = [\"sales\"]"), "block", ""),
            ),
            two(
                rule("a", &with("calendar = [\"lunch\"], group = [\"sales\"]"), "allow", ""),
                rule("b", &with("group = [\"sales\"]"), "block", ""),
            ),
        ),
        (
            "redundant",
            3,
            two(rule("a", STEAM, "block", ""), rule("b", GAMES, "block", "")),
            two(rule("a", STEAM, "allow", ""), rule("b", GAMES, "block", "")),
        ),
        (
            "never-matches",
            4,
            one(rule("a", "category = [\"music\"], service = [\"steam\"]", "block", "")),
            one(rule("a", "category = [\"games\"], service = [\"steam\"]", "block", "")),
        ),
        (
            "expired",
            3,
            one(rule("a", GAMES, "block", "expires = 2026-05-31")),
            one(rule("a", GAMES, "block", "expires = 2026-12-31")),
        ),
        (
            "expires-soon",
            3,
            one(rule("a", GAMES, "block", "expires = 2026-06-30")),
            one(rule("a", GAMES, "block", "expires = 2026-07-01")),
        ),
        (
            "wide-block",
            3,
            one(rule("a", "category = [\"unknown\"]", "block", "")),
            one(rule("a", "category = [\"unknown\"]", "observe", "")),
        ),
        (
            "blocks-protected",
            3,
            one(rule("a", "service = [\"unions-de\"]", "block", "")),
            one(rule("a", "service = [\"unions-de\"]", "allow", "")),
        ),
        (
            "no-meaning",
            4,
            declared("calendars", rule("a", &with("calendar = [\"x\"]"), "block", "")),
            one(rule("a", &with("calendar = [\"lunch\"]"), "block", "")),
        ),
        (
            "no-meaning",
            4,
            declared("groups", rule("a", &with("group = [\"x\"]"), "block", "")),
            one(rule("a", &with("group = [\"sales\"]"), "block", "")),
        ),
        ("unused", 2, declared("groups", rule("a", GAMES, "block", "")), one(rule("a", GAMES, "block", ""))),
        (
            "confusable-name",
            10,
            two(
                rule("no-modem", GAMES, "block", ""),
                rule("no-modern", "category = [\"music\"]", "block", ""),
            ),
            two(
                rule("no-modem", GAMES, "block", ""),
                rule("no-music", "category = [\"music\"]", "block", ""),
            ),
        ),
    ]
}

#[test]
fn each_finding_fires_and_does_not() {
    for (code, line, bad, good) in cases() {
        let found = |text: &str| lint(text).into_iter().map(|d| (d.code, d.line)).collect::<Vec<_>>();
        assert!(found(&bad).contains(&(code, line)), "{code}: {:?}\n{bad}", found(&bad));
        assert!(!found(&good).iter().any(|(c, _)| *c == code), "{code}: {:?}\n{good}", found(&good));
        let level =
            |d: &Diagnostic| CODES.iter().find(|c| c.code == d.code).map(|c| c.severity) == Some(d.severity);
        assert!(lint(&bad).iter().all(level), "{:?}", found(&bad));
    }
}

#[test]
fn good_rules_have_no_findings() {
    let two = format!("version = 1\n{}{}", rule("ok", STEAM, "allow", ""), rule("games", GAMES, "block", ""));
    assert_eq!(lint(&two), []);
}

/// Signatures of two services, a name of each.
fn sources(names: [(&str, &str, &str); 2]) -> Vec<Source> {
    let header = COLUMNS.join("\t");
    let lines = names.map(|(name, service, category)| {
        format!("{name}\tsuffix\t{service}\t{category}\tsite\tstrong\tme\tMIT\t2026-01-01\t\t\n")
    });
    vec![
        Source::parse("s.tsv", format!("{header}\n{}", lines.concat()).as_bytes())
            .unwrap_or_else(|e| panic!("{e}")),
    ]
}

#[test]
fn names_of_signatures() {
    let found = |names| {
        let found = signatures(&sources(names), &OPTIONS);
        found.into_iter().map(|d| (d.code, d.line, d.column)).collect::<Vec<_>>()
    };
    let good = ("paypal.com", "paypal", "work");
    assert_eq!(found([good, ("paypa1.com", "other", "work")]), [("confusable-name", 3, 1)]);
    assert_eq!(found([good, ("paypa1.com", "paypal", "work")]), [], "one service may have both");
    assert_eq!(found([good, ("paypa1.com", "fakes", "phishing")]), [], "what such a list is for");
    // p, then Cyrillic а, then y p a l: two scripts in one label. A wholly Cyrillic label is told by its skeleton.
    assert_eq!(found([good, ("xn--pypal-4ve.com", "other", "work")]), [("confusable-name", 3, 1)]);
    assert_eq!(found([good, ("xn--bcher-kva.com", "books", "work")]), []);
    assert_eq!(found([good, ("xn--zz--.com", "other", "work")]), [("bad-idn", 3, 1)]);
}

#[test]
fn signatures_that_end_soon() {
    let text = |last: &str| {
        format!(
            "{}\na.example\tsuffix\ta\twork\tsite\tstrong\tme\tMIT\t2026-01-01\t{last}\t\n",
            COLUMNS.join("\t")
        )
    };
    let found = |last: &str| {
        let source = Source::parse("s.tsv", text(last).as_bytes()).unwrap();
        signatures(&[source], &OPTIONS).into_iter().map(|d| (d.code, d.line)).collect::<Vec<_>>()
    };
    assert_eq!(found("2026-06-20"), [("expires-soon", 2)]);
    assert_eq!(found("2027-06-20"), []);
}

#[test]
fn the_signatures_of_the_project_have_no_findings() {
    let found = signatures(&builtin::sources().unwrap(), &OPTIONS);
    assert!(found.is_empty(), "{found}");
}

/// Somebody who looks a code up finds it in the guide; too many cells to compare is the only one without a case.
#[test]
fn every_code_has_a_case_and_a_row_in_the_guide() {
    let guide = include_str!("../../../../docs/rules.md");
    let tested: BTreeSet<&str> = cases().iter().map(|c| c.0).chain(["bad-idn"]).collect();
    for code in CODES {
        let row = format!("| `{}` | {} | {} |", code.code, code.severity, code.about);
        assert!(guide.contains(&row), "{row}");
        assert!(tested.contains(code.code) || code.code == "too-large", "{}", code.code);
    }
}

/// The most that a file can hold is compared, or said not to be, in no time to speak of.
#[test]
fn the_largest_files_are_linted() {
    let names: Vec<String> = (0..250).map(|i| format!("\"g{i}\"")).collect();
    let head = format!("version = 1\ngroups = [{0}]\ncalendars = [{0}]\n", names.join(", "));
    let body: String = (0..250)
        .map(|i| {
            rule(
                &format!("r{i}"),
                &format!("{GAMES}, group = [\"g{i}\"], calendar = [\"g{i}\"]"),
                "block",
                "",
            )
        })
        .collect();
    let found = lint(&format!("{head}{body}"));
    assert!(found.iter().any(|d| d.code == "no-meaning"));
    let many: Vec<String> = TABLE.services().map(|(_, s)| format!("\"{}\"", s.name)).collect();
    let body = rule("all", &format!("service = [{}]", many.join(", ")), "observe", "");
    assert!(lint(&format!("{head}{body}")).iter().any(|d| d.code == "unused"));
    let wide = rule(
        "all",
        &format!("service = [{}], group = [{1}], calendar = [{1}]", many.join(", "), names.join(", ")),
        "observe",
        "",
    );
    assert!(lint(&format!("{head}{wide}")).iter().any(|d| d.code == "too-large"));
}

/// Every client, service, time and day that rules of the property below can tell apart.
fn moments_and_targets() -> Vec<(Moment, Target)> {
    let day = |days: i64| Some(OPTIONS.today.saturating_add(days.days()));
    let mut out = Vec::new();
    for (today, lunch, evening) in [day(0), day(1000)]
        .into_iter()
        .flat_map(|d| [(d, false, false), (d, true, false), (d, false, true), (d, true, true)])
    {
        let calendars = [("lunch".to_owned(), lunch), ("evening".to_owned(), evening)].into();
        let moment = Moment { today, calendars };
        for group in [0, 1].map(crate::vocab::GroupId) {
            for category in [Category::Games, Category::Music, Category::News] {
                out.push((moment.clone(), Target { group, category, service: ServiceId::NONE }));
            }
            for key in ["steam", "spotify"] {
                let service = TABLE.service_named(key).unwrap();
                let category = TABLE.service(service).unwrap().category;
                out.push((moment.clone(), Target { group, category, service }));
            }
        }
    }
    out
}

fn bound(text: &str) -> Rules {
    let declared = Declared {
        groups: [("sales".to_owned(), crate::vocab::GroupId(1))].into(),
        calendars: ["lunch", "evening"].map(str::to_owned).into(),
    };
    let file = RuleFile::parse("r", text.as_bytes()).unwrap_or_else(|e| panic!("{e}"));
    file.bind(&TABLE, &declared, Some(OPTIONS.today)).unwrap_or_else(|e| panic!("{e}")).0
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// What lint says about the order of rules holds for every flow at every time: a rule that is unreachable never
    /// decides, one that isn't does somewhere, and without one that is redundant all stays as it is.
    #[test]
    fn findings_about_order_are_true(rules in proptest::collection::vec((1usize..8, 0usize..3, 0usize..4, any::<bool>(), 0u8..6), 1..6)) {
        let one = |(i, (what, group, calendar, block, state)): (usize, &(usize, usize, usize, bool, u8))| {
            let what = [
                "", "category = [\"games\"]", "category = [\"music\"]", "category = [\"games\", \"music\"]",
                "service = [\"steam\"]", "service = [\"steam\", \"spotify\"]", "category = [\"news\"]",
                "category = [\"music\", \"news\"]",
            ][*what];
            let group = ["", ", group = [\"sales\"]", ""][*group];
            let calendar = ["", ", calendar = [\"lunch\"]", ", calendar = [\"evening\"]", ", calendar = [\"lunch\", \"evening\"]"][*calendar];
            let state = ["state = \"shadow\"", "state = \"enforce\"\nexpires = 2026-12-31"].get(usize::from(*state)).copied().unwrap_or("state = \"enforce\"");
            rule(&format!("r{i}"), &format!("{what}{group}{calendar}"), if *block { "block" } else { "observe" }, state)
        };
        let texts: Vec<String> = rules.iter().enumerate().map(one).collect();
        let text = |without: Option<usize>| {
            let kept = texts.iter().enumerate().filter(|(i, _)| Some(*i) != without).map(|(_, t)| t.as_str());
            format!("version = 1\n{}", kept.collect::<String>())
        };
        let whole = text(None);
        let (all, found) = (bound(&whole), lint(&whole));
        let says = |code: &str, i: usize| found.iter().any(|d| d.code == code && d.line == all.as_slice()[i].line);
        let cases = moments_and_targets();
        for i in 0..texts.len() {
            let decides = |(moment, target): &(Moment, Target)| {
                all.explain(target, moment).any(|(r, o)| r == i && matches!(o, Outcome::Decides | Outcome::WouldDecide))
            };
            prop_assert_eq!(!cases.iter().any(decides), says("unreachable", i), "rule {}\n{}", i, whole);
            if says("redundant", i) {
                let rest = bound(&text(Some(i)));
                for (moment, target) in &cases {
                    prop_assert_eq!(all.decide(target, moment).action, rest.decide(target, moment).action, "rule {}\n{}", i, whole);
                }
            }
        }
    }
}
