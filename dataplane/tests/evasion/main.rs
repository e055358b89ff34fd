//! Transformations of traffic that have kept classifiers from the name, or made them read a wrong one: what evasion
//! tools do, what browsers do every day, and what broken middleboxes make of both. 112 of them, on IPv4 and IPv6.
//!
//! A row names a transformation and the one outcome that it must have; what the rows have in common is checked in every one:
//! **no flow gets a wrong name**, every frame is forwarded, every flow ends with a name or exactly one reason, and nothing
//! stays behind. The streams come from the code beside this file and from real clients (rustls, quinn), and the generator
//! itself is held against real servers first.
//!
//! Random rows play all their seeds, up to 10 000: a quarter of a minute in a build for development.
//! `GLASSGATE_EVASION=T9,Q81` plays these rows only, `GLASSGATE_EVASION_SEEDS=100` no more seeds than that.

mod harness;
mod hello;
mod initial;
mod oracle;
mod rng;
mod rows;
mod scene;
mod signatures;
mod table;
mod wire;

use scene::NAME;
use signatures::signatures;
use std::collections::BTreeSet;
use table::Row;

fn play(rows: Vec<Row>) {
    let seeds =
        std::env::var("GLASSGATE_EVASION_SEEDS").map_or(u64::MAX, |n| n.parse().expect("a number of seeds"));
    let wanted = std::env::var("GLASSGATE_EVASION").ok();
    let wanted = |id: &str| wanted.as_ref().is_none_or(|list| list.split(',').any(|w| w == id));
    let mut failures = Vec::new();
    for row in rows.iter().filter(|row| wanted(row.id)) {
        failures.extend(harness::check(row, seeds));
    }
    assert!(failures.is_empty(), "{} failures:\n  {}", failures.len(), failures.join("\n  "));
}

#[test]
fn tcp() {
    play(rows::tcp::rows());
}

#[test]
fn ip() {
    play(rows::ip::rows());
}

#[test]
fn tls() {
    play(rows::tls::rows());
}

#[test]
fn quic() {
    play(rows::quic::rows());
}

#[test]
fn plain() {
    play(rows::plain::rows());
}

#[test]
fn every_transformation_has_a_row() {
    let have: BTreeSet<String> = table::rows().iter().map(|row| row.id.to_owned()).collect();
    let groups = [("T", 1..=36), ("I", 37..=52), ("L", 53..=76), ("Q", 77..=96), ("H", 97..=112)];
    let want: BTreeSet<String> =
        groups.into_iter().flat_map(|(group, numbers)| numbers.map(move |n| format!("{group}{n}"))).collect();
    assert_eq!(want.len(), 112);
    assert_eq!(have, want);
}

/// What the rows are made of is read by real servers as it is meant.
#[test]
fn real_servers_read_what_the_generator_writes() {
    let named = Some(NAME.to_owned());
    let real = hello::real();
    let at = hello::name_at(&real);
    assert!(at > 80 && at + 80 < real.len(), "the name stands at {at} of {}", real.len());
    assert_eq!(oracle::tls_name(&real), Some(named.clone()));
    assert_eq!(oracle::quic_name(&oracle::quinn_flight(NAME)), named);
    for seed in 0..100 {
        let mut rng = rng::Rng::new(seed);
        let hybrid = seed % 2 == 0;
        let hello = hello::Hello::chrome(&mut rng, NAME, hybrid).record();
        assert_eq!(oracle::tls_name(&hello), Some(named.clone()), "seed {seed}");
        let message = hello::Hello::quic(&mut rng, NAME, hybrid).message();
        let datagrams = rng.within(if hybrid { 2..=3 } else { 1..=3 });
        let mut packet = initial::Packet::first(&mut rng, initial::V1);
        let flight = initial::chaos(&mut rng, &mut packet, &message, datagrams);
        assert_eq!(oracle::quic_name(&flight), named, "seed {seed}");
    }
}
