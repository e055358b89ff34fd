//! Limits on flows that run already, on a clock that the test turns: who shares a rate, that what is over it is
//! discarded and counted, and that a reload frees.

use glassgate_dataplane::classifier::{Classifier, NoSink, Options, Policy};
use glassgate_dataplane::lcore::Lcore;
use glassgate_dataplane::port::memory::{MemoryPort, Pool, pair};
use glassgate_policy::limit::{Amount, Every, Limit, LimitId, Pace, Per, Quota, Rate, RuleLimit, Windows};
use glassgate_policy::{Action, SignatureTable, Verdict, VerdictMatrix};
use std::sync::Arc;

const FRAME: usize = 1250;
/// 1 Mbit/s: a hundred frames a second.
const RATE: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;

fn policy(limit: Option<Per>) -> Policy {
    let limits = limit.iter().map(|per| Limit { pace: Pace::Rate(Rate::new(RATE)), per: *per });
    limiting(&limits.collect::<Vec<_>>(), [0; 3])
}

fn limiting(limits: &[Limit], windows: Windows) -> Policy {
    let limits: Vec<_> = limits.iter().map(|limit| ("limit", *limit)).collect();
    ruling(&limits, windows)
}

/// Rules by name; the first decides about everything.
fn ruling(limits: &[(&str, Limit)], windows: Windows) -> Policy {
    let limits: Vec<_> = limits.iter().map(|(rule, limit)| RuleLimit::of(rule, *limit)).collect();
    let compiled = glassgate_policy::compile::compile(&[], &Default::default()).unwrap();
    let action = if limits.is_empty() { Action::Allow } else { Action::Limit };
    let matrix = VerdictMatrix::uniform(1, Verdict { action, ..Verdict::FAIL_OPEN });
    Policy {
        table: Arc::new(SignatureTable::from_bytes(&compiled.bytes).unwrap()),
        matrix: Arc::new(matrix.limiting(&limits, |_, _| Some(LimitId(0))).in_windows(windows)),
    }
}

/// A UDP frame between a client of the LAN and a server, of no known protocol.
fn frame(client: u8, port: u16, up: bool) -> Vec<u8> {
    let (client, server) = (([10, 0, 0, client], port), ([203, 0, 113, 9], 7000u16));
    let (src, dst) = if up { (client, server) } else { (server, client) };
    let udp = (FRAME - 34) as u16;
    let mut out = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0];
    out.extend((udp + 20).to_be_bytes());
    out.extend([0, 1, 0x40, 0, 64, 17, 0, 0]);
    out.extend(src.0.iter().chain(&dst.0));
    for half in [src.1, dst.1, udp, 0] {
        out.extend(half.to_be_bytes());
    }
    out.resize(FRAME, 0xa5);
    out
}

struct Bridge {
    lcore: Lcore<MemoryPort, NoSink>,
    outside: [MemoryPort; 2],
    pool: Pool,
    now: u64,
}

impl Bridge {
    fn new() -> Self {
        let ((lan, inner_lan), (uplink, inner_uplink)) = (pair(256), pair(256));
        let classifier = Classifier::new(Options::default(), policy(None), NoSink, 0);
        let lcore = Lcore::new(inner_lan, inner_uplink, classifier);
        Self { lcore, outside: [lan, uplink], pool: Pool::new(512, FRAME), now: SECOND }
    }

    /// Bits a second of frames of each of `senders` that pass in `seconds`, when each sends at twice the rate.
    fn run(&mut self, senders: &[(u8, u16, bool)], seconds: u64) -> Vec<u64> {
        let mut passed = vec![0; senders.len()];
        let step = FRAME as u64 * 8 * SECOND / RATE / 2;
        for _ in 0..seconds * SECOND / step {
            for (client, port, up) in senders {
                let frame = self.pool.frame(&frame(*client, *port, *up)).unwrap();
                self.outside[usize::from(!up)].send(frame).unwrap();
            }
            self.now += step;
            self.lcore.turn(self.now);
            for (side, outside) in self.outside.iter_mut().enumerate() {
                while let Some(frame) = outside.receive() {
                    let bytes = glassgate_dataplane::port::Frame::bytes(&frame).to_vec();
                    let up = side == 1;
                    let same = |(client, port, way): &(u8, u16, bool)| {
                        *way == up && bytes == self::frame(*client, *port, up)
                    };
                    let from = senders.iter().position(same).expect("one of those that were sent");
                    passed[from] += FRAME as u64 * 8;
                }
            }
        }
        passed.iter().map(|bits| bits / seconds).collect()
    }

    fn set(&mut self, per: Option<Per>) {
        self.lcore.classifier().set_policy(policy(per));
    }
}

/// Within 5 % of the rate, a burst aside.
fn is_rate(bits: u64) -> bool {
    (RATE * 95 / 100..=RATE * 105 / 100).contains(&bits)
}

#[test]
fn a_limit_holds_for_flows_that_run_already_and_goes_with_its_rule() {
    let mut bridge = Bridge::new();
    let both_ways = [(1, 4000, true), (1, 4000, false)];
    assert_eq!(bridge.run(&both_ways, 2), [2 * RATE; 2], "no limit yet");
    bridge.set(Some(Per::Rule));
    bridge.run(&both_ways, 2);
    let limited = bridge.run(&both_ways, 10);
    assert!(limited.iter().all(|bits| is_rate(*bits)), "each way for itself: {limited:?}");
    // The same limit once more, as every renewal of the verdicts brings it: no new burst.
    bridge.set(Some(Per::Rule));
    let renewed = bridge.run(&both_ways, 10);
    assert!(renewed.iter().all(|bits| is_rate(*bits)), "{renewed:?}");
    bridge.set(None);
    assert_eq!(bridge.run(&both_ways, 2), [2 * RATE; 2], "free again");
    let counters = bridge.lcore.counters();
    for port in 0..2 {
        let dropped = counters.drop_limit[port] + counters.drop_policy[port] + counters.drop_tx_full[port];
        assert_eq!(counters.rx_frames[port], counters.tx_frames[1 - port] + dropped);
        assert!(counters.drop_limit[port] > 2000, "{}", counters.drop_limit[port]);
        assert_eq!(counters.drop_policy[port], 0);
    }
    assert_eq!(bridge.pool.free(), 512, "what is discarded gives its buffer back");
}

#[test]
fn a_rule_is_shared_and_a_device_has_its_own() {
    // Two flows of one client, one of another.
    let senders = [(1, 4000, true), (1, 4001, true), (2, 4000, true)];
    let mut bridge = Bridge::new();
    bridge.set(Some(Per::Rule));
    bridge.run(&senders, 2);
    let all = bridge.run(&senders, 10);
    assert!(is_rate(all.iter().sum()), "{all:?}");
    bridge.set(Some(Per::Device));
    bridge.run(&senders, 2);
    let each = bridge.run(&senders, 10);
    assert!(is_rate(each[0] + each[1]) && is_rate(each[2]), "{each:?}");
}

#[test]
fn a_quota_is_used_up_by_a_device_and_is_there_again_the_next_day() {
    let mut bridge = Bridge::new();
    let amount = Amount::new(1_000_000);
    let limits = [Limit { pace: Pace::Quota(Quota { amount, every: Every::Day }), per: Per::Device }];
    let day = |bridge: &mut Bridge, n| {
        bridge.lcore.classifier().set_policy(limiting(&limits, [0, n, 0]));
        // Twice the rate is 2 Mbit/s each: 30 seconds are 7.5 MB, or 15 of the one that has two flows.
        let passed = bridge.run(&[(1, 4000, true), (1, 4000, false), (2, 4000, true)], 30);
        passed.into_iter().map(|bits| bits * 30 / 8).collect::<Vec<_>>()
    };
    for n in 1..3 {
        let passed = day(&mut bridge, n);
        // What the rounding of a rate takes away aside.
        let whole = |bytes: u64| (999_980..=1_000_000).contains(&bytes);
        assert!(whole(passed[0] + passed[1]) && whole(passed[2]), "day {n}: {passed:?}");
    }
    assert_eq!(day(&mut bridge, 2), [0; 3], "the same day once more, as every renewal brings it");
    let counters = bridge.lcore.counters();
    assert!(counters.drop_limit[0] > 0 && counters.drop_policy == [0; 2]);
}

#[test]
fn what_was_used_stays_with_its_rule_when_another_is_put_before_it() {
    let quota = |bytes| Limit {
        pace: Pace::Quota(Quota { amount: Amount::new(bytes), every: Every::Week }),
        per: Per::Device,
    };
    let (large, small) = (("large", quota(5_000_000)), ("small", quota(1_000_000)));
    let mut bridge = Bridge::new();
    let mut passed = |rules: &[(&str, Limit)], seconds: u64| {
        bridge.lcore.classifier().set_policy(ruling(rules, [0; 3]));
        bridge.run(&[(1, 4000, true)], seconds)[0] * seconds / 8
    };
    // 2 Mbit/s: 250 kB a second.
    assert_eq!(passed(&[large], 12), 3_000_000);
    let of_small = passed(&[small, large], 12);
    assert!((998_000..=1_000_000).contains(&of_small), "{of_small}");
    let rest = passed(&[large], 30);
    assert!((1_998_000..=2_000_000).contains(&rest), "{rest}");
}
