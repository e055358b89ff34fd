//! What DPDK has to say: every line goes to one sink, and the last of them into errors.

use std::collections::VecDeque;
use std::ffi::c_char;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Takes DPDK's log lines, on the thread that logs them.
pub type LogSink = Arc<dyn Fn(LogLevel, &str) + Send + Sync>;

/// How grave a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Something failed.
    Error,
    /// Something is not as it should be, and works.
    Warning,
    /// Worth knowing.
    Notice,
    /// Progress.
    Info,
    /// For whoever works on DPDK.
    Debug,
}

impl LogLevel {
    /// DPDK's number of the level: that of syslog, plus one.
    pub(crate) fn number(self) -> u32 {
        match self {
            Self::Error => 4,
            Self::Warning => 5,
            Self::Notice => 6,
            Self::Info => 7,
            Self::Debug => 8,
        }
    }

    fn from_number(number: i32) -> Self {
        match number {
            ..=4 => Self::Error,
            5 => Self::Warning,
            6 => Self::Notice,
            7 => Self::Info,
            _ => Self::Debug,
        }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Notice => "notice",
            Self::Info => "info",
            Self::Debug => "debug",
        })
    }
}

/// Lines that are kept to explain an error: enough for a failed start, which says its reason some lines before it
/// gives up.
const KEPT: usize = 64;

struct Log {
    sink: Option<LogSink>,
    kept: VecDeque<String>,
    seen: u64,
}

static LOG: Mutex<Log> = Mutex::new(Log { sink: None, kept: VecDeque::new(), seen: 0 });

fn log() -> MutexGuard<'static, Log> {
    // The lock is never held while foreign code runs, and each change under it is complete in itself.
    LOG.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends DPDK's lines to `sink` from now on. False when the C library has no memory for the stream.
pub(crate) fn capture(sink: Option<LogSink>, level: LogLevel) -> bool {
    log().sink = sink;
    // SAFETY: `on_line` is callable from any thread for the rest of the process and keeps no pointer it is given.
    let stream = unsafe { dpdk_sys::shim_log_stream(Some(on_line)) };
    if stream.is_null() {
        return false;
    }
    // SAFETY: `stream` is an open stream, which is never closed. Allowed before the EAL is initialised, and needed
    // then: otherwise the EAL opens its own on standard error and syslog.
    unsafe { dpdk_sys::rte_openlog_stream(stream.cast()) };
    // SAFETY: sets a number.
    unsafe { dpdk_sys::rte_log_set_global_level(level.number()) };
    true
}

/// A place in the log, to ask later what came after it.
pub(crate) fn mark() -> u64 {
    log().seen
}

/// The lines since `mark`, as far as they are kept, oldest first.
pub(crate) fn since(mark: u64) -> Vec<String> {
    let log = log();
    let new = usize::try_from(log.seen.saturating_sub(mark)).unwrap_or(usize::MAX);
    log.kept.iter().skip(log.kept.len().saturating_sub(new)).cloned().collect()
}

extern "C" fn on_line(text: *const c_char, length: usize) {
    // SAFETY: the C library hands over `length` bytes that it owns for the time of the call.
    let bytes = unsafe { std::slice::from_raw_parts(text.cast::<u8>(), length) };
    // SAFETY: reads a thread-local that DPDK set before it wrote the line.
    let level = LogLevel::from_number(unsafe { dpdk_sys::rte_log_cur_msg_loglevel() });
    let text = String::from_utf8_lossy(bytes);
    for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
        let sink = {
            let mut log = log();
            if log.kept.len() == KEPT {
                log.kept.pop_front();
            }
            log.kept.push_back(line.to_owned());
            log.seen += 1;
            log.sink.clone()
        };
        if let Some(sink) = sink {
            // A panic must not unwind into C; the line is in `kept` in any case.
            let _ = catch_unwind(AssertUnwindSafe(|| sink(level, line)));
        }
    }
}
