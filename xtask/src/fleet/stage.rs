//! The servers, agents and hub of a fleet, as processes.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::Rows;
use super::relay::Relay;
use crate::process::{self, Daemon};
use crate::stop::Stop;
use crate::{steps, ui, workspace};

/// Builds what the fleet runs: debug, as what is compared is counts, and shares of a core that are far from their goal.
pub(super) fn build(stop: &Stop) -> Result<()> {
    let doing = ui::doing("build glassgate-fleet");
    let log = workspace::target().join("build.log");
    fs::write(&log, "")?;
    if !steps::run_logged(
        &steps::cargo("build -p glassgate-fleet -p glassgate-audit-verify --bins --examples"),
        &log,
        stop,
    )? {
        bail!("{}", process::tail(&log, 40));
    }
    doing.done("");
    Ok(())
}

const PROGRAM: &str = "glassgate-fleet";
/// What `glassgate audit verify` asks, with no code of the program that wrote the log.
const VERIFIER: &str = "glassgate-audit-verify";

/// Ports that were free a moment ago.
fn ports(count: usize) -> Result<Vec<u16>> {
    let held: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    held.iter().map(|held| Ok(held.local_addr()?.port())).collect()
}

/// A fleet on loopback. Its processes end with it.
pub(super) struct Stage {
    /// Of each site.
    pub(super) relays: Vec<Relay>,
    running: BTreeMap<String, Daemon>,
    starts: u32,
    server: PathBuf,
    dir: PathBuf,
    /// Taken away with this, unless it is to be kept.
    _folder: Option<tempfile::TempDir>,
}

impl Stage {
    pub(super) fn new(server: &Path, sites: &[&str], servers: &[&str], keep: bool) -> Result<Self> {
        let temporary = tempfile::Builder::new().prefix("fleet-").tempdir_in(workspace::target())?;
        let dir = temporary.path().to_owned();
        let kept = if keep {
            _ = temporary.keep();
            None
        } else {
            Some(temporary)
        };
        // What is built meanwhile does not become part of what is tried.
        for name in [PROGRAM, VERIFIER, "examples/boxes", "examples/lose"] {
            let built = workspace::target().join("debug").join(name);
            fs::copy(&built, dir.join(built.file_name().unwrap_or_default()))?;
        }
        let ports = ports(4 * servers.len() + sites.len())?;
        let (of_servers, of_sites) = ports.split_at(4 * servers.len());
        let sites_list: Vec<_> = sites.iter().map(|site| format!("\"{site}\"")).collect();
        let mut text = format!(
            "sites = [{}]\none_machine = true\nstream_gib = 1\nleaf_port = 1\ncluster_folder = \"{dir}/streams\"\nleaf_folder = \"{dir}/streams\"\n",
            sites_list.join(", "),
            dir = dir.display()
        );
        for (server, ports) in servers.iter().zip(of_servers.chunks(4)) {
            text += &format!(
                "[[server]]\nname = \"{server}\"\nhost = \"127.0.0.1\"\nclient = {}\nroutes = {}\nleafnodes = {}\nseen_as = \"127.0.0.1:{}\"\n",
                ports[0], ports[1], ports[2], ports[3]
            );
        }
        fs::write(dir.join("fleet.toml"), text)?;
        let mut config = Command::new(dir.join(PROGRAM));
        config.arg("config").arg(dir.join("fleet.toml")).arg("--out").arg(dir.join("out"));
        process::capture(&mut config)?;
        // A site has a port that is free, and sees the servers through its link: where they say they are, nobody listens.
        let mut relays = Vec::new();
        for (at, site) in sites.iter().enumerate() {
            let at_port = |port| SocketAddr::from(([127, 0, 0, 1], port));
            let leafs: Vec<_> = of_servers.chunks(4).map(|ports| at_port(ports[2])).collect();
            let seen: Vec<_> = of_servers.chunks(4).map(|ports| at_port(ports[3])).collect();
            let relay = Relay::start(&leafs)?;
            let port = of_sites[at];
            for file in ["nats.conf", "agent.toml"] {
                let path = dir.join("out").join(site).join(file);
                let mut text = fs::read_to_string(&path)?;
                text = text.replace(&format!("127.0.0.1:{}\"", 1 + at), &format!("127.0.0.1:{port}\""));
                for (leaf, relayed) in seen.iter().zip(&relay.ports) {
                    text = text.replace(&format!("{leaf}\""), &format!("127.0.0.1:{relayed}\""));
                }
                if file == "agent.toml" {
                    text = format!(
                        "audit = \"{}\"\nstate = \"{}\"\ninterval_ms = 250\ncheckpoint_s = 2\n{text}",
                        dir.join("log").join(site).display(),
                        dir.join("state").join(site).display()
                    );
                }
                fs::write(&path, text)?;
            }
            relays.push(relay);
        }
        let hub = dir.join("out/hub/hub.toml");
        let text = fs::read_to_string(&hub)?;
        fs::write(&hub, format!("store = \"{}\"\nquiet_s = 5\n{text}", dir.join("hub.sqlite").display()))?;
        fs::create_dir_all(dir.join("log"))?;
        Ok(Self {
            relays,
            running: BTreeMap::new(),
            starts: 0,
            server: server.to_owned(),
            dir,
            _folder: kept,
        })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn log_of(&self, site: &str) -> PathBuf {
        self.dir.join("log").join(site)
    }

    /// What the agent of a site keeps.
    pub(super) fn state_of(&self, site: &str) -> PathBuf {
        self.dir.join("state").join(site)
    }

    /// Whether a log is what was signed, and continues the checkpoint in `witnessed`; with what is said of it.
    pub(super) fn verify(&self, log: &Path, witnessed: Option<(&Path, &Path)>) -> Result<(bool, String)> {
        let mut command = Command::new(self.dir.join(VERIFIER));
        if let Some((note, key)) = witnessed {
            command.arg("--witnessed").arg(note).arg("--witness-key").arg(key);
        }
        let done = command.arg(log).output().context(VERIFIER)?;
        let said = if done.status.success() { done.stdout } else { done.stderr };
        Ok((done.status.success(), String::from_utf8_lossy(&said).trim_end().to_owned()))
    }

    fn start(&mut self, name: &str, command: &Command) -> Result<()> {
        self.starts += 1;
        let log = self.dir.join(format!("{name}.{}.log", self.starts));
        self.running.insert(name.to_owned(), Daemon::start(name, command, &log)?);
        Ok(())
    }

    pub(super) fn start_server(&mut self, name: &str) -> Result<()> {
        let mut command = Command::new(&self.server);
        command.arg("-c").arg(self.dir.join("out").join(name).join("nats.conf"));
        self.start(name, &command)
    }

    pub(super) fn start_agent(&mut self, site: &str) -> Result<()> {
        let mut command = Command::new(self.dir.join(PROGRAM));
        command.arg("agent").arg("--config").arg(self.dir.join("out").join(site).join("agent.toml"));
        self.start(&format!("agent-{site}"), &command)
    }

    /// An agent on the server of `site`, with its certificate, that says it is another site.
    pub(super) fn start_forger(&mut self, site: &str, other: &str) -> Result<()> {
        let text = fs::read_to_string(self.dir.join("out").join(site).join("agent.toml"))?;
        let text = text.replace(&format!("site = \"{site}\""), &format!("site = \"{other}\""));
        let text = text.replace(
            &self.state_of(site).display().to_string(),
            &self.dir.join("forged").display().to_string(),
        );
        let file = self.dir.join("forger.toml");
        fs::write(&file, text)?;
        let mut command = Command::new(self.dir.join(PROGRAM));
        command.arg("agent").arg("--config").arg(file);
        self.start("forger", &command)
    }

    /// Messages that it got rid of.
    pub(super) fn forged(&self) -> Result<u64> {
        let mut sent = 0;
        for entry in fs::read_dir(self.dir.join("forged"))? {
            let path = entry?.path();
            if path.is_file() {
                let state: Value = serde_json::from_str(&fs::read_to_string(path)?)?;
                sent += state["sent"].as_u64().unwrap_or_default();
            }
        }
        Ok(sent)
    }

    /// Leaves a site out of the fleet, starts the servers anew, and waits until its own server was turned away.
    pub(super) fn revoke(&mut self, site: &str, servers: &[&str], stop: &Stop) -> Result<()> {
        let file = self.dir.join("fleet.toml");
        let text = fs::read_to_string(&file)?;
        let kept = text.replace(&format!(", \"{site}\""), "");
        ensure!(kept != text, "{site} is not the last site of {}", file.display());
        fs::write(&file, kept)?;
        let mut config = Command::new(self.dir.join(PROGRAM));
        config.arg("config").arg(&file).arg("--out").arg(self.dir.join("out"));
        process::capture(&mut config)?;
        // A server that reads its files again turns away who comes, and lets stay who is there (nats-server 2.9.10). So one after the other is started anew.
        for server in servers {
            self.kill(server)?;
            self.start_server(server)?;
            self.await_ready(server, stop)?;
        }
        let server = self.running.get_mut(site).with_context(|| format!("{site} is not running"))?;
        server.await_line("Authorization Violation", Duration::from_secs(20), stop).map(drop)
    }

    /// Starts the hub, until it has its store open: before, there may be nothing to ask for how things are.
    pub(super) fn start_hub(&mut self, stop: &Stop) -> Result<()> {
        let mut command = Command::new(self.dir.join(PROGRAM));
        command.arg("hub").arg("--config").arg(self.dir.join("out/hub/hub.toml"));
        self.start("hub", &command)?;
        let hub = self.running.get_mut("hub").context("the hub is not running")?;
        hub.await_line("sites is open", Duration::from_secs(20), stop).map(drop)
    }

    /// Deletes from the stream of the cluster what a hub that is not running has not taken, and gives how many messages waited and how many are gone;
    /// then commands the boxes, as the hub, and gives how many answered a question and how many commands were let in.
    pub(super) fn lose(&self) -> Result<[u64; 4]> {
        let mut command = Command::new(self.dir.join("lose"));
        command.arg(self.dir.join("out/hub/hub.toml"));
        let said: Value = serde_json::from_str(&process::capture(&mut command)?)?;
        let n = |name: &str| said[name].as_u64().unwrap_or_default();
        Ok(["waiting", "deleted", "informed", "obeyed"].map(n))
    }

    fn await_ready(&mut self, server: &str, stop: &Stop) -> Result<()> {
        let daemon = self.running.get_mut(server).with_context(|| format!("{server} is not running"))?;
        daemon.await_line("Server is ready", Duration::from_secs(20), stop).map(drop)
    }

    /// `kill -9`, and awaited.
    pub(super) fn kill(&mut self, name: &str) -> Result<()> {
        let mut daemon = self.running.remove(name).with_context(|| format!("{name} is not running"))?;
        daemon.signal(rustix::process::Signal::KILL);
        let end = Instant::now() + Duration::from_secs(10);
        while daemon.ended().is_none() {
            ensure!(Instant::now() < end, "{name} outlives kill -9");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn ask(&self, words: &[&str]) -> Result<String> {
        let mut command = Command::new(self.dir.join(PROGRAM));
        command.args(words).arg("--store").arg(self.dir.join("hub.sqlite")).arg("--json");
        process::capture(&mut command)
    }

    /// `rollout` with a verb and its words.
    pub(super) fn rollout(&self, words: &[&OsStr]) -> Result<String> {
        let mut command = Command::new(self.dir.join(PROGRAM));
        command.arg("rollout").args(words).arg("--store").arg(self.dir.join("hub.sqlite")).arg("--json");
        process::capture(&mut command)
    }

    /// What the hub has, by the command that exports it.
    pub(super) fn rows(&self) -> Result<Rows> {
        let mut rows = Rows::new();
        for line in self.ask(&["rows"])?.lines() {
            let row: Value = serde_json::from_str(line)?;
            let word = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
            let n = |name: &str| row[name].as_u64().unwrap_or_default();
            let numbers = match word("measure").as_str() {
                "use" => (n("flows"), n("active_s")),
                _ => (n("uploads"), n("upload_bytes")),
            };
            rows.insert((word("site"), word("log"), n("seq")), (word("measure"), numbers.0, numbers.1));
        }
        Ok(rows)
    }

    /// Lines of that export.
    pub(super) fn printed_rows(&self) -> Result<usize> {
        Ok(self.ask(&["rows"])?.lines().count())
    }

    pub(super) fn status(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.ask(&["status"])?)?)
    }

    pub(super) fn await_rows(&mut self, count: usize, limit: Duration, stop: &Stop) -> Result<()> {
        let end = Instant::now() + limit;
        loop {
            let there = self.printed_rows().unwrap_or_default();
            if there >= count {
                return Ok(());
            }
            for (name, daemon) in &mut self.running {
                if let Some(status) = daemon.ended() {
                    bail!("{name} ended ({status})\n{}", daemon.last_words());
                }
            }
            if Instant::now() > end {
                let mut of_sites = BTreeMap::<String, usize>::new();
                for (site, ..) in self.rows().unwrap_or_default().into_keys() {
                    *of_sites.entry(site).or_default() += 1;
                }
                let words: Vec<_> = self
                    .running
                    .iter()
                    .map(|(name, daemon)| {
                        // Servers say much about what is well.
                        let said = daemon.last_words();
                        let said: Vec<_> = said.lines().filter(|line| !line.contains("[INF]")).collect();
                        format!("{name}:\n{}", said.join("\n"))
                    })
                    .collect();
                bail!("{there} of {count} rows arrived within {limit:?}: {of_sites:?}\n{}", words.join("\n"));
            }
            stop.pause(Duration::from_millis(500))?;
        }
    }

    /// What the hub says, once it says that, or time is up.
    pub(super) fn await_status(
        &self,
        is_so: impl Fn(&Value) -> Result<bool>,
        limit: Duration,
        stop: &Stop,
    ) -> Result<Value> {
        let end = Instant::now() + limit;
        loop {
            let status = self.status()?;
            if is_so(&status)? || Instant::now() > end {
                return Ok(status);
            }
            stop.pause(Duration::from_millis(250))?;
        }
    }

    /// How long the log of each site is, by the newest checkpoint that the hub took for good; once that is as told, or time is up.
    pub(super) fn await_checkpoints(
        &self,
        sizes: &BTreeMap<&str, u64>,
        limit: Duration,
        stop: &Stop,
    ) -> Result<BTreeMap<String, u64>> {
        let sizes_of = |status: &Value| -> BTreeMap<String, u64> {
            let size = |site: &Value| {
                let name = site["site"].as_str().unwrap_or_default().to_owned();
                (name, site["checkpoint_size"].as_u64().unwrap_or_default())
            };
            status["sites"].as_array().into_iter().flatten().map(size).collect()
        };
        let are_there = |status: &Value| {
            let there = sizes_of(status);
            Ok(sizes.iter().all(|(site, size)| there.get(*site) == Some(size)))
        };
        Ok(sizes_of(&self.await_status(are_there, limit, stop)?))
    }

    /// Messages that agents sent, and their bytes.
    pub(super) fn sent(&self, sites: &[&str]) -> Result<(u64, u64)> {
        let (mut messages, mut bytes) = (0, 0);
        for site in sites {
            let text = fs::read_to_string(self.state_of(site).join(format!("{site}.json")))?;
            let state: Value = serde_json::from_str(&text)?;
            messages += state["sent"].as_u64().unwrap_or_default();
            bytes += state["bytes"].as_u64().unwrap_or_default();
        }
        Ok((messages, bytes))
    }

    /// How often each of two words is in the streams and in the store, and how many bytes that is.
    pub(super) fn search(&self, one: &[u8], other: &[u8]) -> Result<(usize, usize, u64)> {
        let mut folders = vec![self.dir.join("streams")];
        let mut files: Vec<PathBuf> = fs::read_dir(&self.dir)?
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<Vec<_>>>()?
            .into_iter()
            .filter(|path| {
                path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("hub.sqlite"))
            })
            .collect();
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder)? {
                let path = entry?.path();
                if path.is_dir() { folders.push(path) } else { files.push(path) }
            }
        }
        let count =
            |bytes: &[u8], word: &[u8]| bytes.windows(word.len()).filter(|part| *part == word).count();
        let (mut ones, mut others, mut all) = (0, 0, 0);
        for file in files {
            let Ok(bytes) = fs::read(&file) else { continue };
            ones += count(&bytes, one);
            others += count(&bytes, other);
            all += bytes.len() as u64;
        }
        Ok((ones, others, all))
    }
}

/// What a thousand boxes took.
pub(super) struct Thousand {
    pub(super) messages: u64,
    pub(super) bytes: u64,
    pub(super) rows: u64,
    pub(super) there: u64,
    pub(super) hub_cpu: f64,
    pub(super) server_cpu: f64,
    pub(super) took: Duration,
    /// On the disk of the server, and of the hub.
    pub(super) stream_bytes: u64,
    pub(super) store_bytes: u64,
}

/// Bytes of all files below a folder.
fn size_of(folder: &Path) -> Result<u64> {
    let mut all = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let data = entry.metadata()?;
        all += if data.is_dir() { size_of(&entry.path())? } else { data.len() };
    }
    Ok(all)
}

/// Of a second, in `/proc`: the same on all of Linux.
const TICKS: f64 = 100.0;

/// Seconds of CPU that a process has had.
fn cpu(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or_default();
    Ok((ticks(11) + ticks(12)) / TICKS)
}

/// A thousand agents in one process, one server, one hub.
pub(super) fn thousand(server: &Path, boxes: u32, keep: bool, stop: &Stop) -> Result<Thousand> {
    let mut stage = Stage::new(server, &["s0"], &["alpha"], keep)?;
    let port = ports(1)?[0];
    let conf = stage.dir.join("one.conf");
    let store = stage.dir.join("streams");
    fs::write(
        &conf,
        format!(
            "listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: \"{}\", max_mem: 256MB, max_file: 8GB }}\n",
            store.display()
        ),
    )?;
    let mut command = Command::new(server);
    command.arg("-c").arg(&conf);
    stage.start("one", &command)?;
    let sites: Vec<_> = (0..boxes).map(|n| format!("\"s{n}\"")).collect();
    fs::write(
        stage.dir.join("out/hub/hub.toml"),
        format!(
            "sites = [{}]\nreplicas = 1\nstream_gib = 4\ndirect = true\nstore = \"{}\"\n[link]\nservers = [\"nats://127.0.0.1:{port}\"]\n",
            sites.join(", "),
            stage.dir.join("hub.sqlite").display()
        ),
    )?;
    stage.start_hub(stop)?;
    let hub = stage.running.get("hub").context("no hub")?.pid();
    let one = stage.running.get("one").context("no server")?.pid();
    stop.pause(Duration::from_secs(3))?;
    let (before, server_before) = (cpu(hub)?, cpu(one)?);
    let began = Instant::now();
    let mut boxes_run = Command::new(stage.dir.join("boxes"));
    boxes_run.arg(format!("nats://127.0.0.1:{port}")).arg(boxes.to_string());
    let said: Value = serde_json::from_str(&process::capture(&mut boxes_run)?)?;
    let n = |name: &str| said[name].as_u64().unwrap_or_default();
    let entries = n("messages") - n("checkpoints");
    let end = Instant::now() + Duration::from_secs(300);
    let (rows, there) = loop {
        let status = stage.status()?;
        let sum = |name: &str| {
            let sites = status["sites"].as_array();
            sites.into_iter().flatten().filter_map(|site| site[name].as_u64()).sum::<u64>()
        };
        if sum("entries") >= entries || Instant::now() > end {
            break (n("rows"), sum("aggregates"));
        }
        stop.pause(Duration::from_millis(500))?;
    };
    let took = began.elapsed();
    let store = ["hub.sqlite", "hub.sqlite-wal"].map(|name| fs::metadata(stage.dir.join(name)));
    Ok(Thousand {
        stream_bytes: size_of(&stage.dir.join("streams"))?,
        store_bytes: store.into_iter().flatten().map(|data| data.len()).sum(),
        messages: n("messages"),
        bytes: n("bytes"),
        rows,
        there,
        hub_cpu: cpu(hub)? - before,
        server_cpu: cpu(one)? - server_before,
        took,
    })
}
