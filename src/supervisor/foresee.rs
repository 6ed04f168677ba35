//! The plan of a run that is not started.

use super::error::RunError;
use super::layers::load_layers;
use super::options::{PolicyChoice, Program, Surroundings};
use super::prepare::prepare;
use super::start::{Name, Wanted};
use crate::intercept::held;
use crate::launch::{Features, Require, StdioRequest};
use crate::policy::ShownPlan;

/// How the policy would be carried on this host, for this program.
///
/// # Errors
/// What cannot be found, and every rule that this host cannot carry.
pub fn foresee(policy: &PolicyChoice, program: &Program) -> Result<ShownPlan, RunError> {
    let layers = load_layers(policy)?;
    let features = Features::probe();
    let missing = &features.user_namespaces;
    let bare = (!missing.available).then(|| missing.why_not.clone().unwrap_or_default());
    let wanted = Wanted {
        allow_degraded: false,
        name: Name::Nobody,
        program,
        policy,
        surroundings: &Surroundings::default(),
        session: None,
        stdio: StdioRequest::Pipes,
        events: None,
        report: None,
        require: Require::default(),
    };
    let prepared = prepare(&wanted, layers, &features, (bare.as_deref(), None))?;
    let plan = prepared.request.plan;
    let mut calls = Vec::new();
    if let Some(intercept) = &plan.intercept {
        let held = held(intercept.perms);
        calls.extend(held.into_iter().map(|(call, _)| call.name().to_owned()));
        if intercept.decides_executions() {
            calls.extend(["execve", "execveat"].map(str::to_owned));
        }
        calls.sort_unstable();
    }
    Ok(prepared.policy.shown(plan, calls))
}
