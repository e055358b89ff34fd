//! The listener over a real socket.

use super::*;
use crate::config::RadiusClient;
use crate::control::machine::ThisMachine;
use md5::{Digest as _, Md5};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

const SECRET: &[u8] = b"a-shared-secret-of-24-by";

/// A listener that takes from one address, and what it knows.
struct Listening {
    radius: Radius,
    identity: Identity,
    client: UdpSocket,
    _dir: tempfile::TempDir,
}

impl Listening {
    fn new(network: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let secret = dir.path().join("secret");
        std::fs::write(&secret, SECRET).unwrap();
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
        let config = config::Radius {
            listen: "127.0.0.1:0".parse().unwrap(),
            silence: Duration::from_secs(1800),
            clients: vec![RadiusClient { network: network.parse().unwrap(), secret }],
        };
        let radius = Radius::open(&config).unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(radius.address()).unwrap();
        client.set_nonblocking(true).unwrap();
        Self { radius, identity: Identity::default(), client, _dir: dir }
    }

    /// Sends a packet, lets it be taken, and gives the answer.
    fn say(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        self.client.send(packet).unwrap();
        // On loopback a datagram that was sent has arrived.
        self.radius.take(&ThisMachine, &mut self.identity);
        let mut answer = [0; MAX_PACKET];
        self.client.recv(&mut answer).ok().map(|length| answer[..length].to_vec())
    }

    fn now(&self) -> RadiusNow {
        self.radius.now(self.identity.logins())
    }

    fn refused(&self) -> Vec<(String, u64)> {
        self.now().refused.into_iter().map(|count| (count.name, count.count)).collect()
    }
}

/// A request of a session with an address.
fn request(id: u8, status: u8, secret: &[u8]) -> Vec<u8> {
    let body =
        [&[40, 6, 0, 0, 0, status, 44, 3, b'7', 8, 6, 10, 0, 0, 5, 1, 4][..], b"li", &[33, 3, id]].concat();
    let head = [4, id, 0, body.len() as u8 + 20];
    let digest = Md5::new_with_prefix(head).chain_update([0; 16]).chain_update(&body).chain_update(secret);
    [&head[..], &digest.finalize(), &body].concat()
}

#[test]
fn what_is_taken_is_answered_and_what_comes_again_only_that() {
    let mut listening = Listening::new("127.0.0.0/8");
    let begins = request(1, 1, SECRET);
    let answer = listening.say(&begins).unwrap();
    assert_eq!((answer[..4].to_vec(), answer[20..].to_vec()), (vec![5, 1, 0, 23], vec![33, 3, 1]));
    let expected = Md5::new_with_prefix(&answer[..4])
        .chain_update(&begins[4..20])
        .chain_update(&answer[20..])
        .chain_update(SECRET);
    assert_eq!(answer[4..20], expected.finalize()[..]);
    assert_eq!(listening.identity.logins().len(), 1);
    assert_eq!(listening.say(&begins).unwrap(), answer);
    let now = listening.now();
    assert_eq!((now.taken, now.repeated), (1, 1));
    // An end that is followed by the beginning, once more on its way.
    assert!(listening.say(&request(2, 2, SECRET)).is_some());
    assert!(listening.say(&begins).is_some());
    assert_eq!((listening.identity.logins().len(), listening.now().repeated), (0, 2));
    let effects: Vec<_> = listening.now().effects.into_iter().map(|c| (c.name, c.count)).collect();
    assert_eq!(effects, [("began".to_owned(), 1), ("ended".to_owned(), 1)]);
}

#[test]
fn what_is_refused_is_counted_and_not_answered() {
    let mut listening = Listening::new("127.0.0.1/32");
    let good = request(1, 1, SECRET);
    let long = vec![0xff; MAX_PACKET + 50];
    for (packet, why) in [
        (request(1, 1, b"not the secret of here"), "wrong_secret"),
        (good[..19].to_vec(), "malformed"),
        (Vec::new(), "malformed"),
        (long, "malformed"),
        ([&[1][..], &good[1..]].concat(), "not_accounting"),
    ] {
        let before = listening.refused().iter().find(|(name, _)| name == why).map_or(0, |(_, n)| *n);
        assert_eq!(listening.say(&packet), None, "{why}");
        let after = listening.refused().iter().find(|(name, _)| name == why).map_or(0, |(_, n)| *n);
        assert_eq!(after, before + 1, "{why}: {:?}", listening.refused());
    }
    assert!(listening.identity.logins().is_empty());
    let mut strange = Listening::new("192.0.2.0/24");
    assert_eq!(strange.say(&good), None);
    assert_eq!(strange.refused(), [("unknown_client".to_owned(), 1)]);
}

#[test]
fn a_client_that_sends_too_much_is_not_listened_to_for_the_rest_of_the_second() {
    let mut listening = Listening::new("127.0.0.1/32");
    let good = request(1, 1, SECRET);
    let (mut answered, mut sent) = (0, 0);
    // Longer than a second of A_SECOND packets can't take: several windows may pass, and each has its end.
    while !listening.refused().iter().any(|(name, _)| name == "rate") {
        answered += u32::from(listening.say(&good).is_some());
        sent += 1;
        assert!(sent < 200 * A_SECOND, "no end to it");
    }
    assert!(answered >= A_SECOND, "{answered}");
}

#[test]
fn what_is_remembered_is_bounded_and_forgotten() {
    let mut recent = Recent::default();
    let name = |n: u32| Name {
        source: SocketAddr::from(([10, 0, 0, 1], 1)),
        id: 0,
        authenticator: u128::from(n).to_be_bytes(),
    };
    for n in 0..MAX_REMEMBERED as u32 + 10 {
        recent.note(name(n), 5);
    }
    assert_eq!((recent.names.len(), recent.order.len()), (MAX_REMEMBERED, MAX_REMEMBERED));
    assert!(!recent.knows(&name(9), 6) && recent.knows(&name(10), 6));
    assert!(!recent.knows(&name(10), 5 + REMEMBERED_NS) && recent.order.is_empty());
}
