//! The five capability sets of the calling thread, as bit masks: bit n is capability number n
//! (`linux/capability.h`).

use std::io;

/// The five sets that a program is to start with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sets {
    /// What may ever be gained.
    pub bounding: u64,
    /// What counts when the kernel asks.
    pub effective: u64,
    /// What may be made effective.
    pub permitted: u64,
    /// What survives an execve(2) of a file that inherits it.
    pub inheritable: u64,
    /// What survives any execve(2).
    pub ambient: u64,
}

impl Sets {
    /// Takes these away, a bit each.
    pub fn remove(&mut self, taken: u64) {
        for set in [
            &mut self.bounding,
            &mut self.effective,
            &mut self.permitted,
            &mut self.inheritable,
            &mut self.ambient,
        ] {
            *set &= !taken;
        }
    }
}

/// `struct __user_cap_header_struct`.
#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

/// Two of `struct __user_cap_data_struct`, low words first.
#[repr(C)]
struct Data([[u32; 3]; 2]);

/// `_LINUX_CAPABILITY_VERSION_3`.
const VERSION: u32 = 0x2008_0522;

fn checked(result: libc::c_long) -> io::Result<i64> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn prctl(operation: libc::c_int, second: u64, third: u64) -> io::Result<i64> {
    // SAFETY: the operations of this file take integers, and zeros for the rest.
    checked(libc::c_long::from(unsafe {
        libc::prctl(operation, second, third, 0, 0)
    }))
}

/// Takes every capability that `keep` lacks out of the bounding set.
///
/// # Errors
/// `EPERM` without CAP_SETPCAP.
pub fn limit_bounding(keep: u64) -> io::Result<()> {
    for number in 0..64 {
        if keep & (1 << number) != 0 {
            continue;
        }
        match prctl(libc::PR_CAPBSET_DROP, number, 0) {
            Ok(_) => {}
            // Beyond the last one that this kernel has.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Sets the effective, permitted, inheritable and ambient sets. What is not permitted or not
/// inheritable cannot be ambient, and is left out there.
///
/// # Errors
/// `EPERM` for what the thread does not have.
pub fn apply(sets: &Sets) -> io::Result<()> {
    let word = |set: u64, index: usize| (set >> (32 * index)) as u32;
    let half = |index| {
        [
            word(sets.effective, index),
            word(sets.permitted, index),
            word(sets.inheritable, index),
        ]
    };
    let header = Header {
        version: VERSION,
        pid: 0,
    };
    let data = Data([half(0), half(1)]);
    // SAFETY: both structures have the shape that version 3 asks for and outlive the call.
    checked(unsafe { libc::syscall(libc::SYS_capset, &raw const header, &raw const data) })?;
    prctl(
        libc::PR_CAP_AMBIENT,
        libc::PR_CAP_AMBIENT_CLEAR_ALL as u64,
        0,
    )?;
    let ambient = sets.ambient & sets.permitted & sets.inheritable;
    for number in (0..64).filter(|number| ambient & (1 << number) != 0) {
        prctl(
            libc::PR_CAP_AMBIENT,
            libc::PR_CAP_AMBIENT_RAISE as u64,
            number,
        )?;
    }
    Ok(())
}

/// What the calling thread's user namespace and bounding set leave it: its permitted set.
///
/// # Errors
/// None that capget(2) names for these arguments.
pub fn permitted() -> io::Result<u64> {
    let mut header = Header {
        version: VERSION,
        pid: 0,
    };
    let mut data = Data([[0; 3]; 2]);
    // SAFETY: both structures have the shape that version 3 asks for and outlive the call.
    checked(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, &raw mut data) })?;
    let [low, high] = data.0.map(|half| u64::from(half[1]));
    Ok(low | high << 32)
}

/// Whether the permitted capabilities survive the change from uid 0 to another.
///
/// # Errors
/// `EPERM` where the setting is locked.
pub fn keep_over_change_of_ids(keep: bool) -> io::Result<()> {
    prctl(libc::PR_SET_KEEPCAPS, u64::from(keep), 0).map(|_| ())
}
