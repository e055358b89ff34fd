//! How long each view takes at the server, with a million records behind it, and what *Now* costs:
//! `cargo test --release -p glassgate --bin glassgate page::speed -- --ignored --nocapture`.
//!
//! The records are those of 90 days of a network of 6 groups and 19 services, an hour each, with sealed sessions up to a million; with
//! `GLASSGATE_SPEED=counts` in the environment a million counts, which are a year. They go into a real audit log, which a real keeper
//! follows; the views are asked for over HTTP on loopback, one after the other, as one browser does.

use super::{peer, sample, stage};
use crate::control::past::Past;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

const RECORDS: u64 = 1_000_000;
/// Requests of each view.
const TIMES: usize = 200;
/// Requests of *Now*, for what it costs.
const NOW: u32 = 500;
/// Records of counts of an hour, and days of them.
const COUNTS: u64 = 115;
const DAYS: u64 = 90;

struct Still;

impl glassgate_audit::Clock for Still {
    fn now(&self) -> glassgate_audit::Stamp {
        stamp(1)
    }
}

fn stamp(at: i64) -> glassgate_audit::Stamp {
    let wall = Some(jiff::Timestamp::from_second(at).unwrap());
    glassgate_audit::Stamp { mono_ns: 1, wall, quality: "synchronized" }
}

fn time(second: i64) -> String {
    jiff::Timestamp::from_second(second).unwrap().to_string()
}

/// What stands in a record: the `i`-th of an hour.
fn line(start: i64, i: u64) -> String {
    let (from, to) = (time(start), time(start + 3600));
    let n = ((start.unsigned_abs() + i).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 50) + 1;
    match i {
        0 if n % 50 == 7 => r#"{"event_type":"bypass","on":true,"kept":false,"uid":0}"#.to_owned(),
        0 => format!(
            "{{\"event_type\":\"blindness\",\"start\":\"{from}\",\"end\":\"{to}\",\"flows\":{n},\"not_looked_at\":9,\"evidence\":{{\"sni\":70,\"quic_sni\":20,\"dns\":4,\"http_host\":3}},\"reasons\":{{\"no_sni\":3,\"ech_outer\":9,\"midstream\":2,\"tunnel\":1,\"unknown_proto\":7}},\"too_weak\":1,\"told\":{{\"evidence_percent\":{{\"sni\":88,\"quic_sni\":9}},\"reasons_percent\":{{\"no_sni\":3}}}}}}"
        ),
        i if i < COUNTS => format!(
            "{{\"event_type\":\"group_rollup\",\"level\":\"aggregate\",\"start\":\"{from}\",\"end\":\"{to}\",\"complete\":true,\"span\":\"hour\",\"group\":\"group-{}\",\"category\":\"{}\",\"service\":\"service-{}\",\"subjects\":\"10-19\",\"k\":10,\"flows\":{n},\"flow\":{{\"pkts_toserver\":1,\"pkts_toclient\":1,\"bytes_toserver\":{n}00,\"bytes_toclient\":{n}000}},\"visits\":23,\"active_s\":4410,\"blocked_percent\":0,\"evidence_percent\":{{\"sni\":88,\"quic_sni\":12}},\"reasons_percent\":{{}},\"app_proto_percent\":{{\"tls\":88,\"quic\":12}}}}",
            i % 6,
            ["recruitment", "music", "shopping", "short_video", "messaging"][(i / 6 % 5) as usize],
            i / 6
        ),
        i => format!(
            "{{\"event_type\":\"session\",\"key\":\"2027-01-11.recruitment.1\",\"pseudonym\":\"{i:x}\",\"sealed\":\"{}\"}}",
            "QUJD".repeat(60)
        ),
    }
}

/// A log of so many records up to now, and its keeper once it has taken all of them.
fn past() -> (tempfile::TempDir, Past) {
    let dir = tempfile::tempdir().unwrap();
    let text =
        glassgate_policy::diagnostic::Text::new("speed", "[audit]\ndir = 'audit'\n[store]\ndir = 'store'\n");
    let config = crate::config::Config::parse(text, dir.path()).unwrap();
    std::fs::create_dir(&config.store.dir).unwrap();
    let began = Instant::now();
    let (log, _) =
        glassgate_audit::Log::open(glassgate_audit::Options::new(&config.audit.dir), 1, Still).unwrap();
    let counts = std::env::var("GLASSGATE_SPEED").is_ok_and(|which| which == "counts");
    let an_hour = if counts { COUNTS } else { RECORDS / (DAYS * 24) };
    let hours = RECORDS / an_hour;
    let now = jiff::Timestamp::now().as_second();
    let end = now - now.rem_euclid(3600);
    for hour in 0..hours {
        let start = end - (hours - hour).cast_signed() * 3600;
        for i in 0..an_hour {
            let line = line(start, i);
            // Its queue is bounded, and what writes it is slower than this.
            while !log.append(&stamp(start + 3600), line.as_bytes()) {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
    assert!(log.close(Duration::from_secs(60)));
    let records = hours * an_hour;
    println!("{records} records of {hours} hours, written in {:.0?}", began.elapsed());
    let began = Instant::now();
    let past = Past::start(&config);
    while past.log_now().store.next < records {
        std::thread::sleep(Duration::from_millis(50));
    }
    println!("taken by the store in {:.0?}; {} MiB", began.elapsed(), past.log_now().store.bytes >> 20);
    (dir, past)
}

/// Asks for a page and reads all of it.
fn get(flow: &mut TcpStream, path: &str, token: &str) -> usize {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n");
    flow.write_all(request.as_bytes()).unwrap();
    let mut read = Vec::new();
    let mut part = [0; 64 << 10];
    loop {
        let n = flow.read(&mut part).unwrap();
        assert!(n > 0, "{path}: {}", String::from_utf8_lossy(&read));
        read.extend_from_slice(&part[..n]);
        let Some(at) = read.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&read[..at]).to_lowercase();
        assert!(head.starts_with("http/1.1 200"), "{path}: {head}");
        let length = head.split_once("content-length: ").unwrap().1;
        let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
        if read.len() >= at + 4 + length {
            return length;
        }
    }
}

/// CPU time of all of this process.
fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

#[test]
#[ignore = "writes a million records, and measures"]
fn each_view_with_a_million_records() {
    let (_dir, past) = past();
    let (_now, snapshot) = tokio::sync::watch::channel(Arc::new(sample::snapshot()));
    let (commands, to_do) = std::sync::mpsc::channel();
    sample::answering(to_do);
    let (shared, stage) = stage::shared(snapshot, commands, past);
    let (at, served) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            at.send(listener.local_addr().unwrap()).unwrap();
            super::serve(peer::Kernel(listener), shared).await
        })
    });
    let address: SocketAddr = served.recv().unwrap();
    let token = &stage.tokens[1];
    let day = |ago: i64| time(jiff::Timestamp::now().as_second() - ago * 86_400)[..10].to_owned();
    println!("| view | bytes | first | p50 | p99 | max of {TIMES} | goal |\n|---|---|---|---|---|---|---|");
    for (what, path) in [
        ("Now", "/".to_owned()),
        ("Traffic, a day", "/traffic?days=1".to_owned()),
        ("Traffic, a week", "/traffic".to_owned()),
        ("Traffic, 30 days", "/traffic?days=30".to_owned()),
        ("Traffic, 90 days", "/traffic?days=90".to_owned()),
        ("Rules", "/rules?name=www.zhipin.com".to_owned()),
        ("Charter", "/charter".to_owned()),
        ("Cases", "/cases".to_owned()),
        ("Log", "/log".to_owned()),
        ("Log, of a kind that is rare", "/log?kind=bypass".to_owned()),
        ("Log, of a kind in days long ago", format!("/log?kind=blindness&from={}&to={}", day(70), day(40))),
        ("System", "/system".to_owned()),
        ("My device", "/device".to_owned()),
    ] {
        let mut flow = TcpStream::connect(address).unwrap();
        flow.set_nodelay(true).unwrap();
        let mut times = Vec::new();
        let mut bytes = 0;
        for _ in 0..TIMES {
            let one = Instant::now();
            bytes = get(&mut flow, &path, token);
            times.push(one.elapsed());
        }
        let first = times[0];
        times.sort_unstable();
        let ms = |time: Duration| format!("{:.2} ms", time.as_secs_f64() * 1e3);
        let p99 = times[TIMES * 99 / 100 - 1];
        let met = if p99 <= Duration::from_millis(50) { "met" } else { "missed" };
        println!(
            "| {what} | {bytes} | {} | {} | {} | {} | ≤ 50 ms: {met} |",
            ms(first),
            ms(times[TIMES / 2]),
            ms(p99),
            ms(times[TIMES - 1])
        );
    }
    let mut flow = TcpStream::connect(address).unwrap();
    let before = cpu();
    for _ in 0..NOW {
        get(&mut flow, "/", token);
    }
    let each = (cpu() - before) / NOW;
    println!(
        "Now, once a second: {:.2} % of a core for each who looks (goal: < 1 %), {each:.0?} a page, with whoever asks for it",
        each.as_secs_f64() * 100.0
    );
}
