//! Files that are wrong in every way that a list of damages makes: each is refused with its place, and what was in
//! force stays.

use super::*;
use crate::config::Config;
use std::path::{Path, PathBuf};

const RULES: &str = "version = 1
groups = [\"sales\"]
calendars = [\"lunch\"]

[[rule]]
name = \"no-video\"
match = { category = [\"video\", \"short_video\"], group = [\"sales\"] }
action = \"block\"
state = \"enforce\"
owner = \"net\"
purpose = \"bandwidth\"
expires = 2099-06-30
note = \"as agreed\"

[[rule]]
name = \"no-games\"
match = { service = [\"steam\"], calendar = [\"lunch\"] }
action = \"limit\"
rate = \"2 Mbit/s\"
state = \"shadow\"
owner = \"net\"
purpose = \"conduct\"
";

const SERVICES: &str = "service\tcategory\ttitle\tregion\nboss\trecruitment\tBOSS\tCN\nsteam\tgames\tSteam\tworld\nbank\tprotected_bank\tBank\tDE\n";

const HEADER: &str = "name\tscope\tservice\tcategory\trole\ttier\tsource\tlicence\tadded\texpires\tnote";

/// Signatures, a line each; no two share what stands behind the name.
const SIGNATURES: [&str; 5] = [
    "zhipin.com\tsuffix\tboss\trecruitment\tsite\tstrong\tme\tMIT\t2026-01-01\t2099-01-01\tone",
    "file.zhipin.com\texact\tboss\trecruitment\tupload\tstrong\tme\tMIT\t2026-01-02\t2099-01-02\ttwo",
    "steampowered.com\tsuffix\tsteam\tgames\tsite\tstrong\tme\tMIT\t2026-01-03\t2099-01-03\tthree",
    "steamcontent.com\tsuffix\tsteam\tgames\tapi\tstrong\tme\tMIT\t2026-01-04\t2099-01-04\tfour",
    "bank.example\tsuffix\tbank\tprotected_bank\tsite\tstrong\tme\tMIT\t2026-01-05\t2099-01-05\tfive",
];

/// A damaged file, and the line of the damage.
struct Damaged {
    what: String,
    bytes: Vec<u8>,
    line: usize,
}

/// Every kind of damage on every line that says something.
fn damaged_rules() -> Vec<Damaged> {
    let lines: Vec<&str> = RULES.lines().collect();
    let mut out = Vec::new();
    for (i, line) in lines.iter().enumerate().filter(|(_, line)| line.contains(" = ")) {
        let (key, value) = line.split_once(" = ").unwrap();
        let other_type = if value.starts_with('1') { "\"one\"" } else { "17" };
        let damages: [(&str, Vec<u8>); 9] = [
            ("misspelt key", format!("x{line}").into()),
            ("no value", format!("{key} =").into()),
            ("no equals sign", format!("{key} {value}").into()),
            ("twice", format!("{line}\n{line}").into()),
            ("another type", format!("{key} = {other_type}").into()),
            ("a control character", format!("{key} = \u{1}{value}").into()),
            ("the last character is missing", line[..line.len() - 1].into()),
            ("bytes that are no text", [line.as_bytes(), b" # \xff\xfe"].concat()),
            ("a stray line", format!("{line}\nthis is no rule").into()),
        ];
        for (what, bytes) in damages {
            let before = lines[..i].join("\n");
            let after = lines[i + 1..].join("\n");
            let newline = if i > 0 { "\n" } else { "" };
            let bytes =
                [before.as_bytes(), newline.as_bytes(), &bytes, b"\n", after.as_bytes(), b"\n"].concat();
            out.push(Damaged { what: format!("{what}: {line}"), bytes, line: i + 1 });
        }
    }
    let by_hand: [(&str, &[u8], usize); 9] = [
        ("empty", b"", 1),
        ("another version", b"version = 9\n", 1),
        ("zeros", &[0; 64], 1),
        ("brackets", &[b'['; 20_000], 1),
        ("nested lists", &[b"version = 1\ngroups = ", [b'['; 20_000].as_slice()].concat(), 2),
        ("a table in place of rules", b"version = 1\n[rule]\nname = \"a\"\n", 2),
        ("two names", b"version = 1\nrules = []\n", 2),
        ("a signature source", HEADER.as_bytes(), 1),
        ("a compiled table", b"GGTABLE1\x00\x10\x00\x00", 1),
    ];
    out.extend(by_hand.map(|(what, bytes, line)| Damaged {
        what: what.to_owned(),
        bytes: bytes.to_vec(),
        line,
    }));
    out
}

fn damaged_signatures() -> Vec<Damaged> {
    // Column, and what is put there.
    let long = "x".repeat(600);
    let damages: [(usize, &str); 22] = [
        (0, "not a host"),
        (0, "*.example.com"),
        (0, "https://example.com/"),
        (0, "Example.com"),
        (0, "bücher.example"),
        (0, "192.0.2.1"),
        (0, ""),
        (0, "com"),
        (1, "sufix"),
        (1, ""),
        (2, "Bad Key"),
        (2, "nobody"),
        (3, "recruitmnt"),
        (3, "news"),
        (4, "sit"),
        (5, "storng"),
        (6, ""),
        (6, " me"),
        (8, "2026-13-01"),
        (9, "soon"),
        (10, &long),
        (10, "a\tb"),
    ];
    let mut out = Vec::new();
    for (i, line) in SIGNATURES.iter().enumerate() {
        for (column, with) in damages {
            // `com` is no suffix and a fine exact name.
            if with == "com" && line.contains("exact") {
                continue;
            }
            let mut fields: Vec<&str> = line.split('\t').collect();
            fields[column] = with;
            let damaged = fields.join("\t");
            let mut lines = SIGNATURES.map(str::to_owned);
            lines[i] = damaged.clone();
            let text = format!("{HEADER}\n{}\n", lines.join("\n"));
            out.push(Damaged { what: damaged, bytes: text.into(), line: i + 2 });
        }
    }
    out.push(Damaged { what: "a header that is none".into(), bytes: b"name\tscope\n".to_vec(), line: 1 });
    out.push(Damaged { what: "rules".into(), bytes: RULES.into(), line: 1 });
    out.push(Damaged {
        what: "no text".into(),
        bytes: format!("{HEADER}\n").into_bytes().into_iter().chain([0xff]).collect(),
        line: 2,
    });
    out
}

/// A slow path on files of a folder.
struct Bench {
    slow_path: SlowPath,
    rules: PathBuf,
    signatures: PathBuf,
    _dir: tempfile::TempDir,
    _guard: std::os::fd::OwnedFd,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let sources = dir.path().join("signatures");
        std::fs::create_dir(&sources).unwrap();
        std::fs::write(sources.join("services.tsv"), SERVICES).unwrap();
        let (rules, signatures) = (dir.path().join("rules.toml"), sources.join("own.tsv"));
        let config = "[signatures]\npath = 'signatures'\nstate = 'lists'\n[rules]\npath = 'rules.toml'\n[audit]\ndir = 'audit'\n[store]\ndir = 'store'\n";
        std::fs::write(dir.path().join("glassgate.toml"), config).unwrap();
        let config = Config::load(&dir.path().join("glassgate.toml")).unwrap_or_else(|e| panic!("{e}"));
        let (guard, theirs) = Channel::pair().unwrap();
        let slow_path = SlowPath::new(Beginning {
            machine: crate::control::machine::ThisMachine::shared(),
            config,
            last: None,
            lcores: Vec::new(),
            guard,
            publish: watch::channel(Arc::default()).0,
            boot: BootId::parse("0123456789abcdef0123456789abcdef").unwrap(),
            radius: None,
            inband: None,
            push: None,
            past: crate::control::past::Past::none(),
            alerts: Arc::new(Targets::open(&Default::default()).unwrap()),
            confinement: String::new(),
            fingerprint: String::new(),
            page_trouble: None,
        });
        let bench = Self { slow_path, rules, signatures, _dir: dir, _guard: theirs };
        bench.mend();
        bench
    }

    fn mend(&self) {
        std::fs::write(&self.rules, RULES).unwrap();
        std::fs::write(&self.signatures, format!("{HEADER}\n{}\n", SIGNATURES.join("\n"))).unwrap();
    }

    /// What decides now.
    fn in_force(&self) -> (Vec<u8>, Arc<glassgate_policy::rules::Rules>, u64) {
        let compiled = &self.slow_path.in_force.as_ref().unwrap().compiled;
        (
            compiled.table.hash().to_vec(),
            compiled.rules.clone(),
            self.slow_path.handed_out.as_ref().unwrap().epoch,
        )
    }
}

/// File and line of the first fault, as it is shown.
fn place(shown: &str) -> Option<(String, usize)> {
    let place = shown.lines().find_map(|line| line.trim_start().strip_prefix("--> "))?;
    let mut parts = place.rsplitn(3, ':');
    let (_column, line, file) = (parts.next()?, parts.next()?, parts.next()?);
    Some((Path::new(file).file_name()?.to_str()?.to_owned(), line.parse().ok()?))
}

#[test]
fn two_hundred_damaged_files_are_refused_with_their_place_and_change_nothing() {
    let mut bench = Bench::new();
    bench.slow_path.load().unwrap_or_else(|e| panic!("{e}"));
    let before = bench.in_force();
    let (rules, signatures) = (damaged_rules(), damaged_signatures());
    let count = rules.len() + signatures.len();
    for (damaged, path) in rules
        .iter()
        .map(|d| (d, bench.rules.clone()))
        .chain(signatures.iter().map(|d| (d, bench.signatures.clone())))
    {
        std::fs::write(&path, &damaged.bytes).unwrap();
        let Err(shown) = bench.slow_path.load() else { panic!("taken: {}", damaged.what) };
        let (file, line) = place(&shown).unwrap_or_else(|| panic!("no place: {}\n{shown}", damaged.what));
        assert_eq!(
            Some(file.as_str()),
            path.file_name().and_then(|n| n.to_str()),
            "{}\n{shown}",
            damaged.what
        );
        assert!(
            line.abs_diff(damaged.line) <= 1,
            "{}: said line {line}, is {}\n{shown}",
            damaged.what,
            damaged.line
        );
        assert!(bench.in_force() == before && bench.slow_path.rejected.is_some(), "{}", damaged.what);
        bench.mend();
    }
    assert!(count >= 200, "{count}");
    println!("{count} damaged files");
    bench.slow_path.load().unwrap_or_else(|e| panic!("{e}"));
    assert!(bench.slow_path.rejected.is_none());
    assert_eq!(bench.in_force().2, before.2 + 1, "what is good again is handed out");
}

/// A list that is held, looked at, and taken: not the one that is no longer there, not without a record, and once.
#[test]
fn a_list_is_taken_by_whoever_has_seen_it_and_is_on_record_before() {
    let mut bench = Bench::new();
    let folder = bench.rules.parent().unwrap().to_owned();
    let subscription = "[signatures]\npath = 'signatures'\nstate = 'lists'\n[rules]\npath = 'rules.toml'\n[audit]\ndir = 'audit'\n\
        [store]\ndir = 'store'\n[[subscription]]\nname = 'jobs'\npath = 'jobs.txt'\nformat = 'plain'\ncategory = 'recruitment'\nlicence = 'MIT'\n";
    std::fs::write(folder.join("glassgate.toml"), subscription).unwrap();
    let write = |names: std::ops::Range<usize>| {
        let text: String = names.map(|n| format!("s{n}.example\n")).collect();
        std::fs::write(folder.join("jobs.txt"), text).unwrap();
    };
    write(0..400);
    bench.slow_path.begun.config = Config::load(&folder.join("glassgate.toml")).unwrap();
    bench.slow_path.load().unwrap();
    let list = |bench: &Bench| bench.slow_path.in_force.as_ref().unwrap().compiled.feeds[0].clone();
    let shown = list(&bench);
    assert_eq!((shown.state.as_str(), shown.names, shown.added_sample.is_empty()), ("held", 0, false));
    let asked = |digest: &str| AcceptList {
        list: "jobs".to_owned(),
        digest: digest.to_owned(),
        account: Some(("li.wei".to_owned(), crate::access::Role::Engineer)),
        side: glassgate_policy::access::CameFrom::Management,
        uid: None,
    };
    let records = || -> Vec<String> {
        let reader = glassgate_audit::reader::Reader::open(&folder.join("audit")).unwrap();
        let lines = reader.entries(0).map(|entry| String::from_utf8(entry.unwrap().1).unwrap());
        lines.filter(|line| line.contains("list_accepted")).collect()
    };
    // What was shown is no longer what is there.
    write(0..401);
    assert!(bench.slow_path.accept_list(&asked(&shown.digest)).unwrap_err().contains("not the one"));
    assert!(bench.slow_path.accept_list(&asked("")).is_err() && records().is_empty());
    bench.slow_path.load().unwrap();
    let shown = list(&bench);
    bench.slow_path.accept_list(&asked(&shown.digest)).unwrap();
    let taken = list(&bench);
    assert_eq!((taken.state.as_str(), taken.names, taken.by.as_str()), ("good", 401, "person"));
    let record: serde_json::Value = serde_json::from_str(&records()[0]).unwrap();
    assert_eq!(
        (&record["list"], &record["account"], &record["side"]),
        (&"jobs".into(), &"li.wei".into(), &"management".into())
    );
    assert_eq!((&record["sha256"], &record["names"]), (&shown.digest.as_str().into(), &401.into()));
    assert!(bench.slow_path.accept_list(&asked(&shown.digest)).unwrap().contains("already"));
    assert_eq!(records().len(), 1);
    // Nothing is taken that can't be put on record.
    write(0..9000);
    bench.slow_path.load().unwrap();
    let shown = list(&bench);
    assert_eq!((shown.state.as_str(), shown.added), ("held", 8599));
    assert!(bench.slow_path.log.close());
    let why = bench.slow_path.accept_list(&asked(&shown.digest)).unwrap_err();
    assert!(why.contains("the audit log does not take"), "{why}");
    bench.slow_path.load().unwrap();
    assert_eq!(list(&bench).names, 401);
}
