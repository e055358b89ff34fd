//! The threads that forward: one for each lcore of the configuration.
//!
//! Where both ports have a queue for each of them, each has its pair of queues. Where one has fewer, the first lcore becomes the
//! distributor of [`glassgate_dataplane::distributor`], and the others run the bridge behind it.

use super::lcore_loop::{DistributorLoop, LcoreLoop};
use super::{Ports, Shared, no_verdicts, secret};
use crate::config::Dataplane;
use crate::confine;
use crate::ipc::Channel;
use crate::messages::FromDataplane;
use anyhow::{Result, bail};
use glassgate_dataplane::distributor::Distributor;
use glassgate_dataplane::event_ring::EventRing;
use glassgate_dataplane::limiter::Limiters;
use glassgate_dataplane::port::Port;
use glassgate_dataplane::stats_page::StatsPage;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread::{self, Scope, ScopedJoinHandle};
use tracing::{info, warn};

/// Places for limits that each device has for itself, one each way: 1 MiB.
const LIMIT_PLACES: usize = 1 << 16;

/// One lcore of the configuration: its CPU, and where its events and counters go.
struct Post {
    number: usize,
    cpu: u32,
    events: EventRing,
    page: StatsPage,
}

/// What all threads are started with. `enter` makes the thread that it is called on an lcore of a CPU, for as long as what it
/// returns lives.
struct Crew<'a, E> {
    shared: &'a Shared,
    settings: &'a Dataplane,
    limiters: Limiters,
    enter: E,
    /// The ports can't be closed by a confined process; they go with it.
    leave_open: bool,
}

type Thread<'scope> = ScopedJoinHandle<'scope, Result<()>>;

/// Runs all lcores until told to stop.
pub(super) fn bridge<P: Port + Send, G>(
    channel: &Channel,
    shared: &Shared,
    ports: Ports<P>,
    settings: &Dataplane,
    lcores: Vec<(EventRing, StatsPage)>,
    enter: impl Fn(u32) -> Result<G> + Clone + Send + Sync,
) -> Result<()>
where
    P::Frame: Send,
{
    let Ports { sides, infos, leave_open } = ports;
    if lcores.len() != settings.lcores.len() {
        bail!("{} lcores are configured, the guard gave memory for {}", settings.lcores.len(), lcores.len());
    }
    let posts = settings.lcores.iter().zip(lcores).enumerate();
    let mut posts: Vec<Post> =
        posts.map(|(number, (cpu, (events, page)))| Post { number, cpu: *cpu, events, page }).collect();
    let crew = Crew { shared, settings, limiters: Limiters::new(LIMIT_PLACES, secret()?), enter, leave_open };
    let (ready, started) = mpsc::channel();
    thread::scope(|scope| {
        let mut threads = Vec::new();
        if sides.iter().all(|queues| queues.len() >= posts.len()) {
            let [lan, uplink] = sides;
            let pairs = lan.into_iter().zip(uplink).map(|(lan, uplink)| [lan, uplink]);
            threads.extend(crew.start(scope, pairs, posts, &ready)?);
        } else if posts.len() < 2 {
            bail!("a port has no queue");
        } else {
            let queues = sides.iter().map(Vec::len).min().unwrap_or(0);
            info!(
                cpu = posts.first().map_or(0, |post| post.cpu),
                lcores = posts.len() - 1,
                "a distributor spreads the frames: the ports have {queues} queue{} for {} lcores",
                if queues == 1 { "" } else { "s" },
                posts.len()
            );
            let first = posts.remove(0);
            let [key, ..] = secret()?;
            let (distributor, pairs) = Distributor::new(sides, posts.len(), key);
            threads.push(crew.start_distributor(scope, distributor, first, &ready)?);
            threads.extend(crew.start(scope, pairs, posts, &ready)?);
        }
        drop(ready);
        if started.iter().take(threads.len()).count() == threads.len() {
            // Pages of the tables that no flow has used yet would be faulted in while frames wait. Only what is there
            // now: a policy that comes later is no larger for being locked, and must not fail by a limit.
            if let Err(e) = rustix::mm::mlockall(rustix::mm::MlockAllFlags::CURRENT) {
                warn!(
                    "the memory of the tables can't be locked ({e}): new flows wait for their pages at first"
                );
            }
            let confinement = confine::data_plane()?;
            channel.send(&FromDataplane::Up { ports: infos, confinement }, &[])?;
            info!(lcores = threads.len(), "forwarding");
        } else {
            shared.stop.store(true, Ordering::Relaxed);
        }
        for thread in threads {
            match thread.join() {
                Ok(ended) => ended?,
                Err(_) => bail!("an lcore panicked"),
            }
        }
        Ok(())
    })
}

impl<E, G> Crew<'_, E>
where
    E: Fn(u32) -> Result<G> + Clone + Send + Sync,
{
    /// One thread for each post, each with its pair of ports.
    fn start<'scope, 'env, Q: Port + Send + 'scope>(
        &'env self,
        scope: &'scope Scope<'scope, 'env>,
        pairs: impl IntoIterator<Item = [Q; 2]>,
        posts: Vec<Post>,
        ready: &Sender<()>,
    ) -> Result<Vec<Thread<'scope>>>
    where
        Q::Frame: Send,
    {
        let threads = pairs.into_iter().zip(posts).map(|(ports, post)| {
            let ready = ready.clone();
            self.spawn(scope, post.number, move || {
                let _entered = (self.enter)(post.cpu)?;
                let (events, page, first) = (post.events.producer(), post.page.writer(), no_verdicts()?);
                let limiters = self.limiters.clone();
                let lcore = LcoreLoop::new(ports, events, page, self.settings, &first, secret()?, limiters);
                confine::no_capabilities()?;
                _ = ready.send(());
                self.leave(lcore.run(&self.shared.policy, &self.shared.stop));
                Ok(())
            })
        });
        threads.collect()
    }

    fn start_distributor<'scope, 'env, P: Port + Send + 'scope>(
        &'env self,
        scope: &'scope Scope<'scope, 'env>,
        distributor: Distributor<P>,
        post: Post,
        ready: &Sender<()>,
    ) -> Result<Thread<'scope>>
    where
        P::Frame: Send,
    {
        let ready = ready.clone();
        self.spawn(scope, post.number, move || {
            let _entered = (self.enter)(post.cpu)?;
            let distributor = DistributorLoop::new(distributor, post.page.writer(), self.settings);
            confine::no_capabilities()?;
            _ = ready.send(());
            self.leave(distributor.run(&self.shared.policy, &self.shared.stop));
            Ok(())
        })
    }

    fn spawn<'scope, 'env>(
        &'env self,
        scope: &'scope Scope<'scope, 'env>,
        number: usize,
        run: impl FnOnce() -> Result<()> + Send + 'scope,
    ) -> Result<Thread<'scope>> {
        let stop = &self.shared.stop;
        let run = move || {
            let _others = StopOthers(stop);
            run()
        };
        Ok(thread::Builder::new().name(format!("lcore-{number}")).spawn_scoped(scope, run)?)
    }

    fn leave<Q>(&self, ports: Q) {
        if self.leave_open {
            std::mem::forget(ports);
        }
    }
}

/// When one lcore dies, the frames of its queue wait for ever: all must end, so that the guard starts them anew.
struct StopOthers<'a>(&'a AtomicBool);

impl Drop for StopOthers<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}
