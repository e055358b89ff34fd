//! Stand-ins for gateways, for as many sites as a roll-out has: each writes the log of a box, and reads the pack that is in place when it is asked to. It takes a pack by the rules of the real one
//! (`glassgate_policy::pack`), says in its log what it runs, and how many flows have no name since.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use glassgate_audit::{Clock as _, Log, Options};
use glassgate_policy::pack::{Pack, PublicKey};
use glassgate_policy::table::Aligned;

use super::boxes::{Monotonic, close};

/// Between two looks at whether somebody asks.
const LOOK: Duration = Duration::from_millis(20);
/// Looks between two records of what could be seen.
const SAYS: u32 = 10;
/// Flows without a name, per cent, and with a pack that harms.
const UNNAMED: [u32; 2] = [20, 45];

/// What an agent runs to have the pack read: asks, and ends as the answer says, or after a minute where the gateway is gone.
pub(super) const RELOAD: &str = ": > \"$0/asked\"; n=0; while [ -e \"$0/asked\" ] && [ $n -lt 3000 ]; do sleep 0.02; n=$((n + 1)); done; read -r said < \"$0/said\"; [ \"$said\" = taken ] || { echo \"$said\" >&2; exit 1; }";

/// What packs of the part do, by the name of who made them.
pub(super) const GOOD: &str = "good";
/// Flows lose their names, where [`HARMED`] lies.
pub(super) const HARMS: &str = "harms";
/// The gateway says no.
pub(super) const NO: &str = "no";
/// In the folder of a gateway: its traffic is such that a pack can harm.
pub(super) const HARMED: &str = "harmed";

/// A gateway that runs.
pub(super) struct Gateway {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Result<()>>,
}

impl Gateway {
    /// Starts one with its log, the folder in which it is asked, and the pack of its configuration.
    pub(super) fn start(log: &Path, dir: &Path, pack: &Path, trusted: PublicKey) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let options = Options { checkpoint_every: Duration::from_secs(2), ..Options::new(log) };
        let (log, _) = Log::open(options, 1, Monotonic)?;
        let over = Arc::new(AtomicBool::new(false));
        let (until, dir, pack) = (Arc::clone(&over), dir.to_owned(), pack.to_owned());
        let thread = std::thread::spawn(move || {
            let mut gateway = Running { log, dir, pack, trusted, harms: false };
            gateway.run(&until)?;
            close(gateway.log)
        });
        Ok(Self { over, thread })
    }

    /// Ends it.
    pub(super) fn stop(self) -> Result<()> {
        self.over.store(true, Ordering::SeqCst);
        self.thread.join().map_err(|_| anyhow!("a gateway panicked"))?
    }
}

struct Running {
    log: Log,
    dir: PathBuf,
    pack: PathBuf,
    trusted: PublicKey,
    harms: bool,
}

impl Running {
    fn run(&mut self, over: &AtomicBool) -> Result<()> {
        self.read()?;
        let mut looks = 0u32;
        while !over.load(Ordering::SeqCst) {
            let asked = self.dir.join("asked");
            if asked.exists() {
                let said = self.read().map_or_else(|why| format!("{why:#}"), |()| "taken".to_owned());
                fs::write(self.dir.join("said"), said + "\n")?;
                fs::remove_file(&asked)?;
            }
            looks += 1;
            if looks.is_multiple_of(SAYS) {
                self.say();
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    fn read(&mut self) -> Result<()> {
        let bytes = fs::read(&self.pack).with_context(|| self.pack.display().to_string())?;
        let pack = Pack::open(Arc::new(Aligned::copy_of(&bytes)), &[self.trusted], 0)?;
        pack.verify()?;
        let info = pack.info();
        anyhow::ensure!(info.publisher != NO, "it names more than there is room for");
        self.harms = info.publisher == HARMS && self.dir.join(HARMED).exists();
        let table: String = info.table.iter().map(|byte| format!("{byte:02x}")).collect();
        self.append(&format!(
            r#"{{"event_type":"policy","epoch":{},"table":"{table}","table_content":"{table}","rules":0}}"#,
            info.serial
        ));
        Ok(())
    }

    fn say(&self) {
        let unnamed = UNNAMED[usize::from(self.harms)];
        let now = jiff::Timestamp::now();
        self.append(&format!(
            r#"{{"event_type":"blindness","start":"{now}","end":"{now}","complete":true,"told":{{"evidence_percent":{{"sni":{}}},"reasons_percent":{{"ech_outer":{unnamed}}}}}}}"#,
            100 - unnamed
        ));
    }

    fn append(&self, record: &str) {
        self.log.append(&Monotonic.now(), record.as_bytes());
    }
}
