//! `glassgate.toml`: text in, a [`Config`] whose existence means that it is valid out.
//!
//! Two steps. [`schema`] reads the text into plain values and refuses whatever it does not know; this module checks
//! the values, all of them, so that one run shows all faults, each with file, line and column.

mod alerts;
mod audit;
mod device;
mod docs;
mod identity;
mod inband;
mod lists;
mod page;
mod reports;
mod schema;

pub(crate) use alerts::{AlertBounds, AlertTargets, Alerts, Syslog, Webhook};
pub(crate) use audit::{Audit, Witness};
pub(crate) use device::Device;
pub(crate) use docs::commented_defaults;
pub(crate) use identity::{Radius, RadiusClient};
pub(crate) use inband::{Inband, Network, mac_text};
pub(crate) use page::Page;
pub(crate) use reports::{Every, Reports};

use crate::feeds::Subscription;
use glassgate_policy::charter::PublicKey;
use glassgate_policy::diagnostic::{Diagnostic, Diagnostics, Text};
use schema::{Filled, Raw, Setting};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the configuration is looked for when `--config` is not given.
pub(crate) const DEFAULT_PATH: &str = "/etc/glassgate/glassgate.toml";
/// No configuration is larger.
const MAX_BYTES: u64 = 1 << 20;
/// The greatest CPU number that can be named.
const MAX_CPU: u32 = 1023;
/// The most lcores.
pub(crate) const MAX_LCORES: usize = 32;

/// A configuration that is valid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Config {
    pub(crate) ports: Ports,
    pub(crate) dataplane: Dataplane,
    pub(crate) files: PolicyFiles,
    /// How long the fast path uses a matrix that is not renewed.
    pub(crate) valid_for: Duration,
    pub(crate) charter: Charter,
    /// The directory of groups and devices, if there is one.
    pub(crate) directory: Option<PathBuf>,
    /// The token of those who may push who has an address, if anybody may.
    pub(crate) push_token: Option<PathBuf>,
    /// Who says who is logged in, if anybody does.
    pub(crate) radius: Option<Radius>,
    /// The audit log.
    pub(crate) audit: Audit,
    /// The rollup store.
    pub(crate) store: Store,
    /// When somebody is told of something, and where.
    pub(crate) alerts: Alerts,
    /// Reports that are written by themselves.
    pub(crate) reports: Reports,
    /// Where the page is served.
    pub(crate) listen: SocketAddr,
    /// Where it can be reached through the ports of the bridge, if it can.
    pub(crate) inband: Option<Inband>,
    /// Who may come to it, and what it is called.
    pub(crate) page: Page,
    /// The socket of `status` and `reload`.
    pub(crate) socket: PathBuf,
    pub(crate) guard: Guard,
}

/// The two devices, as far as they are named.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ports {
    pub(crate) lan: Option<Device>,
    pub(crate) uplink: Option<Device>,
    /// Whether a port without a link takes the other one down.
    pub(crate) propagate_link: bool,
}

/// Sizes and habits of the fast path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Dataplane {
    /// CPUs, one lcore each; at least one, no two alike.
    pub(crate) lcores: Vec<u32>,
    pub(crate) flows: usize,
    pub(crate) inspections: usize,
    pub(crate) event_ring: usize,
    pub(crate) huge_pages: bool,
    pub(crate) memory_mib: u32,
    pub(crate) idle_sleep: Duration,
}

/// The files that verdicts are compiled from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct PolicyFiles {
    /// A folder of signature sources, or one; `None`: those that come with the gateway.
    pub(crate) signatures: Option<PathBuf>,
    /// The rules file, if there is one.
    pub(crate) rules: Option<PathBuf>,
    /// Names that never count, in canonical form.
    pub(crate) exclude: Vec<String>,
    /// Lists of others.
    pub(crate) subscriptions: Vec<Subscription>,
    /// Where accepted versions of them are kept.
    pub(crate) feeds_dir: PathBuf,
    /// A pack in place of sources.
    pub(crate) pack: Option<PackFile>,
}

impl PolicyFiles {
    /// What is named here, else what is named there. Whoever names signatures here means them, not the pack there.
    pub(crate) fn or(self, other: Self) -> Self {
        let pack = other.pack.filter(|_| self.signatures.is_none());
        let (signatures, rules) = (self.signatures.or(other.signatures), self.rules.or(other.rules));
        Self { signatures, rules, pack, ..other }
    }
}

/// A pack, and who may have signed it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PackFile {
    pub(crate) path: PathBuf,
    /// Public keys, as text.
    pub(crate) trusted: Vec<String>,
    /// The lowest serial that is accepted.
    pub(crate) floor: u64,
}

/// What charters are held against, and where the one that is installed is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Charter {
    /// Keys of people who may approve, as 64 hexadecimal digits each.
    #[serde(with = "public_keys")]
    pub(crate) keys: Vec<PublicKey>,
    /// The folder of the installed charter.
    pub(crate) dir: PathBuf,
    pub(crate) without: Without,
}

/// An index of the audit log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Store {
    /// Its folder.
    pub(crate) dir: PathBuf,
    pub(crate) quota_bytes: u64,
}

/// What is observed while no charter is installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Without {
    /// Counts of the whole network.
    Counts,
    /// Nothing.
    None,
}

/// Keys travel between the processes as they are written.
mod public_keys {
    use glassgate_policy::charter::PublicKey;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(keys: &[PublicKey], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(keys.iter().map(ToString::to_string))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<PublicKey>, D::Error> {
        let texts = Vec::<String>::deserialize(from)?;
        texts.iter().map(|t| PublicKey::parse(t).ok_or_else(|| D::Error::custom("no public key"))).collect()
    }
}

/// How the guard watches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Guard {
    pub(crate) hang: Duration,
    pub(crate) restart: Duration,
    pub(crate) stop: Duration,
    /// Whether somebody else forwards when the fast path can't.
    pub(crate) fallback: bool,
    pub(crate) relay: Option<RelayFile>,
}

/// The file of a bypass card, and what is written to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RelayFile {
    pub(crate) file: PathBuf,
    pub(crate) bypass: String,
    pub(crate) inline: String,
}

impl Config {
    /// Reads and checks a file. `Err` holds everything that is wrong with it.
    pub(crate) fn load(path: &Path) -> Result<Self, Diagnostics> {
        let name = path.display().to_string();
        let bytes = read_bounded(path, MAX_BYTES).map_err(|e| {
            Diagnostics::from(
                Diagnostic::file(&name, "unreadable", format!("the configuration can't be read: {e}"))
                    .help("name it with --config FILE; `glassgate config` prints one with all defaults"),
            )
        })?;
        let text = Text::from_bytes(&name, &bytes)?;
        // Absolute, so that it means the same in every process whatever its working directory.
        let file = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Self::parse(text, file.parent().unwrap_or(Path::new("/")))
    }

    /// Checks a text; relative paths in it are joined to `base`.
    pub(crate) fn parse(text: Text<'_>, base: &Path) -> Result<Self, Diagnostics> {
        let raw: Raw = toml::from_str(text.text).map_err(|e| Diagnostics::from(text.toml_error(&e)))?;
        let mut check = Check { text, base, faults: Diagnostics::new() };
        let config = check.config(&raw.fill());
        match config {
            Some(config) => check.faults.into_result(config).map(|(config, _)| config),
            None => Err(check.faults),
        }
    }

    /// Where the page is served: at the kernel's address, and at those on the ports of the bridge.
    pub(crate) fn page_addresses(&self) -> Vec<SocketAddr> {
        let own = self.inband.iter().flat_map(|own| {
            own.networks().flat_map(|(_, network)| {
                let v4 = network.v4.map(|net| SocketAddr::from((net.addr(), own.port)));
                let v6 = network.v6.map(|net| SocketAddr::from((net.addr(), own.port)));
                [v4, v6]
            })
        });
        [self.listen].into_iter().chain(own.flatten()).collect()
    }

    /// As if one folder, by any of its names, were another: to look at files before they are where they will be.
    pub(crate) fn rename_folder(&mut self, from: &[&Path], to: &Path) {
        let files = &mut self.files;
        let named = files.rules.iter_mut().chain(&mut files.signatures).chain(&mut self.directory);
        let named = named.chain(files.subscriptions.iter_mut().map(|list| &mut list.path));
        let named = named.chain(files.pack.iter_mut().map(|pack| &mut pack.path));
        let named = named.chain(&mut self.push_token).chain(&mut self.page.metrics_token);
        let named =
            named.chain(self.page.certificate.iter_mut().flat_map(|(certificate, key)| [certificate, key]));
        let clients = self.radius.iter_mut().flat_map(|radius| radius.clients.iter_mut());
        let named = named.chain(clients.map(|client| &mut client.secret));
        let webhook = self.alerts.targets.webhook.iter_mut();
        let named = named.chain(webhook.flat_map(|webhook| [&mut webhook.secret, &mut webhook.authorities]));
        for path in named {
            if let Some(below) = from.iter().find_map(|from| path.strip_prefix(from).ok()) {
                *path = to.join(below);
            }
        }
    }

    /// The two devices, or what to do about a missing one.
    pub(crate) fn both_ports(&self) -> Result<[&Device; 2], &'static str> {
        match (&self.ports.lan, &self.ports.uplink) {
            (Some(lan), Some(uplink)) => Ok([lan, uplink]),
            (None, None) => Err("no ports: set `lan` and `uplink` in the table [ports]"),
            (None, _) => Err("no LAN port: set `lan` in the table [ports]"),
            (_, None) => Err("no uplink port: set `uplink` in the table [ports]"),
        }
    }
}

/// Reads a whole file, but not an endless one.
pub(crate) fn read_bounded(path: &Path, max: u64) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let file = std::fs::File::open(path)?;
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        return Err(std::io::Error::other(format!("larger than {max} bytes")));
    }
    Ok(bytes)
}

struct Check<'a> {
    text: Text<'a>,
    base: &'a Path,
    faults: Diagnostics,
}

impl Check<'_> {
    fn config(&mut self, raw: &Filled) -> Option<Config> {
        // Everything is checked before anything is given up: one run shows all faults.
        let ports = self.ports(raw);
        let dataplane = self.dataplane(raw);
        let signatures = self.path_or_none(&raw.signatures.path);
        let exclude = self.exclude(&raw.signatures.exclude);
        let feeds_dir = self.path(&raw.signatures.state);
        let pack = self.pack(raw);
        let subscriptions = self.subscriptions(raw);
        let rules = self.path_or_none(&raw.rules.path);
        let valid_for = self.number(&raw.rules.valid_for_s, 5..=3600, "seconds");
        let charter = self.charter(&raw.charter);
        let directory = self.path_or_none(&raw.identity.directory);
        let push_token = self.path_or_none(&raw.identity.push_token);
        let radius = self.radius(raw);
        let audit = audit::check(self, &raw.audit);
        let store = self.store(&raw.store);
        let alerts = alerts::check(self, &raw.alerts);
        let reports = reports::check(self, &raw.reports);
        let listen = self.listen(&raw.page.listen);
        let inband = self.inband(raw);
        let page = self.page(&raw.page);
        let socket = self.socket(&raw.control.socket);
        let hang = self.number(&raw.guard.hang_ms, 20..=60_000, "milliseconds");
        let restart = self.number(&raw.guard.restart_ms, 0..=1000, "milliseconds");
        let stop = self.number(&raw.guard.stop_s, 1..=60, "seconds");
        let relay = self.relay(&raw.guard);
        Some(Config {
            ports: ports?,
            dataplane: dataplane?,
            files: PolicyFiles {
                signatures: signatures?,
                rules: rules?,
                exclude: exclude?,
                subscriptions: subscriptions?,
                feeds_dir: feeds_dir?,
                pack: pack?,
            },
            valid_for: seconds(valid_for?),
            charter: charter?,
            directory: directory?,
            push_token: push_token?,
            radius: radius?,
            audit: audit?,
            store: store?,
            alerts: alerts?,
            reports: reports?,
            listen: listen?,
            inband: inband?,
            page: page?,
            socket: socket?,
            guard: Guard {
                hang: millis(hang?),
                restart: millis(restart?),
                stop: seconds(stop?),
                fallback: raw.guard.fallback.value,
                relay: relay?,
            },
        })
    }

    /// Of no file: that there is none.
    fn relay(&mut self, raw: &schema::guard) -> Option<Option<RelayFile>> {
        let file = self.path_or_none(&raw.relay)?;
        Some(file.map(|file| RelayFile {
            file,
            bypass: raw.relay_bypass.value.clone(),
            inline: raw.relay_inline.value.clone(),
        }))
    }

    fn store(&mut self, raw: &schema::store) -> Option<Store> {
        let quota_mib = self.number(&raw.quota_mib, 16..=4096, "MiB");
        Some(Store { dir: self.path(&raw.dir)?, quota_bytes: u64::from(quota_mib?) << 20 })
    }

    fn charter(&mut self, raw: &schema::charter) -> Option<Charter> {
        let mut keys = Vec::with_capacity(raw.keys.value.len());
        for text in &raw.keys.value {
            match PublicKey::parse(text) {
                Some(key) if keys.contains(&key) => {
                    self.fault(&raw.keys, "twice", format!("key {key} stands here twice"))
                        .help("take one out");
                    return None;
                }
                Some(key) => keys.push(key),
                None => {
                    self.fault(&raw.keys, "bad-key", format!("`{text}` is no public key"))
                        .help("a key has 64 hexadecimal digits; `glassgate charter key` shows it");
                    return None;
                }
            }
        }
        let without = match raw.without.value.as_str() {
            "counts" => Without::Counts,
            "none" => Without::None,
            other => {
                self.fault(&raw.without, "unknown-word", format!("`{other}` is not known here"))
                    .help("write \"counts\" or \"none\"");
                return None;
            }
        };
        Some(Charter { keys, dir: self.path(&raw.dir)?, without })
    }

    fn ports(&mut self, raw: &Filled) -> Option<Ports> {
        let (lan, uplink) = (self.device(&raw.ports.lan), self.device(&raw.ports.uplink));
        let (lan, uplink) = (lan?, uplink?);
        if lan == uplink && lan.as_ref().is_some_and(|device| !device.can_be_twice()) {
            self.fault(&raw.ports.uplink, "same-device", "both ports are the same device")
                .help("a bridge needs two: name the port towards the uplink here");
            return None;
        }
        let mixed = |a: &Device, b: &Device| a.needs_dpdk() != b.needs_dpdk();
        if let (Some(a), Some(b)) = (&lan, &uplink)
            && mixed(a, b)
        {
            self.fault(&raw.ports.uplink, "mixed-devices", "one port is a socket and the other is not")
                .help("use sockets for both ports or for none");
            return None;
        }
        let propagate_link = raw.ports.propagate_link.value;
        if propagate_link
            && let Some(device) =
                [&lan, &uplink].into_iter().flatten().find(|d| d.kernel_interface().is_none())
        {
            let why =
                format!("`{device}` is no kernel interface, whose link could be watched and taken down");
            self.fault(&raw.ports.propagate_link, "no-interface", why)
                .help("it works with `af_xdp:` and `af_packet:` on both sides");
            return None;
        }
        Some(Ports { lan, uplink, propagate_link })
    }

    fn device(&mut self, setting: &Setting<String>) -> Option<Option<Device>> {
        if setting.value.is_empty() {
            return Some(None);
        }
        match Device::parse(&setting.value, self.base) {
            Ok(device) => Some(Some(device)),
            Err(why) => {
                self.fault(setting, "device", why);
                None
            }
        }
    }

    fn dataplane(&mut self, raw: &Filled) -> Option<Dataplane> {
        let raw = &raw.dataplane;
        let lcores = self.lcores(&raw.lcores);
        let flows = self.number(&raw.flows, 1024..=1 << 24, "flows");
        let inspections = self.number(&raw.inspections, 64..=1 << 20, "flows");
        let event_ring = self.number(&raw.event_ring, 64..=1 << 20, "events");
        let memory_mib = self.number(&raw.memory_mib, 64..=65_536, "MiB");
        let idle_sleep = self.number(&raw.idle_sleep_us, 0..=1000, "microseconds");
        let event_ring = event_ring.and_then(|events| {
            if events.is_power_of_two() {
                return Some(events);
            }
            let (below, above) = (events.next_power_of_two() / 2, events.next_power_of_two());
            self.fault(&raw.event_ring, "power-of-two", format!("{events} is not a power of two"))
                .help(format!("write {below} or {above}"));
            None
        });
        Some(Dataplane {
            lcores: lcores?,
            flows: flows? as usize,
            inspections: inspections? as usize,
            event_ring: event_ring? as usize,
            huge_pages: raw.huge_pages.value,
            memory_mib: memory_mib?,
            idle_sleep: Duration::from_micros(idle_sleep?.into()),
        })
    }

    fn lcores(&mut self, setting: &Setting<Vec<u32>>) -> Option<Vec<u32>> {
        let cpus = &setting.value;
        let twice = cpus.iter().enumerate().find(|(i, cpu)| cpus.iter().take(*i).any(|c| c == *cpu));
        let why = if cpus.is_empty() || cpus.len() > MAX_LCORES {
            format!("{} lcores: there must be 1 to {MAX_LCORES}", cpus.len())
        } else if let Some((_, cpu)) = twice {
            format!("CPU {cpu} is named twice: an lcore takes all of its CPU")
        } else if let Some(cpu) = cpus.iter().find(|cpu| **cpu > MAX_CPU) {
            format!("CPU {cpu} is out of range: 0 to {MAX_CPU}")
        } else {
            return Some(cpus.clone());
        };
        self.fault(setting, "lcores", why).help("`lscpu -e` lists the CPUs of this machine");
        None
    }

    fn listen(&mut self, setting: &Setting<String>) -> Option<SocketAddr> {
        let listen = setting.value.parse().ok();
        if listen.is_none() {
            self.fault(setting, "address", format!("`{}` is no address with a port", setting.value))
                .help("write it as `127.0.0.1:8480` or `[::1]:8480`");
        }
        listen
    }

    /// The kernel takes 107 bytes for the path of a socket.
    fn socket(&mut self, setting: &Setting<String>) -> Option<PathBuf> {
        let path = self.path(setting)?;
        if path.as_os_str().len() > 107 {
            self.fault(setting, "path", format!("`{}` is too long for a socket", path.display()))
                .help("107 bytes at most");
            return None;
        }
        Some(path)
    }

    fn path_or_none(&mut self, setting: &Setting<String>) -> Option<Option<PathBuf>> {
        if setting.value.is_empty() { Some(None) } else { self.path(setting).map(Some) }
    }

    fn path(&mut self, setting: &Setting<String>) -> Option<PathBuf> {
        if setting.value.is_empty() || setting.value.contains('\0') {
            self.fault(setting, "path", "this needs a path");
            return None;
        }
        Some(self.base.join(&setting.value))
    }

    fn number(&mut self, setting: &Setting<u32>, bounds: RangeInclusive<u32>, unit: &str) -> Option<u32> {
        if bounds.contains(&setting.value) {
            return Some(setting.value);
        }
        let (value, low, high) = (setting.value, bounds.start(), bounds.end());
        self.fault(setting, "range", format!("{value} {unit} is out of range: {low} to {high}"));
        None
    }

    /// Notes a fault at a setting; help can be added to what is returned.
    fn fault<T>(
        &mut self,
        setting: &Setting<T>,
        code: &'static str,
        message: impl Into<String>,
    ) -> Fault<'_> {
        let at = setting.span.clone().unwrap_or(0..0);
        Fault { fault: Some(self.text.error(at, code, message)), into: &mut self.faults }
    }
}

/// A fault that is noted when this goes, with or without help.
struct Fault<'a> {
    fault: Option<Diagnostic>,
    into: &'a mut Diagnostics,
}

impl Fault<'_> {
    fn help(mut self, help: impl Into<String>) {
        self.fault = self.fault.take().map(|fault| fault.help(help));
    }
}

impl Drop for Fault<'_> {
    fn drop(&mut self) {
        if let Some(fault) = self.fault.take() {
            self.into.push(fault);
        }
    }
}

fn seconds(n: u32) -> Duration {
    Duration::from_secs(n.into())
}

fn millis(n: u32) -> Duration {
    Duration::from_millis(n.into())
}

#[cfg(test)]
mod tests;
