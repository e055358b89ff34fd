//! Interfaces, flows, and who may have one.
//!
//! | what is full | what a new SYN does |
//! |---|---|
//! | a source has [`PER_SOURCE`] flows, a hardware address [`PER_MAC`], or there are [`PLACES`] in all | takes the place of the oldest flow of those that is still being opened; if all of them are open, it is dropped and counted: its sender asks again |
//!
//! An open flow gives its place to nobody. It ends when the page ends it, which gives everybody a few seconds for a request, or when
//! its other end has been silent for [`SILENCE`] though it was asked. Whoever holds all the flows that one may have, holds
//! an eighth of the places.

use super::Counts;
use super::device::{MAX_UNTAGGED, Wire, capabilities};
use super::neighbours::{defence, introduction, is_from_nobody, solicitation};
use crate::config::{Inband, Network};
use crate::lcore_memory::FrameRings;
use crate::page::peer::{Peer, Side};
use glassgate_dataplane::inband::own::link_local;
use glassgate_dataplane::inband::ring::{Consumer, MAX_FRAME, Producer};
use smoltcp::iface::{Config, Interface, PollResult, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, TxToken as _};
use smoltcp::socket::tcp::{self, State};
use smoltcp::time::{Duration as Lapse, Instant};
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, IpAddress, IpCidr, IpListenEndpoint, IpProtocol,
    Ipv4Packet, Ipv6Packet, TcpPacket,
};
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::ReadBuf;

/// Flows at the same time: as many as the page serves.
pub(super) const PLACES: usize = 64;
/// Flows of one address: a browser opens six.
pub(super) const PER_SOURCE: usize = 8;
/// Flows of one hardware address, which may be a router.
pub(super) const PER_MAC: usize = 32;
/// How long the other end may take to open a flow.
const OPENING: Duration = Duration::from_secs(5);
/// How long a flow waits to be served, and how long it may take to end.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the other end may leave what it is sent without an answer.
const SILENCE: Lapse = Lapse::from_secs(30);
/// How often it is asked whether it is there.
const KEEP_ALIVE: Lapse = Lapse::from_secs(10);
/// Requests are small, answers are not: with these, all flows together hold 3 MiB.
const RECEIVE: usize = 16 << 10;
const SEND: usize = 32 << 10;
/// Frames of one lcore in one turn.
const BATCH: usize = 64;

/// A flow, and no other that came before or after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Id(u64);

/// What a turn did.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Turn {
    /// Frames that came and went.
    pub(super) frames: usize,
    /// There may be more at once.
    pub(super) more: bool,
    /// When the stack has to do something by itself.
    pub(super) due: Option<Duration>,
}

/// All of it.
pub(super) struct Stack {
    own: Inband,
    mac: [u8; 6],
    seed: u64,
    faces: Vec<Face>,
    lcores: Vec<Lcore>,
    flows: Vec<Flow>,
    opened: VecDeque<Id>,
    accepting: Option<Waker>,
    next: u64,
    now: Duration,
    counts: Arc<Counts>,
}

/// Both rings of one lcore.
struct Lcore {
    from: Consumer,
    to: Producer,
}

/// An interface: one port of one network.
struct Face {
    vlan: Option<u16>,
    port: u8,
    side: Side,
    network: Network,
    interface: Interface,
    sockets: SocketSet<'static>,
    /// The lcore that frames came from last; answers go back by it.
    lcore: usize,
}

struct Flow {
    id: Id,
    face: usize,
    socket: SocketHandle,
    remote: SocketAddr,
    mac: [u8; 6],
    stage: Stage,
    /// Since when it is in this stage.
    since: Duration,
}

/// How far a flow is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Its other end has not answered yet.
    Opening,
    /// It waits to be served.
    Waiting,
    /// It is served.
    Served,
    /// Whoever served it is done with it.
    Left,
}

/// A SYN: who sends it, and to which address.
struct Syn {
    remote: SocketAddr,
    local: IpAddress,
    mac: [u8; 6],
}

impl Stack {
    pub(super) fn new(
        own: &Inband,
        mac: [u8; 6],
        frames: &[FrameRings],
        seed: u64,
        counts: Arc<Counts>,
    ) -> Self {
        let lcores = frames.iter().map(|rings| {
            let mut from = rings.punt.consumer();
            from.skip();
            Lcore { from, to: rings.send.producer() }
        });
        let lcores = lcores.collect();
        let mut stack = Self {
            own: own.clone(),
            mac,
            seed,
            faces: Vec::new(),
            lcores,
            flows: Vec::new(),
            opened: VecDeque::new(),
            accepting: None,
            next: 0,
            now: Duration::ZERO,
            counts,
        };
        stack.restart();
        stack
    }

    /// Begins anew: all flows are gone, whoever serves one is told.
    pub(super) fn restart(&mut self) {
        (self.flows, self.opened) = (Vec::new(), VecDeque::new());
        self.seed = self.seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        let mut faces = Vec::new();
        for (vlan, network) in self.own.networks() {
            for port in 0..2u8 {
                let management = self.own.is_management(vlan, usize::from(port));
                faces.push(Face {
                    vlan,
                    port,
                    network: network.clone(),
                    side: if management { Side::Management } else { Side::Lan },
                    interface: interface(self.mac, network, self.seed ^ faces.len() as u64),
                    sockets: SocketSet::new(Vec::new()),
                    lcore: 0,
                });
            }
        }
        self.faces = faces;
    }

    /// Takes what came, does what is due, sends what is to be sent. `now` never goes back.
    pub(super) fn turn(&mut self, now: Duration) -> Turn {
        self.now = now;
        let mut turn = Turn::default();
        let mut frame = [0; MAX_FRAME];
        for lcore in 0..self.lcores.len() {
            for taken in 0.. {
                let Some(ends) = self.lcores.get_mut(lcore) else { break };
                // What can't be answered yet stays where it is: the lcore counts what no longer fits.
                if taken == BATCH || !ends.to.has_room() {
                    turn.more |= taken == BATCH;
                    break;
                }
                let Some(popped) = ends.from.pop(&mut frame) else { break };
                turn.frames += 1;
                match popped {
                    Ok(popped) => self.frame(lcore, popped.port, &mut frame[..popped.len], &mut turn.frames),
                    Err(_) => _ = self.counts.bad_frames.fetch_add(1, Relaxed),
                }
            }
        }
        self.look_after();
        for face in &mut self.faces {
            let now = instant(now);
            let Some(lcore) = self.lcores.get_mut(face.lcore) else { continue };
            let mut wire = Wire {
                frame: None,
                ring: &mut lcore.to,
                vlan: face.vlan,
                port: face.port,
                sent: &mut turn.frames,
            };
            face.interface.poll_maintenance(now);
            for _ in 0..BATCH {
                if face.interface.poll_egress(now, &mut wire, &mut face.sockets) == PollResult::None {
                    break;
                }
            }
            let due = face.interface.poll_delay(now, &face.sockets).map(Duration::from);
            turn.due = turn.due.into_iter().chain(due).min();
        }
        self.look_after();
        turn
    }

    /// One frame: to the interface that it came to.
    fn frame(&mut self, lcore: usize, port: u8, bytes: &mut [u8], sent: &mut usize) {
        let Some((vlan, bytes)) = untag(bytes) else {
            self.counts.bad_frames.fetch_add(1, Relaxed);
            return;
        };
        let Some(at) = self.faces.iter().position(|face| (face.vlan, face.port) == (vlan, port)) else {
            self.counts.bad_frames.fetch_add(1, Relaxed);
            return;
        };
        if let (Some(face), Some(ends)) = (self.faces.get_mut(at), self.lcores.get_mut(lcore)) {
            let addresses: Vec<IpAddress> = face.interface.ip_addrs().iter().map(IpCidr::address).collect();
            if let Some(answer) = defence(bytes, &addresses, self.mac) {
                let (ring, vlan, port) = (&mut ends.to, face.vlan, face.port);
                let mut wire = Wire { frame: None, ring, vlan, port, sent };
                if let Some(token) = wire.transmit(instant(self.now)) {
                    token.consume(answer.len(), |into| into.copy_from_slice(&answer));
                }
                return;
            }
        }
        if is_from_nobody(bytes) {
            return;
        }
        let (mut new, mut introduced) = (None, None);
        if let Some(syn) = syn(bytes, self.own.port) {
            let known = self.flows.iter().any(|flow| flow.face == at && flow.remote == syn.remote);
            if !known {
                if !self.make_room(&syn) {
                    return;
                }
                new = self.listen(at, &syn);
                introduced = self.faces.get(at).and_then(|face| {
                    let (theirs, ours) = ((syn.remote.ip(), syn.mac), (syn.local, self.mac));
                    introduction(&face.network, theirs, ours)
                });
            }
        }
        let solicited = solicitation(bytes, self.mac);
        let bytes = solicited.as_deref().unwrap_or(bytes);
        let (Some(face), Some(ends)) = (self.faces.get_mut(at), self.lcores.get_mut(lcore)) else { return };
        face.lcore = lcore;
        let now = instant(self.now);
        for frame in introduced.as_deref().into_iter().chain([bytes]) {
            let (ring, vlan, port, sent) = (&mut ends.to, face.vlan, face.port, &mut *sent);
            let mut wire = Wire { frame: Some(frame), ring, vlan, port, sent };
            _ = face.interface.poll_ingress_single(now, &mut wire, &mut face.sockets);
        }
        if let Some(flow) = new {
            let socket = face.sockets.get::<tcp::Socket<'_>>(flow.socket);
            if socket.state() == State::SynReceived {
                self.flows.push(flow);
            } else {
                face.sockets.remove(flow.socket);
                self.counts.bad_syn.fetch_add(1, Relaxed);
            }
        }
    }

    /// Whether there is a place for a new flow; makes one if only flows are in the way that are being opened.
    fn make_room(&mut self, syn: &Syn) -> bool {
        let (source, mac) = (syn.remote.ip(), syn.mac);
        let counts = self.counts.clone();
        self.make_room_among(PER_SOURCE, &counts.source_full, |flow| flow.remote.ip() == source)
            && self.make_room_among(PER_MAC, &counts.mac_full, |flow| flow.mac == mac)
            && self.make_room_among(PLACES, &counts.full, |_| true)
    }

    fn make_room_among(
        &mut self,
        most: usize,
        full: &std::sync::atomic::AtomicU64,
        is_one: impl Fn(&Flow) -> bool,
    ) -> bool {
        if self.flows.iter().filter(|flow| is_one(flow)).count() < most {
            return true;
        }
        // In the order in which they came: the first is the oldest.
        match self.flows.iter().position(|flow| flow.stage == Stage::Opening && is_one(flow)) {
            Some(oldest) => {
                self.forget(oldest);
                self.counts.pushed_out.fetch_add(1, Relaxed);
                true
            }
            None => {
                full.fetch_add(1, Relaxed);
                false
            }
        }
    }

    /// A socket that waits for this SYN.
    fn listen(&mut self, at: usize, syn: &Syn) -> Option<Flow> {
        let face = self.faces.get_mut(at)?;
        let buffer = |size| tcp::SocketBuffer::new(vec![0; size]);
        let mut socket = tcp::Socket::new(buffer(RECEIVE), buffer(SEND));
        socket.set_nagle_enabled(false);
        socket.set_timeout(Some(SILENCE));
        socket.set_keep_alive(Some(KEEP_ALIVE));
        socket.listen(IpListenEndpoint { addr: Some(syn.local), port: self.own.port }).ok()?;
        self.next += 1;
        Some(Flow {
            id: Id(self.next),
            face: at,
            socket: face.sockets.add(socket),
            remote: syn.remote,
            mac: syn.mac,
            stage: Stage::Opening,
            since: self.now,
        })
    }

    /// Moves flows to their next stage, and lets go of those that are over.
    fn look_after(&mut self) {
        let (mut at, mut waiting) = (0, 0);
        while let Some(flow) = self.flows.get_mut(at) {
            let Some(face) = self.faces.get_mut(flow.face) else { break };
            let socket = face.sockets.get_mut::<tcp::Socket<'_>>(flow.socket);
            let (state, age) = (socket.state(), self.now.saturating_sub(flow.since));
            let over = match flow.stage {
                Stage::Opening if matches!(state, State::Established | State::CloseWait) => {
                    (flow.stage, flow.since) = (Stage::Waiting, self.now);
                    self.opened.push_back(flow.id);
                    self.counts.accepted.fetch_add(1, Relaxed);
                    if let Some(waker) = self.accepting.take() {
                        waker.wake();
                    }
                    false
                }
                Stage::Opening => {
                    let late = age > OPENING;
                    self.counts.timed_out.fetch_add(u64::from(late), Relaxed);
                    late || !matches!(state, State::SynReceived)
                }
                Stage::Waiting => {
                    let late = age > PATIENCE;
                    self.counts.timed_out.fetch_add(u64::from(late), Relaxed);
                    late || state == State::Closed
                }
                // Whoever serves it finds out and leaves.
                Stage::Served => false,
                // A place is worth more than a last segment that comes again.
                Stage::Left => age > PATIENCE || matches!(state, State::Closed | State::TimeWait),
            };
            waiting += usize::from(flow.stage == Stage::Opening);
            if over {
                self.forget(at);
            } else {
                at += 1;
            }
        }
        self.counts.waiting.store(waiting, Relaxed);
        self.counts.open.store(self.flows.len().saturating_sub(waiting), Relaxed);
    }

    /// Lets go of a flow without a word; what its other end sends after that is answered by a reset.
    fn forget(&mut self, at: usize) {
        let flow = self.flows.remove(at);
        self.opened.retain(|id| *id != flow.id);
        if let Some(face) = self.faces.get_mut(flow.face) {
            face.sockets.remove(flow.socket);
        }
    }

    /// The next flow that is open and not served yet.
    pub(super) fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<(Id, Peer)> {
        while let Some(id) = self.opened.pop_front() {
            let now = self.now;
            if let Some(flow) = self.flows.iter_mut().find(|flow| flow.id == id)
                && let Some(face) = self.faces.get(flow.face)
            {
                (flow.stage, flow.since) = (Stage::Served, now);
                return Poll::Ready((id, Peer { address: flow.remote, side: face.side }));
            }
        }
        self.accepting = Some(cx.waker().clone());
        Poll::Pending
    }

    fn socket(&mut self, id: Id) -> Option<&mut tcp::Socket<'static>> {
        let flow = self.flows.iter().find(|flow| flow.id == id)?;
        Some(self.faces.get_mut(flow.face)?.sockets.get_mut(flow.socket))
    }

    pub(super) fn poll_read(
        &mut self,
        id: Id,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(socket) = self.socket(id) else {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        };
        if socket.can_recv() {
            let read = socket.recv(|bytes| {
                let n = bytes.len().min(into.remaining());
                into.put_slice(&bytes[..n]);
                (n, ())
            });
            return Poll::Ready(read.map_err(|_| io::ErrorKind::ConnectionReset.into()));
        }
        if !socket.may_recv() {
            // Ended in order, the other end has said so; a flow that was reset is closed.
            let ended = socket.state() != State::Closed;
            return Poll::Ready(if ended { Ok(()) } else { Err(io::ErrorKind::ConnectionReset.into()) });
        }
        socket.register_recv_waker(cx.waker());
        Poll::Pending
    }

    pub(super) fn poll_write(
        &mut self,
        id: Id,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Some(socket) = self.socket(id) else {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        };
        if !socket.may_send() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if socket.can_send() {
            return Poll::Ready(socket.send_slice(bytes).map_err(|_| io::ErrorKind::BrokenPipe.into()));
        }
        socket.register_send_waker(cx.waker());
        Poll::Pending
    }

    /// Nothing more is written.
    pub(super) fn close(&mut self, id: Id) {
        if let Some(socket) = self.socket(id) {
            socket.close();
        }
    }

    /// Nobody serves it any more: what was written is still sent.
    pub(super) fn leave(&mut self, id: Id) {
        self.close(id);
        let now = self.now;
        if let Some(flow) = self.flows.iter_mut().find(|flow| flow.id == id) {
            (flow.stage, flow.since) = (Stage::Left, now);
        }
    }
}

fn instant(now: Duration) -> Instant {
    Instant::from_micros(i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
}

/// Takes the tag off, where there is one. `None`: too short.
fn untag(bytes: &mut [u8]) -> Option<(Option<u16>, &[u8])> {
    match bytes.get(12..14)? {
        [0x81, 0] => {
            let vlan = bytes.get(14..16).map(|b| u16::from_be_bytes([b[0], b[1]]) & 0x0fff)?;
            bytes.copy_within(0..12, 4);
            let bytes = bytes.get(4..).filter(|bytes| bytes.len() >= 14)?;
            Some(((vlan != 0).then_some(vlan), bytes))
        }
        _ => Some((None, bytes.get(..bytes.len().min(MAX_UNTAGGED))?)),
    }
}

/// Whether a frame asks for a flow to `port`. What is wrong with it otherwise, smoltcp finds.
fn syn(bytes: &[u8], port: u16) -> Option<Syn> {
    let frame = EthernetFrame::new_checked(bytes).ok()?;
    let (source, local, payload): (IpAddr, IpAddress, &[u8]) = match frame.ethertype() {
        EthernetProtocol::Ipv4 => {
            let ip = Ipv4Packet::new_checked(frame.payload()).ok()?;
            if ip.next_header() != IpProtocol::Tcp {
                return None;
            }
            (IpAddr::V4(ip.src_addr()), ip.dst_addr().into(), ip.payload())
        }
        EthernetProtocol::Ipv6 => {
            let ip = Ipv6Packet::new_checked(frame.payload()).ok()?;
            if ip.next_header() != IpProtocol::Tcp {
                return None;
            }
            (IpAddr::V6(ip.src_addr()), ip.dst_addr().into(), ip.payload())
        }
        _ => return None,
    };
    let tcp = TcpPacket::new_checked(payload).ok()?;
    let remote = SocketAddr::new(source, tcp.src_port());
    let asks = tcp.syn() && !tcp.ack() && !tcp.rst() && !tcp.fin() && tcp.dst_port() == port;
    (asks && remote.port() != 0).then_some(Syn { remote, local, mac: frame.src_addr().0 })
}

/// What an interface is made from: smoltcp asks the device for nothing but this.
struct Capabilities;

impl Device for Capabilities {
    type RxToken<'a> = super::device::Received<'a>;
    type TxToken<'a> = super::device::Sending<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        None
    }

    fn transmit(&mut self, _: Instant) -> Option<Self::TxToken<'_>> {
        None
    }

    fn capabilities(&self) -> DeviceCapabilities {
        capabilities()
    }
}

fn interface(mac: [u8; 6], network: &Network, seed: u64) -> Interface {
    let mut config = Config::new(EthernetAddress(mac).into());
    config.random_seed = seed;
    let mut interface = Interface::new(config, &mut Capabilities, Instant::ZERO);
    let v4 = network.v4.map(|net| IpCidr::new(net.addr().into(), net.prefix_len()));
    let v6 = network.v6.map(|net| IpCidr::new(net.addr().into(), net.prefix_len()));
    let local = v6.map(|_| IpCidr::new(std::net::Ipv6Addr::from(link_local(mac)).into(), 64));
    interface.update_ip_addrs(|addresses| {
        for address in [v4, v6, local].into_iter().flatten() {
            // There is room for three: a feature of the crate says how many there are.
            _ = addresses.push(address);
        }
    });
    let routes = interface.routes_mut();
    if let Some(gateway) = network.gateway {
        // There is room for two.
        _ = routes.add_default_ipv4_route(gateway);
    }
    if let Some(gateway) = network.gateway6 {
        _ = routes.add_default_ipv6_route(gateway);
    }
    interface
}
