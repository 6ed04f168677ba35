//! What this host can enforce: each mechanism by itself, and the shipped default policy as a whole, by
//! a launch under it.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::RunError;
use super::options::{AskChoice, PolicyChoice, Program, RunOptions, Surroundings, TerminalChoice};
use super::run::run;
use crate::audit::Mechanism;
use crate::launch::Require;
use crate::launch::doctor::{self, Finding};

/// The longest that a launch of a program that does nothing may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Programs that do nothing and succeed.
const NOTHING: [&str; 2] = ["/usr/bin/true", "/bin/true"];

/// What was found out about this host.
#[derive(Debug, Clone, Serialize)]
pub struct Diagnosis {
    /// Whether the shipped default policy is enforced as a whole.
    pub default_policy: Whole,
    /// Each mechanism by itself.
    pub findings: Vec<Finding>,
}

/// What a launch under the shipped default policy came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whole {
    /// A program ran, and each mechanism was whole.
    pub enforced: bool,
    /// The mechanisms that were less, and how.
    pub less: Vec<Mechanism>,
    /// Why nothing ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// Tries out this host as the user who asks. The calling process must have one thread.
///
/// # Errors
/// What the trials made could not be removed.
pub fn diagnose() -> Result<Diagnosis, RunError> {
    let findings = doctor::examine().map_err(RunError::io("try out", "this host"))?;
    let refused = |why| Whole {
        enforced: false,
        less: Vec::new(),
        refused: Some(why),
    };
    let told = doctor::in_a_child(PATIENCE, || {
        serde_json::to_vec(&launched().unwrap_or_else(refused)).unwrap_or_default()
    });
    let heard = told.and_then(|told| {
        serde_json::from_slice(&told).map_err(|error| format!("the trial's answer: {error}"))
    });
    Ok(Diagnosis {
        default_policy: heard.unwrap_or_else(refused),
        findings,
    })
}

/// Runs a program that does nothing; in a process of its own, whose standard input nobody needs.
fn launched() -> Result<Whole, String> {
    let nothing = std::fs::File::open("/dev/null").map_err(|error| error.to_string())?;
    rustix::stdio::dup2_stdin(&nothing).map_err(|error| error.to_string())?;
    let finished = run(options()?, |_| ()).map_err(|error| error.to_string())?;
    let exit = &finished.outcome.exit;
    if exit.status != 0 {
        let detail = exit.detail.clone().unwrap_or_default();
        return Err(format!(
            "a program that does nothing ended with status {} ({}) {detail}",
            exit.status, exit.cause
        ));
    }
    let mut less = finished.report.enforced;
    less.retain(|mechanism| mechanism.state != "full");
    Ok(Whole {
        enforced: less.is_empty(),
        less,
        refused: None,
    })
}

fn options() -> Result<RunOptions, String> {
    let program = match NOTHING.iter().find(|path| Path::new(path).exists()) {
        Some(path) => Program::Command {
            name: path.into(),
            args: Vec::new(),
        },
        // Ourselves, with nothing to do.
        None => Program::Command {
            name: std::env::current_exe()
                .map_err(|error| format!("find this program: {error}"))?
                .into_os_string(),
            args: vec!["--version".into()],
        },
    };
    Ok(RunOptions {
        program,
        policy: PolicyChoice::default(),
        surroundings: Surroundings::default(),
        terminal: TerminalChoice::Never,
        ask: AskChoice::Never,
        require: Require::Policy,
        allow_degraded: false,
        report: None,
        name: None,
        events: None,
        capture: true,
    })
}
