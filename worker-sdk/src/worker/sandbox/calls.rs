//! seccomp: the system calls that a locked worker may make. Any other ends the process by SIGSYS.
//!
//! The list is what was seen of ports, threads, codecs and nodes at work, and what the C library may ask in their place
//! elsewhere. A call that is not on it is fatal, not an error, for an error that nobody looks at hides: a missing `fcntl` once
//! made every wake-up 40 ms late without any failure.

use super::{Open, Part};
use libc::c_long;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule,
};
use std::collections::BTreeMap;

type Rules = BTreeMap<c_long, Vec<SeccompRule>>;

/// Allowed whatever the arguments.
const ALLOWED: &[c_long] = &[
    // What lies behind a descriptor that is open.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64, // marks of calls under way
    libc::SYS_lseek,
    libc::SYS_dup,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_fsync,      // iceoryx2's files, on tmpfs nothing
    libc::SYS_ftruncate,  // a new shared-memory object gets its size
    libc::SYS_fchmod, // iceoryx2 opens an object to others when it is complete; `chmod` by path Landlock would not see
    libc::SYS_getdents64, // Landlock says which folders may be opened: this node's own
    // Files by path: Landlock decides about these. Codecs and new threads try to read what the machine has of processors
    // and are content when they may not.
    libc::SYS_openat,
    libc::SYS_unlinkat,
    // Whether a path is there, and what it is.
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_umask, // iceoryx2, around the binding of a listener
    // Memory of its own; `mmap` and `mprotect` are below.
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    // Threads, locks, signal handlers of its own.
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getcpu,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Time, also where the kernel cannot tell it without a call.
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    // Waiting.
    libc::SYS_ppoll,
    libc::SYS_eventfd2,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    // Sockets: the control socket, and the datagrams of wake-ups. Not `sendmsg` and `recvmsg`, which hand descriptors on.
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_sendto,
    libc::SYS_recvfrom,
    libc::SYS_getsockopt,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    // What the C library asks for in the name of harmless functions.
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
];

/// The same as some of those above, under names that newer machines do not have any more.
#[cfg(target_arch = "x86_64")]
const LEGACY: &[c_long] = &[
    libc::SYS_access,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_unlink,
    libc::SYS_rmdir, // the folder of this node, at the session's end
    libc::SYS_poll,
    libc::SYS_epoll_wait,
    libc::SYS_time,
];
#[cfg(not(target_arch = "x86_64"))]
const LEGACY: &[c_long] = &[];

/// What making services takes besides; Landlock says where.
const KEEPING: &[c_long] = &[
    libc::SYS_mkdirat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mkdir,
];

/// Answered as by a kernel that does not have them, which every program copes with.
const ABSENT: &[c_long] = &[
    libc::SYS_clone3, // its flags lie in memory, where no filter sees them; the C library takes `clone` then
    libc::SYS_getcwd, // a panic's backtrace shortens paths by it
    libc::SYS_readlinkat, // a panic's backtrace looks for its program; Landlock would not see it
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
];

/// What a new thread is made with; nothing that makes a process, or moves the thread to a namespace.
const THREAD: libc::c_int = libc::CLONE_VM
    | libc::CLONE_FS
    | libc::CLONE_FILES
    | libc::CLONE_SIGHAND
    | libc::CLONE_THREAD
    | libc::CLONE_SYSVSEM
    | libc::CLONE_SETTLS
    | libc::CLONE_PARENT_SETTID
    | libc::CLONE_CHILD_CLEARTID
    | libc::CLONE_DETACHED;

/// Whether a filter can be had here: puts a harmless one on a thread of its own.
pub(super) fn available() -> bool {
    let harmless = Rules::from([(libc::SYS_kexec_load, Vec::new())]);
    let probe = || {
        let filter = program(harmless, SeccompAction::Allow, SeccompAction::KillProcess)?;
        seccompiler::apply_filter(&filter)
    };
    let thread = std::thread::Builder::new().spawn(probe);
    thread.is_ok_and(|thread| thread.join().is_ok_and(|probed| probed.is_ok()))
}

/// Puts it on all threads of the process.
pub(super) fn restrict(part: Part) -> Result<(), Open> {
    // Built before any is in force. Of several filters the strictest answer counts, so the second allows what the first
    // answers with an error.
    let absent = program(
        absent().map_err(seccompiler::Error::Backend)?,
        SeccompAction::Allow,
        SeccompAction::Errno(libc::ENOSYS as u32),
    )?;
    let allowed = program(
        allowed(part).map_err(seccompiler::Error::Backend)?,
        SeccompAction::KillProcess,
        SeccompAction::Allow,
    )?;
    // This order: the second allows no further filter.
    seccompiler::apply_filter_all_threads(&absent)?;
    seccompiler::apply_filter_all_threads(&allowed)?;
    Ok(())
}

fn program(
    rules: Rules,
    otherwise: SeccompAction,
    listed: SeccompAction,
) -> seccompiler::Result<BpfProgram> {
    let arch = std::env::consts::ARCH.try_into()?;
    Ok(SeccompFilter::new(rules, otherwise, listed, arch)?.try_into()?)
}

fn absent() -> Result<Rules, BackendError> {
    let mut rules: Rules = ABSENT.iter().map(|call| (*call, Vec::new())).collect();
    // The C library's streams ask whether they write to a terminal.
    rules.insert(libc::SYS_ioctl, vec![SeccompRule::new(vec![is(1, libc::TCGETS as u32)?])?]);
    Ok(rules)
}

fn allowed(part: Part) -> Result<Rules, BackendError> {
    let mut rules: Rules =
        ALLOWED.iter().chain(LEGACY).chain(ABSENT).map(|call| (*call, Vec::new())).collect();
    if part == Part::Keeps {
        rules.extend(KEEPING.iter().map(|call| (*call, Vec::new())));
    }
    let mut with = |call, alternatives: Vec<Vec<SeccompCondition>>| {
        let made = alternatives.into_iter().map(SeccompRule::new).collect::<Result<_, _>>()?;
        rules.insert(call, made);
        Ok::<(), BackendError>(())
    };
    let own = std::process::id();
    // Memory is written or run, never made to be run: no code comes to this process any more.
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        with(call, vec![vec![lacks(2, libc::PROT_EXEC as u32)?]])?;
    }
    let thread = SeccompCmpOp::MaskedEq(u64::from(!(THREAD as u32) | libc::CLONE_THREAD as u32));
    with(libc::SYS_clone, vec![vec![when(0, thread, libc::CLONE_THREAD as u32)?]])?;
    // A signal to itself is how a process aborts.
    with(libc::SYS_tgkill, vec![vec![is(0, own)?]])?;
    // A thread's name, and that of its stack.
    with(
        libc::SYS_prctl,
        vec![vec![is(0, libc::PR_SET_NAME as u32)?], vec![is(0, libc::PR_SET_VMA as u32)?]],
    )?;
    // A video thread yields to audio; its own priority only.
    with(libc::SYS_setpriority, vec![vec![is(0, libc::PRIO_PROCESS)?, is(1, 0)?]])?;
    // Limits are read, not set.
    let nothing = SeccompCondition::new(2, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0)?;
    with(libc::SYS_prlimit64, vec![vec![is(0, 0)?, nothing]])?;
    // Datagrams within the machine, as wake-ups are: no network, no further stream.
    let kind = !((libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK) as u32);
    let datagram = when(1, SeccompCmpOp::MaskedEq(u64::from(kind)), libc::SOCK_DGRAM as u32)?;
    with(libc::SYS_socket, vec![vec![is(0, libc::AF_UNIX as u32)?, datagram]])?;
    // Not among them: filters, which are programs for the kernel.
    let options = [libc::SO_PASSCRED, libc::SO_RCVTIMEO, libc::SO_SNDTIMEO];
    let option =
        |option: libc::c_int| Ok(vec![is(1, libc::SOL_SOCKET as u32)?, is(2, option as u32)?]);
    with(
        libc::SYS_setsockopt,
        options.into_iter().map(option).collect::<Result<_, BackendError>>()?,
    )?;
    // Not among them: F_SETOWN and F_SETSIG, by which a descriptor sends signals to other processes.
    let commands = [
        libc::F_GETFD,
        libc::F_SETFD,
        libc::F_GETFL,
        libc::F_SETFL,
        libc::F_DUPFD_CLOEXEC,
        libc::F_GETLK,
        libc::F_SETLK, // the monitor of a node
    ];
    let command = |command: libc::c_int| Ok(vec![is(1, command as u32)?]);
    with(libc::SYS_fcntl, commands.into_iter().map(command).collect::<Result<_, BackendError>>()?)?;
    // Blocking or not, for sockets; the terminal's question is answered above.
    with(
        libc::SYS_ioctl,
        vec![vec![is(1, libc::FIONBIO as u32)?], vec![is(1, libc::TCGETS as u32)?]],
    )?;
    Ok(rules)
}

/// This argument, of 32 bits, is this number.
fn is(argument: u8, number: u32) -> Result<SeccompCondition, BackendError> {
    when(argument, SeccompCmpOp::Eq, number)
}

/// This argument has none of these bits.
fn lacks(argument: u8, bits: u32) -> Result<SeccompCondition, BackendError> {
    when(argument, SeccompCmpOp::MaskedEq(u64::from(bits)), 0)
}

fn when(argument: u8, op: SeccompCmpOp, number: u32) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, op, u64::from(number))
}
