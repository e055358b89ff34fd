//! From the client to the router's wire: straight, or through the bridge.

use crate::harness::{self, Ended, Recorder};
use glassgate_dataplane::lcore::Lcore;
use glassgate_dataplane::port::{BURST, Burst, Frame, Port, PortCounters};
use glassgate_policy::Action;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;
use tun_rs::SyncDevice;

/// Largest frame on the wire.
const MAX_FRAME: usize = 1600;

pub(crate) struct Bytes(Vec<u8>);

impl Frame for Bytes {
    fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Frames on their way between the client and the bridge.
#[derive(Default)]
pub(crate) struct Queues {
    up: VecDeque<Vec<u8>>,
    down: VecDeque<Vec<u8>>,
}

/// A port of the bridge.
pub(crate) enum Wire {
    Client(Rc<RefCell<Queues>>),
    Router(Rc<SyncDevice>),
}

impl Port for Wire {
    type Frame = Bytes;

    fn rx_burst(&mut self, burst: &mut Burst<Bytes>) -> usize {
        let before = burst.len();
        while burst.len() < BURST {
            let frame = match self {
                Self::Client(queues) => queues.borrow_mut().up.pop_front(),
                Self::Router(tap) => receive(tap),
            };
            let Some(frame) = frame else { break };
            assert!(burst.push(Bytes(frame)).is_ok(), "there was room");
        }
        burst.len() - before
    }

    fn tx_burst(&mut self, burst: &mut Burst<Bytes>) -> usize {
        let len = burst.len();
        for Bytes(frame) in burst.drain() {
            match self {
                Self::Client(queues) => queues.borrow_mut().down.push_back(frame),
                Self::Router(tap) => assert!(tap.send(&frame).is_ok(), "the interface is up"),
            }
        }
        len
    }

    fn counters(&self) -> PortCounters {
        PortCounters::default()
    }
}

fn receive(tap: &SyncDevice) -> Option<Vec<u8>> {
    let mut frame = vec![0; MAX_FRAME];
    let len = tap.recv(&mut frame).ok()?;
    frame.truncate(len);
    Some(frame)
}

/// The way from the client to the router.
pub(crate) enum Path {
    Direct(Rc<SyncDevice>),
    Bridged { lcore: Box<Lcore<Wire, Recorder>>, client: Rc<RefCell<Queues>>, start: Instant },
}

impl Path {
    pub(crate) fn direct(wire: &Rc<SyncDevice>) -> Self {
        Self::Direct(wire.clone())
    }

    pub(crate) fn bridged(wire: &Rc<SyncDevice>) -> Self {
        let client = Rc::<RefCell<Queues>>::default();
        let classifier = harness::classifier(false, Action::Allow, Recorder::default());
        let ports = (Wire::Client(client.clone()), Wire::Router(wire.clone()));
        Self::Bridged {
            lcore: Box::new(Lcore::new(ports.0, ports.1, classifier)),
            client,
            start: Instant::now(),
        }
    }

    pub(crate) fn send(&mut self, frame: Vec<u8>) {
        match self {
            Self::Direct(tap) => assert!(tap.send(&frame).is_ok(), "the interface is up"),
            Self::Bridged { client, .. } => client.borrow_mut().up.push_back(frame),
        }
    }

    /// The next frame for the client, if there is one.
    pub(crate) fn receive(&mut self) -> Option<Vec<u8>> {
        match self {
            Self::Direct(tap) => receive(tap),
            Self::Bridged { lcore, client, start } => {
                lcore.turn(start.elapsed().as_nanos() as u64);
                client.borrow_mut().down.pop_front()
            }
        }
    }

    /// What the bridge made of the flows, after it has checked that it forwarded every frame.
    pub(crate) fn ended(self) -> Vec<Ended> {
        let Self::Bridged { lcore, .. } = self else { return Vec::new() };
        let (_, mut classifier) = lcore.into_parts();
        classifier.finish();
        let counters = &classifier.counters;
        let sum = |family: &[u64]| family.iter().sum::<u64>();
        assert_eq!(sum(&counters.rx_frames), sum(&counters.tx_frames), "every frame is forwarded");
        assert_eq!(sum(&counters.rx_bytes), sum(&counters.tx_bytes), "and every byte");
        std::mem::take(&mut classifier.sink.ended)
    }
}
