//! Those who flood the gateway's own address, and a stream that crosses it meanwhile.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::net::{AddressFamily, SendFlags, SocketType, ipproto, sendto, socket};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::{PORT, V4};
use crate::lab::Lab;
use crate::lab::devices::DEVICES;
use crate::lab::netns::Netns;

/// SYNs a second.
const SYNS: u32 = 10_000;
/// A source of the LAN that nobody has: no reset answers for it.
const NOBODY: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 200);
/// Flows that are opened and say nothing.
const IDLE: usize = 1000;
/// Of those that are open, every so many send a request that never ends.
const SLOW_EVERY: usize = 2;
/// Datagrams a second that cross the gateway, and their payload.
const STREAM: u32 = 2000;
const PAYLOAD: usize = 400;
const STREAM_PORT: u16 = 9099;

/// What they did.
pub(super) struct Figures {
    pub(super) syns_per_s: u64,
    pub(super) wanted: usize,
    pub(super) opened: u64,
    pub(super) slow: u64,
    pub(super) stream_sent: u64,
    pub(super) stream_received: u64,
    /// Received with other bytes than were sent.
    pub(super) stream_wrong: u64,
}

/// All of them at work.
pub(super) struct Flood {
    until: Instant,
    opened: Arc<AtomicU64>,
    slow: Arc<AtomicU64>,
    syns: JoinHandle<Result<u64>>,
    idle: JoinHandle<Result<()>>,
    sends: JoinHandle<Result<u64>>,
    receives: JoinHandle<Result<(u64, u64)>>,
    over: Arc<AtomicBool>,
    // They live as long as those who work in them.
    _where: [Netns; 2],
}

impl Flood {
    /// Starts them, for so long.
    pub(super) fn start(lab: &Lab, length: Duration) -> Result<Self> {
        let join = |name: &str, mac: &str, address: &str| -> Result<Netns> {
            let netns = lab.newcomer(name, mac)?;
            netns.ip(&format!("addr add {address}/24 dev eth0"))?;
            Ok(netns)
        };
        let flooder = join("flooder", "00:00:5e:00:53:f0", "10.77.0.240")?;
        let idler = join("idler", "00:00:5e:00:53:f1", "10.77.0.241")?;
        let over = Arc::new(AtomicBool::new(false));
        let receives = {
            let over = over.clone();
            lab.wan.enter(move || receive(&over))?
        };
        let until = Instant::now() + length;
        let (opened, slow) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let syns = flooder.enter(move || flood(until))?;
        let idle = {
            let (opened, slow) = (opened.clone(), slow.clone());
            idler.enter(move || idle(until, &opened, &slow))?
        };
        let sends = lab.netns(&DEVICES[2]).enter(move || stream(until))?;
        Ok(Self { until, opened, slow, syns, idle, sends, receives, over, _where: [flooder, idler] })
    }

    /// When they are done.
    pub(super) fn until(&self) -> Instant {
        self.until
    }

    /// Whether they are done.
    pub(super) fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    /// Waits for them, and gives what they did.
    pub(super) fn end(self) -> Result<Figures> {
        let syns = joined(self.syns)?;
        joined(self.idle)?;
        let stream_sent = joined(self.sends)?;
        self.over.store(true, Relaxed);
        let (stream_received, stream_wrong) = joined(self.receives)?;
        Ok(Figures {
            syns_per_s: syns / super::FLOOD.as_secs(),
            wanted: IDLE,
            opened: self.opened.load(Relaxed),
            slow: self.slow.load(Relaxed),
            stream_sent,
            stream_received,
            stream_wrong,
        })
    }
}

pub(super) fn joined<T>(thread: JoinHandle<Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|_| bail!("a thread panicked"))
}

/// Does something `per_s` times a second until then: in portions of a millisecond, and late ones at once. How often.
fn paced(per_s: u32, until: Instant, mut work: impl FnMut(u64) -> Result<()>) -> Result<u64> {
    let began = Instant::now();
    let mut done = 0;
    while Instant::now() < until {
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

/// SYNs from a source that nobody has, each of another port.
fn flood(until: Instant) -> Result<u64> {
    let raw = socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::RAW)).context("a raw socket")?;
    let to: Ipv4Addr = V4.parse()?;
    paced(SYNS, until, |n| {
        let frame = syn(NOBODY, to, 1024 + (n % 60_000) as u16, n as u32);
        // A full queue of the sender is the sender's loss.
        _ = sendto(&raw, &frame, SendFlags::empty(), &SocketAddrV4::new(to, 0));
        Ok(())
    })
}

fn syn(from: Ipv4Addr, to: Ipv4Addr, port: u16, sequence: u32) -> Vec<u8> {
    let mut tcp = [port.to_be_bytes(), PORT.to_be_bytes()].concat();
    tcp.extend(sequence.to_be_bytes());
    tcp.extend([0, 0, 0, 0, 5 << 4, 2, 0xff, 0xff, 0, 0, 0, 0]);
    let pseudo = [&from.octets()[..], &to.octets(), &[0, 6, 0, 20], &tcp].concat();
    let sum = pseudo.chunks(2).fold(0u32, |sum, b| sum + u32::from(u16::from_be_bytes([b[0], b[1]])));
    let folded = (sum & 0xffff) + (sum >> 16);
    let sum = !((folded & 0xffff) + (folded >> 16)) as u16;
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    // The kernel fills in length, identification and checksum of the header.
    let ip = [0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0];
    [&ip[..], &from.octets(), &to.octets(), &tcp].concat()
}

/// Flows that are opened, opened again when they end, and say nothing or never finish.
fn idle(until: Instant, opened: &Arc<AtomicU64>, slow: &Arc<AtomicU64>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let to: SocketAddr = format!("{V4}:{PORT}").parse()?;
    runtime.block_on(async {
        for n in 0..IDLE {
            let (opened, slow) = (opened.clone(), slow.clone());
            tokio::spawn(async move {
                loop {
                    let Ok(mut flow) = TcpStream::connect(to).await else {
                        tokio::time::sleep(Duration::from_millis(200)).await;
                        continue;
                    };
                    opened.fetch_add(1, Relaxed);
                    if n % SLOW_EVERY == 0 {
                        slow.fetch_add(1, Relaxed);
                        _ = flow.write_all(b"GET / HTTP/1.1\r\nHost: 10.77.0.2\r\n").await;
                        while flow.write_all(b"X-A: b\r\n").await.is_ok() {
                            tokio::time::sleep(Duration::from_millis(500)).await;
                        }
                    } else {
                        // Until the gateway has had enough.
                        _ = flow.readable().await;
                    }
                }
            });
        }
        tokio::time::sleep_until(until.into()).await;
    });
    Ok(())
}

fn payload(n: u64) -> [u8; PAYLOAD] {
    let mut bytes = [0; PAYLOAD];
    bytes[..8].copy_from_slice(&n.to_be_bytes());
    for (i, byte) in bytes.iter_mut().enumerate().skip(8) {
        *byte = (n as usize * 31 + i) as u8;
    }
    bytes
}

/// Numbered datagrams to the router.
fn stream(until: Instant) -> Result<u64> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(("10.77.0.1", STREAM_PORT))?;
    paced(STREAM, until, |n| {
        socket.send(&payload(n)).context("sending the stream")?;
        Ok(())
    })
}

/// How many of them arrive, and how many of those with other bytes.
fn receive(over: &AtomicBool) -> Result<(u64, u64)> {
    let socket = UdpSocket::bind(("10.77.0.1", STREAM_PORT))?;
    rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, 32 << 20)?;
    socket.set_read_timeout(Some(Duration::from_millis(300)))?;
    let (mut received, mut wrong, mut bytes) = (0, 0, [0; PAYLOAD + 1]);
    loop {
        match socket.recv(&mut bytes) {
            Ok(len) => {
                let n = bytes.first_chunk().map_or(0, |first| u64::from_be_bytes(*first));
                received += 1;
                wrong += u64::from(len != PAYLOAD || bytes[..PAYLOAD] != payload(n));
            }
            // Nothing is on its way any more.
            Err(_) if over.load(Relaxed) => return Ok((received, wrong)),
            Err(_) => {}
        }
    }
}
