//! TCP and UDP.

use super::view::{Short, View};
use super::{Next, Parsed, Walk, ip, tunnel};
use crate::packet::{Addr, Packet, Tcp, Transport, Vlans};
use glassgate_policy::Reason;

const MALFORMED: Next = Next::Done(Parsed::Malformed(Reason::MalformedL4));

/// TCP or UDP behind a plain Ethernet and IPv4 header. `h` holds the first bytes of `bytes`, `total` is the IP
/// length, which the frame holds. `None` sends the frame to the general way.
#[inline]
pub(super) fn plain(bytes: &[u8], h: &[u8; 42], total: usize) -> Option<Packet> {
    let (transport, header) = match h[23] {
        6 if total >= 40 => {
            let t: &[u8; 54] = bytes.first_chunk()?;
            let header = usize::from(t[46] >> 4) * 4;
            if header < 20 || 20 + header > total {
                return None;
            }
            let mut tcp = Tcp {
                seq: u32::from_be_bytes([t[38], t[39], t[40], t[41]]),
                ack: u32::from_be_bytes([t[42], t[43], t[44], t[45]]),
                flags: t[47],
                window: u16::from_be_bytes([t[48], t[49]]),
                urgent: u16::from_be_bytes([t[52], t[53]]),
                ts_val: None,
                md5: false,
            };
            if header > 20 {
                options(&mut tcp, bytes.get(54..34 + header)?);
            }
            (Transport::Tcp(tcp), header)
        }
        17 if usize::from(u16::from_be_bytes([h[38], h[39]])) + 20 == total && total >= 28 => {
            let ports = (u16::from_be_bytes([h[34], h[35]]), u16::from_be_bytes([h[36], h[37]]));
            if tunnel::by_ports(ports.0, ports.1).is_some() || tunnel::is_teredo(bytes.get(42..)?, total - 28)
            {
                return None;
            }
            (Transport::Udp, 8)
        }
        _ => return None,
    };
    let len = (total - 20 - header) as u32;
    Some(Packet {
        vlans: Vlans::NONE,
        src: Addr::v4([h[26], h[27], h[28], h[29]]),
        dst: Addr::v4([h[30], h[31], h[32], h[33]]),
        src_port: u16::from_be_bytes([h[34], h[35]]),
        dst_port: u16::from_be_bytes([h[36], h[37]]),
        ttl: h[22],
        transport,
        l3_at: 14,
        l4_at: 34,
        payload_at: 34 + header as u32,
        payload_len: len,
        payload_wire_len: len,
        tunnelled: false,
        tunnel: None,
        exthdr_capped: false,
    })
}

/// TCP, RFC 9293 section 3.1.
pub(super) fn tcp(view: &mut View<'_>, state: &mut Walk<'_>) -> Result<Next, Short> {
    let l4_at = view.at();
    let h: &[u8; 20] = view.peek()?;
    let header = usize::from(h[12] >> 4) * 4;
    if header < 20 || header > view.wire_left() {
        return Ok(MALFORMED);
    }
    let mut tcp = Tcp {
        seq: u32::from_be_bytes([h[4], h[5], h[6], h[7]]),
        ack: u32::from_be_bytes([h[8], h[9], h[10], h[11]]),
        flags: h[13],
        window: u16::from_be_bytes([h[14], h[15]]),
        urgent: u16::from_be_bytes([h[18], h[19]]),
        ts_val: None,
        md5: false,
    };
    options(&mut tcp, view.rest().get(20..header.min(view.rest().len())).unwrap_or_default());
    view.skip(header)?;
    let ports = (u16::from_be_bytes([h[0], h[1]]), u16::from_be_bytes([h[2], h[3]]));
    Ok(Next::Done(Parsed::Packet(packet(view, state, l4_at, ports, Transport::Tcp(tcp)))))
}

/// The two options that tell a decoy from a segment of the flow: timestamps (RFC 7323) and the MD5 signature
/// (RFC 2385). Stops at the first option that can't be walked, as endpoints do: the segment stays valid.
fn options(tcp: &mut Tcp, mut options: &[u8]) {
    // What nearly every segment of an established flow carries.
    if let [1, 1, 8, 10, a, b, c, d, _, _, _, _] = options {
        tcp.ts_val = Some(u32::from_be_bytes([*a, *b, *c, *d]));
        return;
    }
    loop {
        options = match options {
            [] | [0, ..] => return,
            [1, rest @ ..] => rest,
            [kind, len @ 2..=255, ..] => {
                let Some((option, rest)) = options.split_at_checked(usize::from(*len)) else { return };
                match (kind, option) {
                    (8, [_, 10, a, b, c, d, ..]) => {
                        tcp.ts_val = Some(u32::from_be_bytes([*a, *b, *c, *d]));
                    }
                    (19, [_, 18, ..]) => tcp.md5 = true,
                    _ => {}
                }
                rest
            }
            _ => return,
        };
    }
}

/// UDP, RFC 768. A length of 0 is valid in IPv6 only (RFC 2675 section 4), and there means the rest of the packet.
pub(super) fn udp(view: &mut View<'_>, state: &mut Walk<'_>) -> Result<Next, Short> {
    let l4_at = view.at();
    let [s0, s1, d0, d1, l0, l1, _, _] = *view.peek()?;
    match usize::from(u16::from_be_bytes([l0, l1])) {
        0 if state.ip.v6 => {}
        len if (8..=view.wire_left()).contains(&len) => view.limit(len),
        _ if state.options.capture => {}
        _ => return Ok(MALFORMED),
    }
    view.skip(8)?;
    let ports = (u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1]));
    let mut packet = packet(view, state, l4_at, ports, Transport::Udp);
    let Some(kind) = tunnel::of(ports, view) else { return Ok(Next::Done(Parsed::Packet(packet))) };
    packet.tunnel = Some(kind);
    if !state.enter() {
        return Ok(Next::Done(Parsed::Packet(packet)));
    }
    state.carrier = Some(packet);
    Ok(Next::UdpTunnel(kind))
}

/// A packet of which only the ports are known, if they are there.
pub(super) fn ports_only(segment: &[u8], state: &Walk<'_>, number: u8) -> Option<Packet> {
    let mut view = View::new(segment, segment.len());
    let ports = (view.u16().ok()?, view.u16().ok()?);
    let nothing = Tcp { seq: 0, ack: 0, flags: 0, window: 0, urgent: 0, ts_val: None, md5: false };
    let transport = match number {
        6 => Transport::Tcp(nothing),
        17 => Transport::Udp,
        _ => return None,
    };
    Some(Packet { payload_len: 0, payload_wire_len: 0, ..packet(&view, state, 0, ports, transport) })
}

fn packet(
    view: &View<'_>,
    state: &Walk<'_>,
    l4_at: usize,
    ports: (u16, u16),
    transport: Transport,
) -> Packet {
    Packet {
        vlans: state.vlans,
        src: state.ip.src,
        dst: state.ip.dst,
        src_port: ports.0,
        dst_port: ports.1,
        ttl: state.ip.ttl,
        transport,
        l3_at: state.ip.at,
        l4_at: l4_at as u32,
        payload_at: view.at() as u32,
        payload_len: view.rest().len() as u32,
        payload_wire_len: view.wire_left() as u32,
        tunnelled: state.depth > 0,
        tunnel: None,
        exthdr_capped: state.ip.extensions > ip::MAX_EXTENSIONS,
    }
}
