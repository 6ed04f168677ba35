//! What the runtime sets on a process from outside, with rights that the process itself has not:
//! resource limits and how readily it is killed for memory.

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use super::ContainerError;
use super::process::ProcessPlan;

/// See the module.
#[derive(Debug)]
pub(super) struct Limits {
    rlimits: Vec<(Resource, Rlimit)>,
    oom_score_adj: Option<i32>,
}

impl Limits {
    pub(super) fn of(plan: &ProcessPlan) -> Limits {
        Limits {
            rlimits: plan.rlimits.clone(),
            oom_score_adj: plan.oom_score_adj,
        }
    }

    /// Sets the resource limits of the process `pid`.
    pub(super) fn set(&self, pid: i32) -> Result<(), ContainerError> {
        let process = Pid::from_raw(pid);
        for (resource, limit) in &self.rlimits {
            prlimit(process, *resource, *limit).map_err(|cause| {
                let object = format!("process.rlimits ({resource:?})");
                ContainerError::system("set", object)(cause.into())
            })?;
        }
        Ok(())
    }

    /// Sets how readily the process `pid`, and what it makes, is killed for memory. An ordinary user's runtime may do
    /// so while the process can be looked at.
    pub(super) fn set_score(&self, pid: i32) -> Result<(), ContainerError> {
        let Some(score) = self.oom_score_adj else {
            return Ok(());
        };
        let path = format!("/proc/{pid}/oom_score_adj");
        match std::fs::write(&path, score.to_string()) {
            // An ordinary user's runtime cannot lower it, and callers ask for it all the same.
            Err(error)
                if error.kind() == std::io::ErrorKind::PermissionDenied
                    && !rustix::process::geteuid().is_root() =>
            {
                tracing::warn!(
                    score,
                    "process.oomScoreAdj is not set: an ordinary user cannot"
                );
                Ok(())
            }
            Err(error) => Err(ContainerError::system("set", "process.oomScoreAdj")(error)),
            Ok(()) => Ok(()),
        }
    }
}
