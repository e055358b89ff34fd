//! What smoltcp takes for a network card: one frame in, and the ring that frames leave by.

use glassgate_dataplane::inband::ring::{MAX_FRAME, Producer};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;

/// The longest frame that smoltcp makes or gets: without a tag.
pub(super) const MAX_UNTAGGED: usize = 1514;
/// The shortest frame on Ethernet, without a tag and FCS.
const MIN_UNTAGGED: usize = 60;
const TAG: [u8; 2] = [0x81, 0];

/// One interface for the length of a call.
pub(super) struct Wire<'a> {
    /// The frame that came in, without its tag.
    pub(super) frame: Option<&'a [u8]>,
    pub(super) ring: &'a mut Producer,
    pub(super) vlan: Option<u16>,
    pub(super) port: u8,
    /// Frames that were handed to the ring.
    pub(super) sent: &'a mut usize,
}

pub(super) struct Received<'a>(&'a [u8]);

pub(super) struct Sending<'a> {
    ring: &'a mut Producer,
    vlan: Option<u16>,
    port: u8,
    sent: &'a mut usize,
}

impl Device for Wire<'_> {
    type RxToken<'b>
        = Received<'b>
    where
        Self: 'b;
    type TxToken<'b>
        = Sending<'b>
    where
        Self: 'b;

    fn receive(&mut self, now: Instant) -> Option<(Received<'_>, Sending<'_>)> {
        let frame = self.frame.take()?;
        Some((Received(frame), self.transmit(now)?))
    }

    /// Nothing while the ring is full: what is to be sent waits in its socket.
    fn transmit(&mut self, _: Instant) -> Option<Sending<'_>> {
        let (vlan, port) = (self.vlan, self.port);
        self.ring.has_room().then_some(Sending { ring: self.ring, vlan, port, sent: self.sent })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        capabilities()
    }
}

pub(super) fn capabilities() -> DeviceCapabilities {
    let mut capabilities = DeviceCapabilities::default();
    capabilities.medium = Medium::Ethernet;
    capabilities.max_transmission_unit = MAX_UNTAGGED;
    capabilities
}

impl RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

impl TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut buffer = [0; MAX_FRAME];
        // The tag's place is left before the frame, and the addresses are moved into it.
        let at = if self.vlan.is_some() { 4 } else { 0 };
        let end = at + len.min(MAX_UNTAGGED);
        let result = f(&mut buffer[at..end]);
        if let Some(vlan) = self.vlan {
            buffer.copy_within(at..at + 12, 0);
            buffer[12..14].copy_from_slice(&TAG);
            buffer[14..16].copy_from_slice(&vlan.to_be_bytes());
        }
        let end = end.max(at + MIN_UNTAGGED);
        // There is room: `transmit` saw it, and nobody else sends.
        if self.ring.push(self.port, &buffer[..end]).is_ok() {
            *self.sent += 1;
        }
        result
    }
}
