//! The system calls that processes keep after their start.
//!
//! Made by looking at what runs. Of the data plane: polling drivers (memory-mapped cards, af_packet, af_xdp, tap, null), DPDK's interrupt
//! thread, the channel to the guard, log lines to an open standard error, allocation, and the end of threads. Of the control process: its tests
//! and all of the lab's under `strace`, and of the calls that did not come, those that the C library and SQLite put in the place of one that did.

use libc::{self as c, c_long};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};
use std::collections::BTreeMap;

/// Allowed to the data plane whatever their arguments.
pub(super) const DATA_PLANE: &[c_long] = &[
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

/// Allowed to the control process whatever their arguments. Where files are is Landlock's to say, and to which ports TCP goes.
pub(super) const CONTROL: &[c_long] = &[
    // Files: the log, the store, keys, configuration.
    c::SYS_openat,
    c::SYS_close,
    c::SYS_read,
    c::SYS_readv,
    c::SYS_pread64,
    c::SYS_write,
    c::SYS_writev,
    c::SYS_pwrite64,
    c::SYS_lseek,
    c::SYS_fstat,
    c::SYS_newfstatat,
    c::SYS_stat,
    c::SYS_lstat,
    c::SYS_statx,
    c::SYS_statfs,
    c::SYS_fstatfs,
    c::SYS_access,
    c::SYS_faccessat,
    c::SYS_faccessat2,
    c::SYS_readlink,
    c::SYS_readlinkat,
    c::SYS_getcwd,
    c::SYS_getdents64,
    c::SYS_mkdir,
    c::SYS_mkdirat,
    c::SYS_rmdir,
    c::SYS_unlink,
    c::SYS_unlinkat,
    c::SYS_rename,
    c::SYS_renameat,
    c::SYS_renameat2,
    c::SYS_link,
    c::SYS_linkat,
    c::SYS_chmod,
    c::SYS_fchmod,
    c::SYS_fchmodat,
    c::SYS_fchown,
    c::SYS_umask,
    c::SYS_ftruncate,
    c::SYS_fallocate,
    c::SYS_fadvise64,
    c::SYS_copy_file_range,
    c::SYS_fsync,
    c::SYS_fdatasync,
    c::SYS_flock,
    c::SYS_fcntl,
    c::SYS_utimensat,
    // The page, the control socket, the guard, alerts, a witness.
    c::SYS_accept4,
    c::SYS_bind,
    c::SYS_connect,
    c::SYS_recvfrom,
    c::SYS_recvmsg,
    c::SYS_recvmmsg,
    c::SYS_sendto,
    c::SYS_sendmsg,
    c::SYS_sendmmsg,
    c::SYS_shutdown,
    c::SYS_getsockname,
    c::SYS_getpeername,
    c::SYS_getsockopt,
    c::SYS_setsockopt,
    c::SYS_poll,
    c::SYS_ppoll,
    c::SYS_epoll_create1,
    c::SYS_epoll_ctl,
    c::SYS_epoll_wait,
    c::SYS_epoll_pwait,
    c::SYS_eventfd2,
    // Memory, and policies for the data plane: sealed files.
    c::SYS_brk,
    c::SYS_munmap,
    c::SYS_mremap,
    c::SYS_madvise,
    c::SYS_memfd_create,
    // Time and waiting.
    c::SYS_clock_gettime,
    c::SYS_clock_getres,
    c::SYS_clock_nanosleep,
    c::SYS_nanosleep,
    c::SYS_gettimeofday,
    c::SYS_futex,
    c::SYS_restart_syscall,
    // Threads and their end; how the machine is, for the page.
    c::SYS_exit,
    c::SYS_exit_group,
    c::SYS_getpid,
    c::SYS_gettid,
    c::SYS_geteuid,
    c::SYS_getuid,
    c::SYS_getegid,
    c::SYS_getgid,
    c::SYS_tgkill,
    c::SYS_rseq,
    c::SYS_set_robust_list,
    c::SYS_rt_sigaction,
    c::SYS_rt_sigprocmask,
    c::SYS_rt_sigreturn,
    c::SYS_sigaltstack,
    c::SYS_sched_getaffinity,
    c::SYS_sched_yield,
    c::SYS_getrandom,
    c::SYS_getrusage,
    c::SYS_sysinfo,
    c::SYS_uname,
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
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    SeccompFilter::new(whatever(NEVER), SeccompAction::Allow, SeccompAction::Errno(c::EPERM as u32), arch)?
        .try_into()
}

/// How many system calls the data plane has, with or without a look at their arguments.
pub(super) fn data_plane_count() -> usize {
    DATA_PLANE.len() + 3
}

/// How many system calls the control process has, with or without a look at their arguments.
pub(super) fn control_count() -> usize {
    CONTROL.len() + 8
}

/// The filter of the data plane: what is not listed fails with `EPERM`.
pub(super) fn data_plane() -> Result<BpfProgram, BackendError> {
    let mut rules = whatever(DATA_PLANE);
    // Devices are driven by ioctl. Two of a terminal's would let the process type for whoever sits there.
    rules.insert(
        c::SYS_ioctl,
        vec![SeccompRule::new(vec![
            low_word(1, SeccompCmpOp::Ne, c::TIOCSTI)?,
            low_word(1, SeccompCmpOp::Ne, c::TIOCLINUX)?,
        ])?],
    );
    no_code(&mut rules)?;
    allow(rules)
}

/// The filters of the control process, to be installed in this order: what is not listed fails with `EPERM`.
///
/// The first makes `clone3` fail with `ENOSYS`, upon which the C library starts threads by `clone`: the flags of that can be seen by a filter,
/// those of `clone3` lie in memory. Two, since one filter has one answer.
pub(super) fn control() -> Result<[BpfProgram; 2], BackendError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let unseen = whatever(&[c::SYS_clone3]);
    let unseen =
        SeccompFilter::new(unseen, SeccompAction::Allow, SeccompAction::Errno(c::ENOSYS as u32), arch)?;
    let mut rules = whatever(CONTROL);
    rules.insert(c::SYS_clone3, Vec::new());
    // Threads, no processes.
    let thread = c::CLONE_THREAD as u64;
    rules.insert(
        c::SYS_clone,
        vec![SeccompRule::new(vec![low_word(0, SeccompCmpOp::MaskedEq(thread), thread)?])?],
    );
    let one_of = |argument, values: &[u64]| -> Result<Vec<SeccompRule>, BackendError> {
        let rule = |value: &u64| SeccompRule::new(vec![low_word(argument, SeccompCmpOp::Eq, *value)?]);
        values.iter().map(rule).collect()
    };
    // No frames past the bridge (`AF_PACKET`), and none of the kernel's own families.
    let families = [c::AF_INET, c::AF_INET6, c::AF_UNIX].map(|family| family as u64);
    rules.insert(c::SYS_socket, one_of(0, &families)?);
    rules.insert(c::SYS_socketpair, one_of(0, &[c::AF_UNIX as u64])?);
    rules.insert(c::SYS_ioctl, one_of(1, &[c::FIONBIO, c::FIOCLEX, c::FIONREAD, c::TCGETS])?);
    rules.insert(c::SYS_prctl, one_of(0, &[c::PR_SET_NAME as u64])?);
    // To ask for a limit, not to set one.
    let asks = SeccompCondition::new(2, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0)?;
    rules.insert(c::SYS_prlimit64, vec![SeccompRule::new(vec![asks])?]);
    no_code(&mut rules)?;
    Ok([unseen.try_into()?, allow(rules)?])
}

type Rules = BTreeMap<c_long, Vec<SeccompRule>>;

fn whatever(calls: &[c_long]) -> Rules {
    calls.iter().map(|call| (*call, Vec::new())).collect()
}

/// No memory becomes code.
fn no_code(rules: &mut Rules) -> Result<(), BackendError> {
    let exec = c::PROT_EXEC as u64;
    for call in [c::SYS_mmap, c::SYS_mprotect] {
        rules.insert(call, vec![SeccompRule::new(vec![low_word(2, SeccompCmpOp::MaskedEq(exec), 0)?])?]);
    }
    Ok(())
}

fn allow(rules: Rules) -> Result<BpfProgram, BackendError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    SeccompFilter::new(rules, SeccompAction::Errno(c::EPERM as u32), SeccompAction::Allow, arch)?.try_into()
}

fn low_word(argument: u8, op: SeccompCmpOp, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, op, value)
}
