//! A log in memory, and what a store answers, all of it.

use glassgate_store::{Entries, Log, Options, Question, Search, Step, Store};
use std::path::Path;

/// Entries with the numbers from 0 on; those before `first` are deleted.
#[derive(Clone, Debug)]
pub(crate) struct Lines {
    pub(crate) key: String,
    pub(crate) first: u64,
    pub(crate) lines: Vec<String>,
}

impl Log for Lines {
    fn key(&self) -> &str {
        &self.key
    }

    fn first(&self) -> u64 {
        self.first
    }

    fn size(&self) -> u64 {
        self.lines.len() as u64
    }

    fn entries(&self, seq: u64) -> Entries<'_> {
        let from = seq.max(self.first);
        let lines = self.lines.iter().enumerate().skip(from as usize);
        Box::new(lines.map(|(seq, line)| Ok((seq as u64, line.clone().into_bytes()))))
    }
}

/// The Monday that everything begins on.
pub(crate) const MONDAY: i64 = 1_799_625_600;

fn at(second: i64) -> String {
    // Days of January 2027 are enough.
    let of_day = second.rem_euclid(86_400);
    let day = 11 + (second - MONDAY).div_euclid(86_400);
    format!("2027-01-{day:02}T{:02}:{:02}:{:02}Z", of_day / 3600, of_day / 60 % 60, of_day % 60)
}

/// An entry of a kind that `pick` chooses, of the hour `hour` since [`MONDAY`].
pub(crate) fn line(seq: usize, pick: u32, hour: i64) -> String {
    let (start, wall) = (at(MONDAY + hour * 3600), at(MONDAY + hour * 3600 + 3605));
    let n = u64::from(pick / 16 % 97) + 1;
    let group = ["sales", "support", "lab"][(pick / 7 % 3) as usize];
    let service = ["boss-zhipin", "liepin", "douyin", "wecom"][(pick / 3 % 4) as usize];
    let category = ["recruitment", "short_video"][(pick / 5 % 2) as usize];
    let span = if (pick / 11).is_multiple_of(5) { "rest_of_day" } else { "hour" };
    let of = format!(
        "\"span\":\"{span}\",\"group\":\"{group}\",\"category\":\"{category}\",\"service\":\"{service}\""
    );
    let rest = match pick % 16 {
        0 => r#""event_type":"started","version":"1""#.to_owned(),
        1 => r#""event_type":"bypass","on":true,"kept":false"#.to_owned(),
        2 => r#""event_type":"charter","cause":"installed","standing":"in_force""#.to_owned(),
        3 => r#""event_type":"charter","cause":"changed""#.to_owned(),
        4 => format!("\"event_type\":\"gap\",\"cause\":\"events_missing\",\"events\":{n}"),
        5 | 6 => format!(
            "\"event_type\":\"session\",\"key\":\"2027-01-11.leak.1\",\"pseudonym\":\"p{n}\",\"sealed\":\"c2VjcmV0\""
        ),
        7 => format!(
            "\"event_type\":\"blindness\",\"start\":\"{start}\",\"flows\":{n},\"not_looked_at\":3,\"evidence\":{{\"sni\":{n}}},\"reasons\":{{\"no_sni\":2}},\"too_weak\":1,\"told\":{{\"evidence_percent\":{{\"sni\":88}},\"reasons_percent\":{{\"no_sni\":12}}}}"
        ),
        8 => format!(
            "\"event_type\":\"rollup\",\"start\":\"{start}\",\"group\":0,\"category\":\"{category}\",\"service\":\"{service}\",\"flows\":{n},\"flows_blocked\":1,\"flow\":{{\"bytes_toserver\":{n},\"bytes_toclient\":9}}"
        ),
        9 => format!(
            "\"event_type\":\"uploads\",\"start\":\"{start}\",\"measure\":\"uploads\",{of},\"subjects\":\"10-19\",\"k\":10,\"uploads\":{n},\"bytes\":{n}00"
        ),
        10 => format!(
            "\"event_type\":\"uploads\",\"start\":\"{start}\",\"measure\":\"large_uploads\",{of},\"subjects\":\"12-19\",\"k\":12,\"uploads\":{n},\"bytes\":{n}00"
        ),
        11 => format!("\"event_type\":\"unheard_of\",\"name\":\"{n}\""),
        _ => format!(
            "\"event_type\":\"group_rollup\",\"start\":\"{start}\",{of},\"subjects\":\"{}-49\",\"k\":10,\"flows\":{n},\"flow\":{{\"bytes_toserver\":{n}00,\"bytes_toclient\":{n}000}},\"visits\":3,\"active_s\":77",
            10 + n % 9
        ),
    };
    let wall = if pick.is_multiple_of(31) { "null".to_owned() } else { format!("\"{wall}\"") };
    format!(
        "{{\"boot_id\":\"ab\",\"seq\":{seq},\"mono_ns\":{seq},\"wall\":{wall},\"wall_quality\":\"synchronized\",{rest}}}"
    )
}

/// A log of `n` entries, five an hour.
pub(crate) fn log(n: usize, seed: u32) -> Lines {
    let pick = |i: usize| (i as u32 ^ seed).wrapping_mul(2_654_435_761).rotate_left(13) >> 4;
    let lines = (0..n).map(|i| line(i, pick(i), i as i64 / 5)).collect();
    Lines { key: "office+1+AAAA".to_owned(), first: 0, lines }
}

pub(crate) fn options(path: Option<&Path>) -> Options {
    Options { path: path.map(Into::into), quota_bytes: 64 << 20 }
}

pub(crate) fn follow_all(store: &mut Store, log: &Lines, limit: usize) {
    while store.follow(log, limit).unwrap().left > 0 {}
}

/// Everything that it can be asked.
pub(crate) fn answers(store: &Store) -> String {
    let mut said = String::new();
    let week = MONDAY + 7 * 86_400;
    for step in [Step::Hour, Step::Day, Step::Whole] {
        for (from, to) in
            [(MONDAY, week), (MONDAY + 7200, week - 5400), (MONDAY + 3600, MONDAY + 9000), (0, MONDAY)]
        {
            let to = if step == Step::Hour { to } else { to.saturating_add(20 * 86_400) };
            let from = if step == Step::Hour { from.max(MONDAY) } else { from };
            if from <= to {
                for group in [None, Some("sales".to_owned())] {
                    let by_category = group.is_none() && from == MONDAY;
                    let question = Question { from, to, step, group, by_category, ..Question::default() };
                    said += &format!("{:?}\n", store.totals(&question).unwrap());
                }
            }
        }
    }
    for kinds in [vec![], vec!["gap".to_owned(), "charter".to_owned()], vec!["none".to_owned()]] {
        for (acts, from) in
            [(false, None), (true, None), (false, Some(MONDAY + 86_400)), (true, Some(MONDAY))]
        {
            let to = from.map(|from| from + 5 * 86_400);
            let mut search = Search { kinds: kinds.clone(), acts, from, to, before: None, limit: 7 };
            loop {
                let found = store.search(&search).unwrap();
                said += &format!("{found:?}\n");
                search.before = found.next;
                if search.before.is_none() {
                    break;
                }
            }
        }
    }
    said + &format!("{:?}\n{:?}\n", store.sessions(MONDAY, week * 2).unwrap(), store.reach().unwrap().next)
}

/// What a store answers that is built of a log at once.
pub(crate) fn built_at_once(log: &Lines, quota_bytes: u64) -> String {
    let (mut store, _) = Store::open(Options { path: None, quota_bytes }).unwrap();
    follow_all(&mut store, log, usize::MAX);
    store.check_for_tests();
    answers(&store)
}
