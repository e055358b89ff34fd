//! What the ends of a blocked flow are answered with, frame by frame: addresses, VLAN tags, sequence numbers, checksums.

#[path = "support/bridge.rs"]
mod bridge;

use bridge::*;
use glassgate_dataplane::classifier::{NoSink, Policy};
use glassgate_dataplane::packet::flag;
use glassgate_dataplane::port::Frame as _;
use glassgate_dataplane::port::memory::MemoryPort;
use glassgate_policy::compile::compile;
use glassgate_policy::matrix::Column;
use glassgate_policy::source::Source;
use glassgate_policy::{Action, Category, SignatureTable, Verdict, VerdictMatrix};
use std::sync::Arc;

const PAGE: &[u8] = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: www.play.example\r\n\r\n";

fn policy(blocks: bool) -> Policy {
    let texts = [
        ("s", "service\tcategory\ttitle\tregion\nplay\tgames\tPlay\tworld\n"),
        (
            "n",
            "name\tscope\tservice\tcategory\trole\ttier\tsource\tlicence\tadded\texpires\tnote\n\
             play.example\tsuffix\tplay\tgames\tsite\tstrong\tme\tMIT\t2026-01-01\n",
        ),
    ];
    let sources = texts.map(|(path, text)| Source::parse(path, text.as_bytes()).unwrap());
    let table = SignatureTable::from_bytes(&compile(&sources, &Default::default()).unwrap().bytes).unwrap();
    let matrix = VerdictMatrix::new(1, u64::MAX, 1, &[], |_, column| match column {
        Column::Category(Category::Games) if blocks => {
            Verdict { action: Action::Block, ..Verdict::FAIL_OPEN }
        }
        _ => Verdict::FAIL_OPEN,
    });
    Policy { table: Arc::new(table), matrix: Arc::new(matrix.telling(&[PAGE.into()], |_, _| Some(0))) }
}

fn blocking(answers: bool, buffers: usize) -> Bridge<NoSink> {
    Bridge::new(policy(true), answers, buffers, NoSink)
}

#[test]
fn a_request_gets_a_page_and_its_server_a_reset() {
    let mut bridge = blocking(true, 64);
    bridge.pass(&handshake());
    let next = UP.wrapping_add(1);
    let request = (true, tcp(true, next, DOWN + 1, flag::PSH | flag::ACK, REQUEST));
    let after = next.wrapping_add(REQUEST.len() as u32);
    for again in [false, true] {
        let [client, server] = bridge.pass(std::slice::from_ref(&request));
        let [page] = &client[..] else { panic!("{} frames to the client", client.len()) };
        assert_eq!(page.tcp(), (DOWN + 1, after, flag::PSH | flag::ACK | flag::FIN), "beyond 2^32, too");
        assert_eq!(page.payload(), PAGE);
        let stamps = glassgate_dataplane::answer::timestamps(&page.packet, &page.bytes);
        assert_eq!(stamps, Some([8, 7]), "as the server would send them");
        let resets: Vec<_> = server.iter().map(Left::tcp).collect();
        let reset = (next, DOWN + 1, flag::RST | flag::ACK);
        assert_eq!(resets, if again { vec![] } else { vec![reset] }, "the page again, no second reset");
    }
    // The client closes in peace: its FIN is acknowledged, its acknowledgement needs nothing.
    let end = DOWN + 1 + PAGE.len() as u32 + 1;
    let closing = [
        (true, tcp(true, after, end, flag::ACK, b"")),
        (true, tcp(true, after, end, flag::FIN | flag::ACK, b"")),
    ];
    let [client, server] = bridge.pass(&closing);
    let acks: Vec<_> = client.iter().map(Left::tcp).collect();
    assert_eq!((acks, server.len()), (vec![(end, after.wrapping_add(1), flag::ACK)], 0));
    assert_eq!(bridge.pool.free(), 64);
}

#[test]
fn a_flow_that_runs_is_reset_both_ways_with_the_numbers_that_its_ends_expect() {
    let mut bridge = blocking(true, 64);
    bridge.lcore.classifier().set_policy(policy(false));
    bridge.pass(&handshake());
    let next = UP.wrapping_add(1);
    let after = next.wrapping_add(REQUEST.len() as u32);
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n";
    let down = DOWN + 1 + answer.len() as u32;
    bridge.pass(&[
        (true, tcp(true, next, DOWN + 1, flag::PSH | flag::ACK, REQUEST)),
        (false, tcp(false, DOWN + 1, after, flag::ACK, answer)),
    ]);
    bridge.lcore.classifier().set_policy(policy(true));
    let [client, server] = bridge.pass(&[(false, tcp(false, down, after, flag::ACK, &[1; 1000]))]);
    let resets = |left: &[Left]| left.iter().map(Left::tcp).collect::<Vec<_>>();
    assert_eq!(resets(&client), [(down, after, flag::RST | flag::ACK)], "in place of the segment");
    assert_eq!(resets(&server), [(after, 0, flag::RST)], "what the server expects next");
    // A reset is not answered, so that two gateways in a row come to an end.
    let [client, server] = bridge.pass(&[(true, tcp(true, after, 0, flag::RST, b""))]);
    assert_eq!((client.len(), server.len()), (0, 0));
    assert_eq!(bridge.lcore.counters().answers, [1, 1]);
}

#[test]
fn a_question_for_a_blocked_name_is_answered_and_the_next_one_passes() {
    let mut bridge = blocking(true, 64);
    let query = |name: &[u8]| {
        let dns =
            [b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00", name, b"\x00\x00\x01\x00\x01"].concat();
        let udp = [
            &CLIENT.1.to_be_bytes()[..],
            &53u16.to_be_bytes(),
            &(dns.len() as u16 + 8).to_be_bytes(),
            &[0; 2],
        ];
        (true, frame(true, 17, &[&udp.concat()[..], &dns].concat()))
    };
    let (blocked, other) = (query(b"\x03www\x04play\x07example"), query(b"\x03www\x05other\x07example"));
    for round in 0..2 {
        let mut lcore = pass_dns(&mut bridge, &blocked);
        let (client, server) = (lcore.remove(0), lcore.remove(0));
        assert_eq!((client.len(), server.len()), (1, 0), "round {round}");
        let answer = &client[0];
        assert_eq!(
            &answer[answer.len() - 34..answer.len() - 22],
            b"\x12\x34\x81\x83\x00\x01\x00\x00\x00\x00\x00\x00"
        );
        let mut lcore = pass_dns(&mut bridge, &other);
        let (client, server) = (lcore.remove(0), lcore.remove(0));
        assert_eq!((client.len(), server), (0, vec![other.1.clone()]), "round {round}");
    }
}

/// Frames that come out at either side, as they are.
fn pass_dns(bridge: &mut Bridge<NoSink>, frame: &(bool, Vec<u8>)) -> Vec<Vec<Vec<u8>>> {
    let sent = bridge.pool.frame(&frame.1).unwrap();
    bridge.outside[0].send(sent).unwrap();
    bridge.now += 1_000_000;
    bridge.lcore.turn(bridge.now);
    let take =
        |port: &mut MemoryPort| std::iter::from_fn(|| port.receive()).map(|f| f.bytes().to_vec()).collect();
    bridge.outside.iter_mut().map(take).collect()
}

#[test]
fn without_answers_or_buffers_frames_are_dropped_all_the_same() {
    let next = UP.wrapping_add(1);
    let request = [(true, tcp(true, next, DOWN + 1, flag::PSH | flag::ACK, REQUEST))];
    for (answers, buffers, lost) in [(false, 64, 0), (true, 1, 2)] {
        let mut bridge = blocking(answers, buffers);
        bridge.pass(&handshake());
        let [client, server] = bridge.pass(&request);
        assert_eq!((client.len(), server.len()), (0, 0));
        let counters = bridge.lcore.counters();
        assert_eq!((counters.drop_policy, counters.answers_lost), ([1, 0], [lost]), "{answers}");
    }
}

#[test]
fn groups_tunnels_and_other_links_get_no_answer() {
    let next = UP.wrapping_add(1);
    let request = tcp(true, next, DOWN + 1, flag::PSH | flag::ACK, REQUEST);
    let mut to_group = request.clone();
    to_group[0] |= 1;
    // The same behind an MPLS label.
    let labelled = [&request[..16], &[0x88, 0x47, 0, 0, 0x11, 64], &request[18..]].concat();
    for bytes in [to_group, labelled] {
        let mut bridge = blocking(true, 64);
        bridge.pass(&handshake());
        let [client, server] = {
            let frame = bridge.pool.frame(&bytes).unwrap();
            bridge.outside[0].send(frame).unwrap();
            bridge.now += 1;
            bridge.lcore.turn(bridge.now);
            bridge.outside.each_mut().map(|port| std::iter::from_fn(|| port.receive()).count())
        };
        assert_eq!((client, server), (0, 0));
        assert_eq!(bridge.lcore.counters().drop_policy, [1, 0]);
    }
}
