use super::*;
use crate::category::Category;
use crate::vocab::{GroupId, ObservationLevel, Purpose, Unobserved};
use jiff::Timestamp;
use proptest::prelude::*;
use std::sync::LazyLock;

mod malformed;
mod receipts;
mod states;

/// The keys of the controller, the works council, and of somebody else.
static KEYS: LazyLock<[SigningKey; 3]> = LazyLock::new(|| {
    std::array::from_fn(|_| SigningKey::from_pkcs8(&SigningKey::generate().unwrap()).unwrap())
});

const SHA: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

fn head() -> String {
    format!(
        r#"version = 1
name = "acme-staff"
serial = 3
controller = "Acme Ltd., 1 Example Road"
contact = "privacy@acme.example"
issued = 2027-01-04
expires = 2027-12-31
time_zone = "Asia/Shanghai"
exempt = ["recruiters"]

[[approver]]
role = "controller"
name = "the director"
key = "{}"

[[approver]]
role = "works_council"
name = "the chair"
key = "{}"

[[notice]]
version = "2027-1"
given = 2027-01-11
text = {{ zh = "本公司依法告知。", en = "We tell you." }}

[[calendar]]
name = "office"
time_zone = "Asia/Shanghai"
valid = "2027-01-01..2027-12-31"
week = ["mon-fri 09:00-18:00"]
"#,
        KEYS[0].public(),
        KEYS[1].public()
    ) + &case(["human_resources", "data_protection_officer", "works_council"])
}

/// A `[case]` with holders of these roles.
pub(crate) fn case(roles: [&str; 3]) -> String {
    let mut text = "\n[case]\ntell_after_days = 30\n".to_owned();
    for (n, role) in (1..).zip(roles) {
        let hrp = bech32::Hrp::parse("age").unwrap();
        let recipient = bech32::encode::<bech32::Bech32>(hrp, &[n; 32]).unwrap();
        let key = PublicKey([n; 32]);
        text += &format!(
            "[[case.holder]]\nrole = \"{role}\"\nname = \"holder {n}\"\nkey = \"{key}\"\nrecipient = \"{recipient}\"\n"
        );
    }
    text
}

fn purpose(name: &str, basis: &str, categories: &str, more: &str) -> String {
    let calendar =
        if more.contains("calendar") || name == "security" { "" } else { "calendar = \"office\"\n" };
    let retention = if more.contains("retention") { "" } else { "retention_days = 90\n" };
    format!(
        "\n[[purpose]]\nname = \"{name}\"\nbasis = \"{basis}\"\ndocument = {{ title = \"Agreement of 2026\", sha256 = \"{SHA}\" }}\n\
         categories = [{categories}]\ngroups = [\"sales\", \"lab\"]\nnotice = \"2027-1\"\n{calendar}{retention}{more}\n"
    )
}

fn usual() -> String {
    head()
        + &purpose("recruitment", "labour_rules", "\"recruitment\", \"recruitment_ats\"", "")
        + &purpose("leak", "collective_agreement", "\"cloud_storage\"", "level = \"sealed\"")
        + &purpose("security", "legal_duty", "\"malware\", \"phishing\"", "level = \"sealed\"")
}

fn signed_by(text: &str, keys: &[&SigningKey]) -> String {
    let lines = keys.iter().map(|key| key.sign(Statement::Approve, text.as_bytes()));
    lines.fold(None, |file: Option<String>, line| Some(Signatures::with(file.as_deref(), &line))).unwrap()
}

fn trusted() -> Vec<PublicKey> {
    KEYS[..2].iter().map(SigningKey::public).collect()
}

fn verify(text: &str, signatures: &str) -> Result<Charter, Diagnostics> {
    Charter::verify("c.toml", text.as_bytes(), "c.sig", signatures.as_bytes(), &trusted()).map(|(c, _)| c)
}

fn charter(text: &str) -> Charter {
    verify(text, &signed_by(text, &[&KEYS[0], &KEYS[1]])).unwrap_or_else(|faults| panic!("{faults}"))
}

fn groups() -> Vec<Group> {
    let group = |name: &str, members| Group { name: name.to_owned(), members };
    vec![group("sales", 12), group("lab", 4), group("recruiters", 30), group("kitchen", 20)]
}

fn observed(charter: &Charter, at: &str) -> Observation {
    let at: Timestamp = at.parse().unwrap();
    observe(Installed::Charter(charter), Some(at), &groups(), &Levels::nothing(5, Unobserved::NoCharter))
}

#[test]
fn signatures_of_all_approvers_and_of_nobody_else() {
    let text = usual();
    let all = signed_by(&text, &[&KEYS[0], &KEYS[1]]);
    assert!(verify(&text, &all).is_ok());
    let refused = |text: &str, signatures: &str, code: &str, line: u32| {
        let faults = verify(text, signatures).expect_err(code);
        let found: Vec<_> = faults.as_slice().iter().map(|d| (d.code, d.line)).collect();
        assert!(found.contains(&(code, line)), "{code} {line}: {faults}");
    };
    refused(&text, &signed_by(&text, &[&KEYS[0]]), "not-signed", 0);
    refused(&text, &signed_by(&text, &[&KEYS[0], &KEYS[1], &KEYS[2]]), "not-an-approver", 4);
    refused(&text.replace("serial = 3", "serial = 4"), &all, "bad-signature", 2);
    refused(&text, &all.replacen("approve", "revoke", 1), "bad-signature", 2);
    refused(&text, &all.replace("approve", "promise"), "bad-signature-line", 2);
    refused(&text, "approve", "not-signatures", 1);
    refused(&text, "", "not-signatures", 0);
    let (other, _) = all.rsplit_once(' ').unwrap();
    refused(&text, other, "bad-signature-line", 3);
    let only_one = Charter::verify("c", text.as_bytes(), "s", all.as_bytes(), &trusted()[..1]);
    assert_eq!(only_one.unwrap_err().as_slice()[0].code, "not-trusted");
    // Each flipped digit of a signature or key shows.
    for at in (all.find("approve").unwrap() + 8..all.find("\napprove").map_or(0, |_| 200)).step_by(7) {
        let mut bad = all.clone().into_bytes();
        if bad[at].is_ascii_hexdigit() {
            bad[at] = if bad[at] == b'0' { b'1' } else { b'0' };
            assert!(verify(&text, std::str::from_utf8(&bad).unwrap()).is_err(), "digit {at}");
        }
    }
}

#[test]
fn anyone_of_the_approvers_revokes_and_that_stays() {
    let text = usual();
    let all = signed_by(&text, &[&KEYS[0], &KEYS[1]]);
    let revoked = Signatures::with(Some(&all), &KEYS[1].sign(Statement::Revoke, text.as_bytes()));
    let (before, after) = (verify(&text, &all).unwrap(), verify(&text, &revoked).unwrap());
    assert_eq!(after.revoked_by(), ["the chair"]);
    assert_eq!(observed(&after, "2027-03-01T02:00:00Z").standing, Standing::Revoked);
    assert_eq!(after.may_follow(&before), Ok(()));
    assert_eq!(before.may_follow(&after), Err(NotNewer::Revoked));
    let older = charter(&text.replace("serial = 3", "serial = 2"));
    let same = charter(&text.replace("the chair", "the head"));
    let newer = charter(&text.replace("serial = 3", "serial = 4"));
    assert_eq!(older.may_follow(&before), Err(NotNewer::Serial { serial: 2, before: 3 }));
    assert_eq!(same.may_follow(&before), Err(NotNewer::Serial { serial: 3, before: 3 }));
    assert_eq!(newer.may_follow(&after), Ok(()));
}

#[test]
fn keys_are_files_of_pkcs8() {
    let bytes = SigningKey::generate().unwrap();
    let key = SigningKey::from_pkcs8(&bytes).unwrap();
    assert_eq!(PublicKey::parse(&key.public().to_string()), Some(key.public()));
    assert!(matches!(SigningKey::from_pkcs8(&bytes[1..]), Err(KeyError::NotAKey)));
    assert_eq!(PublicKey::parse("0"), None);
}

#[test]
fn small_groups_have_no_counts_and_sealed_records_all_the_same() {
    let noon = observed(&charter(&usual()), "2027-03-01T02:00:00Z");
    let level = |group, category| noon.levels.level(GroupId(group), category);
    assert_eq!(level(1, Category::Recruitment), ObservationLevel::Aggregate);
    assert_eq!(level(2, Category::Recruitment), ObservationLevel::None, "four people are fewer than k");
    assert_eq!(level(2, Category::CloudStorage), ObservationLevel::Sealed);
}

/// The page in the manual has every row of the table.
#[test]
fn the_manual_has_the_table() {
    let mut expected = String::from("| basis | purpose | at most | why | source |\n|---|---|---|---|---|\n");
    for basis in Basis::ALL {
        for purpose in Purpose::ALL {
            let carried = basis::carries(*basis, *purpose);
            expected += &format!(
                "| `{basis}` | `{purpose}` | `{}` | {} | {} |\n",
                carried.level, carried.why, carried.source
            );
        }
    }
    expected += "\n| purpose | categories |\n|---|---|\n";
    for purpose in Purpose::ALL {
        let fits: Vec<_> =
            Category::ALL.iter().filter(|c| basis::is_for(*purpose, **c)).map(|c| format!("`{c}`")).collect();
        expected += &format!("| `{purpose}` | {} |\n", fits.join(", "));
    }
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/charter.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (begin, end) = ("<!-- table begin -->\n", "<!-- table end -->\n");
    let (before, rest) = page.split_once(begin).unwrap();
    let (found, after) = rest.split_once(end).unwrap();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, format!("{before}{begin}{expected}{end}{after}")).unwrap();
    } else {
        assert!(found == expected, "docs/charter.md is out of date: run the test again with UPDATE=1");
    }
}

#[test]
fn the_sample_of_the_manual_is_good() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/charter.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (_, rest) = page.split_once("```toml\n").unwrap();
    let (sample, _) = rest.split_once("```").unwrap();
    assert_eq!(sample, SAMPLE);
    let keys = [KEYS[0].public().to_string(), KEYS[1].public().to_string()];
    let sample = sample.replacen("PUBLIC-KEY", &keys[0], 1).replacen("PUBLIC-KEY", &keys[1], 1);
    let (_, warnings) =
        CharterFile::parse("docs/charter.md", sample.as_bytes()).unwrap_or_else(|f| panic!("{f}"));
    assert!(warnings.is_empty(), "{warnings}");
    // What is commented out is good as well.
    let (before, case) = sample.split_once("# [case]").unwrap();
    let mut case: String = format!("# [case]{case}")
        .lines()
        .map(|line| format!("{}\n", line.trim_start_matches('#').trim_start()))
        .collect();
    for n in 1..=3 {
        let hrp = bech32::Hrp::parse("age").unwrap();
        let recipient = bech32::encode::<bech32::Bech32>(hrp, &[n; 32]).unwrap();
        case = case
            .replacen("PUBLIC-KEY", &PublicKey([n; 32]).to_string(), 1)
            .replacen("age1...", &recipient, 1);
    }
    let (file, _) = CharterFile::parse("docs/charter.md", format!("{before}{case}").as_bytes())
        .unwrap_or_else(|f| panic!("{f}"));
    assert_eq!(file.case.unwrap().tell_after_days, 30);
}

/// Any combination of words, sensible or not.
fn any_purpose() -> impl Strategy<Value = String> {
    let pick = |all: Vec<&'static str>| proptest::sample::select(all);
    (
        pick(Purpose::ALL.iter().map(|p| p.as_str()).collect()),
        pick(Basis::ALL.iter().map(|b| b.as_str()).collect()),
        proptest::sample::subsequence(Category::ALL.iter().map(|c| c.as_str()).collect::<Vec<_>>(), 1..4),
        pick(vec!["none", "aggregate", "sealed"]),
        proptest::bool::ANY,
        0u32..20,
    )
        .prop_map(|(name, basis, categories, level, calendar, k)| {
            let categories: Vec<_> = categories.iter().map(|c| format!("\"{c}\"")).collect();
            let calendar = if calendar { "calendar = \"office\"\n" } else { "" };
            purpose(name, basis, &categories.join(", "), &format!("level = \"{level}\"\nk = {k}\n{calendar}"))
        })
}

/// A purpose that stays within its basis, so that most charters are good.
fn good_purpose() -> impl Strategy<Value = String> {
    let all: Vec<(Basis, Purpose)> =
        Basis::ALL.iter().flat_map(|b| Purpose::ALL.iter().map(move |p| (*b, *p))).collect();
    let all: Vec<_> =
        all.into_iter().filter(|(b, p)| basis::carries(*b, *p).level != ObservationLevel::None).collect();
    (proptest::sample::select(all), proptest::bool::ANY, any::<u64>()).prop_map(
        |((basis, name), most, seed)| {
            let fits: Vec<_> = Category::ALL.iter().filter(|c| basis::is_for(name, **c)).collect();
            let category = fits[seed as usize % fits.len()];
            let level = if most { basis::carries(basis, name).level } else { ObservationLevel::Aggregate };
            purpose(
                name.as_str(),
                basis.as_str(),
                &format!("\"{category}\""),
                &format!("level = \"{level}\""),
            )
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(
        std::env::var("CHARTER_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(256),
    ))]
    /// Whatever a charter says: where it is refused nothing is allowed, and where it is taken no cell of the matrix goes
    /// further than the best basis that names group and category carries.
    #[test]
    fn no_cell_goes_further_than_basis_and_category_carry(
        purposes in proptest::collection::vec(prop_oneof![3 => good_purpose(), 1 => any_purpose()], 1..4),
        hour in 0i64..24 * 365,
    ) {
        let text = head() + &purposes.concat();
        let Ok((file, _)) = CharterFile::parse("c.toml", text.as_bytes()) else { return Ok(()) };
        let charter = charter(&text);
        let at: Timestamp = "2027-01-01T00:00:00Z".parse().unwrap();
        let at = at + jiff::SignedDuration::from_hours(hour);
        let observation = observe(Installed::Charter(&charter), Some(at), &groups(), &Levels::counts(5));
        let rules = crate::rules::Rules::default();
        let compiled = crate::compile::compile(&[], &Default::default()).unwrap();
        let table = crate::SignatureTable::from_bytes(&compiled.bytes).unwrap();
        let matrix = rules.matrix(&table, 1, u64::MAX, &observation.levels, &Default::default());
        for row in 0..=groups().len() as u16 + 1 {
            let name = (row as usize).checked_sub(1).and_then(|i| groups().get(i).map(|g| g.name.clone()));
            for category in Category::ALL {
                let level = matrix.verdict(GroupId(row), *category, Default::default(), 0).level;
                let named = file.purposes.iter().filter(|p| {
                    p.categories.contains(category) && name.as_ref().is_some_and(|n| p.groups.contains(n))
                });
                let most = named.map(|p| basis::most(p.basis, p.purpose, *category).min(p.level)).max();
                prop_assert!(level <= most.unwrap_or(ObservationLevel::None), "row {row} {category}: {level}\n{text}");
                prop_assert!(!category.is_protected() || level == ObservationLevel::None);
            }
        }
    }

    #[test]
    fn hostile_bytes_are_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = CharterFile::parse("c", &bytes);
        let _ = Signatures::parse("s", &bytes);
        let mut text = usual().into_bytes();
        for (i, byte) in bytes.iter().take(4).enumerate() {
            let at = (usize::from(*byte) * 31 + i * 257) % text.len();
            text[at] = bytes[bytes.len() - 1 - i % bytes.len()];
        }
        let _ = CharterFile::parse("c", &text);
    }
}
