//! The logs of boxes: real ones, written while they are read, with what may go up and what may not.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use glassgate_audit::reader::Reader;
use glassgate_audit::{Clock, Log, Options, Stamp};
use glassgate_policy::Category;
use glassgate_policy::audit::{Bucket, Counts, Measure, Of, OnRecord, Record, Span, Volume, Window, Word};
use glassgate_policy::vocab::ObservationLevel;
use ring::digest;

/// What stands in records, and in members of records, that stay where they are.
pub(super) const CANARY: &[u8] = b"CANARY-7f3a";
/// A word of records that go up: whoever searches for the one has to find the other.
pub(super) const WITNESS: &[u8] = b"boss-zhipin";
/// How often the writer writes its round of records.
const EVERY: Duration = Duration::from_millis(40);

/// The clock of a box.
pub(super) struct Monotonic;

impl Clock for Monotonic {
    fn now(&self) -> Stamp {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let mono_ns = now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs();
        Stamp { mono_ns, wall: Some(jiff::Timestamp::now()), quality: "synchronized" }
    }
}

/// Writes a log until it is told to stop.
pub(super) struct Writer {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Result<()>>,
}

impl Writer {
    pub(super) fn start(folder: &Path, seed: u64) -> Result<Self> {
        let options = Options { checkpoint_every: Duration::from_secs(2), ..Options::new(folder) };
        let (log, _) = Log::open(options, 1, Monotonic)?;
        let over = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&over);
        let thread = std::thread::spawn(move || write(&log, seed, &until).and_then(|()| close(log)));
        Ok(Self { over, thread })
    }

    /// Ends it, with all that it wrote durable.
    pub(super) fn stop(self) -> Result<()> {
        self.over.store(true, Ordering::SeqCst);
        self.thread.join().map_err(|_| anyhow!("the writer of a log panicked"))?
    }
}

/// Ends a log, with all of it durable.
pub(super) fn close(log: Log) -> Result<()> {
    ensure!(log.close(Duration::from_secs(20)), "a log was not closed in time");
    Ok(())
}

fn write(log: &Log, seed: u64, over: &AtomicBool) -> Result<()> {
    let canary = String::from_utf8_lossy(CANARY);
    let secrets = [
        format!(r#"{{"event_type":"login","account":"{canary}","uid":1000,"address":"192.0.2.7"}}"#),
        format!(r#"{{"event_type":"session","pseudonym":"{canary}","sealed":"{canary}"}}"#),
        format!(r#"{{"event_type":"case_opened","subject":"{canary}","reason":"{canary}"}}"#),
        format!(
            r#"{{"event_type":"alert","alert":"port_down","state":"raised","severity":"critical","about":"{canary}"}}"#
        ),
        format!(r#"{{"event_type":"gap","cause":"write_failed","records":0,"error":"{canary}"}}"#),
        format!(
            r#"{{"event_type":"started","version":"0.1.0","host":"{canary}","mac":"02:00:5e:{canary}"}}"#
        ),
    ];
    let mut n = seed;
    while !over.load(Ordering::SeqCst) {
        let at = Monotonic.now();
        for service in [Some("boss-zhipin"), None] {
            n += 1;
            let record = rollup(n, service);
            log.append(&at, &record.to_json());
        }
        log.append(&at, &uploads(n).to_json());
        let secret =
            secrets.get(usize::try_from(n)? % secrets.len()).map(String::as_bytes).unwrap_or_default();
        log.append(&at, secret);
        std::thread::sleep(EVERY);
    }
    Ok(())
}

fn window(n: u64) -> Window {
    let start =
        jiff::Timestamp::from_second(1_800_000_000 + (n / 8).cast_signed() * 3600).unwrap_or_default();
    let end = jiff::Timestamp::from_second(start.as_second() + 3600).unwrap_or_default();
    Window { start: Some(start), end: Some(end), start_mono_ns: n, end_mono_ns: n + 1, complete: true }
}

fn of(n: u64, service: Option<&str>) -> Of<'_> {
    let category =
        OnRecord::new(Category::ALL.iter().copied().find(|c| !c.is_protected()).unwrap_or(Category::ALL[0]));
    let people = 10 + usize::try_from(n % 90).unwrap_or_default();
    Of {
        span: Word(Span::Hour),
        group: Some("研发"),
        category,
        service,
        rest: service.is_none(),
        subjects: Bucket::of(people, 10),
        k: 10,
    }
}

fn rollup(n: u64, service: Option<&'static str>) -> Record<'static> {
    Record::GroupRollup {
        level: Word(ObservationLevel::Aggregate),
        window: window(n),
        of: of(n, service),
        flows: 1000 + n,
        flow: Volume {
            pkts_toserver: n,
            pkts_toclient: n,
            bytes_toserver: 1_000_000 + n,
            bytes_toclient: 9_000_000 + n,
        },
        visits: 20 + n % 7,
        active_s: 4000 + n,
        blocked_percent: Some(0),
        evidence_percent: Counts(vec![("sni", 88), ("quic_sni", 12)]),
        reasons_percent: Counts::default(),
        app_proto_percent: Counts(vec![("tls", 88), ("quic", 12)]),
    }
}

fn uploads(n: u64) -> Record<'static> {
    Record::Uploads {
        level: Word(ObservationLevel::Aggregate),
        window: window(n),
        measure: Word(Measure::Uploads),
        of: of(n, Some("boss-zhipin")),
        uploads: 10 + n % 5,
        bytes: 9_000_000 + n,
    }
}

/// The name of a log, as agents say it.
pub(super) fn log_id(folder: &Path) -> Result<String> {
    let key = std::fs::read_to_string(folder.join("key.pub")).context("key.pub")?;
    let digest = digest::digest(&digest::SHA256, key.trim_end().as_bytes());
    Ok(digest.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect())
}

/// Goes on with a log, or begins one where there is none but its private key, until it has so many entries at least; all are signed. One that is gone on with has a
/// `gap` more: nobody kept count for it.
pub(super) fn lengthen(folder: &Path, entries: u64) -> Result<()> {
    let there = if folder.join("checkpoint").exists() { last(folder)? + 1 } else { 0 };
    let (log, _) = Log::open(Options::new(folder), 2, Monotonic)?;
    for n in there..entries {
        if !log.has_room() {
            log.flush(Duration::from_secs(30)).map_err(|why| anyhow::anyhow!("entry {n}: {why}"))?;
        }
        let record = format!(r#"{{"event_type":"login","account":"nobody","uid":{n}}}"#);
        ensure!(log.append(&Monotonic.now(), record.as_bytes()), "the log has no room for entry {n}");
    }
    close(log)?;
    let written = last(folder)? + 1;
    ensure!(written >= entries, "the log has {written} entries, not {entries}");
    Ok(())
}

/// The rows of counts that a log has, read from the log itself.
pub(super) fn rows(site: &str, folder: &Path) -> Result<super::Rows> {
    let log = log_id(folder)?;
    let mut rows = BTreeMap::new();
    for entry in Reader::open(folder)?.entries(0) {
        let (seq, line) = entry?;
        let record: serde_json::Value = serde_json::from_slice(&line)?;
        let n = |name: &str| record[name].as_u64().unwrap_or_default();
        let row = match record["event_type"].as_str() {
            Some("group_rollup") => ("use".to_owned(), n("flows"), n("active_s")),
            Some("uploads") => {
                (record["measure"].as_str().unwrap_or_default().to_owned(), n("uploads"), n("bytes"))
            }
            _ => continue,
        };
        rows.insert((site.to_owned(), log.clone(), seq), row);
    }
    Ok(rows)
}

/// The number of the last entry that is durable in a log.
pub(super) fn last(folder: &Path) -> Result<u64> {
    let mut last = 0;
    for entry in Reader::open(folder)?.entries(0) {
        last = entry?.0;
    }
    Ok(last)
}
