//! How fast the store is with a million records in it: `cargo run --release -p glassgate-store --example speed`.
//!
//! The records are those of a network of 6 groups, 19 services each, an hour each of a year: what is told of groups, and what
//! could be seen. `speed sessions` takes as many sessions instead. Times are of this machine; the disk is that of the temporary folder.

use glassgate_store::{Entries, Log, Options, Question, Search, Step, Store};
use std::time::{Duration, Instant};

const RECORDS: usize = 1_000_000;
/// 2027-01-01.
const BEGIN: i64 = 1_798_761_600;

struct Made {
    sessions: bool,
}

impl Log for Made {
    fn key(&self) -> &str {
        "speed"
    }
    fn first(&self) -> u64 {
        0
    }
    fn size(&self) -> u64 {
        RECORDS as u64
    }
    fn entries(&self, seq: u64) -> Entries<'_> {
        Box::new((seq..self.size()).map(|seq| Ok((seq, self.line(seq).into_bytes()))))
    }
}

fn time(second: i64) -> String {
    jiff::Timestamp::from_second(second).map(|t| t.to_string()).unwrap_or_default()
}

impl Made {
    fn line(&self, seq: u64) -> String {
        let (hour, of_hour) = ((seq / 115).cast_signed(), seq % 115);
        let (start, end) = (time(BEGIN + hour * 3600), time(BEGIN + (hour + 1) * 3600));
        let head = format!(
            "{{\"boot_id\":\"3f1c9d0a0b1c4d2e8f90a1b2c3d4e5f6\",\"seq\":{seq},\"mono_ns\":{seq},\"wall\":\"{end}\",\"wall_quality\":\"synchronized\","
        );
        let n = seq.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 50;
        if self.sessions {
            return format!(
                "{head}\"event_type\":\"session\",\"purpose\":\"recruitment\",\"sealed\":\"{}\"}}",
                "QUJD".repeat(60)
            );
        }
        match of_hour {
            0 if hour % 50 == 7 => format!("{head}\"event_type\":\"bypass\",\"on\":true,\"kept\":false}}"),
            0 => format!(
                "{head}\"event_type\":\"blindness\",\"start\":\"{start}\",\"end\":\"{end}\",\"flows\":{n},\"not_looked_at\":9,\"evidence\":{{\"sni\":70,\"quic_sni\":20,\"dns\":4,\"http_host\":3}},\"reasons\":{{\"no_sni\":3,\"ech_outer\":9,\"midstream\":2,\"tunnel\":1,\"unknown_proto\":7}},\"too_weak\":1,\"told\":{{\"evidence_percent\":{{\"sni\":88,\"quic_sni\":9}},\"reasons_percent\":{{\"no_sni\":3}}}}}}"
            ),
            i => format!(
                "{head}\"event_type\":\"group_rollup\",\"level\":\"aggregate\",\"start\":\"{start}\",\"end\":\"{end}\",\"start_mono_ns\":1,\"end_mono_ns\":2,\"complete\":true,\"span\":\"hour\",\"group\":\"group-{}\",\"category\":\"recruitment\",\"service\":\"service-{}\",\"subjects\":\"10-19\",\"k\":10,\"flows\":{n},\"flow\":{{\"pkts_toserver\":1,\"pkts_toclient\":1,\"bytes_toserver\":{n}00,\"bytes_toclient\":{n}000}},\"visits\":23,\"active_s\":4410,\"blocked_percent\":0,\"evidence_percent\":{{\"sni\":88,\"quic_sni\":12}},\"reasons_percent\":{{}},\"app_proto_percent\":{{\"tls\":88,\"quic\":12}}}}",
                i % 6,
                i / 6
            ),
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let made = Made { sessions: std::env::args().nth(1).as_deref() == Some("sessions") };
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("store.db");
    let options = Options { path: Some(path.clone()), quota_bytes: 512 << 20 };
    let (mut store, _) = Store::open(options.clone())?;
    let began = Instant::now();
    let mut making = Duration::ZERO;
    let mut slowest = Duration::ZERO;
    let one = Instant::now();
    (0..10_000).for_each(|seq| drop(std::hint::black_box(made.line(seq))));
    making += one.elapsed() * (RECORDS / 10_000) as u32;
    loop {
        let one = Instant::now();
        let left = store.follow(&made, 4096)?.left;
        slowest = slowest.max(one.elapsed());
        if left == 0 {
            break;
        }
    }
    let all = began.elapsed();
    println!(
        "rebuild of {RECORDS} records: {:.1} s, of which making their text takes {:.1} s; longest step of 4096: {slowest:.0?}",
        all.as_secs_f64(),
        making.as_secs_f64()
    );
    println!("file: {} MiB", std::fs::metadata(&path)?.len() >> 20);
    drop(store);
    let began = Instant::now();
    let (store, how) = Store::open(options)?;
    println!("opening, with everything read and held against its digest: {:.1?} ({how:?})", began.elapsed());
    let end = BEGIN + (RECORDS as i64 / 115 + 1) * 3600;
    let span = |days: i64, step, group: Option<&str>| {
        let group = group.map(str::to_owned);
        Question { from: end - days * 86_400 - 1800, to: end - 600, step, group, ..Question::default() }
    };
    let asked: Vec<(&str, Asking<'_>)> = vec![
        ("totals of a day, by hour", totals(&store, span(1, Step::Hour, None))),
        ("totals of a week, by hour", totals(&store, span(7, Step::Hour, None))),
        (
            "a week by hour and category, as the page asks",
            totals(&store, Question { by_category: true, ..span(7, Step::Hour, None) }),
        ),
        ("totals of 90 days, by day", totals(&store, span(90, Step::Day, None))),
        ("totals of 90 days, by day, of one group", totals(&store, span(90, Step::Day, Some("group-3")))),
        ("totals of all of it", totals(&store, span(3650, Step::Whole, None))),
        ("the last 50 records", search(&store, Search { limit: 50, ..Search::default() })),
        (
            "50 of a kind, in the middle",
            search(
                &store,
                Search {
                    kinds: vec!["blindness".to_owned()],
                    before: Some(500_000),
                    limit: 50,
                    ..Search::default()
                },
            ),
        ),
        (
            "50 of a rare kind, of a day half a year ago",
            search(
                &store,
                Search {
                    kinds: vec!["bypass".to_owned()],
                    from: Some(end - 180 * 86_400),
                    to: Some(end - 150 * 86_400),
                    limit: 50,
                    ..Search::default()
                },
            ),
        ),
        (
            "500 of all kinds, of a month half a year ago",
            search(
                &store,
                Search {
                    from: Some(end - 180 * 86_400),
                    to: Some(end - 150 * 86_400),
                    limit: 500,
                    ..Search::default()
                },
            ),
        ),
        ("the last 20 acts", search(&store, Search { acts: true, limit: 20, ..Search::default() })),
        ("sealed records by purpose and day", Box::new(|| store.sessions(BEGIN, end).map_or(0, |s| s.len()))),
    ];
    println!("| question | rows | p50 | p99 | max of 200 |\n|---|---|---|---|---|");
    for (what, ask) in asked {
        let rows = ask();
        let mut times: Vec<Duration> = (0..200)
            .map(|_| {
                let one = Instant::now();
                ask();
                one.elapsed()
            })
            .collect();
        times.sort_unstable();
        let ms =
            |at: usize| format!("{:.2} ms", times.get(at).copied().unwrap_or_default().as_secs_f64() * 1e3);
        println!("| {what} | {rows} | {} | {} | {} |", ms(100), ms(197), ms(199));
    }
    Ok(())
}

/// Asks, and says how many rows came.
type Asking<'a> = Box<dyn Fn() -> usize + 'a>;

fn totals(store: &Store, question: Question) -> Asking<'_> {
    Box::new(move || store.totals(&question).map_or(0, |totals| totals.rows.len()))
}

fn search(store: &Store, search: Search) -> Asking<'_> {
    Box::new(move || store.search(&search).map_or(0, |found| found.entries.len()))
}
