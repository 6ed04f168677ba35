//! What the filter refuses besides, to a worker that has no namespaces: there nothing but this
//! filter and Landlock stands between it and the other processes and files of its user.
//!
//! The worker is one process with threads, and no call that takes a process id reaches another
//! one: its own number is compared, so that not even the existence of others is told. Landlock
//! does not look at the metadata of files: calls that change it, or that tell more of a file
//! than stat(2) does, are refused altogether, as no argument says which file is meant.
//!
//! Of sockets only pairs of connected streams are left, which is not this module's to see to:
//! the request asks for neither network nor named sockets (`SeccompRequest::unix`).

use syscalls::Sysno;

use super::conditions::{Condition, constant, equal, masked, rules};
use super::rules::{Clause, STEERING, Table, opening};
use super::{Alone, SeccompError};

/// Reach into other processes or their objects, whatever the arguments.
const OTHERS: &[Sysno] = &[
    Sysno::pidfd_send_signal,
    Sysno::get_robust_list,
    Sysno::capget,
    // A socket of its own could take a name that others on the host look for.
    Sysno::bind,
    Sysno::listen,
    Sysno::connect,
];

/// Objects of the kernel that all processes of a user share: System V's, and POSIX's queues.
const SHARED: &[Sysno] = &[
    Sysno::shmget,
    Sysno::shmat,
    Sysno::shmctl,
    Sysno::shmdt,
    Sysno::semget,
    Sysno::semop,
    Sysno::semctl,
    Sysno::semtimedop,
    Sysno::msgget,
    Sysno::msgsnd,
    Sysno::msgrcv,
    Sysno::msgctl,
    Sysno::mq_open,
    Sysno::mq_unlink,
    // They tell the names of files that come and go in a directory that may not be listed.
    Sysno::inotify_init1,
    Sysno::inotify_add_watch,
];

/// Change what is known of a file, by its path or by a descriptor that was opened to read.
const METADATA: &[Sysno] = &[
    Sysno::fchmod,
    Sysno::fchmodat,
    Sysno::fchmodat2,
    Sysno::fchown,
    Sysno::fchownat,
    Sysno::utimensat,
    Sysno::file_getattr,
    Sysno::file_setattr,
];

/// Extended attributes, which hold contents: answered as on a file system that has none.
const ATTRIBUTES: &[Sysno] = &[
    Sysno::getxattr,
    Sysno::lgetxattr,
    Sysno::getxattrat,
    Sysno::listxattr,
    Sysno::llistxattr,
    Sysno::listxattrat,
    Sysno::setxattr,
    Sysno::lsetxattr,
    Sysno::fsetxattr,
    Sysno::setxattrat,
    Sysno::removexattr,
    Sysno::lremovexattr,
    Sysno::fremovexattr,
    Sysno::removexattrat,
];

/// The same four kinds, for calls that only x86_64 has.
#[cfg(target_arch = "x86_64")]
const HERE: &[(Sysno, i32)] = &[
    (Sysno::fork, libc::EPERM),
    (Sysno::vfork, libc::EPERM),
    (Sysno::inotify_init, libc::ENOSYS),
    (Sysno::chmod, libc::EPERM),
    (Sysno::chown, libc::EPERM),
    (Sysno::lchown, libc::EPERM),
    (Sysno::utime, libc::EPERM),
    (Sysno::utimes, libc::EPERM),
    (Sysno::futimesat, libc::EPERM),
];
#[cfg(target_arch = "aarch64")]
const HERE: &[(Sysno, i32)] = &[];

/// The ioctls of terminals, pipes and descriptors. All others answer as where nothing serves
/// them: a file system's own work on any file of the same user that can be opened to read.
const IOCTLS: &[libc::Ioctl] = &[
    libc::TCGETS,
    libc::TCSETS,
    libc::TCSETSW,
    libc::TCSETSF,
    libc::TCSBRK,
    libc::TCSBRKP,
    libc::TCXONC,
    libc::TCFLSH,
    libc::TIOCSCTTY,
    libc::TIOCNOTTY,
    libc::TIOCGPGRP,
    libc::TIOCSPGRP,
    libc::TIOCGSID,
    libc::TIOCGWINSZ,
    libc::TIOCSWINSZ,
    libc::TIOCOUTQ,
    libc::FIONREAD,
    libc::FIONBIO,
    libc::FIOCLEX,
    libc::FIONCLEX,
];

/// `PR_SCHED_CORE` (`linux/prctl.h`): shares a processor core's cookie with another process.
const PR_SCHED_CORE: i32 = 62;

/// `IOPRIO_WHO_PROCESS` (`linux/ioprio.h`).
const IOPRIO_WHO_PROCESS: u64 = 1;

/// Bit 31 of a clock's id: it is the clock of the process or thread that the other bits name.
const CLOCK_OF_SOMEBODY: u64 = 0x8000_0000;

/// Adds to `table` what a worker without namespaces is refused.
pub(super) fn hold(table: &mut Table, alone: &Alone) -> Result<(), SeccompError> {
    for (list, errno) in [
        (OTHERS, libc::EPERM),
        (SHARED, libc::ENOSYS),
        (METADATA, libc::EPERM),
        (ATTRIBUTES, libc::EOPNOTSUPP),
    ] {
        for sysno in list {
            table.refuse(*sysno, errno);
        }
    }
    for (sysno, errno) in HERE {
        table.refuse(*sysno, *errno);
    }
    one_process(table, alone)?;
    only_itself(table, alone.pid)?;
    descriptors(table)?;
    if alone.guard_truncation {
        truncation(table)?;
    }
    Ok(())
}

/// Threads, and no second process: it would outlive everything that a killed supervisor takes
/// with it. Its own end with that of its parent can not be taken back either.
fn one_process(table: &mut Table, alone: &Alone) -> Result<(), SeccompError> {
    let thread = constant(libc::CLONE_THREAD);
    let only = rules(
        Sysno::clone,
        &[[masked(0, super::rules::CLONE_NEW_ANY | thread, thread)]],
    )?;
    let errno = libc::EPERM;
    let clause = if alone.count_threads {
        Clause::Ask { only, errno }
    } else {
        Clause::Admit { only, errno }
    };
    table.put(Sysno::clone, vec![clause]);
    let options = [
        libc::PR_SET_SECCOMP,
        libc::PR_SET_PDEATHSIG,
        libc::PR_SET_MM,
        PR_SCHED_CORE,
    ];
    table.refuse_when(
        Sysno::prctl,
        &options.map(|option| [equal(0, constant(option))]),
        libc::EPERM,
    )
}

/// Whoever is named by a process id must be the caller.
fn only_itself(table: &mut Table, pid: u32) -> Result<(), SeccompError> {
    let own = u64::from(pid);
    let group = u64::from(pid.wrapping_neg());
    let itself = |argument| [[equal(argument, 0)], [equal(argument, own)]];
    let signalled = [[equal(0, 0)], [equal(0, own)], [equal(0, group)]];
    table.admit(Sysno::kill, &signalled, libc::ESRCH)?;
    for sysno in [
        Sysno::tgkill,
        Sysno::tkill,
        Sysno::rt_sigqueueinfo,
        Sysno::rt_tgsigqueueinfo,
        Sysno::pidfd_open,
    ] {
        table.admit(sysno, &[[equal(0, own)]], libc::ESRCH)?;
    }
    for sysno in [
        Sysno::getpgid,
        Sysno::getsid,
        Sysno::setpgid,
        Sysno::sched_getscheduler,
        Sysno::sched_getparam,
        Sysno::sched_getattr,
        Sysno::sched_rr_get_interval,
    ] {
        table.admit(sysno, &itself(0), libc::ESRCH)?;
    }
    for sysno in STEERING {
        table.admit(sysno, &itself(0), libc::EPERM)?;
    }
    // glibc asks for each thread's when it describes one, and takes this answer for "not known".
    table.admit(Sysno::sched_getaffinity, &itself(0), libc::ENOSYS)?;
    let process = |which: u64| {
        [
            [equal(0, which), equal(1, 0)],
            [equal(0, which), equal(1, own)],
        ]
    };
    let priority = u64::from(libc::PRIO_PROCESS);
    for sysno in [Sysno::setpriority, Sysno::getpriority] {
        table.admit(sysno, &process(priority), libc::EPERM)?;
    }
    for sysno in [Sysno::ioprio_set, Sysno::ioprio_get] {
        table.admit(sysno, &process(IOPRIO_WHO_PROCESS), libc::EPERM)?;
    }
    for sysno in [
        Sysno::clock_gettime,
        Sysno::clock_getres,
        Sysno::clock_nanosleep,
        Sysno::timer_create,
    ] {
        table.admit(sysno, &[[masked(0, CLOCK_OF_SOMEBODY, 0)]], libc::EINVAL)?;
    }
    Ok(())
}

/// Signals sent by descriptors, and holds on files that others wait for.
fn descriptors(table: &mut Table) -> Result<(), SeccompError> {
    let commands = [
        libc::F_SETOWN,
        // Of `linux/fcntl.h`: F_SETOWN_EX, for which libc has no name everywhere.
        15,
        libc::F_SETLEASE,
        libc::F_NOTIFY,
    ];
    table.refuse_when(
        Sysno::fcntl,
        &commands.map(|command| [equal(1, constant(command))]),
        libc::EPERM,
    )?;
    let known: Vec<[Condition; 1]> = IOCTLS
        .iter()
        .map(|command| [equal(1, u64::from(*command as u32))])
        .collect();
    table.admit(Sysno::ioctl, &known, libc::ENOTTY)
}

/// Before ABI 3 Landlock does not see a truncation that needs no descriptor open for writing:
/// truncate(2), and O_TRUNC with an access mode that does not write.
fn truncation(table: &mut Table) -> Result<(), SeccompError> {
    table.refuse(Sysno::truncate, libc::EPERM);
    #[cfg(target_arch = "x86_64")]
    truncating_open(table, Sysno::open, 1)?;
    truncating_open(table, Sysno::openat, 2)
}

fn truncating_open(table: &mut Table, sysno: Sysno, flags: u8) -> Result<(), SeccompError> {
    let (mode, cut) = (constant(libc::O_ACCMODE), constant(libc::O_TRUNC));
    let when = rules(
        sysno,
        &[
            [masked(flags, mode | cut, cut)],
            [masked(flags, mode | cut, mode | cut)],
        ],
    )?;
    let mut clauses = vec![Clause::Refuse {
        when,
        errno: libc::EACCES,
    }];
    clauses.extend(opening(sysno, flags)?);
    table.put(sysno, clauses);
    Ok(())
}
