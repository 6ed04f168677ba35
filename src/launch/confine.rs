//! What the supervisor makes while the child builds its root, and the way of it to the child: the
//! control group to enter, what the group holds, and the filter.
//!
//! Both need some time and neither needs the root, so the two processes work side by side. The
//! child waits for it before anything of the worker's could run.

use std::io::{self, Write};
use std::os::fd::{BorrowedFd, OwnedFd};

use super::cgroup::Held;
use super::request::LaunchRequest;
use super::rlimits::{self, Ground, ResourceLimits, UnheldLimit};
use super::seccomp::{self, Filters};
use super::{Cgroup, Failure};
use crate::policy::{Limits, Plan};
use crate::sys::socket;

/// See the module.
pub(super) struct Confinement {
    /// Files of v1's groups, open for writing: who writes `0` to one is moved into its group.
    doors: Vec<OwnedFd>,
    /// What the limits stand on, as the supervisor's user and the group have it.
    pub ground: Ground,
    /// The system call filter.
    pub filters: Filters,
}

/// The bytes before the filter's instructions, each 0 or 1.
const HEAD: usize = 6;

/// Sends the child what it is confined by.
///
/// # Errors
/// `EPIPE` when the child is gone.
pub(super) fn send(
    to: BorrowedFd<'_>,
    cgroup: Option<&Cgroup>,
    ground: Ground,
    filters: &Filters,
) -> io::Result<()> {
    let Held {
        memory,
        pids,
        cpus,
        swaps_freely,
    } = ground.held;
    let root = ground.host_root;
    let head = [memory, pids, cpus, swaps_freely, root, filters.listens()];
    let mut record: Vec<u8> = head.map(u8::from).to_vec();
    filters.write_to(&mut record);
    let doors = cgroup.map(Cgroup::doors).unwrap_or_default();
    socket::send_record(to, &record, &doors)
}

impl Confinement {
    /// Waits for it.
    ///
    /// # Errors
    /// The supervisor is gone, or sent something else.
    pub(super) fn receive(from: BorrowedFd<'_>) -> Result<Confinement, Failure> {
        let fail = |cause: &str| Failure::new("hear of", "the confinement", cause);
        let (record, doors) =
            socket::receive_record(from).map_err(|cause| fail(&cause.to_string()))?;
        let Some((head, program)) = record.split_first_chunk::<HEAD>() else {
            return Err(fail("the supervisor is gone"));
        };
        let [memory, pids, cpus, swaps_freely, host_root, listens] = head.map(|byte| byte != 0);
        let held = Held {
            memory,
            pids,
            cpus,
            swaps_freely,
        };
        let filters = Filters::read_from(program, listens)
            .ok_or_else(|| fail("the filter has no whole number of instructions"))?;
        Ok(Confinement {
            doors,
            ground: ground(held, host_root),
            filters,
        })
    }

    /// Moves the calling process, which must have one thread, into the control group.
    ///
    /// # Errors
    /// The kernel refused.
    pub(super) fn enter(&mut self) -> Result<(), Failure> {
        for door in self.doors.drain(..) {
            std::fs::File::from(door)
                .write_all(b"0")
                .map_err(|cause| Failure::new("enter", "the control group", cause))?;
        }
        Ok(())
    }
}

/// What the limits stand on in a launch with namespaces.
pub(super) fn ground(held: Held, host_root: bool) -> Ground {
    Ground {
        held,
        user_namespace: true,
        host_root,
        ..Ground::default()
    }
}

/// The limits of the plan as the kernel is to hold them: threads of ours are counted with the worker's.
pub(super) fn limits(plan: &Plan) -> Limits {
    let mut limits = plan.limits;
    if plan.intercept.is_some() {
        let ours = seccomp::RECEIVERS as u64;
        limits.pids = limits.pids.map(|pids| pids.saturating_add(ours));
    }
    limits
}

/// The resource limits beside what the group holds; the same for both sides.
///
/// # Errors
/// Every limit that nothing holds there.
pub(super) fn resource_limits(
    request: &LaunchRequest,
    ground: Ground,
) -> Result<ResourceLimits, Vec<UnheldLimit>> {
    let ground = Ground {
        may_lack: request.allow_degraded,
        ..ground
    };
    let mut rlimits = rlimits::plan(&limits(&request.plan), ground)?;
    rlimits.asked.clone_from(&request.rlimits);
    Ok(rlimits)
}
