//! `prctl(2)`, waiting, and the facts about the calling process that the launch verifies.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Has the kernel send `signal` to this process when the thread that created it ends.
///
/// Cleared by a change of credentials and not inherited by fork: set it again after either.
///
/// # Errors
/// `EINVAL` for a signal that does not exist.
pub fn set_parent_death_signal(signal: i32) -> io::Result<()> {
    // SAFETY: PR_SET_PDEATHSIG takes an integer.
    checked(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal as libc::c_ulong) }).map(|_| ())
}

/// Makes /proc/PID of this process root's, its memory unreadable and ptrace refused.
///
/// # Errors
/// None that prctl(2) names for these arguments.
pub fn set_not_dumpable() -> io::Result<()> {
    // SAFETY: PR_SET_DUMPABLE takes an integer.
    checked(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0 as libc::c_ulong) }).map(|_| ())
}

/// Names the process as `ps` shows it (15 bytes are kept).
///
/// # Errors
/// None that prctl(2) names for these arguments.
pub fn set_name(name: &std::ffi::CStr) -> io::Result<()> {
    // SAFETY: PR_SET_NAME reads a NUL-terminated string.
    checked(unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) }).map(|_| ())
}

/// Whether no_new_privs is set.
///
/// # Errors
/// `EINVAL` on a kernel older than 3.5.
pub fn no_new_privs() -> io::Result<bool> {
    // SAFETY: PR_GET_NO_NEW_PRIVS takes zeros.
    checked(unsafe { libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) }).map(|set| set == 1)
}

/// The seccomp mode of the calling thread: 0 none, 1 strict, 2 filter.
///
/// # Errors
/// `EINVAL` on a kernel without seccomp.
pub fn seccomp_mode() -> io::Result<i32> {
    // SAFETY: PR_GET_SECCOMP takes no argument.
    checked(unsafe { libc::prctl(libc::PR_GET_SECCOMP, 0, 0, 0, 0) })
}

/// A child that ended.
pub struct Reaped {
    /// Process id.
    pub pid: i32,
    /// As waitpid(2) gives it.
    pub status: i32,
}

/// Resources as getrusage(2) counts them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// User time in microseconds.
    pub user_us: u64,
    /// System time in microseconds.
    pub system_us: u64,
    /// Largest resident set of one process in KiB.
    pub max_rss_kib: u64,
}

/// Reaps one child that has ended, or `None` when none has.
///
/// # Errors
/// `ECHILD` when there is no child at all.
pub fn reap() -> io::Result<Option<Reaped>> {
    let mut status = 0;
    // SAFETY: the pointer is to a local that outlives the call.
    let pid = checked(unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG | libc::__WALL) })?;
    Ok((pid > 0).then_some(Reaped { pid, status }))
}

/// What the children that were waited for have used together.
pub fn children_usage() -> Usage {
    // SAFETY: rusage is a plain structure of integers, for which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a local that outlives the call; RUSAGE_CHILDREN is valid.
    unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage) };
    let micros = |time: libc::timeval| time.tv_sec as u64 * 1_000_000 + time.tv_usec as u64;
    Usage {
        user_us: micros(usage.ru_utime),
        system_us: micros(usage.ru_stime),
        max_rss_kib: usage.ru_maxrss as u64,
    }
}

/// Sends `signal` to a pid (positive) or a process group (negative).
///
/// # Errors
/// `ESRCH` when there is no such process.
pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: kill(2) takes integers.
    checked(unsafe { libc::kill(pid, signal) }).map(|_| ())
}

/// Sends `signal`, a number, to the process that `pidfd` refers to.
///
/// # Errors
/// `ESRCH` when it has ended, `EINVAL` for a number that is no signal.
pub fn pidfd_signal(pidfd: std::os::fd::BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: pidfd_send_signal(2) takes integers and, here, no information.
    checked(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            none,
            0,
        )
    } as i32)
    .map(|_| ())
}

/// `struct pidfd_info` of linux/pidfd.h as Linux 6.13 has it: a mask, a control group, eleven ids
/// and the exit status.
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroup: u64,
    ids: [u32; 11],
    exit_code: i32,
}

/// `PIDFD_INFO_EXIT`.
const PIDFD_INFO_EXIT: u64 = 1 << 3;

/// `PIDFD_GET_INFO`: _IOWR(0xFF, 11, struct pidfd_info).
const PIDFD_GET_INFO: libc::c_ulong = 0xc040_ff0b;

/// How a process has ended that somebody else has waited for, as wait(2) tells it; `None` while
/// nobody has, and before Linux 6.15.
#[must_use]
pub fn exit_status_of(pidfd: BorrowedFd<'_>) -> Option<i32> {
    use std::os::fd::AsRawFd;
    let mut info = PidfdInfo {
        mask: PIDFD_INFO_EXIT,
        ..PidfdInfo::default()
    };
    // SAFETY: the kernel writes at most the size that the operation's number carries, which is that
    // of `info`.
    let result = unsafe { libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_INFO as _, &raw mut info) };
    (result == 0 && info.mask & PIDFD_INFO_EXIT != 0).then_some(info.exit_code)
}

/// Waits for the end of one child.
///
/// # Errors
/// `ECHILD` when it is not a child of this process.
pub fn wait_for(pid: i32) -> io::Result<i32> {
    let mut status = 0;
    loop {
        // SAFETY: the pointer is to a local that outlives the call.
        match checked(unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) }) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
            Ok(_) => return Ok(status),
        }
    }
}

/// Blocks every signal, as the launch child and init do: they learn of signals by signalfd.
///
/// # Errors
/// None that sigprocmask(2) names for these arguments.
pub fn block_all_signals() -> io::Result<()> {
    // SAFETY: the set is initialised by sigfillset before it is read.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut set);
        checked(libc::sigprocmask(
            libc::SIG_SETMASK,
            &raw const set,
            std::ptr::null_mut(),
        ))
    }
    .map(|_| ())
}

/// Gives the program a clean start: no signal blocked, every disposition the default.
///
/// # Errors
/// None that sigprocmask(2) names for these arguments.
pub fn reset_signals() -> io::Result<()> {
    // SAFETY: SIG_DFL is a valid disposition for each number; those that cannot be changed
    // (SIGKILL, SIGSTOP) fail without effect. The set is initialised by sigemptyset.
    unsafe {
        for signal in 1..=64 {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        checked(libc::sigprocmask(
            libc::SIG_SETMASK,
            &raw const set,
            std::ptr::null_mut(),
        ))
    }
    .map(|_| ())
}

/// A signalfd(2) for SIGCHLD, close-on-exec and non-blocking.
///
/// # Errors
/// `EMFILE` and its like.
pub fn child_signals() -> io::Result<std::os::fd::OwnedFd> {
    use std::os::fd::FromRawFd;
    // SAFETY: the set is initialised by sigemptyset; the descriptor is checked, fresh and unowned.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        let raw = checked(libc::signalfd(
            -1,
            &raw const set,
            libc::SFD_CLOEXEC | libc::SFD_NONBLOCK,
        ))?;
        Ok(std::os::fd::OwnedFd::from_raw_fd(raw))
    }
}

/// Drops every supplementary group.
///
/// # Errors
/// `EPERM` without CAP_SETGID, or where setgroups is denied for the user namespace.
pub fn drop_groups() -> io::Result<()> {
    // SAFETY: a length of zero reads no pointer.
    checked(unsafe { libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<u32>()) } as i32)
        .map(|_| ())
}

/// Replaces the supplementary groups.
///
/// # Errors
/// `EPERM` without CAP_SETGID, or where setgroups is denied for the user namespace; `EINVAL` for
/// ids that are not mapped.
pub fn set_groups(groups: &[u32]) -> io::Result<()> {
    // SAFETY: the pointer and the length are of one slice that outlives the call.
    checked(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) } as i32)
        .map(|_| ())
}

/// Has every later execve(2) give no privilege.
///
/// # Errors
/// None that prctl(2) names for these arguments.
pub fn set_no_new_privs() -> io::Result<()> {
    // SAFETY: PR_SET_NO_NEW_PRIVS takes integers.
    checked(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }).map(|_| ())
}

/// Becomes `uid` and `gid`, real, effective and saved, keeping the permitted capabilities, and the
/// memory unreadable where it was: by itself the kernel makes it then what fs.suid_dumpable says,
/// and a container's processes could trace one that is about to join them.
///
/// # Errors
/// `EPERM` without CAP_SETUID and CAP_SETGID, `EINVAL` for ids that are not mapped.
pub fn become_ids(uid: u32, gid: u32) -> io::Result<()> {
    // SAFETY: the raw calls take integers; the process has one thread, so no other thread
    // keeps the old ids.
    unsafe {
        let dumpable = checked(libc::prctl(libc::PR_GET_DUMPABLE))?;
        checked(libc::prctl(libc::PR_SET_KEEPCAPS, 1 as libc::c_ulong))?;
        checked(libc::syscall(libc::SYS_setresgid, gid, gid, gid) as i32)?;
        checked(libc::syscall(libc::SYS_setresuid, uid, uid, uid) as i32)?;
        checked(libc::prctl(libc::PR_SET_KEEPCAPS, 0 as libc::c_ulong))?;
        if dumpable == 0 {
            checked(libc::prctl(libc::PR_SET_DUMPABLE, 0 as libc::c_ulong))?;
        }
    }
    Ok(())
}

/// Does something with the rights that `uid` and `gid` have on files, without supplementary groups
/// and without the capabilities that pass over them, and takes the own rights back.
///
/// # Errors
/// What setgroups(2) says, or that the rights did not change, as they do for root alone. When the
/// groups cannot be taken back the process is ended: it must not go on as somebody else.
pub fn with_file_rights<T>(uid: u32, gid: u32, body: impl FnOnce() -> T) -> io::Result<T> {
    let mut groups = vec![0; 65536];
    // SAFETY: the buffer has the length that is passed, which is the most that a process has.
    let count = checked(unsafe { libc::getgroups(groups.len() as i32, groups.as_mut_ptr()) })?;
    groups.truncate(count.cast_unsigned() as usize);
    // SAFETY: a length of zero reads no pointer; raw, so that this thread alone is changed.
    checked(unsafe { libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<u32>()) } as i32)?;
    // SAFETY: the calls take integers; each answers the id that was in force before.
    let (own_gid, own_uid) = unsafe { (libc::setfsgid(gid), libc::setfsuid(uid)) };
    // SAFETY: an id that does not exist changes nothing, and tells the one in force.
    let now = unsafe { libc::setfsuid(u32::MAX) }.cast_unsigned();
    let done = (now == uid).then(body);
    // SAFETY: as above; the list outlives the call, and its length is passed.
    let restored = unsafe {
        libc::setfsuid(own_uid.cast_unsigned());
        libc::setfsgid(own_gid.cast_unsigned());
        libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr())
    };
    if restored != 0 {
        std::process::abort();
    }
    done.ok_or_else(|| io::Error::from_raw_os_error(libc::EPERM))
}

/// Moves this process to a new session, of which it is the leader.
///
/// # Errors
/// `EPERM` when it leads a process group already.
pub fn new_session() -> io::Result<()> {
    // SAFETY: setsid(2) takes no argument.
    checked(unsafe { libc::setsid() }).map(|_| ())
}

/// Makes `source` available as `target`, without close-on-exec.
///
/// # Errors
/// `EBADF` when `source` is not open.
pub fn duplicate_onto(source: i32, target: i32) -> io::Result<()> {
    // SAFETY: dup2(2) takes integers; only descriptors 0 to 2 are targets, which Rust's
    // library does not own.
    checked(unsafe { libc::dup2(source, target) }).map(|_| ())
}

/// The major and minor number of the device that a descriptor refers to; none when it is not open
/// or refers to no character device.
#[must_use]
pub fn descriptor_device(descriptor: i32) -> Option<(u32, u32)> {
    // SAFETY: stat is a plain structure of integers, for which zero is a value.
    let mut found: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: fstat(2) takes an integer and a pointer to a local that outlives the call.
    checked(unsafe { libc::fstat(descriptor, &raw mut found) }).ok()?;
    let is_device = found.st_mode & libc::S_IFMT == libc::S_IFCHR;
    is_device.then(|| (libc::major(found.st_rdev), libc::minor(found.st_rdev)))
}

/// Marks every descriptor from `first` on close-on-exec.
///
/// # Errors
/// `ENOSYS` before Linux 5.11.
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    close_on_exec(first, u32::MAX)
}

/// Has a command close every descriptor from 3 on when it begins, whoever left them open.
pub fn close_descriptors_of(command: &mut Command) {
    // SAFETY: between fork and exec one system call is made, which takes integers.
    unsafe { command.pre_exec(|| close_on_exec_from(3)) };
}

/// Marks every descriptor from 3 on close-on-exec but those of `kept`, which ascend.
///
/// # Errors
/// `ENOSYS` before Linux 5.11.
pub fn close_on_exec_but(kept: &[i32]) -> io::Result<()> {
    let mut first = 3;
    for number in kept.iter().map(|number| number.cast_unsigned()) {
        if number > first {
            close_on_exec(first, number - 1)?;
        }
        first = number.saturating_add(1);
    }
    close_on_exec_from(first)
}

fn close_on_exec(first: u32, last: u32) -> io::Result<()> {
    let flags = libc::CLOSE_RANGE_CLOEXEC;
    // SAFETY: close_range(2) takes integers; CLOEXEC changes no open descriptor's validity.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    checked(result as i32).map(|_| ())
}

/// The descriptors among `numbers` that a program executed by this process would have.
#[must_use]
pub fn inherited(numbers: std::ops::Range<i32>) -> Vec<i32> {
    let is_inherited = |number: &i32| {
        // SAFETY: fcntl(2) with F_GETFD takes integers, and says EBADF of what is not open.
        let flags = unsafe { libc::fcntl(*number, libc::F_GETFD) };
        flags >= 0 && flags & libc::FD_CLOEXEC == 0
    };
    numbers.filter(is_inherited).collect()
}

/// Closes every descriptor from `first` to `last`; nothing happens when the range is empty.
///
/// # Errors
/// `ENOSYS` before Linux 5.9.
pub fn close_range(first: i32, last: i32) -> io::Result<()> {
    if first > last {
        return Ok(());
    }
    // SAFETY: only copies of a process call this, for descriptors of the life they had before,
    // which nothing of theirs will use or drop again: they leave by execve or _exit.
    checked(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } as i32).map(|_| ())
}

/// Closes every descriptor from 3 on but those of `keep` and the numbers of `kept`. For a copy of a
/// process that leaves by execve(2) or `_exit`: it must not drop what it had in any of the others.
///
/// # Errors
/// `ENOSYS` before Linux 5.9.
pub fn close_all_but(kept: &[i32], keep: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut kept = kept.to_vec();
    kept.extend(keep.iter().map(AsRawFd::as_raw_fd));
    kept.retain(|number| *number >= 3);
    kept.sort_unstable();
    let mut from = 3;
    for number in kept {
        close_range(from, number - 1)?;
        from = number + 1;
    }
    close_range(from, i32::MAX)
}

/// Blocks every signal and gives a signalfd(2) for all of them, close-on-exec and non-blocking.
///
/// # Errors
/// `EMFILE` and its like.
pub fn all_signals() -> io::Result<std::os::fd::OwnedFd> {
    use std::os::fd::FromRawFd;
    block_all_signals()?;
    // SAFETY: the set is initialised by sigfillset; the descriptor is checked, fresh and unowned.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut set);
        let raw = checked(libc::signalfd(
            -1,
            &raw const set,
            libc::SFD_CLOEXEC | libc::SFD_NONBLOCK,
        ))?;
        Ok(std::os::fd::OwnedFd::from_raw_fd(raw))
    }
}

/// The number of the next signal that a signalfd(2) holds.
///
/// # Errors
/// `EAGAIN` when it holds none.
pub fn next_signal(signals: std::os::fd::BorrowedFd<'_>) -> io::Result<i32> {
    let mut information = [0_u8; std::mem::size_of::<libc::signalfd_siginfo>()];
    rustix::io::read(signals, &mut information)?;
    // `ssi_signo` is the first field.
    let [a, b, c, d, ..] = information;
    Ok(u32::from_ne_bytes([a, b, c, d]).cast_signed())
}

/// Has a write to a pipe that nobody reads fail with `EPIPE`, and not end the process.
///
/// # Errors
/// None that signal(2) names for these arguments.
pub fn ignore_broken_pipes() -> io::Result<()> {
    // SAFETY: SIG_IGN is no handler that could run.
    match unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) } {
        libc::SIG_ERR => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Changes the execution domain of the calling process.
///
/// # Errors
/// `EINVAL` for a domain that this kernel lacks.
pub fn set_personality(domain: u64) -> io::Result<()> {
    // SAFETY: personality(2) takes an integer.
    checked(unsafe { libc::personality(domain) }).map(|_| ())
}

/// Has orphans of this process's descendants become its children.
///
/// # Errors
/// None that prctl(2) names for these arguments.
pub fn become_subreaper() -> io::Result<()> {
    // SAFETY: PR_SET_CHILD_SUBREAPER takes an integer.
    checked(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1 as libc::c_ulong) }).map(|_| ())
}
