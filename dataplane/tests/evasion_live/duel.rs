//! Plays a scene's client against a real server, following the numbers that the server chooses.
//!
//! The server's steps of the scene are not sent but waited for: its SYN/ACK, its acknowledgement of as many bytes, its
//! answer. Nothing sleeps; what does not come within [`PATIENCE`] is a failure.

use crate::lab::Sockets;
use crate::path::Path;
use crate::scene::{Scene, Seg, Side, Step, render};
use crate::wire::{ACK, FIN, Family, SYN, TCP, UDP, URG};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::time::{Duration, Instant};
use tun_rs::SyncDevice;

const PATIENCE: Duration = Duration::from_secs(5);

/// What came of it.
pub(crate) struct Received {
    /// All bytes that the server's socket gave.
    pub(crate) stream: Vec<u8>,
    /// The datagrams that the server's socket gave.
    pub(crate) datagrams: Vec<Vec<u8>>,
}

struct Duel<'a> {
    path: &'a mut Path,
    wire: &'a SyncDevice,
    sockets: &'a Sockets,
    udp: Option<&'a UdpSocket>,
    stream: Option<TcpStream>,
    closed: bool,
    received: Received,
    /// Answered once it has as many bytes as this.
    answer_at: usize,
    answer: Option<Vec<u8>>,
    heard: Heard,
    client_port: u16,
    server_port: u16,
}

/// What the client heard of the server.
#[derive(Default)]
struct Heard {
    /// Initial sequence number.
    start: Option<u32>,
    /// The latest timestamp: servers discard segments that echo one they never sent.
    clock: Option<u32>,
    acked: u32,
    /// One past the last byte of the server that was seen.
    next: u32,
    fin: bool,
    datagrams: usize,
}

/// Plays the scene. Its flow gets `client_port`, so that no two scenes are mixed up.
pub(crate) fn duel(
    scene: &mut Scene,
    client_port: u16,
    path: &mut Path,
    wire: &SyncDevice,
    sockets: &Sockets,
) -> Result<Received, String> {
    scene.flow().client.set_port(client_port);
    let server = scene.flow().server;
    let steps = std::mem::take(&mut scene.steps);
    let segments =
        steps.iter().filter_map(|(_, step)| if let Step::Segment(seg) = step { Some(seg) } else { None });
    let (mut answer, mut urgent) = (Vec::new(), 0);
    for seg in segments {
        urgent += usize::from(seg.flags & URG != 0 && seg.flags & ACK != 0 && seg.urgent != 0);
        if seg.from == Side::Server {
            answer.extend(&seg.payload);
        }
    }
    let udp =
        sockets.udp.iter().find(|udp| udp.local_addr().is_ok_and(|at| at.is_ipv4() == server.is_ipv4()));
    let mut duel = Duel {
        path,
        wire,
        sockets,
        udp,
        stream: None,
        closed: false,
        received: Received { stream: Vec::new(), datagrams: Vec::new() },
        // An urgent byte is not in the stream.
        answer_at: scene.flow().sent[0] - urgent,
        answer: Some(answer),
        heard: Heard::default(),
        client_port,
        server_port: server.port(),
    };
    let mut datagrams = 0;
    for (ident, (at_ms, step)) in steps.iter().enumerate() {
        match step {
            Step::Segment(seg) if seg.from == Side::Server => duel.await_server(scene, seg)?,
            Step::Datagram { from: Side::Server, payload, .. } => {
                duel.wait("all datagrams", |d| d.received.datagrams.len() >= datagrams)?;
                let (udp, client) = (duel.udp.ok_or("no socket")?, scene.flow().client);
                udp.send_to(payload, client).map_err(|e| e.to_string())?;
                let before = duel.heard.datagrams;
                duel.wait("the server's datagram", |d| d.heard.datagrams > before)?;
            }
            step => {
                if let Step::Datagram { carriage, .. } = step {
                    let arrives = carriage.ttl > 1 && !carriage.bad_udp_sum;
                    datagrams += usize::from(arrives);
                }
                scene.flow().echo = duel.heard.clock;
                let ident = u32::from(client_port) << 8 | ident as u32 & 0xff;
                for frame in render(step, &scene.flows, *at_ms, ident, crate::scene::MACS) {
                    duel.path.send(frame);
                }
                duel.turn();
            }
        }
    }
    let tcp = steps.iter().any(|(_, step)| matches!(step, Step::Segment(_)));
    duel.wait("the end", |d| if tcp { d.closed } else { d.received.datagrams.len() >= datagrams })?;
    scene.steps = steps;
    Ok(duel.received)
}

impl Duel<'_> {
    /// Waits for what the scene says that the server does now.
    fn await_server(&mut self, scene: &mut Scene, seg: &Seg) -> Result<(), String> {
        if seg.flags & SYN != 0 {
            self.wait("SYN/ACK", |d| d.heard.start.is_some())?;
            scene.flow().isn[1] = self.heard.start.unwrap_or_default();
            return Ok(());
        }
        let flow = scene.flow();
        let acked = flow.isn[0].wrapping_add(seg.ack.unwrap_or(0) as u32);
        let next = flow.isn[1].wrapping_add(seg.seq as u32).wrapping_add(seg.payload.len() as u32);
        self.wait("acknowledgement", |d| d.heard.acked.wrapping_sub(acked) as i32 >= 0)?;
        self.wait("answer", |d| d.heard.next.wrapping_sub(next) as i32 >= 0)?;
        if seg.flags & FIN != 0 {
            self.wait("FIN", |d| d.heard.fin)?;
        }
        Ok(())
    }

    fn wait(&mut self, what: &str, until: impl Fn(&Self) -> bool) -> Result<(), String> {
        let end = Instant::now() + PATIENCE;
        loop {
            self.turn();
            if until(self) {
                return Ok(());
            }
            let Some(left) = end.checked_duration_since(Instant::now()) else {
                return Err(format!(
                    "{what} did not come; the server has {} of {} bytes and {} datagrams",
                    self.received.stream.len(),
                    self.answer_at,
                    self.received.datagrams.len()
                ));
            };
            let mut fds = vec![PollFd::new(self.wire, PollFlags::IN)];
            fds.extend(self.sockets.tcp.iter().map(|l| PollFd::new(l, PollFlags::IN)));
            fds.extend(self.stream.iter().map(|s| PollFd::new(s, PollFlags::IN)));
            fds.extend(self.udp.iter().map(|u| PollFd::new(*u, PollFlags::IN)));
            let _ = poll(&mut fds, Timespec::try_from(left).ok().as_ref());
        }
    }

    /// Takes all that has arrived on both sides.
    fn turn(&mut self) {
        while let Some(frame) = self.path.receive() {
            self.hear(&frame);
        }
        self.serve();
        while let Some(frame) = self.path.receive() {
            self.hear(&frame);
        }
    }

    /// The server: gathers the stream, answers when it is whole, closes when the client has.
    fn serve(&mut self) {
        if let Some(udp) = self.udp {
            let mut buf = vec![0; 2048];
            while let Ok((len, _)) = udp.recv_from(&mut buf) {
                self.received.datagrams.push(buf[..len].to_vec());
            }
        }
        if self.stream.is_none() && !self.closed {
            let accepted = self.sockets.tcp.iter().find_map(|listener| listener.accept().ok());
            self.stream = accepted.map(|(stream, _)| stream);
            if let Some(stream) = &self.stream {
                stream.set_nonblocking(true).expect("a stream that does not wait");
            }
        }
        let Some(stream) = &mut self.stream else { return };
        let mut buf = [0; 4096];
        loop {
            match stream.read(&mut buf) {
                Ok(0) => {
                    self.closed = true;
                    self.stream = None;
                    return;
                }
                Ok(len) => self.received.stream.extend(&buf[..len]),
                Err(_) => break,
            }
        }
        if self.received.stream.len() >= self.answer_at
            && let Some(answer) = self.answer.take()
        {
            stream.write_all(&answer).expect("a short answer");
        }
    }

    /// The client: reads what concerns its flow.
    fn hear(&mut self, frame: &[u8]) {
        let Some((proto, l4)) = transport(frame) else { return };
        let word = |at: usize| u32::from_be_bytes([l4[at], l4[at + 1], l4[at + 2], l4[at + 3]]);
        let ports = [self.server_port.to_be_bytes(), self.client_port.to_be_bytes()].concat();
        if l4.get(..4) != Some(&ports) {
            return;
        }
        if proto == UDP {
            self.heard.datagrams += 1;
            return;
        }
        let (header, flags) = (usize::from(l4[12] >> 4) * 4, u16::from(l4[13]));
        if let Some(at) = l4[20..header].windows(2).position(|w| w == [8, 10]) {
            self.heard.clock = Some(word(20 + at + 2));
        }
        if flags & (SYN | ACK) == SYN | ACK && self.heard.start.is_none() {
            self.heard.start = Some(word(4));
            self.heard.next = word(4).wrapping_add(1);
            self.heard.acked = word(8);
            return;
        }
        if flags & ACK != 0 && word(8).wrapping_sub(self.heard.acked) as i32 > 0 {
            self.heard.acked = word(8);
        }
        let end = word(4).wrapping_add((l4.len() - header) as u32);
        if end.wrapping_sub(self.heard.next) as i32 > 0 {
            self.heard.next = end;
        }
        self.heard.fin |= flags & FIN != 0;
    }
}

/// The transport packet of a frame that has neither options nor extension headers.
fn transport(frame: &[u8]) -> Option<(u8, &[u8])> {
    let ip = frame.get(14..)?;
    let (family, proto, header, end) = match frame.get(12..14)? {
        [8, 0] => (Family::V4, *ip.get(9)?, 20, usize::from(u16::from_be_bytes([*ip.get(2)?, *ip.get(3)?]))),
        [0x86, 0xdd] => {
            (Family::V6, *ip.get(6)?, 40, 40 + usize::from(u16::from_be_bytes([*ip.get(4)?, *ip.get(5)?])))
        }
        _ => return None,
    };
    let known = matches!((family, proto), (_, TCP | UDP));
    ip.get(header..end)
        .filter(|l4| known && l4.len() >= if proto == TCP { 20 } else { 8 })
        .map(|l4| (proto, l4))
}
