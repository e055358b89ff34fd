//! Pushes over a real socket, to sessions as the slow path keeps them.

use super::*;
use crate::control::snapshot::Snapshot;
use crate::page::peer::Kernel;
use glassgate_policy::identity::Logins;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, mpsc};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

const TOKEN: &str = "a-token-of-twenty-nine-letters";
const PATH: &str = "/api/v1/identity/addresses/10.1.2.3";

struct Served {
    address: SocketAddr,
    push: Arc<Push>,
    logins: Arc<Mutex<Logins>>,
    _stage: crate::page::stage::Stage,
}

impl Served {
    async fn new(has_room: bool) -> Self {
        let (commands, to_do) = mpsc::channel();
        let logins = Arc::new(Mutex::new(Logins::default()));
        let theirs = logins.clone();
        std::thread::spawn(move || {
            while let Ok(Command::Push { change, answer }) = to_do.recv() {
                let mut logins = theirs.lock().unwrap();
                let taken = match change {
                    PushChange::Set { ip, account, mac, seconds } if has_room => {
                        logins.push(ip, account.as_deref(), mac, 0, seconds)
                    }
                    PushChange::Set { .. } => false,
                    PushChange::Withdraw { ip } => {
                        logins.withdraw(ip);
                        true
                    }
                };
                drop(logins);
                answer.send(taken).unwrap();
            }
        });
        let push = Arc::new(Push::new(TOKEN.as_bytes()).unwrap());
        let snapshot = watch::channel(Arc::new(Snapshot::default())).1;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (shared, stage) =
            crate::page::stage::shared(snapshot, commands, crate::control::past::Past::none());
        let shared = Shared { push: Some(push.clone()), ..shared };
        tokio::spawn(crate::page::serve(Kernel(listener), shared));
        Self { address, push, logins, _stage: stage }
    }

    /// Status and body of the answer.
    async fn say(&self, method: &str, path: &str, head: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n{head}\r\n{body}"
        );
        // The server may answer before it has read all of a body that is too long.
        _ = stream.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        _ = stream.read_to_end(&mut answer).await;
        let text = String::from_utf8_lossy(&answer).into_owned();
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        (status, text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
    }

    async fn put(&self, path: &str, body: &str) -> (u16, String) {
        self.say("PUT", path, &format!("Authorization: Bearer {TOKEN}\r\n"), body).await
    }

    fn sessions(&self) -> usize {
        self.logins.lock().unwrap().len()
    }
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

/// So many seconds from now.
fn until(seconds: i64) -> String {
    Timestamp::from_second(Timestamp::now().as_second() + seconds).unwrap().to_string()
}

fn body(seconds: i64) -> String {
    format!(
        "{{\"account\": \"zhang.wei\", \"device\": \"3c:22:fb:01:02:03\", \"until\": \"{}\"}}",
        until(seconds)
    )
}

#[test]
fn what_is_pushed_holds_until_it_is_withdrawn_and_both_can_be_repeated() {
    run(async {
        let served = Served::new(true).await;
        for _ in 0..2 {
            assert_eq!(served.put(PATH, &body(3600)).await, (204, String::new()));
            assert_eq!(served.sessions(), 1);
        }
        let device_only = format!("{{\"device\": \"3c-22-fb-01-02-03\", \"until\": \"{}\"}}", until(60));
        assert_eq!(served.put("/api/v1/identity/addresses/2001:db8::5", &device_only).await.0, 204);
        assert_eq!(served.sessions(), 2);
        for _ in 0..2 {
            let head = format!("authorization: bearer {TOKEN}\r\n");
            assert_eq!(served.say("DELETE", PATH, &head, "").await, (204, String::new()));
            assert_eq!(served.sessions(), 1);
        }
        assert_eq!(served.push.counts(), (3, 2, [("wrong_token", 0), ("bad_request", 0), ("not_taken", 0)]));
    });
}

#[test]
fn without_the_token_nothing_is_taken() {
    run(async {
        let served = Served::new(true).await;
        let heads = [
            String::new(),
            "Authorization: Bearer \r\n".to_owned(),
            format!("Authorization: Bearer {TOKEN}x\r\n"),
            format!("Authorization: Bearer {}\r\n", &TOKEN[1..]),
            format!("Authorization: Bearer {}\r\n", TOKEN.replace('y', "z")),
            format!("Authorization: Basic {TOKEN}\r\n"),
            format!("Authorization: {TOKEN}\r\n"),
            format!("Authorization: Bearer {TOKEN}\r\nAuthorization: Bearer {TOKEN}\r\n"),
        ];
        for head in &heads {
            for method in ["PUT", "DELETE"] {
                let (status, why) = served.say(method, PATH, head, &body(60)).await;
                assert_eq!(status, 401, "{head}");
                assert!(why.contains("Bearer"), "{why}");
            }
        }
        assert_eq!((served.sessions(), served.push.counts().2[0].1), (0, 2 * heads.len() as u64));
        assert_eq!(served.say("GET", PATH, "", "").await.0, 405);
    });
}

#[test]
fn what_is_wrong_is_told() {
    run(async {
        let served = Served::new(true).await;
        let good = body(60);
        let long = format!("{{\"account\": \"{}\"}}", "x".repeat(MAX_BODY));
        let bodies: &[(&str, u16, &str)] = &[
            ("", 400, "line 1 column 0"),
            ("{\n\"account\": }", 400, "line 2 column 12"),
            ("[]", 400, "no object"),
            ("[\"zhang.wei\", null, \"2027-01-04T18:00:00Z\"]", 400, "no object"),
            ("{\"until\": 5}", 400, "string"),
            ("{\"account\": \"a\"}", 400, "missing field `until`"),
            ("{\"account\": \"a\", \"until\": \"\", \"x\": 1}", 400, "unknown field `x`"),
            ("{\"account\": \"a\", \"until\": \"tomorrow\"}", 422, "`until`"),
            (&body(-5), 422, "`until` is over"),
            (&body(90_000), 422, "a day ahead"),
            (&good.replace("zhang.wei", ""), 422, "`account`"),
            (&good.replace("zhang.wei", "a\\u0000"), 422, "`account`"),
            (&good.replace("3c:22", "3c"), 422, "`device`"),
            (&good.replace("3c:22", "ff:ff").replace("fb:01:02:03", "ff:ff:ff:ff"), 422, "`device`"),
            (&format!("{{\"until\": \"{}\"}}", until(60)), 422, "or both"),
            (&long, 413, "4096 bytes"),
        ];
        for (body, status, word) in bodies {
            let (found, why) = served.put(PATH, body).await;
            assert_eq!(found, *status, "{body}: {why}");
            let error: serde_json::Value = serde_json::from_str(&why).unwrap();
            assert!(error["error"].as_str().unwrap().contains(word), "{body}: {why}");
        }
        let paths: &[(&str, u16)] = &[
            ("10.1.2", 400),
            ("zhang", 400),
            ("0.0.0.0", 422),
            ("224.0.0.1", 422),
            ("::1", 422),
            ("%ff", 400),
        ];
        for (address, status) in paths {
            let (found, why) = served.put(&format!("/api/v1/identity/addresses/{address}"), &good).await;
            assert_eq!(found, *status, "{address}: {why}");
        }
        assert_eq!(served.sessions(), 0);
        assert_eq!(served.push.counts().0, 0);
        let full = Served::new(false).await;
        assert_eq!(full.put(PATH, &good).await.0, 503);
        assert_eq!(full.push.counts().2[2], ("not_taken", 1));
    });
}

#[test]
fn where_nobody_may_push_there_is_no_such_page() {
    run(async {
        let (commands, _to_do) = mpsc::channel();
        let snapshot = watch::channel(Arc::new(Snapshot::default())).1;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (shared, stage) =
            crate::page::stage::shared(snapshot, commands, crate::control::past::Past::none());
        tokio::spawn(crate::page::serve(Kernel(listener), shared));
        let logins = Arc::new(Mutex::new(Logins::default()));
        let push = Arc::new(Push::new(TOKEN.as_bytes()).unwrap());
        let served = Served { address, push, logins, _stage: stage };
        assert_eq!(served.put(PATH, &body(60)).await.0, 404);
    });
}
