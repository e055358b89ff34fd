//! A gateway in the middle of a day, for tests and for whoever works on the page:
//! `cargo test -p glassgate --bin glassgate page::sample -- --ignored --nocapture` serves it for ten minutes. With `GLASSGATE_SAMPLE=hostile`
//! in the environment all words that it did not make itself are [hostile](super::hostile).

mod told;

use crate::control::past::Past;
use crate::control::snapshot::{
    Aggregate, Confinement, Count, EventsNow, FlowsNow, GroupNow, IdentityNow, InbandNow, LatencyNow,
    LcoreNow, LogNow, Outages, Point, PolicyNow, PortNow, PushNow, RadiusNow, Recording, ReportNow, RuleNow,
    SealedNow, Snapshot, StoreNow, Suppressed, TargetNow, UninspectedNow, WitnessedNow,
};
use crate::feeds::FeedNow;
use crate::messages::{PortInfo, ProcessInfo};

pub(crate) use told::{answering, case, charter, device, explanation};

fn counts(all: &[(&str, u64)]) -> Vec<Count> {
    all.iter().map(|(name, count)| Count { name: (*name).to_owned(), count: *count }).collect()
}

fn rule(name: &str, action: &str, enforced: bool, flows: u64, bytes: u64) -> RuleNow {
    RuleNow {
        name: name.to_owned(),
        action: action.to_owned(),
        enforced,
        flows,
        bytes,
        last_hit: Some("2026-11-21T14:00:00Z".to_owned()),
        since: Some("2026-11-18T08:12:40Z".to_owned()),
        rounded: false,
    }
}

fn aggregate(name: &str, title: &str, category: &str, flows: u64, blocked: u64) -> Aggregate {
    Aggregate {
        name: name.to_owned(),
        title: title.to_owned(),
        category: category.to_owned(),
        flows,
        flows_blocked: blocked,
        bytes_up: flows * 4_100,
        bytes_down: flows * 61_300,
    }
}

fn port(name: &str, device: &str, up: f64, down: f64) -> PortNow {
    let driver = "net_af_xdp".to_owned();
    PortNow {
        info: PortInfo { name: name.to_owned(), device: device.to_owned(), driver, mac: None },
        rx_frames: 48_211_903,
        rx_bytes: 31_000_000_000,
        tx_frames: 51_772_310,
        tx_bytes: 44_000_000_000,
        rx_missed: 0,
        drop_policy: if name == "lan" { 1_204 } else { 0 },
        drop_limit: 0,
        answers: 0,
        drop_tx_full: 0,
        inband_taken: if name == "lan" { 812 } else { 0 },
        inband_sent: if name == "lan" { 790 } else { 0 },
        rx_frames_per_s: up / 6200.0,
        rx_bits_per_s: up,
        tx_frames_per_s: down / 9100.0,
        tx_bits_per_s: down,
    }
}

fn process(name: &str, restarts: u64, last_end: Option<&str>) -> ProcessInfo {
    ProcessInfo {
        name: name.to_owned(),
        pid: Some(4000),
        state: "up".to_owned(),
        since_ns: 1,
        restarts,
        last_end: last_end.map(str::to_owned),
    }
}

fn lcore(cpu: u32, load: f64) -> LcoreNow {
    LcoreNow {
        cpu,
        seen_ms_ago: 1,
        load,
        p99_ns: Some(14_336),
        turns: 8_300_000_000,
        flows_active: 18_422,
        flows_capacity: 1_048_576,
        inspections: 41,
        inspections_capacity: 8192,
        panics: 0,
        epoch: 731,
        acknowledged: true,
        ring_capacity: 16_384,
        ring_fill: 12,
    }
}

/// What groups did, one of them too small to be told of.
fn report() -> ReportNow {
    let row =
        |group: &str, category: &str, service: &str, title: &str, subjects: &str, visits: u64| GroupNow {
            group: Some(group.to_owned()),
            category: Some(category.to_owned()),
            service: Some(service.to_owned()),
            title: title.to_owned(),
            subjects: subjects.to_owned(),
            k: 10,
            flows: visits * 41,
            blocked_percent: Some(0),
            bytes_up: visits * 180_000,
            bytes_down: visits * 4_100_000,
            visits,
            active_s: visits * 212,
            uploads: None,
            large_uploads: None,
        };
    ReportNow {
        since: Some("2026-11-20T13:00:00Z".to_owned()),
        rows: vec![
            GroupNow {
                uploads: Some(21),
                ..row("sales", "recruitment", "boss-zhipin", "BOSS Zhipin", "10-19", 64)
            },
            row("support", "recruitment", "liepin", "Liepin", "12-19", 40),
        ],
        suppressed: vec![Suppressed {
            group: "lab".to_owned(),
            category: "recruitment".to_owned(),
            title: "Recruitment".to_owned(),
            k: 10,
        }],
        named_percent: counts(&[("sni", 71), ("quic_sni", 20)]),
        unnamed_percent: counts(&[("ech_outer", 9)]),
    }
}

/// The gateway.
pub(crate) fn snapshot() -> Snapshot {
    let wave = |i: usize, period: f64, base: f64| {
        base * (1.2 + (i as f64 / period).sin() + 0.4 * (i as f64 * 1.7).sin())
    };
    let history = (0..120).map(|i| Point {
        up_bits: wave(i, 9.0, 70e6).max(0.0),
        down_bits: wave(i, 14.0, 380e6).max(0.0),
        frames: wave(i, 14.0, 60e3),
        drops: 0.0,
    });
    Snapshot {
        sealed: SealedNow { keys: 12, cases: 1 },
        bypass: None,
        version: "0.1.0".to_owned(),
        time: "2026-11-21T14:03:22Z".to_owned(),
        uptime_ms: 302_400_000,
        troubles: Vec::new(),
        troubles_zh: Vec::new(),
        alerts: Vec::new(),
        alert_targets: vec![TargetNow { kind: "webhook".to_owned(), delivered: 4, ..TargetNow::default() }],
        links_down: Vec::new(),
        identity: IdentityNow {
            groups: 3,
            enrolled: 48,
            addresses: 61,
            members: 44,
            disputes: 0,
            no_room: 0,
            sessions: 31,
            receipts: 118,
            radius: Some(RadiusNow {
                taken: 1_904,
                effects: counts(&[("renewed", 1_802), ("began", 61), ("ended", 41)]),
                repeated: 3,
                unsent: 0,
                refused: counts(&[("wrong_secret", 2)]),
            }),
            push: Some(PushNow { set: 12, withdrawn: 4, refused: counts(&[("wrong_token", 1)]) }),
        },
        inband: Some(InbandNow {
            mac: "02:67:67:01:02:03".to_owned(),
            addresses: vec!["10.0.0.2/24".to_owned(), "10.99.0.2/24 in VLAN 99".to_owned()],
            port: 8480,
            management: "vlan".to_owned(),
            copied: 41,
            punted: 840,
            refused: counts(&[("over_source", 13)]),
            unsent: counts(&[("port_full", 0)]),
            waiting: 0,
            open: 2,
            accepted: 118,
            turned_away: counts(&[("source_full", 3)]),
        }),
        recording: Recording {
            level: "aggregate".to_owned(),
            what: "Counts per service and category. No names, no addresses, no devices, no people."
                .to_owned(),
            basis: "No charter is in force, so nothing beyond counts may be recorded.".to_owned(),
            what_zh: "按服务与类别计数。没有名称、地址、设备，也不涉及个人。".to_owned(),
            basis_zh: "没有生效的章程，除计数外不得记录任何内容。".to_owned(),
        },
        processes: vec![
            process("guard", 0, None),
            process("dataplane", 1, Some("killed by signal 9")),
            process("control", 0, None),
        ],
        held_port: None,
        outages: Outages { count: 1, total_ms: 311 },
        uninspected: UninspectedNow {
            count: 2,
            total_ms: 1840,
            fallback: "kernel_bridge".to_owned(),
            ..UninspectedNow::default()
        },
        confinement: Confinement {
            dataplane: "seccomp (53 system calls, no files, no sockets, no processes)".to_owned(),
            control: "landlock (own files and port only)".to_owned(),
        },
        ports: vec![
            port("lan", "af_xdp:eth1", 84.2e6, 461.9e6),
            port("uplink", "af_xdp:eth2", 461.9e6, 84.1e6),
        ],
        lcores: vec![lcore(2, 0.37), lcore(3, 0.34)],
        latency: LatencyNow {
            frames: 1_000_000,
            p50_ns: Some(2_048),
            p90_ns: Some(6_144),
            p99_ns: Some(14_336),
            p999_ns: Some(57_344),
            max_ns: Some(1_310_720),
            below: vec![(4_096, 800_000), (16_384, 990_000), (65_536, 999_500)],
        },
        flows: FlowsNow { active: 36_844, capacity: 2_097_152, opened: 9_120_552, opened_per_s: 1284.0 },
        named: counts(&[
            ("sni", 6_120_331),
            ("quic_sni", 1_204_118),
            ("dns", 611_020),
            ("http_host", 204_551),
            ("dns_hint", 92_010),
        ]),
        unnamed: counts(&[
            ("unknown_proto", 402_110),
            ("ech_outer", 208_551),
            ("no_payload", 150_220),
            ("midstream", 41_002),
            ("no_sni", 20_113),
            ("tunnel", 9_021),
        ]),
        too_weak: 611,
        not_looked_at: 57_505,
        unobserved: counts(&[("off_hours", 41_002), ("private_device", 16_503)]),
        categories: vec![
            aggregate("work", "Work", "work", 3_120_441, 0),
            aggregate("infrastructure", "Infrastructure", "infrastructure", 1_904_220, 0),
            aggregate("unknown", "In no list", "unknown", 1_455_021, 0),
            aggregate("messaging", "Messaging", "messaging", 702_113, 0),
            aggregate("short_video", "Short video", "short_video", 311_205, 8_022),
            aggregate("shopping", "Shopping", "shopping", 204_113, 0),
            aggregate("music", "Music", "music", 88_530, 0),
            aggregate("recruitment", "Recruitment", "recruitment", 31_204, 0),
            aggregate("food_delivery", "Food delivery", "food_delivery", 9_330, 0),
        ],
        services: vec![
            aggregate("wecom", "WeCom", "work", 902_331, 0),
            aggregate("wechat", "WeChat", "messaging", 611_020, 0),
            aggregate("github", "GitHub", "work", 402_118, 0),
            aggregate("douyin", "Douyin", "short_video", 288_410, 8_022),
            aggregate("jd", "JD", "shopping", 120_551, 0),
            aggregate("netease-music", "NetEase Cloud Music", "music", 61_220, 0),
            aggregate("boss-zhipin", "BOSS Zhipin", "recruitment", 21_008, 0),
            aggregate("meituan", "Meituan", "food_delivery", 8_912, 0),
        ],
        report: report(),
        rules: vec![
            rule("no-short-video", "block", true, 8_022, 41_000_000),
            rule("music-later", "limit 2 Mbit/s", false, 61_220, 4_200_000_000),
        ],
        not_flows: counts(&[
            ("arp", 40_221),
            ("icmpv6", 20_110),
            ("icmp", 8_041),
            ("llc", 3_002),
            ("fragments", 210),
        ]),
        policy: PolicyNow {
            epoch: 731,
            matrix_hash: "c77c087ed7cba8d0bced510d4f17ae4b0662923fbbec60806c55e574c22349ae".to_owned(),
            table_content: String::new(),
            table_hash: "dcaddcd43ef34ccc9dea15ff3bd6b5a4f6030629c895008b106d5e4157271a1f".to_owned(),
            acknowledged: 2,
            lcores: 2,
            valid_for_s: 44.1,
            services: 1147,
            signatures: 2332,
            rules: 2,
            loaded: "2026-11-21T06:00:01Z".to_owned(),
            rejected: None,
            refused: None,
            pack_day: None,
            lists: vec![
                FeedNow {
                    name: "urlhaus".to_owned(),
                    category: "malware".to_owned(),
                    state: "good".to_owned(),
                    names: 18_442,
                    ..FeedNow::default()
                },
                FeedNow {
                    name: "phishtank".to_owned(),
                    category: "phishing".to_owned(),
                    state: "held".to_owned(),
                    names: 9_120,
                    added: 41_003,
                    removed: 12,
                    blocked: true,
                    reasons: vec!["four times as many names as before".to_owned()],
                    ..FeedNow::default()
                },
            ],
        },
        events: EventsNow {
            received: 8_911_204,
            lost: counts(&[("decided", 0), ("progress", 0), ("ended", 0)]),
            bad: 0,
            missing: 0,
            records: 10_233,
            log_bytes: 9_100_000,
            log_trouble: None,
            witness_trouble: None,
        },
        log: log_now(),
        certificate: "5A:0C:F3".to_owned(),
        history: history.collect(),
    }
}

/// The log of that gateway.
fn log_now() -> LogNow {
    LogNow {
        name: "office.example/gateway-1".to_owned(),
        entries: 10_233,
        first: 0,
        signed: 10_230,
        signed_at: Some("2026-11-21T14:03:01Z".to_owned()),
        checkpoint: Some(
            "office.example/gateway-1\n10230\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\u{2014} office.example/gateway-1 \
             JS8gzfU8bOJkGzGsT7wFyy3eKr4gJaAvWJt6gJ+8v9Jz2gUYSsWyc7eCq0tIhWUOb7Xq1LbkUuGmFQd2s9tDZVjyNgY=\n"
                .to_owned(),
        ),
        asks_a_witness: true,
        witnessed: Some(WitnessedNow {
            by: "works-council.example/witness".to_owned(),
            entries: 10_230,
            at: "2026-11-21T14:03:04Z".to_owned(),
        }),
        store: StoreNow {
            next: 10_233,
            records: 9_871,
            bytes: 2_400_000,
            oldest: Some("2026-09-02T06:00:00Z".to_owned()),
            trouble: None,
        },
    }
}

/// The keeper of a store whose log has weeks in it. Both are gone with the folder.
pub(crate) fn past() -> (tempfile::TempDir, Past) {
    past_with(Vec::new())
}

/// The same with more records: how many seconds ago each was written, and what it says.
pub(crate) fn past_with(more: Vec<(i64, String)>) -> (tempfile::TempDir, Past) {
    let dir = tempfile::tempdir().unwrap();
    let text =
        glassgate_policy::diagnostic::Text::new("sample", "[audit]\ndir = 'audit'\n[store]\ndir = 'store'\n");
    let config = crate::config::Config::parse(text, dir.path()).unwrap();
    std::fs::create_dir(&config.store.dir).unwrap();
    let (log, _) =
        glassgate_audit::Log::open(glassgate_audit::Options::new(&config.audit.dir), 1, Still).unwrap();
    let now = jiff::Timestamp::now().as_second();
    let mut records = weeks();
    records.extend(more.into_iter().map(|(ago, line)| (now - ago, line)));
    records.sort_by_key(|(at, _)| *at);
    for (at, line) in records {
        assert!(log.append(&stamp(at), line.as_bytes()));
    }
    assert!(log.close(std::time::Duration::from_secs(20)));
    let past = Past::start(&config);
    (dir, past)
}

struct Still;

impl glassgate_audit::Clock for Still {
    fn now(&self) -> glassgate_audit::Stamp {
        stamp(0)
    }
}

fn stamp(at: i64) -> glassgate_audit::Stamp {
    let wall = (at > 0).then(|| jiff::Timestamp::from_second(at).unwrap());
    glassgate_audit::Stamp { mono_ns: 1, wall, quality: "synchronized" }
}

/// Records of five weeks up to now, as a gateway writes them: first without a charter, then under one.
fn weeks() -> Vec<(i64, String)> {
    let now = jiff::Timestamp::now().as_second();
    let end = now - now.rem_euclid(3600);
    let mut records = vec![(end - 40 * 86_400, r#"{"event_type":"started","version":"0.1.0"}"#.to_owned())];
    let services = [
        ("work", "wecom", 90),
        ("messaging", "wechat", 60),
        ("short_video", "douyin", 30),
        ("shopping", "jd", 22),
        ("music", "netease-music", 14),
        ("recruitment", "boss-zhipin", 3),
    ];
    for hour in 0..35 * 24 {
        let at = end - (35 * 24 - hour) * 3600;
        let of_day = at.rem_euclid(86_400) / 3600;
        // Eight in China is midnight in UTC.
        let busy = if of_day < 10 && (at / 86_400) % 7 < 5 { 10 + (of_day * 37 + hour * 13) % 17 } else { 1 };
        let time = |at: i64| jiff::Timestamp::from_second(at).unwrap().to_string();
        let window = format!("\"start\":\"{}\",\"end\":\"{}\",\"complete\":true", time(at), time(at + 3600));
        for (category, service, share) in services {
            let flows = share * busy;
            let volume = format!(
                "\"flow\":{{\"bytes_toserver\":{},\"bytes_toclient\":{}}}",
                flows * 4100,
                flows * 61_300
            );
            records.push((at + 3600, if hour < 20 * 24 {
                format!("{{\"event_type\":\"rollup\",{window},\"group\":0,\"category\":\"{category}\",\"service\":\"{service}\",\"flows\":{flows},\"flows_blocked\":{},{volume}}}", if service == "douyin" { flows / 9 } else { 0 })
            } else {
                let group = ["sales", "support"][usize::from(share % 4 == 0)];
                format!("{{\"event_type\":\"group_rollup\",\"level\":\"aggregate\",{window},\"span\":\"hour\",\"group\":\"{group}\",\"category\":\"{category}\",\"service\":\"{service}\",\"subjects\":\"10-19\",\"k\":10,\"flows\":{flows},{volume},\"visits\":{busy},\"active_s\":{}}}", busy * 311)
            }));
        }
        if hour == 20 * 24 {
            records.push((at, r#"{"event_type":"charter","cause":"installed","standing":"in_force","charter":"Office charter","serial":3,"level":"aggregate","purposes":[]}"#.to_owned()));
        }
        if hour > 20 * 24 && of_day == 9 && busy > 1 {
            records.push((at + 3600, format!("{{\"event_type\":\"uploads\",\"level\":\"aggregate\",{window},\"measure\":\"uploads\",\"span\":\"hour\",\"group\":\"sales\",\"category\":\"recruitment\",\"service\":\"boss-zhipin\",\"subjects\":\"10-19\",\"k\":10,\"uploads\":4,\"bytes\":2300000}}")));
        }
        let all = busy * 219;
        records.push((at + 3600, format!("{{\"event_type\":\"blindness\",{window},\"flows\":{all},\"not_looked_at\":{},\"evidence\":{{\"sni\":{},\"quic_sni\":{},\"http_host\":{}}},\"reasons\":{{\"ech_outer\":{},\"unknown_proto\":{}}},\"too_weak\":2}}", busy * 6, all * 7 / 10, all * 15 / 100, all / 20, all * 6 / 100, all * 4 / 100)));
    }
    records.push((end - 9 * 86_400, r#"{"event_type":"gap","cause":"unclean_end","records":12}"#.to_owned()));
    records.push((end - 3 * 86_400, r#"{"event_type":"bypass","on":true,"kept":false,"uid":0}"#.to_owned()));
    records.push((
        end - 3 * 86_400 + 1260,
        r#"{"event_type":"bypass","on":false,"kept":false,"uid":0}"#.to_owned(),
    ));
    records
}

/// Serves the sample to be looked at.
#[test]
#[ignore = "serves a page for ten minutes, for whoever works on it"]
fn serve() {
    let (now, snapshot) = tokio::sync::watch::channel(std::sync::Arc::new(snapshot()));
    let (commands, to_do) = std::sync::mpsc::channel();
    let (_kept, (_dir, past)) = if std::env::var("GLASSGATE_SAMPLE").is_ok_and(|which| which == "hostile") {
        super::hostile::answering(to_do, now);
        (None, past_with(super::hostile::records()))
    } else {
        answering(to_do);
        (Some(now), past())
    };
    let (shared, stage) = super::stage::shared(snapshot, commands, past);
    println!("token {}", stage.tokens[0]);
    println!("auditor {}", stage.tokens[1]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:18499").await.unwrap();
        println!("http://{}/", listener.local_addr().unwrap());
        let serving = super::serve(super::peer::Kernel(listener), shared);
        _ = tokio::time::timeout(std::time::Duration::from_secs(600), serving).await;
    });
}
