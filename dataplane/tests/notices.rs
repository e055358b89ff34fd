//! What a device is shown that has a notice to read, and how its receipt is told.

#[path = "support/bridge.rs"]
mod bridge;

use bridge::*;
use glassgate_dataplane::classifier::{FlowSink, Policy};
use glassgate_dataplane::notice::SHOWN_NS;
use glassgate_dataplane::packet::flag;
use glassgate_policy::charter::TOKEN;
use glassgate_policy::identity::{IdentityEvent, Read, Source};
use glassgate_policy::matrix::{MAX_PAGE, Member, Members};
use glassgate_policy::{
    Action, Category, FlowEvent, GroupId, ServiceId, SignatureTable, SubjectId, Verdict, VerdictMatrix,
};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

const PROBE: &[u8] = b"GET /generate_204 HTTP/1.1\r\nHost: connectivitycheck.gstatic.com\r\n\r\n";
const BROWSER: &[u8] =
    b"GET / HTTP/1.1\r\nHost: news.example\r\nAccept: text/html,application/xhtml+xml\r\n\r\n";
const PROGRAM: &[u8] = b"GET /crl HTTP/1.1\r\nHost: crl.example\r\nAccept: */*\r\n\r\n";

#[derive(Clone, Default)]
struct Told {
    events: Rc<RefCell<Vec<IdentityEvent>>>,
    /// So many are not taken.
    full: Rc<Cell<usize>>,
}

impl FlowSink for Told {
    const SUMMARIES: bool = false;

    fn event(&mut self, _: &FlowEvent) -> bool {
        true
    }

    fn identity(&mut self, event: &IdentityEvent) -> bool {
        let full = self.full.get();
        self.full.set(full.saturating_sub(1));
        if full == 0 {
            self.events.borrow_mut().push(*event);
        }
        full == 0
    }
}

/// The client's group is shown a notice of two segments and more.
fn policy() -> Policy {
    saying(b'x')
}

fn saying(text: u8) -> Policy {
    let page = [b"<form action=/glassgate-notice/", TOKEN.as_slice(), b">", &[text; 2 * MAX_PAGE]].concat();
    let table = SignatureTable::from_bytes(
        &glassgate_policy::compile::compile(&[], &Default::default()).unwrap().bytes,
    );
    let matrix = VerdictMatrix::new(1, u64::MAX, 2, &[], |group, _| Verdict {
        action: if group == GroupId(1) { Action::Notice } else { Action::Allow },
        ..Verdict::FAIL_OPEN
    });
    let member = Member { group: GroupId(1), subject: SubjectId(7) };
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

fn post(token: &str) -> Vec<u8> {
    let host = "connectivitycheck.gstatic.com";
    format!("POST /glassgate-notice/{token} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n")
        .into_bytes()
}

fn token(page: &str) -> String {
    let (_, token) = page.split_once("/glassgate-notice/").unwrap();
    token[..16].to_owned()
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
        assert!(told.events.borrow().is_empty());
    }
    let (mut bridge, _) = asking();
    let [client, server] = ask(&mut bridge, PROGRAM);
    assert_eq!((client.len(), text(&server)), (0, String::from_utf8_lossy(PROGRAM).into_owned()));
}

#[test]
fn a_receipt_with_the_token_of_the_page_is_told_and_thanked_for() {
    let (mut bridge, told) = asking();
    let [client, _] = ask(&mut bridge, PROBE);
    let token = token(&text(&client));
    let [client, server] = ask(&mut bridge, &post("0123456789abcdef"));
    assert_eq!((client.len(), server.len()), (3, 1), "of another token is shown the notice");
    assert!(text(&client).starts_with("HTTP/1.1 200 ") && !text(&client).contains("谢谢"));
    assert!(told.events.borrow().is_empty());
    let [client, server] = ask(&mut bridge, &post(&token));
    assert!(text(&client).starts_with("HTTP/1.1 200 OK\r\n") && text(&client).contains("谢谢"));
    assert_eq!(server.iter().map(|left| left.tcp().2).collect::<Vec<_>>(), [flag::RST | flag::ACK]);
    let told = told.events.borrow();
    let [event] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!((event.source, event.ip, event.mac.0), (Source::NoticeRead, CLIENT.0.into(), CLIENT_MAC));
    let page = policy().matrix.notice(GroupId(1), Category::Unknown, ServiceId::NONE).unwrap().digest;
    assert_eq!(event.read, Some(Read { subject: SubjectId(7), page }));
}

#[test]
fn a_receipt_of_another_text_is_none() {
    let (mut bridge, told) = asking();
    let token = token(&text(&ask(&mut bridge, PROBE)[0]));
    bridge.lcore.classifier().set_policy(saying(b'y'));
    let [client, _] = ask(&mut bridge, &post(&token));
    assert!(text(&client).contains("yyyy") && told.events.borrow().is_empty());
}

#[test]
fn thanks_come_only_once_it_was_told() {
    let (mut bridge, told) = asking();
    let token = token(&text(&ask(&mut bridge, PROBE)[0]));
    told.full.set(1);
    let [client, server] = ask(&mut bridge, &post(&token));
    assert_eq!((client.len(), server.len(), told.events.borrow().len()), (0, 0, 0), "the ring is full");
    // Its client hears nothing, and sends it again.
    let [client, _] = bridge.pass(&[request(&post(&token))]);
    assert!(text(&client).contains("谢谢") && told.events.borrow().len() == 1);
    bridge.pass(&[request(&post(&token))]);
    assert_eq!(told.events.borrow().len(), 1, "told once");
}

#[test]
fn whoever_has_a_notice_that_can_not_be_shown_passes() {
    let (mut bridge, _) = asking();
    let Policy { table, matrix } = policy();
    let pages: Vec<Box<[u8]>> = matrix
        .notice(GroupId(1), Category::Unknown, ServiceId::NONE)
        .map(|n| n.page.clone())
        .into_iter()
        .collect();
    let action = |_, _| Verdict { action: Action::Notice, ..Verdict::FAIL_OPEN };
    let matrix = VerdictMatrix::new(2, u64::MAX, 2, &[], action).noticing(&pages, |_, _| None);
    bridge.lcore.classifier().set_policy(Policy { table, matrix: Arc::new(matrix) });
    let [client, server] = ask(&mut bridge, BROWSER);
    assert_eq!((client.len(), text(&server)), (0, String::from_utf8_lossy(BROWSER).into_owned()));
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
