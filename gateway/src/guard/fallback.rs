//! What forwards when the fast path can't: so that a gateway that is dead, hung, starting or stopped costs no traffic.
//!
//! | ports | what forwards then | switched |
//! |---|---|---|
//! | both `af_xdp` | a kernel bridge, which lies under the ports all the time | by itself: without a socket of XDP the program passes frames to the kernel |
//! | `af_packet`, or one of each | a kernel bridge, which the ports are put under when it is needed | by the guard. Always under it every frame would pass twice |
//! | any, with `guard.relay` | a bypass card, or whatever answers to a file | by the guard |
//! | both `pci` | a kernel bridge, once the kernel's own drivers have the cards | by the guard: at once for cards of a hypervisor; for those with a cable, whose link goes down each time, where no fast path follows |
//! | others | nobody | |
//!
//! The fast path is known to be gone before anything is switched, and whatever took its place has let go before the next fast path
//! opens the ports: a frame that is forwarded twice is worse than one that is late. What passes meanwhile is seen by nobody, which is on
//! record, see [`super::uninspected`].

mod bridge;
mod rebind;
mod relay;

use super::netlink;
use crate::config::{Device, Guard};
use bridge::Bridge;
use glassgate_policy::audit::Forwarder;
use rebind::Rebind;
use relay::Relay;
use std::io;
use tracing::{info, warn};

/// What there is to fall back on.
pub(super) struct Fallback {
    how: How,
    ports: [Option<String>; 2],
}

enum How {
    Nobody(String),
    Bridge(Bridge),
    Rebind(Rebind),
    Relay(Relay),
}

impl Fallback {
    /// Chooses for these ports, makes it ready, and says which it is. Nothing is switched yet that a fast path would have to undo.
    pub(super) fn choose(config: &Guard, ports: &[Device; 2]) -> Self {
        let names = ports.each_ref().map(|port| port.kernel_interface().map(str::to_owned));
        let how = if !config.fallback {
            How::Nobody("`guard.fallback` is false".to_owned())
        } else if let Some(file) = &config.relay {
            How::Relay(Relay::new(file))
        } else if let [Some(lan), Some(uplink)] = &names {
            let standing = ports.iter().all(|port| port.xdp_interface().is_some());
            match Bridge::prepare([lan, uplink], standing) {
                Ok(bridge) => How::Bridge(bridge),
                Err(why) => How::Nobody(why),
            }
        } else if let [Some(lan), Some(uplink)] = ports.each_ref().map(Device::pci_address) {
            Rebind::prepare([lan, uplink]).map_or_else(How::Nobody, How::Rebind)
        } else {
            How::Nobody("the kernel has no interface for these ports".to_owned())
        };
        match &how {
            How::Nobody(why) => warn!("no fallback: when the fast path can't, nothing is forwarded: {why}"),
            How::Bridge(bridge) => info!("fallback: {bridge}"),
            How::Rebind(rebind) => info!("fallback: {rebind}"),
            How::Relay(relay) => info!("fallback: {relay}"),
        }
        Self { how, ports: names }
    }

    /// Who forwards when the fast path can't.
    pub(super) fn forwarder(&self) -> Forwarder {
        match self.how {
            How::Nobody(_) => Forwarder::Nobody,
            How::Bridge(_) | How::Rebind(_) => Forwarder::KernelBridge,
            How::Relay(_) => Forwarder::Relay,
        }
    }

    /// Why there is none.
    pub(super) fn missing(&self) -> Option<&str> {
        match &self.how {
            How::Nobody(why) => Some(why),
            How::Bridge(_) | How::Rebind(_) | How::Relay(_) => None,
        }
    }

    /// Whether it forwards without being asked to, at the start.
    pub(super) fn stands(&self) -> bool {
        match &self.how {
            How::Bridge(_) => true,
            How::Rebind(rebind) => rebind.is_with_kernel(),
            How::Nobody(_) | How::Relay(_) => false,
        }
    }

    /// Lets it forward, and gives who forwards now: nobody where it could not. Only when no fast path has the ports; to do it twice does no
    /// harm. `lasting`: no fast path is going to be started soon.
    pub(super) fn engage(&mut self, lasting: bool) -> Forwarder {
        if let How::Rebind(rebind) = &self.how
            && !lasting
            && !rebind.is_quick()
        {
            return Forwarder::Nobody;
        }
        let engaged = self.switch(
            "take over",
            match &self.how {
                How::Nobody(_) => Ok(()),
                How::Bridge(bridge) => bridge.engage(),
                How::Rebind(rebind) => rebind.engage(),
                How::Relay(relay) => relay.engage(),
            },
        );
        if engaged { self.forwarder() } else { Forwarder::Nobody }
    }

    /// Takes from it what the next fast path is going to open.
    pub(super) fn make_way(&mut self) {
        self.switch(
            "make way",
            match &self.how {
                How::Nobody(_) | How::Relay(_) => Ok(()),
                How::Bridge(bridge) => bridge.make_way(),
                How::Rebind(rebind) => rebind.make_way(),
            },
        );
    }

    /// The fast path forwards.
    pub(super) fn rest(&mut self) {
        self.switch(
            "give back",
            match &self.how {
                How::Nobody(_) | How::Bridge(_) | How::Rebind(_) => Ok(()),
                How::Relay(relay) => relay.rest(),
            },
        );
    }

    /// Frames that both ports received since they were made, as far as the kernel counts them.
    pub(super) fn received(&self) -> Option<u64> {
        let [lan, uplink] = &self.ports;
        let received = |port: &Option<String>| {
            let port = netlink::index(port.as_deref()?).ok()?;
            Some(netlink::ask(port).ok()?.received)
        };
        Some(received(lan)?.wrapping_add(received(uplink)?))
    }

    /// Whether it was done; if not, why is said.
    fn switch(&self, what: &str, done: io::Result<()>) -> bool {
        if let Err(e) = &done {
            warn!(fallback = self.forwarder().as_str(), "could not {what}: {e}");
        }
        done.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RelayFile;

    #[test]
    fn who_could_not_take_over_is_not_said_to_forward() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("bypass0");
        let config = RelayFile { file: file.clone(), bypass: "1".to_owned(), inline: "0".to_owned() };
        let mut fallback = Fallback { how: How::Relay(Relay::new(&config)), ports: [None, None] };
        assert_eq!(fallback.engage(true), Forwarder::Nobody, "there is no card");
        std::fs::write(&file, "").unwrap();
        assert_eq!(fallback.engage(true), Forwarder::Relay);
    }
}
