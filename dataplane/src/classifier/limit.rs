//! What becomes of a frame whose flow is limited or blocked.

use super::{Classifier, FlowSink};
use crate::flow::FlowId;
use crate::limiter::{Admission, Share};
use crate::packet::{Packet, Transport};
use glassgate_policy::limit::{Pace, Per};
use glassgate_policy::{Action, GroupId};

impl<S: FlowSink> Classifier<S> {
    /// What becomes of a frame that this side of the flow sent: it passes, is blocked, or is over its limit
    /// ([`Action::Limit`]). What is blocked is answered.
    pub(super) fn carry_out(
        &mut self,
        id: FlowId,
        side: usize,
        packet: &Packet,
        bytes: &[u8],
        wire_len: u32,
        number: u64,
    ) -> Action {
        if self.policy.matrix.blocks() && packet.transport == Transport::Udp && self.is_dns(id) {
            return self.dns_frame(id, packet, bytes, number);
        }
        match self.table.get(id).map(|hot| hot.action()) {
            None | Some(Action::Allow) => Action::Allow,
            Some(Action::Limit) => {
                let action = self.meter(id, side, wire_len);
                if action == Action::Limit && self.has_quota(id) {
                    // It is over until the next hour or day: both ends are told, instead of waiting for each other.
                    self.answer_tcp(id, side, packet, bytes, number);
                }
                action
            }
            Some(Action::Notice) => self.notice_tcp(id, side, packet, bytes, number),
            Some(Action::Block) => {
                self.answer_tcp(id, side, packet, bytes, number);
                Action::Block
            }
        }
    }

    fn has_quota(&self, id: FlowId) -> bool {
        let number = self.cold.get(id.index()).and_then(|cold| cold.limit);
        let limit = number.and_then(|number| self.policy.matrix.limits().get(usize::from(number.0)));
        limit.is_some_and(|limit| matches!(limit.limit.pace, Pace::Quota(_)))
    }

    fn meter(&mut self, id: FlowId, side: usize, wire_len: u32) -> Action {
        let (Some(hot), Some(cold)) = (self.table.get(id), self.cold.get(id.index())) else {
            return Action::Allow;
        };
        let limit = cold.limit.and_then(|id| self.policy.matrix.limits().get(usize::from(id.0)));
        let Some(limit) = limit else { return Action::Allow };
        let client = hot.client_server()[0].0.0;
        let share = match limit.limit.per {
            Per::Rule => Share::Everybody,
            Per::Group => Share::One(u128::from(cold.group.0).to_be_bytes()),
            Per::Category => Share::One((cold.category as u128).to_be_bytes()),
            Per::Device if cold.group == GroupId(0) => Share::Unlisted(client),
            Per::Device => Share::One(client),
        };
        let direction = hot.direction(side == 0);
        let now = (self.now_ns, self.policy.matrix.windows());
        match self.options.limiters.admit(limit, share, (direction, wire_len), now) {
            Admission::Within => Action::Allow,
            Admission::Over => Action::Limit,
            Admission::NoPlace => {
                self.counters.limiter_full_frames[0] += 1;
                Action::Allow
            }
        }
    }
}
