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
use crate::table::line::{LINE, MAX_INLINE, MAX_RECORDS, Record};

/// Labels a group holds on average.
const GROUP: usize = 4;
/// How full the lines are meant to get, of 64: what the search reaches quickly.
const FILL: usize = 55;
/// How often more lines are tried, a twentieth more each time.
const ATTEMPTS: usize = 24;

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
    let members = Members::of(nodes, groups);
    let mut lines = (total.div_ceil(FILL)).max(1);
    for _ in 0..ATTEMPTS {
        if let Some(pilots) = search(nodes, &sizes, &members, lines as u32) {
            let lines = fill(nodes, &records, &pilots, lines as u32)?;
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

/// Which nodes belong to a group.
struct Members {
    /// Where each group begins in `nodes`; one more than there are groups.
    starts: Vec<u32>,
    nodes: Vec<u32>,
    /// Groups by falling number of members.
    order: Vec<u32>,
}

impl Members {
    fn of(nodes: &[Node<'_>], groups: u32) -> Self {
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
        let mut members = vec![0u32; nodes.len()];
        for (n, node) in nodes.iter().enumerate() {
            let slot = &mut next[node.hash.group(groups) as usize];
            members[*slot as usize] = n as u32;
            *slot += 1;
        }
        Self { starts, nodes: members, order }
    }

    fn group(&self, group: u32) -> &[u32] {
        let group = group as usize;
        &self.nodes[self.starts[group] as usize..self.starts[group + 1] as usize]
    }
}

/// What is taken of a line.
#[derive(Clone, Copy)]
struct Taken {
    bytes: u8,
    records: u8,
}

/// Finds a pilot for every group, or gives up.
fn search(nodes: &[Node<'_>], sizes: &[u8], members: &Members, lines: u32) -> Option<Vec<u8>> {
    let mut taken = vec![Taken { bytes: 1, records: 0 }; lines as usize];
    let mut pilots = vec![0u8; members.order.len()];
    for group in &members.order {
        let group_nodes = members.group(*group);
        if group_nodes.is_empty() {
            break;
        }
        let pilot = (0..=u8::MAX).find(|pilot| fits(nodes, sizes, group_nodes, *pilot, &mut taken))?;
        pilots[*group as usize] = pilot;
    }
    Some(pilots)
}

/// Takes room for a group with this pilot, or takes nothing.
fn fits(nodes: &[Node<'_>], sizes: &[u8], group: &[u32], pilot: u8, taken: &mut [Taken]) -> bool {
    let lines = taken.len() as u32;
    let line_of = |n: u32| nodes[n as usize].hash.line(pilot, lines) as usize;
    for (done, n) in group.iter().enumerate() {
        let line = &mut taken[line_of(*n)];
        let size = sizes[*n as usize];
        if usize::from(line.bytes + size) > LINE || usize::from(line.records) == MAX_RECORDS {
            for n in &group[..done] {
                let line = &mut taken[line_of(*n)];
                line.bytes -= sizes[*n as usize];
                line.records -= 1;
            }
            return false;
        }
        line.bytes += size;
        line.records += 1;
    }
    true
}

/// Writes the lines.
fn fill(nodes: &[Node<'_>], records: &[Record<'_>], pilots: &[u8], lines: u32) -> Option<Vec<u8>> {
    let line_of = |node: &Node<'_>| {
        let pilot = pilots[node.hash.group(pilots.len() as u32) as usize];
        node.hash.line(pilot, lines) as usize
    };
    let mut out = vec![0u8; lines as usize * LINE];
    for node in nodes {
        out[line_of(node) * LINE] += 1;
    }
    // The rank of the next record, and where it goes.
    let mut next: Vec<(u8, u8)> = out.chunks_exact(LINE).map(|line| (0, 1 + 2 * line[0])).collect();
    for (node, record) in nodes.iter().zip(records) {
        let line = line_of(node);
        let (rank, at) = &mut next[line];
        let bytes = &mut out[line * LINE..(line + 1) * LINE];
        let count = bytes[0];
        bytes[usize::from(1 + *rank)] = node.hash.tag();
        bytes[usize::from(1 + count + *rank)] = *at;
        let written = record.write(&mut bytes[usize::from(*at)..])?;
        *rank += 1;
        *at += written as u8;
    }
    Some(out)
}
