use super::*;
use crate::charter::{Charter, Installed, Signatures, SigningKey, Statement};
use crate::compile::{self, compile};
use crate::rules::Declared;

const SIGNATURES: &str = "name\tscope\tservice\tcategory\trole\ttier\tsource\tlicence\tadded\texpires\tnote\n\
    zhipin.com\tsuffix\tboss\trecruitment\tsite\tstrong\tv2fly\tMIT\t2026-01-01\t\tthe main site\n\
    file.zhipin.com\texact\tboss\trecruitment\tupload\tstrong\tme\tCC0-1.0\t2026-02-01\t\t\n\
    www.zhipin.com\tsuffix\tboss\trecruitment\tsite\tweak\tme\tMIT\t2026-01-01\t\t\n\
    m.zhipin.com\tsuffix\tboss\trecruitment\tsite\tstrong\tme\tMIT\t2026-01-01\t2026-03-01\t\n\
    ver.di\tsuffix\tverdi\tprotected_union\tsite\tstrong\tme\tMIT\t2026-01-01\t\t\n\
    cdn.example\tsuffix\tcdn\tinfrastructure\tsite\tstrong\tme\tMIT\t2026-01-01\t\t\n";
const LATER: &str = "name\tscope\tservice\tcategory\trole\ttier\tsource\tlicence\tadded\texpires\tnote\n\
    zhipin.com\tsuffix\tboss\trecruitment\tsite\tstrong\tlist\tMIT\t2026-01-01\t\t\n";
const SERVICES: &str = "service\tcategory\ttitle\tregion\n\
    boss\trecruitment\tBOSS\tCN\nverdi\tprotected_union\tver.di\tDE\ncdn\tinfrastructure\tCDN\tworld\n";
const RULES: &str = "version = 1\n\
    [[rule]]\nname = \"look\"\nmatch = { category = [\"recruitment\"] }\naction = \"block\"\nowner = \"o\"\npurpose = \"conduct\"\n\
    [[rule]]\nname = \"old\"\nmatch = { service = [\"boss\"] }\naction = \"block\"\nstate = \"enforce\"\nexpires = 2026-05-01\nowner = \"o\"\npurpose = \"conduct\"\n\
    [[rule]]\nname = \"pass\"\nmatch = { service = [\"boss\"] }\naction = \"allow\"\nstate = \"enforce\"\nowner = \"o\"\npurpose = \"conduct\"\n\
    [[rule]]\nname = \"late\"\nmatch = { category = [\"recruitment\", \"unknown\"] }\naction = \"block\"\nstate = \"enforce\"\nowner = \"o\"\npurpose = \"conduct\"\n";

fn ask(name: Option<&str>, evidence: Evidence) -> Explanation {
    let day: jiff::civil::Date = "2026-06-01".parse().unwrap();
    let texts = [("a.tsv", SIGNATURES), ("b.tsv", LATER), ("s.tsv", SERVICES)];
    let sources =
        texts.map(|(path, text)| Source::parse(path, text.as_bytes()).unwrap_or_else(|e| panic!("{e}")));
    let options = compile::Options { today: Some(day), ..compile::Options::default() };
    let compiled = compile(&sources, &options).unwrap_or_else(|e| panic!("{e}"));
    let table = SignatureTable::from_bytes(&compiled.bytes).unwrap();
    let file = RuleFile::parse("r.toml", RULES.as_bytes()).unwrap_or_else(|e| panic!("{e}"));
    let (rules, _) = file.bind(&table, &Declared::default(), Some(day)).unwrap_or_else(|e| panic!("{e}"));
    let moment = Moment::day(Some(day));
    let basis = Basis {
        sources: &sources,
        tiers: &options.tiers,
        table: &table,
        file: &file,
        rules: &rules,
        moment: &moment,
        recording: Recording::WithoutCharter,
    };
    let name = name.map(|name| read_name(name).unwrap());
    explain(&basis, &named(name.as_ref(), evidence))
}

fn named(name: Option<&Name>, evidence: Evidence) -> Flow<'_> {
    let (group, server, alpn, ja4) = (GroupId(0), None, &[][..], None);
    Flow { name, evidence, group, server, alpn, ja4, encrypted_dns: false }
}

fn levels(explained: &Explanation) -> Vec<(&str, &str)> {
    explained.gates.iter().map(|g| (g.gate, g.lets)).collect()
}

#[test]
fn says_which_bytes_and_which_entry() {
    let explained = ask(Some("WWW.Zhipin.com."), Evidence::Sni);
    let entry = explained.entry.as_ref().unwrap();
    assert_eq!((entry.file.as_str(), entry.line, entry.name.as_str()), ("a.tsv", 2, "zhipin.com"));
    assert_eq!((entry.matched_from, entry.matched), (4, 10));
    assert_eq!(
        (entry.source.as_str(), entry.licence.as_str(), entry.added.as_str()),
        ("v2fly", "MIT", "2026-01-01")
    );
    let others: Vec<_> =
        explained.passed_over.iter().map(|p| (p.entry.file.as_str(), p.entry.line, p.why.as_str())).collect();
    assert_eq!(
        others,
        [("a.tsv", 4, "tier weak: not in the table"), ("b.tsv", 2, "a.tsv:2 lists it before")]
    );
    assert_eq!(explained.service.unwrap().key, "boss");
}

#[test]
fn the_longest_and_exact_entries_win_and_ended_ones_do_not() {
    let explained = ask(Some("file.zhipin.com"), Evidence::Sni);
    assert_eq!(explained.entry.unwrap().role, "upload");
    let whys: Vec<_> = explained.passed_over.into_iter().map(|p| p.why).collect();
    assert_eq!(whys, ["`file.zhipin.com` is longer", "`file.zhipin.com` is longer"]);
    let explained = ask(Some("x.m.zhipin.com"), Evidence::Sni);
    assert_eq!(explained.entry.unwrap().name, "zhipin.com");
    assert_eq!(explained.passed_over[0].why, "it ended with 2026-03-01");
    assert_eq!(ask(Some("xzhipin.com"), Evidence::Sni).entry, None);
}

#[test]
fn says_what_becomes_of_each_rule_and_which_gates_there_are() {
    let explained = ask(Some("zhipin.com"), Evidence::Sni);
    let rules: Vec<_> = explained.rules.iter().map(|r| (r.rule.as_str(), r.outcome, r.line)).collect();
    assert_eq!(
        rules,
        [
            ("look", "would_decide", 3),
            ("old", "expired", 9),
            ("pass", "decides", 17),
            ("late", "covered", 24)
        ]
    );
    assert_eq!((explained.action.as_str(), explained.decided_by.as_deref()), ("allow", Some("pass")));
    assert_eq!(
        levels(&explained),
        [("name", "sealed"), ("category", "sealed"), ("charter", "aggregate"), ("rule", "aggregate")]
    );
    assert_eq!((explained.level, explained.rules_asked), ("aggregate", 4));
}

#[test]
fn weak_evidence_says_nothing_about_people() {
    let explained = ask(Some("zhipin.com"), Evidence::DnsHint);
    assert_eq!((explained.category, explained.service.clone()), ("unknown", None));
    assert!(explained.entry.is_some(), "what matched is shown all the same");
    assert!(explained.gates[0].why.contains("forgotten"));
    assert_eq!(explained.decided_by.as_deref(), Some("late"), "rules see what counts");
    assert_eq!(ask(Some("a.cdn.example"), Evidence::DnsHint).category, "infrastructure");
}

#[test]
fn protected_names_and_flows_without_a_name() {
    let explained = ask(Some("ver.di"), Evidence::Sni);
    assert_eq!((explained.level, explained.gates[1].lets), ("none", "none"));
    let explained = ask(None, Evidence::None);
    assert_eq!((explained.category, explained.level, explained.name), ("unknown", "aggregate", None));
}

/// The entry that is shown is the one that the table found, for every name that comes with the gateway.
#[test]
fn agrees_with_the_table() {
    let (sources, table) = (crate::builtin::sources().unwrap(), crate::builtin::table().unwrap());
    let (file, rules, moment) = (RuleFile::default(), Rules::default(), Moment::default());
    let basis = Basis {
        sources: &sources,
        tiers: &[Tier::Strong],
        table: &table,
        file: &file,
        rules: &rules,
        moment: &moment,
        recording: Recording::WithoutCharter,
    };
    let names = sources.iter().flat_map(|s| s.entries().iter().step_by(7).map(|e| s.name(e).to_owned()));
    let mut asked = 0;
    for name in names.flat_map(|name| [format!("www.{name}"), name]) {
        let Ok(name) = read_name(&name) else { continue };
        let found = table.lookup(&name);
        let explained = explain(&basis, &named(Some(&name), Evidence::Sni));
        let of_table =
            found.and_then(|f| Some((f.matched as usize, table.service(f.service)?.name.to_owned())));
        assert_eq!(explained.entry.map(|e| (e.matched, e.service)), of_table, "{name}");
        asked += 1;
    }
    assert!(asked > 500, "{asked}");
    // Without the sources, as with a pack, all but the line is known.
    let name = read_name("www.zhipin.com").unwrap();
    let flow = named(Some(&name), Evidence::Sni);
    let entry = |basis: &Basis<'_>| explain(basis, &flow).entry.unwrap();
    let (with, without) = (entry(&basis), entry(&Basis { sources: &[], ..basis }));
    assert_eq!(Listed { line: 0, ..with }, without);
}

#[test]
fn names_in_unicode_are_read() {
    assert_eq!(read_name("Bücher.example").unwrap().as_str(), "xn--bcher-kva.example");
    assert!(read_name("192.0.2.1").is_err() && read_name("a b").is_err() && read_name("").is_err());
}

const CLUES: &str = "service\tcategory\ttitle\tregion\nquad9\ttunnel\tQuad9\tCH\nvpn\ttunnel\tVPN\tworld\nevil\tmalware\tEvil\tworld\n\
    dns\ttunnel\tDNS\tworld\nboss\trecruitment\tBOSS\tCN\n\
    name\tscope\tservice\tcategory\trole\ttier\tsource\tlicence\tadded\texpires\tnote\n\
    9.9.9.9,any/853\taddress\tquad9\ttunnel\tsite\tstrong\tquad9.net\tCC0-1.0\t2026-11-22\t\ta resolver\n\
    9.9.9.0/24\taddress\tvpn\ttunnel\tsite\tstrong\tme\tMIT\t2026-01-01\t\t\n\
    9.9.9.9,udp/853\taddress\tvpn\ttunnel\tsite\tweak\tme\tMIT\t2026-01-01\t\t\n\
    doq\talpn\tdns\ttunnel\tsite\tstrong\tIANA\tCC0-1.0\t2026-11-22\t\t\n\
    x-evil\talpn\tevil\tmalware\tsite\tstrong\tme\tMIT\t2026-11-22\t\t\n\
    t13d1516h2_8daaf6152771_b186095e22b6\tja4\tevil\tmalware\tsite\tstrong\tme\tMIT\t2026-11-22\t\t\n\
    zhipin.com\tsuffix\tboss\trecruitment\tsite\tstrong\tme\tMIT\t2026-01-01\t\t\n";

/// Asks about a flow that shows more than a name, or something else; with and without the sources.
fn ask_clues(name: Option<&str>, server: &str, l4: L4, alpn: &[&str], ja4: Option<&str>) -> Explanation {
    let sources = [Source::parse("c.tsv", CLUES.as_bytes()).unwrap_or_else(|e| panic!("{e}"))];
    let options = compile::Options::default();
    let compiled = compile(&sources, &options).unwrap_or_else(|e| panic!("{e}"));
    let table = SignatureTable::from_bytes(&compiled.bytes).unwrap();
    let (file, rules, moment) = (RuleFile::default(), Rules::default(), Moment::default());
    let basis = Basis {
        sources: &sources,
        tiers: &options.tiers,
        table: &table,
        file: &file,
        rules: &rules,
        moment: &moment,
        recording: Recording::WithoutCharter,
    };
    let name = name.map(|name| read_name(name).unwrap());
    let alpn: Vec<String> = alpn.iter().map(|id| (*id).to_owned()).collect();
    let server: std::net::SocketAddr = server.parse().unwrap();
    let evidence = if name.is_some() { Evidence::Sni } else { Evidence::None };
    let flow = Flow {
        server: Some((server.ip(), l4, server.port())),
        alpn: &alpn,
        ja4: ja4.map(|text| text.as_bytes().try_into().unwrap()),
        encrypted_dns: alpn.iter().any(|id| id == "dot"),
        ..named(name.as_ref(), evidence)
    };
    let explained = explain(&basis, &flow);
    // With a pack there are no sources: all but the line is known, and what was passed over.
    let without = explain(&Basis { sources: &[], ..basis }, &flow);
    assert_eq!(explained.entry.clone().map(|entry| Listed { line: 0, ..entry }), without.entry);
    assert_eq!((&explained.service, explained.category), (&without.service, without.category));
    explained
}

#[test]
fn what_is_no_name_is_explained() {
    let line = |explained: &Explanation| explained.entry.as_ref().map(|e| (e.line, e.scope));
    let whys = |explained: &Explanation| -> Vec<(u32, String)> {
        explained.passed_over.iter().map(|p| (p.entry.line, p.why.clone())).collect()
    };
    let said = |line: u32, why: &str| (line, why.to_owned());
    let narrow = "`9.9.9.9/32,any/853` is narrower";
    let weak = "tier weak: not in the table";

    let explained = ask_clues(None, "9.9.9.9:853", L4::Udp, &[], None);
    let entry = explained.entry.as_ref().unwrap();
    assert_eq!((entry.name.as_str(), entry.scope, entry.line), ("9.9.9.9/32,any/853", "address", 8));
    assert_eq!(
        (entry.source.as_str(), entry.licence.as_str(), entry.note.as_str()),
        ("quad9.net", "CC0-1.0", "a resolver")
    );
    assert_eq!((explained.evidence, explained.category, explained.level), ("address", "tunnel", "aggregate"));
    assert_eq!(whys(&explained), [said(10, weak), said(9, narrow)]);
    assert!(
        explained.gates[0].why.contains("`tunnel` says nothing about people"),
        "{:?}",
        explained.gates[0]
    );

    // The hello says of what kind it is, the address who.
    let explained = ask_clues(None, "9.9.9.9:853", L4::Tcp, &["h2", "doq"], None);
    assert_eq!(
        (line(&explained), explained.service.as_ref().unwrap().key.as_str()),
        (Some((8, "address")), "quad9")
    );
    assert_eq!(whys(&explained), [said(11, "`9.9.9.9/32,any/853` says more of the same"), said(9, narrow)]);
    // The hello says something else.
    let print = "t13d1516h2_8daaf6152771_b186095e22b6";
    let explained = ask_clues(None, "9.9.9.9:853", L4::Tcp, &["x-evil", "doq"], Some(print));
    assert_eq!((line(&explained), explained.evidence), (Some((12, "alpn")), "none"));
    let other = "the hello says something else (`x-evil`)";
    let before = "`x-evil` goes before it";
    assert_eq!(whys(&explained), [said(11, before), said(13, before), said(8, other), said(9, other)]);
    assert_eq!(line(&ask_clues(None, "192.0.2.1:1", L4::Tcp, &["h2"], Some(print))), Some((13, "ja4")));
    // A name: an address never counts beside it; what the hello says does, unless the name is listed.
    let explained = ask_clues(Some("a.example"), "9.9.9.9:853", L4::Tcp, &["doq"], None);
    assert_eq!((line(&explained), explained.category), (Some((11, "alpn")), "tunnel"));
    assert_eq!(whys(&explained), [said(8, "the flow has a name"), said(9, "the flow has a name")]);
    let explained = ask_clues(Some("zhipin.com"), "9.9.9.9:853", L4::Tcp, &["doq"], None);
    assert_eq!((line(&explained), explained.category), (Some((14, "suffix")), "recruitment"));
    assert_eq!(whys(&explained)[0], said(11, "the name is listed"));
    // Encrypted DNS by port or protocol, without an entry.
    let explained = ask_clues(None, "192.0.2.1:853", L4::Tcp, &["dot"], None);
    assert_eq!((line(&explained), explained.category), (None, "tunnel"));
    assert_eq!(ask_clues(None, "192.0.2.1:443", L4::Tcp, &["h2"], None).category, "unknown");
}

/// Under a charter every gate is asked, and the lowest decides.
#[test]
fn a_charter_sets_gates_of_its_own() {
    let key = SigningKey::from_pkcs8(&SigningKey::generate().unwrap()).unwrap();
    let other = SigningKey::from_pkcs8(&SigningKey::generate().unwrap()).unwrap();
    let text = crate::charter::SAMPLE.replacen("PUBLIC-KEY", &key.public().to_string(), 1).replacen(
        "PUBLIC-KEY",
        &other.public().to_string(),
        1,
    );
    let sign = |key: &SigningKey| key.sign(Statement::Approve, text.as_bytes());
    let signatures = Signatures::with(Some(&Signatures::with(None, &sign(&key))), &sign(&other));
    let trusted = [key.public(), other.public()];
    let charter = Charter::verify("c", text.as_bytes(), "s", signatures.as_bytes(), &trusted);
    let charter = charter.unwrap_or_else(|faults| panic!("{faults}")).0;
    let sources = [SIGNATURES, SERVICES].map(|text| Source::parse("a", text.as_bytes()).unwrap());
    let table = compile(&sources, &compile::Options::default()).unwrap();
    let table = SignatureTable::from_bytes(&table.bytes).unwrap();
    let (file, rules, moment) = (RuleFile::default(), Rules::default(), Moment::default());
    let ask = |at: &str, group: Option<(&str, u32)>, evidence: Evidence| {
        let group = group.map(|(name, members)| Group { name: name.to_owned(), members });
        let recording = Recording::Under {
            installed: Installed::Charter(&charter),
            at: Some(at.parse().unwrap()),
            group: group.as_ref(),
            without: ObservationLevel::Aggregate,
        };
        let (sources, tiers) = (&sources[..], &[Tier::Strong][..]);
        let basis =
            Basis { sources, tiers, table: &table, file: &file, rules: &rules, moment: &moment, recording };
        let name = read_name("www.zhipin.com").unwrap();
        let explained = explain(&basis, &named(Some(&name), evidence));
        let mut deciding = explained.gates.iter().filter(|gate| gate.decides);
        let stops = deciding.next().unwrap();
        assert!(deciding.next().is_none() && stops.lets == explained.level);
        (explained.level, stops.gate, explained.gates.len())
    };
    let (open, night) = ("2027-03-01T02:00:00Z", "2027-03-01T14:00:00Z");
    assert_eq!(ask(open, Some(("sales", 12)), Evidence::Sni), ("aggregate", "purpose", 10));
    assert_eq!(ask(open, Some(("sales", 9)), Evidence::Sni), ("none", "k", 10));
    assert_eq!(ask(night, Some(("sales", 12)), Evidence::Sni), ("none", "calendar", 10));
    assert_eq!(ask(open, Some(("recruiters", 12)), Evidence::Sni), ("none", "client", 5));
    assert_eq!(ask(open, Some(("kitchen", 12)), Evidence::Sni), ("none", "purpose", 6));
    assert_eq!(ask(open, None, Evidence::Sni), ("none", "client", 5));
    assert_eq!(
        ask(open, Some(("sales", 12)), Evidence::DnsHint),
        ("none", "purpose", 6),
        "nothing is known then"
    );
    assert_eq!(ask("2026-12-01T02:00:00Z", Some(("sales", 12)), Evidence::Sni), ("none", "charter", 4));
}
