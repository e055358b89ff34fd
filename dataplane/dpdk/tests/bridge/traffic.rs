//! Pings and transfers between the two ends of the lab, by the kernel's own protocols.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use glassgate_dataplane::port::Frame;
use ring::digest::{Context, SHA256};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, ipproto, recv, sendto, socket, sockopt};

use crate::lab::{Lab, V4, address};

/// SHA-256 of what one end sent and of what the other got.
pub(crate) struct Transfer {
    pub(crate) sent: Vec<u8>,
    pub(crate) received: Vec<u8>,
}

/// Returns once an echo has come back; the first ones are lost while links and sockets come up.
pub(crate) fn wait_for_ping(lab: &Lab) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while pings(lab, 1, 56) == 0 {
        assert!(Instant::now() < deadline, "no ping came through the bridge within 20 seconds");
    }
}

/// Sends `count` echo requests with `size` bytes each, one after the other, and returns how many were answered.
pub(crate) fn pings(lab: &Lab, count: u16, size: usize) -> usize {
    Lab::inside(&lab.lan, || {
        let icmp = socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::ICMP)).unwrap();
        sockopt::set_socket_timeout(&icmp, sockopt::Timeout::Recv, Some(Duration::from_secs(2))).unwrap();
        let to: Ipv4Addr = V4[1].parse().unwrap();
        let sequences = (0..count).filter(|&sequence| {
            let request = echo(8, sequence, size);
            // Answers differ in type and checksum.
            let answer = echo(0, sequence, size);
            if sendto(&icmp, &request, SendFlags::empty(), &SocketAddrV4::new(to, 0)).is_err() {
                return false;
            }
            let mut buffer = [0; 2048];
            while let Ok((length, _)) = recv(&icmp, &mut buffer[..], RecvFlags::empty()) {
                // A raw socket gets the IPv4 header too.
                if buffer[20..length] == answer[..] {
                    return true;
                }
            }
            false
        });
        sequences.count()
    })
}

/// Sends `bytes` bytes each way over one TCP connection, both ways at once.
pub(crate) fn transfer(lab: &Lab, addresses: [&'static str; 2], bytes: usize) -> (Transfer, Transfer) {
    let server = SocketAddr::new(address(addresses[1]), 8080);
    let (listening, ready) = mpsc::channel();
    thread::scope(|scope| {
        let serve = scope.spawn(move || {
            Lab::inside(&lab.wan, move || {
                let listener = TcpListener::bind(server).unwrap();
                listening.send(()).unwrap();
                exchange(listener.accept().unwrap().0, bytes, 2)
            })
        });
        ready.recv().unwrap();
        let client = Lab::inside(&lab.lan, || {
            let timeout = Duration::from_secs(10);
            exchange(TcpStream::connect_timeout(&server, timeout).unwrap(), bytes, 1)
        });
        let server = serve.join().unwrap();
        (Transfer { sent: client.0, received: server.1 }, Transfer { sent: server.0, received: client.1 })
    })
}

/// Source and destination of an IPv4 frame with TCP, smaller first: equal for both directions of a flow.
pub(crate) fn undirected_flow(frame: &impl Frame) -> Option<[u8; 12]> {
    let bytes = frame.bytes();
    if bytes.get(12..15)? != [8, 0, 0x45] || *bytes.get(23)? != 6 {
        return None;
    }
    let (mut a, mut b) = ([0; 6], [0; 6]);
    a[..4].copy_from_slice(bytes.get(26..30)?);
    a[4..].copy_from_slice(bytes.get(34..36)?);
    b[..4].copy_from_slice(bytes.get(30..34)?);
    b[4..].copy_from_slice(bytes.get(36..38)?);
    let (first, second) = if a < b { (a, b) } else { (b, a) };
    let mut flow = [0; 12];
    flow[..6].copy_from_slice(&first);
    flow[6..].copy_from_slice(&second);
    Some(flow)
}

/// An ICMP echo message (RFC 792) with a payload that depends on its place.
fn echo(kind: u8, sequence: u16, size: usize) -> Vec<u8> {
    let [high, low] = sequence.to_be_bytes();
    let mut message = vec![kind, 0, 0, 0, b'g', b'g', high, low];
    message.extend((0..size).map(|i| (i * 7) as u8));
    // RFC 1071.
    let words = message.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let sum = words.sum::<u32>();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !((folded & 0xffff) + (folded >> 16)) as u16;
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    message
}

/// Sends and receives at once; hashes of both.
fn exchange(mut stream: TcpStream, bytes: usize, seed: u64) -> (Vec<u8>, Vec<u8>) {
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut reader = stream.try_clone().unwrap();
    thread::scope(|scope| {
        let received = scope.spawn(move || {
            let (mut hash, mut buffer, mut total) = (Context::new(&SHA256), vec![0; 64 << 10], 0);
            loop {
                match reader.read(&mut buffer).unwrap() {
                    0 => break,
                    n => hash.update(&buffer[..n]),
                }
                total += 1;
            }
            assert!(total > 0);
            hash.finish().as_ref().to_vec()
        });
        let (mut hash, mut state, mut left) = (Context::new(&SHA256), seed, bytes);
        while left > 0 {
            let chunk: Vec<u8> = (0..left.min(64 << 10))
                .map(|_| {
                    // xorshift64: no two places alike, so that a shifted or doubled segment can't go unseen.
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    state as u8
                })
                .collect();
            hash.update(&chunk);
            stream.write_all(&chunk).unwrap();
            left -= chunk.len();
        }
        stream.shutdown(Shutdown::Write).unwrap();
        (hash.finish().as_ref().to_vec(), received.join().unwrap())
    })
}
