//! Those who guess passwords at the page, fifty times a second from twenty addresses of the VLAN; and those who have one, and log in
//! meanwhile.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{PORT, VLAN_V4};
use crate::actions::browser::code_soon;
use crate::lab::Lab;
use crate::lab::devices::DEVICES;

/// Guesses a second.
pub(super) const A_SECOND: u32 = 50;
/// Addresses that they come from: the first of them, and how many.
const FIRST: u8 = 101;
const SOURCES: u8 = 20;
/// How long a guesser waits for the answer before they hang up and go on.
const PATIENCE: Duration = Duration::from_millis(300);
/// How often somebody logs in who has a password, and how many there are. A source may try ten times a minute.
const EVERY: Duration = Duration::from_millis(1700);
const PEOPLE: usize = 8;
/// The password of each of them, hashed as the gateway hashes passwords; and the secret of their codes.
const PASSWORD: &str = "three ships in one green bottle";
const HASH: &str =
    "$argon2id$v=19$m=47104,t=2,p=1$Z2xhc3NnYXRlLWxhYi0xNg$d7J0bOy+5IZJxTEqZePBfGw3sRVcBb8R8L8+AsnHuNA";
const CODES: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

/// Accounts of those people, as they stand in the file.
pub(super) fn people() -> Vec<serde_json::Value> {
    let one = |n| serde_json::json!({ "name": format!("person{n}"), "role": "engineer", "password": HASH, "totp": CODES });
    (0..PEOPLE).map(one).collect()
}

/// What became of guesses and logins.
pub(super) struct Figures {
    /// Guesses sent, and what was said to them.
    pub(super) sent: u64,
    pub(super) answers: BTreeMap<String, u64>,
    /// How long each login took, from the first SYN to the page behind it.
    pub(super) logins: Vec<Duration>,
    /// Why logins failed.
    pub(super) failed: Vec<String>,
}

/// All of them at work.
pub(super) struct Guessing {
    guesses: JoinHandle<Result<(u64, BTreeMap<String, u64>)>>,
    logins: JoinHandle<Result<(Vec<Duration>, Vec<String>)>>,
}

impl Guessing {
    /// Starts them, until then. `certificate`: of the gateway.
    pub(super) fn start(lab: &Lab, certificate: &Path, until: Instant) -> Result<Self> {
        let dock = lab.netns(&DEVICES[3]);
        let addresses: String =
            (FIRST..FIRST + SOURCES).map(|n| format!("addr add 10.77.20.{n}/24 dev eth0\n")).collect();
        dock.ip(&addresses)?;
        let tls = connector(certificate)?;
        let theirs = tls.clone();
        let guesses = dock.enter(move || block_on(guess(theirs, until)))?;
        let logins = dock.enter(move || block_on(log_in(tls, until)))?;
        Ok(Self { guesses, logins })
    }

    /// Waits for them.
    pub(super) fn end(self, lab: &Lab) -> Result<Figures> {
        let (sent, answers) = super::super::stream::joined(self.guesses)?;
        let (logins, failed) = super::super::stream::joined(self.logins)?;
        let addresses: String =
            (FIRST..FIRST + SOURCES).map(|n| format!("addr del 10.77.20.{n}/24 dev eth0\n")).collect();
        lab.netns(&DEVICES[3]).ip(&addresses)?;
        Ok(Figures { sent, answers, logins, failed })
    }
}

fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// Trusts the gateway's certificate and no other.
fn connector(certificate: &Path) -> Result<TlsConnector> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate).context("the gateway's certificate")?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()).into())
}

/// Guesses, each in a flow of its own.
async fn guess(tls: TlsConnector, until: Instant) -> Result<(u64, BTreeMap<String, u64>)> {
    let answers = Arc::new(Mutex::new(BTreeMap::<String, u64>::new()));
    let local = tokio::task::LocalSet::new();
    let mut first = Flow::open(&tls, source(0)).await?;
    let form = first.form().await?;
    let began = Instant::now();
    let mut sent = 0u64;
    local
        .run_until(async {
            while Instant::now() < until {
                let due = began.elapsed().as_millis() as u64 * u64::from(A_SECOND) / 1000;
                while sent < due {
                    let (tls, form, answers) = (tls.clone(), form.clone(), answers.clone());
                    let n = sent;
                    sent += 1;
                    tokio::task::spawn_local(async move {
                        let said = match tokio::time::timeout(PATIENCE, one(&tls, &form, n)).await {
                            Ok(Ok(status)) => status,
                            Ok(Err(_)) => "turned away".to_owned(),
                            Err(_) => "hung up".to_owned(),
                        };
                        let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
                        *answers.entry(said).or_default() += 1;
                    });
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            // Those that wait for an answer still.
            tokio::time::sleep(PATIENCE).await;
        })
        .await;
    let answers = answers.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok((sent, answers))
}

async fn one(tls: &TlsConnector, form: &Form, n: u64) -> Result<String> {
    // Sometimes a name that there is.
    let name =
        if n.is_multiple_of(10) { format!("person{}", n as usize % PEOPLE) } else { format!("nobody{n}") };
    let mut flow = Flow::open(tls, source(n)).await?;
    let answer = flow.log_in(form, &name, &format!("a wrong password, no. {n}"), "000000").await?;
    Ok(answer.status)
}

fn source(n: u64) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 20, FIRST + (n % u64::from(SOURCES)) as u8)
}

/// Somebody with a password and a phone logs in, and then another.
async fn log_in(tls: TlsConnector, until: Instant) -> Result<(Vec<Duration>, Vec<String>)> {
    let (mut took, mut failed) = (Vec::new(), Vec::new());
    let here: Ipv4Addr = DEVICES[3].v4.parse()?;
    for n in 0..PEOPLE {
        tokio::time::sleep(EVERY).await;
        if Instant::now() >= until {
            break;
        }
        let began = Instant::now();
        let tried = async {
            let mut flow = Flow::open(&tls, here).await?;
            let form = flow.form().await?;
            let answer = flow.log_in(&form, &format!("person{n}"), PASSWORD, &code_soon(CODES)?).await?;
            ensure!(answer.status == "303", "{}", answer.status);
            let session = answer.cookie().context("no session")?;
            let page = flow.ask("GET", "/", &session, "").await?;
            ensure!(page.status == "200" && page.body.contains("<html"), "the page: {}", page.status);
            Ok(())
        };
        match tokio::time::timeout(Duration::from_secs(10), tried).await {
            Ok(Ok(())) => took.push(began.elapsed()),
            Ok(Err(why)) => failed.push(format!("{why:#} after {:.1?}", began.elapsed())),
            Err(_) => failed.push("no answer in ten seconds".to_owned()),
        }
    }
    Ok((took, failed))
}

/// What a form is sent back with.
#[derive(Clone)]
struct Form {
    cookie: String,
    token: String,
}

/// A flow to the page.
struct Flow(TlsStream<tokio::net::TcpStream>);

struct Answer {
    status: String,
    head: String,
    body: String,
}

impl Answer {
    /// The cookie that it sets.
    fn cookie(&self) -> Option<String> {
        let line = self.head.lines().find(|line| line.to_ascii_lowercase().starts_with("set-cookie:"))?;
        Some(line.split_once(':')?.1.split(';').next()?.trim().to_owned())
    }
}

impl Flow {
    async fn open(tls: &TlsConnector, from: Ipv4Addr) -> Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(IpAddr::V4(from), 0))?;
        let flow = socket.connect(SocketAddr::new(VLAN_V4.parse()?, PORT)).await?;
        flow.set_nodelay(true)?;
        Ok(Self(tls.connect(ServerName::try_from("localhost")?, flow).await?))
    }

    async fn form(&mut self) -> Result<Form> {
        let page = self.ask("GET", "/login", "", "").await?;
        let token =
            page.body.split_once("name=\"token\" value=\"").and_then(|(_, rest)| rest.split('"').next());
        let (cookie, token) = (page.cookie().context("no cookie")?, token.context("no token")?.to_owned());
        Ok(Form { cookie, token })
    }

    async fn log_in(&mut self, form: &Form, name: &str, password: &str, code: &str) -> Result<Answer> {
        let password = password.replace(' ', "+");
        let body =
            format!("token={}&lang=en&next=%2F&name={name}&password={password}&code={code}", form.token);
        self.ask("POST", "/login", &form.cookie, &body).await
    }

    async fn ask(&mut self, method: &str, path: &str, cookie: &str, body: &str) -> Result<Answer> {
        let host = format!("{VLAN_V4}:{PORT}");
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nOrigin: https://{host}\r\nSec-Fetch-Site: same-origin\r\nCookie: {cookie}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        self.0.write_all(head.as_bytes()).await?;
        let mut read = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&read);
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| {
                    let (name, value) = line.split_once(':')?;
                    name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
                });
                if body.len() >= length.unwrap_or(0) {
                    let status = head.split(' ').nth(1).unwrap_or_default().to_owned();
                    return Ok(Answer { status, head: head.to_owned(), body: body.to_owned() });
                }
            }
            let mut part = [0; 16 << 10];
            match self.0.read(&mut part).await? {
                0 => bail!("the flow ended"),
                n => read.extend_from_slice(&part[..n]),
            }
        }
    }
}
