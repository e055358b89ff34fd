use super::super::radius::tests::{packet, secret};
use super::super::{Bindings, Directory, IdentityEvent, Source};
use super::*;
use crate::matrix::address_key;
use proptest::prelude::*;

const S: u64 = 1_000_000_000;
const SILENCE_S: u64 = 1800;
const WORK: Mac = Mac([0x3c, 0x22, 0xfb, 0, 0, 1]);
const OTHER: Mac = Mac([0x3c, 0x22, 0xfb, 0, 0, 2]);
const RANDOM: Mac = Mac([0xda, 0x22, 0xfb, 0, 0, 1]);
/// Rows of the groups, which are in order of their names.
const LAB: u16 = 1;
const SALES: u16 = 2;
const WORKSHOP: u16 = 3;

/// What is known, and a directory: `zhang` and `zhou` are in sales, `li` in the lab, the device `WORK` in the workshop.
struct Known {
    bindings: Bindings,
    directory: Directory,
}

/// A request as an access server would send it.
#[derive(Clone, Copy)]
struct Says<'a> {
    status: u8,
    session: &'a str,
    account: &'a str,
    mac: Option<Mac>,
    ip: Option<[u8; 4]>,
    delay_s: u32,
    event_time: Option<u32>,
}

const START: Says<'static> =
    Says { status: 1, session: "1", account: "zhang", mac: None, ip: None, delay_s: 0, event_time: None };

impl Says<'_> {
    fn bytes(&self) -> Vec<u8> {
        let status = u32::from(self.status).to_be_bytes();
        let delay = self.delay_s.to_be_bytes();
        let mut all: Vec<(u8, &[u8])> = vec![(40, &status), (41, &delay), (32, b"switch-1")];
        all.push((44, self.session.as_bytes()));
        if !self.account.is_empty() {
            all.push((1, self.account.as_bytes()));
        }
        let mac = self.mac.map(|mac| mac.to_string());
        all.extend(mac.iter().map(|mac| (31, mac.as_bytes())));
        all.extend(self.ip.iter().map(|ip| (8, &ip[..])));
        let time = self.event_time.map(u32::to_be_bytes);
        all.extend(time.iter().map(|time| (55, &time[..])));
        all.retain(|(kind, value)| *kind != 44 || !value.is_empty());
        packet(4, 1, &all)
    }
}

impl Known {
    fn new() -> Self {
        let text = "subject,group,device,enrolled_by,enrolled\n\
            e1,sales,account:zhang,it,2027-01-04\ne4,sales,account:zhou,it,2027-01-04\n\
            e2,lab,account:li,it,2027-01-04\ne3,workshop,3c:22:fb:00:00:01,it,2027-01-04\n";
        let directory = Directory::parse("d.csv", text.as_bytes()).unwrap();
        Self { bindings: Bindings::new(), directory }
    }

    fn hear(&mut self, at_s: u64, says: Says<'_>) -> Result<Effect, Refused> {
        let bytes = says.bytes();
        let request = Request::read(&bytes, &secret()).unwrap();
        let heard = Heard { now_ns: at_s * S, wall_s: Some(1_000_000), silence_ns: SILENCE_S * S };
        self.bindings.logins_mut().account(0, [192, 0, 2, 1].into(), &request, heard)
    }

    fn see(&mut self, at_s: u64, ip: [u8; 4], mac: Mac, source: Source) {
        let (ip, mono_ns) = (ip.into(), at_s * S);
        self.bindings.hear(&IdentityEvent { seq: 0, mono_ns, ip, mac, source, seconds: 3600, read: None });
    }

    fn group(&mut self, at_s: u64, ip: [u8; 4]) -> u16 {
        self.bindings.tick(at_s * S);
        let members = self.bindings.members(
            &self.directory,
            &crate::identity::Subjects::default(),
            at_s * S,
            |_, group| group,
        );
        members.member(&address_key(ip.into())).group.0
    }
}

const IP: [u8; 4] = [10, 0, 0, 5];

#[test]
fn a_session_with_an_address_counts_until_it_ends() {
    let mut known = Known::new();
    let begins = Says { ip: Some(IP), ..START };
    assert_eq!(known.hear(10, begins), Ok(Effect::Began));
    assert_eq!((known.group(11, IP), known.group(11, [10, 0, 0, 6])), (SALES, 0));
    assert!(known.bindings.take_changed());
    assert_eq!(known.hear(60, Says { status: 3, ..begins }), Ok(Effect::Renewed));
    known.bindings.tick(61 * S);
    assert!(!known.bindings.take_changed(), "nothing is new");
    assert_eq!(known.hear(90, Says { status: 2, ..begins }), Ok(Effect::Ended));
    assert_eq!((known.group(91, IP), known.bindings.logins().len()), (0, 0));
    assert!(known.bindings.take_changed());
    assert_eq!(known.hear(92, Says { status: 2, ..begins }), Ok(Effect::Stale), "said again");
}

#[test]
fn a_session_that_is_not_heard_of_is_forgotten() {
    let mut known = Known::new();
    let begins = Says { ip: Some(IP), ..START };
    known.hear(10, begins).unwrap();
    assert_eq!([10 + SILENCE_S - 1, 10 + SILENCE_S].map(|at| known.group(at, IP)), [SALES, 0]);
    known.hear(5000, begins).unwrap();
    known.hear(6000, Says { status: 3, ..begins }).unwrap();
    assert_eq!([5000 + SILENCE_S, 6000 + SILENCE_S].map(|at| known.group(at, IP)), [SALES, 0]);
}

#[test]
fn a_session_of_a_device_takes_its_addresses_from_the_frames_that_pass() {
    let mut known = Known::new();
    known.see(1, IP, WORK, Source::Dhcp);
    assert_eq!(known.group(2, IP), WORKSHOP, "as the device is enrolled");
    let begins = Says { mac: Some(WORK), ..START };
    known.hear(10, begins).unwrap();
    known.see(11, [10, 0, 0, 7], WORK, Source::Arp);
    assert_eq!(
        [IP, [10, 0, 0, 7]].map(|ip| known.group(12, ip)),
        [SALES; 2],
        "the account is above the device"
    );
    known.hear(20, Says { status: 2, ..begins }).unwrap();
    assert_eq!(known.group(21, IP), WORKSHOP);
    // Somebody who is not enrolled sits at it: it is not the device's owner.
    known.hear(30, Says { session: "2", account: "guest", ..begins }).unwrap();
    assert_eq!(known.group(31, IP), 0);
    known.hear(32, Says { session: "2", account: "guest", status: 2, ..begins }).unwrap();
    // Authenticated by its address: that is no account.
    known.hear(40, Says { session: "3", account: "3c22fb000001", ..begins }).unwrap();
    assert_eq!(known.group(41, IP), WORKSHOP);
}

#[test]
fn a_random_device_stays_private_whoever_is_logged_in() {
    let mut known = Known::new();
    known.see(1, IP, RANDOM, Source::Arp);
    known.hear(10, Says { mac: Some(RANDOM), ..START }).unwrap();
    assert_eq!(known.group(11, IP), 0, "said by the access server");
    let mut known = Known::new();
    known.hear(10, Says { ip: Some(IP), ..START }).unwrap();
    assert_eq!(known.group(11, IP), SALES, "nothing is known of the device");
    known.see(12, IP, RANDOM, Source::Arp);
    assert_eq!(known.group(13, IP), 0, "seen in frames");
    known.hear(900, Says { ip: Some(IP), status: 3, ..START }).unwrap();
    assert_eq!((known.group(1000, IP), known.bindings.len()), (0, 0), "silent by now, but not forgotten");
}

#[test]
fn who_contradicts_makes_it_nobodys() {
    // An address that the frames give to another device.
    let mut known = Known::new();
    known.see(1, IP, OTHER, Source::Arp);
    known.hear(10, Says { mac: Some(WORK), ip: Some(IP), ..START }).unwrap();
    assert_eq!(known.group(11, IP), 0);
    // Signs of life of two accounts, of which it is not known which came later.
    for place in [Says { ip: Some(IP), ..START }, Says { mac: Some(WORK), ..START }] {
        let mut known = Known::new();
        known.see(1, IP, WORK, Source::Arp);
        known.hear(10, Says { status: 3, ..place }).unwrap();
        known.hear(11, Says { status: 3, session: "2", account: "li", ..place }).unwrap();
        assert_eq!(known.group(12, IP), 0);
        known.hear(13, Says { status: 2, ..place }).unwrap();
        assert_eq!(known.group(14, IP), LAB);
    }
    // The same account twice, as when it roams, is no contradiction.
    let mut known = Known::new();
    known.hear(10, Says { ip: Some(IP), ..START }).unwrap();
    known.hear(11, Says { ip: Some(IP), status: 3, session: "2", ..START }).unwrap();
    assert_eq!(known.group(12, IP), SALES);
    // Pushed and accounted.
    assert!(known.bindings.logins_mut().push(IP.into(), Some("li"), None, 13 * S, 99 * S));
    assert_eq!(known.group(14, IP), 0);
    assert!(known.bindings.logins_mut().withdraw(IP.into()));
    assert!(!known.bindings.logins_mut().withdraw(IP.into()));
    assert_eq!(known.group(15, IP), SALES);
}

#[test]
fn the_later_beginning_holds_and_what_it_displaced_does_not_come_back() {
    for place in [Says { ip: Some(IP), ..START }, Says { mac: Some(WORK), ..START }] {
        let mut known = Known::new();
        known.see(1, IP, WORK, Source::Arp);
        known.hear(10, place).unwrap();
        let li = Says { session: "2", account: "li", ..place };
        known.hear(20, li).unwrap();
        assert_eq!(known.group(21, IP), LAB);
        // The end of the first was lost; it is still said to be alive, and then the second ends.
        known.hear(25, Says { status: 3, ..place }).unwrap();
        assert_eq!(known.group(26, IP), LAB);
        known.hear(30, Says { status: 2, ..li }).unwrap();
        assert_ne!(known.group(31, IP), SALES);
        // Its beginning comes again, delayed: it says when it was.
        known.hear(32, Says { delay_s: 22, ..place }).unwrap();
        assert_ne!(known.group(33, IP), SALES);
    }
}

/// What it is about, what is heard when and does what, and the group of the address then.
type Row<'a> = (&'a str, &'a [(u64, Says<'a>, Effect)], u16);

/// A row for each order in which the packets of a session may arrive: what is heard, and whether somebody is known then.
#[test]
fn what_is_late_or_lost_or_repeated() {
    let begins = Says { ip: Some(IP), ..START };
    let (alive, ends) = (Says { status: 3, ..begins }, Says { status: 2, ..begins });
    let late = |says: Says<'static>, delay_s| Says { delay_s, ..says };
    let at = |says: Says<'static>, time: u32| Says { event_time: Some(time), ..says };
    let (on, off) = (Says { status: 7, ..START }, Says { status: 8, ..START });
    let rows: &[Row<'_>] = &[
        ("the beginning was lost", &[(10, alive, Effect::Began)], SALES),
        ("twice", &[(10, begins, Effect::Began), (12, begins, Effect::Renewed)], SALES),
        ("the end comes first", &[(10, ends, Effect::Stale), (11, late(begins, 5), Effect::Stale)], 0),
        (
            "alive after the end",
            &[(10, begins, Effect::Began), (20, ends, Effect::Ended), (21, alive, Effect::Stale)],
            0,
        ),
        (
            "its number is used again",
            &[(10, begins, Effect::Began), (20, ends, Effect::Ended), (30, begins, Effect::Began)],
            SALES,
        ),
        (
            "the end of the one before with this number",
            &[
                (10, begins, Effect::Began),
                (100, begins, Effect::Renewed),
                (101, late(ends, 60), Effect::Stale),
            ],
            SALES,
        ),
        ("too long ago", &[(1000, late(begins, FRESH_S + 1), Effect::Stale)], 0),
        ("played again a day later", &[(10, at(begins, 1_000_000 - 86_400), Effect::Stale)], 0),
        ("from tomorrow", &[(10, at(begins, 1_000_000 + 86_400), Effect::Stale)], 0),
        ("a clock that is a little ahead", &[(10, at(begins, 1_000_100), Effect::Began)], SALES),
        (
            "a late end ends",
            &[(10, begins, Effect::Began), (900, at(ends, 1_000_000 - 500), Effect::Ended)],
            0,
        ),
        ("the server comes up", &[(10, begins, Effect::Began), (20, on, Effect::Ended)], 0),
        ("the server goes down", &[(10, begins, Effect::Began), (20, off, Effect::Ended)], 0),
        ("it came up before", &[(10, begins, Effect::Began), (20, late(on, 15), Effect::Ended)], SALES),
        ("of a tunnel", &[(10, Says { status: 9, ..begins }, Effect::Nothing)], 0),
        ("of nothing", &[(10, START, Effect::Nothing)], 0),
    ];
    for (what, heard, group) in rows {
        let mut known = Known::new();
        for (at_s, says, effect) in *heard {
            assert_eq!(known.hear(*at_s, *says), Ok(*effect), "{what}");
        }
        let end = heard.last().unwrap().0 + 1;
        assert_eq!(known.group(end, IP), *group, "{what}");
    }
}

#[test]
fn another_server_coming_up_ends_nothing_here() {
    let mut known = Known::new();
    known.hear(10, Says { ip: Some(IP), ..START }).unwrap();
    let bytes = packet(4, 1, &[(40, &[0, 0, 0, 7]), (32, b"switch-2")]);
    let request = Request::read(&bytes, &secret()).unwrap();
    let heard = Heard { now_ns: 20 * S, wall_s: None, silence_ns: S };
    let logins = known.bindings.logins_mut();
    assert_eq!(logins.account(0, [192, 0, 2, 1].into(), &request, heard), Ok(Effect::Ended));
    assert_eq!(known.group(21, IP), SALES);
}

#[test]
fn room_is_bounded_and_comes_back() {
    let mut known = Known::new();
    for n in 0..MAX_SESSIONS {
        let ip = Some(u32::to_be_bytes(0x0a00_0001 + n as u32));
        assert_eq!(known.hear(10, Says { session: &n.to_string(), ip, ..START }), Ok(Effect::Began));
    }
    let one_more = Says { session: "one more", ip: Some(IP), ..START };
    assert_eq!(known.hear(11, one_more), Err(Refused::NoRoom));
    assert!(!known.bindings.logins_mut().push(IP.into(), None, Some(WORK), 11 * S, 20 * S));
    assert_eq!(known.hear(12, Says { status: 2, ..one_more }), Ok(Effect::Stale));
    assert_eq!(known.hear(13, Says { status: 3, session: "5", ip: Some(IP), ..START }), Ok(Effect::Renewed));
    known.bindings.tick((10 + SILENCE_S) * S);
    assert_eq!(known.hear(10 + SILENCE_S, one_more), Ok(Effect::Began));
    known.bindings.tick((100 + SILENCE_S) * S);
    known.bindings.tick((20_000 + SILENCE_S) * S);
    known.bindings.tick((30_000 + SILENCE_S) * S);
    let logins = known.bindings.logins();
    assert_eq!((logins.len(), logins.latest.len()), (0, 0));
}

#[derive(Clone, Debug)]
struct Step {
    after_s: u64,
    status: u8,
    session: usize,
    account: usize,
    on_device: bool,
    delay_s: u32,
}

fn step() -> impl Strategy<Value = Step> {
    (0u64..400, 1u8..=3, 0usize..3, 0usize..3, any::<bool>(), 0u32..400).prop_map(
        |(after_s, status, session, account, on_device, delay_s)| Step {
            after_s,
            status,
            session,
            account,
            on_device,
            delay_s,
        },
    )
}

proptest! {
    /// Whatever is lost, late or repeated: an address has the group of an account only while a session of this account
    /// was heard of within the time of silence, and was not ended since.
    #[test]
    fn nobody_is_known_of_whom_nothing_is_said(steps in proptest::collection::vec(step(), 1..40)) {
        let accounts = ["zhang", "li", "nobody"];
        let mut known = Known::new();
        let mut now = 1000;
        known.see(now, IP, WORK, Source::Dhcp);
        // By session: the account that was named last, and when.
        let mut said: [Option<(usize, u64)>; 3] = [None; 3];
        for step in steps {
            now += step.after_s;
            let session = ["a", "b", "c"][step.session];
            let (mac, ip) = if step.on_device { (Some(WORK), None) } else { (None, Some(IP)) };
            let account = accounts[step.account];
            let says = Says { status: step.status, session, account, mac, ip, delay_s: step.delay_s, ..START };
            let effect = known.hear(now, says).unwrap();
            match effect {
                Effect::Ended => said[step.session] = None,
                Effect::Began | Effect::Renewed => said[step.session] = Some((step.account, now)),
                Effect::Stale | Effect::Nothing => {}
            }
            known.see(now, IP, WORK, Source::Dhcp);
            let alive: Vec<usize> =
                said.iter().flatten().filter(|(_, at)| now - at < SILENCE_S).map(|(account, _)| *account).collect();
            match known.group(now, IP) {
                SALES => prop_assert!(alive.contains(&0)),
                LAB => prop_assert!(alive.contains(&1)),
                group => prop_assert!(group == 0 || group == WORKSHOP),
            }
        }
    }
}
