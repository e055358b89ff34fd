//! The RADIUS accounting listener: a UDP socket that the slow path looks at between other things.
//!
//! A request is answered when what it says is taken, never before: without an answer it is sent again (RFC 2866 section 2).
//! One that comes again is answered again and changes nothing (RFC 5080 section 2.2.2).
//!
//! The socket and the secrets are had before the process confines itself. Bounded: packets of each client a second, packets
//! a turn, requests that are remembered; what is refused is dropped and counted by reason.

use super::identity::Identity;
use super::machine::Machine;
use super::report::counts;
use super::snapshot::RadiusNow;
use crate::config;
use crate::secret;
use anyhow::{Context as _, Result};
use glassgate_policy::identity::radius::{MAX_PACKET, Refused, Request, Secret};
use glassgate_policy::identity::{Effect, Heard, Logins};
use ipnet::IpNet;
use std::collections::{HashSet, VecDeque};
use std::net::{SocketAddr, UdpSocket};

/// Packets taken from the socket before the rings have their turn.
const TURN: usize = 128;
/// The most packets of a client a second. What comes beyond is not lost: without an answer it is sent again.
const A_SECOND: u32 = 1000;
/// How long a request is remembered, and how many are.
const REMEMBERED_NS: u64 = 60 * 1_000_000_000;
const MAX_REMEMBERED: usize = 1 << 14;

/// The listener.
pub(super) struct Radius {
    socket: UdpSocket,
    clients: Vec<Client>,
    silence_ns: u64,
    recent: Recent,
    buffer: Box<[u8]>,
    taken: u64,
    repeated: u64,
    unsent: u64,
    refused: [u64; Refused::ALL.len()],
}

struct Client {
    network: IpNet,
    secret: Secret,
    /// What may still be taken of it in that second.
    second: u64,
    left: u32,
}

impl Radius {
    /// Takes the socket and reads the secrets.
    pub(super) fn open(config: &config::Radius) -> Result<Self> {
        let client = |client: &config::RadiusClient| {
            let path = client.secret.display();
            let bytes = secret::read(&client.secret).with_context(|| format!("the secret {path}"))?;
            let secret = Secret::new(&bytes).with_context(|| format!("the secret {path} is too short"))?;
            anyhow::Ok(Client { network: client.network, secret, second: 0, left: 0 })
        };
        let clients = config.clients.iter().map(client).collect::<Result<_>>()?;
        let socket = UdpSocket::bind(config.listen)
            .with_context(|| format!("`radius.listen`: {} can't be listened at", config.listen))?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            clients,
            silence_ns: config.silence.as_nanos() as u64,
            recent: Recent::default(),
            // One byte more than the longest packet: what fills it is too long.
            buffer: vec![0; MAX_PACKET + 1].into_boxed_slice(),
            taken: 0,
            repeated: 0,
            unsent: 0,
            refused: [0; Refused::ALL.len()],
        })
    }

    /// Takes what waits at the socket, but not more than fits into a turn. How many packets that were.
    pub(super) fn take(&mut self, machine: &dyn Machine, identity: &mut Identity) -> usize {
        for taken in 0..TURN {
            // Nothing waits, or the kernel tells of an answer that did not arrive: neither is a reason to end.
            let Ok((length, source)) = self.socket.recv_from(&mut self.buffer) else { return taken };
            let now = machine.now();
            let heard = Heard {
                now_ns: now.mono_ns,
                wall_s: now.trusted_wall().map(|wall| wall.as_second()),
                silence_ns: self.silence_ns,
            };
            if let Err(why) = self.packet(length, source, heard, identity)
                && let Some(count) = self.refused.get_mut(why as usize - 1)
            {
                *count += 1;
            }
        }
        TURN
    }

    fn packet(
        &mut self,
        length: usize,
        source: SocketAddr,
        heard: Heard,
        identity: &mut Identity,
    ) -> Result<(), Refused> {
        let address = source.ip().to_canonical();
        let which = self.clients.iter().position(|client| client.network.contains(&address));
        let client = which.ok_or(Refused::UnknownClient)?;
        let Client { secret, second, left, .. } =
            self.clients.get_mut(client).ok_or(Refused::UnknownClient)?;
        let this_second = heard.now_ns / 1_000_000_000;
        if *second != this_second {
            (*second, *left) = (this_second, A_SECOND);
        }
        *left = left.checked_sub(1).ok_or(Refused::Rate)?;
        let datagram = self.buffer.get(..length).ok_or(Refused::Malformed)?;
        let request = Request::read(datagram, secret)?;
        let name = Name { source, id: request.id, authenticator: request.authenticator };
        if self.recent.knows(&name, heard.now_ns) {
            self.repeated += 1;
        } else {
            identity.account(client, address, &request, heard)?;
            self.taken += 1;
            self.recent.note(name, heard.now_ns);
        }
        if self.socket.send_to(&request.answer(secret), source).is_err() {
            self.unsent += 1;
        }
        Ok(())
    }

    /// What came in.
    pub(super) fn now(&self, logins: &Logins) -> RadiusNow {
        let refused = Refused::ALL.iter().map(|why| why.as_str()).zip(self.refused);
        let effects = Effect::ALL.iter().map(|effect| effect.as_str()).zip(logins.effects());
        RadiusNow {
            taken: self.taken,
            effects: counts(effects),
            repeated: self.repeated,
            unsent: self.unsent,
            refused: counts(refused),
        }
    }

    #[cfg(test)]
    fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }
}

/// What tells a request from another one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Name {
    source: SocketAddr,
    id: u8,
    authenticator: [u8; 16],
}

/// Requests that were taken a while ago. When there is no room, the oldest goes.
#[derive(Default)]
struct Recent {
    names: HashSet<Name>,
    order: VecDeque<(u64, Name)>,
}

impl Recent {
    fn knows(&mut self, name: &Name, now_ns: u64) -> bool {
        while self.order.front().is_some_and(|(at, _)| now_ns.saturating_sub(*at) >= REMEMBERED_NS) {
            self.drop_oldest();
        }
        self.names.contains(name)
    }

    fn note(&mut self, name: Name, now_ns: u64) {
        if self.order.len() >= MAX_REMEMBERED {
            self.drop_oldest();
        }
        if self.names.insert(name) {
            self.order.push_back((now_ns, name));
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((_, name)) = self.order.pop_front() {
            self.names.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests;
