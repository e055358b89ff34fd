//! Frames of made-up flows: Ethernet, IPv4, TCP, with right checksums.

/// One TCP flow between a client of the LAN and a server behind the uplink.
pub(crate) struct Flow {
    client_port: u16,
}

const CLIENT: [u8; 4] = [192, 0, 2, 10];
const SERVER: [u8; 4] = [198, 51, 100, 80];
const SYN: u8 = 0x02;
const PSH_ACK: u8 = 0x18;
const ACK: u8 = 0x10;
/// First sequence numbers of the two sides.
const CLIENT_SEQ: u32 = 1000;
const SERVER_SEQ: u32 = 9000;

impl Flow {
    pub(crate) fn new(client_port: u16) -> Self {
        Self { client_port }
    }

    /// An HTTP exchange for `host`: each frame, and whether the client sent it.
    pub(crate) fn http(&self, host: &str) -> Vec<(bool, Vec<u8>)> {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
        let (client, server) = (CLIENT_SEQ + 1, SERVER_SEQ + 1);
        let after = client + request.len() as u32;
        vec![
            (true, self.up(CLIENT_SEQ, 0, SYN, b"")),
            (false, self.down(SERVER_SEQ, client, SYN | ACK, b"")),
            (true, self.up(client, server, ACK, b"")),
            (true, self.up(client, server, PSH_ACK, request.as_bytes())),
            (false, self.down(server, after, PSH_ACK, answer)),
        ]
    }

    fn up(&self, seq: u32, ack: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
        frame((CLIENT, self.client_port), (SERVER, 80), seq, ack, flags, payload)
    }

    fn down(&self, seq: u32, ack: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
        frame((SERVER, 80), (CLIENT, self.client_port), seq, ack, flags, payload)
    }
}

fn frame(src: ([u8; 4], u16), dst: ([u8; 4], u16), seq: u32, ack: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut tcp = Vec::new();
    tcp.extend(src.1.to_be_bytes());
    tcp.extend(dst.1.to_be_bytes());
    tcp.extend(seq.to_be_bytes());
    tcp.extend(ack.to_be_bytes());
    tcp.extend([5 << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
    tcp.extend(payload);
    let mut pseudo = [&src.0[..], &dst.0[..], &[0, 6]].concat();
    pseudo.extend((tcp.len() as u16).to_be_bytes());
    let sum = checksum(&[&pseudo[..], &tcp[..]].concat());
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    let mut ip = vec![0x45, 0];
    ip.extend((20 + tcp.len() as u16).to_be_bytes());
    ip.extend([0, 1, 0x40, 0, 64, 6, 0, 0]);
    ip.extend(src.0);
    ip.extend(dst.0);
    let sum = checksum(&ip);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let ethernet = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
    [&ethernet[..], &ip[..], &tcp[..]].concat()
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 =
        bytes.chunks(2).map(|c| u32::from(u16::from_be_bytes([c[0], *c.get(1).unwrap_or(&0)]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
