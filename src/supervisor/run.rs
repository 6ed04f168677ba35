//! One run in the foreground, from what was meant to an exit status.

use super::error::RunError;
use super::options::RunOptions;
use super::outcome::Outcome;
use super::remark::Remark;
use super::stdio::Capture;
use crate::audit::Report;

/// What a run in the foreground came to.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub outcome: Outcome,
    /// The same, with everything around it; also written to the report's file.
    pub report: Report,
    /// The program's standard output and error, when they were to be captured.
    pub captured: Option<(Capture, Capture)>,
}

/// Runs a program and waits for its end. The calling process must have one thread.
///
/// `hear` gets every remark at once; what it prints must not block.
///
/// # Errors
/// When nothing was started, or when the report could not be written at the end.
pub fn run(
    options: RunOptions,
    hear: impl FnMut(Remark) + Send + 'static,
) -> Result<Finished, RunError> {
    drop((options, hear));
    Err(RunError::NotRunning)
}
