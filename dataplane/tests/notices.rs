//! What a device is shown that has a notice to read, and how its receipt is told.

#[path = "support/bridge.rs"]
mod bridge;

use bridge::*;
use glassgate_dataplane::classifier::{FlowSink, Policy};
use glassgate_dataplane::notice::SHOWN_NS;
use glassgate_dataplane::packet::flag;
use glassgate_policy::charter::TOKEN;
use glassgate_policy::identity::{IdentityEvent, Source};
use glassgate_policy::matrix::{MAX_PAGE, Member, Members};
use glassgate_policy::{Action, FlowEvent, GroupId, SignatureTable, SubjectId, Verdict, VerdictMatrix};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

const PROBE: &[u8] = b"GET /generate_204 HTTP/1.1\r\nHost: connectivitycheck.gstatic.com\r\n\r\n";
const BROWSER: &[u8] = b"GET / HTTP/1.1\r\nHost: news.example\r\nAccept: text/html\r\n\r\n";
const PROGRAM: &[u8] = b"GET /crl HTTP/1.1\r\nHost: crl.example\r\nAccept: */*\r\n\r\n";

#[derive(Clone, Default)]
struct Told(Rc<RefCell<Vec<IdentityEvent>>>);

impl FlowSink for Told {
    const SUMMARIES: bool = false;

    fn event(&mut self, _: &FlowEvent) -> bool {
        true
    }

    fn identity(&mut self, event: &IdentityEvent) -> bool {
        self.0.borrow_mut().push(*event);
        true
    }
}

/// The client's group is shown a notice of two segments and more.
fn policy() -> Policy {
    let page = [b"<form action=/glassgate-notice/", TOKEN.as_slice(), b">", &[b'x'; 2 * MAX_PAGE]].concat();
    let table = SignatureTable::from_bytes(
        &glassgate_policy::compile::compile(&[], &Default::default()).unwrap().bytes,
    );
    let matrix = VerdictMatrix::new(1, u64::MAX, 2, &[], |group, _| Verdict {
        action: if group == GroupId(1) { Action::Notice } else { Action::Allow },
        ..Verdict::FAIL_OPEN
    });
    let member = Member { group: GroupId(1), subject: SubjectId::NOBODY };
    let matrix =
        matrix.noticing(&[page.into()], |_, _| Some(0)).of_members(Members::new([(CLIENT.0.into(), member)]));
    Policy { table: Arc::new(table.unwrap()), matrix: Arc::new(matrix) }
}

fn asking() -> (Bridge<Told>, Told) {
    let told = Told::default();
    (Bridge::new(policy(), true, 64, told.clone()), told)
}

fn next() -> u32 {
    UP.wrapping_add(1)
}

fn request(bytes: &[u8]) -> (bool, Vec<u8>) {
    (true, tcp(true, next(), DOWN + 1, flag::PSH | flag::ACK, bytes))
}

/// A flow of its own with this request: what the client gets, and what the server gets beside the handshake.
fn ask(bridge: &mut Bridge<Told>, bytes: &[u8]) -> [Vec<Left>; 2] {
    // What was there before is over, and its ports are used again.
    bridge.now += 400_000_000_000;
    (0..1000).for_each(|_| _ = bridge.lcore.turn(bridge.now));
    assert_eq!(bridge.lcore.classifier().flows(), 0);
    bridge.pass(&handshake());
    bridge.pass(&[request(bytes)])
}

fn text(left: &[Left]) -> String {
    left.iter().map(|left| String::from_utf8_lossy(left.payload()).into_owned()).collect()
}

#[test]
fn a_probe_and_a_page_are_answered_whole_and_programs_are_let_through() {
    for (bytes, status) in [(PROBE, "HTTP/1.1 200 "), (BROWSER, "HTTP/1.1 511 ")] {
        let (mut bridge, told) = asking();
        let [client, server] = ask(&mut bridge, bytes);
        let said = text(&client);
        let (head, body) = said.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with(status) && head.ends_with(&format!("Content-Length: {}", body.len())),
            "{head}"
        );
        // In order, without a gap, and the last ends the stream.
        let mut seq = DOWN + 1;
        for (i, left) in client.iter().enumerate() {
            let last = if i + 1 == client.len() { flag::FIN } else { 0 };
            assert_eq!(
                left.tcp(),
                (seq, next().wrapping_add(bytes.len() as u32), flag::PSH | flag::ACK | last)
            );
            seq += left.payload().len() as u32;
        }
        assert!(client.len() == 3, "{} segments", client.len());
        let resets: Vec<_> = server.iter().map(Left::tcp).collect();
        assert_eq!(resets, [(next(), DOWN + 1, flag::RST | flag::ACK)], "the server never sees the request");
        // Asked once more, it is answered once more; the server is left alone.
        let [client, server] = bridge.pass(&[request(bytes)]);
        assert_eq!((text(&client), server.len()), (said, 0));
        assert!(told.0.borrow().is_empty());
    }
    let (mut bridge, _) = asking();
    let [client, server] = ask(&mut bridge, PROGRAM);
    assert_eq!((client.len(), text(&server)), (0, String::from_utf8_lossy(PROGRAM).into_owned()));
}

#[test]
fn a_receipt_with_the_token_of_the_page_is_told_and_thanked_for() {
    let (mut bridge, told) = asking();
    let [client, _] = ask(&mut bridge, PROBE);
    let page = text(&client);
    let (_, token) = page.split_once("/glassgate-notice/").unwrap();
    let token = &token[..16];
    let post = |token: &str| {
        format!(
            "POST /glassgate-notice/{token} HTTP/1.1\r\nHost: connectivitycheck.gstatic.com\r\nContent-Length: 0\r\n\r\n"
        )
    };
    let [client, server] = ask(&mut bridge, post("0123456789abcdef").as_bytes());
    assert_eq!((client.len(), server.len()), (0, 1), "another token passes as what it is");
    assert!(told.0.borrow().is_empty());
    let [client, server] = ask(&mut bridge, post(token).as_bytes());
    assert!(text(&client).starts_with("HTTP/1.1 200 OK\r\n") && text(&client).contains("谢谢"));
    assert_eq!(server.iter().map(|left| left.tcp().2).collect::<Vec<_>>(), [flag::RST | flag::ACK]);
    let told = told.0.borrow();
    let [event] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!((event.source, event.ip, event.mac.0), (Source::NoticeRead, CLIENT.0.into(), CLIENT_MAC));
}

#[test]
fn it_is_not_shown_for_longer_than_a_while() {
    let (mut bridge, _) = asking();
    let shown = |bridge: &mut Bridge<Told>| ask(bridge, PROBE)[0].len();
    assert_eq!(shown(&mut bridge), 3);
    assert_eq!(shown(&mut bridge), 3);
    bridge.now += SHOWN_NS;
    assert_eq!(shown(&mut bridge), 0, "whoever does not read it has a network all the same");
}

#[test]
fn whoever_is_in_no_such_row_is_shown_nothing() {
    let (mut bridge, _) = asking();
    let matrix = VerdictMatrix::uniform(2, Verdict::FAIL_OPEN);
    bridge.lcore.classifier().set_policy(Policy { matrix: Arc::new(matrix), ..policy() });
    let [client, server] = ask(&mut bridge, BROWSER);
    assert_eq!((client.len(), text(&server)), (0, String::from_utf8_lossy(BROWSER).into_owned()));
}
