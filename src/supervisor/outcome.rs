//! How a session ended, and the exit status that says so.

use serde::Serialize;

use crate::audit::{Exit, Resources};

/// Why Buntime ended a session, when it did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cause {
    /// The wall limit.
    Timeout,
    /// Another limit, by its name in a policy.
    Limit(&'static str),
    /// The worker broke the channel's rules.
    Violation(String),
    /// The program did what is denied, and the policy's `onViolation` is `kill`.
    Policy(String),
    /// We were told to end: a second Ctrl-C, or a SIGTERM that the program ignored.
    Signal(i32),
    /// The library's caller stopped the session.
    Stopped,
    /// Something of ours failed.
    Failure(String),
    /// The program could not be started.
    Unstarted {
        /// Whether it was not there at all.
        missing: bool,
        /// What happened.
        detail: String,
    },
}

/// How the program itself ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProgramEnd {
    Code(i32),
    Signal(i32),
}

/// How a session ended.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// The exit status and its reason.
    pub exit: Exit,
    /// What the session used.
    pub resources: Resources,
    /// The limits that were reached.
    pub limits_reached: Vec<&'static str>,
}

/// Exit status of a run that its wall limit ended, as timeout(1) has it.
pub const TIMED_OUT: u8 = 124;
/// Exit status of a failure of Buntime itself, as env(1) and docker-run(1) have it.
pub const FAILED: u8 = 125;
/// Exit status for a program that cannot be executed, as sh(1) has it.
pub const NOT_EXECUTABLE: u8 = 126;
/// Exit status for a program that is not there, as sh(1) has it.
pub const NOT_FOUND: u8 = 127;
/// What a signal's number is added to, as sh(1) has it.
pub const SIGNALLED: u8 = 128;

const SIGKILL: i32 = 9;

/// The exit status and its words. The cause comes first: what the killed program
/// reported about its own death is only a consequence.
pub(super) fn exit(cause: Option<&Cause>, program: Option<ProgramEnd>) -> Exit {
    let (code, signal) = match program {
        Some(ProgramEnd::Code(code)) => (Some(code), None),
        Some(ProgramEnd::Signal(signal)) => (None, Some(signal)),
        None => (None, None),
    };
    let (status, name, detail) = match (cause, program) {
        (Some(Cause::Timeout), _) => (TIMED_OUT, "timeout", None),
        (Some(Cause::Limit(limit)), _) => (killed_by(SIGKILL), "limit", Some((*limit).to_owned())),
        (Some(Cause::Violation(reason)), _) => (FAILED, "violation", Some(reason.clone())),
        (Some(Cause::Policy(reason)), _) => (killed_by(SIGKILL), "policy", Some(reason.clone())),
        (Some(Cause::Signal(signal)), _) => (killed_by(*signal), "signal", None),
        (Some(Cause::Stopped), _) => (killed_by(SIGKILL), "stopped", None),
        (Some(Cause::Failure(detail)), _) => (FAILED, "failure", Some(detail.clone())),
        (Some(Cause::Unstarted { missing, detail }), _) => {
            let status = if *missing { NOT_FOUND } else { NOT_EXECUTABLE };
            (status, "failure", Some(detail.clone()))
        }
        // wait(2) gives eight bits of an exit code.
        (None, Some(ProgramEnd::Code(code))) => ((code & 0xff) as u8, "program", None),
        (None, Some(ProgramEnd::Signal(signal))) => (killed_by(signal), "program", None),
        (None, None) => {
            let detail = "the sandbox's init ended without a word".to_owned();
            (FAILED, "failure", Some(detail))
        }
    };
    Exit {
        status,
        code,
        signal,
        cause: name,
        detail,
    }
}

/// The exit code for a program that this signal ended.
#[must_use]
pub fn killed_by(signal: i32) -> u8 {
    u8::try_from(signal).map_or(FAILED, |signal| SIGNALLED.saturating_add(signal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_statuses_are_those_that_people_know() {
        let status = |cause: Option<Cause>, end| exit(cause.as_ref(), end).status;
        assert_eq!(status(None, Some(ProgramEnd::Code(7))), 7);
        assert_eq!(status(None, Some(ProgramEnd::Code(256))), 0);
        assert_eq!(status(None, Some(ProgramEnd::Signal(15))), 143);
        assert_eq!(status(None, None), 125);
        assert_eq!(
            status(Some(Cause::Timeout), Some(ProgramEnd::Signal(9))),
            124
        );
        assert_eq!(
            status(Some(Cause::Limit("memory")), Some(ProgramEnd::Signal(9))),
            137
        );
        assert_eq!(status(Some(Cause::Signal(2)), None), 130);
        assert_eq!(status(Some(Cause::Violation(String::new())), None), 125);
        assert_eq!(status(Some(Cause::Policy(String::new())), None), 137);
        let unstarted = |missing| {
            Some(Cause::Unstarted {
                missing,
                detail: String::new(),
            })
        };
        assert_eq!(status(unstarted(true), None), 127);
        assert_eq!(status(unstarted(false), None), 126);
    }
}
