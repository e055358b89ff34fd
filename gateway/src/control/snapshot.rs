//! The gateway at one moment: what the page, the API, the metrics and `status` show, all from this one value.
//!
//! Nothing in it identifies a person: counts, rates, states, hashes.

use crate::feeds::FeedNow;
use crate::messages::{PortInfo, ProcessInfo};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The gateway at one moment.
#[derive(Clone, Debug, Default, JsonSchema, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    /// Version of the binary.
    pub(crate) version: String,
    /// Wall clock, RFC 3339, for reading only.
    pub(crate) time: String,
    /// Milliseconds since the guard started.
    pub(crate) uptime_ms: u64,
    /// Everything that does not work, in words; empty when all is well.
    pub(crate) troubles: Vec<String>,
    /// The same in Chinese, in the same order; what a system or a compiler said stays as it was said.
    #[serde(default)]
    pub(crate) troubles_zh: Vec<String>,
    /// Alerts that are raised.
    #[serde(default)]
    pub(crate) alerts: Vec<AlertNow>,
    /// Who is told of them, and how that goes.
    #[serde(default)]
    pub(crate) alert_targets: Vec<TargetNow>,
    /// There while all enforcement and observation is off.
    pub(crate) bypass: Option<BypassNow>,
    pub(crate) recording: Recording,
    pub(crate) identity: IdentityNow,
    /// The gateway's own address on the ports of the bridge, where it has one.
    #[serde(default)]
    pub(crate) inband: Option<InbandNow>,
    #[serde(default)]
    pub(crate) sealed: SealedNow,
    pub(crate) processes: Vec<ProcessInfo>,
    pub(crate) outages: Outages,
    #[serde(default)]
    pub(crate) uninspected: UninspectedNow,
    /// The interface that is held down because another one has no link: both, in this order.
    #[serde(default)]
    pub(crate) held_port: Option<[String; 2]>,
    /// Ports that have no link, as far as the kernel knows.
    #[serde(default)]
    pub(crate) links_down: Vec<String>,
    pub(crate) confinement: Confinement,
    pub(crate) ports: Vec<PortNow>,
    pub(crate) lcores: Vec<LcoreNow>,
    /// How long frames stay in the box.
    #[serde(default)]
    pub(crate) latency: LatencyNow,
    pub(crate) flows: FlowsNow,
    /// Flows that got a name, by how it is known.
    pub(crate) named: Vec<Count>,
    /// The blindness meter: flows without a name, by reason.
    pub(crate) unnamed: Vec<Count>,
    /// Flows whose name is too weak a hint to count for a category about people.
    pub(crate) too_weak: u64,
    /// Flows that were not looked at, because nothing may be written about them.
    pub(crate) not_looked_at: u64,
    /// Those of them that have ended, by the reason why nothing may be written.
    #[serde(default)]
    pub(crate) unobserved: Vec<Count>,
    /// Flows and bytes by category, greatest first.
    pub(crate) categories: Vec<Aggregate>,
    /// Flows and bytes by service, greatest first, as far as they may be counted.
    pub(crate) services: Vec<Aggregate>,
    /// Under a charter: what groups did in the hours that are over.
    #[serde(default)]
    pub(crate) report: ReportNow,
    /// Rules, in order, with what they did.
    pub(crate) rules: Vec<RuleNow>,
    /// Frames that belong to no flow, by what they are: forwarded, never looked at.
    pub(crate) not_flows: Vec<Count>,
    pub(crate) policy: PolicyNow,
    pub(crate) events: EventsNow,
    /// The audit log: how long it is, and who signed that.
    #[serde(default)]
    pub(crate) log: LogNow,
    /// SHA-256 of the certificate that the page shows.
    #[serde(default)]
    pub(crate) certificate: String,
    /// The last two minutes, oldest first, a point each second.
    pub(crate) history: Vec<Point>,
}

/// An alert that is raised.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub(crate) struct AlertNow {
    /// A name of [`crate::alert::Alert`].
    pub(crate) name: String,
    /// `critical` or `warning`.
    pub(crate) severity: String,
    /// Which ports, processes, lists or reasons; empty where there is but one.
    pub(crate) about: String,
    /// Since when, RFC 3339; of this process, if it was raised before.
    pub(crate) since: String,
}

/// Where alerts are sent, since the control process started.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub(crate) struct TargetNow {
    /// `webhook` or `syslog`.
    pub(crate) kind: String,
    /// Messages that wait.
    pub(crate) waiting: usize,
    pub(crate) delivered: u64,
    /// Tries that failed; each message is tried again.
    pub(crate) failed: u64,
    /// Messages that there was no room for any more.
    pub(crate) given_up: u64,
    /// Why the last try failed.
    pub(crate) trouble: Option<String>,
}

/// Sealed records, as far as anybody may know at once: how many there are would tell when somebody's visit was over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub(crate) struct SealedNow {
    /// Keys whose records can still be opened.
    pub(crate) keys: usize,
    /// Cases that are open.
    pub(crate) cases: usize,
}

/// That all enforcement and observation is off.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub(crate) struct BypassNow {
    /// Since when, RFC 3339; of this process, if it was on before.
    pub(crate) since: String,
    /// Whether it stays so when the gateway is started again.
    pub(crate) kept: bool,
}

/// What is known of devices, in numbers.
#[derive(Clone, Debug, Default, JsonSchema, Serialize, Deserialize)]
pub(crate) struct IdentityNow {
    /// Groups of the directory.
    pub(crate) groups: usize,
    /// Devices, accounts and addresses that are enrolled.
    pub(crate) enrolled: usize,
    /// Addresses of which it is known whose they are, for now.
    pub(crate) addresses: usize,
    /// Those of them that belong to a group; all others are private.
    pub(crate) members: usize,
    /// Times that somebody claimed an address that another has.
    pub(crate) disputes: u64,
    /// Addresses that there was no room for.
    pub(crate) no_room: u64,
    /// Sessions of people who are logged in, as servers say.
    #[serde(default)]
    pub(crate) sessions: usize,
    /// Receipts of notices that were given, of whom is told nowhere.
    pub(crate) receipts: usize,
    /// What came in by RADIUS, where somebody listens to it.
    #[serde(default)]
    pub(crate) radius: Option<RadiusNow>,
    /// What was pushed, where somebody may.
    #[serde(default)]
    pub(crate) push: Option<PushNow>,
}

/// The gateway's own address on the ports of the bridge.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub(crate) struct InbandNow {
    /// The hardware address.
    pub(crate) mac: String,
    /// Addresses with prefix, and their VLAN.
    pub(crate) addresses: Vec<String>,
    /// Port of the page.
    pub(crate) port: u16,
    /// Which side may manage: `none`, `vlan`, `lan` or `uplink`.
    pub(crate) management: String,
    /// Frames to a group that ask for the gateway; those to itself are counted by port.
    pub(crate) copied: u64,
    /// Frames of both kinds that were handed to the gateway.
    pub(crate) punted: u64,
    /// Frames of both kinds that were not, by reason.
    pub(crate) refused: Vec<Count>,
    /// Frames of the gateway that were not sent, by reason.
    pub(crate) unsent: Vec<Count>,
    /// TCP flows that are being opened.
    pub(crate) waiting: usize,
    /// TCP flows that are open.
    pub(crate) open: usize,
    /// TCP flows that were opened since the control process started.
    pub(crate) accepted: u64,
    /// TCP flows that were not opened or not kept, and frames that the stack could do nothing with, by reason.
    pub(crate) turned_away: Vec<Count>,
}

/// What was pushed over HTTP since the control process started.
#[derive(Clone, Debug, Default, JsonSchema, Serialize, Deserialize)]
pub(crate) struct PushNow {
    /// Requests that said who has an address.
    pub(crate) set: u64,
    /// Requests that took it back.
    pub(crate) withdrawn: u64,
    /// Requests that were refused, by reason.
    pub(crate) refused: Vec<Count>,
}

/// RADIUS accounting since the control process started.
#[derive(Clone, Debug, Default, JsonSchema, Serialize, Deserialize)]
pub(crate) struct RadiusNow {
    /// Requests that were taken and answered.
    pub(crate) taken: u64,
    /// What they did.
    pub(crate) effects: Vec<Count>,
    /// Requests that came again, and were answered again.
    pub(crate) repeated: u64,
    /// Answers that the kernel did not take.
    pub(crate) unsent: u64,
    /// Packets that were dropped, by reason.
    pub(crate) refused: Vec<Count>,
}

/// What is written about people at present, and on which basis.
#[derive(Clone, Debug, Default, JsonSchema, Serialize, Deserialize)]
pub(crate) struct Recording {
    /// `none`, `aggregate` or `sealed`.
    pub(crate) level: String,
    /// In plain words: what is recorded.
    pub(crate) what: String,
    /// In plain words: why it may be.
    pub(crate) basis: String,
    /// Both in Chinese.
    #[serde(default)]
    pub(crate) what_zh: String,
    #[serde(default)]
    pub(crate) basis_zh: String,
}

/// Interruptions of forwarding since the guard started.
#[derive(Clone, Debug, Default, JsonSchema, Serialize, Deserialize)]
pub(crate) struct Outages {
    pub(crate) count: u64,
    pub(crate) total_ms: u64,
}

/// Times in which frames passed, or did not, without a fast path that looked at them; since the guard started.
#[derive(Clone, Debug, Default, JsonSchema, Serialize, Deserialize)]
pub(crate) struct UninspectedNow {
    pub(crate) count: u64,
    pub(crate) total_ms: u64,
    /// Whether it is so now.
    pub(crate) now: bool,
    /// Who forwards when no fast path can: `kernel_bridge`, `relay` or `nobody`.
    pub(crate) fallback: String,
    /// Why that is nobody.
    pub(crate) fallback_missing: Option<String>,
    /// The data plane ended so often that it is not started before somebody says so.
    pub(crate) held: bool,
}

/// What confines the processes, in words.
#[derive(Clone, Debug, Default, JsonSchema, Serialize, Deserialize)]
pub(crate) struct Confinement {
    pub(crate) dataplane: String,
    pub(crate) control: String,
}

/// A port: totals since the data plane started, and what passes now.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
pub(crate) struct PortNow {
    #[serde(flatten)]
    pub(crate) info: PortInfo,
    pub(crate) rx_frames: u64,
    pub(crate) rx_bytes: u64,
    pub(crate) tx_frames: u64,
    pub(crate) tx_bytes: u64,
    /// Lost by hardware or driver before they were handed over.
    pub(crate) rx_missed: u64,
    /// Frames that came in here and were dropped because of their flow's verdict.
    pub(crate) drop_policy: u64,
    /// Frames made here that left by this port: answers to blocked flows. They count as sent.
    pub(crate) answers: u64,
    /// Frames that came in here and were dropped because their flow was over a limit.
    pub(crate) drop_limit: u64,
    /// Frames that came in here and were dropped because the other port did not take them.
    pub(crate) drop_tx_full: u64,
    /// Frames that came in here for the gateway itself.
    #[serde(default)]
    pub(crate) inband_taken: u64,
    /// Frames of the gateway itself that left by this port. They count as sent.
    #[serde(default)]
    pub(crate) inband_sent: u64,
    pub(crate) rx_frames_per_s: f64,
    pub(crate) rx_bits_per_s: f64,
    pub(crate) tx_frames_per_s: f64,
    pub(crate) tx_bits_per_s: f64,
}

/// An lcore.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
pub(crate) struct LcoreNow {
    pub(crate) cpu: u32,
    /// Milliseconds since it last showed its counters.
    pub(crate) seen_ms_ago: u64,
    /// Share of turns in which frames arrived, 0 to 1.
    pub(crate) load: f64,
    /// Nanoseconds within which 99 % of its frames had left the box; see [`LatencyNow`].
    #[serde(default)]
    pub(crate) p99_ns: Option<u64>,
    pub(crate) turns: u64,
    pub(crate) flows_active: u64,
    pub(crate) flows_capacity: u64,
    /// Flows whose first bytes are being put together.
    pub(crate) inspections: u64,
    pub(crate) inspections_capacity: u64,
    /// Panics of inspectors that were contained.
    pub(crate) panics: u64,
    /// The epoch of the matrix it uses.
    pub(crate) epoch: u64,
    /// Whether it uses the matrix that was handed out last.
    pub(crate) acknowledged: bool,
    pub(crate) ring_capacity: u64,
    /// Events waiting.
    pub(crate) ring_fill: u64,
}

/// How long frames stayed in the box since the data plane started, from when they were received until the lcore had
/// handled and sent all that it received with them: an upper bound for each. What they waited in a NIC before is not in it.
#[derive(Clone, Debug, Default, JsonSchema, Serialize, Deserialize)]
pub(crate) struct LatencyNow {
    pub(crate) frames: u64,
    /// Nanoseconds within which the share had left; `None` without frames.
    pub(crate) p50_ns: Option<u64>,
    pub(crate) p90_ns: Option<u64>,
    pub(crate) p99_ns: Option<u64>,
    pub(crate) p999_ns: Option<u64>,
    pub(crate) max_ns: Option<u64>,
    /// Frames that stayed for less than so many nanoseconds, by octaves, ascending.
    pub(crate) below: Vec<(u64, u64)>,
}

/// Flows of all lcores.
#[derive(Clone, Debug, Default, JsonSchema, Serialize, Deserialize)]
pub(crate) struct FlowsNow {
    pub(crate) active: u64,
    pub(crate) capacity: u64,
    pub(crate) opened: u64,
    pub(crate) opened_per_s: f64,
}

/// A number with its word.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub(crate) struct Count {
    pub(crate) name: String,
    pub(crate) count: u64,
}

/// Counts of a category or service.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub(crate) struct Aggregate {
    /// The word or key used in rules, records and metrics.
    pub(crate) name: String,
    /// What people call it.
    pub(crate) title: String,
    /// The category of a service; of a category, itself.
    pub(crate) category: String,
    pub(crate) flows: u64,
    /// Those of them that were blocked.
    pub(crate) flows_blocked: u64,
    pub(crate) bytes_up: u64,
    pub(crate) bytes_down: u64,
}

/// What groups did in the hours that are over, as far as at least `k` people stand behind it.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub(crate) struct ReportNow {
    /// When the oldest of these hours began, RFC 3339; `None` before the first was over.
    pub(crate) since: Option<String>,
    /// What is told, most flows first. Rows have no flow in common.
    pub(crate) rows: Vec<GroupNow>,
    /// What may be told of but is not: nobody or fewer than `k`, which of the two is not said.
    pub(crate) suppressed: Vec<Suppressed>,
    /// The blindness meter of these rows: flows with a name by how it is known, per cent.
    pub(crate) named_percent: Vec<Count>,
    /// Flows without a name by reason, per cent.
    pub(crate) unnamed_percent: Vec<Count>,
}

/// Something that at least `k` people of a group did.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub(crate) struct GroupNow {
    /// The group; `None` for all together.
    pub(crate) group: Option<String>,
    /// The category; `None` for the rest of a group.
    pub(crate) category: Option<String>,
    /// Key of the service, if one is told by itself.
    pub(crate) service: Option<String>,
    /// What people call it.
    pub(crate) title: String,
    /// How many people, at most at once, as a range.
    pub(crate) subjects: String,
    /// How many must stand behind it.
    pub(crate) k: u32,
    pub(crate) flows: u64,
    /// `None` below 100 flows.
    pub(crate) blocked_percent: Option<u64>,
    pub(crate) bytes_up: u64,
    pub(crate) bytes_down: u64,
    /// How often somebody came after a while without it.
    pub(crate) visits: u64,
    /// Seconds in which somebody was active, of all people together.
    pub(crate) active_s: u64,
    /// Probable uploads; `None` where fewer than `k` people uploaded or nothing may be counted of it. Without those of the next
    /// field where the purpose `leak` covers it.
    pub(crate) uploads: Option<u64>,
    /// Probable uploads of 10 MiB and more to where files go; likewise.
    pub(crate) large_uploads: Option<u64>,
}

/// A group and category of which nothing is told.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub(crate) struct Suppressed {
    pub(crate) group: String,
    pub(crate) category: String,
    /// What people call the category.
    pub(crate) title: String,
    pub(crate) k: u32,
}

/// A rule and what it did.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub(crate) struct RuleNow {
    pub(crate) name: String,
    /// Whether it acts, or is in shadow and only counted.
    pub(crate) enforced: bool,
    /// What it does.
    pub(crate) action: String,
    /// Flows that it decided about, or would have.
    pub(crate) flows: u64,
    /// Bytes of these flows, both ways.
    pub(crate) bytes: u64,
    /// The hour of the last such flow, RFC 3339. Not the minute: on a small network that is a person.
    pub(crate) last_hit: Option<String>,
    /// Since when it is counted, RFC 3339: a reload that leaves the rule as it is does not begin anew.
    pub(crate) since: Option<String>,
    /// Whether flows and bytes are powers of ten, of what at least `k` people did: under a charter they are.
    #[serde(default)]
    pub(crate) rounded: bool,
}

/// What the fast path decides by.
#[derive(Clone, Debug, Default, JsonSchema, Serialize, Deserialize)]
pub(crate) struct PolicyNow {
    pub(crate) epoch: u64,
    /// SHA-256, hexadecimal.
    pub(crate) matrix_hash: String,
    /// SHA-256, hexadecimal.
    pub(crate) table_hash: String,
    /// SHA-256 of what the table was compiled from, hexadecimal.
    #[serde(default)]
    pub(crate) table_content: String,
    /// Lcores that acknowledged the matrix.
    pub(crate) acknowledged: usize,
    pub(crate) lcores: usize,
    /// Seconds until the fast path stops using it, if it is not renewed.
    pub(crate) valid_for_s: f64,
    pub(crate) services: u64,
    pub(crate) signatures: u64,
    pub(crate) rules: u64,
    /// Wall clock of the last successful load.
    pub(crate) loaded: String,
    /// Why the files as they are now were not taken; the running policy is an older one.
    pub(crate) rejected: Option<String>,
    /// Why the data plane refused the policy.
    pub(crate) refused: Option<String>,
    /// The day on which the pack was made, in days since 1970, where there is one.
    #[serde(default)]
    pub(crate) pack_day: Option<i64>,
    /// Subscribed lists, as they were found at the last load.
    #[serde(default)]
    pub(crate) lists: Vec<FeedNow>,
}

/// Events between fast path and slow path.
#[derive(Clone, Debug, Default, JsonSchema, Serialize, Deserialize)]
pub(crate) struct EventsNow {
    pub(crate) received: u64,
    /// Lost because a ring was full, by kind.
    pub(crate) lost: Vec<Count>,
    /// Slots of a ring that held no event.
    pub(crate) bad: u64,
    /// Numbers of events that never came.
    pub(crate) missing: u64,
    /// Records made durable in the audit log since the control process started.
    pub(crate) records: u64,
    /// Size of the audit log.
    pub(crate) log_bytes: u64,
    /// Why the audit log does not take records.
    pub(crate) log_trouble: Option<String>,
    /// What is wrong with its witness, or what the witness says is wrong with the log.
    #[serde(default)]
    pub(crate) witness_trouble: Option<String>,
}

/// The audit log, as it was a moment ago.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub(crate) struct LogNow {
    /// Its name.
    pub(crate) name: String,
    /// Entries there were ever.
    pub(crate) entries: u64,
    /// The first that is there: those before were deleted for space.
    pub(crate) first: u64,
    /// Entries that the newest checkpoint covers.
    pub(crate) signed: u64,
    /// When it was signed, RFC 3339, by the clock of this machine.
    pub(crate) signed_at: Option<String>,
    /// The checkpoint.
    pub(crate) checkpoint: Option<String>,
    /// Whether a witness is asked to remember it.
    pub(crate) asks_a_witness: bool,
    /// What the witness signed last.
    pub(crate) witnessed: Option<WitnessedNow>,
    /// Its index.
    pub(crate) store: StoreNow,
}

/// A checkpoint that a witness signed.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub(crate) struct WitnessedNow {
    /// The name of the witness.
    pub(crate) by: String,
    /// Entries that it covers.
    pub(crate) entries: u64,
    /// When, RFC 3339, by the clock of the witness.
    pub(crate) at: String,
}

/// The rollup store.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub(crate) struct StoreNow {
    /// Entries of the log that it has taken.
    pub(crate) next: u64,
    /// Records that can be searched.
    pub(crate) records: u64,
    /// Its size.
    pub(crate) bytes: u64,
    /// The oldest hour that it has, RFC 3339.
    pub(crate) oldest: Option<String>,
    /// Why it can't answer, or does not have what is newest.
    pub(crate) trouble: Option<String>,
}

/// One second.
#[derive(Clone, Copy, Debug, Default, JsonSchema, Serialize, Deserialize)]
pub(crate) struct Point {
    /// Bits per second that came in at the LAN port.
    pub(crate) up_bits: f64,
    /// Bits per second that came in at the uplink port.
    pub(crate) down_bits: f64,
    /// Frames per second of both.
    pub(crate) frames: f64,
    /// Frames dropped in this second.
    pub(crate) drops: f64,
}
