//! Limits of the policy as resource limits of processes, and which limits nothing here can hold.
//!
//! A control group counts all processes together and is exact. What it does not hold falls to
//! rlimits, each of one process or one user, so not every limit can: those are refused by name.
//! Wall time and output are the supervisor's to hold and are not looked at.
//!
//! Trusts: what the caller says about the ground. Never: accepts a limit that would not hold.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::cgroup::Held;
use super::{Enforced, State};
use crate::policy::Limits;

/// What the limits stand on in one launch.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ground {
    /// What the control group holds.
    pub held: Held,
    /// Whether the worker has a user namespace of its own, in which the kernel (since 5.14)
    /// counts its processes apart from the same user's others.
    pub user_namespace: bool,
    /// Whether each thread of a worker that is one process is counted as it is made.
    pub threads_counted: bool,
    /// Whether the worker's user is root as the host sees it, whose processes are not counted.
    pub host_root: bool,
    /// Whether the person starts without the limits that nothing holds.
    pub may_lack: bool,
}

/// One resource limit, soft and hard alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResourceLimit {
    /// Which resource.
    pub resource: Resource,
    /// In the resource's own unit: bytes, descriptors, processes.
    pub value: u64,
}

/// A resource limit of somebody's bundle. Where a lower one holds, that stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AskedLimit {
    /// Which resource.
    pub resource: Resource,
    /// The limit that holds at first; `u64::MAX` is none.
    pub soft: u64,
    /// The limit up to which a process may raise it; `u64::MAX` is none.
    pub hard: u64,
}

/// The resource limits of one launch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceLimits {
    /// What the child sets on itself.
    pub limits: Vec<ResourceLimit>,
    /// What the bundle asks for.
    pub asked: Vec<AskedLimit>,
    /// Limits that are held less than exactly, for the report: name and how.
    pub inexact: Vec<(&'static str, &'static str)>,
    /// Limits that nothing holds, by the person's leave.
    pub unheld: Vec<UnheldLimit>,
}

/// A limit that this host cannot hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the limit `{limit}` cannot be held here: {cause}; {remedy}")]
pub struct UnheldLimit {
    /// Its name in the policy.
    pub limit: &'static str,
    /// What is missing.
    pub cause: &'static str,
    /// What to change.
    pub remedy: &'static str,
}

/// A resource limit could not be set.
#[derive(Debug, thiserror::Error)]
#[error("setting the resource limit {resource:?} to {value}: {source}")]
pub struct ResourceLimitError {
    /// Which resource.
    pub resource: Resource,
    /// The wanted value.
    pub value: u64,
    /// The kernel's reason.
    pub source: io::Error,
}

/// A core would carry the worker's memory to where the kernel is told to put it. One byte is too
/// short for any file, and keeps the kernel from starting a program that takes cores by a pipe
/// too, which 0 does not (core(5): the limit does not hold for pipes, and 1 means none at all).
const NO_CORE: u64 = 1;

const NO_CGROUP: &str = "no control group with this controller can be made by this user";
const USE_CGROUP: &str = "run where groups with it can be made (as root, a writable /sys/fs/cgroup \
    with that controller; as another user, a group that is delegated to it: systemd-run --user \
    --scope -p Delegate=yes), or take the limit out of the policy";

/// What of `limits` becomes resource limits on `ground`. Touches nothing.
///
/// # Errors
/// Every limit that nothing holds there.
pub fn plan(limits: &Limits, ground: Ground) -> Result<ResourceLimits, Vec<UnheldLimit>> {
    let set = |resource, value| ResourceLimit { resource, value };
    let mut plan = ResourceLimits {
        limits: vec![set(Resource::Core, NO_CORE)],
        asked: Vec::new(),
        inexact: Vec::new(),
        unheld: Vec::new(),
    };
    let mut unheld = Vec::new();

    if let Some(files) = limits.files {
        plan.limits.push(set(Resource::Nofile, files));
    }
    if let Some(bytes) = limits.memory.filter(|_| !ground.held.memory) {
        plan.limits.push(set(Resource::As, bytes));
        plan.inexact.push((
            "memory",
            "no control group: held as the address space of each process, not as memory of all",
        ));
    }
    if ground.held.memory && ground.held.swaps_freely {
        plan.inexact.push((
            "memory",
            "the control group does not count swap (boot with swapaccount=1): what the host swaps \
             out is beside the limit",
        ));
    }
    if let Some(pids) = limits
        .pids
        .filter(|_| !ground.held.pids && !ground.threads_counted)
    {
        if ground.host_root || !ground.user_namespace {
            unheld.push(UnheldLimit {
                limit: "pids",
                cause: if ground.host_root {
                    "there is no control group, and the kernel does not count root's processes"
                } else {
                    "there is no control group, and without a user namespace the kernel counts \
                     all processes of this user"
                },
                remedy: USE_CGROUP,
            });
        } else {
            plan.limits
                .push(set(Resource::Nproc, pids.saturating_add(1)));
        }
    }
    if limits.cpus.is_some() && !ground.held.cpus {
        unheld.push(UnheldLimit {
            limit: "cpus",
            cause: NO_CGROUP,
            remedy: USE_CGROUP,
        });
    }
    if unheld.is_empty() || ground.may_lack {
        plan.unheld = unheld;
        Ok(plan)
    } else {
        Err(unheld)
    }
}

impl ResourceLimits {
    /// Notes the limits that are held less than exactly, or not at all.
    pub(super) fn note(&self, enforced: &mut Enforced) {
        for (limit, how) in &self.inexact {
            enforced.note(&format!("{limit} limit"), State::Partial, *how);
        }
        for lack in &self.unheld {
            let detail = format!("not enforced: {}; nothing holds instead", lack.cause);
            enforced.note(&format!("{} limit", lack.limit), State::None, detail);
        }
    }

    /// Sets the limits on the calling process, for the child just before it runs the program. A
    /// hard limit that is lower already stays: it is narrower, and only root may raise it.
    ///
    /// # Errors
    /// The kernel refused one.
    pub fn apply(&self) -> Result<(), ResourceLimitError> {
        for &ResourceLimit { resource, value } in &self.limits {
            let value = getrlimit(resource)
                .maximum
                .map_or(value, |hard| hard.min(value));
            let limit = Rlimit {
                current: Some(value),
                maximum: Some(value),
            };
            setrlimit(resource, limit).map_err(|error| ResourceLimitError {
                resource,
                value,
                source: error.into(),
            })?;
        }
        Ok(())
    }

    /// Sets what the bundle asks for on the calling process, as the last thing before it runs the
    /// program: with few descriptors or little memory nothing else could be done.
    ///
    /// # Errors
    /// The kernel refused one.
    pub fn apply_asked(&self) -> Result<(), ResourceLimitError> {
        // The limit on cores is the lowest there is: 0 would let them go through a pipe.
        let asked = self.asked.iter();
        for asked in asked.filter(|asked| asked.resource != Resource::Core) {
            let held = getrlimit(asked.resource);
            let hard = asked.hard.min(held.maximum.unwrap_or(u64::MAX));
            let soft = asked.soft.min(held.current.unwrap_or(u64::MAX)).min(hard);
            let some = |value: u64| (value != u64::MAX).then_some(value);
            let limit = Rlimit {
                current: some(soft),
                maximum: some(hard),
            };
            setrlimit(asked.resource, limit).map_err(|error| ResourceLimitError {
                resource: asked.resource,
                value: hard,
                source: error.into(),
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Limits = Limits {
        memory: Some(256 << 20),
        cpus: Some(1.0),
        pids: Some(64),
        wall: None,
        output: None,
        files: Some(128),
        connections: None,
        bandwidth: None,
    };

    fn values(plan: &ResourceLimits) -> Vec<(Resource, u64)> {
        plan.limits
            .iter()
            .map(|limit| (limit.resource, limit.value))
            .collect()
    }

    #[test]
    fn a_group_that_holds_everything_leaves_files_and_cores() {
        let held = Held {
            memory: true,
            pids: true,
            cpus: true,
            swaps_freely: false,
        };
        let plan = plan(
            &ALL,
            Ground {
                held,
                ..Ground::default()
            },
        )
        .unwrap();
        assert_eq!(
            values(&plan),
            [(Resource::Core, 1), (Resource::Nofile, 128)]
        );
        assert!(plan.inexact.is_empty());
    }

    #[test]
    fn a_group_that_does_not_count_swap_holds_memory_in_part() {
        let held = Held {
            memory: true,
            pids: true,
            cpus: true,
            swaps_freely: true,
        };
        let ground = Ground {
            held,
            ..Ground::default()
        };
        let plan = plan(&ALL, ground).unwrap();
        let [("memory", how)] = plan.inexact[..] else {
            panic!("{:?}", plan.inexact);
        };
        assert!(how.contains("swapaccount=1"), "{how}");
        assert!(values(&plan).iter().all(|limit| limit.0 != Resource::As));
    }

    #[test]
    fn without_a_group_processor_time_is_refused_by_name() {
        let ground = Ground {
            user_namespace: true,
            ..Ground::default()
        };
        let unheld = plan(&ALL, ground).unwrap_err();
        let names: Vec<_> = unheld.iter().map(|unheld| unheld.limit).collect();
        assert_eq!(names, ["cpus"]);
        assert!(unheld[0].to_string().contains("delegated"), "{}", unheld[0]);
    }

    #[test]
    fn without_a_group_the_rest_falls_to_resource_limits() {
        let limits = Limits { cpus: None, ..ALL };
        let ground = Ground {
            user_namespace: true,
            ..Ground::default()
        };
        let plan = plan(&limits, ground).unwrap();
        assert!(values(&plan).contains(&(Resource::As, 256 << 20)));
        assert!(values(&plan).contains(&(Resource::Nproc, 65)));
        assert_eq!(plan.inexact[0].0, "memory");
    }

    #[test]
    fn processes_are_not_counted_for_root_nor_without_a_user_namespace() {
        let limits = Limits { cpus: None, ..ALL };
        for ground in [
            Ground::default(),
            Ground {
                user_namespace: true,
                host_root: true,
                ..Ground::default()
            },
        ] {
            let unheld = plan(&limits, ground).unwrap_err();
            assert_eq!(unheld[0].limit, "pids");
        }
    }

    #[test]
    fn what_a_bundle_asks_for_only_lowers() {
        let mut plan = plan(
            &Limits {
                files: Some(64),
                ..Limits::default()
            },
            Ground::default(),
        )
        .unwrap();
        let ask = |resource, soft, hard| AskedLimit {
            resource,
            soft,
            hard,
        };
        plan.asked = vec![
            ask(Resource::Nofile, 32, u64::MAX),
            ask(Resource::Core, 0, 0),
            ask(Resource::Fsize, 10, 20),
        ];
        let ended = crate::sys::forked::run(|| {
            plan.apply().unwrap();
            plan.apply_asked().unwrap();
            let held = |resource| {
                let limit = getrlimit(resource);
                (limit.current, limit.maximum)
            };
            assert_eq!(held(Resource::Nofile), (Some(32), Some(64)));
            assert_eq!(held(Resource::Core), (Some(1), Some(1)));
            assert_eq!(held(Resource::Fsize), (Some(10), Some(20)));
            0
        });
        assert_eq!(ended, crate::sys::forked::Ended::Exited(0));
    }

    #[test]
    fn limits_apply_to_the_process_that_sets_them() {
        let limits = Limits {
            memory: None,
            cpus: None,
            pids: None,
            files: Some(16),
            ..ALL
        };
        let plan = plan(&limits, Ground::default()).unwrap();
        let ended = crate::sys::forked::run(|| {
            plan.apply().unwrap();
            let opened: Vec<_> = (0..64).map(|_| std::fs::File::open("/dev/null")).collect();
            assert!(opened.iter().any(Result::is_err));
            assert_eq!(getrlimit(Resource::Core).maximum, Some(1));
            0
        });
        assert_eq!(ended, crate::sys::forked::Ended::Exited(0));
    }
}
