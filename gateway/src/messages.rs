//! What the processes say to each other over [`crate::ipc`].
//!
//! ```text
//!              Start, Lcore…, Policy, Go, Stop              Start, Lcore…, World, Reload, Stop
//!  dataplane ◄──────────────────────────────── guard ────────────────────────────────────────► control
//!            ────────────────────────────────►       ◄────────────────────────────────────────
//!              Up, Refused, Failed                          Policy, Up, Failed
//! ```

use crate::config::{Config, Dataplane, Device, Inband};
use serde::{Deserialize, Serialize};

/// From the guard to the data plane.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum ToDataplane {
    /// What to be. First of all.
    Start {
        /// LAN, uplink.
        ports: [Device; 2],
        dataplane: Dataplane,
        /// The gateway's own addresses on the ports, if it has any.
        inband: Option<Inband>,
    },
    /// The next lcore's event ring and stats page, and its two rings of frames where the gateway has an address on the ports, as
    /// descriptors; in order, once for each.
    Lcore,
    /// Verdicts: signature table and matrix, as descriptors.
    Policy(PolicyId),
    /// All that is needed at start has been said.
    Go,
    /// Let go of the ports, end all flows, exit.
    Stop,
}

/// From the data plane to the guard.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum FromDataplane {
    /// Frames are forwarded.
    Up {
        /// The ports, LAN first.
        ports: Vec<PortInfo>,
        /// What holds the process: in words for the log and the page.
        confinement: String,
    },
    /// A policy was not taken; the one before stays.
    Refused {
        /// Which one.
        epoch: u64,
        /// Why.
        why: String,
    },
    /// It can't work. The process exits after this.
    Failed(Failure),
}

/// From the guard to the control process.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum ToControl {
    /// What to be. First of all.
    Start {
        config: Box<Config>,
        /// The last policy of a predecessor; the next epoch is greater.
        last: Option<PolicyId>,
    },
    /// The same for each lcore, as descriptors.
    Lcore,
    /// All that is needed at start has been said.
    Go,
    /// How the processes are.
    World(World),
    /// Read rules and signatures again.
    Reload,
    /// Empty the rings, close the log, exit.
    Stop,
}

/// From the control process to the guard.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum FromControl {
    /// Verdicts for the data plane: signature table and matrix, as descriptors.
    Policy(PolicyId),
    /// Events are read and the page is served.
    Up,
    /// It can't work. The process exits after this.
    Failed(Failure),
}

/// Which policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PolicyId {
    /// Counts up.
    pub(crate) epoch: u64,
    /// SHA-256 of what the signature table was compiled from, hexadecimal.
    pub(crate) content: String,
    /// The first epoch with this content. Numbers of services mean the same from there on: a control process that takes
    /// over knows which events in the rings it can read.
    pub(crate) since: u64,
    /// Whether it lets everything pass and observes nothing, because somebody said so: so that a control process that
    /// takes over goes on with that.
    #[serde(default)]
    pub(crate) bypass: bool,
}

/// Why a process can't work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Failure {
    /// For people.
    pub(crate) why: String,
    /// The build has no DPDK and a port needs it: trying again is pointless.
    pub(crate) needs_dpdk: bool,
}

/// A port that is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PortInfo {
    /// `lan` or `uplink`.
    pub(crate) name: String,
    /// The device, as configured.
    pub(crate) device: String,
    /// What drives it.
    pub(crate) driver: String,
    /// Its own address, if it has one.
    pub(crate) mac: Option<String>,
}

/// How the processes are, as the guard sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct World {
    pub(crate) processes: Vec<ProcessInfo>,
    /// The open ports; empty while the data plane is not up.
    pub(crate) ports: Vec<PortInfo>,
    /// What confines the data plane.
    pub(crate) confinement: String,
    /// The epoch of the policy that was last handed to the data plane.
    pub(crate) epoch: u64,
    /// Why the data plane refused a policy, if it refused the last one.
    pub(crate) refused: Option<String>,
    /// Times that forwarding was interrupted since the guard started.
    pub(crate) outages: u64,
    /// How long forwarding was interrupted in all, milliseconds. The time between the last sign of progress and the
    /// first of the successor: nothing was forwarded, nothing was seen.
    pub(crate) outage_ms: u64,
    /// The interface that is held down because another one has no link: both, in this order.
    pub(crate) held_port: Option<[String; 2]>,
    /// `lan`, `uplink`: ports that have no link and are not held down for it. Of what DPDK drives by itself nobody knows here.
    #[serde(default)]
    pub(crate) links_down: Vec<String>,
}

/// How a process is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessInfo {
    /// `guard`, `dataplane` or `control`.
    pub(crate) name: String,
    /// `None` while there is none.
    pub(crate) pid: Option<u32>,
    /// `starting`, `up`, `fencing`, `waiting`, `stopping` or `stopped`.
    pub(crate) state: String,
    /// Monotonic nanoseconds since when.
    pub(crate) since_ns: u64,
    /// How often it was started again.
    pub(crate) restarts: u64,
    /// How the last one ended.
    pub(crate) last_end: Option<String>,
}
