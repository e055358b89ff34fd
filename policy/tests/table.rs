//! The compiled table against a naive matcher, and against hostile bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use glassgate_policy::compile::{Compiled, KeyChoice, Options, compile};
use glassgate_policy::matrix::address_key;
use glassgate_policy::signature::{Scope, Tier};
use glassgate_policy::source::Source;
use glassgate_policy::table::{BadTable, Match};
use glassgate_policy::{Category, Diagnostics, L4, Name, ServiceId, SignatureTable};
use proptest::prelude::*;
use ring::digest::{SHA256, digest};

const HEAD: &str = "name\tscope\tservice\tcategory\trole\ttier\tsource\tlicence\tadded\texpires\tnote\n";

fn services(keys: &[&str]) -> Source {
    let mut text = String::from("service\tcategory\ttitle\tregion\n");
    for key in keys {
        text += &format!("{key}\tgames\tTitle of {key}\tworld\n");
    }
    Source::parse("services.tsv", text.as_bytes()).unwrap()
}

fn signatures(entries: &[(&str, Scope, &str)]) -> Source {
    let mut text = String::from(HEAD);
    for (name, scope, service) in entries {
        text +=
            &format!("{name}\t{scope}\t{service}\tgames\tsite\tstrong\tmaintainers\tCC0-1.0\t2026-11-21\n");
    }
    Source::parse("signatures.tsv", text.as_bytes()).unwrap_or_else(|e| panic!("{e}"))
}

fn build(entries: &[(&str, Scope, &str)], options: &Options) -> SignatureTable {
    let mut keys: Vec<&str> = entries.iter().map(|e| e.2).collect();
    keys.sort_unstable();
    keys.dedup();
    let compiled =
        compile(&[services(&keys), signatures(entries)], options).unwrap_or_else(|e| panic!("{e}"));
    SignatureTable::from_bytes(&compiled.bytes).unwrap()
}

fn fixed() -> Options {
    Options { key: KeyChoice::Fixed([7; 16]), ..Options::default() }
}

fn name(text: &str) -> Name {
    Name::from_wire(text.as_bytes()).unwrap()
}

fn key_of(table: &SignatureTable, found: Option<Match>) -> Option<&str> {
    found.map(|m| table.service(m.service).unwrap().name)
}

/// What the table must say, in the plainest way: try every suffix, longest first, exact before suffix.
fn naive<'a>(entries: &[(&'a str, Scope, &'a str)], name: &str) -> Option<(&'a str, usize, Scope)> {
    let listed: BTreeMap<(&str, Scope), &str> = entries.iter().map(|(n, s, k)| ((*n, *s), *k)).collect();
    if let Some(key) = listed.get(&(name, Scope::Exact)) {
        return Some((key, name.len(), Scope::Exact));
    }
    let starts = std::iter::once(0).chain(name.match_indices('.').map(|(dot, _)| dot + 1));
    starts
        .map(|start| &name[start..])
        .find_map(|suffix| Some((*listed.get(&(suffix, Scope::Suffix))?, suffix.len(), Scope::Suffix)))
}

#[test]
fn matches_on_label_boundaries_and_the_longest_wins() {
    let table = build(
        &[
            ("zhipin.com", Scope::Suffix, "seeker"),
            ("rd6.zhipin.com", Scope::Suffix, "recruiter"),
            ("www.liepin.com", Scope::Exact, "exact"),
            ("a.b.c.d.e.f.g.h.i.j.example.co.uk", Scope::Suffix, "deep"),
            ("example.co.uk", Scope::Exact, "uk"),
            ("example.co.uk", Scope::Suffix, "uk-below"),
            ("localhost", Scope::Exact, "single"),
        ],
        &fixed(),
    );
    let ask = |text: &str| key_of(&table, table.lookup(&name(text)));
    assert_eq!(ask("zhipin.com"), Some("seeker"));
    assert_eq!(ask("www.zhipin.com"), Some("seeker"));
    assert_eq!(ask("x.rd6.zhipin.com"), Some("recruiter"));
    assert_eq!(ask("rd6.zhipin.com"), Some("recruiter"));
    assert_eq!(ask("xzhipin.com"), None, "not on a label boundary");
    assert_eq!(ask("zhipin.com.cn"), None);
    assert_eq!(ask("com"), None);
    assert_eq!(ask("www.liepin.com"), Some("exact"));
    assert_eq!(ask("x.www.liepin.com"), None);
    assert_eq!(ask("liepin.com"), None);
    assert_eq!(ask("example.co.uk"), Some("uk"), "exact beats suffix");
    assert_eq!(ask("x.example.co.uk"), Some("uk-below"));
    assert_eq!(ask("z.a.b.c.d.e.f.g.h.i.j.example.co.uk"), Some("deep"));
    assert_eq!(ask("localhost"), Some("single"));
    let found = table.lookup(&name("x.rd6.zhipin.com")).unwrap();
    assert_eq!((found.matched, found.scope), ("rd6.zhipin.com".len() as u8, Scope::Suffix));
    assert_eq!(table.entry(found.entry).unwrap().source, "maintainers");
    assert_eq!(table.names(), 7);
}

#[test]
fn odd_names_and_addresses_match_nothing() {
    let table = build(&[("7.com", Scope::Suffix, "a"), ("example.com", Scope::Suffix, "b")], &fixed());
    let odd = Name::from_labels([b"x y".as_slice(), b"example", b"com"]).unwrap();
    assert_eq!(table.lookup(&odd), None);
    assert_eq!(table.lookup(&Name::from_host(b"192.0.2.7").unwrap()), None);
    assert_eq!(table.lookup(&Name::from_labels([]).unwrap()), None);
}

#[test]
fn excluded_names_never_count() {
    let options = Options { exclude: vec![name("acme.zhiye.com"), name("acme.example")], ..fixed() };
    let entries = [
        ("zhiye.com", Scope::Suffix, "beisen"),
        ("acme.zhiye.com", Scope::Suffix, "covered"),
        ("jobs.acme.zhiye.com", Scope::Suffix, "below"),
    ];
    let table = build(&entries, &options);
    let ask = |text: &str| key_of(&table, table.lookup(&name(text)));
    assert_eq!(ask("other.zhiye.com"), Some("beisen"));
    assert_eq!(ask("acme.zhiye.com"), None);
    assert_eq!(ask("x.acme.zhiye.com"), None);
    // An entry below an excluded name is a longer match. The compiler takes it out too.
    assert_eq!(ask("jobs.acme.zhiye.com"), None);
    assert_eq!(ask("www.acme.example"), None);
}

#[test]
fn tiers_and_dates_decide_what_is_listed() {
    let body = "a.com\tsuffix\tx\tgames\tsite\tstrong\tm\tCC0-1.0\t2026-01-01\t2026-06-30\n\
                b.com\tsuffix\tx\tgames\tsite\tweak\tm\tCC0-1.0\t2026-01-01\n\
                c.com\tsuffix\tx\tgames\tsite\tcandidate\tm\tCC0-1.0\t2026-01-01\n";
    let source = Source::parse("s", format!("{HEAD}{body}").as_bytes()).unwrap();
    let listed = |options: &Options| {
        let compiled = compile(&[services(&["x"]), source.clone()], options).unwrap();
        let table = SignatureTable::from_bytes(&compiled.bytes).unwrap();
        let hits = ["a.com", "b.com", "c.com"].map(|n| table.lookup(&name(n)).is_some());
        (hits, compiled.report.other_tier, compiled.report.expired)
    };
    assert_eq!(listed(&fixed()), ([true, false, false], 2, 0));
    let day = |text: &str| text.parse().ok();
    assert_eq!(listed(&Options { today: day("2026-06-30"), ..fixed() }), ([true, false, false], 2, 0));
    assert_eq!(listed(&Options { today: day("2026-07-01"), ..fixed() }), ([false, false, false], 2, 1));
    let all = Options { tiers: Tier::ALL.to_vec(), ..fixed() };
    assert_eq!(listed(&all), ([true, true, true], 0, 0));
}

#[test]
fn earlier_files_win_and_one_file_lists_a_name_once() {
    let first = signatures(&[("a.com", Scope::Suffix, "x")]);
    let second = signatures(&[("a.com", Scope::Suffix, "y"), ("b.com", Scope::Suffix, "y")]);
    let compiled = compile(&[services(&["x", "y"]), first, second], &fixed()).unwrap();
    assert_eq!((compiled.report.listed, compiled.report.covered), (2, 1));
    let table = SignatureTable::from_bytes(&compiled.bytes).unwrap();
    assert_eq!(key_of(&table, table.lookup(&name("a.com"))), Some("x"));

    let twice = signatures(&[
        ("a.com", Scope::Suffix, "x"),
        ("b.com", Scope::Suffix, "x"),
        ("a.com", Scope::Suffix, "x"),
    ]);
    let faults = compile(&[services(&["x"]), twice], &fixed()).unwrap_err();
    let fault = &faults.as_slice()[0];
    assert_eq!((fault.code, fault.line, fault.column), ("listed-twice", 4, 1));
    assert!(fault.message.contains("line 2"), "{fault}");
}

#[test]
fn services_are_declared_once_with_one_category() {
    let line = |service: &str, category: &str| {
        let text = format!(
            "{HEAD}# c\na.com\tsuffix\t{service}\t{category}\tsite\tstrong\tm\tCC0-1.0\t2026-01-01\n"
        );
        Source::parse("s.tsv", text.as_bytes()).unwrap()
    };
    let first = |sources: &[Source]| {
        let faults = compile(sources, &fixed()).unwrap_err();
        let fault = faults.as_slice()[0].clone();
        (fault.path, fault.line, fault.column, fault.code, fault.help.unwrap_or_default())
    };
    let (path, at, column, code, help) = first(&[services(&["chess"]), line("ches", "games")]);
    assert_eq!((path.as_str(), at, column, code), ("s.tsv", 3, 14, "unknown-service"));
    assert_eq!(help, "did you mean `chess`?");
    let (_, at, column, code, _) = first(&[services(&["chess"]), line("chess", "music")]);
    assert_eq!((at, column, code), (3, 20, "other-category"));
    let (path, at, column, code, _) = first(&[services(&["a", "chess"]), services(&["chess"])]);
    assert_eq!((path.as_str(), at, column, code), ("services.tsv", 2, 1, "declared-twice"));

    let compiled = compile(&[services(&["chess", "go"]), line("chess", "games")], &fixed()).unwrap();
    assert_eq!(compiled.warnings.as_slice()[0].code, "unused-service");
}

#[test]
fn equal_input_gives_equal_bytes_and_the_key_is_drawn_afresh() {
    let entries = [("a.com", Scope::Suffix, "x"), ("b.c.com", Scope::Exact, "y")];
    let with = |key| build(&entries, &Options { key, ..Options::default() });
    assert_eq!(with(KeyChoice::FromContent).hash(), with(KeyChoice::FromContent).hash());
    assert_ne!(with(KeyChoice::Random).hash(), with(KeyChoice::Random).hash());
    assert_eq!(with(KeyChoice::Random).content_hash(), with(KeyChoice::FromContent).content_hash());
    let other = build(&[("a.com", Scope::Suffix, "x"), ("b.c.com", Scope::Suffix, "y")], &fixed());
    assert_ne!(other.content_hash(), with(KeyChoice::FromContent).content_hash());
}

#[test]
fn an_empty_table_matches_nothing() {
    let compiled = compile(&[], &fixed()).unwrap();
    let table = SignatureTable::from_bytes(&compiled.bytes).unwrap();
    assert_eq!(table.lookup(&name("a.com")), None);
    assert_eq!(table.service(ServiceId(1)), None);
    assert_eq!(table.service_named("x"), None);
}

#[test]
fn services_are_found_by_key() {
    let keys = ["a", "b", "c-d", "e1", "f"];
    let entries: Vec<_> = keys.iter().map(|k| (format!("{k}.com"), *k)).collect();
    let entries: Vec<_> = entries.iter().map(|(n, k)| (n.as_str(), Scope::Suffix, *k)).collect();
    let table = build(&entries, &fixed());
    for key in keys {
        let id = table.service_named(key).unwrap();
        let info = table.service(id).unwrap();
        assert_eq!((info.name, info.category), (key, Category::Games));
        assert_eq!(info.title, format!("Title of {key}"));
    }
    for missing in ["", "0", "aa", "d", "z"] {
        assert_eq!(table.service_named(missing), None, "{missing}");
    }
    assert_eq!(table.services().map(|(_, s)| s.name).collect::<Vec<_>>(), keys);
}

/// Enough names for full lines, long labels for the heap, many below one branch.
fn crowd() -> Vec<(String, Scope, &'static str)> {
    let mut out = Vec::new();
    for i in 0..2000u32 {
        let scope = if i % 3 == 0 { Scope::Exact } else { Scope::Suffix };
        let service = ["x", "y", "z"][i as usize % 3];
        out.push((format!("n{}.com", i * 7919), scope, service));
        if i % 5 == 0 {
            out.push((format!("a.n{}.com", i * 7919), Scope::Suffix, service));
        }
        if i % 50 == 0 {
            out.push((format!("{}{i}.org", "long".repeat(12)), scope, service));
        }
    }
    out
}

#[test]
fn every_listed_name_is_found_and_batches_agree() {
    let owned = crowd();
    let entries: Vec<_> = owned.iter().map(|(n, s, k)| (n.as_str(), *s, *k)).collect();
    let table = build(&entries, &fixed());
    let mut names: Vec<Name> = owned.iter().map(|(n, ..)| name(n)).collect();
    names.extend(owned.iter().map(|(n, ..)| name(&format!("www.{n}"))));
    names.extend(owned.iter().map(|(n, ..)| name(&format!("x{n}"))));
    let refs: Vec<&Name> = names.iter().collect();
    let mut found = vec![None; refs.len()];
    table.lookup_batch(&refs, &mut found);
    for (name, batch) in names.iter().zip(&found) {
        assert_eq!(*batch, table.lookup(name), "{name}");
        let wanted = naive(&entries, name.as_str());
        let got = batch.map(|m| (table.service(m.service).unwrap().name, usize::from(m.matched), m.scope));
        assert_eq!(got, wanted, "{name}");
    }
}

#[test]
fn every_flipped_byte_and_every_cut_is_refused() {
    let table = build(&[("a.com", Scope::Suffix, "x"), ("b.c.org", Scope::Exact, "y")], &fixed());
    let bytes = table.to_bytes();
    assert!(bytes.len() < 2000, "small enough to flip all of it");
    for i in 0..bytes.len() {
        for bit in [0x01, 0x80] {
            let mut bad = bytes.clone();
            bad[i] ^= bit;
            assert!(SignatureTable::from_bytes(&bad).is_err(), "byte {i}");
        }
        assert!(SignatureTable::from_bytes(&bytes[..i]).is_err(), "cut at {i}");
    }
    let mut longer = bytes;
    longer.push(0);
    assert!(matches!(SignatureTable::from_bytes(&longer), Err(BadTable::Length { .. })));
}

#[test]
fn room_for_something_else_is_refused() {
    let bytes = build(&[("a.com", Scope::Suffix, "x")], &fixed()).to_bytes();
    let at = bytes.len() - 32;
    let mut longer = bytes[..at].to_vec();
    longer.extend_from_slice(&[0; 64 + 32]);
    let len = longer.len() as u64;
    longer[8..16].copy_from_slice(&len.to_le_bytes());
    assert!(matches!(SignatureTable::from_bytes(&sealed(longer)), Err(BadTable::Section(_))));
}

fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let at = bytes.len() - 32;
    let sum = digest(&SHA256, &bytes[..at]);
    bytes[at..].copy_from_slice(sum.as_ref());
    bytes
}

/// With its digest put right again, a table whose bytes were changed is refused, or answers without harm.
fn survives(bytes: Vec<u8>, names: &[Name]) {
    let bytes = sealed(bytes);
    let checked = SignatureTable::from_bytes(&bytes);
    let Ok(table) = SignatureTable::map(Arc::new(bytes)) else { return };
    let refs: Vec<&Name> = names.iter().collect();
    let mut found = vec![None; refs.len()];
    table.lookup_batch(&refs, &mut found);
    for (name, batch) in names.iter().zip(found) {
        assert_eq!(table.lookup(name), batch);
        if let Some(found) = batch {
            let (service, entry) = (table.service(found.service), table.entry(found.entry));
            // What was checked in full has an answer to every question that follows from a match.
            assert!(checked.is_err() || (service.is_some() && entry.is_some()));
        }
    }
    let _ = table.services().count();
    let _ = table.service_named("x");
    for found in clues_of(&table).into_iter().flatten() {
        assert!(!found.category.is_about_people(), "whatever the table says");
        assert!(checked.is_err() || table.entry(found.entry).is_some());
    }
}

/// What is asked of the clues in [`CLUES`].
fn clues_of(table: &SignatureTable) -> [Option<Match>; 6] {
    let address = |ip: &str, l4, port| table.lookup_address(&address_key(ip.parse().unwrap()), l4, port);
    [
        address("192.0.2.1", L4::Tcp, 443),
        address("192.0.2.77", L4::Udp, 51820),
        address("2001:db8::53", L4::Udp, 853),
        address("198.51.100.1", L4::Tcp, 443),
        table.lookup_alpn(b"doq"),
        table.lookup_ja4(PRINT.as_bytes().try_into().unwrap()),
    ]
}

const PRINT: &str = "t13d1516h2_8daaf6152771_b186095e22b6";
const CLUES: [(&str, &str, &str); 7] = [
    ("192.0.2.0/24", "address", "net"),
    ("192.0.2.64/26,udp/51820", "address", "vpn"),
    ("192.0.2.64/26,any/400-500", "address", "net"),
    ("2001:db8::53,any/853", "address", "net"),
    ("::/0,udp/500", "address", "vpn"),
    ("doq", "alpn", "net"),
    (PRINT, "ja4", "vpn"),
];

/// Names of a category about people, and clues of one that is not; or what the compiler says.
fn with_clues(
    names: &[(&str, Scope, &str)],
    clues: &[(&str, &str, &str)],
    category: &str,
    tier: &str,
    options: &Options,
) -> Result<Compiled, Diagnostics> {
    let declared =
        format!("service\tcategory\ttitle\tregion\nnet\t{category}\tN\tworld\nvpn\t{category}\tV\tworld\n");
    let mut text = String::from(HEAD);
    for (clue, kind, service) in clues {
        text += &format!(
            "{clue}\t{kind}\t{service}\t{category}\tsite\t{tier}\tmaintainers\tCC0-1.0\t2026-11-22\n"
        );
    }
    let mut keys: Vec<&str> = names.iter().map(|e| e.2).collect();
    keys.sort_unstable();
    keys.dedup();
    let own = [Source::parse("net.tsv", declared.as_bytes())?, Source::parse("clues.tsv", text.as_bytes())?];
    let all = if names.is_empty() { vec![] } else { vec![services(&keys), signatures(names)] };
    compile(&[&all[..], &own].concat(), options)
}

#[test]
fn clues_are_found_by_what_a_flow_shows() {
    let compiled = with_clues(&[], &CLUES, "tunnel", "strong", &fixed()).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!((compiled.report.clues, compiled.report.listed), (7, 0));
    let table = SignatureTable::from_bytes(&compiled.bytes).unwrap();
    let found = clues_of(&table).map(|found| key_of(&table, found));
    assert_eq!(found, [Some("net"), Some("vpn"), Some("net"), None, Some("net"), Some("vpn")]);
    assert!(table.has_protocols() && table.has_fingerprints());
    let entry = table.entry(clues_of(&table)[4].unwrap().entry).unwrap();
    assert_eq!((entry.source, entry.licence, entry.list), ("maintainers", "CC0-1.0", "clues.tsv"));
    assert_eq!(entry.added.to_string(), "2026-11-22");
}

#[test]
fn the_tier_of_a_clue_decides_whether_it_counts() {
    for (tier, by_default) in [("strong", true), ("weak", false), ("candidate", false)] {
        let compiled = with_clues(&[], &CLUES, "tunnel", tier, &fixed()).unwrap();
        let table = SignatureTable::from_bytes(&compiled.bytes).unwrap();
        assert_eq!(clues_of(&table)[0].is_some(), by_default, "{tier}");
        assert_eq!(compiled.report.other_tier, if by_default { 0 } else { 7 });
        let options = Options { tiers: Tier::ALL.to_vec(), ..fixed() };
        let asked_for = with_clues(&[], &CLUES, "tunnel", tier, &options).unwrap();
        let table = SignatureTable::from_bytes(&asked_for.bytes).unwrap();
        assert_eq!(table.entry(clues_of(&table)[0].unwrap().entry).unwrap().tier.as_str(), tier);
    }
}

#[test]
fn clues_about_people_are_refused() {
    for category in Category::ALL.iter().filter(|c| c.is_about_people()) {
        let faults = with_clues(&[], &CLUES, category.as_str(), "strong", &fixed()).unwrap_err();
        let text = faults.to_string();
        assert!(text.contains("needs-name") && text.contains("clues.tsv:2:"), "{text}");
    }
    for (clue, kind) in
        [("192.0.2.1/24", "address"), ("192.0.2.0/24", "adress"), ("", "alpn"), ("t13d", "ja4")]
    {
        let faults = with_clues(&[], &[(clue, kind, "net")], "tunnel", "strong", &fixed()).unwrap_err();
        assert!(faults.to_string().contains("clues.tsv:2:"), "{faults}");
    }
    let twice = [("doq", "alpn", "net"), ("doq", "alpn", "vpn")];
    let faults = with_clues(&[], &twice, "tunnel", "strong", &fixed()).unwrap_err();
    assert!(faults.to_string().contains("clues.tsv:3:1"), "{faults}");
}

/// Tables whose clues are not as the compiler writes them are refused, though their digest is right.
#[test]
fn hostile_clues_are_refused() {
    let names = [("a.com", Scope::Suffix, "x")];
    let bytes = with_clues(&names, &CLUES, "tunnel", "strong", &fixed()).unwrap().bytes;
    let table = SignatureTable::from_bytes(&bytes).unwrap();
    let people = table.lookup(&name("a.com")).unwrap().entry;
    let find = |what: &[u8]| bytes.windows(what.len()).position(|w| w == what).unwrap();
    let (first, second) = (
        find(&[&address_key("192.0.2.0".parse().unwrap())[..], &[120]].concat()),
        find(&[&address_key("192.0.2.64".parse().unwrap())[..], &[122]].concat()),
    );
    let alpn = find(b"\x03doq\0");
    let print = find(PRINT.as_bytes());
    let mut hostile: Vec<(&str, Vec<u8>)> = Vec::new();
    let mut with = |what, at: usize, new: &[u8]| {
        let mut bad = bytes.clone();
        bad[at..at + new.len()].copy_from_slice(new);
        hostile.push((what, bad));
    };
    with("an address for people", first + 24, &people.to_le_bytes());
    with("a protocol for people", alpn - 4, &people.to_le_bytes());
    with("a fingerprint for people", print - 4, &people.to_le_bytes());
    with("no class", first + 24, &[0; 4]);
    with("a class that is not there", first + 24, &99u32.to_le_bytes());
    with("bits behind the prefix", first + 15, &[1]);
    with("a prefix that is too long", first + 16, &[129]);
    with("another transport", first + 17, &[1]);
    with("ports that end before they begin", first + 18, &[2, 0, 1, 0]);
    with("padding", first + 22, &[1]);
    with("its own parent", second + 28, &9u32.to_le_bytes());
    with("no parent", second + 28, &[0; 4]);
    let swapped = [&bytes[second..second + 32], &bytes[first..first + 32]].concat();
    if second == first + 32 {
        with("out of order", first, &swapped);
    }
    with("a longer protocol", alpn, &[28]);
    with("an empty protocol", alpn, &[0]);
    with("letters behind a protocol", alpn + 5, b"x");
    with("no fingerprint", print, b"T");
    with("a fingerprint in capitals", print + 12, b"DAA");
    for (what, bad) in hostile {
        let why = SignatureTable::from_bytes(&sealed(bad.clone())).err();
        let expected = matches!(why, Some(BadTable::Section("addresses" | "alpns" | "ja4s")));
        assert!(expected, "{what}: {why:?}");
        survives(bad, &[name("a.com")]);
    }
}

fn small_crowd() -> (Vec<u8>, Vec<Name>) {
    let owned: Vec<_> = crowd().into_iter().take(60).collect();
    let entries: Vec<_> = owned.iter().map(|(n, s, k)| (n.as_str(), *s, *k)).collect();
    let bytes = with_clues(&entries, &CLUES, "tunnel", "strong", &fixed()).unwrap().bytes;
    let names = owned.iter().flat_map(|(n, ..)| [name(n), name(&format!("b.a.{n}"))]).collect();
    (bytes, names)
}

#[test]
fn hostile_tables_with_a_good_digest_do_no_harm() {
    let (bytes, names) = small_crowd();
    for i in 0..bytes.len() - 32 {
        for value in [0, 0xff, bytes[i] ^ 0x40, bytes[i].wrapping_add(1)] {
            let mut bad = bytes.clone();
            bad[i] = value;
            survives(bad, &names);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_the_naive_matcher(
        listed in proptest::collection::vec(("([abc]{1,2}\\.){1,4}[abc]{1,2}", any::<bool>(), 0usize..3), 0..60),
        asked in proptest::collection::vec("([abc]{1,2}\\.){0,5}[abc]{1,2}", 1..40),
        key: [u8; 16],
    ) {
        let keys = ["x", "y", "z"];
        let unique: BTreeMap<(String, Scope), &str> = listed
            .into_iter()
            .map(|(n, exact, k)| ((n, if exact { Scope::Exact } else { Scope::Suffix }), keys[k]))
            .collect();
        let entries: Vec<_> = unique.iter().map(|((n, s), k)| (n.as_str(), *s, *k)).collect();
        let table = build(&entries, &Options { key: KeyChoice::Fixed(key), ..Options::default() });
        for text in asked.iter().map(String::as_str).chain(entries.iter().map(|e| e.0)) {
            let got = table.lookup(&name(text)).map(|m| (table.service(m.service).unwrap().name, usize::from(m.matched), m.scope));
            prop_assert_eq!(got, naive(&entries, text), "{}", text);
        }
    }

    #[test]
    fn long_and_hostile_names_agree_with_the_naive_matcher(
        listed in proptest::collection::btree_set("[a-z0-9_-]{1,63}(\\.[a-z0-9-]{1,63}){1,2}", 1..30),
    ) {
        let names: Vec<&str> = listed.iter().map(String::as_str).filter(|n| Name::from_wire(n.as_bytes()).is_ok()).collect();
        let entries: Vec<_> = names.iter().map(|n| (*n, Scope::Suffix, "x")).collect();
        let table = build(&entries, &fixed());
        for text in &names {
            prop_assert!(table.lookup(&name(text)).is_some());
            let below = format!("w.{text}");
            if let Ok(below) = Name::from_wire(below.as_bytes()) {
                prop_assert!(table.lookup(&below).is_some());
            }
        }
    }

    #[test]
    fn mutated_tables_do_no_harm(changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..24), cut in 0usize..200) {
        let (mut bytes, names) = small_crowd();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if cut >= 100 {
            let len = bytes.len() - (cut - 100);
            bytes.truncate(len);
            bytes[8..16].copy_from_slice(&(len as u64).to_le_bytes());
        }
        survives(bytes, &names);
    }

    #[test]
    fn random_bytes_are_no_table(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        prop_assert!(SignatureTable::from_bytes(&bytes).is_err());
        prop_assert!(SignatureTable::map(Arc::new(bytes)).is_err());
    }
}
