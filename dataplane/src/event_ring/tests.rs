use super::*;
use glassgate_policy::vocab::{Action, Evidence, ObservationLevel};
use glassgate_policy::{AppProto, Category, GroupId, ServiceId, SubjectId};
use proptest::prelude::*;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};

fn event(n: u64) -> FlowEvent {
    let kinds = EventKind::ALL;
    FlowEvent {
        seq: 0,
        mono_ns: n,
        bytes_up: n.wrapping_mul(3),
        bytes_down: !n,
        frames_up: n as u32,
        frames_down: 1,
        duration_ms: 2,
        service: ServiceId(n as u32 & 0xffff),
        subject: SubjectId(9),
        group: GroupId(1),
        epoch: 7,
        span_ds: 4,
        quiet_ds: 5,
        kind: kinds[n as usize % kinds.len()],
        app: Some(AppProto::Tls),
        evidence: Evidence::Sni,
        reason: None,
        category: Category::Games,
        action: Action::Allow,
        level: ObservationLevel::Aggregate,
        upload_host: false,
    }
}

#[derive(Clone, Debug)]
enum Op {
    Push(u8),
    Drain(u8),
    NewProducer,
    NewConsumer,
    /// Through a second mapping, as another process has it.
    Reattach,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        4 => any::<u8>().prop_map(Op::Push),
        3 => any::<u8>().prop_map(Op::Drain),
        1 => Just(Op::NewProducer),
        1 => Just(Op::NewConsumer),
        1 => Just(Op::Reattach),
    ];
    proptest::collection::vec(op, 1..200)
}

proptest! {
    /// Against a queue that refuses when it is full: same events, same order, same losses, whoever dies and returns.
    #[test]
    fn behaves_like_a_bounded_queue(ops in ops()) {
        let mut ring = EventRing::create("model", MIN_CAPACITY).unwrap();
        let (mut producer, mut consumer) = (ring.producer(), ring.consumer());
        let (mut model, mut lost, mut offered) = (VecDeque::new(), [0u64; 3], 0u64);
        let mut next = 0;
        for op in ops {
            match op {
                Op::Push(n) => for _ in 0..n {
                    let sent = event(offered);
                    let fits = model.len() < MIN_CAPACITY;
                    prop_assert_eq!(producer.push(sent), fits);
                    if fits {
                        model.push_back(FlowEvent { seq: offered, ..sent });
                    } else {
                        lost[EventKind::ALL.iter().position(|k| *k == sent.kind).unwrap()] += 1;
                    }
                    offered += 1;
                },
                Op::Drain(max) => {
                    let mut got = Vec::new();
                    let taken = consumer.drain(max.into(), |e| got.push(e));
                    let expected: Vec<_> = model.drain(..model.len().min(max.into())).collect();
                    prop_assert_eq!(taken, got.len());
                    next = got.last().map_or(next, |event: &FlowEvent| event.seq + 1);
                    prop_assert_eq!(got, expected);
                }
                Op::NewProducer => producer = ring.producer(),
                Op::NewConsumer => consumer = ring.consumer(),
                Op::Reattach => {
                    ring = EventRing::attach(ring.fd().try_clone_to_owned().unwrap()).unwrap();
                    (producer, consumer) = (ring.producer(), ring.consumer());
                }
            }
            prop_assert_eq!(consumer.next_seq(), next, "also what a successor knows");
            prop_assert_eq!(producer.offered(), offered);
            let counters = ring.watch();
            prop_assert_eq!(counters.lost, lost);
            prop_assert_eq!(counters.sent - counters.received, model.len() as u64);
            prop_assert_eq!(counters.sent + counters.lost_total(), offered);
            prop_assert_eq!((counters.bad_events, counters.bad_indices), (0, 0));
        }
    }

    /// Whatever stands in the shared memory, neither side panics, loops or takes more than the ring holds.
    #[test]
    fn hostile_memory(words in proptest::collection::vec((0..(SLOTS_AT / 8 + MIN_CAPACITY * 8), any::<u64>()), 0..64)) {
        let ring = EventRing::create("hostile", MIN_CAPACITY).unwrap();
        let (mut producer, mut consumer) = (ring.producer(), ring.consumer());
        for (word, value) in words {
            store(&ring.region, word * 8, value);
            producer.push(event(1));
            let taken = consumer.drain(usize::MAX, |_| {});
            prop_assert!(taken <= 2 * MIN_CAPACITY);
            let (mut producer, mut consumer) = (ring.producer(), ring.consumer());
            producer.push(event(2));
            let taken = consumer.drain(usize::MAX, |_| {});
            prop_assert!(taken <= 2 * MIN_CAPACITY);
        }
    }
}

#[test]
fn a_cursor_that_cannot_be_is_counted_and_left_behind() {
    let ring = EventRing::create("cursor", MIN_CAPACITY).unwrap();
    let (mut producer, mut consumer) = (ring.producer(), ring.consumer());
    producer.push(event(0));
    store(&ring.region, HEAD_AT, 1 << 40);
    assert_eq!(consumer.drain(usize::MAX, |_| panic!("nothing here can be believed")), 0);
    assert_eq!(consumer.counters().bad_indices, 1);
    // The producer writes its own cursor with its next event: skipped to again, then all is well.
    producer.push(event(1));
    assert_eq!(consumer.drain(usize::MAX, |_| panic!("skipped")), 0);
    producer.push(event(2));
    let mut got = Vec::new();
    consumer.drain(usize::MAX, |e| got.push(e.mono_ns));
    assert_eq!((got, consumer.counters().bad_indices), (vec![2], 2));
}

#[test]
fn a_consumer_ahead_of_the_producer_reads_as_full() {
    let ring = EventRing::create("ahead", MIN_CAPACITY).unwrap();
    let mut producer = ring.producer();
    store(&ring.region, TAIL_AT, 99);
    for n in 0..MIN_CAPACITY as u64 + 1 {
        producer.push(event(n));
    }
    assert_eq!(producer.offered(), MIN_CAPACITY as u64 + 1);
    assert_eq!(ring.watch().lost_total(), 1);
}

#[test]
fn bad_codes_are_counted() {
    let ring = EventRing::create("codes", MIN_CAPACITY).unwrap();
    let (mut producer, mut consumer) = (ring.producer(), ring.consumer());
    for n in 0..3 {
        producer.push(event(n));
    }
    store(&ring.region, SLOTS_AT + FlowEvent::SIZE + 56, u64::MAX);
    let mut got = Vec::new();
    assert_eq!(consumer.drain(usize::MAX, |e| got.push(e.seq)), 3);
    assert_eq!((got, ring.watch().bad_events), (vec![0, 2], 1));
}

#[test]
fn what_is_no_ring_is_refused() {
    for capacity in [0, 1, 63, 65, 96, MAX_CAPACITY * 2] {
        assert!(EventRing::create("bad", capacity).is_err(), "{capacity}");
    }
    let ring = EventRing::create("ring", MIN_CAPACITY).unwrap();
    let attach = |ring: &EventRing| EventRing::attach(ring.fd().try_clone_to_owned().unwrap());
    store(&ring.region, CAPACITY_AT, MIN_CAPACITY as u64 * 2);
    assert!(matches!(attach(&ring), Err(ShmError::Header { what: "capacity", .. })));
    store(&ring.region, CAPACITY_AT, MIN_CAPACITY as u64);
    assert!(attach(&ring).is_ok());
    store(&ring.region, 0, MAGIC + 1);
    assert!(matches!(attach(&ring), Err(ShmError::Magic { .. })));
    let odd = Region::create("odd", bytes_for(MIN_CAPACITY as u64) + 8).unwrap();
    assert!(matches!(
        EventRing::attach(odd.fd().try_clone_to_owned().unwrap()),
        Err(ShmError::Size { .. } | ShmError::Magic { .. })
    ));
}

/// Producer and consumer at full speed on two threads and a small ring: every event arrives once, in order and
/// untorn, or is counted as lost.
#[test]
fn two_threads_at_full_speed() {
    const OFFERED: u64 = 300_000;
    let ring = EventRing::create("stress", 256).unwrap();
    let (mut producer, mut consumer) = (ring.producer(), ring.consumer());
    let (mut received, mut next) = (0u64, 0u64);
    std::thread::scope(|scope| {
        let sender = scope.spawn(move || {
            for n in 0..OFFERED {
                producer.push(event(n));
            }
        });
        loop {
            let done = sender.is_finished();
            let taken = consumer.drain(64, |got| {
                assert!(got.seq >= next, "order");
                assert_eq!(got, FlowEvent { seq: got.seq, ..event(got.seq) }, "torn");
                (received, next) = (received + 1, got.seq + 1);
            });
            if taken == 0 {
                if done {
                    break;
                }
                std::thread::yield_now();
            }
        }
    });
    let counters = ring.watch();
    assert_eq!(received + counters.lost_total(), OFFERED);
    assert_eq!((counters.sent, counters.received), (received, received));
    assert!(received > 0);
}

/// Not a test of its own: the other process of [`survives_kill_9_of_the_producer`].
#[test]
fn producer_process() {
    let Ok(path) = std::env::var("EVENT_RING_OF_PARENT") else { return };
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let mut producer = EventRing::attach(file.into()).unwrap().producer();
    println!("READY");
    loop {
        let n = producer.offered();
        producer.push(event(n));
    }
}

#[test]
fn survives_kill_9_of_the_producer() {
    let ring = EventRing::create("processes", 1024).unwrap();
    let path = format!("/proc/{}/fd/{}", std::process::id(), ring.fd().as_raw_fd());
    let start = || -> Child {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "event_ring::tests::producer_process", "--nocapture"])
            .env("EVENT_RING_OF_PARENT", &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.map(Result::unwrap).any(|l| l.contains("READY")), "the child came up");
        child
    };
    let mut consumer = ring.consumer();
    let (mut received, mut next) = (0u64, 0u64);
    for _ in 0..3 {
        let (mut child, target) = (start(), received + 20_000);
        while received < target {
            consumer.drain(64, |got| {
                assert!(got.seq >= next, "order across restarts: {} after {next}", got.seq);
                assert_eq!(got, FlowEvent { seq: got.seq, ..event(got.seq) }, "torn");
                (received, next) = (received + 1, got.seq + 1);
            });
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // And the receiving end dies too.
        consumer = ring.consumer();
    }
    while consumer.drain(64, |got| (received, next) = (received + 1, got.seq + 1)) > 0 {}
    let counters = ring.watch();
    assert_eq!((counters.sent, counters.received), (received, received));
    assert_eq!((counters.bad_events, counters.bad_indices), (0, 0));
    // A kill between the loss and its count leaves at most nothing: the number is taken from the counts.
    assert!(next <= received + counters.lost_total());
}

#[test]
fn an_event_that_kills_its_reader_is_not_read_again() {
    let ring = EventRing::create("poison", MIN_CAPACITY).unwrap();
    let mut producer = ring.producer();
    for n in 0..20 {
        assert!(producer.push(event(n)));
    }
    let mut read = Vec::new();
    for poison in [7, 8, 15] {
        // Each reader begins where the one before died, as another process does.
        let mut consumer = ring.consumer();
        let died = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            consumer.drain(100, |event| {
                assert_ne!(event.seq, poison, "the reader dies over it");
                read.push(event.seq);
            })
        }));
        assert!(died.is_err());
    }
    ring.consumer().drain(100, |event| read.push(event.seq));
    let expected: Vec<u64> = (0..20).filter(|n| ![7, 8, 15].contains(n)).collect();
    assert_eq!(read, expected);
}
