//! Rules from text to verdicts, and where their faults are said to be.

use glassgate_policy::VerdictMatrix;
use glassgate_policy::builtin;
use glassgate_policy::charter::{Levels, without_charter};
use glassgate_policy::diagnostic::Diagnostics;
use glassgate_policy::rules::{Declared, Moment, Outcome, RuleAction, RuleFile, Rules, State, Target};
use glassgate_policy::{Action, Category, GroupId, ObservationLevel, ServiceId, SignatureTable, Verdict};
use proptest::prelude::*;
use std::sync::LazyLock;

static TABLE: LazyLock<SignatureTable> = LazyLock::new(|| builtin::table().unwrap());

fn bind(text: &str) -> Result<Rules, Diagnostics> {
    RuleFile::parse("rules.toml", text.as_bytes())?
        .bind(&TABLE, &Declared::default(), None)
        .map(|(rules, _)| rules)
}

fn rules(body: &str) -> Rules {
    bind(&format!("version = 1\n{body}")).unwrap_or_else(|e| panic!("{e}"))
}

fn rule(name: &str, matches: &str, action: &str, state: &str) -> String {
    format!(
        "[[rule]]\nname = \"{name}\"\nmatch = {{ {matches} }}\naction = \"{action}\"\nstate = \"{state}\"\n\
         owner = \"net\"\npurpose = \"security\"\n"
    )
}

fn service(key: &str) -> ServiceId {
    TABLE.service_named(key).expect(key)
}

fn target(key: &str) -> Target {
    let service = service(key);
    Target { group: GroupId(0), category: TABLE.service(service).unwrap().category, service }
}

fn day(text: &str) -> Option<jiff::civil::Date> {
    Some(text.parse().unwrap())
}

#[test]
fn no_rules_forward_everything_and_count_what_may_be_counted() {
    let matrix = Rules::default().matrix(&TABLE, 1, u64::MAX, &Levels::counts(1), &Moment::default());
    for category in Category::ALL {
        let verdict = matrix.verdict(GroupId(0), *category, ServiceId::NONE, 0);
        let level =
            if category.is_protected() { ObservationLevel::None } else { ObservationLevel::Aggregate };
        assert_eq!(verdict, Verdict { action: Action::Allow, level }, "{category}");
    }
}

/// One row per way in which rules meet: order, state, category against service, and what the flow is.
#[test]
fn truth_table_from_rules_to_matrix() {
    const GAMES: &str = "category = [\"games\"]";
    const STEAM: &str = "service = [\"steam\"]";
    const BOTH: &str = "category = [\"games\"], service = [\"steam\", \"epic-games\"]";
    // rules, then whether steam, epic-games, gog, spotify are blocked
    type Row = (&'static [(&'static str, &'static str, &'static str)], [bool; 4]);
    let rows: &[Row] = &[
        (&[], [false, false, false, false]),
        (&[(GAMES, "block", "enforce")], [true, true, true, false]),
        (&[(GAMES, "block", "shadow")], [false, false, false, false]),
        (&[(STEAM, "block", "enforce")], [true, false, false, false]),
        (&[(BOTH, "block", "enforce")], [true, true, false, false]),
        (&[(STEAM, "allow", "enforce"), (GAMES, "block", "enforce")], [false, true, true, false]),
        (&[(GAMES, "block", "enforce"), (STEAM, "allow", "enforce")], [true, true, true, false]),
        (&[(STEAM, "allow", "shadow"), (GAMES, "block", "enforce")], [true, true, true, false]),
        (&[(GAMES, "allow", "enforce"), (STEAM, "block", "enforce")], [false, false, false, false]),
        (&[(GAMES, "allow", "shadow"), (STEAM, "block", "enforce")], [true, false, false, false]),
        (
            &[("category = [\"music\", \"games\"]", "block", "enforce"), (STEAM, "allow", "enforce")],
            [true, true, true, true],
        ),
        (
            &[("category = [\"music\"], service = [\"steam\"]", "block", "enforce")],
            [false, false, false, false],
        ),
    ];
    for (row, (given, blocked)) in rows.iter().enumerate() {
        let body: String =
            given.iter().enumerate().map(|(i, (m, a, s))| rule(&format!("r{i}"), m, a, s)).collect();
        let rules = rules(&body);
        let matrix = rules.matrix(&TABLE, 1, u64::MAX, &Levels::counts(2), &Moment::default());
        for (key, blocked) in ["steam", "epic-games", "gog", "spotify"].iter().zip(blocked) {
            let target = target(key);
            for group in [GroupId(0), GroupId(1)] {
                let verdict = matrix.verdict(group, target.category, target.service, 0);
                assert_eq!(verdict.action == Action::Block, *blocked, "row {row}, {key}");
                assert_eq!(verdict.level, ObservationLevel::Aggregate);
            }
            assert_eq!(
                (rules.decide(&target, &Moment::default()).action == RuleAction::Block),
                *blocked,
                "row {row}, {key}"
            );
        }
    }
}

#[test]
fn rules_never_change_what_may_be_written() {
    let body = rule("all", "category = [\"protected_health\", \"games\"]", "block", "enforce");
    let matrix = rules(&body).matrix(&TABLE, 1, u64::MAX, &Levels::counts(1), &Moment::default());
    for category in [Category::ProtectedHealth, Category::Games] {
        let verdict = matrix.verdict(GroupId(0), category, ServiceId::NONE, 0);
        assert_eq!((verdict.action, verdict.level), (Action::Block, without_charter(category)));
    }
}

/// Of two groups, one is known; nobody is in the other. Of three calendars one is open, one closed, one undecided.
#[test]
fn truth_table_of_groups_and_calendars() {
    let declared = Declared {
        groups: [("sales".to_owned(), GroupId(1))].into(),
        calendars: ["open", "closed"].map(str::to_owned).into(),
    };
    let calendars = [("open".to_owned(), true), ("closed".to_owned(), false)].into();
    let moment = Moment { today: None, calendars };
    // What else `match` says, whether group 0 and group 1 are blocked, and what becomes of the rule for group 1.
    let rows: &[(&str, [bool; 2], Option<Outcome>)] = &[
        ("", [true, true], Some(Outcome::Decides)),
        ("group = [\"sales\"]", [false, true], Some(Outcome::Decides)),
        ("group = [\"nobody\"]", [false, false], None),
        ("group = [\"nobody\", \"sales\"]", [false, true], Some(Outcome::Decides)),
        ("calendar = [\"open\"]", [true, true], Some(Outcome::Decides)),
        ("calendar = [\"closed\"]", [false, false], Some(Outcome::Closed)),
        ("calendar = [\"unsaid\"]", [false, false], Some(Outcome::Undecided)),
        ("calendar = [\"closed\", \"unsaid\"]", [false, false], Some(Outcome::Undecided)),
        ("calendar = [\"closed\", \"open\"]", [true, true], Some(Outcome::Decides)),
        ("calendar = [\"unsaid\", \"open\"]", [true, true], Some(Outcome::Decides)),
        ("group = [\"sales\"], calendar = [\"open\"]", [false, true], Some(Outcome::Decides)),
        ("group = [\"sales\"], calendar = [\"closed\"]", [false, false], Some(Outcome::Closed)),
    ];
    for (also, blocked, outcome) in rows {
        let matches = format!("category = [\"games\"], {also}");
        let head = "version = 1\ngroups = [\"nobody\"]\ncalendars = [\"unsaid\"]\n";
        let text = format!("{head}{}", rule("a", matches.trim_end_matches(", "), "block", "enforce"));
        let file = RuleFile::parse("r", text.as_bytes()).unwrap_or_else(|e| panic!("{e}"));
        let (rules, _) = file.bind(&TABLE, &declared, None).unwrap_or_else(|e| panic!("{e}"));
        let matrix = rules.matrix(&TABLE, 1, u64::MAX, &Levels::counts(2), &moment);
        for (group, blocked) in [GroupId(0), GroupId(1)].into_iter().zip(blocked) {
            let verdict = matrix.verdict(group, Category::Games, service("steam"), 0);
            assert_eq!(verdict.action == Action::Block, *blocked, "{also}, {group:?}");
        }
        let target = Target { group: GroupId(1), ..target("steam") };
        assert_eq!(rules.explain(&target, &moment).next().map(|(_, o)| o), *outcome, "{also}");
    }
}

/// Without a charter there is nothing to read; and a rule with `notice` may be about everything.
#[test]
fn observe_and_notice_alone_take_nothing() {
    for matches in ["", "category = [\"games\"]"] {
        let rules = rules(&rule("a", matches, "notice", "enforce"));
        let explained: Vec<_> = rules.explain(&target("steam"), &Moment::default()).collect();
        assert_eq!(explained, [(0, Outcome::Decides)]);
        let verdict = rules.matrix(&TABLE, 1, u64::MAX, &Levels::counts(1), &Moment::default());
        assert_eq!(verdict.verdict(GroupId(0), Category::Games, ServiceId::NONE, 0).action, Action::Allow);
    }
    let observed = rules(&rule("a", "category = [\"games\"]", "observe", "enforce"));
    assert_eq!(
        (observed.as_slice()[0].action, observed.as_slice()[0].state),
        (RuleAction::Observe, State::Enforce)
    );
    let matrix = observed.matrix(&TABLE, 1, u64::MAX, &Levels::counts(1), &Moment::default());
    let verdict = matrix.verdict(GroupId(0), Category::Games, ServiceId::NONE, 0);
    assert_eq!(
        verdict,
        Verdict { action: Action::Allow, level: ObservationLevel::Aggregate },
        "no charter, no more"
    );
}

/// Each rule with `limit` has a limit of its own, by which the cells go that it decides about; one in shadow limits nobody.
#[test]
fn limits_go_by_rule() {
    let limit = |name, matches, state, more| rule(name, matches, "limit", state) + more;
    let games = "category = [\"games\", \"music\"]";
    let rules = rules(
        &(limit("later", games, "shadow", "rate = \"1 Mbit/s\"\n")
            + &limit("steam", "service = [\"steam\"]", "enforce", "rate = \"2 Mbit/s\"\nper = \"device\"\n")
            + &limit("games", games, "enforce", "rate = \"3 Mbit/s\"\n")
            + &rule("news", "category = [\"news\"]", "quota", "enforce")
            + "amount = \"5 GB\"\nevery = \"day\"\nper = \"group\"\n"),
    );
    let matrix = rules.matrix(&TABLE, 1, u64::MAX, &Levels::counts(2), &Moment::default());
    let matrix = VerdictMatrix::from_bytes(&matrix.to_bytes()).unwrap();
    let says = |key, category| {
        let service = service(key);
        let verdict = matrix.verdict(GroupId(1), category, service, 0);
        let id = matrix.limit(GroupId(1), category, service)?;
        assert_eq!(verdict.action, Action::Limit);
        Some(matrix.limits()[usize::from(id.0)].limit.to_string())
    };
    assert_eq!(says("steam", Category::Games).as_deref(), Some("2 Mbit/s per device"));
    assert_eq!(says("spotify", Category::Music).as_deref(), Some("3 Mbit/s"));
    let no_service = |category| {
        let id = matrix.limit(GroupId(0), category, ServiceId::NONE);
        id.map(|id| matrix.limits()[usize::from(id.0)].limit.to_string())
    };
    assert_eq!(no_service(Category::News).as_deref(), Some("5 GB a day per group"));
    let other = matrix.verdict(GroupId(0), Category::Shopping, ServiceId::NONE, 0);
    assert_eq!((other.action, no_service(Category::Shopping)), (Action::Allow, None));
    assert_eq!(matrix.limit(GroupId(2), Category::Games, ServiceId::NONE), None, "no such group");
}

#[test]
fn more_limits_than_fit_are_refused() {
    let body: String = (0..256)
        .map(|i| {
            rule(&format!("r{i}"), "category = [\"games\"]", "limit", "shadow") + "rate = \"1 Mbit/s\"\n"
        })
        .collect();
    let text = |rules: &str| format!("version = 1\n{rules}");
    assert_eq!(bind(&text(&body)).unwrap_err().as_slice()[0].code, "too-many");
    let fits =
        body.replacen("action = \"limit\"", "action = \"block\"", 1).replacen("rate = \"1 Mbit/s\"\n", "", 1);
    assert!(bind(&text(&fits)).is_ok());
}

#[test]
fn the_last_day_counts_and_an_unknown_day_does_not() {
    let rules = rules(&(rule("a", "category = [\"games\"]", "block", "enforce") + "expires = 2026-06-30\n"));
    let blocked = |today| rules.decide(&target("steam"), &Moment::day(today)).action == RuleAction::Block;
    assert!(blocked(day("2026-06-30")));
    assert!(!blocked(day("2026-07-01")));
    assert!(!blocked(None), "traffic fails open");
    assert_eq!(rules.next_change(day("2026-06-01").unwrap()), day("2026-07-01"));
    assert_eq!(rules.next_change(day("2026-07-01").unwrap()), None);
}

#[test]
fn explains_every_rule_that_matches() {
    let steam = "service = [\"steam\"]";
    let games = "category = [\"games\"]";
    let body = rule("shadow-first", games, "block", "shadow")
        + &rule("old", steam, "block", "enforce")
        + "expires = 2020-01-01\n"
        + &rule("other", "category = [\"music\"]", "block", "enforce")
        + &rule("decides", steam, "allow", "enforce")
        + &rule("covered", games, "block", "enforce")
        + &rule("shadow-last", games, "block", "shadow");
    let explained: Vec<_> = rules(&body).explain(&target("steam"), &Moment::day(day("2026-01-01"))).collect();
    let covered = Outcome::Covered { by: 3 };
    assert_eq!(
        explained,
        [(0, Outcome::WouldDecide), (1, Outcome::Expired), (3, Outcome::Decides), (4, covered), (5, covered)]
    );
}

#[test]
fn expired_rules_and_contradictions_are_warned_of() {
    let body = rule("a", "category = [\"music\"], service = [\"steam\"]", "block", "enforce")
        + "expires = 2020-01-01\n";
    let text = format!("version = 1\n{body}");
    let file = RuleFile::parse("r", text.as_bytes()).unwrap();
    let (_, warnings) = file.bind(&TABLE, &Declared::default(), day("2026-01-01")).unwrap();
    let codes: Vec<_> = warnings.into_iter().map(|d| (d.code, d.line)).collect();
    assert_eq!(codes, [("never-matches", 4), ("expired", 3)]);
}

/// Each fault: the text that is wrong, and the text whose first place in the file is where the fault is.
#[test]
fn faults_have_their_place() {
    let good = format!("version = 1\n{}", rule("a", "category = [\"games\"]", "block", "enforce"));
    let second = rule("b", "service = [\"steam\"]", "block", "enforce");
    let swap = |from: &str, to: &str| good.replacen(from, to, 1);
    let add = |line: &str| format!("{good}{line}\n");
    let cases: Vec<(String, &str, &str)> = vec![
        (swap("\"games\"", "\"gamse\""), "\"gamse\"", "unknown-category"),
        (swap("\"games\"", "\"Games\""), "\"Games\"", "unknown-category"),
        (swap("\"games\"", "\"games\", \"x\""), "\"x\"", "unknown-category"),
        (swap("\"games\"", "\"games\", \"games\""), "\"games\"]", "twice"),
        (swap("[\"games\"]", "[]"), "[]", "empty-match"),
        (swap("[\"games\"]", "\"games\""), "\"games\"", "toml"),
        (swap("[\"games\"]", "[1]"), "1]", "toml"),
        (swap("category = [\"games\"]", ""), "{  }", "empty-match"),
        (swap("category =", "categories ="), "categories", "toml"),
        (swap("category =", "group ="), "{ group", "empty-match"),
        (swap("category = [\"games\"]", "calendar = [\"lunch\"]"), "{ calendar", "empty-match"),
        (swap("[\"games\"]", "[\"games\"], group = [\"sales\"]"), "\"sales\"", "unknown-group"),
        (swap("[\"games\"]", "[\"games\"], group = [\"Sales\"]"), "\"Sales\"", "unknown-group"),
        (swap("[\"games\"]", "[\"games\"], group = []"), "[] }", "empty-match"),
        (swap("[\"games\"]", "[\"games\"], group = \"sales\""), "\"sales\"", "toml"),
        (swap("[\"games\"]", "[\"games\"], calendar = [\"lunch\"]"), "\"lunch\"", "unknown-calendar"),
        (swap("[\"games\"]", "[\"games\"], calendar = [\"noon break\"]"), "\"noon", "unknown-calendar"),
        (swap("version = 1", "version = 1\ngroups = [\"a b\"]"), "\"a b\"", "bad-name"),
        (swap("version = 1", "version = 1\ngroups = [\"a\", \"a\"]"), "\"a\"]", "twice"),
        (swap("version = 1", "version = 1\ncalendars = []"), "[]", "empty-match"),
        (swap("version = 1", "version = 1\ncalendars = \"lunch\""), "\"lunch\"", "toml"),
        (swap("version = 1", "version = 1\ngroup = [\"a\"]"), "group", "toml"),
        (swap("category = [\"games\"]", "service = [\"stem\"]"), "\"stem\"", "unknown-service"),
        (swap("category = [\"games\"]", "service = [\"Steam\"]"), "\"Steam\"", "unknown-service"),
        (swap("category = [\"games\"]", "service = [\"steam\", \"steam\"]"), "\"steam\"]", "twice"),
        (swap("category = [\"games\"]", "service = []"), "[]", "empty-match"),
        (swap("\"block\"", "\"blcok\""), "\"blcok\"", "unknown-action"),
        (swap("\"block\"", "\"reset\""), "\"reset\"", "unknown-action"),
        (swap("\"block\"", "\"drop\""), "\"drop\"", "unknown-action"),
        (swap("\"block\"", "\"limit\""), "\"limit\"", "missing"),
        (swap("\"block\"", "\"limit 2 Mbit/s\""), "\"limit 2 Mbit/s\"", "unknown-action"),
        (swap("\"block\"", "\"limit\"\nrate = \"2 Mbps\""), "\"2 Mbps\"", "bad-rate"),
        (swap("\"block\"", "\"limit\"\nrate = \"2 MB/s\""), "\"2 MB/s\"", "bad-rate"),
        (swap("\"block\"", "\"limit\"\nrate = \"1 bit/s\""), "\"1 bit/s\"", "bad-rate"),
        (swap("\"block\"", "\"limit\"\nrate = 2"), "2\nstate", "toml"),
        (swap("\"block\"", "\"limit\"\nrate = \"2 Mbit/s\"\nper = \"user\""), "\"user\"", "unknown-share"),
        (swap("\"block\"", "\"block\"\nper = \"device\""), "\"device\"", "stray-rate"),
        (swap("\"block\"", "\"block\"\nrate = \"2 Mbit/s\""), "\"2 Mbit/s\"", "stray-rate"),
        (swap("\"block\"", "\"quota\""), "\"quota\"", "missing"),
        (swap("\"block\"", "\"quota\"\namount = \"5 GB\""), "\"quota\"", "missing"),
        (swap("\"block\"", "\"quota\"\namount = \"5 GiB\"\nevery = \"day\""), "\"5 GiB\"", "bad-amount"),
        (swap("\"block\"", "\"quota\"\namount = \"1 kB\"\nevery = \"day\""), "\"1 kB\"", "bad-amount"),
        (swap("\"block\"", "\"quota\"\namount = \"5 GB\"\nevery = \"month\""), "\"month\"", "unknown-time"),
        (
            swap("\"block\"", "\"quota\"\namount = \"5 GB\"\nevery = \"day\"\nrate = \"1 Mbit/s\""),
            "\"1 Mbit/s\"",
            "stray-rate",
        ),
        (swap("\"block\"", "\"notice\"\namount = \"5 GB\""), "\"5 GB\"", "stray-rate"),
        (swap("\"block\"", "block"), "block\n", "toml"),
        (swap("\"block\"", "1"), "1\nstate", "toml"),
        (swap("\"enforce\"", "\"on\""), "\"on\"", "unknown-state"),
        (swap("\"enforce\"", "true"), "true", "toml"),
        (swap("\"security\"", "\"secrity\""), "\"secrity\"", "unknown-purpose"),
        (swap("\"security\"", "\"fun\""), "\"fun\"", "unknown-purpose"),
        (swap("\"net\"", "\"\""), "\"\"", "missing"),
        (swap("\"net\"", "\"  \""), "\"  \"", "missing"),
        (swap("\"net\"", "\"a\\u0007\""), "\"a\\u0007\"", "bad-text"),
        (swap("\"a\"", "\"A\""), "\"A\"", "bad-name"),
        (swap("\"a\"", "\"\""), "\"\"", "bad-name"),
        (swap("\"a\"", "\"no games\""), "\"no games\"", "bad-name"),
        (format!("{good}{}", second.replace("\"b\"", "\"a\"")), "\"a\"\nmatch = { service", "named-twice"),
        (swap("version = 1", "version = 2"), "2", "unknown-version"),
        (swap("version = 1", "version = \"1\""), "\"1\"", "toml"),
        (swap("version = 1", "version = -1"), "-1", "toml"),
        (swap("version = 1\n", ""), "", "toml"),
        (swap("version = 1", "version = 1\nversion = 1"), "version = 1\n[", "toml"),
        (swap("version = 1", "Version = 1"), "Version", "toml"),
        (swap("name = \"a\"\n", ""), "[[rule]]", "toml"),
        (swap("action = \"block\"\n", ""), "[[rule]]", "toml"),
        (swap("owner = \"net\"\n", ""), "[[rule]]", "toml"),
        (swap("purpose = \"security\"\n", ""), "[[rule]]", "toml"),
        (swap("match = { category = [\"games\"] }\n", ""), "[[rule]]", "toml"),
        (swap("[[rule]]", "[rule]"), "[rule]", "toml"),
        (swap("[[rule]]", "[[rules]]"), "rules", "toml"),
        (swap("[[rule]]", "[[rule]"), "[[rule]", "toml"),
        (swap("owner =", "ower ="), "ower", "toml"),
        (add("rate = \"1 Mbit/s\""), "\"1 Mbit/s\"", "stray-rate"),
        (add("expires = \"2027-01-01\""), "\"2027-01-01\"", "toml"),
        (add("expires = 2027-13-01"), "2027-13-01", "toml"),
        (add("expires = 2027-02-30"), "2027-02-30", "toml"),
        (add("expires = 2027-01-01T00:00:00Z"), "2027-01-01T", "bad-date"),
        (add("expires = 10:00:00"), "10:00:00", "bad-date"),
        (add("expires = 1"), "expires = 1", "toml"),
        (add(&format!("note = \"{}\"", "x".repeat(600))), "\"xxx", "bad-text"),
        (add("note = \"a\u{202e}b\""), "\"a\u{202e}b\"", "bad-text"),
        (add("note = \"a"), "\"a\n", "toml"),
        (add("note = 'a' 'b'"), "'b'", "toml"),
        (add("= 17"), "= 17\n", "toml"),
        (add("state = \"shadow\""), "state = \"shadow\"", "toml"),
        (add("\u{1}"), "\u{1}", "toml"),
        (
            swap("\"games\"", "\"protected_union\"").replace("security", "conduct"),
            "\"protected_union\"",
            "protected",
        ),
        (
            swap("category = [\"games\"]", "service = [\"unions-de\"]").replace("security", "bandwidth"),
            "\"unions-de\"",
            "protected",
        ),
        (format!("{good}{}", second.replace("steam", "steem")), "\"steem\"", "unknown-service"),
    ];
    for (text, place, code) in &cases {
        let faults = bind(text).expect_err(text);
        let fault = &faults.as_slice()[0];
        let at = text.find(place).expect(place);
        let line = text[..at].matches('\n').count() as u32 + 1;
        let close = fault.line.abs_diff(line) <= 1;
        let exact = *code == "toml" || fault.line == line;
        assert!(
            fault.code == *code && close && exact && fault.column > 0,
            "wanted {code} at line {line}\n{faults}\n{text}"
        );
        assert!(fault.to_string().contains('^'));
    }
    assert!(cases.len() >= 50, "{}", cases.len());
}

#[test]
fn bytes_that_are_no_text_have_a_place() {
    let faults = RuleFile::parse("r", b"version = 1\n# \xff\n").unwrap_err();
    assert_eq!((faults.as_slice()[0].line, faults.as_slice()[0].column), (2, 3));
    assert!(RuleFile::parse("r", &vec![b' '; (1 << 20) + 1]).is_err());
}

#[test]
fn too_many_rules_are_refused_not_cut() {
    let body: String =
        (0..1025).map(|i| rule(&format!("r{i}"), "category = [\"games\"]", "block", "enforce")).collect();
    let faults = bind(&format!("version = 1\n{body}")).unwrap_err();
    assert_eq!(faults.as_slice()[0].code, "too-many");
}

#[test]
fn help_points_at_what_was_meant() {
    let help = |text: &str| bind(text).unwrap_err().as_slice()[0].help.clone().unwrap_or_default();
    let good = format!("version = 1\n{}", rule("a", "category = [\"games\"]", "block", "enforce"));
    assert_eq!(help(&good.replace("\"games\"", "\"gmaes\"")), "did you mean `games`?");
    assert_eq!(help(&good.replace("purpose =", "porpose =")), "did you mean `purpose`?");
    assert_eq!(
        help(&good.replace("category = [\"games\"]", "service = [\"steem\"]")),
        "did you mean `steam`?"
    );
    assert!(help(&good.replace("[\"games\"]", "\"games\"")).contains("list"));
}

proptest! {
    /// Small damage anywhere is refused with a place, or still means something; it never panics.
    #[test]
    fn damaged_files_are_refused_or_read(at in any::<prop::sample::Index>(), with in "[ -~\\n]{0,3}", cut in 0usize..5) {
        let good = format!(
            "version = 1\n{}{}expires = 2027-01-01\nnote = \"x\"\n",
            rule("a", "category = [\"games\"]", "block", "enforce"),
            rule("b", "service = [\"steam\"]", "allow", "shadow"),
        );
        let at = at.index(good.len());
        let end = (at + cut).min(good.len());
        let bad = format!("{}{with}{}", &good[..at], &good[end..]);
        if let Err(faults) = bind(&bad) {
            for fault in &faults {
                prop_assert!(fault.line >= 1 && fault.line as usize <= bad.matches('\n').count() + 2);
            }
        }
    }

    #[test]
    fn hostile_bytes_are_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = RuleFile::parse("x", &bytes);
    }
}
