//! What of a record whoever gets an extract of the log may read; and whoever looks at the page, which asks nobody who they are.
//!
//! Only what is known is shown: a kind of record that is not in the list, and that is about no person today, may be tomorrow.

use crate::access::Role;
use glassgate_audit::merkle::leaf_hash;
use glassgate_store::record::is_shown;
use serde_json::{Map, Value};

/// What every record begins with. It is shown to everybody.
pub(crate) const HEAD: [&str; 6] = ["boot_id", "seq", "mono_ns", "wall", "wall_quality", "event_type"];
/// Whose it is, and who did it.
const OF_PEOPLE: [&str; 5] = ["pseudonym", "sealed", "subject", "uid", "account"];
/// What a case is about, and who asked.
const OF_CASES: [&str; 7] =
    ["role", "purpose", "categories", "days", "reason", "subject_commitment", "request"];
/// Nobody finds these by trying values until the hash of the record fits.
const NOT_GUESSED: [&str; 4] = ["pseudonym", "sealed", "subject_commitment", "request"];

/// The line as this role may see it; `None` if that is the line as it is.
pub(crate) fn redacted(line: &[u8], role: Role) -> Option<Vec<u8>> {
    let Ok(Value::Object(record)) = serde_json::from_slice::<Value>(line) else {
        // What is no record is shown to those alone who see all.
        return (!role.sees_all()).then(|| br#"{"redacted":["*"]}"#.to_vec());
    };
    let kind = record.get("event_type").and_then(Value::as_str).unwrap_or_default();
    let hidden: Vec<&str> =
        record.keys().map(String::as_str).filter(|member| hides(role, kind, member)).collect();
    if hidden.is_empty() {
        return None;
    }
    let shown = |member: &str| !hidden.contains(&member);
    let mut out = vec![("redacted".to_owned(), Value::from(hidden.clone()))];
    // A hash over a record of which only a small number is missing would tell the number.
    if hidden.iter().any(|member| NOT_GUESSED.contains(member)) {
        out.push(("leaf_hash".to_owned(), hex(line).into()));
    }
    let head = HEAD.into_iter().filter_map(|member| Some((member.to_owned(), record.get(member)?)));
    let rest = record.iter().filter(|(member, _)| !HEAD.contains(&member.as_str()) && shown(member));
    let members = head.chain(rest.map(|(member, value)| (member.clone(), value)));
    let members = members.chain(out.iter().map(|(member, value)| (member.clone(), value)));
    let members: Vec<String> =
        members.map(|(member, value)| format!("{}:{value}", Value::from(member))).collect();
    Some(format!("{{{}}}", members.join(",")).into_bytes())
}

/// Takes out of a record of that kind, at whatever depth, what those who run the gateway may not read.
pub(crate) fn for_operators(kind: &str, record: &mut Map<String, Value>) {
    record.retain(|member, _| !hides(Role::Operator, kind, member));
    for value in record.values_mut() {
        match value {
            Value::Object(inner) => for_operators(kind, inner),
            Value::Array(all) => {
                all.iter_mut().filter_map(Value::as_object_mut).for_each(|inner| for_operators(kind, inner));
            }
            _ => {}
        }
    }
}

fn hex(line: &[u8]) -> String {
    leaf_hash(line).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hides(role: Role, kind: &str, member: &str) -> bool {
    if HEAD.contains(&member) {
        return false;
    }
    match role {
        Role::HumanResources | Role::DataProtectionOfficer | Role::WorksCouncil => false,
        Role::Auditor => member == "sealed",
        Role::Operator | Role::Engineer => {
            // Of a session it may be known that there was one.
            !(is_shown(kind) || kind == "session")
                || OF_PEOPLE.contains(&member)
                || kind.starts_with("case_") && OF_CASES.contains(&member)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: &str = r#"{"boot_id":"ab","seq":7,"mono_ns":1,"wall":null,"wall_quality":"unknown","event_type":"session","key":"2027-03-01.leak.1","pseudonym":"9c2f","sealed":"AAAA"}"#;
    const CASE: &str = r#"{"boot_id":"ab","seq":8,"mono_ns":1,"wall":null,"wall_quality":"unknown","event_type":"case_opened","case":"4f1d","role":"human_resources","purpose":"leak","categories":["cloud_storage"],"days":["2027-03-01","2027-03-01"],"reason":"suspected_leak","expires":"2027-03-08T00:00:00Z","subject_commitment":"5a-f3","request":"0c-11"}"#;
    const BYPASS: &str = r#"{"boot_id":"ab","seq":9,"mono_ns":1,"wall":null,"wall_quality":"unknown","event_type":"bypass","on":true,"kept":false,"uid":1000}"#;
    const NEW: &str = r#"{"boot_id":"ab","seq":9,"mono_ns":1,"wall":null,"wall_quality":"unknown","event_type":"something_new","person":"s.chen"}"#;

    #[test]
    fn who_comes_to_the_page_is_named_to_auditors_and_not_to_operators() {
        for kind in ["login", "login_failed", "logout", "access_denied", "account", "list_accepted"] {
            let line = BYPASS.replace("bypass", kind).replace("\"kept\":false", "\"account\":\"li.wei\"");
            for reader in [Role::Operator, Role::Engineer] {
                let shown = read(&line, reader);
                assert!(!shown.contains("li.wei") && !shown.contains("leaf_hash"), "{shown}");
            }
            assert_eq!(read(&line, Role::Auditor), line);
        }
    }

    fn read(line: &str, role: Role) -> String {
        String::from_utf8(redacted(line.as_bytes(), role).unwrap_or_else(|| line.as_bytes().to_vec()))
            .unwrap()
    }

    #[test]
    fn each_sees_what_it_may() {
        for reader in [Role::Operator, Role::Engineer] {
            let hash = hex(SESSION.as_bytes());
            assert_eq!(
                read(SESSION, reader),
                format!(
                    r#"{{"boot_id":"ab","seq":7,"mono_ns":1,"wall":null,"wall_quality":"unknown","event_type":"session","key":"2027-03-01.leak.1","redacted":["pseudonym","sealed"],"leaf_hash":"{hash}"}}"#
                )
            );
            let case = read(CASE, reader);
            for hidden in
                ["human_resources", "\"leak\"", "cloud_storage", "2027-03-01", "suspected", "5a-f3", "0c-11"]
            {
                assert!(!case.contains(hidden), "{hidden}: {case}");
            }
            assert!(case.contains(r#""case":"4f1d""#) && case.contains("leaf_hash"));
            // Sixty-five thousand hashes would tell who it was.
            let bypass = read(BYPASS, reader);
            assert!(
                bypass.contains(r#""on":true"#) && !bypass.contains("1000") && !bypass.contains("leaf_hash")
            );
            let new = read(NEW, reader);
            assert!(
                new.contains("something_new")
                    && !new.contains("chen")
                    && new.contains(r#""redacted":["person"]"#)
            );
            assert_eq!(read("nonsense", reader), r#"{"redacted":["*"]}"#);
        }
        assert_eq!(read(CASE, Role::Auditor), CASE);
        assert_eq!(read(BYPASS, Role::Auditor), BYPASS);
        let session = read(SESSION, Role::Auditor);
        assert!(session.contains("9c2f") && !session.contains("AAAA") && session.contains("leaf_hash"));
        for reader in [Role::HumanResources, Role::DataProtectionOfficer, Role::WorksCouncil] {
            for line in [SESSION, CASE, BYPASS, NEW, "nonsense"] {
                assert_eq!(read(line, reader), line);
            }
        }
    }

    /// What stands beside `redacted` and `leaf_hash` is in the line, and what is named there is not.
    #[test]
    fn nothing_is_made_up() {
        for line in [SESSION, CASE, BYPASS, NEW] {
            let record: Map<String, Value> = serde_json::from_str(line).unwrap();
            let shown: Map<String, Value> = serde_json::from_str(&read(line, Role::Operator)).unwrap();
            let redacted = shown["redacted"].as_array().unwrap();
            for (member, value) in &record {
                assert_ne!(
                    shown.get(member) == Some(value),
                    redacted.contains(&member.as_str().into()),
                    "{member}"
                );
            }
        }
    }
}
