//! What happened in a session, written down: an append-only log of events and one
//! report at the end.
//!
//! It trusts the supervisor that calls it. What a worker said (paths, names,
//! reasons) is data here: it is bounded, and serialised as JSON strings, never
//! interpreted. It never decides anything, and it never drops an event
//! silently: an event that cannot be written is an error, and the caller answers
//! deny.

mod clock;
mod event;
mod log;
mod report;

#[cfg(test)]
pub(crate) use log::tests::full_log;

pub use event::{Answer, Event, Leaving, Mechanism, Operation, Origin, Reload, Resources};
pub use log::{EventLog, LogError};
pub use report::{Counted, Exit, RefusalReport, Report, ReportError, ReportFile, Tally, Traffic};
