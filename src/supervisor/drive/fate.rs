//! How a session ends, as far as it is known while it lives.

use super::*;

/// What is known so far about the session's end.
pub(super) struct Fate {
    pub cause: Option<Cause>,
    pub program: Option<ProgramEnd>,
    pub used: Option<Used>,
    /// The first signal that asked the program to end.
    pub asked: Option<i32>,
    /// When everything is killed, and why if the program's own end does not say it.
    pub patience: Option<(Instant, Option<Cause>)>,
    /// When nobody waits any longer for what was killed to end.
    pub killed: Option<Instant>,
    /// Init's socket has nothing more to say.
    pub deaf: bool,
    /// Whether a worker that there should be has not been heard yet.
    pub unheard: bool,
    pub violations: Vec<String>,
    pub pids_reached: bool,
}

impl Fate {
    /// Nothing yet, but a worker must be ready in time.
    pub(super) fn open(worker: bool) -> Self {
        let late = || {
            let seconds = START_LIMIT.as_secs();
            Cause::Failure(format!("the worker was not ready within {seconds} s"))
        };
        let patience = worker.then(|| (Instant::now() + START_LIMIT, Some(late())));
        let (cause, program, used, asked) = (None, None, None, None);
        Self {
            cause,
            program,
            used,
            asked,
            patience,
            killed: None,
            deaf: false,
            unheard: worker,
            violations: Vec::new(),
            pids_reached: false,
        }
    }
}
