//! Where alerts are sent: a webhook and a syslog server, each with a thread and a bounded queue of its own.
//!
//! Nothing waits for a target. One that does not answer is tried again, later and later; meanwhile messages wait in order, and when there
//! are too many the oldest is given up and counted. What is sent says which gateway, which alert, since when, and about which port, process,
//! list or reason; there is no field for anything else.
//!
//! A webhook is signed, so that its receiver knows who sends: HMAC-SHA256 under a shared secret, over the body, which has the time and a number in it.
//! A syslog server gets RFC 5424 by UDP (RFC 5426) or TCP with counted octets (RFC 6587); neither answers, so what it
//! got nobody knows: where it matters, use the webhook.

use super::Change;
use crate::access::random;
use crate::config::{AlertTargets, Syslog, Webhook};
use crate::control::snapshot::TargetNow;
use crate::{clock, secret};
use anyhow::{Context as _, Result, bail};
use data_encoding::HEXLOWER;
use ring::hmac;
use serde::Serialize;
use std::collections::VecDeque;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;
use tracing::{info, warn};
use ureq::http::Uri;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

/// Messages that wait for a target.
const WAITING: usize = 64;
/// How long one try may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The first wait after a try that failed; each further one doubles it, up to the last.
const FIRST: Duration = Duration::from_secs(1);
const LAST: Duration = Duration::from_secs(300);
/// The header with the signature.
pub(super) const SIGNATURE: &str = "Glassgate-Signature";
/// Files of authorities are not longer.
const MAX_AUTHORITIES: u64 = 4 << 20;
/// RFC 5424, section 6.2.1: the facility of system daemons.
const FACILITY: u8 = 3;

/// All targets.
pub(crate) struct Targets {
    /// What this gateway is called, for whoever has several.
    name: Mutex<String>,
    /// Begins the numbers of messages: no two processes have the same.
    run: String,
    sent: Mutex<u64>,
    all: Vec<Arc<Target>>,
    silent: Vec<crate::alert::Alert>,
}

/// What became of a message that was sent to try a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
pub(crate) struct Tried {
    /// `webhook` or `syslog`.
    pub(crate) target: String,
    /// Why it did not go out.
    pub(crate) trouble: Option<String>,
}

struct Target {
    way: Way,
    queue: Mutex<Queue>,
    news: Condvar,
}

enum Way {
    Webhook(Box<Hook>),
    Udp(SocketAddr),
    Tcp(SocketAddr),
}

/// Who is told over HTTP.
struct Hook {
    agent: ureq::Agent,
    url: String,
    key: hmac::Key,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Arc<Message>>,
    delivered: u64,
    failed: u64,
    given_up: u64,
    trouble: Option<String>,
}

/// What is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Message {
    /// The same of a message that comes twice.
    id: String,
    gateway: String,
    version: &'static str,
    alert: String,
    /// `raised`, `cleared`, `test`, or `announced` of a report.
    state: &'static str,
    severity: &'static str,
    /// Ports, processes, lists or reasons.
    about: String,
    /// In words.
    text: String,
    /// RFC 3339.
    time: String,
}

impl Targets {
    /// Reads secrets and authorities, which is not possible later, and begins a thread for each target.
    pub(crate) fn open(settings: &AlertTargets) -> Result<Self> {
        let mut ways = Vec::new();
        if let Some(webhook) = &settings.webhook {
            ways.push(Way::webhook(webhook).context("the webhook of alerts")?);
        }
        match settings.syslog {
            Some(Syslog::Udp(address)) => ways.push(Way::Udp(address)),
            Some(Syslog::Tcp(address)) => ways.push(Way::Tcp(address)),
            None => {}
        }
        let mut all = Vec::new();
        for way in ways {
            let target = Arc::new(Target { way, queue: Mutex::default(), news: Condvar::new() });
            let worker = target.clone();
            thread::Builder::new().name("gg-alerts".to_owned()).spawn(move || worker.work())?;
            all.push(target);
        }
        let run = random().context("there is no randomness")?.chars().take(12).collect();
        let silent = settings.silent.clone();
        Ok(Self { name: Mutex::default(), run, sent: Mutex::default(), all, silent })
    }

    /// Says what the gateway is called.
    pub(in crate::control) fn call(&self, name: &str) {
        let mut own = lock(&self.name);
        if *own != name {
            name.clone_into(&mut own);
        }
    }

    /// Sends what has changed. Never waits.
    pub(in crate::control) fn tell(&self, change: &Change) {
        let Change { alert, raised, about } = change;
        let state = if *raised { "raised" } else { "cleared" };
        let shown = if about.is_empty() { String::new() } else { format!(" ({about})") };
        if *raised {
            warn!("alert raised: {}{shown}: {}", alert.as_str(), alert.about().en);
        } else {
            info!("alert cleared: {}{shown}", alert.as_str());
        }
        if self.silent.contains(alert) || self.all.is_empty() {
            return;
        }
        let text = alert.about().en;
        let message = Arc::new(self.message(alert.as_str(), state, alert.severity(), about, text));
        self.all.iter().for_each(|target| target.push(message.clone()));
    }

    /// Says to the webhook that a report was written.
    pub(in crate::control) fn announce(&self, report: &str) {
        let message = self.message("report_written", "announced", "info", report, "A report was written");
        let message = Arc::new(message);
        let hooks = self.all.iter().filter(|target| matches!(target.way, Way::Webhook(_)));
        hooks.for_each(|target| target.push(message.clone()));
    }

    /// Sends a test to each target, past what waits, and says what became of it. Takes as long as the slowest of them.
    pub(crate) fn test(&self) -> Vec<Tried> {
        let message = self.message("test", "test", "info", "", "A test that somebody asked for");
        let one = |target: &Target| Tried {
            target: target.way.kind().to_owned(),
            trouble: target.way.deliver(&message).err().map(|why| format!("{why:#}")),
        };
        thread::scope(|scope| {
            let tries: Vec<_> = self.all.iter().map(|target| scope.spawn(|| one(target))).collect();
            tries.into_iter().filter_map(|tried| tried.join().ok()).collect()
        })
    }

    /// How they do.
    pub(in crate::control) fn now(&self) -> Vec<TargetNow> {
        let now = |target: &Arc<Target>| {
            let queue = lock(&target.queue);
            TargetNow {
                kind: target.way.kind().to_owned(),
                waiting: queue.waiting.len(),
                delivered: queue.delivered,
                failed: queue.failed,
                given_up: queue.given_up,
                trouble: queue.trouble.clone(),
            }
        };
        self.all.iter().map(now).collect()
    }

    fn message(
        &self,
        alert: &str,
        state: &'static str,
        severity: &'static str,
        about: &str,
        text: &str,
    ) -> Message {
        let number = {
            let mut sent = lock(&self.sent);
            *sent += 1;
            *sent
        };
        Message {
            id: format!("{}-{number}", self.run),
            gateway: lock(&self.name).clone(),
            version: env!("CARGO_PKG_VERSION"),
            alert: alert.to_owned(),
            state,
            severity,
            about: about.to_owned(),
            text: text.to_owned(),
            time: clock::wall_text(),
        }
    }
}

impl Target {
    fn push(&self, message: Arc<Message>) {
        let mut queue = lock(&self.queue);
        if queue.waiting.len() >= WAITING {
            queue.waiting.pop_front();
            queue.given_up += 1;
        }
        queue.waiting.push_back(message);
        self.news.notify_one();
    }

    /// Delivers until the process ends.
    fn work(&self) {
        let mut wait = FIRST;
        loop {
            let message = self.next();
            match self.way.deliver(&message) {
                Ok(()) => {
                    wait = FIRST;
                    let mut queue = lock(&self.queue);
                    queue.delivered += 1;
                    queue.trouble = None;
                    // It may have been given up meanwhile.
                    if queue.waiting.front().is_some_and(|first| Arc::ptr_eq(first, &message)) {
                        queue.waiting.pop_front();
                    }
                }
                Err(why) => {
                    let why = format!("{why:#}");
                    let mut queue = lock(&self.queue);
                    queue.failed += 1;
                    if queue.trouble.is_none() {
                        warn!("alerts can't be sent by {}: {why}", self.way.kind());
                    }
                    queue.trouble = Some(why);
                    drop(queue);
                    thread::sleep(wait);
                    wait = (wait * 2).min(LAST);
                }
            }
        }
    }

    /// The oldest that waits; waits for one.
    fn next(&self) -> Arc<Message> {
        let mut queue = lock(&self.queue);
        loop {
            if let Some(first) = queue.waiting.front() {
                return first.clone();
            }
            queue = self.news.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Way {
    fn webhook(webhook: &Webhook) -> Result<Self> {
        let key = secret::read(&webhook.secret)
            .with_context(|| format!("its secret {}", webhook.secret.display()))?;
        let mut config = ureq::Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .http_status_as_error(false)
            // Told is who is configured, and nobody whom it or the environment names.
            .max_redirects(0)
            .proxy(None)
            .user_agent(concat!("glassgate/", env!("CARGO_PKG_VERSION")));
        if webhook.url.starts_with("https:") {
            config = config.tls_config(
                TlsConfig::builder()
                    .provider(TlsProvider::Rustls)
                    .root_certs(RootCerts::new_with_certs(&authorities(&webhook.authorities)?))
                    .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
                    .build(),
            );
        }
        let agent = ureq::Agent::with_parts(config.build(), DefaultConnector::new(), Fixed(webhook.address));
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        Ok(Self::Webhook(Box::new(Hook { agent, url: webhook.url.clone(), key })))
    }

    const fn kind(&self) -> &'static str {
        match self {
            Self::Webhook(_) => "webhook",
            Self::Udp(_) | Self::Tcp(_) => "syslog",
        }
    }

    fn deliver(&self, message: &Message) -> Result<()> {
        match self {
            Self::Webhook(hook) => {
                let Hook { agent, url, key } = &**hook;
                let body = serde_json::to_vec(message)?;
                let request = agent
                    .post(url)
                    .header("Content-Type", "application/json")
                    .header(SIGNATURE, format!("sha256={}", signature(key, &body)));
                let answer = request.send(&body[..])?;
                let status = answer.status().as_u16();
                if !(200..300).contains(&status) {
                    bail!("it answered {status}");
                }
                Ok(())
            }
            Self::Udp(address) => {
                let any: SocketAddr =
                    if address.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
                let socket = UdpSocket::bind(any)?;
                socket.send_to(syslog(message).as_bytes(), address)?;
                Ok(())
            }
            Self::Tcp(address) => {
                let mut stream = TcpStream::connect_timeout(address, PATIENCE)?;
                stream.set_write_timeout(Some(PATIENCE))?;
                let line = syslog(message);
                stream.write_all(format!("{} {line}", line.len()).as_bytes())?;
                stream.shutdown(std::net::Shutdown::Write)?;
                Ok(())
            }
        }
    }
}

fn signature(key: &hmac::Key, body: &[u8]) -> String {
    HEXLOWER.encode(hmac::sign(key, body).as_ref())
}

/// RFC 5424, section 6. The message is the same JSON that a webhook gets; structured data would need a number from IANA.
fn syslog(message: &Message) -> String {
    let severity = match (message.state, message.severity) {
        ("raised", "critical") => 2,
        ("raised", _) => 4,
        ("cleared", _) => 5,
        _ => 6,
    };
    let host: String = message.gateway.chars().filter(char::is_ascii_graphic).take(255).collect();
    let host = if host.is_empty() { "-" } else { &host };
    let body = serde_json::to_string(message).unwrap_or_default();
    let (priority, time, alert) = (FACILITY * 8 + severity, &message.time, &message.alert);
    format!("<{priority}>1 {time} {host} glassgate - {alert} - {body}")
}

fn authorities(path: &Path) -> Result<Vec<Certificate<'static>>> {
    let bytes = crate::config::read_bounded(path, MAX_AUTHORITIES)
        .with_context(|| format!("the authorities in {}", path.display()))?;
    let found = parse_pem(&bytes).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    });
    let found: Vec<_> = found.collect();
    if found.is_empty() {
        bail!("there is no certificate in {}", path.display());
    }
    Ok(found)
}

/// Knows one address: this process asks no name server.
#[derive(Debug)]
struct Fixed(SocketAddr);

impl Resolver for Fixed {
    fn resolve(
        &self,
        _: &Uri,
        _: &ureq::config::Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut found = self.empty();
        found.push(self.0);
        Ok(found)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is changed is changed in one step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
