//! Charters that are refused: each with its place and reason, and the one before stays.

use super::*;

/// What is replaced in a good charter, by what, and the fault: code, what is at its place, and a word of its reason.
#[rustfmt::skip]
const ROWS: &[(&str, &str, &str, &str, &str)] = &[
    ("version = 1", "version = 2", "unknown-version", "2", "not known"),
    ("version = 1", "version = \"1\"", "toml", "\"1\"", "invalid type"),
    ("name = \"acme-staff\"", "name = \"Acme staff\"", "bad-name", "\"Acme staff\"", "name of a charter"),
    ("serial = 3", "serial = 0", "bad-serial", "0", "begin with 1"),
    ("serial = 3", "", "toml", "v", "serial"),
    ("serial = 3", "serial = 3\ncolour = 1", "toml", "colour", "unknown field"),
    ("serial = 3", "serial = [", "toml", "", ""),
    ("controller = \"Acme Ltd., 1 Example Road\"", "controller = \" \"", "bad-text", "\" \"", "one line"),
    ("contact = \"privacy@acme.example\"", "contact = \"a\\u0007\"", "bad-text", "\"a\\u0007\"", "one line"),
    ("issued = 2027-01-04", "issued = \"2027-01-04\"", "toml", "\"2027-01-04\"", ""),
    ("issued = 2027-01-04", "issued = 2027-01-04T00:00:00Z", "bad-date", "2027-01-04T00:00:00Z", "not a day"),
    ("expires = 2027-12-31", "expires = 2026-12-31", "bad-dates", "2026-12-31", "before it is issued"),
    ("expires = 2027-12-31", "expires = 2037-12-31", "bad-dates", "2037-12-31", "two years"),
    ("time_zone = \"Asia/Shanghai\"", "time_zone = \"Asia/Beijing\"", "unknown-zone", "\"Asia/Beijing\"", "no time zone"),
    ("role = \"controller\"", "role = \"boss\"", "unknown-word", "\"boss\"", "no role"),
    ("role = \"works_council\"", "role = \"controller\"", "approvers", "", "controller and somebody"),
    ("role = \"works_council\"", "role = \"human_resources\"", "approvers", "\"collective_agreement\"", "those who agreed"),
    ("key = \"", "key = \"x", "bad-key", "", "64 hexadecimal"),
    ("given = 2027-01-11", "given = 11", "toml", "11", ""),
    ("zh = \"本公司依法告知。\", en = \"We tell you.\"", "", "no-text", "{  }", "without text"),
    ("zh = \"本公司依法告知。\"", "z = \"x\"", "bad-language", "\"x\"", "language tag"),
    ("zh = \"本公司依法告知。\"", "zh = \"\"", "no-text", "\"\"", "empty"),
    ("name = \"recruitment\"\nbasis = \"labour_rules\"", "name = \"recruiting\"\nbasis = \"labour_rules\"", "unknown-word", "\"recruiting\"", "no purpose"),
    ("basis = \"labour_rules\"", "basis = \"interest\"", "unknown-word", "\"interest\"", "no basis"),
    ("basis = \"labour_rules\"", "basis = \"contract\"", "not-carried", "\"contract\"", "another job"),
    ("basis = \"labour_rules\"", "basis = \"legal_duty\"", "not-carried", "\"legal_duty\"", "stand in a law"),
    ("basis = \"labour_rules\"", "basis = \"labour_rules\"\nlevel = \"sealed\"", "not-carried", "\"sealed\"", "intention to leave"),
    ("basis = \"labour_rules\"", "basis = \"consent\"\nlevel = \"sealed\"", "not-carried", "\"sealed\"", "withdrawal"),
    ("basis = \"labour_rules\"", "basis = \"labour_rules\"\nlevel = \"none\"", "does-nothing", "\"none\"", "allows nothing"),
    ("basis = \"labour_rules\"", "basis = \"labour_rules\"\nlevel = \"full\"", "unknown-word", "\"full\"", "no level"),
    ("\"recruitment\", \"recruitment_ats\"", "\"recruitment\", \"protected_union\"", "protected", "\"protected_union\"", "no purpose but"),
    ("\"malware\", \"phishing\"", "\"malware\", \"protected_health\"", "protected", "\"protected_health\"", "no record"),
    ("\"recruitment\", \"recruitment_ats\"", "\"recruitment\", \"recruiter_side\"", "other-purpose", "\"recruiter_side\"", "nothing to do"),
    ("\"recruitment\", \"recruitment_ats\"", "\"games\"", "other-purpose", "\"games\"", "nothing to do"),
    ("\"recruitment\", \"recruitment_ats\"", "\"recruitmnt\"", "unknown-word", "\"recruitmnt\"", "no category"),
    ("\"recruitment\", \"recruitment_ats\"", "\"recruitment\", \"recruitment\"", "twice", "\"recruitment\"", "twice"),
    ("\"recruitment\", \"recruitment_ats\"", "", "does-nothing", "[]", "covers nothing"),
    ("groups = [\"sales\", \"lab\"]", "groups = []", "does-nothing", "[]", "covers nobody"),
    ("groups = [\"sales\", \"lab\"]", "groups = [\"sales\", \"recruiters\"]", "exempt", "\"recruiters\"", "never observed"),
    ("groups = [\"sales\", \"lab\"]", "groups = [\"sales\", \"sales\"]", "twice", "\"sales\"", "twice"),
    ("groups = [\"sales\", \"lab\"]", "groups = [\"*\"]", "bad-name", "\"*\"", "name of a group"),
    ("calendar = \"office\"\n", "", "no-calendar", "\"recruitment\"", "at any hour"),
    ("calendar = \"office\"\n", "calendar = \"ofice\"\n", "unknown-calendar", "\"ofice\"", "no calendar"),
    ("week = [\"mon-fri 09:00-18:00\"]", "week = [\"mon-sun 00:00-24:00\"]", "never-closes", "\"office\"", "not working time"),
    ("week = [\"mon-fri 09:00-18:00\"]", "week = [\"mon-fri 09:00-18\"]", "bad-time", "09:00-18", "no span"),
    ("retention_days = 90", "retention_days = 0", "retention", "0", "1 to 1096"),
    ("retention_days = 90", "retention_days = 5000", "retention", "5000", "1 to 1096"),
    ("level = \"sealed\"", "level = \"sealed\"\nk = 4", "k", "4", "at least 5"),
    ("retention_days = 90", "retention_days = 90\nk = 4", "k", "4", "at least 5"),
    ("notice = \"2027-1\"", "notice = \"2027-2\"", "unknown-notice", "\"2027-2\"", "no notice"),
    ("retention_days = 90", "retention_days = 90\nexpires = 2028-03-01", "bad-dates", "2028-03-01", "outside"),
    ("sha256 = \"9f", "sha256 = \"zz", "bad-hash", "", "64 hexadecimal"),
    ("title = \"Agreement of 2026\"", "title = \"\"", "bad-text", "\"\"", "one line"),
    ("role = \"data_protection_officer\"", "role = \"controller\"", "unknown-word", "\"controller\"", "no holder"),
    ("role = \"data_protection_officer\"", "role = \"human_resources\"", "twice", "\"human_resources\"", "another holder"),
    ("name = \"holder 2\"", "name = \"holder 1\"", "twice", "\"holder 1\"", "is called"),
    ("tell_after_days = 30", "tell_after_days = 400", "bad-days", "400", "not 0 to 366"),
    ("recipient = \"age1", "recipient = \"age1q", "bad-recipient", "\"age1q", "no `age`"),
    ("name = \"leak\"", "name = \"recruitment\"", "other-purpose", "\"cloud_storage\"", "nothing to do"),
];

#[test]
fn each_is_refused_with_its_place_and_the_old_one_stays() {
    let good = usual();
    let in_force = charter(&good);
    let before = observed(&in_force, "2027-03-01T02:00:00Z");
    for (from, to, code, place, reason) in ROWS {
        assert!(good.contains(from), "{from} is in the good one");
        let text = good.replacen(from, to, 1);
        // Signed by all: what is wrong with it is not the signatures.
        let faults = verify(&text, &signed_by(&text, &[&KEYS[0], &KEYS[1]])).expect_err(to);
        let fault = faults.as_slice().iter().find(|d| d.code == *code);
        let fault = fault.unwrap_or_else(|| panic!("{to}: no {code} in\n{faults}"));
        assert!(fault.line > 0 && fault.column > 0, "{faults}");
        let source = fault.source.as_deref().unwrap_or_default();
        let shown: String =
            source.chars().skip(fault.column as usize - 1).take(fault.length as usize).collect();
        assert!(
            place.is_empty() || shown.starts_with(place),
            "{to}: at `{shown}`, expected `{place}`\n{faults}"
        );
        assert!(fault.message.contains(reason), "{to}: {}", fault.message);
        assert_eq!(observed(&in_force, "2027-03-01T02:00:00Z"), before);
    }
    assert!(ROWS.len() >= 30);
}

#[test]
fn too_large_and_not_utf8() {
    let faults = CharterFile::parse("c", &vec![b'#'; MAX_BYTES + 1]).unwrap_err();
    assert_eq!(faults.as_slice()[0].code, "too-large");
    let faults = CharterFile::parse("c", b"version = 1\nname = \"\xff\"").unwrap_err();
    assert_eq!((faults.as_slice()[0].code, faults.as_slice()[0].line), ("not-utf8", 2));
}

#[test]
fn sealed_records_need_three_holders_who_are_three_people() {
    let roles = ["human_resources", "data_protection_officer", "works_council"];
    let whole = case(roles);
    let refused = |other: &str, code: &str, reason: &str| {
        let faults =
            CharterFile::parse("c", usual().replacen(&whole, other, 1).as_bytes()).expect_err(reason);
        let found = faults.as_slice().iter().find(|d| d.code == code).unwrap_or_else(|| panic!("{faults}"));
        assert!(found.line > 0 && found.message.contains(reason), "{faults}");
    };
    refused("", "no-holders", "anybody");
    let two = whole.rfind("[[case.holder]]").map(|at| &whole[..at]).unwrap();
    refused(two, "holders", "three holders");
    let four = format!("{whole}{}", &whole[whole.rfind("[[case.holder]]").unwrap()..]);
    refused(&four, "twice", "another holder is `works_council`");
    let key = |n: u8| PublicKey([n; 32]).to_string();
    refused(&whole.replace(&key(3), &key(1)), "twice", "same key");
    let age = |n: u8| bech32::encode::<bech32::Bech32>(bech32::Hrp::parse("age").unwrap(), &[n; 32]).unwrap();
    refused(&whole.replace(&age(3), &age(2)), "twice", "same recipient");
    for bad in [age(3).to_uppercase(), age(3).replace("age1", "bge1"), age(3)[..61].to_owned()] {
        refused(&whole.replace(&age(3), &bad), "bad-recipient", "recipient");
    }
    let file = CharterFile::parse("c", usual().as_bytes()).unwrap().0;
    let terms = file.case.unwrap();
    assert_eq!(terms.holders.each_ref().map(|h| h.role.as_str()), roles);
    assert_eq!(
        (terms.tell_after_days, terms.holder(Role::WorksCouncil).unwrap().key),
        (30, PublicKey([3; 32]))
    );
    assert_eq!(terms.holder(Role::Controller), None);
}
