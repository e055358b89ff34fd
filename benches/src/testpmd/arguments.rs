//! The command line of `dpdk-testpmd` in front of its `--`, for the benchmark and for the lab, which compiles this file too.

use std::ffi::OsString;

/// For one worker on `cpu`, its main thread beside it, on these devices; `mib` of memory, in huge pages or not. To be given to
/// `stdbuf`: its answers would stay in a full buffer, as they are not for a terminal.
pub(crate) fn environment(
    vdevs: &[&str],
    cpu: usize,
    prefix: &str,
    mib: u32,
    no_huge: bool,
) -> Vec<OsString> {
    let main = if cpu == 0 { 1 } else { cpu - 1 };
    let (lcores, mib) = (format!("0@{main},1@{cpu}"), mib.to_string());
    let mut words = vec!["-oL", "dpdk-testpmd", "--lcores", &lcores, "-m", &mib];
    words.extend(["--no-pci", "--in-memory", "--no-telemetry", "--file-prefix", prefix]);
    vdevs.iter().for_each(|vdev| words.extend(["--vdev", vdev]));
    words.extend(no_huge.then_some("--no-huge"));
    words.into_iter().map(OsString::from).collect()
}
