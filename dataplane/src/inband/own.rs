//! Which frames are for the gateway itself.
//!
//! | frame | what becomes of it |
//! |---|---|
//! | to our hardware address, in one of our segments: IP to one of our addresses, ARP about it | taken, handed on |
//! | the same, but anything else | taken, counted by reason: nobody else has that address |
//! | to our hardware address, in another segment | passes: it is not for us there |
//! | ARP request to all for our address, neighbour solicitation to our solicited-node group | passes, a copy is handed on |
//! | everything else | passes |
//!
//! A *segment* is the untagged network or one VLAN, with our addresses in it. A tag with VLAN 0 says nothing but a priority (IEEE
//! 802.1Q): such a frame is untagged. Frames with two tags, or with the tag of a provider, are in no segment of ours.

use super::Refused;

/// The most segments.
pub const MAX_SEGMENTS: usize = 2;
/// The most IPv6 addresses of a segment: the one that was given, and the link-local one that comes with it.
pub const MAX_V6: usize = 2;
/// The hardware addresses of groups that frames for us may go to: all stations, and a solicited-node group for each IPv6 address.
pub const MAX_GROUPS: usize = 1 + MAX_SEGMENTS * MAX_V6;

const BROADCAST: [u8; 6] = [0xff; 6];
const ARP: u16 = 0x0806;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const TAG: u16 = 0x8100;
const TCP: u8 = 6;
const FRAGMENT_HEADER: u8 = 44;
const ICMPV6: u8 = 58;

/// Our addresses in one network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// The VLAN, 1 to 4094; `None`: untagged.
    pub vlan: Option<u16>,
    /// The IPv4 address.
    pub v4: Option<[u8; 4]>,
    /// The IPv6 addresses, at most [`MAX_V6`].
    pub v6: Vec<[u8; 16]>,
}

/// What is the gateway's own on the data ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    mac: [u8; 6],
    segments: Vec<Segment>,
}

/// Why addresses can't be our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotOwn {
    /// The hardware address is that of a group, or all zero.
    #[error("the hardware address is none of a single station")]
    Mac,
    /// There are too many segments or addresses, or two segments are the same network.
    #[error("too many networks or addresses, or one network twice")]
    Segments,
}

/// What a frame is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Nothing: it goes on.
    Pass,
    /// It is for us, and these are its senders.
    Punt(Asks),
    /// It would be for us, but is not handed on.
    Refuse(Refused),
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asks {
    /// The hardware address.
    pub mac: [u8; 6],
    /// The IP address, if it is IP; IPv4 addresses in the first four bytes, the last one 4.
    pub source: Option<[u8; 16]>,
    /// Whether it asks for a new TCP flow.
    pub syn: bool,
}

impl Own {
    /// Addresses that are ours.
    pub fn new(mac: [u8; 6], segments: Vec<Segment>) -> Result<Self, NotOwn> {
        if mac[0] & 1 != 0 || mac == [0; 6] {
            return Err(NotOwn::Mac);
        }
        let twice = |(i, s): (usize, &Segment)| segments.iter().take(i).any(|other| other.vlan == s.vlan);
        if segments.len() > MAX_SEGMENTS
            || segments.iter().any(|s| s.v6.len() > MAX_V6)
            || segments.iter().enumerate().any(twice)
        {
            return Err(NotOwn::Segments);
        }
        Ok(Self { mac, segments })
    }

    /// The hardware address.
    pub fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// The hardware addresses of groups by which somebody may ask for us, at most [`MAX_GROUPS`].
    pub fn groups(&self) -> impl Iterator<Item = [u8; 6]> + '_ {
        let v6 = self.segments.iter().flat_map(|segment| &segment.v6);
        std::iter::once(BROADCAST).chain(v6.map(|address| group_mac(&solicited_node(address))))
    }

    /// Looks at a frame that goes to our hardware address (`to_us`), or to one of [`Self::groups`].
    pub fn look(&self, bytes: &[u8], to_us: bool) -> Look {
        let Some((vlan, kind, l3)) = link(bytes) else {
            return if to_us { Look::Refuse(Refused::Malformed) } else { Look::Pass };
        };
        let Some(segment) = self.segments.iter().find(|s| s.vlan == vlan) else { return Look::Pass };
        let Some(mac) = bytes.get(6..12).and_then(|b| b.first_chunk().copied()) else { return Look::Pass };
        let look = match kind {
            ARP => arp(segment, l3),
            IPV4 if to_us => v4(segment, l3),
            IPV6 => v6(segment, l3, to_us),
            _ if to_us => Err(Some(Refused::OtherProtocol)),
            _ => Err(None),
        };
        match look {
            // It asks for nobody, or for somebody else.
            Err(None) if !to_us => Look::Pass,
            Err(Some(Refused::Malformed)) if !to_us => Look::Pass,
            Err(why) => Look::Refuse(why.unwrap_or(Refused::NotOurs)),
            Ok(_) if mac == self.mac => Look::Refuse(Refused::OwnSource),
            Ok(_) if mac[0] & 1 != 0 => Look::Refuse(Refused::Malformed),
            Ok((source, syn)) => Look::Punt(Asks { mac, source, syn }),
        }
    }

    /// Whether a frame may be sent as ours: whole, from our hardware address, within one of our segments.
    pub fn may_send(&self, bytes: &[u8]) -> bool {
        let from_us = bytes.get(6..12).is_some_and(|source| source == self.mac);
        let to_us = bytes.get(..6).is_some_and(|to| to == self.mac);
        from_us
            && !to_us
            && link(bytes).is_some_and(|(vlan, ..)| self.segments.iter().any(|s| s.vlan == vlan))
    }
}

/// What was found: the source and whether it is a SYN; or why not, `None` for an address that is not ours.
type Found = Result<(Option<[u8; 16]>, bool), Option<Refused>>;

const MALFORMED: Option<Refused> = Some(Refused::Malformed);

/// The VLAN, what the frame holds, and that.
fn link(bytes: &[u8]) -> Option<(Option<u16>, u16, &[u8])> {
    let word = |at: usize| bytes.get(at..)?.first_chunk().map(|b| u16::from_be_bytes(*b));
    match word(12)? {
        TAG => {
            let vlan = word(14)? & 0x0fff;
            Some(((vlan != 0).then_some(vlan), word(16)?, bytes.get(18..)?))
        }
        kind => Some((None, kind, bytes.get(14..)?)),
    }
}

fn arp(segment: &Segment, bytes: &[u8]) -> Found {
    let ours = segment.v4.ok_or(None)?;
    let (header, rest) = bytes.split_first_chunk::<8>().ok_or(MALFORMED)?;
    // Ethernet, IPv4, and the lengths of their addresses (RFC 826); request or reply.
    let ([0, 1, 8, 0, 6, 4, 0, 1 | 2], Some(addresses)) = (header, rest.first_chunk::<20>()) else {
        return Err(MALFORMED);
    };
    let (sender, target) = (addresses.get(6..10), addresses.get(16..20));
    if sender.is_some_and(|sender| sender == ours) {
        return Err(Some(Refused::Conflict));
    }
    if target.is_some_and(|target| target == ours) { Ok((None, false)) } else { Err(None) }
}

fn v4(segment: &Segment, bytes: &[u8]) -> Found {
    let ours = segment.v4.ok_or(None)?;
    let header = bytes.first_chunk::<20>().ok_or(MALFORMED)?;
    let [first, _, _, _, _, _, flags, offset, _, protocol, _, _, s0, s1, s2, s3, d0, d1, d2, d3] = *header;
    let (length, source) = (usize::from(first & 0x0f) * 4, [s0, s1, s2, s3]);
    if first >> 4 != 4 || length < 20 || bytes.len() < length {
        return Err(MALFORMED);
    }
    if [d0, d1, d2, d3] != ours {
        return Err(None);
    }
    if source == ours {
        return Err(Some(Refused::OwnSource));
    }
    // This network, loopback, groups and all stations send nothing (RFC 1122, 3.2.1.3).
    if matches!(s0, 0 | 127 | 224..) {
        return Err(MALFORMED);
    }
    // More fragments, or not the first of them.
    if flags & 0x3f != 0 || offset != 0 {
        return Err(Some(Refused::Fragment));
    }
    let key = [s0, s1, s2, s3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4];
    Ok((Some(key), protocol == TCP && is_syn(bytes.get(length..))))
}

fn v6(segment: &Segment, bytes: &[u8], to_us: bool) -> Found {
    let header = bytes.first_chunk::<40>().ok_or(MALFORMED)?;
    let chunk = |at: usize| header.get(at..).and_then(|b| b.first_chunk::<16>()).copied();
    let (Some(source), Some(to)) = (chunk(8), chunk(24)) else { return Err(MALFORMED) };
    if header[0] >> 4 != 6 {
        return Err(MALFORMED);
    }
    let next = header[6];
    let is_ours = segment.v6.contains(&to);
    let asks = next == ICMPV6 && segment.v6.iter().any(|ours| solicited_node(ours) == to);
    if !(asks || to_us && is_ours) {
        return Err(None);
    }
    if segment.v6.contains(&source) {
        return Err(Some(Refused::OwnSource));
    }
    // From no address only somebody who wants ours, and asks whether it is taken (RFC 4862, 5.4.2).
    if source[0] == 0xff || source == [0; 16] && !asks {
        return Err(MALFORMED);
    }
    if next == FRAGMENT_HEADER {
        return Err(Some(Refused::Fragment));
    }
    Ok((Some(source), next == TCP && is_syn(bytes.get(40..))))
}

fn is_syn(tcp: Option<&[u8]>) -> bool {
    // SYN without ACK.
    tcp.and_then(|tcp| tcp.get(13)).is_some_and(|flags| flags & 0x12 == 0x02)
}

/// The group that a neighbour solicitation for an address goes to (RFC 4291, 2.7.1).
fn solicited_node(address: &[u8; 16]) -> [u8; 16] {
    let [.., a, b, c] = *address;
    [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c]
}

/// The hardware address of an IPv6 group (RFC 2464, 7).
fn group_mac(group: &[u8; 16]) -> [u8; 6] {
    let [.., a, b, c, d] = *group;
    [0x33, 0x33, a, b, c, d]
}

/// The link-local address that goes with a hardware address (RFC 4291, appendix A).
pub fn link_local(mac: [u8; 6]) -> [u8; 16] {
    let [a, b, c, d, e, f] = mac;
    [0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAC: [u8; 6] = [2, 0x67, 0x67, 1, 2, 3];
    const PEER: [u8; 6] = [2, 0, 0, 0, 0, 9];
    const OURS: [u8; 4] = [10, 0, 0, 2];
    const THEIRS: [u8; 4] = [10, 0, 0, 9];
    const OURS6: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x12, 0x34, 0x56];
    const THEIRS6: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];

    fn own() -> Own {
        let untagged = Segment { vlan: None, v4: Some(OURS), v6: vec![OURS6, link_local(MAC)] };
        let tagged = Segment { vlan: Some(99), v4: Some([10, 99, 0, 2]), v6: Vec::new() };
        Own::new(MAC, vec![untagged, tagged]).unwrap()
    }

    fn eth(to: [u8; 6], tag: &[u8], kind: u16, l3: &[u8]) -> Vec<u8> {
        [&to[..], &PEER, tag, &kind.to_be_bytes(), l3].concat()
    }

    fn arp(op: u8, sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
        [&[0, 1, 8, 0, 6, 4, 0, op][..], &PEER, &sender, &[0; 6], &target].concat()
    }

    fn ip(source: [u8; 4], to: [u8; 4], flags: u8, protocol: u8, l4: &[u8]) -> Vec<u8> {
        let len = (20 + l4.len() as u16).to_be_bytes();
        [&[0x45, 0, len[0], len[1], 0, 0, flags, 0, 64, protocol, 0, 0][..], &source, &to, l4].concat()
    }

    fn ip6(source: [u8; 16], to: [u8; 16], next: u8, l4: &[u8]) -> Vec<u8> {
        [&[0x60, 0, 0, 0, 0, l4.len() as u8, next, 64][..], &source, &to, l4].concat()
    }

    fn tcp(flags: u8) -> [u8; 20] {
        let mut tcp = [0; 20];
        (tcp[12], tcp[13]) = (0x50, flags);
        tcp
    }

    fn asked(look: Look) -> (bool, bool) {
        match look {
            Look::Punt(Asks { mac: PEER, source, syn }) => (source.is_some(), syn),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_for_us_is_handed_on() {
        let own = own();
        let tag = [0x81, 0, 0x20, 99];
        let arp_frame = |to, target| eth(to, &[], ARP, &arp(1, THEIRS, target));
        assert_eq!(asked(own.look(&arp_frame(BROADCAST, OURS), false)), (false, false));
        assert_eq!(asked(own.look(&arp_frame(MAC, OURS), true)), (false, false));
        assert_eq!(asked(own.look(&eth(MAC, &[], ARP, &arp(2, THEIRS, OURS)), true)), (false, false));
        for (flags, syn) in [(0x02, true), (0x12, false), (0x10, false), (0xc2, true)] {
            let frame = eth(MAC, &[], IPV4, &ip(THEIRS, OURS, 0x40, TCP, &tcp(flags)));
            assert_eq!(asked(own.look(&frame, true)), (true, syn));
            let frame = eth(MAC, &[], IPV6, &ip6(THEIRS6, OURS6, TCP, &tcp(flags)));
            assert_eq!(asked(own.look(&frame, true)), (true, syn));
        }
        let ping = ip([10, 99, 0, 7], [10, 99, 0, 2], 0, 1, &[8, 0, 0, 0]);
        assert_eq!(asked(own.look(&eth(MAC, &tag, IPV4, &ping), true)), (true, false));
        let priority = [0x81, 0, 0xe0, 0];
        let ping = ip(THEIRS, OURS, 0, 1, &[8, 0, 0, 0]);
        assert_eq!(asked(own.look(&eth(MAC, &priority, IPV4, &ping), true)), (true, false));
        for ours in [OURS6, link_local(MAC)] {
            let group = solicited_node(&ours);
            let ns = ip6(THEIRS6, group, ICMPV6, &[135, 0, 0, 0]);
            assert_eq!(asked(own.look(&eth(group_mac(&group), &[], IPV6, &ns), false)), (true, false));
            assert!(own.groups().any(|g| g == group_mac(&group)));
            let na = ip6(THEIRS6, ours, ICMPV6, &[136, 0, 0, 0]);
            assert_eq!(asked(own.look(&eth(MAC, &[], IPV6, &na), true)), (true, false));
        }
    }

    #[test]
    fn what_is_for_others_passes() {
        let own = own();
        let pass = |frame: Vec<u8>| assert_eq!(own.look(&frame, false), Look::Pass, "{frame:02x?}");
        pass(eth(BROADCAST, &[], ARP, &arp(1, THEIRS, [10, 0, 0, 3])));
        pass(eth(BROADCAST, &[0x81, 0, 0, 98], ARP, &arp(1, THEIRS, OURS)));
        pass(eth(BROADCAST, &[0x81, 0, 0, 99], ARP, &arp(1, THEIRS, OURS)));
        pass(eth(BROADCAST, &[], IPV4, &ip(THEIRS, [255; 4], 0, 17, &[0; 8])));
        pass(eth(BROADCAST, &[], 0x88cc, &[0; 50]));
        pass(eth(BROADCAST, &[], ARP, &arp(1, THEIRS, OURS)[..20]));
        let mut other = OURS6;
        other[0] = 0x20;
        let group = solicited_node(&OURS6);
        // The same group, but no solicitation; the solicited address is looked at by the stack.
        pass(eth(group_mac(&group), &[], IPV6, &ip6(THEIRS6, group, 17, &[0; 8])));
        pass(eth(group_mac(&group), &[], IPV6, &ip6(THEIRS6, other, ICMPV6, &[135, 0, 0, 0])));
        pass(vec![0xff; 13]);
        // To our hardware address, but where we are not.
        for tag in
            [&[0x81, 0, 0, 98][..], &[0x88, 0xa8, 0, 99, 0x81, 0, 0, 99], &[0x81, 0, 0, 99, 0x81, 0, 0, 99]]
        {
            let frame = eth(MAC, tag, IPV4, &ip(THEIRS, OURS, 0, 1, &[8, 0, 0, 0]));
            let look = own.look(&frame, true);
            let other = Look::Refuse(Refused::OtherProtocol);
            assert!(look == Look::Pass || (look == other && tag[0] != 0x81) || tag.len() == 8, "{look:?}");
        }
    }

    #[test]
    fn what_we_do_not_take_has_a_reason() {
        let own = own();
        let why = |frame: Vec<u8>| match own.look(&frame, true) {
            Look::Refuse(why) => why,
            other => panic!("{other:?}: {frame:02x?}"),
        };
        let ping = [8, 0, 0, 0];
        let v4 = |source, to, flags| eth(MAC, &[], IPV4, &ip(source, to, flags, 1, &ping));
        assert_eq!(why(v4(THEIRS, [8, 8, 8, 8], 0)), Refused::NotOurs);
        assert_eq!(why(v4(OURS, OURS, 0)), Refused::OwnSource);
        assert_eq!(why(v4(THEIRS, OURS, 0x20)), Refused::Fragment);
        assert_eq!(why(v4(THEIRS, OURS, 0x01)), Refused::Fragment);
        for source in [[0; 4], [127, 0, 0, 1], [224, 0, 0, 1], [255; 4]] {
            assert_eq!(why(v4(source, OURS, 0)), Refused::Malformed);
        }
        assert_eq!(why(eth(MAC, &[], IPV4, &[0x44; 20])), Refused::Malformed);
        assert_eq!(why(eth(MAC, &[], 0x88cc, &[0; 50])), Refused::OtherProtocol);
        assert_eq!(why(eth(MAC, &[], ARP, &arp(2, OURS, OURS))), Refused::Conflict);
        assert_eq!(why(eth(MAC, &[], ARP, &arp(1, THEIRS, [10, 0, 0, 3]))), Refused::NotOurs);
        assert_eq!(why(eth(MAC, &[], ARP, &arp(9, THEIRS, OURS))), Refused::Malformed);
        assert_eq!(why(eth(MAC, &[], IPV6, &ip6(OURS6, OURS6, ICMPV6, &ping))), Refused::OwnSource);
        assert_eq!(why(eth(MAC, &[], IPV6, &ip6([0xff; 16], OURS6, ICMPV6, &ping))), Refused::Malformed);
        assert_eq!(why(eth(MAC, &[], IPV6, &ip6(THEIRS6, OURS6, FRAGMENT_HEADER, &ping))), Refused::Fragment);
        assert_eq!(why(eth(MAC, &[], IPV6, &ip6(THEIRS6, THEIRS6, ICMPV6, &ping))), Refused::NotOurs);
        assert_eq!(why(MAC.to_vec()), Refused::Malformed);
        let group = solicited_node(&OURS6);
        let probe = eth(group_mac(&group), &[], IPV6, &ip6([0; 16], group, ICMPV6, &[135, 0, 0, 0]));
        assert_eq!(asked(own.look(&probe, false)), (true, false), "is it taken?");
        let mut looped = v4(THEIRS, OURS, 0);
        looped[6..12].copy_from_slice(&MAC);
        assert_eq!(why(looped), Refused::OwnSource);
        // Said to all: it passes, and is counted.
        let claim = eth(BROADCAST, &[], ARP, &arp(1, OURS, OURS));
        assert_eq!(own.look(&claim, false), Look::Refuse(Refused::Conflict));
    }

    #[test]
    fn what_is_sent_is_ours() {
        let own = own();
        let frame =
            |to: [u8; 6], from: [u8; 6], tag: &[u8]| [&to[..], &from, tag, &[8, 0], &[0; 46]].concat();
        assert!(own.may_send(&frame(PEER, MAC, &[])) && own.may_send(&frame(PEER, MAC, &[0x81, 0, 0, 99])));
        assert!(!own.may_send(&frame(PEER, PEER, &[])), "somebody else's");
        assert!(!own.may_send(&frame(MAC, MAC, &[])), "to ourselves");
        assert!(!own.may_send(&frame(PEER, MAC, &[0x81, 0, 0, 98])), "in another network");
        assert!(!own.may_send(&[0; 12]) && !own.may_send(&[]));
    }

    #[test]
    fn addresses_that_cannot_be() {
        assert_eq!(Own::new([1, 0, 0, 0, 0, 0], Vec::new()), Err(NotOwn::Mac));
        assert_eq!(Own::new([0; 6], Vec::new()), Err(NotOwn::Mac));
        let twice = vec![Segment::default(), Segment::default()];
        assert_eq!(Own::new(MAC, twice), Err(NotOwn::Segments));
    }

    proptest! {
        #[test]
        fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..120), kind in 0usize..5, to_us in any::<bool>()) {
            let mut bytes = bytes;
            let kinds: [&[u8]; 5] = [&[8, 6], &[8, 0], &[0x86, 0xdd], &[0x81, 0, 0, 99, 8, 0], &[]];
            for (to, from) in bytes.iter_mut().skip(12).zip(kinds[kind]) {
                *to = *from;
            }
            let own = own();
            _ = own.look(&bytes, to_us);
            _ = own.may_send(&bytes);
        }

        #[test]
        fn cut_frames_are_never_handed_on_without_their_addresses(len in 0usize..60) {
            let frame = eth(MAC, &[], IPV4, &ip(THEIRS, OURS, 0, TCP, &tcp(2)));
            let look = own().look(&frame[..len.min(frame.len())], true);
            prop_assert!(len >= 34 || look == Look::Refuse(Refused::Malformed), "{:?}", look);
        }
    }
}
