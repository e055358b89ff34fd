//! IP: fragments, options, extension headers, lengths, and what packets travel inside of.

use super::quic::one_datagram;
use crate::hello::{Hello, disguised, name_at, real, server_hello};
use crate::scene::{NAME, Scene, Seg, Side};
use crate::table::{Expect, Row};
use crate::wire::{Carriage, Cut, Family, Piece, Sum, Tunnel, destination_options, hop_by_hop, pieces};
use glassgate_policy::{Evidence, Reason};
use std::net::IpAddr;
use std::rc::Rc;

const C: Expect = Expect::Name(Evidence::Sni);
const INERT: Expect = C;
/// Bytes of a TCP header with timestamps: the least first fragment with which the header is whole.
const HEADER: usize = 32;

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = fragments();
    rows.extend(headers());
    rows.extend(layers());
    rows
}

fn fragments() -> Vec<Row> {
    let capped = Expect::Reason(Reason::FragCap);
    vec![
        Row::new("I37", "pieces of 8 bytes in order, 64 of them", C, |s| {
            let hello = padded(s, 63 * 8);
            in_pieces(s, &hello, Rc::new(|l4| pieces(l4, HEADER, 8)));
        })
        .live(),
        Row::new("I37", "pieces of 8 bytes in order, one more than 64", capped, |s| {
            let hello = padded(s, 64 * 8 - 7);
            in_pieces(s, &hello, Rc::new(|l4| pieces(l4, HEADER, 8)));
        }),
        Row::new("I38", "pieces in reverse order", C, |s| {
            let hello = padded(s, 400);
            in_pieces(s, &hello, Rc::new(|l4| pieces(l4, HEADER, 8).into_iter().rev().collect()));
        })
        .live(),
        Row::new("I38", "pieces of many sizes, shuffled", C, |s| {
            let hello = Hello::chrome(&mut s.rng, NAME, true).record();
            let rng = s.rng.clone();
            let shuffled: Cut = Rc::new(move |l4| {
                let mut rng = rng.clone();
                let mut pieces = pieces(l4, 8 * rng.within(4..=20), 8 * rng.within(4..=40));
                rng.shuffle(&mut pieces);
                pieces
            });
            s.open();
            fragmented(s, &hello[..1400], shuffled);
            s.say(1400, &hello[1400..]);
            s.finish(hello.len(), &server_hello(false));
        })
        .seeds(500)
        .live(),
        Row::new(
            "I39",
            "overlapping pieces, different bytes, decoy first",
            Expect::AmbiguousUnread(Reason::AmbiguousOverlap),
            |s| in_pieces(s, &real(), lying(true)),
        )
        .only(Family::V4),
        Row::new(
            "I39",
            "overlapping pieces, different bytes, decoy second",
            Expect::AmbiguousUnread(Reason::AmbiguousOverlap),
            |s| in_pieces(s, &real(), lying(false)),
        )
        .only(Family::V4),
        Row::new("I39", "overlapping pieces, same bytes", C, |s| {
            let hello = real();
            in_pieces(
                s,
                &hello,
                Rc::new(|l4| {
                    let mut all = pieces(l4, 80, 80);
                    all.insert(1, Piece { offset: 40, bytes: l4[40..120].to_vec(), more: true });
                    all
                }),
            );
        })
        .only(Family::V4),
        Row::new("T28", "decoy with a bad checksum, in fragments", INERT, |s| {
            let hello = real();
            s.open();
            let carriage = Carriage { cut: Some(Rc::new(|l4| pieces(l4, 120, 120))), ..Carriage::default() };
            s.send(Seg { carriage, sum: Sum::Bad, ..s.data(0, &disguised(&hello)) });
            s.say(0, &hello);
            s.finish(hello.len(), &server_hello(false));
        })
        .live(),
        Row::new(
            "I40",
            "the first piece ends inside the TCP header",
            Expect::Reason(Reason::TinyFrag),
            |s| {
                in_pieces(s, &real(), Rc::new(|l4| pieces(l4, 8, 64)));
            },
        ),
        Row::new(
            "I41",
            "a hundred thousand datagrams whose last piece never comes, one of them the hello",
            capped,
            |s| {
                let hello = real();
                let headless: Cut = Rc::new(|l4| {
                    let mut pieces = pieces(l4, 160, 160);
                    pieces.truncate(1);
                    pieces
                });
                s.open();
                let carriage = Carriage { cut: Some(headless.clone()), ..Carriage::default() };
                s.send(Seg { carriage: carriage.clone(), ..s.data(0, &hello) });
                for i in 0..100_000_u32 {
                    s.add_flow(1024 + (i % 60_000) as u16, 443, NAME);
                    let flow = s.flow();
                    flow.names.clear();
                    flow.client.set_ip(match flow.client.ip() {
                        IpAddr::V4(_) => IpAddr::from([10, 1, (i >> 8) as u8, i as u8]),
                        IpAddr::V6(v6) => (u128::from(v6) + (u128::from(i) << 32)).to_be_bytes().into(),
                    });
                    s.datagram_in(Side::Client, &[0; 200], carriage.clone());
                }
                s.turn_to(0);
                s.close();
            },
        ),
        Row::new("I42", "two flows one after the other use the same identification", C, |s| {
            let carriage = Carriage {
                cut: Some(Rc::new(|l4| pieces(l4, 120, 120))),
                ident: Some(7),
                ..Carriage::default()
            };
            for flow in [0, s.add_flow(40_001, 443, NAME)] {
                s.turn_to(flow);
                s.open();
                s.send(Seg { carriage: carriage.clone(), ..s.data(0, &real()) });
                s.finish(real().len(), &server_hello(false));
            }
        }),
        Row::new("I42", "two hosts use the same identification at the same time", C, |s| {
            // The pieces of one datagram come between those of the other.
            let part = |from: usize, to: usize| -> Carriage {
                let cut: Cut =
                    Rc::new(move |l4| pieces(l4, 104, 104).into_iter().skip(from).take(to - from).collect());
                Carriage { cut: Some(cut), ident: Some(7), ..Carriage::default() }
            };
            let other = s.add_flow(40_000, 443, NAME);
            let address = match s.family {
                Family::V4 => IpAddr::from([192, 0, 2, 11]),
                Family::V6 => "2001:db8:1::11".parse().expect("an address"),
            };
            s.flow().client.set_ip(address);
            for flow in [0, other] {
                s.turn_to(flow);
                s.open();
            }
            for (from, to) in [(0, 1), (1, 2), (2, 9)] {
                for flow in [0, other] {
                    s.turn_to(flow);
                    s.send(Seg { carriage: part(from, to), ..s.data(0, &real()) });
                }
            }
            for flow in [0, other] {
                s.turn_to(flow);
                s.finish(real().len(), &server_hello(false));
            }
        }),
        Row::new("I47", "an IPv6 fragment that is the whole packet", C, |s| {
            in_pieces(s, &real(), Rc::new(|l4| pieces(l4, 2000, 2000)));
        })
        .only(Family::V6)
        .live(),
        Row::new("I48", "overlapping IPv6 pieces, which endpoints discard; then the hello", INERT, |s| {
            s.open();
            fragmented(s, &real(), lying(true));
            s.say(0, &real());
            s.finish(real().len(), &server_hello(false));
        })
        .only(Family::V6)
        .live(),
        Row::new("I52", "a QUIC Initial in fragments", Expect::Name(Evidence::QuicSni), |s| {
            let (_, datagram) = one_datagram(s);
            let carriage = Carriage { cut: Some(Rc::new(|l4| pieces(l4, 496, 496))), ..Carriage::default() };
            s.datagram_in(Side::Client, &datagram, carriage);
            s.datagram(Side::Server, &[0x40; 60]);
        }),
        Row::new("I52", "a QUIC Initial in more than 64 fragments", capped, |s| {
            let (_, datagram) = one_datagram(s);
            let carriage = Carriage { cut: Some(Rc::new(|l4| pieces(l4, 16, 16))), ..Carriage::default() };
            s.datagram_in(Side::Client, &datagram, carriage);
        }),
    ]
}

fn headers() -> Vec<Row> {
    vec![
        Row::new("I43", "IPv4 options: no-operation", C, |s| with_options(s, &[1, 1, 1, 0])).only(Family::V4),
        Row::new("I43", "IPv4 options: record route", C, |s| {
            with_options(s, &[7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        })
        .only(Family::V4),
        Row::new("I43", "IPv4 options: router alert", C, |s| with_options(s, &[148, 4, 0, 0]))
            .only(Family::V4)
            .live(),
        Row::new("I43", "IPv4 options: 40 bytes of them", C, |s| with_options(s, &[1; 40])).only(Family::V4),
        Row::new("I44", "hop-by-hop header before TCP", C, |s| with_headers(s, &[hop_by_hop()]))
            .only(Family::V6)
            .live(),
        Row::new("I45", "decoy behind two hop-by-hop headers, which endpoints discard", INERT, |s| {
            let hello = real();
            s.open();
            let carriage = Carriage { v6_headers: vec![hop_by_hop(), hop_by_hop()], ..Carriage::default() };
            s.send(Seg { carriage, ..s.data(0, &disguised(&hello)) });
            s.say(0, &hello);
            s.finish(hello.len(), &server_hello(false));
        })
        .only(Family::V6)
        .live(),
        Row::new("I46", "eight destination options headers", C, |s| {
            with_headers(s, &vec![destination_options(); 8]);
        })
        .only(Family::V6)
        .live(),
        Row::new("I46", "nine destination options headers", Expect::Reason(Reason::ExthdrCap), |s| {
            with_headers(s, &vec![destination_options(); 9]);
        })
        .only(Family::V6),
        Row::new("I49", "IP length shorter than the frame: what is behind it is no data", C, |s| {
            let hello = real();
            s.open();
            let carriage = Carriage { trailer: disguised(&hello)[12..].to_vec(), ..Carriage::default() };
            s.send(Seg { carriage, ..s.data(0, &hello[..12]) });
            s.say(12, &hello[12..]);
            s.finish(hello.len(), &server_hello(false));
        })
        .live(),
        Row::new("I49", "decoy with an IP length longer than its frame", C, |s| {
            let hello = real();
            s.open();
            let carriage = Carriage { length_off_by: 14, ..Carriage::default() };
            s.send(Seg { carriage, ..s.data(0, &disguised(&hello)) });
            s.say(0, &hello);
            s.finish(hello.len(), &server_hello(false));
        })
        .live(),
        Row::new("I49", "decoy with an IP length of 64, which makes its checksum wrong", C, |s| {
            let hello = real();
            s.open();
            let carriage = Carriage { length_off_by: -(hello.len() as i32 - 12), ..Carriage::default() };
            s.send(Seg { carriage, ..s.data(0, &disguised(&hello)) });
            s.say(0, &hello);
            s.finish(hello.len(), &server_hello(false));
        })
        .live(),
    ]
}

fn layers() -> Vec<Row> {
    let hidden = Expect::Reason(Reason::Tunnel);
    vec![
        Row::new("I50", "VLAN", C, |s| inside(s, |c| c.vlans = vec![(0x8100, 7)])),
        Row::new("I50", "QinQ", C, |s| inside(s, |c| c.vlans = vec![(0x88a8, 100), (0x8100, 7)])),
        Row::new("I50", "QinQ with the old tag, and a third one", C, |s| {
            inside(s, |c| c.vlans = vec![(0x9100, 100), (0x8100, 7), (0x8100, 8)]);
        }),
        Row::new("I50", "PPPoE", C, |s| inside(s, |c| c.pppoe = true)),
        Row::new("I50", "PPPoE in a VLAN", C, |s| {
            inside(s, |c| (c.vlans, c.pppoe) = (vec![(0x8100, 7)], true));
        }),
        Row::new("I51", "IP in IP", hidden, |s| inside(s, |c| c.tunnel = Some(Tunnel::IpInIp))),
        Row::new("I51", "IP in IP, to be looked into", C, |s| {
            s.look_into_tunnels = true;
            inside(s, |c| c.tunnel = Some(Tunnel::IpInIp));
        }),
        Row::new("I51", "GRE", hidden, |s| inside(s, |c| c.tunnel = Some(Tunnel::Gre))),
        Row::new("I51", "GRE, to be looked into", C, |s| {
            s.look_into_tunnels = true;
            inside(s, |c| c.tunnel = Some(Tunnel::Gre));
        }),
        Row::new("I51", "VXLAN", hidden, |s| inside(s, |c| c.tunnel = Some(Tunnel::Vxlan))),
        Row::new("I51", "VXLAN, to be looked into", C, |s| {
            s.look_into_tunnels = true;
            inside(s, |c| c.tunnel = Some(Tunnel::Vxlan));
        }),
    ]
}

fn padded(s: &mut Scene, len: usize) -> Vec<u8> {
    let mut hello = Hello::chrome(&mut s.rng, NAME, false);
    hello.remove(crate::hello::ECH);
    hello.pad_to(len - 5);
    hello.record()
}

/// The whole flow, with the hello in one segment that is cut into fragments.
fn in_pieces(s: &mut Scene, hello: &[u8], cut: Cut) {
    s.open();
    fragmented(s, hello, cut);
    s.finish(hello.len(), &server_hello(false));
}

/// The first bytes of the client in one segment that is cut into fragments.
fn fragmented(s: &mut Scene, bytes: &[u8], cut: Cut) {
    let carriage = Carriage { cut: Some(cut), ..Carriage::default() };
    s.send(Seg { carriage, ..s.data(0, bytes) });
}

/// Three pieces; the name stands in the second one, which comes twice, once with the other name. The checksum is that
/// of the true hello.
fn lying(decoy_first: bool) -> Cut {
    let hello = real();
    let (decoy, at) = (disguised(&hello), name_at(&hello));
    // The part of the segment that holds the name, from and to a multiple of 8.
    let from = (HEADER + at) / 8 * 8;
    let to = (HEADER + at + NAME.len()).div_ceil(8) * 8;
    Rc::new(move |l4| {
        let piece = |from: usize, bytes: &[u8], more| Piece { offset: from, bytes: bytes.to_vec(), more };
        let truth = piece(from, &l4[from..to], true);
        let lie = piece(from, &decoy[from - HEADER..to - HEADER], true);
        let [a, b] = if decoy_first { [lie, truth] } else { [truth, lie] };
        vec![piece(0, &l4[..from], true), a, b, piece(to, &l4[to..], false)]
    })
}

/// The whole flow, the client's segments in a carriage of their own.
fn carried(s: &mut Scene, carriage: &Carriage) {
    let hello = real();
    let carry = |seg: Seg| Seg { carriage: carriage.clone(), ..seg };
    s.send(carry(s.syn()));
    s.send(s.syn_ack());
    s.send(carry(s.bare(Side::Client)));
    s.send(carry(s.data(0, &hello[..120])));
    s.send(carry(s.data(120, &hello[120..])));
    s.finish(hello.len(), &server_hello(false));
}

fn with_options(s: &mut Scene, options: &[u8]) {
    carried(s, &Carriage { v4_options: options.to_vec(), ..Carriage::default() });
}

fn with_headers(s: &mut Scene, headers: &[(u8, Vec<u8>)]) {
    carried(s, &Carriage { v6_headers: headers.to_vec(), ..Carriage::default() });
}

/// The whole flow, both directions in one kind of carriage.
fn inside(s: &mut Scene, change: fn(&mut Carriage)) {
    let hello = real();
    s.open();
    s.say(0, &hello[..120]);
    s.say(120, &hello[120..]);
    s.finish(hello.len(), &server_hello(false));
    for (_, step) in &mut s.steps {
        if let crate::scene::Step::Segment(seg) = step {
            change(&mut seg.carriage);
        }
    }
}
