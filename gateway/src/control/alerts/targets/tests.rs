use super::*;
use crate::alert::Alert;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::mpsc;

const SECRET: &str = "0123456789abcdef0123";

/// What came to a webhook: its head and its body.
type Came = (String, String);

/// A webhook that answers each post with the next of these statuses, over TLS where it has a certificate.
struct Hook {
    address: SocketAddr,
    came: mpsc::Receiver<Came>,
}

fn hook(statuses: &'static [u16], tls: Option<Arc<rustls::ServerConfig>>) -> Hook {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, came) = mpsc::channel();
    thread::spawn(move || {
        for status in statuses {
            let (stream, _) = listener.accept().unwrap();
            let answered = match &tls {
                Some(config) => {
                    let session = rustls::ServerConnection::new(config.clone()).unwrap();
                    answer(rustls::StreamOwned::new(session, stream), *status)
                }
                None => answer(stream, *status),
            };
            // A client that does not like the certificate says nothing.
            if let Some(answered) = answered {
                tell.send(answered).unwrap();
            }
        }
    });
    Hook { address, came }
}

fn answer<S: std::io::Read + std::io::Write>(stream: S, status: u16) -> Option<Came> {
    let (mut reader, mut head) = (BufReader::new(stream), String::new());
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let length = head.to_lowercase().split("content-length: ").nth(1)?.split("\r\n").next()?.parse().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let said = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    reader.get_mut().write_all(said.as_bytes()).ok()?;
    _ = reader.get_mut().flush();
    Some((head, String::from_utf8(body).unwrap()))
}

/// Settings that post to there.
fn settings(dir: &Path, scheme: &str, host: &str, address: SocketAddr) -> AlertTargets {
    let secret = dir.join("secret");
    std::fs::write(&secret, SECRET).unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    let url = format!("{scheme}://{host}:{}/in?x=1", address.port());
    let authorities = dir.join("ca.pem");
    AlertTargets {
        webhook: Some(Webhook { url, address, secret, authorities }),
        silent: vec![Alert::BypassOn],
        ..AlertTargets::default()
    }
}

fn change(alert: Alert, raised: bool) -> Change {
    Change { alert, raised, about: "uplink".to_owned() }
}

/// Waits until it holds of the only target.
fn until(targets: &Targets, holds: impl Fn(&TargetNow) -> bool) -> TargetNow {
    loop {
        let now = targets.now().remove(0);
        if holds(&now) {
            return now;
        }
        thread::yield_now();
    }
}

#[test]
fn a_webhook_is_told_in_order_signed_and_again_until_it_takes_it() {
    let dir = tempfile::tempdir().unwrap();
    let hook = hook(&[500, 302, 204, 200], None);
    let targets = Targets::open(&settings(dir.path(), "http", "127.0.0.1", hook.address)).unwrap();
    targets.call("office.example/gateway-1");
    targets.tell(&change(Alert::BypassOn, true));
    targets.tell(&change(Alert::LinkDown, true));
    targets.tell(&change(Alert::LinkDown, false));
    let came: Vec<Came> = (0..4).map(|_| hook.came.recv().unwrap()).collect();
    let bodies: Vec<serde_json::Value> =
        came.iter().map(|(_, body)| serde_json::from_str(body).unwrap()).collect();
    let states: Vec<_> = bodies.iter().map(|body| body["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["raised", "raised", "raised", "cleared"], "500 and 302 are no answer");
    assert!(bodies[0]["id"] == bodies[2]["id"] && bodies[2]["id"] != bodies[3]["id"]);
    let mut fields: Vec<_> = bodies[0].as_object().unwrap().keys().cloned().collect();
    fields.sort();
    assert_eq!(
        fields,
        ["about", "alert", "gateway", "id", "severity", "state", "text", "time", "version"],
        "and nothing else is ever sent"
    );
    assert_eq!(
        (bodies[0]["alert"].as_str(), bodies[0]["about"].as_str()),
        (Some("link_down"), Some("uplink"))
    );
    assert_eq!(bodies[0]["gateway"], "office.example/gateway-1");
    for (head, body) in &came {
        assert!(head.starts_with("POST /in?x=1 HTTP/1.1\r\n"), "{head}");
        let (_, rest) = head.split_once("sha256=").unwrap();
        let shown = HEXLOWER.decode(rest.split("\r\n").next().unwrap().as_bytes()).unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
        hmac::verify(&key, body.as_bytes(), &shown).unwrap();
        assert!(hmac::verify(&key, body.replace("uplink", "lan").as_bytes(), &shown).is_err());
    }
    let now = until(&targets, |now| now.delivered == 2);
    assert_eq!((now.failed, now.given_up, now.waiting, now.trouble), (2, 0, 0, None));
}

#[test]
fn what_there_is_no_room_for_is_counted_and_the_newest_stays() {
    let dir = tempfile::tempdir().unwrap();
    // Nobody is there: the address is taken and given back.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let targets = Targets::open(&settings(dir.path(), "http", "127.0.0.1", address)).unwrap();
    for _ in 0..WAITING + 36 {
        targets.tell(&change(Alert::LinkDown, true));
    }
    targets.tell(&change(Alert::LinkDown, false));
    let now = until(&targets, |now| now.failed > 0);
    assert_eq!((now.waiting, now.given_up, now.delivered), (WAITING, 37, 0));
    assert!(now.trouble.is_some());
    let last = lock(&targets.all[0].queue).waiting.back().unwrap().clone();
    assert_eq!(last.state, "cleared");
    let tried = targets.test();
    assert!(tried[0].target == "webhook" && tried[0].trouble.is_some(), "{tried:?}");
}

/// A certificate authority, a key with a certificate of it for this name, and its certificate as PEM.
fn certificate(name: &str) -> (Arc<rustls::ServerConfig>, String) {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    (params.not_before, params.not_after) =
        (rcgen::date_time_ymd(2020, 1, 1), rcgen::date_time_ymd(2049, 1, 1));
    let signed = params.self_signed(&pair).unwrap();
    let text = data_encoding::BASE64_MIME.encode(signed.der());
    let pem = format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n");
    let key = rustls::pki_types::PrivateKeyDer::try_from(pair.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![signed.der().clone()], key)
        .unwrap();
    (Arc::new(config), pem)
}

#[test]
fn over_tls_only_whoever_is_who_they_should_be_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let ((config, pem), (_, other)) =
        (certificate("hooks.office.example"), certificate("hooks.office.example"));
    for (host, authority, told) in [
        ("hooks.office.example", &pem, true),
        ("evil.office.example", &pem, false),
        ("hooks.office.example", &other, false),
    ] {
        std::fs::write(dir.path().join("ca.pem"), authority).unwrap();
        let hook = hook(&[200], Some(config.clone()));
        let targets = Targets::open(&settings(dir.path(), "https", host, hook.address)).unwrap();
        let tried = targets.test();
        assert_eq!(tried[0].trouble.is_none(), told, "{host}: {tried:?}");
        let came = hook.came.recv();
        assert_eq!(came.is_ok(), told, "{came:?}");
        if let Ok((_, body)) = came {
            assert!(body.contains("\"state\":\"test\""), "{body}");
        }
    }
    std::fs::write(dir.path().join("ca.pem"), "nonsense").unwrap();
    let settings = settings(dir.path(), "https", "h", "127.0.0.1:1".parse().unwrap());
    assert!(Targets::open(&settings).is_err_and(|e| format!("{e:#}").contains("no certificate")));
}

#[test]
fn syslog_gets_it_by_udp_and_by_tcp() {
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let way =
        AlertTargets { syslog: Some(Syslog::Udp(udp.local_addr().unwrap())), ..AlertTargets::default() };
    let targets = Targets::open(&way).unwrap();
    targets.call("office.example/gateway-1");
    targets.tell(&change(Alert::LinkDown, true));
    let mut datagram = [0; 2048];
    let length = udp.recv(&mut datagram).unwrap();
    let line = String::from_utf8(datagram[..length].to_vec()).unwrap();
    let fields: Vec<&str> = line.splitn(8, ' ').collect();
    assert_eq!(
        (fields[0], fields[2], fields[3], fields[4]),
        ("<26>1", "office.example/gateway-1", "glassgate", "-")
    );
    assert_eq!((fields[5], fields[6]), ("link_down", "-"));
    assert!(fields[1].parse::<jiff::Timestamp>().is_ok(), "{line}");
    let body: serde_json::Value = serde_json::from_str(fields[7]).unwrap();
    assert_eq!(body["state"], "raised");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let way =
        AlertTargets { syslog: Some(Syslog::Tcp(listener.local_addr().unwrap())), ..AlertTargets::default() };
    let targets = Targets::open(&way).unwrap();
    targets.tell(&change(Alert::LinkDown, false));
    let mut said = String::new();
    listener.accept().unwrap().0.read_to_string(&mut said).unwrap();
    let (length, line) = said.split_once(' ').unwrap();
    assert_eq!(length.parse::<usize>().unwrap(), line.len());
    assert!(line.starts_with("<29>1 ") && line.contains("\"state\":\"cleared\""), "{line}");
}

#[test]
fn a_name_that_is_no_host_can_not_end_a_line() {
    let targets = Targets::open(&AlertTargets::default()).unwrap();
    targets.call("a b\n<1>c");
    let line = syslog(&targets.message("link_down", "raised", "critical", "", "x\ny"));
    assert!(line.contains(" ab<1>c glassgate ") && !line.contains('\n'), "{line}");
}
