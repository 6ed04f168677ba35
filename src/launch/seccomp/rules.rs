//! What the filter refuses, and by which arguments.
//!
//! Numbers above [`NEWEST_REVIEWED`] do not exist for a worker: a kernel newer than this table
//! brings nothing that has not been looked at. Arguments that the kernel takes as `int` are
//! compared in their low 32 bits, as it does, so that garbage above them changes nothing.

use std::collections::BTreeMap;
use std::ops::Range;

use seccompiler::SeccompRule;
use syscalls::Sysno;

use super::conditions::{Condition, constant, different, equal, masked, rules, whole};
use super::{SeccompError, SeccompRequest, sockets};
use crate::policy::Perm;

/// The newest system call that was reviewed for this table: file_setattr, Linux 6.17.
pub(super) const NEWEST_REVIEWED: u32 = Sysno::file_setattr as u32;

/// What happens to one system call.
#[derive(Debug)]
pub(super) enum Handling {
    /// Always this errno.
    Refuse(i32),
    /// The process is killed.
    Kill,
    /// The listener answers.
    Notify,
    /// The clauses in order; what none of them answers is allowed.
    Compare(Vec<Clause>),
}

/// One step of a comparison. Rules are alternatives, the conditions within a rule hold together.
#[derive(Debug)]
pub(super) enum Clause {
    /// This errno when a rule matches; otherwise on to the next clause.
    Refuse { when: Vec<SeccompRule>, errno: i32 },
    /// Allow when a rule matches, this errno otherwise. Always the last clause.
    Admit { only: Vec<SeccompRule>, errno: i32 },
    /// Allow when a rule matches, kill otherwise. Always the last clause.
    AdmitOrKill { only: Vec<SeccompRule> },
    /// The listener answers when a rule matches, this errno otherwise. Always the last clause.
    Ask { only: Vec<SeccompRule>, errno: i32 },
    /// Allow when a rule matches; the listener answers otherwise. Always the last clause.
    AdmitOrAsk { only: Vec<SeccompRule> },
}

/// Refused whatever the arguments: what reaches into other processes, changes mounts, namespaces
/// or the machine, gets at kernel interfaces with a record of holes, or goes around the filter.
const REFUSED: &[Sysno] = &[
    // A second way into most system calls, past every filter.
    Sysno::io_uring_setup,
    Sysno::io_uring_enter,
    Sysno::io_uring_register,
    // Other processes' memory, descriptors and kernel objects.
    Sysno::ptrace,
    Sysno::process_vm_readv,
    Sysno::process_vm_writev,
    Sysno::process_madvise,
    Sysno::process_mrelease,
    Sysno::pidfd_getfd,
    Sysno::kcmp,
    // Mounts and roots.
    Sysno::mount,
    Sysno::umount2,
    Sysno::pivot_root,
    Sysno::chroot,
    Sysno::fsopen,
    Sysno::fsconfig,
    Sysno::fsmount,
    Sysno::fspick,
    Sysno::open_tree,
    Sysno::open_tree_attr,
    Sysno::move_mount,
    Sysno::mount_setattr,
    Sysno::statmount,
    Sysno::listmount,
    // Namespaces.
    Sysno::unshare,
    Sysno::setns,
    // Kernel programs, kernel keys, faults served by a user.
    Sysno::bpf,
    Sysno::perf_event_open,
    Sysno::userfaultfd,
    Sysno::keyctl,
    Sysno::add_key,
    Sysno::request_key,
    // Files by handle, past every path.
    Sysno::open_by_handle_at,
    Sysno::name_to_handle_at,
    // The machine.
    Sysno::kexec_load,
    Sysno::kexec_file_load,
    Sysno::init_module,
    Sysno::finit_module,
    Sysno::delete_module,
    Sysno::reboot,
    Sysno::swapon,
    Sysno::swapoff,
    Sysno::acct,
    Sysno::quotactl,
    Sysno::quotactl_fd,
    Sysno::syslog,
    Sysno::settimeofday,
    Sysno::clock_settime,
    Sysno::clock_adjtime,
    Sysno::adjtimex,
    Sysno::sethostname,
    Sysno::setdomainname,
    Sysno::vhangup,
    Sysno::nfsservctl,
    Sysno::lookup_dcookie,
    // Watching files of others; memory that no one else can inspect.
    Sysno::fanotify_init,
    Sysno::fanotify_mark,
    Sysno::memfd_secret,
    // Placement of memory: side channels, and pages of other processes.
    Sysno::mbind,
    Sysno::migrate_pages,
    Sysno::move_pages,
    Sysno::set_mempolicy,
    Sysno::set_mempolicy_home_node,
    // A filter of the worker's own could take a listener and answer for itself.
    Sysno::seccomp,
    Sysno::lsm_set_self_attr,
];

/// The same, for calls that only x86_64 has.
#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[Sysno] = &[
    Sysno::iopl,
    Sysno::ioperm,
    Sysno::modify_ldt,
    Sysno::uselib,
    Sysno::_sysctl,
    Sysno::sysfs,
    Sysno::create_module,
    Sysno::get_kernel_syms,
    Sysno::query_module,
];
#[cfg(target_arch = "aarch64")]
const REFUSED_HERE: &[Sysno] = &[];

/// Their meaning is behind a pointer that another thread can write to. Callers know kernels
/// without them and fall back to clone and openat.
const HIDDEN: &[Sysno] = &[Sysno::clone3, Sysno::openat2];

/// Every `CLONE_NEW*` flag that clone(2) takes. `CLONE_NEWTIME` (0x80) lies within the byte of the
/// exit signal there and has no meaning; only unshare and clone3 take it.
pub(super) const CLONE_NEW_ANY: u64 = 0x7e02_0000;

/// S_ISUID and S_ISGID.
const SET_ID: u64 = 0o6000;

/// The table for `request`, without the policy's own names.
pub(super) fn table(request: &SeccompRequest) -> Result<BTreeMap<i64, Handling>, SeccompError> {
    let mut table = Table::default();
    for sysno in REFUSED.iter().chain(REFUSED_HERE) {
        table.refuse(*sysno, libc::EPERM);
    }
    for sysno in HIDDEN {
        table.refuse(*sysno, libc::ENOSYS);
    }
    // Counted for the whole host (fs.aio-max-nr): one worker could take all that there are.
    table.refuse(Sysno::io_setup, libc::ENOSYS);
    if request.deny_memfd {
        table.refuse(Sysno::memfd_create, libc::EPERM);
    }
    if request.exec_once || request.intercept.contains(Perm::Execute) {
        for sysno in [Sysno::execve, Sysno::execveat] {
            table.0.insert(i64::from(sysno.id()), Handling::Notify);
        }
    }
    if let Some(addresses) = request.exec_at {
        let only = [0, 1, 2].map(|argument| whole(argument, addresses[usize::from(argument)]));
        if request.kill {
            table.admit_or_kill(Sysno::execve, &[only])?;
            table.kill(Sysno::execveat);
        } else {
            table.admit(Sysno::execve, &[only], libc::EACCES)?;
            table.refuse(Sysno::execveat, libc::EACCES);
        }
    }
    processes(&mut table, request.stacked)?;
    if request.stacked {
        table.0.remove(&i64::from(Sysno::seccomp.id()));
    }
    init(&mut table, super::receivers(request.intercept))?;
    modes(&mut table)?;
    sockets::add(&mut table, request)?;
    super::intercepted::hold(&mut table, request.intercept)?;
    if let Some(alone) = &request.alone {
        super::alone::hold(&mut table, alone)?;
    }
    Ok(table.0)
}

/// The part of a command of ioctl(2) that says whose it is.
const KIND: u64 = 0xff00;

/// Commands of Btrfs (`BTRFS_IOCTL_MAGIC`) and of bcachefs, of which some make, copy and remove whole
/// trees in a directory that is open for reading: what is denied in one is there in its copy.
const BTRFS: u64 = 0x9400;
const BCACHEFS: u64 = 0xbc00;

/// FICLONE, FICLONERANGE and FIDEDUPERANGE, which every file system has, and which write where that was
/// permitted.
const CLONES: [u64; 3] = [0x4004_9409, 0x4020_940d, 0xc018_9436];

/// `OCFS2_IOC_REFLINK`, which takes paths.
const REFLINK: u64 = 0x4018_6f04;

/// They answer as on a file system that knows no such command.
fn trees(table: &mut Table) -> Result<(), SeccompError> {
    let clones = CLONES.map(|clone| different(1, clone));
    let of_btrfs = [masked(1, KIND, BTRFS)].into_iter().chain(clones);
    let commands = [
        of_btrfs.collect(),
        vec![masked(1, KIND, BCACHEFS)],
        vec![equal(1, REFLINK)],
    ];
    let clause = Clause::Refuse {
        when: rules(Sysno::ioctl, &commands)?,
        errno: libc::EOPNOTSUPP,
    };
    table.append(Sysno::ioctl, clause);
    Ok(())
}

fn processes(table: &mut Table, stacked: bool) -> Result<(), SeccompError> {
    table.admit(Sysno::clone, &[[masked(0, CLONE_NEW_ANY, 0)]], libc::EPERM)?;
    // 0xffffffff asks; UNAME26 alone is harmless. Everything else weakens address randomisation,
    // makes memory executable or selects another ABI.
    let personas = [0, 0xffff_ffff, 0x0002_0000].map(|persona| [equal(0, persona)]);
    table.admit(Sysno::personality, &personas, libc::EPERM)?;
    if !stacked {
        let seccomp = equal(0, constant(libc::PR_SET_SECCOMP));
        table.refuse_when(Sysno::prctl, &[[seccomp]], libc::EPERM)?;
    }
    // TIOCSTI types into the terminal, TIOCLINUX pastes into it, TIOCSETD loads a line discipline.
    let commands = [libc::TIOCSTI, libc::TIOCLINUX, libc::TIOCSETD].map(|c| [equal(1, c)]);
    table.refuse_when(Sysno::ioctl, &commands, libc::EPERM)?;
    trees(table)?;
    // Whoever has a lease on a file makes others wait who open it. As where the file system has none.
    let leases = [libc::F_SETLEASE, F_SETDELEG].map(|command| [equal(1, constant(command))]);
    table.refuse_when(Sysno::fcntl, &leases, libc::EINVAL)?;
    // RENAME_WHITEOUT makes a character device without mknod.
    let whiteout = u64::from(libc::RENAME_WHITEOUT);
    table.refuse_when(
        Sysno::renameat2,
        &[[masked(4, whiteout, whiteout)]],
        libc::EPERM,
    )
}

/// They change the limits or the scheduling of the process that their first argument names.
pub(super) const STEERING: [Sysno; 5] = [
    Sysno::prlimit64,
    Sysno::sched_setaffinity,
    Sysno::sched_setscheduler,
    Sysno::sched_setparam,
    Sysno::sched_setattr,
];

/// Init has the worker's uid, and these calls ask for nothing else: a worker could take init's
/// descriptors (and with them the record of what it tried to run) or its processor time. Each of its
/// threads is as good as its process.
fn init(table: &mut Table, receivers: Range<u64>) -> Result<(), SeccompError> {
    const INIT: u64 = 1;
    let numbers: Vec<u64> = std::iter::once(INIT).chain(receivers).collect();
    let of_init = |argument| numbers.iter().map(move |number| equal(argument, *number));
    for sysno in STEERING {
        let whom: Vec<_> = of_init(0).map(|one| [one]).collect();
        table.refuse_when(sysno, &whom, libc::EPERM)?;
    }
    // By number, and for all processes of a user: IOPRIO_WHO_USER of linux/ioprio.h is 3.
    let users = [
        (Sysno::setpriority, constant(libc::PRIO_USER as i32)),
        (Sysno::ioprio_set, 3),
    ];
    for (sysno, user) in users {
        let mut whom = vec![[equal(0, user)]];
        whom.extend(of_init(1).map(|one| [one]));
        table.refuse_when(sysno, &whom, libc::EPERM)?;
    }
    Ok(())
}

/// Files that carry another identity or another driver: set-id bits and device nodes, through
/// every call that takes a mode.
fn modes(table: &mut Table) -> Result<(), SeccompError> {
    #[cfg(target_arch = "x86_64")]
    {
        set_id(table, Sysno::chmod, 1)?;
        set_id(table, Sysno::creat, 1)?;
        table.put(Sysno::open, opening(Sysno::open, 1)?.into());
        nodes(table, Sysno::mknod, 1)?;
    }
    set_id(table, Sysno::fchmod, 1)?;
    set_id(table, Sysno::fchmodat, 2)?;
    set_id(table, Sysno::fchmodat2, 2)?;
    table.put(Sysno::openat, opening(Sysno::openat, 2)?.into());
    nodes(table, Sysno::mknodat, 2)
}

fn set_id(table: &mut Table, sysno: Sysno, mode: u8) -> Result<(), SeccompError> {
    table.admit(sysno, &[[masked(mode, SET_ID, 0)]], libc::EPERM)
}

/// The mode of an open counts only where a file may be made, and is garbage otherwise.
pub(super) fn opening(sysno: Sysno, flags: u8) -> Result<[Clause; 1], SeccompError> {
    // O_TMPFILE without the O_DIRECTORY that it contains.
    const MAKING: u64 = (libc::O_CREAT | libc::O_TMPFILE & !libc::O_DIRECTORY) as u64;
    let harmless = [[masked(flags, MAKING, 0)], [masked(flags + 1, SET_ID, 0)]];
    Ok([Clause::Admit {
        only: rules(sysno, &harmless)?,
        errno: libc::EPERM,
    }])
}

fn nodes(table: &mut Table, sysno: Sysno, mode: u8) -> Result<(), SeccompError> {
    // Both kinds of device have this bit of the type, S_IFCHR nothing else. Of the others only
    // S_IFLNK has it too, which mknod does not make.
    let device = u64::from(libc::S_IFCHR);
    table.admit(sysno, &[[masked(mode, device | SET_ID, 0)]], libc::EPERM)
}

/// Of linux/fcntl.h, Linux 6.19.
const F_SETDELEG: libc::c_int = 1024 + 16;

/// The table while it grows.
#[derive(Default)]
pub(super) struct Table(BTreeMap<i64, Handling>);

impl Table {
    pub(super) fn put(&mut self, sysno: Sysno, clauses: Vec<Clause>) {
        self.0
            .insert(i64::from(sysno.id()), Handling::Compare(clauses));
    }

    pub(super) fn refuse(&mut self, sysno: Sysno, errno: i32) {
        self.0
            .insert(i64::from(sysno.id()), Handling::Refuse(errno));
    }

    pub(super) fn refuse_when<R: AsRef<[Condition]>>(
        &mut self,
        sysno: Sysno,
        when: &[R],
        errno: i32,
    ) -> Result<(), SeccompError> {
        let clause = Clause::Refuse {
            when: rules(sysno, when)?,
            errno,
        };
        self.0
            .insert(i64::from(sysno.id()), Handling::Compare(vec![clause]));
        Ok(())
    }

    pub(super) fn ask(&mut self, sysno: Sysno) {
        self.0.insert(i64::from(sysno.id()), Handling::Notify);
    }

    /// Adds a clause for a call that is compared, or not in the table.
    pub(super) fn append(&mut self, sysno: Sysno, clause: Clause) {
        let number = i64::from(sysno.id());
        match self.0.get_mut(&number) {
            Some(Handling::Compare(clauses)) => clauses.push(clause),
            Some(_) => {}
            None => self.put(sysno, vec![clause]),
        }
    }

    pub(super) fn kill(&mut self, sysno: Sysno) {
        self.0.insert(i64::from(sysno.id()), Handling::Kill);
    }

    /// The process is killed for every other call than `only`.
    pub(super) fn admit_or_kill<R: AsRef<[Condition]>>(
        &mut self,
        sysno: Sysno,
        only: &[R],
    ) -> Result<(), SeccompError> {
        let only = rules(sysno, only)?;
        self.put(sysno, vec![Clause::AdmitOrKill { only }]);
        Ok(())
    }

    pub(super) fn admit<R: AsRef<[Condition]>>(
        &mut self,
        sysno: Sysno,
        only: &[R],
        errno: i32,
    ) -> Result<(), SeccompError> {
        let clause = Clause::Admit {
            only: rules(sysno, only)?,
            errno,
        };
        self.0
            .insert(i64::from(sysno.id()), Handling::Compare(vec![clause]));
        Ok(())
    }
}
