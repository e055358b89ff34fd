//! The files of a fleet, made from one description: certificates, configurations of the servers, of the agents and of the hub.

use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use glassgate_policy::pack::PublicKey;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use serde::Deserialize;

use crate::link::{HUB_DOMAIN, SITE_BYTES, stream_of};
use crate::witness::{Ring, answer_subject, ask_subject};
use crate::words::Site;

/// What a fleet is made of.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fleet {
    /// The sites. One that is left out has no right any more once the servers were started anew.
    pub sites: Vec<Site>,
    /// The servers of the cluster.
    pub server: Vec<Server>,
    /// Boxes that witness the log of each site, up to 8; 0: nobody does.
    #[serde(default = "crate::hub::witnesses")]
    pub witnesses: usize,
    /// Where the servers of the cluster keep their streams; each in a folder of its name.
    #[serde(default = "cluster_folder")]
    pub cluster_folder: PathBuf,
    /// Where the server beside a box keeps its stream.
    #[serde(default = "leaf_folder")]
    pub leaf_folder: PathBuf,
    /// GiB that the stream of all sites may take on each server of the cluster.
    #[serde(default = "crate::hub::stream_gib")]
    pub stream_gib: u32,
    /// Public keys of those who sign packs, `ed25519:` and 64 digits: written into the file of each agent, and checked there. None: nothing comes down.
    #[serde(default)]
    pub trusted_keys: Vec<String>,
    /// Where the pack lies on a box, as `signatures.pack` of its gateway names it.
    #[serde(default = "pack_file")]
    pub pack: PathBuf,
    /// Where the files will lie on each machine. Empty: where they are written.
    #[serde(default)]
    pub installed: PathBuf,
    /// Port of the server beside a box, on loopback.
    #[serde(default = "leaf_port")]
    pub leaf_port: u16,
    /// For a fleet on one machine: each site's own port, counted up from `leaf_port`, and its own folder.
    #[serde(default)]
    pub one_machine: bool,
}

fn cluster_folder() -> PathBuf {
    "/var/lib/nats-fleet".into()
}

fn leaf_folder() -> PathBuf {
    "/var/lib/glassgate/nats".into()
}

fn pack_file() -> PathBuf {
    "/var/lib/glassgate/fleet/pack/site.pack".into()
}

const fn leaf_port() -> u16 {
    4222
}

/// A server of the cluster.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Its name.
    pub name: Site,
    /// Its address, as the others and the boxes reach it.
    pub host: String,
    /// Port for the hub.
    #[serde(default = "leaf_port")]
    pub client: u16,
    /// Port for the other servers.
    #[serde(default = "routes")]
    pub routes: u16,
    /// Port for boxes.
    #[serde(default = "leafnodes")]
    pub leafnodes: u16,
    /// Where boxes reach it, if not at `host` and `leafnodes`.
    #[serde(default)]
    pub seen_as: Option<String>,
}

const fn routes() -> u16 {
    6222
}

const fn leafnodes() -> u16 {
    7422
}

/// The name in the certificate of a box, which the servers know it by.
pub fn user_of(site: &Site) -> String {
    format!("{site}.box.glassgate.internal")
}

/// The name in the certificate of the hub.
pub const HUB_USER: &str = "hub.glassgate.internal";

/// Writes everything. The authority and certificates that are there stay; what is missing is made.
pub fn write(fleet: &Fleet, dir: &Path) -> Result<()> {
    if fleet.sites.is_empty() || fleet.server.is_empty() {
        bail!("a fleet has a site and a server at least");
    }
    let mut names: Vec<_> =
        fleet.sites.iter().chain(fleet.server.iter().map(|server| &server.name)).collect();
    let count = names.len();
    names.sort();
    names.dedup();
    if names.len() != count || fleet.sites.iter().any(|site| site.as_str() == HUB_DOMAIN) {
        bail!("names of sites and servers are all different, and none is `{HUB_DOMAIN}`");
    }
    for server in &fleet.server {
        let plain = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
        let texts = [Some(&server.host), server.seen_as.as_ref()];
        if texts.into_iter().flatten().any(|text| text.is_empty() || !text.chars().all(plain)) {
            bail!("{}: the host is a name or an address", server.name);
        }
    }
    if let Some(key) = fleet.trusted_keys.iter().find(|key| PublicKey::from_text(key).is_none()) {
        bail!(
            "trusted_keys: `{key}` is no public key; `glassgate pack key` prints one, `ed25519:` and 64 digits"
        );
    }
    fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    let authority = Authority::open(dir)?;
    let ring = Ring::new(&fleet.sites, fleet.witnesses);
    for server in &fleet.server {
        let to = dir.join(server.name.as_str());
        authority.certify(
            &to,
            &format!("{}.server.glassgate.internal", server.name),
            &[&server.host, "127.0.0.1"],
        )?;
        put(&to.join("nats.conf"), &cluster_conf(fleet, &ring, server, &place(fleet, &to)))?;
    }
    for (at, site) in fleet.sites.iter().enumerate() {
        let to = dir.join(site.as_str());
        authority.certify(&to, &user_of(site), &["127.0.0.1"])?;
        let port = if fleet.one_machine { fleet.leaf_port + u16::try_from(at)? } else { fleet.leaf_port };
        put(&to.join("nats.conf"), &leaf_conf(fleet, site, port, &place(fleet, &to)))?;
        let link = link_toml(&[format!("tls://127.0.0.1:{port}")], &place(fleet, &to));
        put(
            &to.join("agent.toml"),
            &format!("site = \"{site}\"\n\n{link}{}{}", witness_toml(&ring, site), down_toml(fleet)),
        )?;
    }
    let to = dir.join("hub");
    authority.certify(&to, HUB_USER, &["127.0.0.1"])?;
    let servers: Vec<_> =
        fleet.server.iter().map(|server| format!("tls://{}:{}", server.host, server.client)).collect();
    let sites: Vec<_> = fleet.sites.iter().map(|site| format!("\"{site}\"")).collect();
    let replicas = match fleet.server.len() {
        0..3 => 1,
        3 | 4 => 3,
        _ => 5,
    };
    let hub = format!(
        "sites = [{}]\nreplicas = {replicas}\nstream_gib = {}\nwitnesses = {}\n\n{}",
        sites.join(", "),
        fleet.stream_gib,
        fleet.witnesses,
        link_toml(&servers, &place(fleet, &to))
    );
    put(&to.join("hub.toml"), &hub)
}

/// Where the files of a machine will be.
fn place(fleet: &Fleet, to: &Path) -> PathBuf {
    if fleet.installed.as_os_str().is_empty() { to.to_owned() } else { fleet.installed.clone() }
}

fn link_toml(servers: &[String], at: &Path) -> String {
    let servers: Vec<_> = servers.iter().map(|server| format!("\"{server}\"")).collect();
    let at = at.display();
    format!(
        "[link]\nservers = [{}]\nauthority = \"{at}/authority.pem\"\ncertificate = \"{at}/certificate.pem\"\nkey = \"{at}/key.pem\"\n",
        servers.join(", ")
    )
}

fn witness_toml(ring: &Ring, site: &Site) -> String {
    let list = |sites: Vec<Site>| quoted(&sites.iter().map(Site::to_string).collect::<Vec<_>>());
    format!("\n[witness]\nby = {}\nof = {}\n", list(ring.by(site)), list(ring.of(site)))
}

fn down_toml(fleet: &Fleet) -> String {
    if fleet.trusted_keys.is_empty() {
        return String::new();
    }
    format!("\n[down]\npack = \"{}\"\ntrusted_keys = {}\n", fleet.pack.display(), quoted(&fleet.trusted_keys))
}

/// Certificates of both sides; the name in that of who comes says who it is.
fn tls(at: &Path, map: &str) -> String {
    let at = at.display();
    format!(
        "tls {{ cert_file: \"{at}/certificate.pem\", key_file: \"{at}/key.pem\", ca_file: \"{at}/authority.pem\", {map}, timeout: 5 }}"
    )
}

/// Requests to the JetStream of a box that its server lets in: to have its stream delivered, and to be told what it has and what one message was. No other one, so
/// nobody in the cluster empties, changes or deletes the stream of a box, whoever has the hub or a server.
fn let_in(site: &Site) -> [String; 3] {
    let stream = stream_of(site);
    ["CONSUMER.CREATE.>".to_owned(), format!("STREAM.INFO.{stream}"), format!("STREAM.MSG.GET.{stream}")]
        .map(|request| format!("$JS.{site}.API.{request}"))
}

/// What a box may do in the cluster: answer what is asked of its own JetStream, and deliver its own stream to whom asked for it. It can publish to no other
/// site's subjects, ask nothing of the cluster's JetStream, and hears of nobody else but what it witnesses: it asks its witnesses and hears their answers, and the other way round. It asks the hub what there is for it, and is given that.
fn box_rights(site: &Site, ring: &Ring) -> String {
    let user = user_of(site);
    let (by, of) = (ring.by(site), ring.of(site));
    let mut says = vec![
        format!("gg.{site}.deliver.>"),
        "$JSC.R.>".to_owned(),
        ask_subject(site),
        format!("gg.{site}.want.*"),
    ];
    says.extend(of.iter().map(|other| answer_subject(site, other)));
    let says = quoted(&says);
    let mut hears = let_in(site).to_vec();
    hears.push(format!("$JS.FC.{}.>", stream_of(site)));
    hears.extend(of.iter().map(ask_subject));
    hears.extend(by.iter().map(|witness| answer_subject(witness, site)));
    hears.push(format!("gg.{site}.given.*"));
    let hears = quoted(&hears);
    format!(
        "{{ user: \"{user}\", permissions: {{ publish: {{ allow: {says} }}, subscribe: {{ allow: {hears} }} }} }}"
    )
}

/// What the server of a box refuses by itself, whatever the servers of the cluster allow: requests that change its JetStream, and messages under its own subjects, which nobody but
/// its agent writes. A list of what is refused, since nats-server has none of what is let in for this direction.
fn refused(site: &Site) -> String {
    let requests = [
        "INFO",
        "ACCOUNT.>",
        "META.>",
        "SERVER.>",
        "STREAM.CREATE.>",
        "STREAM.UPDATE.>",
        "STREAM.DELETE.>",
        "STREAM.PURGE.>",
        "STREAM.MSG.DELETE.>",
        "STREAM.SNAPSHOT.>",
        "STREAM.RESTORE.>",
        "STREAM.TEMPLATE.>",
        "STREAM.PEER.>",
        "STREAM.LEADER.>",
        "CONSUMER.DURABLE.>",
    ];
    let requests = requests.map(|request| format!("$JS.{site}.API.{request}"));
    quoted(&[requests.as_slice(), &[format!("gg.{site}.up.>")]].concat())
}

/// A list of the configuration of servers.
fn quoted(texts: &[String]) -> String {
    let texts: Vec<_> = texts.iter().map(|text| format!("\"{text}\"")).collect();
    format!("[{}]", texts.join(", "))
}

/// A server always tells a box its own address, and the box prefers that from then on: so it is the one that boxes reach it by. Those of the others are not told (`no_advertise`), as boxes
/// have them in their files.
fn cluster_conf(fleet: &Fleet, ring: &Ring, server: &Server, at: &Path) -> String {
    let routes: Vec<_> = fleet
        .server
        .iter()
        .filter(|other| other.name != server.name)
        .map(|other| format!("\"nats-route://{}:{}\"", other.host, other.routes))
        .collect();
    // Whoever has the certificate of the hub asks no witness in the name of a site: it would use up the places that a witness has for that site's logs. Nor does it say in its name what that site has.
    let asks = quoted(&["gg.*.ask".to_owned(), "gg.*.answer.*".to_owned(), "gg.*.want.*".to_owned()]);
    let mut users =
        format!("    {{ user: \"{HUB_USER}\", permissions: {{ publish: {{ deny: {asks} }} }} }}\n");
    for site in &fleet.sites {
        _ = writeln!(users, "    {}", box_rights(site, ring));
    }
    let cluster = if routes.is_empty() {
        String::new()
    } else {
        format!(
            "cluster {{\n  name: glassgate-fleet\n  listen: \"{}:{}\"\n  routes: [{}]\n  {}\n}}\n",
            server.host,
            server.routes,
            routes.join(", "),
            tls(at, "verify: true")
        )
    };
    format!(
        "# Written by `glassgate fleet config`: changed there, not here.\n\
         server_name: {name}\nlisten: \"{host}:{client}\"\nmax_payload: 1MB\n{client_tls}\n\
         jetstream {{ store_dir: \"{store}\", domain: {HUB_DOMAIN}, max_mem: 64MB, max_file: {file} }}\n{cluster}\
         leafnodes {{\n  listen: \"{host}:{leafnodes}\"\n  advertise: \"{seen}\"\n  no_advertise: true\n  {leaf_tls}\n}}\n\
         authorization {{\n  users: [\n{users}  ]\n}}\n",
        // Blocks that are full of what has expired are there for a while.
        file = (u64::from(fleet.stream_gib) << 30) + (1 << 30),
        name = server.name,
        host = server.host,
        client = server.client,
        client_tls = tls(at, "verify_and_map: true"),
        store = fleet.cluster_folder.join(server.name.as_str()).display(),
        leafnodes = server.leafnodes,
        seen = seen_as(server),
        leaf_tls = tls(at, "verify_and_map: true"),
    )
}

/// Where boxes reach a server.
fn seen_as(server: &Server) -> String {
    server.seen_as.clone().unwrap_or_else(|| format!("{}:{}", server.host, server.leafnodes))
}

fn leaf_conf(fleet: &Fleet, site: &Site, port: u16, at: &Path) -> String {
    let urls: Vec<_> = fleet.server.iter().map(|server| format!("\"tls://{}\"", seen_as(server))).collect();
    let store =
        if fleet.one_machine { fleet.leaf_folder.join(site.as_str()) } else { fleet.leaf_folder.clone() };
    let shown = at.display();
    format!(
        "# Written by `glassgate fleet config`: changed there, not here.\n\
         server_name: \"box-{site}\"\nlisten: \"127.0.0.1:{port}\"\nmax_payload: 1MB\nping_interval: \"10s\"\nping_max: 2\n{tls}\n\
         jetstream {{ store_dir: \"{store}\", domain: \"{site}\", max_mem: 16MB, max_file: {bytes} }}\n\
         leafnodes {{\n  reconnect: 2\n  remotes: [ {{\n    urls: [{urls}]\n    tls {{ cert_file: \"{shown}/certificate.pem\", key_file: \"{shown}/key.pem\", ca_file: \"{shown}/authority.pem\", timeout: 5 }}\n    deny_imports: {refused}\n  }} ]\n}}\n",
        refused = refused(site),
        tls = tls(at, "verify_and_map: true")
            + &format!("\nauthorization {{ users: [ {{ user: \"{}\" }} ] }}", user_of(site)),
        store = store.display(),
        bytes = 2 * SITE_BYTES,
        urls = urls.join(", "),
    )
}

/// Whoever signs the certificates of a fleet.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn open(dir: &Path) -> Result<Self> {
        let (cert, key) = (dir.join("authority.pem"), dir.join("authority.key"));
        if !cert.exists() || !key.exists() {
            let pair = KeyPair::generate()?;
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, "Glassgate fleet");
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            params.not_before = rcgen::date_time_ymd(2025, 1, 1);
            params.not_after = rcgen::date_time_ymd(2046, 1, 1);
            let text = pair.serialize_pem();
            let made = CertifiedIssuer::self_signed(params, pair)?;
            secret(&key, &text)?;
            put(&cert, &made.pem())?;
        }
        let read = |path: &Path| fs::read_to_string(path).with_context(|| path.display().to_string());
        let pem = read(&cert)?;
        let issuer = Issuer::from_ca_cert_pem(&pem, KeyPair::from_pem(&read(&key)?)?)?;
        Ok(Self { pem, issuer })
    }

    /// A certificate for somebody, if there is none yet.
    fn certify(&self, to: &Path, user: &str, hosts: &[&str]) -> Result<()> {
        fs::create_dir_all(to).with_context(|| to.display().to_string())?;
        put(&to.join("authority.pem"), &self.pem)?;
        if to.join("certificate.pem").exists() && to.join("key.pem").exists() {
            return Ok(());
        }
        let pair = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec![user.to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, user);
        for host in hosts {
            params.subject_alt_names.push(match host.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName((*host).try_into()?),
            });
        }
        params.not_before = rcgen::date_time_ymd(2025, 1, 1);
        params.not_after = rcgen::date_time_ymd(2046, 1, 1);
        let made = params.signed_by(&pair, &self.issuer)?;
        secret(&to.join("key.pem"), &pair.serialize_pem())?;
        put(&to.join("certificate.pem"), &made.pem())
    }
}

fn put(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| path.display().to_string())
}

/// A file for its owner alone.
fn secret(path: &Path, text: &str) -> Result<()> {
    use std::io::Write as _;
    let file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).with_context(|| path.display().to_string())
}
