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
//! of session share, and [`Supervisor`] for the library's sessions.

mod ask;
pub mod container;
mod copies;
mod descriptor;
mod doctor;
mod drive;
mod ending;
mod error;
mod foresee;
mod gate;
mod layers;
mod learner;
mod masks;
mod notices;
mod options;
mod outcome;
mod plane;
mod prepare;
mod printable;
mod reload;
mod remark;
mod run;
mod sandbox;
mod secrets;
mod session;
mod signals;
mod start;
mod stdio;
mod terminal;
mod worker;

pub use crate::launch::Require;
pub use crate::launch::doctor::{Finding, Presence};
pub use crate::oci::Network;
pub use ask::AskRequest;
pub use doctor::{Diagnosis, Whole, diagnose};
pub use ending::Ending;
pub use error::RunError;
pub use foresee::foresee;
pub use learner::{LearnError, Left};
pub use options::{
    AskChoice, PolicyChoice, PolicySource, Program, RunOptions, Surroundings, TerminalChoice,
};
pub use outcome::{FAILED, NOT_EXECUTABLE, NOT_FOUND, Outcome, SIGNALLED, TIMED_OUT, killed_by};
pub use printable::printable;
pub use reload::{ReloadError, Reloaded, check_id, reload};
pub use remark::{Remark, SessionEvent, State, Stream};
pub use run::{Finished, run};
pub use session::{Config, Supervisor, WorkerType};
pub use start::write_python_bundle;
pub use stdio::Capture;
