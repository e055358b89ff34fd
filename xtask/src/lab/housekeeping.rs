//! An lcore's CPU, left to it: as on an appliance, where nothing else runs there.
//!
//! Clients, servers and floods of the lab would share it otherwise. A veth hands an lcore frames by a ring of 256: at 12 000 frames a second, an lcore that
//! somebody else keeps from its CPU for 20 ms has lost some before it could take them, which says something about the machine and nothing about the gateway.

use anyhow::{Context as _, Result, ensure};
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// This thread, what it starts from now on, and what it is told to keep, on the CPUs that no lcore has; as before when dropped.
pub struct Housekeeping {
    before: CpuSet,
    rest: CpuSet,
    kept: std::cell::RefCell<Vec<u32>>,
}

impl Housekeeping {
    /// An error when there is no other CPU. Who starts a gateway does so before: it refuses an lcore on a CPU that it may not use.
    pub fn without(taken: &[usize]) -> Result<Self> {
        let before = sched_getaffinity(None).context("reading the own CPUs")?;
        let mut rest = before;
        taken.iter().for_each(|cpu| rest.unset(*cpu));
        ensure!(rest.count() > 0, "it takes a CPU besides the lcore's: {taken:?} are all there are");
        sched_setaffinity(None, &rest).context("leaving the lcore's CPU")?;
        Ok(Self { before, rest, kept: std::cell::RefCell::default() })
    }

    /// Keeps all threads of a process to these CPUs. Not the guard where data planes end: the next one would start with the guard's CPUs.
    pub fn keep(&self, pid: u32) -> Result<()> {
        set(pid, &self.rest)?;
        self.kept.borrow_mut().push(pid);
        Ok(())
    }
}

impl Drop for Housekeeping {
    fn drop(&mut self) {
        // What fails here only costs time, if anything; processes may have ended.
        _ = sched_setaffinity(None, &self.before);
        for pid in self.kept.take() {
            _ = set(pid, &self.before);
        }
    }
}

/// Moves all threads of a process.
fn set(pid: u32, cpus: &CpuSet) -> Result<()> {
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
        let id = task.file_name().to_str().and_then(|id| id.parse().ok()).and_then(Pid::from_raw);
        // One that has ended meanwhile needs no CPU.
        _ = sched_setaffinity(id, cpus);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_is_left_and_taken_back() {
        let before = sched_getaffinity(None).unwrap();
        let cpus: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|cpu| before.is_set(*cpu)).collect();
        let last = *cpus.last().unwrap();
        if cpus.len() > 1 {
            let housekeeping = Housekeeping::without(&[last]).unwrap();
            let of_new = std::thread::spawn(|| sched_getaffinity(None).unwrap()).join().unwrap();
            assert!(!of_new.is_set(last) && of_new.count() as usize == cpus.len() - 1);
            drop(housekeeping);
        }
        assert!(Housekeeping::without(&cpus).is_err());
        assert!(sched_getaffinity(None).unwrap() == before);
    }
}
