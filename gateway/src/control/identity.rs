//! Who is in which group: the directory on disk, and the addresses that the fast path hears of.

use super::PushChange;
use super::receipts::Receipts;
use crate::config::read_bounded;
use glassgate_policy::charter::{Group, Levels};
use glassgate_policy::diagnostic::{Diagnostic, Diagnostics};
use glassgate_policy::identity::radius::{Refused, Request};
use glassgate_policy::identity::{
    Bindings, Counters, Directory, Effect, Heard, Holder, IdentityEvent, Logins, MAX_BYTES, Subjects,
};
use glassgate_policy::matrix::Members;
use glassgate_policy::{GroupId, SubjectId};
use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::path::Path;

/// What is known of devices and people.
#[derive(Default)]
pub(super) struct Identity {
    directory: Directory,
    bindings: Bindings,
    subjects: Subjects,
    members: Members,
}

impl Identity {
    /// Reads a directory; without a path nobody is enrolled.
    pub(super) fn read(path: Option<&Path>) -> Result<Directory, Diagnostics> {
        let Some(path) = path else { return Ok(Directory::default()) };
        let name = path.display().to_string();
        let bytes = read_bounded(path, MAX_BYTES as u64).map_err(|e| {
            Diagnostic::file(&name, "unreadable", format!("the directory can't be read: {e}"))
        })?;
        Directory::parse(&name, &bytes)
    }

    /// From now on, this directory holds.
    pub(super) fn enrol(&mut self, directory: Directory, now_ns: u64) {
        self.subjects.deal(&directory, now_ns);
        self.directory = directory;
        self.members = self.plain_members(now_ns);
    }

    /// Takes what the fast path heard.
    pub(super) fn hear(&mut self, event: &IdentityEvent) {
        self.bindings.hear(event);
    }

    /// Takes what a RADIUS client says.
    pub(super) fn account(
        &mut self,
        client: usize,
        source: IpAddr,
        request: &Request<'_>,
        heard: Heard,
    ) -> Result<Effect, Refused> {
        self.bindings.logins_mut().account(client, source, request, heard)
    }

    /// Takes what somebody pushed. `false`: there is no room.
    pub(super) fn push(&mut self, change: PushChange, now_ns: u64) -> bool {
        let logins = self.bindings.logins_mut();
        match change {
            PushChange::Set { ip, account, mac, seconds } => {
                let until_ns = now_ns.saturating_add(seconds.saturating_mul(1_000_000_000));
                logins.push(ip, account.as_deref(), mac, now_ns, until_ns)
            }
            PushChange::Withdraw { ip } => {
                logins.withdraw(ip);
                true
            }
        }
    }

    /// Who is logged in.
    pub(super) fn logins(&self) -> &Logins {
        self.bindings.logins()
    }

    /// Lets time pass. Whether somebody is in another group than before.
    pub(super) fn tick(&mut self, now_ns: u64) -> bool {
        self.bindings.tick(now_ns);
        if !self.bindings.take_changed() {
            return false;
        }
        let members = self.plain_members(now_ns);
        let changed = members != self.members;
        self.members = members;
        changed
    }

    fn plain_members(&self, now_ns: u64) -> Members {
        self.bindings.members(&self.directory, &self.subjects, now_ns, |_, group| group)
    }

    /// The rows of addresses under these levels: of those who have a notice to read, that of those who have.
    pub(super) fn members_under(&self, levels: &Levels, receipts: &Receipts, now_ns: u64) -> Members {
        if levels.rows() == levels.groups() {
            return self.members.clone();
        }
        self.bindings.members(&self.directory, &self.subjects, now_ns, |device, group| {
            match levels.unread(group) {
                Some((row, unread)) if !receipts.missing(&device.to_string(), &unread.notices).is_empty() => {
                    row
                }
                _ => group,
            }
        })
    }

    /// Who has each of some addresses.
    pub(super) fn holders(&self, ips: impl IntoIterator<Item = IpAddr>, now_ns: u64) -> Vec<Option<Holder>> {
        self.bindings.holders(ips, &self.directory, &self.subjects, now_ns)
    }

    /// All that is enrolled, as it stands in the directory.
    pub(super) fn enrolled(&self) -> HashSet<String> {
        self.directory.devices().map(|device| device.to_string()).collect()
    }

    #[cfg(test)]
    pub(super) fn subject_number(&self, name: &str) -> SubjectId {
        self.subjects.number(name)
    }

    /// Whose a number is. For sealing what they did, and nothing else.
    pub(super) fn subject_name(&self, number: SubjectId) -> Option<&str> {
        self.subjects.name(number)
    }

    /// The groups, in order of their rows.
    pub(super) fn groups(&self) -> &[Group] {
        self.directory.groups()
    }

    /// Names of the groups with their rows, as rules use them.
    pub(super) fn rows(directory: &Directory) -> BTreeMap<String, GroupId> {
        let rows = (1..).map(GroupId);
        directory.groups().iter().map(|group| group.name.clone()).zip(rows).collect()
    }

    /// Addresses with a group.
    pub(super) fn members(&self) -> &Members {
        &self.members
    }

    /// Devices, accounts and addresses that are enrolled; addresses that are known; what was learnt.
    pub(super) fn counts(&self) -> (usize, usize, Counters) {
        (self.directory.len(), self.bindings.len(), self.bindings.counters())
    }
}
