//! `/etc/hosts`: an address, then names. The address says nothing about the names; it has to be one, though, because a
//! line without it is of another format.

use super::Skip;
use super::plain::before_comment;
use super::sink::{Line, Sink};
use std::net::IpAddr;

/// Names of the machine itself, as hosts files of several systems have them.
const LOCAL: [&str; 13] = [
    "localhost",
    "localhost.localdomain",
    "localhost4",
    "localhost6",
    "local",
    "broadcasthost",
    "ip6-localhost",
    "ip6-loopback",
    "ip6-localnet",
    "ip6-mcastprefix",
    "ip6-allnodes",
    "ip6-allrouters",
    "ip6-allhosts",
];

pub(super) fn read(sink: &mut Sink, line: Line<'_>) {
    let mut words = before_comment(line.text).split_ascii_whitespace();
    let Some(address) = words.next() else { return };
    sink.counted();
    let bare = address.split_once('%').map_or(address, |(bare, _zone)| bare);
    if bare.parse::<IpAddr>().is_err() {
        let message = format!("`{address}` is no IP address");
        return sink.fault(
            line,
            address,
            "no-address",
            message,
            "a line is an address and names; for names alone use `--format plain`",
        );
    }
    let mut any = false;
    for name in words {
        any = true;
        if LOCAL.iter().any(|local| local.eq_ignore_ascii_case(name)) {
            sink.skip(line, name, Skip::LocalName);
        } else {
            let scope = sink.scope;
            sink.name(line, name, scope, "");
        }
    }
    if !any {
        let message = format!("no name follows `{address}`");
        sink.fault(line, address, "no-name", message, "a line is an address and names");
    }
}
