//! Made-up names with the shape of real lists: most are a label under a top-level domain, some stand deeper; labels have
//! 3 to 20 letters, some digits and hyphens; a twelfth is listed as an exact name. The same in every run.

use glassgate_policy::Name;
use std::collections::HashSet;
use std::fmt::Write as _;

/// A listed name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Entry {
    pub(crate) name: String,
    /// The name alone, without what is below.
    pub(crate) is_exact: bool,
}

/// Xorshift64*.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (((self.next() >> 32) * n as u64) >> 32) as usize
    }
}

/// Endings with their weights out of a hundred, after public lists of domains.
const ENDINGS: [(&str, usize); 20] = [
    ("com", 47),
    ("cn", 14),
    ("net", 7),
    ("org", 5),
    ("com.cn", 5),
    ("de", 3),
    ("ru", 2),
    ("co.uk", 2),
    ("top", 2),
    ("info", 2),
    ("xyz", 2),
    ("io", 1),
    ("fr", 1),
    ("nl", 1),
    ("com.br", 1),
    ("jp", 1),
    ("co.jp", 1),
    ("it", 1),
    ("eu", 1),
    ("shop", 1),
];
const SYLLABLES: [&str; 40] = [
    "an", "bao", "be", "chi", "da", "de", "el", "en", "er", "fa", "go", "hao", "he", "in", "ji", "jin", "ka",
    "la", "le", "li", "lo", "ma", "me", "mo", "ne", "on", "or", "pa", "ra", "re", "ri", "sa", "shi", "ta",
    "te", "ti", "to", "wei", "xin", "zh",
];

fn label(random: &mut Random, out: &mut String) {
    let begin = out.len();
    for _ in 0..2 + random.below(4) {
        out.push_str(SYLLABLES[random.below(SYLLABLES.len())]);
    }
    match random.below(20) {
        0..2 => _ = write!(out, "{}", random.below(1000)),
        2 => {
            out.push('-');
            out.push_str(SYLLABLES[random.below(SYLLABLES.len())]);
        }
        _ => {}
    }
    out.truncate(begin + 20);
    if out.ends_with('-') {
        out.push('x');
    }
}

fn domain(random: &mut Random) -> String {
    let mut out = String::new();
    if random.below(8) == 0 {
        label(random, &mut out);
        out.push('.');
    }
    label(random, &mut out);
    out.push('.');
    let mut at = random.below(100);
    for (ending, weight) in ENDINGS {
        if at < weight {
            out.push_str(ending);
            break;
        }
        at -= weight;
    }
    out
}

/// A list of so many different names.
pub(crate) fn list(size: usize) -> Vec<Entry> {
    let mut random = Random::new(1);
    let mut seen = HashSet::with_capacity(size);
    let mut out = Vec::with_capacity(size);
    while out.len() < size {
        let name = domain(&mut random);
        if seen.insert(name.clone()) {
            out.push(Entry { name, is_exact: random.below(12) == 0 });
        }
    }
    out
}

/// Names to ask for, in a random order: half are listed.
pub(crate) fn questions(list: &[Entry], count: usize) -> Vec<Name> {
    let suffixes: HashSet<&str> = list.iter().map(|e| e.name.as_str()).collect();
    let is_listed = |name: &str| {
        let starts = std::iter::once(0).chain(name.match_indices('.').map(|(dot, _)| dot + 1));
        starts.into_iter().any(|at| suffixes.contains(&name[at..]))
    };
    let mut random = Random::new(2);
    let mut out = Vec::with_capacity(count);
    while out.len() < count {
        let listed = out.len() % 2 == 0;
        let (base, is_exact) = if listed {
            let entry = &list[random.below(list.len())];
            (entry.name.clone(), entry.is_exact)
        } else {
            (domain(&mut random), false)
        };
        if !listed && is_listed(&base) {
            continue;
        }
        let front = match random.below(10) {
            _ if is_exact => "",
            0..4 => "www.",
            4 => "api.",
            5 => "static.img.",
            _ => "",
        };
        if let Ok(name) = Name::from_wire(format!("{front}{base}").as_bytes()) {
            out.push(name);
        }
    }
    // Hits and misses alternate so far.
    for i in (1..out.len()).rev() {
        out.swap(i, random.below(i + 1));
    }
    out
}

/// The list as a source of our own format, in four classes.
pub(crate) fn source(list: &[Entry]) -> String {
    let mut out = String::from("service\tcategory\ttitle\tregion\n");
    for class in 0..4 {
        _ = writeln!(out, "s{class}\tgames\tService {class}\tworld");
    }
    out += "name\tscope\tservice\tcategory\trole\ttier\tsource\tlicence\tadded\texpires\tnote\n";
    for (i, Entry { name, is_exact }) in list.iter().enumerate() {
        let (scope, class) = (if *is_exact { "exact" } else { "suffix" }, i % 4);
        _ = writeln!(out, "{name}\t{scope}\ts{class}\tgames\tsite\tstrong\tbench\tCC0-1.0\t2026-11-21");
    }
    out
}
