//! The system calls of the data plane after start.
//!
//! Made by looking at what runs: polling drivers (memory-mapped cards, af_packet, af_xdp, tap, null), DPDK's interrupt
//! thread, the channel to the guard, log lines to an open standard error, allocation, and the end of threads.

use libc::{self as c, c_long};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};
use std::collections::BTreeMap;

/// Allowed whatever their arguments.
pub(super) const ALLOWED: &[c_long] = &[
    // Frames: packet and XDP sockets, tap devices.
    c::SYS_read,
    c::SYS_readv,
    c::SYS_recvfrom,
    c::SYS_recvmsg,
    c::SYS_recvmmsg,
    c::SYS_write,
    c::SYS_writev,
    c::SYS_sendto,
    c::SYS_sendmsg,
    c::SYS_sendmmsg,
    c::SYS_poll,
    c::SYS_ppoll,
    c::SYS_epoll_wait,
    c::SYS_epoll_pwait,
    c::SYS_epoll_ctl,
    c::SYS_getsockopt,
    // Policies from the guard: sealed files.
    c::SYS_fcntl,
    c::SYS_fstat,
    c::SYS_pread64,
    c::SYS_lseek,
    c::SYS_close,
    // Memory.
    c::SYS_brk,
    c::SYS_munmap,
    c::SYS_mremap,
    c::SYS_madvise,
    // Time and waiting.
    c::SYS_clock_gettime,
    c::SYS_clock_nanosleep,
    c::SYS_nanosleep,
    c::SYS_gettimeofday,
    c::SYS_futex,
    c::SYS_sched_yield,
    c::SYS_timerfd_settime,
    c::SYS_restart_syscall,
    // Threads and their end.
    c::SYS_exit,
    c::SYS_exit_group,
    c::SYS_gettid,
    c::SYS_getpid,
    c::SYS_tgkill,
    c::SYS_rseq,
    c::SYS_set_robust_list,
    c::SYS_rt_sigaction,
    c::SYS_rt_sigprocmask,
    c::SYS_rt_sigreturn,
    c::SYS_sigaltstack,
    c::SYS_sched_getaffinity,
    c::SYS_sched_setaffinity,
    c::SYS_sched_getparam,
    c::SYS_getrandom,
    // Each lcore gives up its capabilities.
    c::SYS_capget,
    c::SYS_capset,
];

/// Refused to the guard and all that it starts: ways into other processes, other roots and namespaces, the kernel itself.
pub(super) const NEVER: &[c_long] = &[
    c::SYS_ptrace,
    c::SYS_process_vm_readv,
    c::SYS_process_vm_writev,
    c::SYS_kcmp,
    c::SYS_mount,
    c::SYS_umount2,
    c::SYS_move_mount,
    c::SYS_open_tree,
    c::SYS_fsopen,
    c::SYS_mount_setattr,
    c::SYS_pivot_root,
    c::SYS_chroot,
    c::SYS_setns,
    c::SYS_unshare,
    c::SYS_init_module,
    c::SYS_finit_module,
    c::SYS_delete_module,
    c::SYS_kexec_load,
    c::SYS_kexec_file_load,
    c::SYS_reboot,
    c::SYS_swapon,
    c::SYS_swapoff,
    c::SYS_acct,
    c::SYS_quotactl,
    c::SYS_syslog,
    c::SYS_sethostname,
    c::SYS_setdomainname,
    c::SYS_settimeofday,
    c::SYS_clock_settime,
    c::SYS_add_key,
    c::SYS_request_key,
    c::SYS_keyctl,
    c::SYS_open_by_handle_at,
    c::SYS_fanotify_init,
    c::SYS_userfaultfd,
    c::SYS_io_uring_setup,
    c::SYS_personality,
];

/// The filter of the guard: what is listed fails with `EPERM`.
pub(super) fn never() -> Result<BpfProgram, BackendError> {
    let rules = NEVER.iter().map(|call| (*call, Vec::new())).collect();
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(c::EPERM as u32), arch)?.try_into()
}

/// How many system calls are allowed, with or without a look at their arguments.
pub(super) fn count() -> usize {
    ALLOWED.len() + 3
}

/// The filter: what is not listed fails with `EPERM`.
pub(super) fn filter() -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<c_long, Vec<SeccompRule>> =
        ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    // Devices are driven by ioctl. Two of a terminal's would let the process type for whoever sits there.
    rules.insert(
        c::SYS_ioctl,
        vec![SeccompRule::new(vec![
            low_word(1, SeccompCmpOp::Ne, c::TIOCSTI)?,
            low_word(1, SeccompCmpOp::Ne, c::TIOCLINUX)?,
        ])?],
    );
    // No memory becomes code.
    let exec = c::PROT_EXEC as u64;
    for call in [c::SYS_mmap, c::SYS_mprotect] {
        rules.insert(call, vec![SeccompRule::new(vec![low_word(2, SeccompCmpOp::MaskedEq(exec), 0)?])?]);
    }
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    SeccompFilter::new(rules, SeccompAction::Errno(c::EPERM as u32), SeccompAction::Allow, arch)?.try_into()
}

fn low_word(argument: u8, op: SeccompCmpOp, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, op, value)
}
