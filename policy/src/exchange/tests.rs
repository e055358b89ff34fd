use super::*;
use crate::signature::{Role, Tier};
use crate::source::Source;
use proptest::prelude::*;

fn nothing(_: &str) -> Included {
    Err("there is none".to_owned())
}

fn file(path: &str, text: impl Into<Vec<u8>>) -> File {
    File { path: path.to_owned(), bytes: text.into() }
}

fn read(format: Format, text: &str) -> Imported {
    import(Options::new(format), &[file("list", text)], &mut nothing)
}

fn names(list: &Imported) -> Vec<(&str, Scope)> {
    list.iter().map(|(name, scope, _)| (name, scope)).collect()
}

fn skipped(list: &Imported) -> Vec<(Skip, usize)> {
    list.counts.skipped().collect()
}

use Scope::{Exact, Suffix};

#[test]
fn plain() {
    let list = read(
        Format::Plain,
        "\u{feff}# list\r\nExample.com\r\n\n a.example.org # why\n*.b.example\n.c.example\nexample.com\nhttp://x.example/\n招聘.中国\ncom\n192.0.2.1\n",
    );
    let all = [
        ("example.com", Suffix),
        ("a.example.org", Suffix),
        ("b.example", Suffix),
        ("c.example", Suffix),
        ("xn--otu796d.xn--fiqs8s", Suffix),
    ];
    assert_eq!(names(&list), all);
    assert_eq!(skipped(&list), [(Skip::Url, 1), (Skip::Address, 1), (Skip::TopLevel, 1)]);
    assert_eq!((list.counts.lines, list.counts.repeated, list.counts.refused), (9, 1, 0));
    let exact = Options { scope: Exact, ..Options::new(Format::Plain) };
    let list = import(exact, &[file("l", "a.example\n*.b.example\n")], &mut nothing);
    assert_eq!(names(&list), [("a.example", Exact), ("b.example", Suffix)]);
}

#[test]
fn hosts() {
    let list = read(
        Format::Hosts,
        "127.0.0.1\tlocalhost\n::1 ip6-localhost # x\nfe80::1%lo0 localhost\n0.0.0.0 a.example B.example # two\n0.0.0.0 a.example\n0.0.0.0 0.0.0.0\n",
    );
    assert_eq!(names(&list), [("a.example", Exact), ("b.example", Exact)]);
    assert_eq!(skipped(&list), [(Skip::LocalName, 3), (Skip::Address, 1)]);
    assert_eq!((list.counts.lines, list.counts.repeated), (6, 1));
}

#[test]
fn adblock() {
    let list = read(
        Format::Adblock,
        "[Adblock Plus 2.0]\n! Title: x\n# also a comment\n||a.example^\n||b.example^$important\n||c.example^$all\n|d.example^\n\
         @@||good.example^\n||e.example^$third-party\n||f.example/path\n||g.example\n||*.h.example^\n/banner[0-9]+/\n\
         example.com##.ad\nexample.com#@#.ad\n&ad_box=\n||i.example^|\n",
    );
    let suffixes = ["a.example", "b.example", "c.example"].map(|n| (n, Suffix));
    assert_eq!(names(&list), [&suffixes[..], &[("d.example", Exact), ("i.example", Suffix)]].concat());
    let kinds = [
        (Skip::Regexp, 1),
        (Skip::Exception, 1),
        (Skip::Pattern, 3),
        (Skip::Modifier, 1),
        (Skip::Cosmetic, 2),
        (Skip::Url, 1),
    ];
    assert_eq!(skipped(&list), kinds);
    let shown: Vec<_> = list.faults.as_slice().iter().map(|d| (d.code, d.line)).collect();
    assert_eq!(shown, [8, 9, 10, 11, 13, 14].map(|line| ("skipped", line)), "the first of each kind");
}

#[test]
fn dnsmasq() {
    let list = read(
        Format::Dnsmasq,
        "# c\nserver=/a.example/114.114.114.114\naddress=/b.example/c.example/0.0.0.0\nlocal=/D.example/ # why\nserver=/.e.example/#\n\
         address=/#/192.0.2.1\nserver=8.8.8.8\ndomain-needed\ncache-size=1000\nserver=/*.f.example/\nlocal=//\n",
    );
    assert_eq!(
        names(&list),
        ["a.example", "b.example", "c.example", "d.example", "e.example"].map(|n| (n, Suffix))
    );
    let kinds = [(Skip::Pattern, 1), (Skip::LocalName, 1), (Skip::Directive, 3), (Skip::TopLevel, 1)];
    assert_eq!(skipped(&list), kinds);
}

#[test]
fn ut1() {
    let files = [
        file("jobsearch/domains", "a.example\n192.0.2.1\nb.example\n"),
        file("jobsearch/urls", "c.example/jobs\nd.example/career\n"),
        file("jobsearch/expressions", "(^|[-.])job\n"),
        file("jobsearch/very_restrictive_urls", "e.example/\n"),
    ];
    let list = import(Options::new(Format::Ut1), &files, &mut nothing);
    assert_eq!(names(&list), [("a.example", Suffix), ("b.example", Suffix)]);
    assert_eq!(skipped(&list), [(Skip::Regexp, 1), (Skip::Url, 3), (Skip::Address, 1)]);
    assert_eq!(ut1_category("jobsearch"), Some(Category::Recruitment));
    assert_eq!(ut1_category("cooking"), None);
}

#[test]
fn v2fly() {
    let mut other = |name: &str| match name {
        "other" => {
            Ok(file("data/other", "x.example @cn\nfull:y.example @ads @cn\nz.example\ninclude:deep @cn\n"))
        }
        "deep" => Ok(file("data/deep", "deep.example @cn\nno.example\ninclude:other\n")),
        _ => Err("no such file".to_owned()),
    };
    let text = "# list\na.example\ndomain:b.example @cn # c\nfull:www.c.example @!cn @ads\nkeyword:job\nregexp:^job[0-9]$\ninclude:other @cn @-ads\nd.example &else\n";
    let list = import(Options::new(Format::V2fly), &[file("data/list", text)], &mut other);
    let all: Vec<_> = list.iter().collect();
    let expected = [
        ("a.example", Suffix, ""),
        ("b.example", Suffix, "@cn"),
        ("www.c.example", Exact, "@!cn @ads"),
        ("x.example", Suffix, "@cn"),
        ("deep.example", Suffix, "@cn"),
        ("d.example", Suffix, ""),
    ];
    assert_eq!(all, expected);
    assert_eq!(skipped(&list), [(Skip::Keyword, 1), (Skip::Regexp, 1), (Skip::OtherList, 1)]);
    let fault = list.faults.as_slice().iter().find(|d| d.code == "include-loop").unwrap();
    assert_eq!((fault.path.as_str(), fault.line, fault.column), ("data/deep", 3, 9));
}

#[test]
fn includes_are_bounded() {
    let mut asked = 0;
    let mut twice = |name: &str| {
        asked += 1;
        Ok(file(name, format!("include:a{asked}\ninclude:b{asked}\n")))
    };
    let list = import(Options::new(Format::V2fly), &[file("l", "include:x\n")], &mut twice);
    assert!(asked <= MAX_INCLUDES, "{asked}");
    assert!(list.faults.as_slice().iter().any(|d| d.code == "too-many-includes"));
}

/// Every broken line is named with its place, and the lines around it are read all the same.
#[test]
fn faults_have_their_place() {
    use Format::*;
    let long = "x".repeat(MAX_LINE + 1);
    let cases: Vec<(Format, String, u32, &str)> = vec![
        (Plain, "a b".into(), 1, "bad-name"),
        (Plain, "a..b".into(), 1, "bad-name"),
        (Plain, "  a_$.b".into(), 3, "bad-name"),
        (Plain, format!("{}.com", "a".repeat(64)), 1, "bad-name"),
        (Plain, format!("{}com", "a.".repeat(130)), 1, "bad-name"),
        (Plain, "||a.example^".into(), 1, "bad-name"),
        (Plain, "\u{202e}a.example".into(), 1, "bad-name"),
        (Plain, "xn--\u{e9}.example".into(), 1, "bad-name"),
        (Plain, long.clone(), 1, "too-long"),
        (Hosts, "a.example".into(), 1, "no-address"),
        (Hosts, "300.0.0.1 a.example".into(), 1, "no-address"),
        (Hosts, "0.0.0.0".into(), 1, "no-name"),
        (Hosts, "0.0.0.0 a.example b..example".into(), 19, "bad-name"),
        (Adblock, "||a b.example^".into(), 3, "bad-name"),
        (Adblock, "||^".into(), 3, "bad-name"),
        (Adblock, format!("||{long}^"), 1, "too-long"),
        (Dnsmasq, "address=/a.example".into(), 9, "no-slash"),
        (Dnsmasq, "||a.example^".into(), 1, "no-option"),
        (Dnsmasq, "server=/a.example/b c/".into(), 19, "bad-name"),
        (V2fly, "domian:a.example".into(), 1, "unknown-kind"),
        (V2fly, "domain:a..b".into(), 8, "bad-name"),
        (V2fly, "full:".into(), 6, "bad-name"),
        (V2fly, "a.example cn".into(), 11, "bad-attribute"),
        (V2fly, "a.example @".into(), 11, "bad-attribute"),
        (V2fly, "include:../etc/passwd".into(), 9, "bad-include"),
        (V2fly, "include:".into(), 9, "bad-include"),
        (V2fly, "include:missing".into(), 9, "no-include"),
        (V2fly, "include:list".into(), 9, "include-loop"),
        (Ut1, "a b".into(), 1, "bad-name"),
    ];
    let good = |format| match format {
        Plain | Ut1 => "good.example",
        Hosts => "0.0.0.0 good.example",
        Adblock => "||good.example^",
        Dnsmasq => "local=/good.example/",
        V2fly => "full:good.example",
    };
    for (format, line, column, code) in cases {
        let list = read(format, &format!("{}\n{line}\nother.{}\n", good(format), good(format)));
        let fault = list.faults.as_slice().iter().find(|d| d.code != "skipped").expect(&line);
        let shown: String = line.chars().take(60).collect();
        assert_eq!((fault.line, fault.column, fault.code), (2, column, code), "{format} {shown}\n{fault}");
        assert!(names(&list).iter().any(|n| n.0 == "good.example"), "{shown}");
    }
}

#[test]
fn bytes_that_are_no_text_spoil_their_line_only() {
    let list = import(
        Options::new(Format::Plain),
        &[file("l", b"a.example\nb\xe9.example\nc.example\n".to_vec())],
        &mut nothing,
    );
    assert_eq!(names(&list), [("a.example", Suffix), ("c.example", Suffix)]);
    let fault = &list.faults.as_slice()[0];
    assert_eq!((fault.line, fault.column, fault.code), (2, 2, "not-utf8"));
    assert_eq!(list.counts.refused, 1);
}

#[test]
fn what_a_format_cannot_say_is_narrowed_or_left_out_never_widened() {
    let all = [("a.example", Suffix, ""), ("b.example", Exact, "@cn told twice"), ("b.example", Suffix, "")];
    let write = |format| {
        let mut out = String::new();
        let counts = export(format, all, &mut out);
        (out, counts.written, counts.narrowed, counts.left_out)
    };
    assert_eq!(write(Format::Plain), ("a.example\nb.example\n".to_owned(), 2, 0, 1));
    assert_eq!(write(Format::Ut1), write(Format::Plain));
    assert_eq!(write(Format::Hosts), ("0.0.0.0 a.example\n0.0.0.0 b.example\n".to_owned(), 2, 1, 0));
    assert_eq!(write(Format::Dnsmasq), ("local=/a.example/\nlocal=/b.example/\n".to_owned(), 2, 0, 1));
    assert_eq!(write(Format::Adblock), ("||a.example^\n|b.example^\n||b.example^\n".to_owned(), 3, 0, 0));
    assert_eq!(
        write(Format::V2fly),
        ("domain:a.example\nfull:b.example @cn\ndomain:b.example\n".to_owned(), 3, 0, 0)
    );
}

fn meta() -> Meta {
    Meta {
        service: "list".to_owned(),
        category: Category::Games,
        role: Role::Site,
        tier: Tier::Strong,
        source: "example/list".to_owned(),
        licence: "MIT".to_owned(),
        added: jiff::civil::Date::constant(2026, 11, 21),
        expires: None,
        note: "subscribed".to_owned(),
    }
}

#[test]
fn a_list_becomes_a_source_that_declares_its_service() {
    let list = read(Format::V2fly, "a.example @cn\nfull:b.example\n");
    let service = Service {
        key: "list".to_owned(),
        category: Category::Games,
        title: "A list".to_owned(),
        region: "world".to_owned(),
    };
    let source = Source::parse("x", list.to_source(&meta(), Some(&service)).as_bytes()).unwrap();
    assert_eq!(source.services(), [service]);
    let entries: Vec<_> = source.entries().iter().map(|e| (source.name(e), e.scope)).collect();
    assert_eq!(entries, names(&list));
    assert_eq!(source.metas()[0].note, "subscribed @cn");
    assert_eq!(source.metas()[1].note, "subscribed");
    let compiled = crate::compile::compile(&[source], &crate::compile::Options::default()).unwrap();
    assert_eq!((compiled.report.listed, compiled.warnings.count()), (2, 0));
}

/// Names as lists have them: ASCII hosts with two to four labels, each once.
fn listed() -> impl Strategy<Value = Vec<(String, Scope, String)>> {
    let name = "[a-z0-9]([a-z0-9_-]{0,12}[a-z0-9])?(\\.[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?){0,2}\\.[a-z]{2,6}";
    let attribute = prop_oneof![Just(String::new()), Just("@cn".to_owned()), Just("@!cn @ads".to_owned())];
    proptest::collection::btree_map((name, any::<bool>()), attribute, 0..40).prop_map(|all| {
        all.into_iter()
            .map(|((name, exact), note)| (name, if exact { Exact } else { Suffix }, note))
            .collect()
    })
}

proptest! {
    /// Export and import give back what the format can say.
    #[test]
    fn every_format_round_trips(all in listed()) {
        for format in Format::ALL {
            let can_say: Vec<(&str, Scope, &str)> = all
                .iter()
                .filter(|(_, scope, _)| match format {
                    Format::Plain | Format::Ut1 | Format::Dnsmasq => *scope == Suffix,
                    Format::Hosts => *scope == Exact,
                    Format::Adblock | Format::V2fly => true,
                })
                .map(|(name, scope, note)| (name.as_str(), *scope, if *format == Format::V2fly { note } else { "" }))
                .collect();
            let mut text = String::new();
            let counts = export(*format, can_say.iter().copied(), &mut text);
            prop_assert_eq!(counts, Exported { written: can_say.len(), ..Exported::default() });
            let list = read(*format, &text);
            prop_assert!(list.faults.is_empty(), "{}", list.faults);
            prop_assert_eq!(list.iter().collect::<Vec<_>>(), can_say);
        }
    }

    #[test]
    fn hostile_lists_are_read_as_far_as_they_go(
        bytes in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..400),
            "[a-z.|^@$/=:# *\\n\u{e9}\u{667a}!&-]{0,400}".prop_map(String::into_bytes),
        ],
    ) {
        for format in Format::ALL {
            let list = import(Options::new(*format), &[file("domains", bytes.clone())], &mut nothing);
            prop_assert!(list.counts.refused <= list.faults.count());
            let source = Source::parse("x", list.to_source(&meta(), None).as_bytes());
            prop_assert!(source.is_ok(), "{}", source.unwrap_err());
        }
    }
}
