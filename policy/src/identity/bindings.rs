//! Whose an address is: what the frames that pass say of devices, with what servers say of accounts.
//!
//! | source | holds for |
//! |---|---|
//! | DHCP | the lease; a release ends it at once |
//! | ARP, ND | [`SILENCE_NS`] after the last word; only while no lease says otherwise |
//! | [`Logins`] | as long as whoever knows who logged in says |
//!
//! Two devices that claim one address within its time are a dispute: then nobody has it, until one of them has been
//! silent. So whoever pretends to be somebody else makes that address unobserved; they never get anything written under a
//! colleague's group. Where DHCP leases addresses, a claim by ARP against a lease is a dispute, too. An account that is
//! logged in stands above the device that it is on, but not above a random hardware address: such devices stay private.

use std::collections::HashMap;
use std::net::IpAddr;

use super::logins::View;
use super::{Device, Directory, Enrolment, IdentityEvent, Logins, Mac, Source, Subjects};
use crate::charter::Group;
use crate::matrix::{Member, Members};
use crate::vocab::GroupId;

/// The most addresses that are known at once.
pub const MAX_BINDINGS: usize = 1 << 16;
/// How long what ARP or ND said holds: longer than neighbour caches ask again (RFC 4861 section 10: 30 s; Linux asks
/// within minutes), short enough that an address that changes hands is nobody's soon.
pub const SILENCE_NS: u64 = 600 * 1_000_000_000;
/// No lease is believed for longer than a day.
const MAX_LEASE_S: u32 = 86_400;

#[derive(Clone, Debug)]
struct Binding {
    mac: Mac,
    until_ns: u64,
    leased: bool,
    /// It was heard from the device itself, and not from a DHCP server alone: so it is on this link.
    on_link: bool,
    /// Somebody else claims it, until then.
    disputed_until_ns: u64,
}

impl Binding {
    fn holds(&self, now_ns: u64) -> bool {
        self.until_ns > now_ns
    }

    fn is_disputed(&self, now_ns: u64) -> bool {
        self.disputed_until_ns > now_ns
    }
}

/// What is known of addresses.
#[derive(Clone, Debug, Default)]
pub struct Bindings {
    by_ip: HashMap<IpAddr, Binding>,
    logins: Logins,
    counters: Counters,
    changed: bool,
}

/// What was learnt and what was not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Times something was said about an address.
    pub heard: u64,
    /// Addresses that there was no room for.
    pub no_room: u64,
    /// Times that somebody claimed an address that another has.
    pub disputes: u64,
    /// Addresses forgotten.
    pub forgotten: u64,
}

impl Bindings {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// What was learnt.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// How many addresses are known to be of a device.
    pub fn len(&self) -> usize {
        self.by_ip.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.by_ip.is_empty()
    }

    /// Who is logged in.
    pub fn logins(&self) -> &Logins {
        &self.logins
    }

    /// The same, to be told.
    pub fn logins_mut(&mut self) -> &mut Logins {
        &mut self.logins
    }

    /// Takes what the fast path saw.
    pub fn hear(&mut self, event: &IdentityEvent) {
        if !event.mac.is_unicast() || !is_of_one_host(event.ip) {
            return;
        }
        let now_ns = event.mono_ns;
        match event.source {
            Source::Arp | Source::Nd => {
                self.bind(event.ip, event.mac, now_ns, now_ns.saturating_add(SILENCE_NS), false);
            }
            Source::Dhcp => {
                let lease = u64::from(event.seconds.min(MAX_LEASE_S)) * 1_000_000_000;
                self.bind(event.ip, event.mac, now_ns, now_ns.saturating_add(lease), true);
            }
            // Known by the page that it was shown, which says nothing of whose the address is.
            Source::NoticeRead => {}
            Source::DhcpRelease => {
                if self.by_ip.get(&event.ip).is_some_and(|binding| binding.mac == event.mac) {
                    self.by_ip.remove(&event.ip);
                    self.counters.forgotten += 1;
                    self.changed = true;
                }
            }
        }
    }

    fn bind(&mut self, ip: IpAddr, mac: Mac, now_ns: u64, until_ns: u64, leased: bool) {
        self.counters.heard += 1;
        let full = self.by_ip.len() >= MAX_BINDINGS;
        let Some(known) = self.by_ip.get_mut(&ip).filter(|known| known.holds(now_ns)) else {
            if full && !self.by_ip.contains_key(&ip) {
                self.counters.no_room += 1;
                return;
            }
            self.by_ip.insert(ip, Binding { mac, until_ns, leased, on_link: !leased, disputed_until_ns: 0 });
            self.changed = true;
            return;
        };
        if known.mac == mac {
            // A word of ARP does not make a lease longer, nor does a lease that is renewed become shorter.
            if leased || !known.leased {
                known.until_ns = until_ns;
                known.leased |= leased;
            }
            known.on_link |= !leased;
            return;
        }
        self.counters.disputes += 1;
        self.changed |= !known.is_disputed(now_ns);
        known.disputed_until_ns = now_ns.saturating_add(SILENCE_NS);
        if leased && !known.leased {
            // The server knows better than what was overheard.
            (known.mac, known.until_ns, known.leased, known.on_link) = (mac, until_ns, true, false);
        }
    }

    /// Forgets what has run out. Call it every second or so.
    pub fn tick(&mut self, now_ns: u64) {
        let before = self.by_ip.len();
        let mut settled = false;
        self.by_ip.retain(|_, binding| {
            if binding.disputed_until_ns != 0 && !binding.is_disputed(now_ns) {
                binding.disputed_until_ns = 0;
                settled = true;
            }
            binding.holds(now_ns)
        });
        let gone = before - self.by_ip.len();
        self.counters.forgotten += gone as u64;
        self.changed |= gone > 0 || settled;
        self.logins.tick(now_ns);
        self.changed |= self.logins.take_changed();
        let by_ip = &self.by_ip;
        self.logins.see(|ip| by_ip.get(&ip).filter(|b| !b.is_disputed(now_ns)).map(|b| b.mac));
    }

    /// Whether something changed since this was last asked.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// The groups of all addresses that are known: of devices and accounts that are enrolled, and of nobody else. `row` may say
    /// another row of the matrix for somebody of a group, by what they are enrolled as.
    pub fn members(
        &self,
        directory: &Directory,
        subjects: &Subjects,
        now_ns: u64,
        row: impl Fn(&Device, GroupId) -> GroupId,
    ) -> Members {
        let said = self.logins.view(now_ns);
        let known = |ip: &IpAddr| self.by_ip.get(ip).filter(|binding| binding.holds(now_ns));
        let seen = self.by_ip.keys().filter(|ip| known(ip).is_some());
        let only_said = said.addresses().filter(|ip| known(ip).is_none());
        let bound = seen.copied().chain(only_said);
        let bound = bound.filter_map(|ip| Some((ip, self.bound(ip, &said, directory, now_ns)?)));
        let member = |(ip, (device, enrolment)): (IpAddr, (Device, &Enrolment))| {
            let member = enrolment.member(subjects);
            (ip, Member { group: row(&device, member.group), ..member })
        };
        Members::new(directory.fixed().chain(bound).map(member))
    }

    /// Who has each of some addresses. `None`: nobody who is enrolled.
    pub fn holders(
        &self,
        ips: impl IntoIterator<Item = IpAddr>,
        directory: &Directory,
        subjects: &Subjects,
        now_ns: u64,
    ) -> Vec<Option<Holder>> {
        let said = self.logins.view(now_ns);
        let holder = |ip: IpAddr| {
            let bound = self.bound(ip, &said, directory, now_ns);
            let (device, enrolment) = bound.or_else(|| directory.fixed_at(ip))?;
            let known = self.by_ip.get(&ip).filter(|binding| binding.holds(now_ns) && binding.on_link);
            Some(Holder { device, member: enrolment.member(subjects), mac: known.map(|binding| binding.mac) })
        };
        ips.into_iter().map(holder).collect()
    }

    /// Who has an address that is not enrolled itself. Nobody has one that is disputed.
    fn bound<'d>(
        &self,
        ip: IpAddr,
        said: &View<'_>,
        directory: &'d Directory,
        now_ns: u64,
    ) -> Option<(Device, &'d Enrolment)> {
        let known = self.by_ip.get(&ip).filter(|binding| binding.holds(now_ns));
        if known.is_some_and(|binding| binding.is_disputed(now_ns)) {
            return None;
        }
        directory.enrolled(&said.who(ip, known.map(|binding| binding.mac))?)
    }
}

/// Who has an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// What they are enrolled as.
    pub device: Device,
    /// Their group and number.
    pub member: Member,
    /// The hardware address that its frames come from. `None`: it was never heard on this link, so its frames may come by a router.
    pub mac: Option<Mac>,
}

/// Whether an address can belong to one host: not unspecified, loopback, multicast or broadcast.
pub fn is_of_one_host(ip: IpAddr) -> bool {
    let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    !(ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || broadcast)
}

/// Row of a group in the matrix.
pub(super) fn row(index: usize) -> GroupId {
    GroupId(u16::try_from(index + 1).unwrap_or(0))
}

/// A group as charters see it.
pub(super) fn as_group(name: &str, members: usize) -> Group {
    Group { name: name.to_owned(), members: u32::try_from(members).unwrap_or(u32::MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;
    const WORK: Mac = Mac([0x3c, 0x22, 0xfb, 0, 0, 1]);
    const OTHER: Mac = Mac([0x3c, 0x22, 0xfb, 0, 0, 2]);
    const NOT_ENROLLED: Mac = Mac([0x3c, 0x22, 0xfb, 0, 0, 9]);
    const RANDOM: Mac = Mac([0xda, 0x22, 0xfb, 0, 0, 1]);

    fn directory() -> Directory {
        let text = "subject,group,device,enrolled_by,enrolled\n\
            e1,sales,3c:22:fb:00:00:01,it@acme.example,2027-01-04\n\
            e2,lab,3c:22:fb:00:00:02,it@acme.example,2027-01-04\n\
            e1,sales,account:zhang.wei,it@acme.example,2027-01-04\n\
            e3,lab,10.0.9.9,it@acme.example,2027-01-04\n";
        Directory::parse("d.csv", text.as_bytes()).unwrap()
    }

    fn ip(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    fn said(at_s: u64, last: u8, mac: Mac, source: Source, seconds: u32) -> IdentityEvent {
        IdentityEvent { seq: 0, mono_ns: at_s * S, ip: ip(last), mac, source, seconds, read: None }
    }

    fn group(bindings: &Bindings, address: IpAddr, at_s: u64) -> u16 {
        let members = bindings.members(&directory(), &Subjects::default(), at_s * S, |_, group| group);
        members.member(&crate::matrix::address_key(address)).group.0
    }

    #[test]
    fn enrolled_devices_have_a_group_and_nobody_else() {
        let mut b = Bindings::new();
        for (last, mac) in [(1, WORK), (2, OTHER), (3, NOT_ENROLLED), (4, RANDOM)] {
            b.hear(&said(1, last, mac, Source::Arp, 0));
        }
        // The lab comes before sales: rows are in order of the names.
        assert_eq!([1, 2, 3, 4, 5].map(|last| group(&b, ip(last), 2)), [2, 1, 0, 0, 0]);
        assert_eq!(group(&b, [10, 0, 9, 9].into(), 2), 1, "an address that is enrolled itself");
        assert!(b.take_changed() && !b.take_changed());
    }

    #[test]
    fn lease_end_and_silence_forget() {
        let mut b = Bindings::new();
        b.hear(&said(0, 1, WORK, Source::Dhcp, 100));
        b.hear(&said(0, 2, WORK, Source::Arp, 0));
        // ARP does not make a lease longer.
        b.hear(&said(99, 1, WORK, Source::Arp, 0));
        assert_eq!([(1, 99), (1, 100), (2, 599), (2, 600)].map(|(l, s)| group(&b, ip(l), s)), [2, 0, 2, 0]);
        b.hear(&said(50, 1, WORK, Source::Dhcp, 100));
        assert_eq!([149, 150].map(|s| group(&b, ip(1), s)), [2, 0]);
        b.take_changed();
        b.tick(150 * S);
        assert!(b.take_changed());
        assert_eq!((b.len(), b.counters().forgotten), (1, 1));
        b.hear(&said(160, 2, WORK, Source::DhcpRelease, 0));
        assert!(b.is_empty());
    }

    #[test]
    fn who_claims_a_colleagues_address_makes_it_nobodys() {
        let mut b = Bindings::new();
        b.hear(&said(0, 1, WORK, Source::Arp, 0));
        b.hear(&said(10, 1, OTHER, Source::Arp, 0));
        assert_eq!(group(&b, ip(1), 11), 0);
        b.hear(&said(500, 1, WORK, Source::Arp, 0));
        b.tick(611 * S);
        assert_eq!((group(&b, ip(1), 611), b.counters().disputes), (2, 1));
        // A claim against a lease, too; and the release of somebody else's address does nothing.
        b.hear(&said(0, 2, WORK, Source::Dhcp, 80_000));
        b.hear(&said(20, 2, OTHER, Source::DhcpRelease, 0));
        assert_eq!(group(&b, ip(2), 30), 2);
        b.hear(&said(31, 2, OTHER, Source::Nd, 0));
        assert_eq!(group(&b, ip(2), 32), 0);
    }

    #[test]
    fn addresses_of_nobody_and_of_all_are_not_kept_and_room_is_bounded() {
        let mut b = Bindings::new();
        for address in ["0.0.0.0", "255.255.255.255", "224.0.0.1", "::", "ff02::1", "127.0.0.1"] {
            let ip = address.parse().unwrap();
            b.hear(&IdentityEvent { ip, ..said(0, 1, WORK, Source::Arp, 0) });
        }
        b.hear(&said(0, 1, Mac([0xff; 6]), Source::Arp, 0));
        assert!(b.is_empty());
        for i in 0..MAX_BINDINGS as u32 + 5 {
            let ip = std::net::Ipv4Addr::from(0x0a00_0000 + i + 1).into();
            b.hear(&IdentityEvent { ip, ..said(0, 1, WORK, Source::Arp, 0) });
        }
        assert_eq!((b.len(), b.counters().no_room), (MAX_BINDINGS, 5));
    }
}
