//! A panic over a frame ends with that frame: it passes, its flow is marked and left alone, and the lcore goes on.
//!
//! There is to be none: a panic is a fault of the gateway, whatever the frame says. It is counted, and the flow says `inspector_panic`.
//! Without this the data plane would end over it, and whoever can send the frame again could hold it there.
//!
//! It costs the way into one function a burst. What is worked on meanwhile is held in [`Course`], outside of what is unwound. After a panic the counters are
//! made to add up again: what the frame or flow in hand had not been counted as, it is counted as now.

use super::{Ahead, Classifier, FlowSink};
use crate::defrag::Defrag;
use crate::flow::FlowId;
use crate::parse::Parsed;
use crate::port::{Burst, Frame};
use crate::slab::SlotId;
use glassgate_policy::{Category, Reason};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How far a burst is.
#[derive(Default)]
pub(super) struct Course {
    /// How many frames were read ahead, when all were.
    pub(super) read: Option<usize>,
    /// The frame in hand.
    pub(super) at: usize,
    /// A bit for each frame that is to be discarded.
    pub(super) discard: u32,
    /// Frames that were not of the first tier.
    pub(super) others: usize,
}

/// How far a look at flows is whose timer fired.
pub(super) struct Ends {
    pub(super) left: usize,
    /// The flow in hand.
    pub(super) flow: Option<FlowId>,
}

impl<S: FlowSink> Classifier<S> {
    /// Handles a burst to its end, whatever its frames do.
    pub(super) fn contained<F: Frame>(&mut self, burst: &Burst<F>, course: &mut Course) {
        // What is half done is set right below; all else is as good as before, as no step relies on one that was not taken.
        while catch_unwind(AssertUnwindSafe(|| self.go_on(burst, course))).is_err() {
            match course.read {
                None => course.read = Some(self.read_each(burst)),
                Some(_) => self.give_up_frame(course),
            }
        }
    }

    /// Ends flows whose time is up, whatever that does.
    pub(super) fn contained_ends(&mut self, course: &mut Ends) {
        while catch_unwind(AssertUnwindSafe(|| self.expire_some(course))).is_err() {
            self.counters.panics[0] += 1;
            if let Some(id) = course.flow {
                self.drop_flow(id);
            }
            self.add_up(0, false);
        }
    }

    /// Reads the frames of a burst one by one; what can't be read without a panic is malformed.
    #[cold]
    fn read_each<F: Frame>(&mut self, burst: &Burst<F>) -> usize {
        for (i, frame) in burst.iter().enumerate() {
            let read = catch_unwind(AssertUnwindSafe(|| {
                let (bytes, wire_len) = (frame.bytes(), frame.wire_len() as u32);
                if let (Some(ahead), Some(kept)) = (self.ahead.get_mut(i), self.kept.get_mut(i)) {
                    super::read_ahead(ahead, kept, bytes, wire_len, frame.link(), &self.table, &self.options);
                }
            }));
            if read.is_err() {
                self.counters.panics[0] += 1;
                if let (Some(ahead), Some(kept)) = (self.ahead.get_mut(i), self.kept.get_mut(i)) {
                    (*ahead, *kept) = (Ahead::OTHER, Parsed::Malformed(Reason::MalformedL3));
                }
            }
        }
        burst.len()
    }

    /// The frame in hand passes; its flow, if it has one, is not looked into any more.
    #[cold]
    fn give_up_frame(&mut self, course: &mut Course) {
        self.counters.panics[0] += 1;
        // Taken out while it is at work.
        if self.defrag.is_none() {
            self.defrag = Some(Defrag::new(self.options.defrag, self.options.parse));
        }
        let ahead = self.ahead.get(course.at).copied().unwrap_or(Ahead::OTHER);
        let of_flow = !ahead.is(super::seen::OTHER);
        course.at += 1;
        course.others += 1;
        self.add_up(course.others, of_flow);
        let found = self.table.find(&ahead.key, ahead.place).filter(|_| of_flow);
        if let Some(id) = found {
            let settled = catch_unwind(AssertUnwindSafe(|| self.settle_unnamed(id, Reason::InspectorPanic)));
            if settled.is_err() {
                self.drop_flow(id);
                self.add_up(course.others, of_flow);
            }
        }
    }

    /// Takes a flow out that can't be ended in order.
    fn drop_flow(&mut self, id: FlowId) {
        if let Some(cold) = self.cold.get_mut(id.index()) {
            for half in &mut cold.half {
                if let Some(slot) = SlotId::from_record(std::mem::take(&mut half.slot)) {
                    self.slab.release(slot);
                }
            }
        }
        self.wheel.disarm(id);
        self.table.remove(id);
    }

    /// Counts what a panic kept from being counted: the frame in hand, which is the last of `others` of the burst, and a flow that was being
    /// opened or ended.
    fn add_up(&mut self, others: usize, of_flow: bool) {
        let counters = &mut self.counters;
        let kinds = counters.kinds();
        if others > 0 && kinds < self.frames + others as u64 {
            if of_flow {
                counters.flow_frames[0] += 1;
            } else if let Some(count) = counters.malformed_frames.get_mut(Reason::MalformedL3 as usize) {
                *count += 1;
            }
        }
        let sum = |family: &[u64]| family.iter().sum::<u64>();
        let flows = self.table.len() as u64;
        let ended = sum(&counters.flows_named) + sum(&counters.flows_unnamed);
        let opened = counters.flows_opened[0];
        counters.flows_opened[0] = opened.max(flows + ended);
        if let Some(count) = counters.flows_unnamed.get_mut(Reason::InspectorPanic as usize) {
            *count += opened.saturating_sub(flows + ended);
        }
        let ended = sum(&counters.flows_named) + sum(&counters.flows_unnamed);
        let categories = sum(&counters.flows_category);
        if let Some(count) = counters.flows_category.get_mut(Category::Unknown as usize) {
            *count += ended.saturating_sub(categories);
        }
    }
}

#[cfg(test)]
mod tests;
