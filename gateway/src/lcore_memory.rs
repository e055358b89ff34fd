//! The memory that an lcore shares with the control process: made by the guard, which keeps it while both come and go.

use anyhow::{Context as _, Result, bail};
use glassgate_dataplane::event_ring::EventRing;
use glassgate_dataplane::inband::ring::FrameRing;
use glassgate_dataplane::stats_page::StatsPage;
use std::os::fd::{BorrowedFd, OwnedFd};

/// Events and counters of one lcore, and frames of the gateway itself where it has an address on the ports.
#[derive(Clone, Debug)]
pub(crate) struct LcoreMemory {
    pub(crate) events: EventRing,
    pub(crate) page: StatsPage,
    pub(crate) frames: Option<FrameRings>,
}

/// Frames for the gateway itself, and frames that it sends.
#[derive(Clone, Debug)]
pub(crate) struct FrameRings {
    pub(crate) punt: FrameRing,
    pub(crate) send: FrameRing,
}

impl LcoreMemory {
    /// Makes it for lcore `i`.
    pub(crate) fn create(i: usize, event_ring: usize, inband: bool) -> Result<Self> {
        let frames = |what: &str| FrameRing::create(&format!("glassgate-{what}-{i}"));
        Ok(Self {
            events: EventRing::create(&format!("glassgate-events-{i}"), event_ring)
                .context("making an event ring")?,
            page: StatsPage::create(&format!("glassgate-stats-{i}")).context("making a stats page")?,
            frames: match inband {
                true => {
                    let punt = frames("punt").context("making a ring of frames")?;
                    Some(FrameRings { punt, send: frames("send").context("making a ring of frames")? })
                }
                false => None,
            },
        })
    }

    /// The descriptors, in the order that [`Self::attach`] expects.
    pub(crate) fn fds(&self) -> Vec<BorrowedFd<'_>> {
        let frames = self.frames.iter().flat_map(|frames| [frames.punt.fd(), frames.send.fd()]);
        [self.events.fd(), self.page.fd()].into_iter().chain(frames).collect()
    }

    /// Maps what the guard made. Not trusted: whatever is not laid out as it should be is refused.
    pub(crate) fn attach(fds: Vec<OwnedFd>) -> Result<Self> {
        let count = fds.len();
        let mut fds = fds.into_iter();
        let (Some(events), Some(page)) = (fds.next(), fds.next()) else {
            bail!("an lcore with {count} descriptors");
        };
        let frames = match (fds.next(), fds.next(), fds.next()) {
            (None, ..) => None,
            (Some(punt), Some(send), None) => Some(FrameRings {
                punt: FrameRing::attach(punt).context("the ring of frames for us")?,
                send: FrameRing::attach(send).context("the ring of frames from us")?,
            }),
            _ => bail!("an lcore with {count} descriptors"),
        };
        Ok(Self {
            events: EventRing::attach(events).context("the event ring")?,
            page: StatsPage::attach(page).context("the stats page")?,
            frames,
        })
    }
}
