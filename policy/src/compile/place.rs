//! Lays labels out in lines so that no line overflows and no label needs a second one.
//!
//! Labels fall into groups of about four by their hash. A group's *pilot* is a byte that goes into the hash which
//! picks the line of each of its labels; the compiler tries pilots until all labels of the group find room, largest
//! groups first, while there is still room everywhere. So every label is in exactly one line, at a cost of two bits a
//! label, and a line can be much fuller than chance would fill it.
//!
//! Tried instead: lines that overflow into the next one. At 85 % full a third of the lines overflowed, so that one
//! lookup in three paid a second cache miss. Two choices of line: every miss pays both.

#![allow(
    clippy::indexing_slicing,
    reason = "every index here is a group, line or node number below the length it was scaled to"
)]

use super::tree::Node;
use crate::table::hash::Hash;
use crate::table::line::{LINE, MAX_INLINE, MAX_RECORDS, Record};
use prefetch_index::prefetch_index;

/// Labels a group holds on average.
const GROUP: usize = 4;
/// How full the lines are meant to get, of 64: what the search reaches quickly.
const FILL: usize = 55;
/// How often more lines are tried, a twentieth more each time.
const ATTEMPTS: usize = 24;
/// How many steps ahead memory is asked for.
const AHEAD: usize = 16;

/// Sections of the table.
pub(super) struct Placed {
    pub(super) lines: Vec<u8>,
    pub(super) pilots: Vec<u8>,
    pub(super) spill: Vec<u8>,
    pub(super) groups: u32,
}

/// Places all nodes; `None` if no layout was found, which takes labels that collide in all 64 bits of their hash.
pub(super) fn place(nodes: &[Node<'_>]) -> Option<Placed> {
    let mut spill = Vec::new();
    let records: Vec<Record<'_>> = nodes.iter().map(|node| record(node, &mut spill)).collect();
    let sizes: Vec<u8> = records.iter().map(|r| r.size() as u8).collect();
    let total: usize = sizes.iter().map(|s| usize::from(*s)).sum();

    let groups = (nodes.len() / GROUP).max(1) as u32;
    let members = Members::of(nodes, &sizes, groups);
    let mut lines = (total.div_ceil(FILL)).max(1);
    for _ in 0..ATTEMPTS {
        if let Some((pilots, taken)) = search(&members, lines as u32) {
            let lines = fill(nodes, &records, &pilots, &taken)?;
            return Some(Placed { lines, pilots, spill, groups });
        }
        lines += lines / 20 + 1;
    }
    None
}

fn record<'a>(node: &Node<'a>, spill: &mut Vec<u8>) -> Record<'a> {
    let mut spill_at = 0;
    if node.label.len() > MAX_INLINE {
        spill_at = spill.len() as u32;
        spill.extend_from_slice(node.label);
    }
    Record { branch: node.branch, found: node.found, label: node.label, spill_at }
}

/// What belongs to a group.
struct Members {
    /// Where each group begins in `all`; one more than there are groups.
    starts: Vec<u32>,
    /// All that the search needs of each node, group by group: read where it lies, and not in four places a group.
    all: Vec<Member>,
    /// Groups by falling number of members.
    order: Vec<u32>,
}

#[derive(Clone, Copy)]
struct Member {
    hash: Hash,
    size: u8,
}

impl Members {
    fn of(nodes: &[Node<'_>], sizes: &[u8], groups: u32) -> Self {
        let mut starts = vec![0u32; groups as usize + 1];
        for node in nodes {
            starts[node.hash.group(groups) as usize + 1] += 1;
        }
        let largest = starts.iter().copied().max().unwrap_or(0) as usize;
        let mut by_size = vec![0u32; largest + 2];
        for count in &starts[1..] {
            by_size[largest - *count as usize + 1] += 1;
        }
        for i in 1..by_size.len() {
            by_size[i] += by_size[i - 1];
        }
        let mut order = vec![0u32; groups as usize];
        for (group, count) in starts[1..].iter().enumerate() {
            let slot = &mut by_size[largest - *count as usize];
            order[*slot as usize] = group as u32;
            *slot += 1;
        }
        for i in 1..starts.len() {
            starts[i] += starts[i - 1];
        }
        let mut next = starts.clone();
        let mut all = vec![Member { hash: Hash::NONE, size: 0 }; nodes.len()];
        for (node, size) in nodes.iter().zip(sizes) {
            let slot = &mut next[node.hash.group(groups) as usize];
            all[*slot as usize] = Member { hash: node.hash, size: *size };
            *slot += 1;
        }
        Self { starts, all, order }
    }

    fn group(&self, group: u32) -> &[Member] {
        let group = group as usize;
        &self.all[self.starts[group] as usize..self.starts[group + 1] as usize]
    }
}

/// What is taken of a line.
#[derive(Clone, Copy)]
struct Taken {
    bytes: u8,
    records: u8,
}

/// Finds a pilot for every group, or gives up; and says what is taken of each line then.
fn search(members: &Members, lines: u32) -> Option<(Vec<u8>, Vec<Taken>)> {
    let mut taken = vec![Taken { bytes: 1, records: 0 }; lines as usize];
    let mut pilots = vec![0u8; members.order.len()];
    for (i, group) in members.order.iter().enumerate() {
        if let Some(ahead) = members.order.get(i + AHEAD) {
            prefetch_index(&members.all, members.starts[*ahead as usize] as usize);
        }
        let group_members = members.group(*group);
        if group_members.is_empty() {
            break;
        }
        let pilot = (0..=u8::MAX).find(|pilot| fits(group_members, *pilot, &mut taken))?;
        pilots[*group as usize] = pilot;
    }
    Some((pilots, taken))
}

/// Takes room for a group with this pilot, or takes nothing.
fn fits(group: &[Member], pilot: u8, taken: &mut [Taken]) -> bool {
    let lines = taken.len() as u32;
    let line_of = |member: &Member| member.hash.line(pilot, lines) as usize;
    for (done, member) in group.iter().enumerate() {
        let line = &mut taken[line_of(member)];
        if usize::from(line.bytes + member.size) > LINE || usize::from(line.records) == MAX_RECORDS {
            for member in &group[..done] {
                let line = &mut taken[line_of(member)];
                line.bytes -= member.size;
                line.records -= 1;
            }
            return false;
        }
        line.bytes += member.size;
        line.records += 1;
    }
    true
}

/// Writes the lines.
fn fill(nodes: &[Node<'_>], records: &[Record<'_>], pilots: &[u8], taken: &[Taken]) -> Option<Vec<u8>> {
    let line_of = |node: &Node<'_>| {
        let pilot = pilots[node.hash.group(pilots.len() as u32) as usize];
        node.hash.line(pilot, taken.len() as u32) as usize
    };
    let mut out = vec![0u8; taken.len() * LINE];
    // The rank of the next record, and where it goes.
    let mut next: Vec<(u8, u8)> = taken.iter().map(|line| (0, 1 + 2 * line.records)).collect();
    // Where the next records go: found ahead, so that their lines are there when they are written.
    let mut ahead = [0; AHEAD];
    for (place, node) in ahead.iter_mut().zip(nodes) {
        *place = line_of(node);
    }
    for (i, (node, record)) in nodes.iter().zip(records).enumerate() {
        let place = &mut ahead[i % AHEAD];
        let line = *place;
        if let Some(node) = nodes.get(i + AHEAD) {
            *place = line_of(node);
            prefetch_index(&out, *place * LINE);
        }
        let (rank, at) = &mut next[line];
        let bytes = &mut out[line * LINE..(line + 1) * LINE];
        let count = taken[line].records;
        bytes[0] = count;
        bytes[usize::from(1 + *rank)] = node.hash.tag();
        bytes[usize::from(1 + count + *rank)] = *at;
        let written = record.write(&mut bytes[usize::from(*at)..])?;
        *rank += 1;
        *at += written as u8;
    }
    Some(out)
}
