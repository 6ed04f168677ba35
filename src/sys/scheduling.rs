//! `sched_setattr(2)` and `ioprio_set(2)` for the calling thread.

use std::io;

/// What sched_setattr(2) is told; times in nanoseconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Attributes {
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// -20 to 19, for the policies that share.
    pub nice: i32,
    /// 1 to 99, for the real-time policies.
    pub priority: u32,
    /// For SCHED_DEADLINE: time in each period.
    pub runtime: u64,
    /// For SCHED_DEADLINE: when it must be done.
    pub deadline: u64,
    /// For SCHED_DEADLINE: the period.
    pub period: u64,
}

/// `struct sched_attr` of `linux/sched/types.h`, first version.
#[repr(C)]
struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

fn checked(result: libc::c_long) -> io::Result<()> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Sets the scheduling of the calling thread.
///
/// # Errors
/// `EPERM` without CAP_SYS_NICE, `EINVAL` for what does not go together.
pub fn set_attributes(asked: &Attributes) -> io::Result<()> {
    let attributes = SchedAttr {
        size: std::mem::size_of::<SchedAttr>() as u32,
        policy: asked.policy,
        flags: asked.flags,
        nice: asked.nice,
        priority: asked.priority,
        runtime: asked.runtime,
        deadline: asked.deadline,
        period: asked.period,
    };
    // SAFETY: the structure has the size that it says and outlives the call.
    checked(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) })
}

/// Sets the priority of input and output of the calling thread, as `IOPRIO_PRIO_VALUE` makes it.
///
/// # Errors
/// `EPERM` for the real-time class without CAP_SYS_ADMIN.
pub fn set_io_priority(value: i32) -> io::Result<()> {
    const IOPRIO_WHO_PROCESS: libc::c_int = 1;
    // SAFETY: ioprio_set(2) takes integers.
    checked(unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, value) })
}

/// How many memory nodes can be told apart.
pub const NODES: usize = 1024;

/// Sets from which memory nodes the calling thread's memory comes: a mode of `linux/mempolicy.h` with
/// its flags, and numbers of nodes below [`NODES`].
///
/// # Errors
/// `EINVAL` for what does not go together or for a node that is not there, `ENOSYS` from a kernel that
/// knows of no nodes.
pub fn set_memory_policy(mode: i32, nodes: &[usize]) -> io::Result<()> {
    const BITS: usize = u64::BITS as usize;
    let mut mask = [0_u64; NODES / BITS];
    for node in nodes {
        match mask.get_mut(node / BITS) {
            Some(word) => *word |= 1 << (node % BITS),
            None => return Err(io::ErrorKind::InvalidInput.into()),
        }
    }
    // One more than there are bits, which is how set_mempolicy(2) counts.
    let (pointer, length) = match nodes.is_empty() {
        true => (std::ptr::null(), 0),
        false => (mask.as_ptr(), NODES + 1),
    };
    // SAFETY: the kernel reads as many bits as the mask has, which outlives the call.
    checked(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, pointer, length) })
}
