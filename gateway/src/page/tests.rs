//! The page over a real socket.

use super::peer::Kernel;
use super::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A served sample.
struct Served {
    _dir: tempfile::TempDir,
    address: std::net::SocketAddr,
    publish: watch::Sender<Arc<Snapshot>>,
    stage: stage::Stage,
}

impl Served {
    async fn new() -> Self {
        Self::by(Kernel).await
    }

    /// Served by a listener of another kind.
    async fn by<L: Listener<Addr = Peer>>(of: impl FnOnce(TcpListener) -> L) -> Self {
        let (publish, snapshot) = watch::channel(Arc::new(sample::snapshot()));
        let (commands, to_do) = std::sync::mpsc::channel();
        sample::answering(to_do);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (dir, past) = sample::past();
        let (shared, stage) = stage::shared(snapshot, commands, past);
        tokio::spawn(serve(of(listener), shared));
        Self { _dir: dir, address, publish, stage }
    }

    /// Sends bytes and reads until the server closes.
    async fn say(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn request(&self, method: &str, path: &str, host: &str) -> String {
        let token = &self.stage.tokens[0];
        let head = format!("Host: {host}\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n");
        self.say(format!("{method} {path} HTTP/1.1\r\n{head}\r\n").as_bytes()).await
    }

    async fn get(&self, path: &str) -> String {
        self.request("GET", path, "127.0.0.1:8480").await
    }
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

#[test]
fn every_route_answers_with_its_kind_and_the_headers() {
    run(async {
        let served = Served::new().await;
        for (path, status, kind) in [
            ("/", "200 OK", "text/html; charset=utf-8"),
            ("/api/v1/now", "200 OK", "application/json"),
            ("/metrics", "200 OK", PROMETHEUS),
            ("/healthz", "200 OK", "text/plain; charset=utf-8"),
            ("/traffic", "200 OK", "text/html; charset=utf-8"),
            ("/traffic?days=30&lang=zh", "200 OK", "text/html; charset=utf-8"),
            ("/log?lang=zh&kind=gap&from=2026-01-01&to=&before=99999", "200 OK", "text/html; charset=utf-8"),
            ("/rules?lang=zh", "200 OK", "text/html; charset=utf-8"),
            ("/rules?name=www.zhipin.com&group=sales", "200 OK", "text/html; charset=utf-8"),
            ("/charter", "200 OK", "text/html; charset=utf-8"),
            ("/system?lang=zh", "200 OK", "text/html; charset=utf-8"),
            ("/device", "200 OK", "text/html; charset=utf-8"),
            ("/api/v1/alerts", "200 OK", "application/json"),
            ("/api/v1/charter", "200 OK", "application/json"),
            ("/api/v1/device", "200 OK", "application/json"),
            ("/api/v1/explain?name=www.zhipin.com", "200 OK", "application/json"),
            ("/api/v1/explain?name=no%20name", "400 Bad Request", "application/json"),
            ("/log?before=x", "400 Bad Request", "text/plain; charset=utf-8"),
            ("/api/v1/records?limit=2", "200 OK", "application/json"),
            ("/api/v1/report?from=0&to=1", "200 OK", "application/json"),
            ("/api/v1/report?from=1&to=0", "400 Bad Request", "application/json"),
            ("/style.css", "200 OK", CSS),
            ("/page.js", "200 OK", SCRIPT),
            ("/icon.svg", "200 OK", SVG),
            ("/none", "404 Not Found", "text/plain; charset=utf-8"),
            ("/%2e%2e/etc/passwd", "404 Not Found", "text/plain; charset=utf-8"),
        ] {
            let answer = served.get(path).await;
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{path}: {head}");
            assert!(head.contains(&format!("content-type: {kind}\r\n")), "{path}: {head}");
            for header in [
                "content-security-policy: default-src 'none';",
                "nosniff",
                "no-store",
                "referrer-policy: same-origin",
            ] {
                assert!(head.contains(header), "{path}: {header}");
            }
            assert!(!body.is_empty());
            assert!(
                served.request("POST", path, "localhost").await.contains("HTTP/1.1 40"),
                "{path} takes no POST"
            );
        }
    });
}

/// Asks until the store has taken the whole log.
async fn filled(served: &Served) {
    loop {
        let answer = served.get("/api/v1/report?from=0&to=9999999999").await;
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        let report: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
        if report["entries"].as_u64().is_some_and(|n| n > 0) && report["reach"]["next"] == report["entries"] {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[test]
fn the_past_in_both_languages() {
    run(async {
        let served = Served::new().await;
        filled(&served).await;
        for (path, words) in [
            (
                "/traffic",
                &["Flows over time", "Short video", "boss-zhipin", "10-19", "Blindness meter", "lang=\"en\""]
                    [..],
            ),
            ("/traffic?lang=zh&days=90", &["流数随时间变化", "不可见度", "全网", "<html lang=\"zh\">"]),
            (
                "/log",
                &[
                    "office.example/gateway-1",
                    "works-council.example/witness",
                    "<svg class=\"qr\"",
                    "Charter installed",
                    "Office charter",
                    "Bypass off",
                    "rel=\"next\"",
                ],
            ),
            ("/log?lang=zh&kind=gap", &["审计日志", "记录缺失", "unclean_end", "安装章程"]),
            ("/log?kind=rollup&from=2020-01-01", &["Counts of the network", "netease-music"]),
            ("/log?kind=%3Cscript%3E", &["There is none."]),
        ] {
            let page = served.get(path).await;
            for word in words {
                assert!(page.contains(word), "{path}: {word}\n{page}");
            }
            assert!(
                !page.contains("style=\"") && !page.contains("<script") && !page.contains("http://"),
                "{path}"
            );
            assert!(page.len() < 150_000, "{path}: {} bytes", page.len());
        }
        let records = served.get("/api/v1/records?acts=true").await;
        assert_eq!(records.matches("\"event_type\":\"bypass\"").count(), 2, "{records}");
    });
}

#[test]
fn data_is_what_the_page_shows() {
    run(async {
        let served = Served::new().await;
        let answer = served.get("/api/v1/now").await;
        let data: serde_json::Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
        assert_eq!(data["services"][6]["name"], "boss-zhipin");
        let page = served.get("/").await;
        for service in data["services"].as_array().unwrap() {
            assert!(page.contains(service["title"].as_str().unwrap()));
        }
        served.publish.send_replace(Arc::new(Snapshot { version: "9.9.9".to_owned(), ..sample::snapshot() }));
        assert!(served.get("/").await.contains("9.9.9"), "what is new is shown");
    });
}

#[test]
fn what_is_new_comes_by_itself() {
    // Time stands still but for what is waited for.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let served = Served::new().await;
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        let head = format!("Host: localhost\r\nAuthorization: Bearer {}\r\n", served.stage.tokens[0]);
        stream
            .write_all(format!("GET /api/v1/now/stream?lang=zh HTTP/1.1\r\n{head}\r\n").as_bytes())
            .await
            .unwrap();
        let (mut came, mut chunk) = (String::new(), vec![0; 65_536]);
        let mut version = 0;
        while version < 4 {
            let n = stream.read(&mut chunk).await.unwrap();
            assert!(n > 0, "it ended: {came}");
            came += &String::from_utf8_lossy(&chunk[..n]);
            if came.contains(&format!("[{version}]")) {
                version += 1;
            }
            let time = format!("[{version}]");
            served.publish.send_replace(Arc::new(Snapshot { time, ..sample::snapshot() }));
        }
        assert!(
            came.starts_with("HTTP/1.1 200 OK\r\n") && came.contains("content-type: text/event-stream\r\n")
        );
        assert!(came.contains("transfer-encoding: chunked\r\n") && came.contains("不可见度"));
        // Everybody else is answered meanwhile, and at the end the connection is the server's to close.
        assert!(served.get("/healthz").await.starts_with("HTTP/1.1 200"));
        while stream.read(&mut chunk).await.is_ok_and(|n| n > 0) {}
    });
}

#[test]
fn health_says_when_nothing_is_forwarded() {
    run(async {
        let served = Served::new().await;
        assert!(served.get("/healthz").await.ends_with("forwarding\n"));
        let mut now = sample::snapshot();
        now.processes[1].state = "waiting".to_owned();
        now.troubles = vec!["the dataplane process is waiting".to_owned()];
        served.publish.send_replace(Arc::new(now));
        let answer = served.get("/healthz").await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert!(answer.ends_with("not forwarding\nthe dataplane process is waiting\n"), "{answer}");
    });
}

/// A listener on the side of the people.
struct OnLan(Kernel);

impl Listener for OnLan {
    type Io = TcpStream;
    type Addr = Peer;

    async fn accept(&mut self) -> (TcpStream, Peer) {
        let (stream, peer) = self.0.accept().await;
        (stream, Peer { side: Side::Lan, ..peer })
    }

    fn local_addr(&self) -> std::io::Result<Peer> {
        self.0.local_addr()
    }
}

#[test]
fn the_other_side_gets_nothing_of_the_management() {
    run(async {
        let served = Served::by(|listener| OnLan(Kernel(listener))).await;
        for (path, words) in [("/device?lang=en", "My device"), ("/api/v1/device", "\"group\":\"sales\"")] {
            let answer = served.get(path).await;
            assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(words), "{path}: {answer}");
        }
        for path in [
            "/",
            "/traffic",
            "/rules",
            "/charter",
            "/log",
            "/system",
            "/api/v1/now",
            "/api/v1/records",
            "/metrics",
            "/healthz",
        ] {
            let answer = served.get(path).await;
            assert!(answer.starts_with("HTTP/1.1 404") && !answer.contains("BOSS"), "{path}: {answer}");
        }
    });
}

#[test]
fn names_of_others_are_refused() {
    run(async {
        let served = Served::new().await;
        for host in [
            "127.0.0.1",
            "127.0.0.1:8480",
            "[::1]:8480",
            "[::1]",
            "localhost:1",
            "gateway.office.example",
            "LOCALHOST",
        ] {
            assert!(served.request("GET", "/", host).await.starts_with("HTTP/1.1 200"), "{host}");
        }
        for host in [
            "evil.example",
            "192.0.2.1",
            "127.0.0.1.evil.example",
            "localhost.evil.example:8480",
            "",
            "[::1",
            "[x]",
            "127.0.0.1:",
            "::1",
            "1.2.3.4:x",
        ] {
            let answer = served.request("GET", "/", host).await;
            assert!(
                answer.starts_with("HTTP/1.1 421") || answer.starts_with("HTTP/1.1 400"),
                "{host}: {answer}"
            );
            assert!(!answer.contains("BOSS"), "{host}");
        }
        let twice = b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
        assert!(!served.say(twice).await.contains("BOSS"));
        assert!(!served.say(b"GET / HTTP/1.0\r\n\r\n").await.contains("BOSS"), "no host at all");
    });
}

#[test]
fn junk_and_large_heads_end_the_connection() {
    run(async {
        let served = Served::new().await;
        let large = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(100_000));
        for bytes in [
            &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
            b"\r\n\r\nnothing\r\n\r\n",
            large.as_bytes(),
        ] {
            let mut stream = TcpStream::connect(served.address).await.unwrap();
            // The server may hang up in the middle.
            _ = stream.write_all(bytes).await;
            let mut answer = Vec::new();
            _ = stream.read_to_end(&mut answer).await;
            assert!(
                answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"),
                "{}",
                String::from_utf8_lossy(&answer)
            );
        }
        assert!(served.get("/healthz").await.starts_with("HTTP/1.1 200"));
    });
}

#[test]
fn a_head_that_never_ends_is_not_waited_for() {
    // Time stands still but for what is waited for.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let served = Served::new().await;
        let mut slow = TcpStream::connect(served.address).await.unwrap();
        slow.write_all(b"GET / HTTP/1.1\r\nHost: loc").await.unwrap();
        let mut answer = Vec::new();
        slow.read_to_end(&mut answer).await.unwrap();
        assert!(!answer.windows(4).any(|w| w == b"BOSS"));
    });
}
