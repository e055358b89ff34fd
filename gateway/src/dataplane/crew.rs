//! The threads that forward: one for each lcore of the configuration.
//!
//! Where both ports have a queue for each of them, each has its pair of queues. Where one has fewer, the first lcore becomes the
//! distributor of [`glassgate_dataplane::distributor`], and the others run the bridge behind it.

use super::lcore_loop::{Behind, DistributorLoop, LcoreLoop, Secrets};
use super::{Ports, Shared, no_verdicts, secret};
use crate::config::Dataplane;
use crate::confine;
use crate::ipc::Channel;
use crate::lcore_memory::LcoreMemory;
use crate::messages::{FromDataplane, PortInfo};
use anyhow::{Result, bail};
use glassgate_dataplane::distributor::Distributor;
use glassgate_dataplane::inband::InBand;
use glassgate_dataplane::inband::own::Own;
use glassgate_dataplane::limiter::Limiters;
use glassgate_dataplane::notice::Shown;
use glassgate_dataplane::port::Port;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread::{self, Scope, ScopedJoinHandle};
use tracing::{info, warn};

/// Places for limits that each device has for itself, one each way; as many for quotas, and for those of addresses that nobody enrolled:
/// 1 MiB each.
const LIMIT_PLACES: usize = 1 << 16;

/// One lcore of the configuration: its CPU, and where its events, counters and frames for the gateway go.
struct Post {
    number: usize,
    cpu: u32,
    memory: LcoreMemory,
}

/// The memory of all lcores, and the gateway's own addresses, where it has any on these ports.
type Given = (Vec<LcoreMemory>, Option<Own>);

/// What all threads are started with. `enter` makes the thread that it is called on an lcore of a CPU, for as long as what it
/// returns lives.
struct Crew<'a, E> {
    shared: &'a Shared,
    settings: &'a Dataplane,
    own: Option<Own>,
    limiters: Limiters,
    shown: Shown,
    enter: E,
    /// The ports can't be closed by a confined process; they go with it.
    leave_open: bool,
}

type Thread<'scope> = ScopedJoinHandle<'scope, Result<()>>;

/// Runs all lcores until told to stop. Once all of them turn, the process is confined and the guard is told.
pub(super) fn bridge<P: Port + Send, G>(
    channel: &Channel,
    shared: &Shared,
    ports: Ports<P>,
    settings: &Dataplane,
    given: Given,
    enter: impl Fn(u32) -> Result<G> + Clone + Send + Sync,
) -> Result<()>
where
    P::Frame: Send,
{
    run(shared, ports, settings, given, enter, |infos| {
        // Pages of the tables that no flow has used yet would be faulted in while frames wait. Only what is there
        // now: a policy that comes later is no larger for being locked, and must not fail by a limit.
        if let Err(e) = rustix::mm::mlockall(rustix::mm::MlockAllFlags::CURRENT) {
            warn!("the memory of the tables can't be locked ({e}): new flows wait for their pages at first");
        }
        let confinement = confine::data_plane()?;
        channel.send(&FromDataplane::Up { ports: infos, confinement }, &[])?;
        info!(lcores = settings.lcores.len(), "forwarding");
        Ok(())
    })
}

fn run<P: Port + Send, G>(
    shared: &Shared,
    ports: Ports<P>,
    settings: &Dataplane,
    (lcores, own): Given,
    enter: impl Fn(u32) -> Result<G> + Clone + Send + Sync,
    all_turn: impl FnOnce(Vec<PortInfo>) -> Result<()>,
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
        posts.map(|(number, (cpu, memory))| Post { number, cpu: *cpu, memory }).collect();
    let crew = Crew {
        shared,
        settings,
        own,
        limiters: Limiters::new(LIMIT_PLACES, secret()?),
        shown: Shown::new(&notice_key()?),
        enter,
        leave_open,
    };
    let (ready, started) = mpsc::channel();
    thread::scope(|scope| {
        // Whatever keeps this from going on, the scope waits for the threads that were started.
        let _all = StopAll(&shared.stop);
        let mut threads = Vec::new();
        if sides.iter().all(|queues| queues.len() >= posts.len()) {
            let [lan, uplink] = sides;
            let pairs = lan.into_iter().zip(uplink).map(|(lan, uplink)| [lan, uplink]);
            threads.extend(crew.start(scope, pairs, posts, Behind::Port, &ready)?);
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
            threads.extend(crew.start(scope, pairs, posts, Behind::Distributor, &ready)?);
        }
        drop(ready);
        // One that can't start drops its end without a word.
        if started.iter().count() == threads.len() {
            all_turn(infos)?;
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
        behind: Behind,
        ready: &Sender<()>,
    ) -> Result<Vec<Thread<'scope>>>
    where
        Q::Frame: Send,
    {
        let threads = pairs.into_iter().zip(posts).map(|(ports, post)| {
            let ready = ready.clone();
            self.spawn(scope, post.number, move || {
                let _entered = (self.enter)(post.cpu)?;
                let LcoreMemory { events, page, frames } = &post.memory;
                let (events, page, first) = (events.producer(), page.writer(), no_verdicts()?);
                let inband = match (&self.own, frames) {
                    (Some(own), Some(frames)) => {
                        let inband = InBand::new(own.clone(), &frames.punt, &frames.send, secret()?);
                        Some(Box::new(inband))
                    }
                    _ => None,
                };
                let shared =
                    Secrets { own: secret()?, limiters: self.limiters.clone(), shown: self.shown.clone() };
                let lcore =
                    LcoreLoop::new(ports, events, page, self.settings, &first, shared).with_inband(inband);
                confine::no_capabilities()?;
                _ = ready.send(());
                drop(ready);
                let ports = lcore.run(&self.shared.policy, &self.shared.stop, behind);
                match behind {
                    Behind::Port => self.leave(ports),
                    // That its end of the rings is gone tells the distributor that there will be nothing more.
                    Behind::Distributor => drop(ports),
                }
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
            let distributor = DistributorLoop::new(distributor, post.memory.page.writer(), self.settings);
            confine::no_capabilities()?;
            _ = ready.send(());
            drop(ready);
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
            let _all = StopAll(stop);
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

fn notice_key() -> Result<[u8; 32]> {
    let mut key = [0; 32];
    for (bytes, word) in key.as_chunks_mut::<8>().0.iter_mut().zip(secret()?) {
        *bytes = word.to_le_bytes();
    }
    Ok(key)
}

/// When one lcore ends, for whatever reason, the frames of its queue wait for ever: all must end, so that the guard starts them
/// anew.
struct StopAll<'a>(&'a AtomicBool);

impl Drop for StopAll<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::PolicySlot;
    use glassgate_dataplane::port::memory::{MemoryFrame, MemoryPort, Pool, pair};
    use std::sync::Mutex;
    use std::time::Duration;

    /// A thread that hangs would keep the tests from ending; it is left behind.
    const HUNG: Duration = Duration::from_secs(30);

    type Outside = [MemoryPort<MemoryFrame>; 2];

    /// Runs lcores of ports with one queue each, until `all_turn` has done its work with their other ends.
    fn run_on(
        lcores: u32,
        enter: impl Fn(u32) -> Result<()> + Clone + Send + Sync + 'static,
        all_turn: impl FnOnce(&Shared, &mut Outside) -> Result<()> + Send + 'static,
    ) -> Result<Outside> {
        let (done, ended) = mpsc::channel();
        thread::spawn(move || {
            let shared = Shared {
                stop: AtomicBool::new(false),
                policy: PolicySlot::new(no_verdicts().unwrap()),
                table: Mutex::new(None),
            };
            let settings = Dataplane {
                lcores: (0..lcores).collect(),
                flows: 1024,
                inspections: 16,
                event_ring: 1024,
                huge_pages: false,
                memory_mib: 64,
                idle_sleep: Duration::from_micros(20),
            };
            let memory = (0..lcores).map(|i| LcoreMemory::create(i as usize, 1024, false).unwrap()).collect();
            let ((lan, inner_lan), (uplink, inner_uplink)) = (pair(64), pair(64));
            let mut outside = [lan, uplink];
            let sides = [vec![inner_lan], vec![inner_uplink]];
            let ports = Ports { sides, infos: Vec::new(), leave_open: true };
            let ran =
                run(&shared, ports, &settings, (memory, None), enter, |_| all_turn(&shared, &mut outside));
            _ = done.send(ran.map(|()| outside));
        });
        ended.recv_timeout(HUNG).expect("it ends")
    }

    #[test]
    fn behind_a_distributor_too_what_is_under_way_leaves_before_the_end() {
        let pool = Pool::new(256, 128);
        let outside = run_on(
            3,
            |_| Ok(()),
            move |shared, outside| {
                for n in 0..64u8 {
                    let frame = [[2; 6], [4, 0, 0, 0, 0, n]].concat();
                    outside[0].send(pool.frame(&[&frame[..], &[0; 52]].concat()).unwrap()).unwrap();
                }
                // All are received: what they wait for now is the lcores and the other port.
                while !outside[0].is_taken() {
                    thread::yield_now();
                }
                shared.stop.store(true, Ordering::Relaxed);
                Ok(())
            },
        );
        let [_, mut uplink] = outside.unwrap();
        assert_eq!(std::iter::from_fn(|| uplink.receive()).count(), 64);
    }

    #[test]
    fn a_port_that_takes_nothing_more_does_not_hold_up_the_end() {
        let pool = Pool::new(512, 128);
        run_on(
            2,
            |_| Ok(()),
            move |shared, outside| {
                let mut sent = 0;
                // More than the queue of the uplink holds, which nobody empties.
                while sent < 200 {
                    let frame = pool.frame(&[7; 64]).unwrap();
                    sent += usize::from(outside[0].send(frame).is_ok());
                }
                shared.stop.store(true, Ordering::Relaxed);
                Ok(())
            },
        )
        .unwrap();
    }

    #[test]
    fn an_lcore_that_cannot_start_ends_the_others() {
        let refuse = |cpu| if cpu == 1 { bail!("no such CPU") } else { Ok(()) };
        let ran = run_on(3, refuse, |_, _| bail!("not all lcores turn"));
        assert_eq!(ran.map(|_| ()).unwrap_err().to_string(), "no such CPU");
    }

    #[test]
    fn what_fails_once_all_turn_ends_them() {
        let ran = run_on(2, |_| Ok(()), |_, _| bail!("the guard is gone"));
        assert_eq!(ran.map(|_| ()).unwrap_err().to_string(), "the guard is gone");
    }
}
