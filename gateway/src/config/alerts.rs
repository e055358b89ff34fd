//! `[alerts]`: from when on somebody is told, and where.

use super::{Check, schema};
use crate::alert::Alert;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;

/// The authorities of the system, as Debian keeps them.
const SYSTEM: &str = "/etc/ssl/certs/ca-certificates.crt";

/// When and where.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Alerts {
    pub(crate) bounds: AlertBounds,
    pub(crate) targets: AlertTargets,
}

/// Where numbers become alerts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AlertBounds {
    /// Frames of a minute.
    pub(crate) dropped_frames: u32,
    /// Logins of ten minutes.
    pub(crate) failed_logins: u32,
    pub(crate) charter_days: u32,
    /// 0: never.
    pub(crate) list_days: u32,
}

/// Where alerts are sent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct AlertTargets {
    pub(crate) webhook: Option<Webhook>,
    pub(crate) syslog: Option<Syslog>,
    /// Shown, and not sent.
    pub(crate) silent: Vec<Alert>,
}

/// Who is told over HTTPS.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Webhook {
    pub(crate) url: String,
    /// Where its host is.
    pub(crate) address: SocketAddr,
    /// The file of the secret.
    pub(crate) secret: PathBuf,
    /// The file of the certificates that its own must come from.
    pub(crate) authorities: PathBuf,
}

/// A syslog server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Syslog {
    Udp(SocketAddr),
    Tcp(SocketAddr),
}

impl AlertTargets {
    /// TCP ports that have to be connected to.
    pub(crate) fn ports(&self) -> impl Iterator<Item = u16> {
        let syslog = self.syslog.and_then(|syslog| match syslog {
            Syslog::Tcp(address) => Some(address.port()),
            Syslog::Udp(_) => None,
        });
        self.webhook.iter().map(|webhook| webhook.address.port()).chain(syslog)
    }
}

pub(super) fn check(check: &mut Check<'_>, raw: &schema::alerts) -> Option<Alerts> {
    let dropped_frames = check.number(&raw.dropped_frames, 1..=1_000_000, "frames");
    let failed_logins = check.number(&raw.failed_logins, 1..=1_000_000, "logins");
    let charter_days = check.number(&raw.charter_days, 0..=365, "days");
    let list_days = check.number(&raw.list_days, 0..=365, "days");
    let mut silent = Vec::new();
    for word in &raw.silent.value {
        let Some(alert) = Alert::from_word(word) else {
            let all: Vec<_> = Alert::ALL.iter().map(|alert| alert.as_str()).collect();
            check
                .fault(&raw.silent, "unknown-word", format!("`{word}` is no alert"))
                .help(format!("these are: {}", all.join(", ")));
            return None;
        };
        silent.push(alert);
    }
    let (webhook, syslog) = (webhook(check, raw), syslog(check, raw));
    let bounds = AlertBounds {
        dropped_frames: dropped_frames?,
        failed_logins: failed_logins?,
        charter_days: charter_days?,
        list_days: list_days?,
    };
    Some(Alerts { bounds, targets: AlertTargets { webhook: webhook?, syslog: syslog?, silent } })
}

fn webhook(check: &mut Check<'_>, raw: &schema::alerts) -> Option<Option<Webhook>> {
    let url = raw.webhook.value.clone();
    if url.is_empty() {
        for setting in [&raw.webhook_address, &raw.webhook_secret, &raw.webhook_authorities] {
            if !setting.value.is_empty() {
                check.fault(setting, "webhook", "there is no webhook that this is for").help("set `webhook`");
                return None;
            }
        }
        return Some(None);
    }
    let secure = url.strip_prefix("https://");
    let rest = secure.or_else(|| url.strip_prefix("http://")).unwrap_or_default();
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let is_plain = url.chars().all(|c| c.is_ascii_graphic()) && !authority.contains('@');
    if authority.is_empty() || !is_plain {
        check
            .fault(&raw.webhook, "webhook", format!("`{url}` is no address that alerts can be posted to"))
            .help("write it as \"https://hooks.office.example/glassgate\"");
        return None;
    }
    let default = if secure.is_some() { 443 } else { 80 };
    let named = authority.parse::<SocketAddr>().ok().or_else(|| {
        let ip = authority.trim_start_matches('[').trim_end_matches(']').parse().ok()?;
        Some(SocketAddr::new(ip, default))
    });
    let address = match (named, raw.webhook_address.value.as_str()) {
        (Some(named), "") => named,
        (None, "") => {
            check
                .fault(
                    &raw.webhook,
                    "webhook",
                    format!("`{authority}` is a name, and the gateway asks no name server"),
                )
                .help("say where it is: `webhook_address = \"10.9.0.5:443\"`");
            return None;
        }
        (_, text) => match text.parse() {
            Ok(address) => address,
            Err(_) => {
                check
                    .fault(&raw.webhook_address, "address", format!("`{text}` is no address with a port"))
                    .help("write it as \"10.9.0.5:443\" or \"[2001:db8::5]:443\"");
                return None;
            }
        },
    };
    if secure.is_none() && !address.ip().is_loopback() {
        check
            .fault(&raw.webhook, "webhook", "without TLS alerts are posted to this machine alone")
            .help("write it with \"https://\"");
        return None;
    }
    if raw.webhook_secret.value.is_empty() {
        check
            .fault(&raw.webhook, "webhook", "there is a webhook, but no secret to sign with")
            .help("name a file in `webhook_secret`; `openssl rand -hex 24` makes one");
        return None;
    }
    let secret = check.path(&raw.webhook_secret)?;
    let authorities = check.path_or_none(&raw.webhook_authorities)?.unwrap_or_else(|| SYSTEM.into());
    Some(Some(Webhook { url, address, secret, authorities }))
}

fn syslog(check: &mut Check<'_>, raw: &schema::alerts) -> Option<Option<Syslog>> {
    let text = raw.syslog.value.as_str();
    let parsed = match text.split_once(':') {
        _ if text.is_empty() => return Some(None),
        Some(("udp", address)) => address.parse().ok().map(Syslog::Udp),
        Some(("tcp", address)) => address.parse().ok().map(Syslog::Tcp),
        _ => None,
    };
    if parsed.is_none() {
        check
            .fault(&raw.syslog, "syslog", format!("`{text}` is no syslog server"))
            .help("write it as \"udp:10.9.0.5:514\" or \"tcp:10.9.0.5:601\": an address, not a name");
        return None;
    }
    Some(parsed)
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use glassgate_policy::diagnostic::Text;
    use std::path::Path;

    fn parse(text: &str) -> Result<super::Alerts, &'static str> {
        let text = format!("[alerts]\n{text}");
        let read = Config::parse(Text::new("glassgate.toml", &text), Path::new("/etc/glassgate"));
        read.map(|config| config.alerts).map_err(|faults| faults.as_slice()[0].code)
    }

    #[test]
    fn where_alerts_go() {
        let all = parse(
            "webhook = 'https://hooks.office.example/x'\nwebhook_address = '10.9.0.5:8443'\nwebhook_secret = 's'\n\
             syslog = 'tcp:[2001:db8::5]:601'\nsilent = ['bypass_on']",
        )
        .unwrap();
        let webhook = all.targets.webhook.as_ref().unwrap();
        assert_eq!(
            (webhook.address, webhook.secret.as_path()),
            ("10.9.0.5:8443".parse().unwrap(), Path::new("/etc/glassgate/s"))
        );
        assert_eq!(all.targets.ports().collect::<Vec<_>>(), [8443, 601]);
        let plain =
            parse("webhook = 'https://[2001:db8::5]/x'\nwebhook_secret = 's'\nsyslog = 'udp:10.9.0.5:514'")
                .unwrap();
        assert_eq!(plain.targets.webhook.as_ref().unwrap().address, "[2001:db8::5]:443".parse().unwrap());
        assert_eq!(plain.targets.ports().collect::<Vec<_>>(), [443]);
        assert_eq!(parse("").unwrap().targets, Default::default());
    }

    #[test]
    fn what_can_not_be_sent_to_is_refused() {
        let secret = "webhook_secret = 's'\n";
        for (text, code) in [
            ("webhook = 'https://10.9.0.5/x'".to_owned(), "webhook"),
            (format!("{secret}webhook = 'https://hooks.office.example/x'"), "webhook"),
            (format!("{secret}webhook = 'http://10.9.0.5/x'"), "webhook"),
            (format!("{secret}webhook = 'ftp://10.9.0.5/x'"), "webhook"),
            (format!("{secret}webhook = 'https://a:b@10.9.0.5/x'"), "webhook"),
            (format!("{secret}webhook = 'https://10.9.0.5/ x'"), "webhook"),
            (format!("{secret}webhook = 'https://h/x'\nwebhook_address = 'h:1'"), "address"),
            (secret.to_owned(), "webhook"),
            ("syslog = '10.9.0.5:514'".to_owned(), "syslog"),
            ("syslog = 'udp:log.example:514'".to_owned(), "syslog"),
            ("silent = ['all']".to_owned(), "unknown-word"),
            ("list_days = 366".to_owned(), "range"),
        ] {
            assert_eq!(parse(&text).map(|_| ()), Err(code), "{text}");
        }
        assert!(
            parse(&format!("{secret}webhook = 'http://127.0.0.1:9000/x'")).is_ok(),
            "nobody else hears it"
        );
    }
}
