//! What is observed of those who gave no receipt of a notice, and what they are shown.

use super::*;
use crate::compile::compile;
use crate::rules::{Declared, Moment, RuleFile};
use crate::table::SignatureTable;
use crate::vocab::{Action, ServiceId};
use std::collections::BTreeMap;

const OPEN: &str = "2027-03-01T02:00:00Z";
const SALES: GroupId = GroupId(1);
const LAB: GroupId = GroupId(2);
const RECRUITERS: GroupId = GroupId(3);
const KITCHEN: GroupId = GroupId(4);

/// Recruitment asks for receipts, security does not.
fn asking() -> String {
    head()
        + &purpose("recruitment", "labour_rules", "\"recruitment\"", "receipt = true")
        + &purpose("security", "legal_duty", "\"malware\"", "level = \"sealed\"")
}

#[test]
fn without_a_receipt_only_what_asks_for_none_is_observed() {
    let levels = observed(&charter(&asking()), OPEN).levels;
    assert_eq!((levels.groups(), levels.rows()), (5, 9));
    let (row, unread) = levels.unread(SALES).expect("sales is asked");
    assert_eq!((row, levels.group_of(row), levels.group_of(SALES)), (GroupId(5), SALES, SALES));
    let level = |group, category| levels.level(group, category);
    use ObservationLevel::{Aggregate, None as Nothing, Sealed};
    assert_eq!([SALES, row].map(|group| level(group, Category::Recruitment)), [Aggregate, Nothing]);
    assert_eq!([SALES, row].map(|group| level(group, Category::Malware)), [Sealed, Sealed]);
    assert!(levels.observed().all(|(group, category)| group != row || category == Category::Malware));
    // Who is exempt or in no purpose is asked for nothing.
    assert!(levels.unread(RECRUITERS).is_none() && levels.unread(KITCHEN).is_none());
    assert!(levels.unread(GroupId(0)).is_none() && levels.unread(GroupId(9)).is_none());
    assert_eq!(levels.unread(LAB).map(|(_, unread)| &unread.notices), Some(&unread.notices));
    let page = std::str::from_utf8(&unread.page).unwrap();
    for words in [
        "本公司依法告知。",
        "We tell you.",
        "Acme Ltd., 1 Example Road",
        "2027-1",
        "privacy&#64;acme.example",
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }
    assert_eq!(page.matches(std::str::from_utf8(TOKEN).unwrap()).count(), 1);
    // When the calendar is closed, nobody is observed for recruitment, and why is the same for both.
    let closed = observed(&charter(&asking()), "2027-03-01T12:00:00Z").levels;
    assert_eq!(closed.why_not(SALES), closed.why_not(row));
    assert_eq!(closed.rows(), 9, "rows stay as they are while the charter is in force");
    assert_eq!(observed(&charter(&usual()), OPEN).levels.rows(), 5, "nobody is asked");
}

#[test]
fn another_text_is_another_notice() {
    let notices = |text: &str| {
        let levels = observed(&charter(text), OPEN).levels;
        levels.unread(SALES).unwrap().1.notices.clone()
    };
    let (before, after) =
        (notices(&asking()), notices(&asking().replace("We tell you.", "We tell you more.")));
    assert_eq!((before[0].version.as_str(), after[0].version.as_str()), ("2027-1", "2027-1"));
    assert_ne!(before[0].sha256, after[0].sha256);
}

#[test]
fn what_can_not_be_shown_can_not_be_asked_for() {
    let text = asking().replace("We tell you.", &"&".repeat(4000));
    let faults = verify(&text, &signed_by(&text, &[&KEYS[0], &KEYS[1]])).expect_err("too long");
    assert!(faults.as_slice().iter().any(|d| d.code == "notice-too-long"), "{faults}");
    charter(&text.replace("receipt = true", ""));
}

#[test]
fn pages_are_no_more_than_a_matrix_has_room_for() {
    // Each group has one of so many purposes of two names.
    let of = |first: usize, second: usize| {
        let named = |groups: Vec<(usize, usize)>| {
            groups.iter().map(|(i, j)| format!("\"g{i}-{j}\"")).collect::<Vec<_>>().join(", ")
        };
        let asking = |name, basis, categories, groups| {
            purpose(name, basis, categories, "receipt = true").replace("\"sales\", \"lab\"", &named(groups))
        };
        let recruitment = (0..first).map(|i| {
            let groups = (0..second).map(|j| (i, j)).collect();
            asking("recruitment", "labour_rules", "\"recruitment\"", groups)
        });
        let security = (0..second).map(|j| {
            let groups = (0..first).map(|i| (i, j)).collect();
            asking("security", "legal_duty", "\"malware\"", groups)
        });
        head() + &recruitment.collect::<String>() + &security.collect::<String>()
    };
    let refused = |text: &str| {
        let faults = verify(text, &signed_by(text, &[&KEYS[0], &KEYS[1]])).err();
        faults.is_some_and(|faults| faults.as_slice().iter().any(|d| d.code == "too-many-notices"))
    };
    assert!(!refused(&of(8, 8)) && refused(&of(9, 8)));
}

#[test]
fn nothing_is_to_be_read_for_a_purpose_that_is_over_or_yet_to_come() {
    let notice = |version: &str, given: &str| {
        format!("\n[[notice]]\nversion = \"{version}\"\n{given}text = {{ en = \"Words of {version}.\" }}\n")
    };
    let more = |name, basis, categories, version: &str, more: &str| {
        purpose(name, basis, categories, &format!("receipt = true\n{more}"))
            .replace("notice = \"2027-1\"", &format!("notice = \"{version}\""))
    };
    let text = head()
        + &purpose("recruitment", "labour_rules", "\"recruitment\"", "receipt = true")
        + &more("security", "legal_duty", "\"malware\"", "over", "expires = 2027-02-01")
        + &more("leak", "collective_agreement", "\"cloud_storage\"", "to-come", "level = \"sealed\"")
        + &more("bandwidth", "labour_rules", "\"video\"", "never", "")
        + &notice("over", "given = 2027-01-11\n")
        + &notice("to-come", "given = 2027-04-01\n")
        + &notice("never", "");
    let versions = |at: &str| {
        let levels = observed(&charter(&text), at).levels;
        let unread = levels.unread(SALES).map(|(_, unread)| unread.notices.clone()).unwrap_or_default();
        unread.into_iter().map(|notice| notice.version).collect::<Vec<_>>()
    };
    assert_eq!(versions("2027-01-05T02:00:00Z"), [""; 0], "nothing was given yet");
    assert_eq!(versions("2027-01-12T02:00:00Z"), ["2027-1", "over"]);
    assert_eq!(versions(OPEN), ["2027-1"]);
    assert_eq!(versions("2027-04-01T02:00:00Z"), ["2027-1", "to-come"]);
}

#[test]
fn hostile_words_of_a_notice_are_shown_as_words() {
    let text = asking().replace("We tell you.", "<script>alert(1)</script> & @@GLASSGATE-ID@@");
    let levels = observed(&charter(&text), OPEN).levels;
    let page = String::from_utf8(levels.unread(SALES).unwrap().1.page.to_vec()).unwrap();
    assert!(page.contains("&lt;script&gt;") && !page.contains("<script"), "{page}");
    assert_eq!(page.matches(std::str::from_utf8(TOKEN).unwrap()).count(), 1);
}

#[test]
fn the_rule_shows_it_to_those_only_who_have_not_read_it() {
    let levels = observed(&charter(&asking()), OPEN).levels;
    let text = "version = 1\n[[rule]]\nname = \"tell\"\nmatch = { category = [\"unknown\", \"recruitment\"] }\naction = \"notice\"\n\
                state = \"enforce\"\nowner = \"o\"\npurpose = \"recruitment\"\n";
    let table = compile(&[], &Default::default()).unwrap();
    let table = SignatureTable::from_bytes(&table.bytes).unwrap();
    let groups = BTreeMap::from([("sales", SALES), ("lab", LAB)].map(|(name, row)| (name.to_owned(), row)));
    let declared = Declared { groups, ..Declared::default() };
    let file = RuleFile::parse("r.toml", text.as_bytes()).unwrap_or_else(|faults| panic!("{faults}"));
    let rules = file.bind(&table, &declared, None).unwrap_or_else(|faults| panic!("{faults}")).0;
    let matrix = rules.matrix(&table, 1, u64::MAX, &levels, &Moment::default());
    let at = |row: GroupId, category| {
        let action = matrix.verdict(row, category, ServiceId::NONE, 0).action;
        (action, matrix.notice(row, category, ServiceId::NONE).is_some())
    };
    let unread = levels.unread(SALES).unwrap();
    assert_eq!(at(unread.0, Category::Recruitment), (Action::Notice, true));
    assert_eq!(at(unread.0, Category::Games), (Action::Allow, false), "the rule is not about it");
    for row in [GroupId(0), SALES, RECRUITERS, KITCHEN, GroupId(7), GroupId(8)] {
        assert_eq!(at(row, Category::Recruitment), (Action::Allow, false), "{row:?}");
    }
    let page = matrix.notice(unread.0, Category::Unknown, ServiceId::NONE);
    let page = page.map(|notice| (&*notice.page, notice.digest));
    assert_eq!(page, Some((&*unread.1.page, unread.1.digest)));
    let bytes = matrix.to_bytes();
    assert_eq!(crate::matrix::VerdictMatrix::from_bytes(&bytes).as_ref(), Ok(&matrix));
    for cut in (0..bytes.len()).step_by(97) {
        assert!(crate::matrix::VerdictMatrix::from_bytes(&bytes[..cut]).is_err(), "cut at {cut}");
    }
}
