//! What the processes say to each other over [`crate::ipc`].
//!
//! ```text
//!              Start, Lcore…, Policy, Go, Open, Stop        Start, Lcore…, World, Uninspected, Reload, Stop
//!  dataplane ◄──────────────────────────────── guard ────────────────────────────────────────► control
//!            ────────────────────────────────►       ◄────────────────────────────────────────
//!              Ready, Up, Refused, Failed                   Policy, Up, Noted, Resume, Failed
//! ```

use crate::config::{Config, Dataplane, Device, Inband};
use glassgate_policy::audit::{Forwarder, UninspectedCause};
use schemars::JsonSchema;
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
    /// Nobody else has the ports any more: open them. The answer to [`FromDataplane::Ready`].
    Open,
    /// Let go of the ports, end all flows, exit.
    Stop,
}

/// From the data plane to the guard.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum FromDataplane {
    /// All is there but the ports, which somebody else may forward by until now.
    Ready,
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
    World(Box<World>),
    /// No fast path looks at frames, or one does again. Said until it is [noted](FromControl::Noted).
    Uninspected(Uninspected),
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
    /// This is on record.
    Noted(Uninspected),
    /// Somebody says that a held data plane is to be started.
    Resume,
    /// It can't work. The process exits after this.
    Failed(Failure),
}

/// Values of the vocabulary travel as their words.
macro_rules! as_word {
    ($module:ident, $type:ty) => {
        mod $module {
            use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

            #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
            pub(super) fn serialize<S: Serializer>(value: &$type, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(value.as_str())
            }

            pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<$type, D::Error> {
                let word = String::deserialize(from)?;
                <$type>::from_word(&word).ok_or_else(|| D::Error::custom("no such word"))
            }
        }
    };
}

as_word!(cause_word, glassgate_policy::audit::UninspectedCause);
as_word!(forwarder_word, glassgate_policy::audit::Forwarder);

/// A time in which no fast path looks at frames.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Uninspected {
    /// Counts them since the guard started.
    pub(crate) number: u64,
    #[serde(with = "cause_word")]
    pub(crate) cause: UninspectedCause,
    #[serde(with = "forwarder_word")]
    pub(crate) forwarder: Forwarder,
    pub(crate) start_mono_ns: u64,
    /// Not over yet: none.
    pub(crate) end_mono_ns: Option<u64>,
    /// Frames that both ports received meanwhile.
    pub(crate) frames: Option<u64>,
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
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
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
    /// Who forwards when no fast path can: a word of [`Forwarder`].
    pub(crate) fallback: String,
    /// Why that is nobody.
    pub(crate) fallback_missing: Option<String>,
    /// Times that no fast path looked at frames since the guard started.
    pub(crate) uninspected: u64,
    /// How long that was in all, milliseconds; of one that goes on, until this was said.
    pub(crate) uninspected_ms: u64,
    /// Whether it goes on.
    pub(crate) is_uninspected: bool,
    /// The data plane ended so often that it is not started before somebody says so.
    pub(crate) held: bool,
    /// The interface that is held down because another one has no link: both, in this order.
    pub(crate) held_port: Option<[String; 2]>,
    /// `lan`, `uplink`: ports that have no link and are not held down for it. Of what DPDK drives by itself nobody knows here.
    #[serde(default)]
    pub(crate) links_down: Vec<String>,
}

/// How a process is.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
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
