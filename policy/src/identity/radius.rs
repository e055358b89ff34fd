//! RADIUS accounting (RFC 2866), as far as it says who is on which device and address: requests read, answers made.
//!
//! ```text
//!  0      1     2         4                    20
//!  │ code │ id  │ length  │ authenticator (16) │ attributes: type, length, value; type, length, value; …
//! ```
//!
//! | attribute | what is taken |
//! |---|---|
//! | User-Name (1) | the account, as it stands |
//! | NAS-IP-Address (4), NAS-IPv6-Address (95), NAS-Identifier (32) | which access server says so |
//! | Framed-IP-Address (8), Framed-IPv6-Address (168, RFC 6911) | addresses of the session |
//! | Framed-IPv6-Prefix (97, RFC 3162) | an address, if it has 128 bits, or together with Framed-Interface-Id (96) |
//! | Calling-Station-Id (31) | the hardware address, in any notation of RFC 3580 section 3.21 and others |
//! | Acct-Status-Type (40), Acct-Session-Id (44), Acct-Delay-Time (41), Event-Timestamp (55) | what happened, and when |
//! | Message-Authenticator (80, RFC 3579) | verified where it is present |
//! | Proxy-State (33) | goes back with the answer |
//!
//! Everything else is not looked at. A packet proves that its sender knows the secret before any value of it is read; the
//! proof is MD5, which RADIUS has nothing in place of, so accounting belongs on a network of its own (RFC 6614 section 1).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hmac::{Hmac, KeyInit as _, Mac as _};
use md5::{Digest as _, Md5};
use subtle::ConstantTimeEq as _;

use super::Mac;
use crate::vocab::coded;

/// The longest packet (RFC 2865 section 3).
pub const MAX_PACKET: usize = 4096;
/// Addresses that are taken of one session; further ones are not.
pub const MAX_ADDRESSES: usize = 8;
/// The shortest secret: what RFC 2865 section 3 asks for.
pub const MIN_SECRET: usize = 16;
const HEADER: usize = 20;
const ACCOUNTING_REQUEST: u8 = 4;
const ACCOUNTING_RESPONSE: u8 = 5;
const MESSAGE_AUTHENTICATOR: u8 = 80;
const PROXY_STATE: u8 = 33;

coded! {
    /// Why a packet was not taken.
    pub enum Refused {
        /// It comes from an address of no client.
        UnknownClient = 1 => "unknown_client",
        /// Its client sends more than is taken.
        Rate = 2 => "rate",
        /// Its lengths do not fit together.
        Malformed = 3 => "malformed",
        /// It is no accounting request.
        NotAccounting = 4 => "not_accounting",
        /// Its Request Authenticator was not made with the secret of this client.
        WrongSecret = 5 => "wrong_secret",
        /// Its Message-Authenticator was not made with it.
        WrongSignature = 6 => "wrong_signature",
        /// An attribute that is needed is missing, or has a value that it can't have.
        BadValue = 7 => "bad_value",
        /// There is no room for a session more. Without an answer it is sent again.
        NoRoom = 8 => "no_room",
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// A session began.
    Start,
    /// It ended.
    Stop,
    /// It goes on.
    Interim,
    /// The access server came up: it has no sessions.
    On,
    /// It goes down.
    Off,
    /// Something else, such as a tunnel.
    Other,
}

/// A secret that is shared with a client.
pub struct Secret(Box<[u8]>);

impl Secret {
    /// From its bytes. `None`: it is shorter than [`MIN_SECRET`].
    pub fn new(bytes: &[u8]) -> Option<Self> {
        (bytes.len() >= MIN_SECRET).then(|| Self(bytes.into()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// An accounting request whose sender knows the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// Its identifier: with the authenticator and the sender's address and port it tells requests apart.
    pub id: u8,
    /// Its authenticator.
    pub authenticator: [u8; 16],
    /// What happened.
    pub status: Status,
    /// Address of the access server, where it says so.
    pub nas_address: Option<IpAddr>,
    /// Name of the access server; empty: it has none.
    pub nas: &'a [u8],
    /// Names the session within the access server; not empty where [`Status`] is about a session.
    pub session: &'a [u8],
    /// The account. `None`: nobody is named, or the name is the hardware address (authentication by address).
    pub account: Option<&'a str>,
    /// The hardware address.
    pub mac: Option<Mac>,
    /// The network addresses.
    pub addresses: Vec<IpAddr>,
    /// For how many seconds the access server has been trying to say this.
    pub delay_s: u32,
    /// When it happened, seconds since 1970.
    pub event_time: Option<u32>,
    attributes: &'a [u8],
}

impl<'a> Request<'a> {
    /// Reads a datagram. Bytes beyond the length that it names are padding.
    pub fn read(datagram: &'a [u8], secret: &Secret) -> Result<Self, Refused> {
        let (header, rest) = datagram.split_first_chunk::<HEADER>().ok_or(Refused::Malformed)?;
        let [code, id, high, low, authenticator @ ..] = *header;
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length > MAX_PACKET {
            return Err(Refused::Malformed);
        }
        let attributes =
            length.checked_sub(HEADER).and_then(|length| rest.get(..length)).ok_or(Refused::Malformed)?;
        if Attributes(attributes).any(|attribute| attribute.is_err()) {
            return Err(Refused::Malformed);
        }
        if code != ACCOUNTING_REQUEST {
            return Err(Refused::NotAccounting);
        }
        let head = [code, id, high, low];
        if !bool::from(digest(head, [0; 16], attributes, secret).ct_eq(&authenticator)) {
            return Err(Refused::WrongSecret);
        }
        verify_signature(head, attributes, secret)?;
        let mut request = Self {
            id,
            authenticator,
            status: Status::Other,
            nas_address: None,
            nas: &[],
            session: &[],
            account: None,
            mac: None,
            addresses: Vec::new(),
            delay_s: 0,
            event_time: None,
            attributes,
        };
        request.take().ok_or(Refused::BadValue)?;
        Ok(request)
    }

    /// Reads the values. `None`: one is missing or wrong.
    fn take(&mut self) -> Option<()> {
        let (mut status, mut prefix, mut interface) = (None, None, None);
        for (kind, value) in Attributes(self.attributes).flatten() {
            match kind {
                1 => self.account = Some(account(value)?),
                4 => self.nas_address = Some(v4(value)?.into()),
                8 => self.address(v4(value)?.into()),
                31 => self.mac = std::str::from_utf8(value).ok().and_then(station),
                32 => self.nas = value,
                40 => status = Some(number(value)?),
                41 => self.delay_s = number(value)?,
                44 => self.session = value,
                55 => self.event_time = Some(number(value)?),
                95 => self.nas_address = Some(v6(value)?.into()),
                96 => interface = Some(<[u8; 8]>::try_from(value).ok()?),
                97 => prefix = Some(prefix_of(value)?),
                168 => self.address(v6(value)?.into()),
                _ => {}
            }
        }
        match (prefix, interface) {
            (Some((bits, 128)), _) => self.address(Ipv6Addr::from(bits).into()),
            (Some((bits, 0..=64)), Some(interface)) => {
                self.address(Ipv6Addr::from(bits | u128::from(u64::from_be_bytes(interface))).into());
            }
            _ => {}
        }
        // A server that knows devices by their address puts it in the place of the name: that is no account.
        if self.mac.is_some() && self.account.and_then(station) == self.mac {
            self.account = None;
        }
        self.status = match status? {
            1 => Status::Start,
            2 => Status::Stop,
            3 => Status::Interim,
            7 => Status::On,
            8 => Status::Off,
            _ => Status::Other,
        };
        let of_session = matches!(self.status, Status::Start | Status::Stop | Status::Interim);
        (!of_session || !self.session.is_empty()).then_some(())
    }

    fn address(&mut self, ip: IpAddr) {
        // 255.255.255.254 and .255 ask for an address (RFC 2865 section 5.8).
        let asks = matches!(ip, IpAddr::V4(v4) if u32::from(v4) >= 0xffff_fffe);
        if !asks && self.addresses.len() < MAX_ADDRESSES && !self.addresses.contains(&ip) {
            self.addresses.push(ip);
        }
    }

    /// The answer that says that it was taken.
    pub fn answer(&self, secret: &Secret) -> Vec<u8> {
        let mut attributes = Vec::new();
        for (kind, value) in Attributes(self.attributes).flatten().filter(|(kind, _)| *kind == PROXY_STATE) {
            // A value came with a length of one byte, so it goes back with one.
            attributes.extend([kind, (value.len() + 2) as u8]);
            attributes.extend_from_slice(value);
        }
        let [high, low] = ((HEADER + attributes.len()) as u16).to_be_bytes();
        let head = [ACCOUNTING_RESPONSE, self.id, high, low];
        let authenticator = digest(head, self.authenticator, &attributes, secret);
        [&head[..], &authenticator, &attributes].concat()
    }
}

/// MD5 over a packet with an authenticator in its place, and the secret (RFC 2866 section 3).
fn digest(head: [u8; 4], authenticator: [u8; 16], attributes: &[u8], secret: &Secret) -> [u8; 16] {
    let mut md5 = Md5::new();
    for part in [&head[..], &authenticator, attributes, &secret.0] {
        md5.update(part);
    }
    md5.finalize().into()
}

/// Holds a Message-Authenticator to the packet, if there is one: HMAC-MD5 with zeros in the place of itself and of the
/// Request Authenticator, which is made after it.
fn verify_signature(head: [u8; 4], attributes: &[u8], secret: &Secret) -> Result<(), Refused> {
    let mut at = 0;
    let mut signed = None;
    for (kind, value) in Attributes(attributes).flatten() {
        if kind == MESSAGE_AUTHENTICATOR && signed.replace((at + 2, value)).is_some() {
            return Err(Refused::Malformed);
        }
        at += value.len() + 2;
    }
    let Some((at, value)) = signed else { return Ok(()) };
    if value.len() != 16 {
        return Err(Refused::Malformed);
    }
    let (before, after) =
        attributes.split_at_checked(at).zip(attributes.get(at + 16..)).ok_or(Refused::Malformed)?;
    let mut mac = Hmac::<Md5>::new_from_slice(&secret.0).map_err(|_| Refused::WrongSignature)?;
    for part in [&head[..], &[0; 16], before.0, &[0; 16], after] {
        mac.update(part);
    }
    mac.verify_slice(value).map_err(|_| Refused::WrongSignature)
}

/// Types and values; an error where a length does not fit, and then no more.
struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<(u8, &'a [u8]), ()>;

    fn next(&mut self) -> Option<Self::Item> {
        let attributes = std::mem::take(&mut self.0);
        let [kind, length, rest @ ..] = attributes else {
            return (!attributes.is_empty()).then_some(Err(()));
        };
        let split = usize::from(*length).checked_sub(2).and_then(|length| rest.split_at_checked(length));
        let Some((value, rest)) = split else { return Some(Err(())) };
        self.0 = rest;
        Some(Ok((*kind, value)))
    }
}

fn number(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_be_bytes)
}

fn v4(value: &[u8]) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(value).ok().map(Ipv4Addr::from)
}

fn v6(value: &[u8]) -> Option<Ipv6Addr> {
    <[u8; 16]>::try_from(value).ok().map(Ipv6Addr::from)
}

/// A name that people can have: not empty, without control characters.
fn account(value: &[u8]) -> Option<&str> {
    let name = std::str::from_utf8(value).ok()?;
    (!name.is_empty() && !name.chars().any(char::is_control)).then_some(name)
}

/// Bits and length of a prefix: a reserved byte, the length, as many bytes as it needs, or more.
fn prefix_of(value: &[u8]) -> Option<(u128, u8)> {
    let [_, length @ 0..=128, bytes @ ..] = value else { return None };
    if bytes.len() > 16 || bytes.len() * 8 < usize::from(*length) {
        return None;
    }
    let mut all = [0; 16];
    all.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    let keep = u128::MAX.checked_shl(128 - u32::from(*length)).unwrap_or(0);
    Some((u128::from_be_bytes(all) & keep, *length))
}

/// A hardware address as access servers write it: twelve hexadecimal digits, in pairs with `:`, `-` or `.`, in fours with
/// `.`, `:` or `-`, in two halves, or in one word. `None`: a telephone number, an address, a name.
fn station(text: &str) -> Option<Mac> {
    let separator = text.chars().find(|c| matches!(c, ':' | '-' | '.'));
    let mut digits = [0; 12];
    let mut read = 0;
    let mut group = None;
    for part in text.split(|c| Some(c) == separator) {
        if *group.get_or_insert(part.len()) != part.len() {
            return None;
        }
        for digit in part.chars() {
            *digits.get_mut(read)? = digit.to_digit(16)? as u8;
            read += 1;
        }
    }
    if read != 12 || !matches!(group, Some(2 | 4 | 6 | 12)) {
        return None;
    }
    let mut mac = [0; 6];
    mac.iter_mut().zip(digits.chunks_exact(2)).for_each(|(byte, pair)| {
        *byte = pair.iter().fold(0, |byte, digit| byte << 4 | digit);
    });
    Some(Mac(mac)).filter(|mac| mac.is_unicast())
}

#[cfg(test)]
pub(super) mod tests;
