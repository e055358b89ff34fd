use super::*;
use crate::exchange::{self, File, Format, Options};
use std::sync::OnceLock;

fn list(names: impl IntoIterator<Item = impl AsRef<str>>) -> List {
    let text: String = names.into_iter().map(|n| format!("{}\n", n.as_ref())).collect();
    let file = File { path: "list".to_owned(), bytes: text.into_bytes() };
    List::of(&exchange::import(Options::new(Format::Plain), &[file], &mut |_| Err(String::new())))
}

fn table() -> &'static SignatureTable {
    static TABLE: OnceLock<SignatureTable> = OnceLock::new();
    TABLE.get_or_init(|| builtin::table().unwrap())
}

fn known() -> &'static Known {
    static KNOWN: OnceLock<Known> = OnceLock::new();
    KNOWN.get_or_init(|| Known::builtin().unwrap())
}

fn against<'a>(category: Category, accepted: Option<&'a List>) -> Against<'a> {
    Against { category, accepted, trust_first: false, table: table(), others: &[], known: known() }
}

fn held(category: Category, accepted: &List, new: &List) -> Vec<Held> {
    examine(new, &against(category, Some(accepted))).held
}

fn numbered(range: std::ops::Range<usize>) -> Vec<String> {
    // Digits as letters, so that the shape is that of a word.
    let word = |n: usize| n.to_string().bytes().map(|b| char::from(b - b'0' + b'a')).collect::<String>();
    range.map(|n| format!("site{}.example", word(n))).collect()
}

/// A copy, with made-up names, of what happened to a public list of job sites: 428 entries became 60 740 overnight, by
/// names from a phishing list of which most begin with the letters up to `h`.
#[test]
fn the_list_that_became_another_one_is_held() {
    let jobs: Vec<String> = numbered(0..428).iter().map(|n| format!("jobs-{n}")).collect();
    let brands = ["royalpost", "comcost-mail", "dhl0", "bank-login", "chose", "amazom"];
    let hosts = ["weeblysite.com", "webflow.io", "shop", "top", "pages.dev"];
    let word = numbered(0..60_312);
    let phish = word.iter().enumerate().map(|(i, word)| {
        let (brand, host) = (brands[i % brands.len()], hosts[i % hosts.len()]);
        let word = word.trim_end_matches(".example");
        format!("{}{brand}-{word}.{host}", char::from(b'a' + (i % 8) as u8))
    });
    let after = list(jobs.iter().cloned().chain(phish));
    let before = list(&jobs);
    assert_eq!((before.len(), after.len()), (428, 60_740));
    let seen = examine(&after, &against(Category::Recruitment, Some(&before)));
    assert!(seen.held.contains(&Held::Grew { before: 428, added: 60_312 }), "{:?}", seen.held);
    assert_eq!((seen.added.count, seen.removed.count), (60_312, 0));
    assert!(seen.added.sample.len() <= SAMPLE && seen.added.sample.len() > SAMPLE / 2);
    // The day after, with the list unchanged, it is held all the same: nobody has accepted it.
    assert_eq!(examine(&after, &against(Category::Recruitment, Some(&before))), seen);
}

#[test]
fn the_first_version_is_held_unless_said_otherwise() {
    let new = list(numbered(0..10));
    assert_eq!(examine(&new, &against(Category::Games, None)).held, [Held::First]);
    let trusting = Against { trust_first: true, ..against(Category::Games, None) };
    assert_eq!(examine(&new, &trusting).held, []);
    let bad = list(numbered(0..10).iter().map(String::as_str).chain(["pages.dev"]));
    assert_eq!(examine(&bad, &trusting).held.len(), 1, "trusted, not blindly");
}

#[test]
fn growing_and_shrinking_at_their_limits() {
    // A tenth, where that is less than 500.
    let before = list(numbered(0..1000));
    assert_eq!(held(Category::Games, &before, &list(numbered(0..1100))), []);
    let grew = Held::Grew { before: 1000, added: 101 };
    assert_eq!(held(Category::Games, &before, &list(numbered(0..1101))), [grew]);
    assert_eq!(held(Category::Games, &before, &list(numbered(100..1000))), []);
    let shrank = Held::Shrank { before: 1000, removed: 101 };
    assert_eq!(held(Category::Games, &before, &list(numbered(101..1000))), [shrank]);
    // 500, where a tenth would be more.
    let before = list(numbered(0..20_000));
    assert_eq!(held(Category::Games, &before, &list(numbered(0..20_500))), []);
    let grew = Held::Grew { before: 20_000, added: 501 };
    assert_eq!(held(Category::Games, &before, &list(numbered(0..20_501))), [grew]);
    assert_eq!(held(Category::Games, &before, &list(numbered(500..20_000))), []);
    assert_eq!(held(Category::Games, &before, &list(numbered(501..20_000))).len(), 1);
    // Exchanged for others, with the size it had.
    let both = held(Category::Games, &before, &list(numbered(501..20_501)));
    assert!(matches!(both[..], [Held::Grew { .. }, Held::Shrank { .. }]), "{both:?}");
    // Emptied.
    assert_eq!(held(Category::Games, &list(["a.example"]), &list([""])).len(), 1);
}

#[test]
fn public_suffixes() {
    let before = list(numbered(0..1000));
    for name in ["co.uk", "pages.dev", "github.io", "com.cn"] {
        let new = list(numbered(0..1000).iter().map(String::as_str).chain([name]));
        let all = held(Category::Games, &before, &new);
        assert!(all.contains(&Held::PublicSuffix { name: name.to_owned(), count: 1 }), "{name}: {all:?}");
        assert_eq!(held(Category::Games, &new, &new), [], "accepted once");
    }
    let new = list(numbered(0..1000).iter().map(String::as_str).chain(["a.pages.dev", "example.co.uk"]));
    assert_eq!(held(Category::Games, &before, &new), []);
}

#[test]
fn sites_that_are_for_something_else() {
    let before = list(numbered(0..1000));
    let with = |name: &str| list(numbered(0..1000).iter().map(String::as_str).chain([name]));
    for (category, name) in [
        (Category::Recruitment, "google.com"),
        (Category::Recruitment, "linkedin.com"),
        (Category::Phishing, "www.zhipin.com"),
        (Category::Phishing, "qq.com"),
        (Category::Malware, "liepin.com"),
        // Nothing is listed at this name, but it covers `health.jd.com` and others.
        (Category::Games, "weixin.qq.com"),
    ] {
        let table = table().lookup(&Name::from_wire(name.as_bytes()).unwrap());
        let all = held(category, &before, &with(name));
        // The name below a listed one is not a site of its own; the overlap counts it.
        let listed_below = table.is_some_and(|m| usize::from(m.matched) < name.len());
        let found = all.iter().any(|h| matches!(h, Held::TopSite { count: 1, .. }));
        assert!(found || listed_below, "{name}: {all:?}");
    }
    assert_eq!(held(Category::Recruitment, &before, &with("zhipin.com")), [], "of this very category");
    assert_eq!(held(Category::Recruitment, &with("google.com"), &with("google.com")), []);
}

#[test]
fn overlap_with_another_category_at_its_limit() {
    let games: Vec<String> = builtin::sources()
        .unwrap()
        .iter()
        .flat_map(|s| {
            s.entries()
                .iter()
                .filter(|e| s.metas()[e.meta as usize].category == Category::Games)
                .map(|e| format!("deep.below.{}", s.name(e)))
                .collect::<Vec<_>>()
        })
        .take(21)
        .collect();
    let before = list(numbered(0..1000));
    let with = |n: usize| list(numbered(0..1000 - n).into_iter().chain(games[..n].iter().cloned()));
    assert_eq!(held(Category::Recruitment, &before, &with(20)), []);
    let overlap = Held::Overlap { category: "games", count: 21, of: 1000 };
    assert_eq!(held(Category::Recruitment, &before, &with(21)), [overlap]);
    assert_eq!(held(Category::Games, &before, &with(21)), []);
    assert_eq!(held(Category::Recruitment, &with(21), &with(21)), [], "accepted once");
    assert_eq!(held(Category::Recruitment, &with(21), &with(20)), []);
    // Another list in use.
    let other = list(numbered(979..2000));
    let others = [(Category::Phishing, &other)];
    let against = Against { others: &others, ..against(Category::Games, Some(&before)) };
    let grown = |n| examine(&list(numbered(0..1000).into_iter().chain([n])), &against).held;
    assert_eq!(grown("x.example".to_owned()), [], "it was so when it was accepted");
    assert!(matches!(grown("sitebaaa.example".to_owned())[..], [Held::Overlap { category: "phishing", .. }]));
}

#[test]
fn odd_names_at_their_limit() {
    let odd: Vec<String> = numbered(0..51).iter().map(|n| format!("a-b-c-d-{n}")).collect();
    let before = list(numbered(0..1000));
    let with = |n: usize| list(numbered(0..1000 - n).into_iter().chain(odd[..n].iter().cloned()));
    assert_eq!(held(Category::Games, &before, &with(50)), []);
    assert_eq!(held(Category::Games, &before, &with(51)), [Held::OddNames { count: 51, of: 1000 }]);
    assert_eq!(held(Category::Phishing, &before, &with(51)), []);
    assert_eq!(held(Category::Games, &with(51), &with(51)), []);
    for name in ["zhipin.com", "xn--fiqs8s-abc-def-ghi-123456.cn", "r3.o.lencr.org", "12306.cn", "51job.com"]
    {
        assert!(!is_odd(name), "{name}");
    }
    for name in ["comcast-mail-102440.weeblysite.com", "a.b.c.d.e.f.example", "a-b-c-d-e.example"] {
        assert!(is_odd(name), "{name}");
    }
}

#[test]
fn broken_lines_at_their_limit() {
    let before = List { lines: 1000, ..list(numbered(0..1000)) };
    let with = |refused| List { lines: 2000, refused, ..before.clone() };
    assert_eq!(held(Category::Games, &before, &with(2)), []);
    assert_eq!(held(Category::Games, &before, &with(3)), [Held::BrokenLines { refused: 3, lines: 2000 }]);
    assert_eq!(held(Category::Games, &with(3), &with(3)), []);
}

/// Our own names are of no odd shape, and none is a public suffix.
#[test]
fn own_signatures_would_pass() {
    let (mut all, mut odd) = (0, 0);
    for source in builtin::sources().unwrap() {
        for entry in source.entries() {
            let name = source.name(entry);
            all += 1;
            odd += usize::from(is_odd(name));
        }
    }
    assert!(odd * 50 < all, "{odd} of {all}");
}

#[test]
fn lists_are_kept_as_text() {
    let all = list(["b.example", "a.example", "b.example"]);
    assert_eq!(all.text(), "a.example\tsuffix\nb.example\tsuffix\n");
    assert_eq!(List::from_text(all.text().to_owned(), all.lines, all.refused), Some(all.clone()));
    assert_eq!(all.digest(), list(["a.example", "b.example"]).digest(), "order does not count");
    assert_ne!(all.digest(), list(["a.example"]).digest());
    for bad in [
        "a.example",
        "a.example\tsuffix",
        "B.example\tsuffix\n",
        "a.example\tall\n",
        "b.x\texact\na.x\texact\n",
    ] {
        assert_eq!(List::from_text(bad.to_owned(), 0, 0), None, "{bad}");
    }
    assert_eq!(List::from_text(String::new(), 0, 0), Some(List::default()));
}
