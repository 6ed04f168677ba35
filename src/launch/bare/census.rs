//! How many threads the worker has, counted as each one is asked for.
//!
//! The kernel counts a user's processes all together, so without a user namespace or a control
//! group no limit of its own is the worker's alone. But each clone comes to init first, whose flags
//! are values in registers: what was looked at is what the kernel carries out.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::sys::seccomp::Answer;

/// The threads of one process, which can start no other.
#[derive(Debug)]
pub(in crate::launch) struct Census {
    most: u64,
    /// Who was let make a thread and has not been heard of since: its thread may not be in the
    /// kernel's count yet.
    unheard: BTreeSet<u32>,
    reached: bool,
}

impl Census {
    /// Lets `most` threads be at one time, the first one included.
    pub(in crate::launch) fn new(most: u64) -> Census {
        Census {
            most,
            unheard: BTreeSet::new(),
            reached: false,
        }
    }

    /// The answer to thread `caller` of process `program`, which wants to make another. Counts
    /// too many rather than too few.
    pub(in crate::launch) fn judge(&mut self, program: i32, caller: u32) -> Answer {
        // A caller waits in this call, so whatever it was let do before is done; and one that has
        // ended will do nothing any more.
        self.unheard.remove(&caller);
        let alive = |thread: &u32| Path::new(&format!("/proc/{program}/task/{thread}")).exists();
        self.unheard.retain(alive);
        // The look at the callers comes first: a thread they made before it is in this count.
        let count = threads(program).map(|count| count + self.unheard.len() as u64);
        match count {
            Some(count) if count < self.most => {
                self.unheard.insert(caller);
                Answer::Continue
            }
            Some(_) | None => {
                self.reached = true;
                Answer::Errno(libc::EAGAIN)
            }
        }
    }

    /// Whether a thread has been refused.
    pub(in crate::launch) fn is_reached(&self) -> bool {
        self.reached
    }
}

/// The kernel's own count.
fn threads(process: i32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("Threads:"))?;
    line.trim().parse().ok()
}
