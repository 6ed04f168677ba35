//! The life of a session: from what was meant, over the launch, to the last byte
//! of output and an exit status.
//!
//! It trusts the caller, the policy that it compiled, and the kernel. The worker's
//! bytes are allegations: its checks are answered and recorded, but nothing that
//! it says, or does not say, makes the kernel permit more. It never starts a
//! second thread (the launch clones a process, and whoever clones must be alone),
//! never blocks on a descriptor of the caller, and never lets a sandbox outlive
//! it.
//!
//! Read [`run()`] for a run in the foreground, `drive` for the loop that both kinds
//! of session share.

#[allow(dead_code)]
mod descriptor;
#[allow(dead_code)]
mod error;
mod options;
#[allow(dead_code)]
mod outcome;
#[allow(dead_code)]
mod remark;
mod run;
#[allow(dead_code)]
mod stdio;

pub use error::RunError;
pub use options::{PolicyChoice, PolicySource, Program, RunOptions, Surroundings, TerminalChoice};
pub use outcome::{FAILED, NOT_EXECUTABLE, NOT_FOUND, Outcome, SIGNALLED, TIMED_OUT};
pub use remark::{Remark, SessionEvent, State, Stream};
pub use run::{Finished, run};
pub use stdio::Capture;
