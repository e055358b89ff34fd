use super::*;
use proptest::prelude::*;
use std::collections::HashMap;

const SECRET: [u64; 4] = [1, 2, 3, 4];

fn client(n: u8) -> Addr {
    Addr::v4([10, 0, 0, n])
}

fn server(n: u8) -> Addr {
    Addr::v4([192, 0, 2, n])
}

fn name(n: u8) -> Name {
    Name::from_wire(format!("n{n}.example").as_bytes()).unwrap()
}

#[test]
fn a_hint_holds_for_its_client_and_time() {
    let mut hints = Hints::new(1 << 10, SECRET);
    hints.learn(client(1), server(1), &name(1), 60, 1000);
    assert_eq!(hints.lookup(client(1), server(1), 1000), Some(name(1)));
    assert_eq!(hints.lookup(client(1), server(1), 60_999), Some(name(1)));
    assert_eq!(hints.lookup(client(1), server(1), 61_000), None, "over");
    assert_eq!(hints.lookup(client(2), server(1), 1000), None, "another client");
    assert_eq!(hints.lookup(client(1), server(2), 1000), None, "another address");
    hints.learn(client(1), server(1), &name(1), 60, 50_000);
    assert_eq!(hints.lookup(client(1), server(1), 109_999), Some(name(1)), "told again");
    hints.learn(client(1), server(2), &name(1), u32::MAX, 1000);
    assert_eq!(hints.lookup(client(1), server(2), TTL_CAP * 1000 + 999), Some(name(1)));
    assert_eq!(hints.lookup(client(1), server(2), TTL_CAP * 1000 + 1000), None, "capped");
}

#[test]
fn two_names_for_an_address_are_none() {
    let mut hints = Hints::new(1 << 10, SECRET);
    hints.learn(client(1), server(1), &name(1), 60, 0);
    hints.learn(client(1), server(1), &name(2), 30, 10_000);
    assert_eq!(hints.lookup(client(1), server(1), 10_000), None);
    hints.learn(client(1), server(1), &name(1), 20, 20_000);
    assert_eq!(hints.lookup(client(1), server(1), 45_000), None, "the later of the two counts");
    hints.learn(client(1), server(1), &name(2), 60, 60_000);
    assert_eq!(hints.lookup(client(1), server(1), 60_001), Some(name(2)), "both were over");
    hints.learn(client(1), server(1), &name(3), 0, 61_000);
    assert_eq!(hints.lookup(client(1), server(1), 61_000), None, "not kept, but told");
}

#[test]
fn what_is_not_learned() {
    let mut hints = Hints::new(1 << 10, SECRET);
    hints.learn(client(1), server(1), &name(1), 0, 0);
    assert_eq!(hints.lookup(client(1), server(1), 0), None);
    for ip in ["0.0.0.0", "127.0.0.1", "224.0.0.251", "::", "::1", "ff02::fb"] {
        let addr = Addr::from(ip.parse::<std::net::IpAddr>().unwrap());
        hints.learn(client(1), addr, &name(1), 60, 0);
        assert_eq!(hints.lookup(client(1), addr, 0), None, "{ip}");
    }
    let odd = Name::from_labels([b"a b".as_slice(), b"example"]).unwrap();
    hints.learn(client(1), server(1), &odd, 60, 0);
    assert_eq!(hints.lookup(client(1), server(1), 0), None);
}

#[test]
fn time_wraps() {
    let mut hints = Hints::new(1 << 10, SECRET);
    let start = u32::MAX - 5000;
    hints.learn(client(1), server(1), &name(1), 60, start);
    assert_eq!(hints.lookup(client(1), server(1), start.wrapping_add(59_999)), Some(name(1)));
    assert_eq!(hints.lookup(client(1), server(1), start.wrapping_add(60_000)), None);
}

#[test]
fn a_flood_pushes_out_its_own() {
    let mut hints = Hints::new(1 << 12, SECRET);
    let victims: Vec<u8> = (2..200)
        .filter(|n| hints.place(client(*n), server(1)).0 != hints.place(client(1), server(1)).0)
        .collect();
    assert!(victims.len() > 150);
    for n in victims.iter().take(40) {
        hints.learn(client(*n), server(1), &name(*n), 600, 0);
    }
    for n in 0..=255 {
        hints.learn(client(1), server(n), &name(n), 600, 0);
    }
    assert_eq!(hints.pushed_out(), 256 - PER_CLIENT as u64);
    for n in victims.iter().take(40) {
        assert_eq!(hints.lookup(client(*n), server(1), 0), Some(name(*n)));
    }
    let kept: Vec<u8> = (0..=255).filter(|n| hints.lookup(client(1), server(*n), 0).is_some()).collect();
    assert_eq!(kept, (192..=255).collect::<Vec<u8>>(), "the newest");
}

#[test]
fn nothing_stays_after_its_time() {
    let mut hints = Hints::new(1 << 12, SECRET);
    for n in 0..=255 {
        hints.learn(client(n), server(n), &name(n), 60, 0);
    }
    hints.expire(59_000, usize::MAX);
    let names =
        |hints: &Hints| hints.names.as_chunks::<KEPT>().0.iter().filter(|kept| **kept != [0; KEPT]).count();
    assert_eq!(names(&hints), 256);
    let mut now = 60_000;
    for _ in 0..4 {
        hints.expire(now, usize::MAX);
        let once = names(&hints);
        hints.expire(now, usize::MAX);
        assert_eq!(names(&hints), once, "not twice at once");
        now += SWEEP_MS;
    }
    assert_eq!(names(&hints), 0);
    assert!(hints.who.iter().all(|who| *who == [0; 4]));
}

#[test]
fn nothing_stays_of_a_name_that_another_replaced() {
    let mut hints = Hints::new(PER_CLIENT, SECRET);
    let [long, short] = [&b"a-long-name.example"[..], b"b.example"].map(|n| Name::from_wire(n).unwrap());
    let kept = |hints: &Hints| hints.names.iter().filter(|b| **b != 0).count();
    let each = [&long, &short].map(|name| 1 + name.as_bytes().len());
    (0..PER_CLIENT as u8).for_each(|n| hints.learn(client(1), server(n), &long, 60, 0));
    assert_eq!(kept(&hints), PER_CLIENT * each[0]);
    hints.learn(client(1), server(200), &short, 60, 61_000);
    assert_eq!(hints.lookup(client(1), server(200), 61_000), Some(short), "in the place of one that is over");
    assert_eq!(kept(&hints), (PER_CLIENT - 1) * each[0] + each[1]);
    hints.learn(client(1), server(200), &long, 60, 61_000);
    assert_eq!(kept(&hints), (PER_CLIENT - 1) * each[0], "two names are none");
}

#[derive(Clone, Debug)]
enum Op {
    Learn { client: u8, server: u8, name: u8, ttl: u32 },
    Lookup { client: u8, server: u8 },
    Wait(u32),
    Expire(usize),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        6 => (0u8..4, 0u8..40, 0u8..3, prop_oneof![Just(0u32), 1u32..20, Just(u32::MAX)])
            .prop_map(|(client, server, name, ttl)| Op::Learn { client, server, name, ttl }),
        4 => (0u8..4, 0u8..40).prop_map(|(client, server)| Op::Lookup { client, server }),
        1 => (0u32..8000).prop_map(Op::Wait),
        1 => (0usize..200).prop_map(Op::Expire),
    ];
    proptest::collection::vec(op, 0..400)
}

/// What the table promises, with one set: a list of 64 hints.
#[derive(Default)]
struct Model {
    hints: HashMap<(u8, u8), (Option<u8>, u64, usize)>,
    pushed_out: u64,
}

impl Model {
    fn learn(&mut self, who: (u8, u8), name: u8, ttl: u32, now: u64, turn: usize) {
        let until = now + u64::from(ttl.min(TTL_CAP)) * 1000;
        self.hints.retain(|_, (_, until, _)| *until > now);
        match self.hints.get_mut(&who) {
            Some((known, old, age)) => {
                *known = known.filter(|known| *known == name);
                *old = until.max(*old);
                *age = turn;
            }
            None if ttl == 0 => {}
            None => {
                if self.hints.len() == PER_CLIENT {
                    let oldest = *self.hints.iter().min_by_key(|(_, (_, _, age))| *age).unwrap().0;
                    self.hints.remove(&oldest);
                    self.pushed_out += 1;
                }
                self.hints.insert(who, (Some(name), until, turn));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn does_what_the_model_does(ops in ops(), start in prop_oneof![Just(0u32), Just(u32::MAX - 20_000)]) {
        let (mut hints, mut model) = (Hints::new(PER_CLIENT, SECRET), Model::default());
        let mut now = u64::from(start);
        for (turn, op) in ops.into_iter().enumerate() {
            match op {
                Op::Learn { client: c, server: s, name: n, ttl } => {
                    hints.learn(client(c), server(s), &name(n), ttl, now as u32);
                    model.learn((c, s), n, ttl, now, turn);
                }
                Op::Lookup { client: c, server: s } => {
                    let want = model.hints.get(&(c, s)).filter(|(_, until, _)| *until > now).and_then(|(n, _, _)| *n);
                    prop_assert_eq!(hints.lookup(client(c), server(s), now as u32), want.map(name));
                }
                Op::Wait(ms) => now += u64::from(ms),
                Op::Expire(budget) => hints.expire(now as u32, budget),
            }
            prop_assert_eq!(hints.pushed_out(), model.pushed_out);
        }
    }
}
