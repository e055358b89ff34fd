//! The stack with real clients at the other end of its rings: smoltcp again, one interface for each.

use super::*;
use crate::config::Config;
use glassgate_dataplane::inband::ring::{Consumer, FrameRing, MAX_FRAME, Producer};
use glassgate_policy::diagnostic::Text;
use proptest::prelude::*;
use smoltcp::iface::{Config as ClientConfig, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr};
use std::collections::VecDeque;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};

const CONFIG: &str = "[inband]\naddress = '10.0.0.2/24'\naddress6 = 'fd00::2/64'\nvlan = 99\nvlan_address = '10.99.0.2/24'\n\
                      management = 'vlan'\nmac = '02:00:5e:00:53:02'\nport = 80\n";
const STEP: Duration = Duration::from_millis(1);

/// Frames of one client, in memory.
#[derive(Default)]
struct Nic {
    inbox: VecDeque<Vec<u8>>,
    outbox: Vec<Vec<u8>>,
}

struct Got(Vec<u8>);
struct Put<'a>(&'a mut Vec<Vec<u8>>);

impl smoltcp::phy::RxToken for Got {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl smoltcp::phy::TxToken for Put<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let result = f(&mut frame);
        self.0.push(frame);
        result
    }
}

impl Device for Nic {
    type RxToken<'a> = Got;
    type TxToken<'a> = Put<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Got, Put<'_>)> {
        let frame = self.inbox.pop_front()?;
        Some((Got(frame), Put(&mut self.outbox)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Put<'_>> {
        Some(Put(&mut self.outbox))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        device::capabilities()
    }
}

struct Client {
    port: u8,
    vlan: Option<u16>,
    mac: [u8; 6],
    nic: Nic,
    interface: Interface,
    sockets: SocketSet<'static>,
    next_port: u16,
}

impl Client {
    fn new(n: u8, port: u8, vlan: Option<u16>, address: &str) -> Self {
        let mac = [2, 0, 0, 0, 1, n];
        let mut nic = Nic::default();
        let mut config = ClientConfig::new(EthernetAddress(mac).into());
        config.random_seed = u64::from(n);
        let mut interface = Interface::new(config, &mut nic, Instant::ZERO);
        let address: IpAddress = address.parse().unwrap();
        let prefix = if matches!(address, IpAddress::Ipv4(_)) { 24 } else { 64 };
        interface.update_ip_addrs(|addresses| addresses.push(IpCidr::new(address, prefix)).unwrap());
        let next_port = 40_000 + u16::from(n) * 64;
        Self { port, vlan, mac, nic, interface, sockets: SocketSet::new(Vec::new()), next_port }
    }

    fn connect(&mut self, to: &str) -> SocketHandle {
        let mut socket = Socket::new(SocketBuffer::new(vec![0; 65_536]), SocketBuffer::new(vec![0; 4096]));
        let to: IpAddress = to.parse().unwrap();
        self.next_port += 1;
        socket.connect(self.interface.context(), (to, 80), self.next_port).unwrap();
        self.sockets.add(socket)
    }

    fn state(&self, handle: SocketHandle) -> State {
        self.sockets.get::<Socket<'_>>(handle).state()
    }
}

/// The stack and its clients.
struct World {
    listener: Listener,
    punt: Producer,
    send: Consumer,
    clients: Vec<Client>,
    now: Duration,
}

impl World {
    fn new(clients: Vec<Client>) -> Self {
        let config = Config::parse(Text::new("glassgate.toml", CONFIG), Path::new("/")).unwrap();
        let rings =
            FrameRings { punt: FrameRing::create("punt").unwrap(), send: FrameRing::create("send").unwrap() };
        let listener = open(config.inband.as_ref().unwrap(), std::slice::from_ref(&rings)).unwrap();
        let now = Duration::from_secs(1);
        Self { listener, punt: rings.punt.producer(), send: rings.send.consumer(), clients, now }
    }

    /// A millisecond: frames go to the stack and back.
    fn step(&mut self) {
        self.now += STEP;
        let at = Instant::from_micros(self.now.as_micros() as i64);
        for client in &mut self.clients {
            client.interface.poll(at, &mut client.nic, &mut client.sockets);
            for mut frame in client.nic.outbox.drain(..) {
                if let Some(vlan) = client.vlan {
                    frame.splice(12..12, [0x81, 0].into_iter().chain(vlan.to_be_bytes()));
                }
                _ = self.punt.push(client.port, &frame);
            }
        }
        self.listener.0.lock().turn(self.now);
        let mut into = [0; MAX_FRAME];
        while let Some(popped) = self.send.pop(&mut into) {
            let popped = popped.unwrap();
            let mut frame = into[..popped.len].to_vec();
            let vlan = (frame[12..14] == [0x81, 0]).then(|| u16::from_be_bytes([frame[14], frame[15]]));
            if vlan.is_some() {
                frame.drain(12..16);
            }
            assert_eq!(frame[6..12], [2, 0, 0x5e, 0, 0x53, 2], "from our address only");
            assert!(frame.len() >= 60);
            for client in &mut self.clients {
                let is_for = frame[0] & 1 != 0 || frame[..6] == client.mac;
                if is_for && (client.port, client.vlan) == (popped.port, vlan) {
                    client.nic.inbox.push_back(frame.clone());
                }
            }
        }
    }

    fn steps(&mut self, n: usize) {
        (0..n).for_each(|_| self.step());
    }

    fn accept(&self) -> Option<(Stream, Peer)> {
        let mut cx = Context::from_waker(Waker::noop());
        match self.listener.0.lock().poll_accept(&mut cx) {
            Poll::Ready((id, peer)) => Some((Stream::new(self.listener.stack(), id), peer)),
            Poll::Pending => None,
        }
    }

    fn turned_away(&self, why: &str) -> u64 {
        let now = self.listener.counts().now();
        now.turned_away.iter().find(|(word, _)| *word == why).unwrap().1
    }
}

fn read(stream: &mut Stream) -> Poll<std::io::Result<Vec<u8>>> {
    let mut space = [0; 4096];
    let mut buffer = ReadBuf::new(&mut space);
    let mut cx = Context::from_waker(Waker::noop());
    Pin::new(stream).poll_read(&mut cx, &mut buffer).map_ok(|()| buffer.filled().to_vec())
}

fn write(stream: &mut Stream, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
    Pin::new(stream).poll_write(&mut Context::from_waker(Waker::noop()), bytes)
}

#[test]
fn bytes_go_both_ways_by_every_port_and_network() {
    let page: Vec<u8> = (0..150_000u32).map(|i| (i * 7) as u8).collect();
    for (port, vlan, address, ours, side) in [
        (0, None, "10.0.0.9", "10.0.0.2", Side::Lan),
        (1, None, "10.0.0.9", "10.0.0.2", Side::Lan),
        (0, None, "fd00::9", "fd00::2", Side::Lan),
        (1, Some(99), "10.99.0.9", "10.99.0.2", Side::Management),
    ] {
        let mut world = World::new(vec![Client::new(1, port, vlan, address)]);
        let handle = world.clients[0].connect(ours);
        world.steps(10);
        let (mut stream, peer) = world.accept().expect("it is open");
        assert_eq!((peer.side, peer.address.ip()), (side, address.parse().unwrap()));
        assert!(read(&mut stream).is_pending());
        world.clients[0].sockets.get_mut::<Socket<'_>>(handle).send_slice(b"GET / HTTP/1.1\r\n").unwrap();
        world.steps(5);
        assert!(matches!(read(&mut stream), Poll::Ready(Ok(bytes)) if bytes == b"GET / HTTP/1.1\r\n"));
        let (mut written, mut got) = (0, Vec::new());
        for _ in 0..2000 {
            if written < page.len() {
                match write(&mut stream, &page[written..]) {
                    Poll::Ready(n) => written += n.unwrap(),
                    Poll::Pending => {}
                }
            }
            world.step();
            let socket = world.clients[0].sockets.get_mut::<Socket<'_>>(handle);
            if socket.can_recv() {
                socket
                    .recv(|bytes| {
                        got.extend_from_slice(bytes);
                        (bytes.len(), ())
                    })
                    .unwrap();
            }
        }
        assert!(got == page, "{} of {} bytes", got.len(), page.len());
        // The end, from here: and the place is free again.
        drop(stream);
        world.steps(50);
        world.clients[0].sockets.get_mut::<Socket<'_>>(handle).close();
        world.steps(200);
        assert_eq!(world.listener.counts().now().open, 0);
    }
}

#[test]
fn an_end_is_an_end_and_a_reset_is_an_error() {
    let mut world = World::new(vec![Client::new(1, 0, None, "10.0.0.9")]);
    for reset in [false, true] {
        let handle = world.clients[0].connect("10.0.0.2");
        world.steps(10);
        let (mut stream, _) = world.accept().unwrap();
        let socket = world.clients[0].sockets.get_mut::<Socket<'_>>(handle);
        if reset {
            socket.abort()
        } else {
            socket.close()
        }
        world.steps(10);
        match (reset, read(&mut stream)) {
            (false, Poll::Ready(Ok(bytes))) => assert!(bytes.is_empty()),
            (true, Poll::Ready(Err(e))) => assert_eq!(e.kind(), io::ErrorKind::ConnectionReset),
            other => panic!("{other:?}"),
        }
        drop(stream);
        world.steps(10);
        assert_eq!(world.listener.counts().now().open, 0);
    }
}

#[test]
fn one_source_has_eight_flows_and_another_one_gets_in() {
    let clients = vec![Client::new(1, 0, None, "10.0.0.9"), Client::new(2, 0, None, "10.0.0.10")];
    let mut world = World::new(clients);
    let greedy: Vec<_> = (0..stack::PER_SOURCE).map(|_| world.clients[0].connect("10.0.0.2")).collect();
    world.steps(30);
    let served: Vec<_> = std::iter::from_fn(|| world.accept()).collect();
    assert_eq!(served.len(), stack::PER_SOURCE);
    for _ in 0..12 {
        world.clients[0].connect("10.0.0.2");
    }
    world.steps(30);
    assert!(world.accept().is_none());
    assert!(world.turned_away("source_full") >= 12);
    let legitimate = world.clients[1].connect("10.0.0.2");
    world.steps(10);
    assert_eq!(world.clients[1].state(legitimate), State::Established);
    assert!(
        world.accept().is_some_and(|(_, peer)| peer.address.ip() == "10.0.0.10".parse::<IpAddr>().unwrap())
    );
    // When one ends, the next one of the same source gets its place.
    drop(served);
    world.steps(10);
    for handle in &greedy {
        let socket = world.clients[0].sockets.get_mut::<Socket<'_>>(*handle);
        if socket.state() == State::CloseWait {
            socket.close();
        }
    }
    world.steps(5000);
    assert!(world.accept().is_some(), "those that were turned away ask again");
}

/// A SYN of somebody who will never answer.
fn syn(source: [u8; 4], port: u16, mac: u8) -> Vec<u8> {
    use smoltcp::wire::*;
    let repr = TcpRepr {
        src_port: port,
        dst_port: 80,
        control: TcpControl::Syn,
        seq_number: TcpSeqNumber(7),
        ack_number: None,
        window_len: 1024,
        window_scale: None,
        max_seg_size: Some(1460),
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: &[],
    };
    let (from, to) = (Ipv4Address::from(source), Ipv4Address::new(10, 0, 0, 2));
    let ip = Ipv4Repr {
        src_addr: from,
        dst_addr: to,
        next_header: IpProtocol::Tcp,
        payload_len: repr.buffer_len(),
        hop_limit: 64,
    };
    let checksums = smoltcp::phy::ChecksumCapabilities::default();
    let mut bytes = vec![0; 14 + ip.buffer_len() + repr.buffer_len()];
    bytes[..12].copy_from_slice(&[2, 0, 0x5e, 0, 0x53, 2, 2, 0, 0, 0, 9, mac]);
    bytes[12..14].copy_from_slice(&[8, 0]);
    ip.emit(&mut Ipv4Packet::new_unchecked(&mut bytes[14..]), &checksums);
    let mut tcp = TcpPacket::new_unchecked(&mut bytes[34..]);
    repr.emit(&mut tcp, &from.into(), &to.into(), &checksums);
    bytes
}

#[test]
fn flows_that_are_being_opened_give_way_and_open_ones_do_not() {
    let mut world = World::new(vec![Client::new(1, 0, None, "10.0.0.9")]);
    let handle = world.clients[0].connect("10.0.0.2");
    world.steps(10);
    let (_stream, _) = world.accept().unwrap();
    // Many more than there are places, from as many addresses, none of which answers.
    for n in 0..2000u32 {
        let [_, _, a, b] = n.to_be_bytes();
        world.punt.push(0, &syn([10, 0, a + 1, b], 1000, b)).unwrap();
        world.step();
    }
    assert!(world.turned_away("pushed_out") > 1000);
    assert_eq!(world.turned_away("full"), 0);
    assert_eq!(world.clients[0].state(handle), State::Established);
    // Somebody real asks in the middle of it.
    let handle = world.clients[0].connect("10.0.0.2");
    for n in 0..20u8 {
        world.punt.push(0, &syn([10, 0, 200, n], 1000, n)).unwrap();
        world.step();
    }
    assert_eq!(world.clients[0].state(handle), State::Established);
    assert!(world.accept().is_some());
    // None of them stays.
    world.steps(6000);
    assert_eq!(world.listener.counts().now().waiting, 0);
    assert!(world.turned_away("timed_out") > 0);
}

#[test]
fn a_syn_that_comes_again_takes_no_second_place_and_a_broken_one_none() {
    let mut world = World::new(Vec::new());
    for _ in 0..5 {
        world.punt.push(0, &syn([10, 0, 0, 9], 1000, 1)).unwrap();
        world.step();
    }
    assert_eq!(world.listener.counts().now().waiting, 1);
    let mut broken = syn([10, 0, 0, 10], 1000, 1);
    broken[40] ^= 1;
    world.punt.push(0, &broken).unwrap();
    world.step();
    assert_eq!((world.listener.counts().now().waiting, world.turned_away("bad_syn")), (1, 1));
    // The same flow by the other port is another one.
    world.punt.push(1, &syn([10, 0, 0, 9], 1000, 1)).unwrap();
    world.step();
    assert_eq!(world.listener.counts().now().waiting, 2);
}

#[test]
fn who_is_in_another_network_is_not_heard() {
    let mut world = World::new(vec![Client::new(1, 0, Some(98), "10.99.0.9")]);
    let handle = world.clients[0].connect("10.99.0.2");
    world.steps(100);
    assert_eq!(world.clients[0].state(handle), State::SynSent);
    assert!(world.turned_away("bad_frames") > 0 && world.accept().is_none());
}

#[test]
fn who_wants_our_address_is_told_that_it_is_taken() {
    use smoltcp::wire::*;
    let mut world = World::new(Vec::new());
    let mut into = [0; MAX_FRAME];
    let theirs = [2, 0, 0, 0, 1, 1];
    let probe = |target: u8| {
        [
            &[0xff; 6][..],
            &theirs,
            &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1],
            &theirs,
            &[0; 4],
            &[0; 6],
            &[10, 0, 0, target],
        ]
        .concat()
    };
    world.punt.push(1, &probe(2)).unwrap();
    world.punt.push(1, &probe(3)).unwrap();
    world.listener.0.lock().turn(Duration::from_secs(1));
    let popped = world.send.pop(&mut into).unwrap().unwrap();
    assert_eq!((popped.port, &into[..6], &into[20..22]), (1, &theirs[..], &[0, 2][..]));
    assert_eq!((&into[22..28], &into[28..32]), (&[2, 0, 0x5e, 0, 0x53, 2][..], &[10, 0, 0, 2][..]));
    assert_eq!(world.send.pop(&mut into), None);

    let ours: Ipv6Address = "fd00::2".parse().unwrap();
    let (nobody, group) = (Ipv6Address::UNSPECIFIED, "ff02::1:ff00:2".parse().unwrap());
    let asks = Icmpv6Repr::Ndisc(NdiscRepr::NeighborSolicit { target_addr: ours, lladdr: None });
    let ip = Ipv6Repr {
        src_addr: nobody,
        dst_addr: group,
        next_header: IpProtocol::Icmpv6,
        payload_len: asks.buffer_len(),
        hop_limit: 255,
    };
    let mut frame = [&[0x33, 0x33, 0xff, 0, 0, 2][..], &theirs, &[0x86, 0xdd]].concat();
    frame.resize(54 + asks.buffer_len(), 0);
    ip.emit(&mut Ipv6Packet::new_unchecked(&mut frame[14..]));
    asks.emit(&nobody, &group, &mut Icmpv6Packet::new_unchecked(&mut frame[54..]), &Default::default());
    world.punt.push(0, &frame).unwrap();
    world.listener.0.lock().turn(Duration::from_secs(2));
    let popped = world.send.pop(&mut into).unwrap().unwrap();
    assert_eq!((popped.port, &into[..6]), (0, &[0x33, 0x33, 0, 0, 0, 1][..]));
    let ip = Ipv6Packet::new_checked(&into[14..popped.len]).unwrap();
    let icmp = Icmpv6Packet::new_checked(ip.payload()).unwrap();
    let said = Icmpv6Repr::parse(&ip.src_addr(), &ip.dst_addr(), &icmp, &Default::default()).unwrap();
    assert!(
        matches!(said, Icmpv6Repr::Ndisc(NdiscRepr::NeighborAdvert { target_addr, .. }) if target_addr == ours)
    );
}

#[test]
fn after_a_failure_it_begins_anew() {
    let mut world = World::new(vec![Client::new(1, 0, None, "10.0.0.9")]);
    world.clients[0].connect("10.0.0.2");
    world.steps(10);
    let (mut stream, _) = world.accept().unwrap();
    world.listener.0.lock().restart();
    assert!(matches!(read(&mut stream), Poll::Ready(Err(e)) if e.kind() == io::ErrorKind::ConnectionReset));
    drop(stream);
    world.clients[0].connect("10.0.0.2");
    world.steps(10);
    assert!(world.accept().is_some());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn no_frame_does_harm(frames in prop::collection::vec((0u8..3, prop::collection::vec(any::<u8>(), 1..120), 0usize..4), 1..40)) {
        let mut world = World::new(Vec::new());
        for (port, junk, kind) in frames {
            let mut frame = syn([10, 0, 0, 9], 1000, 1);
            // Junk all over, from some layer on.
            for (to, from) in frame.iter_mut().skip([0, 12, 14, 34][kind]).zip(&junk) {
                *to ^= *from;
            }
            frame.truncate(junk.len() + 10);
            world.punt.push(port, &frame).unwrap();
            world.step();
        }
        world.steps(20);
    }
}
