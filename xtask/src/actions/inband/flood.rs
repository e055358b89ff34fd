//! Those who flood the gateway's own address, and a stream that crosses it meanwhile.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::net::{AddressFamily, SendFlags, SocketType, ipproto, sendto, socket};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::super::stream::{self, Stream, joined, paced};
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
/// Datagrams a second that cross the gateway.
const STREAM: u32 = 2000;

/// What they did.
pub(super) struct Figures {
    pub(super) syns_per_s: u64,
    pub(super) wanted: usize,
    pub(super) opened: u64,
    pub(super) slow: u64,
    pub(super) stream: stream::Figures,
}

/// All of them at work.
pub(super) struct Flood {
    until: Instant,
    opened: Arc<AtomicU64>,
    slow: Arc<AtomicU64>,
    syns: JoinHandle<Result<u64>>,
    idle: JoinHandle<Result<()>>,
    stream: Stream,
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
        let until = Instant::now() + length;
        let (opened, slow) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let syns = flooder.enter(move || flood(until))?;
        let idle = {
            let (opened, slow) = (opened.clone(), slow.clone());
            idler.enter(move || idle(until, &opened, &slow))?
        };
        let stream = Stream::start(lab, &DEVICES[2], STREAM, until)?;
        Ok(Self { until, opened, slow, syns, idle, stream, _where: [flooder, idler] })
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
        Ok(Figures {
            syns_per_s: syns / super::FLOOD.as_secs(),
            wanted: IDLE,
            opened: self.opened.load(Relaxed),
            slow: self.slow.load(Relaxed),
            stream: self.stream.end()?,
        })
    }
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
