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
