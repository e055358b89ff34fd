//! Builds ClientHellos, well formed and not, and frames them in records.

#![allow(dead_code, reason = "each test binary uses its part")]

use super::random::Random;

pub(crate) const SERVER_NAME: u16 = 0;
pub(crate) const ALPN: u16 = 16;
pub(crate) const PADDING: u16 = 21;
pub(crate) const SUPPORTED_VERSIONS: u16 = 43;
pub(crate) const KEY_SHARE: u16 = 51;
pub(crate) const ECH: u16 = 0xfe0d;
pub(crate) const ESNI: u16 = 0xffce;

#[derive(Clone)]
pub(crate) struct Hello {
    pub(crate) legacy: u16,
    pub(crate) session_id: Vec<u8>,
    pub(crate) ciphers: Vec<u16>,
    pub(crate) extensions: Vec<(u16, Vec<u8>)>,
}

impl Hello {
    /// Like that of a plain TLS 1.3 client.
    pub(crate) fn named(name: &str) -> Self {
        let mut hello = Self::nameless();
        hello.extensions.insert(0, (SERVER_NAME, server_name(&[name.as_bytes()])));
        hello
    }

    pub(crate) fn nameless() -> Self {
        let key_share = [&[0, 36, 0, 29, 0, 32][..], &[7; 32]].concat();
        Self {
            legacy: 0x0303,
            session_id: vec![9; 32],
            ciphers: vec![0x1301, 0x1302, 0x1303, 0xc02f],
            extensions: vec![
                (10, vec![0, 4, 0, 29, 0, 23]),
                (13, vec![0, 4, 4, 3, 8, 4]),
                (ALPN, alpn(&[b"h2", b"http/1.1"])),
                (SUPPORTED_VERSIONS, vec![4, 3, 4, 3, 3]),
                (45, vec![1, 1]),
                (KEY_SHARE, key_share),
            ],
        }
    }

    pub(crate) fn with(mut self, kind: u16, data: impl Into<Vec<u8>>) -> Self {
        self.extensions.push((kind, data.into()));
        self
    }

    /// With an X25519MLKEM768 key share in front, as browsers send today: about 1.7 KB.
    pub(crate) fn post_quantum(mut self) -> Self {
        let share = [&[4, 196, 0x11, 0xec, 4, 192][..], &[5; 1216]].concat();
        self.extensions.retain(|(kind, _)| *kind != KEY_SHARE);
        self.with(KEY_SHARE, share)
    }

    /// With GREASE wherever RFC 8701 allows it.
    pub(crate) fn greased(mut self, random: &mut Random) -> Self {
        let mut grease = || 0x0a0a + 0x1010 * random.within(0, 15) as u16;
        self.ciphers.insert(0, grease());
        self.extensions.insert(0, (grease(), vec![]));
        self.extensions.push((grease(), vec![0]));
        for (kind, data) in &mut self.extensions {
            let value = grease().to_be_bytes();
            match *kind {
                SUPPORTED_VERSIONS => {
                    data[0] += 2;
                    data.splice(1..1, value);
                }
                ALPN => {
                    data.splice(2..2, [&[2][..], &value].concat());
                    let len = (data.len() - 2) as u16;
                    data[..2].copy_from_slice(&len.to_be_bytes());
                }
                _ => {}
            }
        }
        self
    }

    pub(crate) fn shuffled(mut self, random: &mut Random) -> Self {
        random.shuffle(&mut self.extensions);
        self
    }

    /// Padded (RFC 7685) until the message has `len` bytes.
    pub(crate) fn padded_to(self, len: usize) -> Self {
        let now = self.message().len();
        self.with(PADDING, vec![0; len - now - 4])
    }

    pub(crate) fn message(&self) -> Vec<u8> {
        let mut body = self.legacy.to_be_bytes().to_vec();
        body.extend([3; 32]);
        body.push(self.session_id.len() as u8);
        body.extend(&self.session_id);
        body.extend(((self.ciphers.len() * 2) as u16).to_be_bytes());
        body.extend(self.ciphers.iter().flat_map(|c| c.to_be_bytes()));
        body.extend([1, 0]);
        let extensions: Vec<u8> = self
            .extensions
            .iter()
            .flat_map(|(kind, data)| [&kind.to_be_bytes()[..], &vec16(data)].concat())
            .collect();
        body.extend(vec16(&extensions));
        message(1, &body)
    }

    /// In one record.
    pub(crate) fn record(&self) -> Vec<u8> {
        record(22, 0x0301, &self.message())
    }
}

pub(crate) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &(body.len() as u32).to_be_bytes()[1..], body].concat()
}

pub(crate) fn vec16(data: &[u8]) -> Vec<u8> {
    [&(data.len() as u16).to_be_bytes()[..], data].concat()
}

pub(crate) fn record(kind: u8, version: u16, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &version.to_be_bytes(), &vec16(body)].concat()
}

/// `message` cut at `cuts` (both ends included) into one record each.
pub(crate) fn records(message: &[u8], cuts: &[usize]) -> Vec<u8> {
    cuts.windows(2).flat_map(|cut| record(22, 0x0301, &message[cut[0]..cut[1]])).collect()
}

/// A server_name extension with all of these in its list.
pub(crate) fn server_name(names: &[&[u8]]) -> Vec<u8> {
    let list: Vec<u8> = names.iter().flat_map(|name| [&[0][..], &vec16(name)].concat()).collect();
    vec16(&list)
}

pub(crate) fn alpn(ids: &[&[u8]]) -> Vec<u8> {
    let list: Vec<u8> = ids.iter().flat_map(|id| [&[id.len() as u8][..], id].concat()).collect();
    vec16(&list)
}

/// The outer form of ECH.
pub(crate) fn ech(config_id: u8, payload: usize) -> Vec<u8> {
    let mut data = vec![0, 0, 1, 0, 1, config_id];
    data.extend(vec16(&[6; 32]));
    data.extend(vec16(&vec![8; payload]));
    data
}
