//! Who says who is logged in.

use super::Check;
use super::schema::Filled;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// The most clients.
const MAX_CLIENTS: usize = 256;

/// The RADIUS listener.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Radius {
    pub(crate) listen: SocketAddr,
    /// How long a session counts that is not heard of.
    pub(crate) silence: Duration,
    /// Who may send, at least one; the first whose network holds an address is the one.
    pub(crate) clients: Vec<RadiusClient>,
}

/// Access servers, or the RADIUS server behind them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RadiusClient {
    pub(crate) network: IpNet,
    /// The file of the secret.
    pub(crate) secret: PathBuf,
}

impl Check<'_> {
    pub(super) fn radius(&mut self, raw: &Filled) -> Option<Option<Radius>> {
        let silence = self.number(&raw.radius.session_s, 60..=86_400, "seconds");
        let clients: Option<Vec<_>> = {
            let read: Vec<_> = raw.radius_client.iter().map(|client| self.radius_client(client)).collect();
            read.into_iter().collect()
        };
        if raw.radius.listen.value.is_empty() {
            if let Some(first) = raw.radius_client.first() {
                self.fault(&first.all, "no-listener", "nobody listens to this client")
                    .help("set `listen` in the table [radius]");
                return None;
            }
            return Some(None);
        }
        let listen = self.listen(&raw.radius.listen);
        let (silence, clients, listen) = (silence?, clients?, listen?);
        if clients.is_empty() {
            self.fault(&raw.radius.listen, "no-client", "nobody may send to this listener")
                .help("add a table [[radius_client]] with its `network` and `secret`");
            return None;
        }
        if let Some(client) = raw.radius_client.get(MAX_CLIENTS) {
            self.fault(&client.all, "too-many", format!("at most {MAX_CLIENTS} clients")).help(
                "name a network instead of its addresses, or let the RADIUS server send for all of them",
            );
            return None;
        }
        for (at, client) in clients.iter().enumerate() {
            let covers = |before: &&RadiusClient| before.network.contains(&client.network);
            if let (Some(before), Some(table)) =
                (clients.iter().take(at).find(covers), raw.radius_client.get(at))
            {
                let message = format!("{} is in {}, which stands before it", client.network, before.network);
                self.fault(&table.network, "never-used", message).help("put the smaller network first");
                return None;
            }
        }
        Some(Some(Radius { listen, silence: super::seconds(silence), clients }))
    }

    fn radius_client(&mut self, raw: &super::schema::radius_client) -> Option<RadiusClient> {
        let text = &raw.network.value;
        let network = match (text.parse::<IpNet>(), text.parse::<IpAddr>()) {
            (Ok(network), _) => Some(network),
            (_, Ok(address)) => Some(IpNet::from(address)),
            _ => None,
        };
        let network = match network {
            Some(network) if network.trunc() == network => Some(network),
            Some(network) => {
                let message = format!("`{text}` is an address within {}", network.trunc());
                self.fault(&raw.network, "address", message).help("write the network, or the address alone");
                None
            }
            None if text.is_empty() => {
                self.fault(&raw.all, "missing", "a client needs `network`")
                    .help("write an address or a network, such as `10.0.0.5` or `10.0.0.0/24`");
                None
            }
            None => {
                self.fault(&raw.network, "address", format!("`{text}` is no address and no network"))
                    .help("write it as `10.0.0.5`, `10.0.0.0/24` or `2001:db8::/64`");
                None
            }
        };
        let secret = if raw.secret.value.is_empty() {
            self.fault(&raw.all, "missing", "a client needs `secret`")
                .help("name the file that holds the shared secret");
            None
        } else {
            self.path(&raw.secret)
        };
        Some(RadiusClient { network: network?, secret: secret? })
    }
}
