//! Boxes and their witnesses without a server between them: real logs, one of which is written anew with its own key.

use std::path::Path;
use std::time::{Duration, Instant};

use glassgate_audit::{Clock, Log, Options, Stamp};

use super::asks::{Asks, Heard};
use super::board::Board;
use super::memory::Memory;
use super::said::{Why, Word};
use super::{Ring, said};
use crate::store::Raw;
use crate::words::Site;

const SOON: Duration = Duration::from_secs(20);

struct Still;

impl Clock for Still {
    fn now(&self) -> Stamp {
        Stamp { mono_ns: 1, wall: None, quality: "unknown" }
    }
}

fn site(name: &str) -> Site {
    Site::new(name).unwrap()
}

/// Writes as many records, the last as an act, which signs a checkpoint.
fn write(folder: &Path, what: &str, count: usize) {
    let (log, _) = Log::open(Options::new(folder), 1, Still).unwrap();
    let line = format!("{{\"event_type\":\"{what}\"}}");
    for _ in 0..count {
        log.act(&Still.now(), line.as_bytes(), SOON).unwrap();
    }
    assert!(log.close(SOON));
}

/// Asks once, and again if the witness wants another proof. `tick`: seconds since the witness began.
fn round(asks: &mut Asks, witness: &mut Memory, began: Instant, tick: u64) -> Heard {
    let at = began + Duration::from_secs(20 * tick);
    let mut heard = Heard::Passed;
    for _ in 0..2 {
        let ask = asks.newest().unwrap();
        let answer = witness.hear(&site("a"), &ask.bytes(), 1000 + tick, at).unwrap();
        heard = asks.heard(&site("b"), &answer.bytes()).unwrap();
        if heard != Heard::AskAgain {
            break;
        }
    }
    heard
}

#[test]
fn a_log_that_grows_is_cosigned_and_one_that_was_written_anew_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let (log, memory, kept) = (dir.path().join("log"), dir.path().join("w"), dir.path().join("kept"));
    let began = Instant::now();
    let open = || Memory::open(&site("b"), &[site("a")], &memory).unwrap();
    let asks = || Asks::new(&site("a"), &[site("b")], &log, &kept).unwrap();
    let (mut witness, mut asking) = (open(), asks());
    for tick in 1..4 {
        write(&log, "said", 30);
        assert_eq!(round(&mut asking, &mut witness, began, tick), Heard::Cosigned);
    }
    assert!(Memory::open(&site("b"), &[site("a")], &memory).is_err(), "two of one memory");
    // Both begin again and know nothing but what is on the disk.
    drop(witness);
    let (mut witness, mut asking) = (open(), asks());
    write(&log, "said", 30);
    assert_eq!(round(&mut asking, &mut witness, began, 4), Heard::Cosigned);
    let signed = witness.sizes(&site("a"));
    let report = witness.to_report(true).unwrap();
    witness.reported(&report);
    assert!(witness.to_report(true).is_none());

    // Another past with the same key: shorter, and then longer.
    let old = dir.path().join("old");
    std::fs::rename(&log, &old).unwrap();
    std::fs::create_dir(&log).unwrap();
    std::fs::copy(old.join("key"), log.join("key")).unwrap();
    write(&log, "other", 3);
    assert_eq!(round(&mut asking, &mut witness, began, 5), Heard::Passed);
    assert!(witness.to_report(true).is_none(), "it may be an ask that was held back");
    assert_eq!(round(&mut asking, &mut witness, began, 8), Heard::Refused(Why::Shorter));
    write(&log, "other", 300);
    assert_eq!(round(&mut asking, &mut witness, began, 9), Heard::Refused(Why::Unproven));
    assert_eq!(witness.sizes(&site("a")), signed);
    let refused = witness.to_report(false).unwrap();
    assert_eq!(refused.why, Some(Why::Unproven));

    // What the hub makes of it.
    let sites = [site("a"), site("b")];
    let mut board = Board::open(&dir.path().join("hub.sqlite"), Ring::new(&sites, 3)).unwrap();
    let raw = |report: &said::Report| Raw {
        seq: 1,
        subject: "gg.b.up.witness".to_owned(),
        source: Some("b".to_owned()),
        origin: None,
        payload: report.bytes(),
    };
    assert!(board.take(&[raw(&report)], 1).unwrap().is_empty());
    assert_eq!(board.take(&[raw(&refused), raw(&refused)], 2).unwrap().len(), 1);
    let lines = board.logs().unwrap();
    assert_eq!((lines.len(), lines[0].witnesses), (1, 1));
    assert_eq!(lines[0].size.cast_unsigned(), *signed.values().next().unwrap());
    assert_eq!(board.conflicts().unwrap()[0].times, 2);
    let forged = Raw { source: Some("a".to_owned()), ..raw(&refused) };
    assert!(board.take(&[forged], 3).unwrap().is_empty());
    assert_eq!(board.conflicts().unwrap()[0].times, 2, "what came from another stream counts for nothing");
}

#[test]
fn an_ask_that_was_held_back_is_no_conflict() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let began = Instant::now();
    write(&log, "said", 3);
    let mut asking = Asks::new(&site("a"), &[site("b")], &log, &dir.path().join("kept")).unwrap();
    let mut witness = Memory::open(&site("b"), &[site("a")], &dir.path().join("w")).unwrap();
    let late = asking.newest().unwrap().bytes();
    for tick in [1, 2, 30] {
        write(&log, "said", 3);
        assert_eq!(round(&mut asking, &mut witness, began, tick), Heard::Cosigned);
        let at = began + Duration::from_secs(20 * tick + 10);
        let answer = witness.hear(&site("a"), &late, 1000 + tick, at).unwrap();
        assert_eq!(answer.said, Word::Remembers);
    }
    assert!(
        std::iter::from_fn(|| {
            let report = witness.to_report(true)?;
            witness.reported(&report);
            Some(report.why)
        })
        .all(|why| why.is_none())
    );
}

#[test]
fn a_box_that_asks_without_end_is_answered_now_and_then() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    write(&log, "said", 3);
    let mut asking = Asks::new(&site("a"), &[site("b")], &log, &dir.path().join("kept")).unwrap();
    let mut witness = Memory::open(&site("b"), &[site("a")], &dir.path().join("w")).unwrap();
    let (ask, at) = (asking.newest().unwrap().bytes(), Instant::now());
    let answered = (0..100).filter(|_| witness.hear(&site("a"), &ask, 1, at).is_some()).count();
    assert_eq!((answered, witness.passed.busy), (8, 92));
    assert!(witness.hear(&site("a"), &ask, 1, at + Duration::from_secs(8)).is_some());
    assert!(witness.hear(&site("c"), &ask, 1, at).is_none());
    assert!(witness.hear(&site("a"), b"{}", 1, at + Duration::from_secs(30)).is_none());
    assert_eq!((witness.passed.stranger, witness.passed.form), (1, 1));
}
