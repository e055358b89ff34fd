//! Numbered datagrams from a device to the router, across the gateway: whether all of them arrive, unchanged.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, LazyLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::lab::Lab;
use crate::lab::devices::Device;

const PAYLOAD: usize = 400;
const PORT: u16 = 9099;
/// What times on the way are kept in: steps of ten microseconds, up to a tenth of a second.
const STEP_US: u64 = 10;
const STEPS: usize = 10_000;

/// Both ends of a stream are on one machine and in one process: they have one clock.
static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

/// What became of a stream.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// Received with other bytes than were sent.
    pub(crate) wrong: u64,
    /// Received more than once.
    pub(crate) twice: u64,
    /// On their way: half of them not longer, 99 of 100, and all of them. Half and 99 of 100 to ten microseconds, and a tenth of a second at most; they are those of
    /// the middle one of all seconds, in order of what they are: one in which this machine was elsewhere says nothing about the gateway.
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) longest: Duration,
}

impl Figures {
    /// Whether all arrived once and as they were sent, and the words for it.
    pub(crate) fn unharmed(&self) -> (bool, String) {
        let lost = self.sent.saturating_sub(self.received);
        let words = format!(
            "{lost} of {} datagrams lost, {} changed, {} came twice",
            self.sent, self.wrong, self.twice
        );
        (lost == 0 && self.wrong == 0 && self.twice == 0 && self.sent > 0, words)
    }
}

/// A stream that flows.
pub(crate) struct Stream {
    sends: JoinHandle<Result<u64>>,
    receives: JoinHandle<Result<Figures>>,
    over: Arc<AtomicBool>,
    /// Nobody said when it ends; it does so when this is set.
    enough: Option<Arc<AtomicBool>>,
}

impl Stream {
    /// Has `from` send so many datagrams a second until then.
    pub(crate) fn start(lab: &Lab, from: &Device, per_s: u32, until: Instant) -> Result<Self> {
        Self::send(lab, from, None, move |n_th| send(per_s, || Instant::now() < until, n_th))
    }

    /// The same, until it is [`Self::end`]ed.
    pub(crate) fn flow(lab: &Lab, from: &Device, per_s: u32) -> Result<Self> {
        let enough = Arc::new(AtomicBool::new(false));
        let goes_on = {
            let enough = enough.clone();
            move || !enough.load(Relaxed)
        };
        Self::send(lab, from, Some(enough), move |n_th| send(per_s, goes_on, n_th))
    }

    fn send(
        lab: &Lab,
        from: &Device,
        enough: Option<Arc<AtomicBool>>,
        sends: impl FnOnce(fn(u64) -> [u8; PAYLOAD]) -> Result<u64> + Send + 'static,
    ) -> Result<Self> {
        LazyLock::force(&EPOCH);
        let over = Arc::new(AtomicBool::new(false));
        // Nothing is sent before there is a socket for it.
        let (ready, is_ready) = channel();
        let receives = {
            let over = over.clone();
            lab.wan.enter(move || receive(&over, &ready))?
        };
        // A thread that failed says why when it is joined.
        if is_ready.recv().is_err() {
            joined(receives)?;
            bail!("nobody receives");
        }
        let sends = lab.netns(from).enter(move || sends(stamped))?;
        Ok(Self { sends, receives, over, enough })
    }

    /// Ends it, if nobody said when it ends, or waits for its end.
    pub(crate) fn end(self) -> Result<Figures> {
        if let Some(enough) = &self.enough {
            enough.store(true, Relaxed);
        }
        let sent = joined(self.sends)?;
        self.over.store(true, Relaxed);
        Ok(Figures { sent, ..joined(self.receives)? })
    }
}

/// What a thread came to.
pub(crate) fn joined<T>(thread: JoinHandle<Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|_| bail!("a thread panicked"))
}

/// Does something `per_s` times a second until then: in portions of a millisecond, and late ones at once. How often.
pub(crate) fn paced(per_s: u32, until: Instant, work: impl FnMut(u64) -> Result<()>) -> Result<u64> {
    paced_while(per_s, || Instant::now() < until, work)
}

/// The same for as long as that is so.
pub(crate) fn paced_while(
    per_s: u32,
    goes_on: impl Fn() -> bool,
    mut work: impl FnMut(u64) -> Result<()>,
) -> Result<u64> {
    let began = Instant::now();
    let mut done = 0;
    while goes_on() {
        let due = began.elapsed().as_micros() as u64 * u64::from(per_s) / 1_000_000;
        // What the machine was late for comes later, not all at once: the receiver's queue is not what is measured.
        for _ in 0..due.saturating_sub(done).min(u64::from(per_s) / 100) {
            work(done)?;
            done += 1;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(done)
}

/// Its number, when it is sent, and bytes that follow from the number.
fn payload(n: u64, at_us: u64) -> [u8; PAYLOAD] {
    let mut bytes = [0; PAYLOAD];
    bytes[..8].copy_from_slice(&n.to_be_bytes());
    bytes[8..16].copy_from_slice(&at_us.to_be_bytes());
    for (i, byte) in bytes.iter_mut().enumerate().skip(16) {
        *byte = (n as usize * 31 + i) as u8;
    }
    bytes
}

fn stamped(n: u64) -> [u8; PAYLOAD] {
    payload(n, now_us())
}

fn now_us() -> u64 {
    EPOCH.elapsed().as_micros() as u64
}

/// Sends them.
fn send(per_s: u32, goes_on: impl Fn() -> bool, n_th: fn(u64) -> [u8; PAYLOAD]) -> Result<u64> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(("10.77.0.1", PORT))?;
    paced_while(per_s, goes_on, |n| {
        socket.send(&n_th(n)).context("sending the stream")?;
        Ok(())
    })
}

/// What becomes of them.
fn receive(over: &AtomicBool, ready: &Sender<()>) -> Result<Figures> {
    let socket = UdpSocket::bind(("10.77.0.1", PORT))?;
    rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, 32 << 20)?;
    socket.set_read_timeout(Some(Duration::from_millis(300)))?;
    ready.send(())?;
    let (mut figures, mut bytes) = (Figures::default(), [0; PAYLOAD + 1]);
    let mut seen = Vec::new();
    let mut took = Took::default();
    loop {
        match socket.recv(&mut bytes) {
            Ok(len) => {
                let word =
                    |at: usize| bytes[at..].first_chunk().map_or(0, |first| u64::from_be_bytes(*first));
                let (n, at_us) = (word(0), word(8));
                if len != PAYLOAD || bytes[..PAYLOAD] != payload(n, at_us) {
                    figures.wrong += 1;
                    continue;
                }
                let at = n as usize;
                if seen.len() <= at {
                    seen.resize(at + 1, false);
                }
                let again = std::mem::replace(&mut seen[at], true);
                figures.twice += u64::from(again);
                figures.received += u64::from(!again);
                let now = now_us();
                took.note(now.saturating_sub(at_us), now);
            }
            // Nothing is on its way any more.
            Err(_) if over.load(Relaxed) => {
                let longest = Duration::from_micros(took.longest_us);
                let [p50, p99] = took.quantiles();
                return Ok(Figures { p50, p99, longest, ..figures });
            }
            Err(_) => {}
        }
    }
}

/// How long datagrams were on their way: second by second.
struct Took {
    steps: Vec<u64>,
    /// When the second that is counted began.
    began_us: Option<u64>,
    /// Half and 99 of 100 of each second that is over.
    seconds: [Vec<Duration>; 2],
    longest_us: u64,
}

impl Default for Took {
    fn default() -> Self {
        Self { steps: vec![0; STEPS], began_us: None, seconds: Default::default(), longest_us: 0 }
    }
}

impl Took {
    fn note(&mut self, us: u64, at_us: u64) {
        let began = *self.began_us.get_or_insert(at_us);
        if at_us >= began + 1_000_000 {
            self.end_second();
            self.began_us = Some(at_us);
        }
        self.steps[((us / STEP_US) as usize).min(STEPS - 1)] += 1;
        self.longest_us = self.longest_us.max(us);
    }

    fn end_second(&mut self) {
        for (all, percent) in self.seconds.iter_mut().zip([50, 99]) {
            all.push(quantile(&self.steps, percent));
        }
        self.steps.fill(0);
    }

    /// Half and 99 of 100 of the middle second. What is left at the end counts as one where there is no other.
    fn quantiles(mut self) -> [Duration; 2] {
        if self.seconds[0].is_empty() {
            self.end_second();
        }
        self.seconds.map(|mut all| {
            all.sort_unstable();
            all[all.len() / 2]
        })
    }
}

fn quantile(steps: &[u64], percent: u64) -> Duration {
    let all: u64 = steps.iter().sum();
    let mut left = all * percent / 100;
    let at = steps.iter().position(|n| {
        let found = *n > left;
        left = left.saturating_sub(*n);
        found
    });
    Duration::from_micros((at.unwrap_or_default() as u64 + 1) * STEP_US)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_on_the_way() {
        let mut took = Took::default();
        (0..1000).for_each(|us| took.note(us, us));
        took.note(7_000_000, 1000);
        assert_eq!(took.longest_us, 7_000_000);
        assert_eq!(took.quantiles(), [510, 1000].map(Duration::from_micros));
    }

    #[test]
    fn one_bad_second_of_three_says_nothing() {
        let mut took = Took::default();
        for second in 0..4 {
            let slow = if second == 1 { 50_000 } else { 0 };
            (0..1000).for_each(|us| took.note(us + slow, second * 1_000_000 + us));
        }
        assert_eq!(took.quantiles(), [510, 1000].map(Duration::from_micros));
    }
}
