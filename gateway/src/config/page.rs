//! `[page]`: what the page is called, and what it shows who it is with.

use super::{Check, schema};
use crate::page::hosts::is_name;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The most names.
const MAX_NAMES: usize = 32;

/// The page, but for where it listens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Page {
    /// The folder of the accounts.
    pub(crate) dir: PathBuf,
    /// What it is called beside its address.
    pub(crate) names: Vec<String>,
    /// Certificate and key of others.
    pub(crate) certificate: Option<(PathBuf, PathBuf)>,
    pub(crate) metrics_token: Option<PathBuf>,
    pub(crate) metrics_open: bool,
    /// Where weaknesses are told.
    pub(crate) contact: Option<String>,
}

impl Check<'_> {
    pub(super) fn page(&mut self, raw: &schema::page) -> Option<Page> {
        let names = raw.names.value.clone();
        if let Some(bad) = names.iter().find(|name| !is_name(name)) {
            self.fault(&raw.names, "name", format!("`{bad}` is neither a name nor an address")).help(
                "write it as it stands in the address bar: \"gateway.office.example\", \"10.9.0.2:8443\"",
            );
            return None;
        }
        if names.len() > MAX_NAMES {
            self.fault(&raw.names, "range", format!("more than {MAX_NAMES} names"));
            return None;
        }
        let certificate = match (raw.certificate.value.is_empty(), raw.key.value.is_empty()) {
            (true, true) => None,
            (false, false) => Some((self.path(&raw.certificate)?, self.path(&raw.key)?)),
            (false, true) => {
                self.fault(&raw.certificate, "missing", "there is a certificate, but not its key")
                    .help("name the file of the private key in `key`");
                return None;
            }
            (true, false) => {
                self.fault(&raw.key, "missing", "there is a key, but not its certificate")
                    .help("name the file of the certificate in `certificate`");
                return None;
            }
        };
        let contact = raw.contact.value.clone();
        let is_uri = ["mailto:", "https://", "tel:"].iter().any(|scheme| contact.starts_with(scheme));
        if !contact.is_empty() && (!is_uri || contact.contains(|c: char| c.is_control() || c.is_whitespace()))
        {
            self.fault(&raw.contact, "contact", format!("`{contact}` is no way to reach somebody")).help(
                "write it as \"mailto:security@office.example\" or \"https://office.example/security\"",
            );
            return None;
        }
        Some(Page {
            dir: self.path(&raw.dir)?,
            names,
            certificate,
            metrics_token: self.path_or_none(&raw.metrics_token)?,
            metrics_open: raw.metrics_open.value,
            contact: Some(contact).filter(|contact| !contact.is_empty()),
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use glassgate_policy::diagnostic::Text;
    use std::path::Path;

    fn parse(text: &str) -> Result<super::Page, &'static str> {
        let text = format!("[page]\n{text}");
        let read = Config::parse(Text::new("glassgate.toml", &text), Path::new("/etc/glassgate"));
        read.map(|config| config.page).map_err(|faults| faults.as_slice()[0].code)
    }

    #[test]
    fn what_the_page_is_called_and_shows() {
        let page =
            parse("names = ['gw.example', '10.9.0.2:8443']\ncertificate = 'c.pem'\nkey = 'k.pem'").unwrap();
        assert_eq!(page.certificate.unwrap().1, Path::new("/etc/glassgate/k.pem"));
        for (text, code) in [
            ("names = ['gw/x']", "name"),
            ("names = ['']", "name"),
            ("certificate = 'c.pem'", "missing"),
            ("key = 'k.pem'", "missing"),
            ("contact = 'security@office.example'", "contact"),
            ("contact = \"mailto:a@b\\nPolicy: x\"", "contact"),
        ] {
            assert_eq!(parse(text), Err(code), "{text}");
        }
    }
}
