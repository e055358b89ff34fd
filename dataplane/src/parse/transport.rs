//! TCP and UDP.

use super::view::{Short, View};
use super::{L4Header, Next, Parsed, Walk, ip, tunnel};
use crate::packet::{Packet, Transport, Vlans};
use glassgate_policy::Reason;

const MALFORMED: Next = Next::Malformed(Reason::MalformedL4);

/// TCP or UDP behind a plain IP header that begins `at` bytes into the frame. `None` sends the frame to the general
/// way.
#[inline(always)]
pub(super) fn plain(ip: &ip::Plain<'_>, at: u32, vlans: Vlans) -> Option<Parsed> {
    match ip.number {
        6 => {
            let h: &[u8; 20] = ip.l4.first_chunk()?;
            let header = usize::from(h[12] >> 4) * 4;
            let holds = header >= 20 && header <= ip.l4.len();
            holds.then(|| plain_packet(ip, at, vlans, h, header, Transport::Tcp { flags: h[13] }))
        }
        17 => {
            let (h, payload) = ip.l4.split_first_chunk::<8>()?;
            let ports = (u16::from_be_bytes([h[0], h[1]]), u16::from_be_bytes([h[2], h[3]]));
            let is_plain = usize::from(u16::from_be_bytes([h[4], h[5]])) == ip.l4.len()
                && tunnel::by_ports(ports.0, ports.1).is_none()
                && !tunnel::is_teredo(payload, payload.len());
            is_plain.then(|| plain_packet(ip, at, vlans, h, 8, Transport::Udp))
        }
        _ => None,
    }
}

#[inline(always)]
fn plain_packet<const N: usize>(
    ip: &ip::Plain<'_>,
    at: u32,
    vlans: Vlans,
    h: &[u8; N],
    header: usize,
    transport: Transport,
) -> Parsed {
    let [s0, s1, d0, d1] = *h.first_chunk().unwrap_or(&[0; 4]);
    let len = (ip.l4.len() - header) as u32;
    Parsed::Packet(Packet {
        vlans,
        src: ip.src,
        dst: ip.dst,
        src_port: u16::from_be_bytes([s0, s1]),
        dst_port: u16::from_be_bytes([d0, d1]),
        ttl: ip.ttl,
        transport,
        l3_at: at,
        l4_at: at + ip.header,
        payload_at: at + ip.header + header as u32,
        payload_len: len,
        payload_wire_len: len,
        tunnelled: false,
        tunnel: None,
        exthdr_capped: false,
    })
}

/// TCP, RFC 9293 section 3.1.
pub(super) fn tcp(view: &mut View<'_>) -> Result<Next, Short> {
    let at = view.at();
    let h: &[u8; 20] = view.peek()?;
    let header = usize::from(h[12] >> 4) * 4;
    if header < 20 || header > view.wire_left() {
        return Ok(MALFORMED);
    }
    view.skip(header)?;
    Ok(Next::Payload(L4Header {
        at: at as u32,
        src_port: u16::from_be_bytes([h[0], h[1]]),
        dst_port: u16::from_be_bytes([h[2], h[3]]),
        transport: Transport::Tcp { flags: h[13] },
        tunnel: None,
    }))
}

/// UDP, RFC 768. A length of 0 is valid in IPv6 only (RFC 2675 section 4), and there means the rest of the packet.
pub(super) fn udp(view: &mut View<'_>, state: &mut Walk<'_>) -> Result<Next, Short> {
    let at = view.at();
    let [s0, s1, d0, d1, l0, l1, _, _] = *view.peek()?;
    match usize::from(u16::from_be_bytes([l0, l1])) {
        0 if state.ip.v6 => {}
        len if (8..=view.wire_left()).contains(&len) => view.limit(len),
        _ if state.options.capture => {}
        _ => return Ok(MALFORMED),
    }
    view.skip(8)?;
    let ports = (u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1]));
    let tunnel = tunnel::of(ports, view);
    let header =
        L4Header { at: at as u32, src_port: ports.0, dst_port: ports.1, transport: Transport::Udp, tunnel };
    if let Some(kind) = tunnel {
        let carrier = state.packet(view, header);
        if state.enter() {
            state.carrier = Some(carrier);
            return Ok(Next::UdpTunnel(kind));
        }
    }
    Ok(Next::Payload(header))
}

/// A packet of which only the ports are known, if they are there.
pub(super) fn ports_only(segment: &[u8], state: &Walk<'_>, number: u8) -> Option<Packet> {
    let mut view = View::new(segment, segment.len());
    let (src_port, dst_port) = (view.u16().ok()?, view.u16().ok()?);
    let transport = match number {
        6 => Transport::Tcp { flags: 0 },
        17 => Transport::Udp,
        _ => return None,
    };
    let header = L4Header { at: 0, src_port, dst_port, transport, tunnel: None };
    Some(Packet { payload_len: 0, payload_wire_len: 0, ..state.packet(&view, header) })
}
