//! The few words of rtnetlink(7) that the guard needs: changing an interface, and hearing of changes.
//!
//! No crate for it: those that are kept either need an asynchronous runtime in a process that shall have none, or bring every
//! message there is. These are three, of fixed layout (`linux/rtnetlink.h`, `linux/if_link.h`).

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::netdevice::name_to_index;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with,
};
use std::io;

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_SETLINK: u16 = 19;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
const NLA_F_NESTED: u16 = 0x8000;
const NLMSG_ERROR: u16 = 2;
const RTMGRP_LINK: u32 = 1;
const IFF_UP: u32 = 1;
const IFF_RUNNING: u32 = 1 << 6;
const IFLA_IFNAME: u16 = 3;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const IFLA_STATS64: u16 = 23;
const IFLA_CARRIER: u16 = 33;
const IFLA_AF_SPEC: u16 = 26;
const AF_INET6: u16 = 10;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const IN6_ADDR_GEN_MODE_NONE: u8 = 1;
const IFF_LOWER_UP: u32 = 1 << 16;
/// `nlmsghdr` and `ifinfomsg`.
const HEADERS: usize = 16 + 16;
/// Where a message about an interface has its flags.
const FLAGS: usize = 16 + 8;

/// An interface and how it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LinkNow {
    pub(super) name: String,
    pub(super) state: LinkState,
}

/// How an interface is; one that was taken away is neither.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LinkState {
    /// Somebody wants it to be up.
    pub(super) up: bool,
    /// It has a link.
    pub(super) carrier: bool,
}

/// Sets an interface up or down.
pub(super) fn set_up(interface: u32, up: bool) -> io::Result<()> {
    change(interface, u32::from(up) * IFF_UP, IFF_UP, &[])
}

/// Changes the flags in `mask`, and what `attributes` say.
pub(super) fn change(interface: u32, flags: u32, mask: u32, attributes: &[u8]) -> io::Result<()> {
    let request = request(RTM_SETLINK, NLM_F_REQUEST | NLM_F_ACK, interface, flags, mask, attributes);
    acknowledged(&open(SocketFlags::CLOEXEC)?, &request)
}

/// Makes an interface of a kind, such as `bridge`; `data` is for the kind. `EEXIST` where there is one of the name.
pub(super) fn create(name: &str, kind: &str, data: &[u8]) -> io::Result<()> {
    let info = [attribute(IFLA_INFO_KIND, kind.as_bytes()), nested(IFLA_INFO_DATA, data)].concat();
    let attributes = [attribute(IFLA_IFNAME, &zero_ended(name)), nested(IFLA_LINKINFO, &info)].concat();
    let how = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
    acknowledged(&open(SocketFlags::CLOEXEC)?, &request(RTM_NEWLINK, how, 0, 0, 0, &attributes))
}

/// Gives an interface without a cable a link, or takes it. `EOPNOTSUPP` where the link is not to be had by asking.
pub(super) fn set_carrier(interface: u32, on: bool) -> io::Result<()> {
    change(interface, 0, 0, &attribute(IFLA_CARRIER, &[u8::from(on)]))
}

/// Puts an interface under another one.
pub(super) fn put_under(interface: u32, master: u32) -> io::Result<()> {
    change(interface, 0, 0, &attribute(IFLA_MASTER, &master.to_ne_bytes()))
}

/// Has an interface give itself no address of IPv6: with one it would say things of its own on the wire, under a bridge as well. A kernel without
/// IPv6 has nothing to do.
pub(super) fn without_ipv6(interface: u32) -> io::Result<()> {
    let spec = nested(AF_INET6, &attribute(IFLA_INET6_ADDR_GEN_MODE, &[IN6_ADDR_GEN_MODE_NONE]));
    match change(interface, 0, 0, &nested(IFLA_AF_SPEC, &spec)) {
        Err(e) if e.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error()) => Ok(()),
        other => other,
    }
}

/// Takes an interface out of what it is under.
pub(super) fn take_out(interface: u32) -> io::Result<()> {
    change(interface, 0, 0, &attribute(IFLA_MASTER, &[0; 4]))
}

/// Sets what an interface is as a port of its master, which is of this kind.
pub(super) fn change_as_port(interface: u32, kind: &str, data: &[u8]) -> io::Result<()> {
    let info =
        [attribute(IFLA_INFO_SLAVE_KIND, kind.as_bytes()), nested(IFLA_INFO_SLAVE_DATA, data)].concat();
    // Unlike RTM_SETLINK this one heeds what is said about the port.
    let how = NLM_F_REQUEST | NLM_F_ACK;
    let request = request(RTM_NEWLINK, how, interface, 0, 0, &nested(IFLA_LINKINFO, &info));
    acknowledged(&open(SocketFlags::CLOEXEC)?, &request)
}

/// What an interface is at the moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Interface {
    /// The index of the interface that it is under.
    pub(super) master: Option<u32>,
    /// Frames that it received since it was made.
    pub(super) received: u64,
    flags: u32,
}

impl Interface {
    /// It is up and has a link, and the kernel has not said so to who waits for that: a bridge lets nothing through such a port.
    pub(super) fn is_held_back(&self) -> bool {
        self.flags & (IFF_UP | IFF_LOWER_UP | IFF_RUNNING) == IFF_UP | IFF_LOWER_UP
    }
}

/// Asks what an interface is.
pub(super) fn ask(interface: u32) -> io::Result<Interface> {
    let socket = open(SocketFlags::CLOEXEC)?;
    send(&socket, &request(RTM_GETLINK, NLM_F_REQUEST, interface, 0, 0, &[]), SendFlags::empty())?;
    let mut answer = vec![0u8; 32 << 10];
    let (_, len) = recv(&socket, &mut answer[..], RecvFlags::empty())?;
    let answer = answer.get(..len).unwrap_or_default();
    if u16_at(answer, 4) != Some(RTM_NEWLINK) {
        verdict(answer)?;
    }
    let body = answer.get(HEADERS..).unwrap_or_default();
    Ok(Interface {
        master: find(body, IFLA_MASTER).and_then(|value| u32_at(value, 0)),
        received: find(body, IFLA_STATS64)
            .and_then(|stats| stats.first_chunk().map(|b| u64::from_ne_bytes(*b)))
            .unwrap_or_default(),
        flags: u32_at(answer, FLAGS).unwrap_or_default(),
    })
}

/// The index of an interface, which is what all of the above take: udev may give it another name between two steps, and its index stays.
pub(super) fn index(interface: &str) -> io::Result<u32> {
    Ok(name_to_index(open(SocketFlags::CLOEXEC)?, interface)?)
}

/// An attribute: length, kind, value, and what fills it up to four bytes.
pub(super) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let len = 4 + value.len();
    let mut bytes = Vec::with_capacity(len.next_multiple_of(4));
    bytes.extend((len as u16).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(len.next_multiple_of(4), 0);
    bytes
}

/// One that holds others.
pub(super) fn nested(kind: u16, value: &[u8]) -> Vec<u8> {
    attribute(kind | NLA_F_NESTED, value)
}

fn zero_ended(name: &str) -> Vec<u8> {
    [name.as_bytes(), b"\0"].concat()
}

/// Sends a request and hears whether it was done.
fn acknowledged(socket: &OwnedFd, request: &[u8]) -> io::Result<()> {
    send(socket, request, SendFlags::empty())?;
    let mut answer = [0u8; 512];
    let (_, len) = recv(socket, &mut answer[..], RecvFlags::empty())?;
    verdict(answer.get(..len).unwrap_or_default())
}

/// Hears of every change of an interface.
pub(super) struct Changes(OwnedFd);

impl Changes {
    pub(super) fn subscribe() -> io::Result<Self> {
        let socket = open(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
        bind(&socket, &SocketAddrNetlink::new(0, RTMGRP_LINK))?;
        Ok(Self(socket))
    }

    /// To be waited for.
    pub(super) fn fd(&self) -> &OwnedFd {
        &self.0
    }

    /// Asks how an interface is now; the answer comes with the changes.
    pub(super) fn ask(&self, interface: &str) -> io::Result<()> {
        let index = name_to_index(&self.0, interface)?;
        send(&self.0, &request(RTM_GETLINK, NLM_F_REQUEST, index, 0, 0, &[]), SendFlags::empty())?;
        Ok(())
    }

    /// What has come. `Err` with `NOBUFS` when changes were lost: ask again.
    pub(super) fn take(&self) -> Result<Vec<LinkNow>, Errno> {
        let mut links = Vec::new();
        // As large as a page: the kernel never puts more into one.
        let mut bytes = vec![0u8; 32 << 10];
        loop {
            match recv(&self.0, &mut bytes[..], RecvFlags::empty()) {
                Ok((_, len)) => messages(bytes.get(..len).unwrap_or_default(), &mut links),
                Err(Errno::AGAIN) => return Ok(links),
                Err(Errno::INTR) => {}
                Err(e) => return Err(e),
            }
        }
    }
}

fn open(flags: SocketFlags) -> io::Result<OwnedFd> {
    // Protocol 0 of this family is NETLINK_ROUTE; without an address a message goes to the kernel.
    Ok(socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?)
}

fn request(kind: u16, how: u16, index: u32, flags: u32, mask: u32, attributes: &[u8]) -> Vec<u8> {
    let len = (HEADERS + attributes.len()) as u32;
    // Sequence and port: one request, one answer. Then family, padding and type of the interface: unspecified.
    let parts: [&[u8]; 8] = [
        &len.to_ne_bytes(),
        &kind.to_ne_bytes(),
        &how.to_ne_bytes(),
        &[0; 12],
        &index.to_ne_bytes(),
        &flags.to_ne_bytes(),
        &mask.to_ne_bytes(),
        attributes,
    ];
    parts.concat()
}

/// The links in a datagram of messages; what is no such message is passed over.
fn messages(mut bytes: &[u8], links: &mut Vec<LinkNow>) {
    while let Some(len) = u32_at(bytes, 0).map(|len| len as usize)
        && len >= 16
    {
        let message = bytes.get(..len.min(bytes.len())).unwrap_or_default();
        if let (Some(kind @ (RTM_NEWLINK | RTM_DELLINK)), Some(flags)) =
            (u16_at(message, 4), u32_at(message, FLAGS))
            && let Some(name) = name(message)
        {
            let there = kind == RTM_NEWLINK;
            let state =
                LinkState { up: there && flags & IFF_UP != 0, carrier: there && flags & IFF_LOWER_UP != 0 };
            links.push(LinkNow { name, state });
        }
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
}

/// The interface that a message is about.
fn name(message: &[u8]) -> Option<String> {
    find(message.get(HEADERS..)?, IFLA_IFNAME).map(text)
}

/// The first attribute of a kind.
fn find(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let (len, kind) = (usize::from(u16_at(attributes, 0)?), u16_at(attributes, 2)?);
        let value = attributes.get(4..len)?;
        if kind & !NLA_F_NESTED == wanted {
            return Some(value);
        }
        attributes = attributes.get(len.next_multiple_of(4)..)?;
    }
}

/// The text in an attribute, which may end with a zero.
fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

/// The error number in the acknowledgement; 0 is none.
fn verdict(answer: &[u8]) -> io::Result<()> {
    match (u16_at(answer, 4), u32_at(answer, 16).map(u32::cast_signed)) {
        (Some(NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(NLMSG_ERROR), Some(error)) => Err(io::Error::from_raw_os_error(error.saturating_neg())),
        _ => Err(io::Error::other("an answer that is none")),
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|b| u16::from_ne_bytes(*b))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|b| u32::from_ne_bytes(*b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_is_as_long_as_it_says() {
        let request = request(RTM_SETLINK, NLM_F_REQUEST, 7, 1, 1, &[1, 2, 3, 4]);
        assert_eq!(u32::from_ne_bytes(request[..4].try_into().unwrap()) as usize, request.len());
        assert_eq!(request[20..24], 7u32.to_ne_bytes());
        assert_eq!(request[32..], [1, 2, 3, 4]);
    }

    #[test]
    fn the_loopback_interface_is_told_of() {
        let changes = Changes::subscribe().unwrap();
        changes.ask("lo").unwrap();
        let links = changes.take().unwrap();
        assert!(links.iter().any(|link| link.name == "lo"), "{links:?}");
        assert!(changes.ask("no-such-if").is_err());
    }

    #[test]
    fn a_link_that_the_kernel_has_not_told_of_holds_a_port_back() {
        let is_held_back = |flags| Interface { flags, ..Interface::default() }.is_held_back();
        assert!(is_held_back(IFF_UP | IFF_LOWER_UP));
        for flags in
            [0, IFF_UP, IFF_LOWER_UP, IFF_UP | IFF_RUNNING, IFF_UP | IFF_LOWER_UP | IFF_RUNNING, IFF_RUNNING]
        {
            assert!(!is_held_back(flags), "{flags:#x}");
        }
        let lo = ask(index("lo").unwrap()).unwrap();
        assert_ne!(lo.flags & IFF_UP, 0, "{lo:?}");
    }

    /// A message about `wan`, with another attribute before its name.
    fn about(kind: u16) -> Vec<u8> {
        let attributes = [&[5u8, 0, 99, 0, 1, 0, 0, 0][..], &[8, 0, 3, 0], b"wan\0"].concat();
        request(kind, 0, 3, IFF_UP | IFF_LOWER_UP, 0, &attributes)
    }

    #[test]
    fn an_interface_that_is_taken_away_has_no_link() {
        let mut links = Vec::new();
        messages(&[about(RTM_NEWLINK), about(RTM_DELLINK)].concat(), &mut links);
        let there = LinkState { up: true, carrier: true };
        let expected = [there, LinkState::default()].map(|state| LinkNow { name: "wan".into(), state });
        assert_eq!(links, expected);
    }

    #[test]
    fn what_is_cut_or_says_nonsense_is_passed_over() {
        let link = about(RTM_NEWLINK);
        let whole = [&link[..], &link].concat();
        for cut in 0..whole.len() {
            let mut links = Vec::new();
            messages(&whole[..cut], &mut links);
            assert_eq!(links.len(), cut / link.len(), "cut at {cut}");
        }
        let mut links = Vec::new();
        for len in [0u32, 1, 15, u32::MAX] {
            messages(&[&len.to_ne_bytes()[..], &[16, 0], &[0; 40]].concat(), &mut links);
        }
        for len in [0u16, 1, 3, 4, u16::MAX] {
            messages(
                &request(RTM_NEWLINK, 0, 3, 1, 1, &[&len.to_ne_bytes()[..], &[3, 0]].concat()),
                &mut links,
            );
        }
        assert!(links.iter().all(|link| link.name.is_empty()), "{links:?}");
    }
}
