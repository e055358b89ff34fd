//! Audit records: what the gateway writes down, and where.
//!
//! A record is one JSON object on one line. Every record carries
//! `{boot_id, seq, mono_ns, wall, wall_quality, event_type}`; keys that mean the same as in EVE (the JSON of Suricata) have
//! its names, such as `bytes_toserver`. `seq` counts what was written; what is missing was lost, and a `gap` record says how
//! much. This module knows what a record says; the sink it goes to puts number and time on it and keeps it.
//!
//! There is no record type with room for a name, an address, a device or a person, and none for a protected category:
//! a category can only be written as [`OnRecord`], and that has no protected one.
//!
//! | `event_type` | says |
//! |---|---|
//! | `started`, `stopped` | the policy engine began, ended in order |
//! | `policy` | which table and rules are in force from here on |
//! | `uninspected` | from when to when no fast path looked at frames, why, and who forwarded them |
//! | `charter` | what may be observed changes: a charter is installed, comes into force, opens, closes, ends |
//! | `receipts` | receipts of notices: how many there are, and how many an hour brought |
//! | `rollup` | counts of one hour, category and service of the whole network, while there is no charter |
//! | `group_rollup` | under a charter: counts of one hour or day, group, category and service, about `k` people or more |
//! | `uploads` | likewise: probable uploads, and large ones |
//! | `session` | at level `sealed`: what somebody did at a service in one visit, under a pseudonym, sealed: see [`crate::case`] |
//! | `sealed_key` | a key of such records is made or destroyed |
//! | `case_opened`, `case_approved`, `case_refused`, `case_shown`, `case_closed`, `case_expired`, `case_told`, `case_denied` | sealed records are asked for, or looked at |
//! | `login`, `login_failed`, `logout`, `access_denied`, `account`, `accounts` | who came to the page: see [`crate::access`] |
//! | `list_accepted` | a version of a subscribed list that was held is taken: see [`crate::access`] |
//! | `config_changed` | a configuration is restored from a backup, or one before comes back |
//! | `alert` | a condition that somebody has to know of is raised or cleared |
//! | `blindness` | of one hour: how many flows had a name, by evidence, and how many had none, by reason |
//! | `gap` | something was lost: how much and why |
//!
//! A log adds records of its own: more `gap`s, `log_full`, `removed`.

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::access::{AccountLine, AccountsFound, Denied, ListAccepted, Login, LoginFailed, Logout};
use crate::case::{CaseRecord, KeyChange, SessionLine};
use crate::category::Category;
use crate::charter::{PurposeStanding, Standing};
use crate::vocab::{GroupId, ObservationLevel, Purpose, coded};

coded! {
    /// How far the wall clock can be believed.
    pub enum WallQuality {
        /// Nobody knows: never set, or stepped.
        Unknown = 0 => "unknown",
        /// Set once, running free.
        Unsynchronized = 1 => "unsynchronized",
        /// Kept by a time server.
        Synchronized = 2 => "synchronized",
    }
}

coded! {
    /// How a configuration took the place of another.
    pub enum ConfigChange {
        /// From a backup.
        Restored = 1 => "restored",
        /// The one before came back.
        Undone = 2 => "undone",
    }
}

/// A moment. The monotonic clock decides, the wall clock only labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Nanoseconds of the monotonic clock of this boot.
    pub mono_ns: u64,
    /// The wall clock, if there is one.
    pub wall: Option<Timestamp>,
    /// How far it can be believed.
    pub quality: WallQuality,
}

impl Now {
    /// The day, where the clock is good enough to decide by.
    pub fn trusted_wall(&self) -> Option<Timestamp> {
        self.wall.filter(|_| self.quality == WallQuality::Synchronized)
    }
}

/// Which boot of the machine a monotonic time belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootId(pub u128);

impl BootId {
    /// From the kernel's `/proc/sys/kernel/random/boot_id`; `None` if the text is none.
    pub fn parse(text: &str) -> Option<Self> {
        let hex: String = text.trim().chars().filter(|c| *c != '-').collect();
        if hex.len() != 32 {
            return None;
        }
        u128::from_str_radix(&hex, 16).ok().map(Self)
    }
}

impl std::fmt::Display for BootId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// A category that may stand in a record: all but the protected ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnRecord(Category);

impl OnRecord {
    /// `None` for a protected category.
    pub const fn new(category: Category) -> Option<Self> {
        if category.is_protected() { None } else { Some(Self(category)) }
    }

    /// The category.
    pub const fn category(self) -> Category {
        self.0
    }
}

/// What happened.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event_type", rename_all = "snake_case")]
pub enum Record<'a> {
    /// The policy engine began.
    Started {
        /// Version of the program.
        version: &'a str,
    },
    /// The policy engine ended in order.
    Stopped {},
    /// From here on, these decide.
    Policy {
        /// Epoch of the matrix.
        epoch: u64,
        /// SHA-256 of the signature table.
        table: Hex<'a>,
        /// SHA-256 of what the table was compiled from.
        table_content: Hex<'a>,
        /// Rules in force.
        rules: usize,
    },
    /// Somebody turns all enforcement and observation off, or on again, with the next verdicts.
    Bypass {
        /// Whether everything is off from here on.
        on: bool,
        /// Whether it stays so when the gateway is started again.
        kept: bool,
        /// User id of who asked for it on the machine.
        #[serde(skip_serializing_if = "Option::is_none")]
        uid: Option<u32>,
    },
    /// A condition that somebody has to know of is raised, is about something else, or is cleared. About no person: see the manual of
    /// operations for each.
    Alert {
        /// Its name.
        alert: &'a str,
        /// `raised` or `cleared`.
        state: &'a str,
        /// `critical` or `warning`.
        severity: &'a str,
        /// Which ports, processes, lists or reasons.
        #[serde(skip_serializing_if = "str::is_empty")]
        about: &'a str,
    },
    /// No fast path looks at frames: written when that begins, and again when it is over.
    Uninspected {
        /// Counts such times since the guard started. Two records of one number are about one time.
        number: u64,
        /// Why.
        cause: Word<UninspectedCause>,
        /// Who forwards meanwhile.
        forwarder: Word<Forwarder>,
        /// Monotonic time of the last sign of the fast path, or of the guard's own start.
        start_mono_ns: u64,
        /// Monotonic time at which a fast path forwarded again.
        #[serde(skip_serializing_if = "Option::is_none")]
        end_mono_ns: Option<u64>,
        /// Frames that came to the ports meanwhile, as far as somebody counted them.
        #[serde(skip_serializing_if = "Option::is_none")]
        frames: Option<u64>,
    },
    /// Receipts of notices: those that were found at start, and each hour in which some were given or removed. On which device one was
    /// given is in no record, nor is when but for the hour.
    Receipts {
        /// Why it is written.
        cause: Word<ReceiptsCause>,
        /// In what time.
        #[serde(flatten)]
        window: Option<Window>,
        /// How many were given in it.
        given: u64,
        /// How many were removed in it.
        removed: u64,
        /// Groups in which enough people gave one.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        groups: Vec<ReadIn>,
        /// How many are kept.
        kept: u64,
        /// The length of the file that they are kept in.
        bytes: u64,
        /// SHA-256 of that file: a line that nobody gave shows by it.
        sha256: Hex<'a>,
    },
    /// What may be observed changes with the records that follow. Names a charter, never a person.
    Charter {
        /// What changes it.
        cause: Word<CharterCause>,
        /// Whether the charter is in force.
        standing: Word<Standing>,
        /// Its name.
        #[serde(skip_serializing_if = "Option::is_none")]
        charter: Option<&'a str>,
        /// Its serial.
        #[serde(skip_serializing_if = "Option::is_none")]
        serial: Option<u64>,
        /// SHA-256 of its text.
        #[serde(skip_serializing_if = "Option::is_none")]
        sha256: Option<Hex<'a>>,
        /// The highest level that is observed from here on.
        level: Word<ObservationLevel>,
        /// Its purposes, in order.
        purposes: Vec<PurposeNow>,
    },
    /// What somebody did at a service in one visit, sealed.
    Session(SessionLine<'a>),
    /// A key of sealed records is made or destroyed.
    SealedKey {
        /// What becomes of it.
        change: Word<KeyChange>,
        /// Which.
        key: &'a str,
        /// SHA-256 of the charter that it is made under.
        #[serde(skip_serializing_if = "Option::is_none")]
        charter: Option<Hex<'a>>,
        /// User id of who said that the clock is right.
        #[serde(skip_serializing_if = "Option::is_none")]
        uid: Option<u32>,
    },
    /// A holder of shares opens a case.
    CaseOpened(CaseRecord<'a>),
    /// Another one approves it.
    CaseApproved(CaseRecord<'a>),
    /// One of them refuses it.
    CaseRefused(CaseRecord<'a>),
    /// One of the two is about to be shown what was recorded.
    CaseShown(CaseRecord<'a>),
    /// It was closed, without a look or after it.
    CaseClosed(CaseRecord<'a>),
    /// Its time is over, or the gateway stops.
    CaseExpired(CaseRecord<'a>),
    /// The subject was told of it.
    CaseTold(CaseRecord<'a>),
    /// A step that is not taken.
    CaseDenied(CaseRecord<'a>),
    /// Somebody came to the page.
    Login(Login<'a>),
    /// Somebody was not let in.
    LoginFailed(LoginFailed<'a>),
    /// Sessions of somebody end before their time.
    Logout(Logout<'a>),
    /// Somebody asked for what their role may not have.
    AccessDenied(Denied<'a>),
    /// Something becomes of an account.
    Account(AccountLine<'a>),
    /// The accounts that there are at start.
    Accounts(AccountsFound<'a>),
    /// The configuration on the disk is replaced.
    ConfigChanged {
        /// By what.
        change: Word<ConfigChange>,
        /// SHA-256 of the backup, or of the configuration that comes back, hexadecimal.
        sha256: &'a str,
        /// How many files change, where that is known.
        files: u64,
        /// User id of who did it on the machine.
        #[serde(skip_serializing_if = "Option::is_none")]
        uid: Option<u32>,
    },
    /// Somebody takes a version of a subscribed list that was held.
    ListAccepted(ListAccepted<'a>),
    /// Counts of one group, category and service in one window.
    Rollup {
        /// The level that allows it.
        level: Word<ObservationLevel>,
        /// When.
        #[serde(flatten)]
        window: Window,
        /// Number of the group.
        group: u16,
        /// The category.
        category: OnRecord,
        /// Key of the service, if one is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        service: Option<&'a str>,
        /// Flows whose verdict fell in the window.
        flows: u64,
        /// Those of them that were blocked.
        flows_blocked: u64,
        /// Volume within the window, of these and older flows.
        flow: Volume,
        /// Flows by how their name is known.
        evidence: Counts,
        /// Flows by protocol.
        app_proto: Counts,
    },
    /// Counts that at least `k` people of the groups of a charter stand behind, in one hour; or the rest of a day: what its hours
    /// could not tell. No two of these records count the same flow, so that nothing can be computed by subtracting them.
    GroupRollup {
        /// The level that allows it.
        level: Word<ObservationLevel>,
        /// When.
        #[serde(flatten)]
        window: Window,
        /// What it is about.
        #[serde(flatten)]
        of: Of<'a>,
        /// Flows whose verdict fell in the window.
        flows: u64,
        /// Volume within the window, of these and older flows.
        flow: Volume,
        /// How often somebody came to the service after a while without it.
        visits: u64,
        /// Seconds in which somebody was active there, of all people together.
        active_s: u64,
        /// Share of the flows that were blocked, per cent. From 100 flows on, as the shares below: by tens, from 1 000 on by ones.
        #[serde(skip_serializing_if = "Option::is_none")]
        blocked_percent: Option<u64>,
        /// Flows by how their name is known, per cent.
        evidence_percent: Counts,
        /// Flows without a name by reason, per cent.
        reasons_percent: Counts,
        /// Flows by protocol, per cent.
        app_proto_percent: Counts,
    },
    /// Probable uploads that at least `k` people stand behind, in one hour or the rest of a day.
    Uploads {
        /// The level that allows it.
        level: Word<ObservationLevel>,
        /// When.
        #[serde(flatten)]
        window: Window,
        /// Which uploads.
        measure: Word<Measure>,
        /// What it is about.
        #[serde(flatten)]
        of: Of<'a>,
        /// How many.
        uploads: u64,
        /// Bytes that were probably uploaded.
        bytes: u64,
    },
    /// What could not be seen in one window: to be read beside its counts.
    Blindness {
        /// When.
        #[serde(flatten)]
        window: Window,
        /// Flows with a verdict.
        flows: u64,
        /// Flows that were not looked at, because nothing may be written about them.
        not_looked_at: u64,
        /// Flows by how their name is known.
        evidence: Counts,
        /// Flows without a name, by reason.
        reasons: Counts,
        /// Flows whose name was too weak a hint to count for a category about people.
        too_weak: u64,
        /// Under a charter: what could be seen of the flows that the window's records tell of.
        #[serde(skip_serializing_if = "Option::is_none")]
        told: Option<Sight>,
    },
    /// Something was lost.
    Gap {
        /// Why.
        cause: Word<GapCause>,
        /// Events of the fast path that are missing.
        #[serde(skip_serializing_if = "is_zero")]
        events: u64,
        /// Records that are missing.
        #[serde(skip_serializing_if = "is_zero")]
        records: u64,
        /// Bytes that were cut off.
        #[serde(skip_serializing_if = "is_zero")]
        bytes: u64,
        /// What the system said.
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<&'a str>,
    },
}

impl Record<'_> {
    /// The record as a JSON object, without number and time. Empty if it can't be written, which no record is known for.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

coded! {
    /// What changes what may be observed.
    pub enum CharterCause {
        /// Somebody installs a charter.
        Installed = 1 => "installed",
        /// Time, a calendar, the clock or the directory; or what was installed is read at start.
        Changed = 2 => "changed",
    }
}

coded! {
    /// Why there is a record of receipts.
    pub enum ReceiptsCause {
        /// They were read at start.
        Found = 1 => "found",
        /// An hour is over in which some were given or removed.
        Hour = 2 => "hour",
    }
}

/// A group in which notices were read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReadIn {
    /// The group.
    pub group: String,
    /// How many people gave receipts, as a range.
    pub subjects: Bucket,
}

coded! {
    /// What counts are of.
    pub enum Measure {
        /// Flows, and what they carried.
        Use = 1 => "use",
        /// Probable uploads.
        Uploads = 2 => "uploads",
        /// Probable uploads of [`crate::upload::LARGE`] bytes and more.
        LargeUploads = 3 => "large_uploads",
    }
}

coded! {
    /// Which span a record is about.
    pub enum Span {
        /// An hour.
        Hour = 1 => "hour",
        /// What the hours of a day could not tell.
        Day = 2 => "rest_of_day",
    }
}

/// What counts of groups are about.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Of<'a> {
    /// An hour, or the rest of a day.
    pub span: Word<Span>,
    /// The group; all of them together where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<&'a str>,
    /// The category; all that are not told by themselves where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<OnRecord>,
    /// Key of the service, if one is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<&'a str>,
    /// Whether it is the rest of group or category: what is not told by itself.
    #[serde(skip_serializing_if = "is_false")]
    pub rest: bool,
    /// How many people stand behind it, as a range.
    pub subjects: Bucket,
    /// How many must.
    pub k: u32,
}

/// A number of people, as a range with fixed ends: exact numbers of overlapping counts could be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bucket {
    from: u32,
    to: Option<u32>,
}

impl Bucket {
    const ENDS: [u32; 7] = [10, 20, 50, 100, 200, 500, 1000];

    /// The range that a number of people is in, where at least `k` must be.
    pub fn of(people: usize, k: usize) -> Self {
        let people = u32::try_from(people).unwrap_or(u32::MAX);
        let at = Self::ENDS.partition_point(|end| *end <= people);
        let from = at.checked_sub(1).and_then(|i| Self::ENDS.get(i)).copied().unwrap_or_default();
        let from = from.max(u32::try_from(k).unwrap_or(u32::MAX)).min(people);
        Self { from, to: Self::ENDS.get(at).map(|end| end - 1) }
    }
}

impl std::fmt::Display for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.to {
            Some(to) => write!(f, "{}-{to}", self.from),
            None => write!(f, "{} or more", self.from),
        }
    }
}

impl Serialize for Bucket {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What could be seen of flows, in shares: exact numbers beside those of records would tell what the records don't.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sight {
    /// Flows with a name, by how it is known, per cent.
    pub evidence_percent: Counts,
    /// Flows without a name, by reason, per cent.
    pub reasons_percent: Counts,
}

/// A purpose and whether it allows anything.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct PurposeNow {
    /// The purpose.
    pub purpose: Word<Purpose>,
    /// Whether it is open, and why not.
    pub standing: Word<PurposeStanding>,
}

coded! {
    /// Why something is missing.
    pub enum GapCause {
        /// Numbers of events are missing: the ring was full, or the fast path died.
        EventsMissing = 1 => "events_missing",
        /// Events that mean nothing or contradict themselves.
        BadEvents = 2 => "bad_events",
        /// More services and groups at once than are kept; they were counted under their category.
        TooManyCells = 3 => "too_many_cells",
        /// There was no log for so long that records had to be given up.
        LogFull = 7 => "log_full",
        /// More people, services and groups at once than are kept: what they did is not counted.
        TooManyPeople = 8 => "too_many_people",
        /// More people at more services at once than are followed: they are counted without visits, time and uploads.
        TooManyTraces = 9 => "too_many_traces",
        /// Sessions that could not be sealed, and so are not kept: no key could be made, or the charter was over.
        NotSealed = 10 => "not_sealed",
    }
}

coded! {
    /// Why no fast path looks at frames.
    pub enum UninspectedCause {
        /// The gateway starts, or another one of it than before.
        Start = 1 => "start",
        /// The fast path ended.
        Ended = 2 => "ended",
        /// An lcore made no progress, so it was ended.
        Hung = 3 => "hung",
        /// It ended so often that it is not started again before somebody says so.
        Held = 4 => "held",
    }
}

coded! {
    /// Who forwards frames while no fast path does.
    pub enum Forwarder {
        /// Nobody: they are lost.
        Nobody = 0 => "nobody",
        /// A bridge of the kernel.
        KernelBridge = 1 => "kernel_bridge",
        /// A bypass card.
        Relay = 2 => "relay",
    }
}

/// A span of time that counts belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Window {
    /// Wall time of its beginning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<Timestamp>,
    /// Wall time of its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<Timestamp>,
    /// Monotonic time of its beginning.
    pub start_mono_ns: u64,
    /// Monotonic time of its end.
    pub end_mono_ns: u64,
    /// Whether it went on to its end.
    pub complete: bool,
}

/// Frames and bytes each way, by their EVE names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Volume {
    /// Frames from client to server.
    pub pkts_toserver: u64,
    /// Frames from server to client.
    pub pkts_toclient: u64,
    /// Bytes from client to server.
    pub bytes_toserver: u64,
    /// Bytes from server to client.
    pub bytes_toclient: u64,
}

/// Words with a count, zero left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(pub Vec<(&'static str, u64)>);

impl Serialize for Counts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().filter(|(_, n)| *n > 0).map(|(word, n)| (word, n)))
    }
}

/// A value that stands in records as its word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word<T>(pub T);

impl<T: std::fmt::Display> Serialize for Word<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl Serialize for OnRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.as_str())
    }
}

/// Bytes that stand in records as hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hex<'a>(pub &'a [u8]);

impl Serialize for Hex<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl std::fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Where records go.
pub trait AuditSink {
    /// Takes a record, in order. Never fails and never waits for a disk: what can't be kept is counted, and said in a
    /// [`Record::Gap`] as soon as something can be written again.
    fn append(&mut self, now: &Now, record: &Record<'_>);

    /// Makes durable what was taken, soon. An error says what is wrong now; nothing has to be done about it.
    fn commit(&mut self, now: &Now) -> std::io::Result<()>;

    /// Takes the record of something that must not happen unrecorded, and waits until it is durable, for two seconds at most. On
    /// an error it must not happen.
    fn act(&mut self, now: &Now, record: &Record<'_>) -> std::io::Result<()> {
        self.append(now, record);
        self.commit(now)
    }
}

/// Records in memory, as lines: for `replay` and for tests.
#[derive(Clone, Debug)]
pub struct MemoryLog {
    numbering: Numbering,
    /// The lines, without line ends.
    pub lines: Vec<String>,
}

impl MemoryLog {
    /// An empty one.
    pub const fn new(boot: BootId) -> Self {
        Self { numbering: Numbering { boot, next: 0 }, lines: Vec::new() }
    }
}

impl AuditSink for MemoryLog {
    fn append(&mut self, now: &Now, record: &Record<'_>) {
        let mut line = Vec::new();
        if self.numbering.write(&mut line, now, record) {
            self.lines.push(String::from_utf8(line).unwrap_or_default().trim_end().to_owned());
        }
    }

    fn commit(&mut self, _now: &Now) -> std::io::Result<()> {
        Ok(())
    }
}

/// Puts number and time on records.
#[derive(Clone, Copy, Debug)]
struct Numbering {
    boot: BootId,
    next: u64,
}

#[derive(Serialize)]
struct Stamped<'a> {
    boot_id: Word<BootId>,
    seq: u64,
    mono_ns: u64,
    wall: Option<Timestamp>,
    wall_quality: Word<WallQuality>,
    #[serde(flatten)]
    record: &'a Record<'a>,
}

impl Numbering {
    /// Appends a line to `out`. The number is used up even if that fails, so that a loss shows.
    fn write(&mut self, out: &mut Vec<u8>, now: &Now, record: &Record<'_>) -> bool {
        let stamped = Stamped {
            boot_id: Word(self.boot),
            seq: self.next,
            mono_ns: now.mono_ns,
            wall: now.wall,
            wall_quality: Word(now.quality),
            record,
        };
        self.next += 1;
        let before = out.len();
        match serde_json::to_writer(&mut *out, &stamped) {
            Ok(()) => {
                out.push(b'\n');
                true
            }
            Err(_) => {
                out.truncate(before);
                false
            }
        }
    }
}

/// Number of the group that everybody belongs to while there are no groups.
pub const EVERYBODY: GroupId = GroupId(0);

fn is_false(is: &bool) -> bool {
    !*is
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protected_categories_have_no_record() {
        for category in Category::ALL {
            assert_eq!(OnRecord::new(*category).is_none(), category.is_protected());
        }
    }

    #[test]
    fn people_are_told_in_ranges_that_do_not_undercut_k() {
        let said = [(5, 5), (9, 5), (10, 10), (12, 12), (19, 12), (20, 12), (99, 10), (1000, 10), (7, 10)]
            .map(|(people, k)| Bucket::of(people, k).to_string());
        assert_eq!(said, ["5-9", "5-9", "10-19", "12-19", "12-19", "20-49", "50-99", "1000 or more", "7-9"]);
    }

    #[test]
    fn records_are_lines_with_number_and_time() {
        let mut log = MemoryLog::new(BootId(0xab));
        let wall: Timestamp = "2026-11-21T20:00:00.5Z".parse().unwrap();
        let now = Now { mono_ns: 7, wall: Some(wall), quality: WallQuality::Synchronized };
        log.append(&now, &Record::Started { version: "1" });
        let gap = Record::Gap {
            cause: Word(GapCause::EventsMissing),
            events: 3,
            records: 0,
            bytes: 0,
            error: Some("a\"b\n"),
        };
        log.append(&Now { wall: None, quality: WallQuality::Unknown, ..now }, &gap);
        assert_eq!(
            log.lines,
            [
                r#"{"boot_id":"000000000000000000000000000000ab","seq":0,"mono_ns":7,"wall":"2026-11-21T20:00:00.5Z","wall_quality":"synchronized","event_type":"started","version":"1"}"#,
                r#"{"boot_id":"000000000000000000000000000000ab","seq":1,"mono_ns":7,"wall":null,"wall_quality":"unknown","event_type":"gap","cause":"events_missing","events":3,"error":"a\"b\n"}"#,
            ]
        );
    }

    #[test]
    fn boot_ids() {
        let id = BootId::parse("3f1c9d0a-0b1c-4d2e-8f90-a1b2c3d4e5f6\n").unwrap();
        assert_eq!(id.to_string(), "3f1c9d0a0b1c4d2e8f90a1b2c3d4e5f6");
        assert_eq!(BootId::parse("x"), None);
        assert_eq!(BootId::parse(&"g".repeat(32)), None);
    }
}
