//! The limits of a policy narrow those of a configuration, and of every update after it.

use std::time::Duration;

use oci_spec::runtime::{LinuxPids, LinuxResources, Spec};
use rustix::process::{Resource, Rlimit};
use serde::{Deserialize, Serialize};

use crate::launch::{Mechanism, State};
use crate::policy::Limits;

/// The period of processor time in microseconds that is set where none is.
const PERIOD: u64 = 100_000;

/// What a policy lets a container use, as it is kept.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bounds {
    memory: Option<u64>,
    pids: Option<u64>,
    cpus: Option<f64>,
    files: Option<u64>,
    wall: Option<Duration>,
    output: Option<u64>,
}

impl Bounds {
    pub(super) fn of(limits: &Limits, has_terminal: bool) -> Bounds {
        Bounds {
            memory: limits.memory,
            pids: limits.pids,
            cpus: limits.cpus,
            files: limits.files,
            wall: limits.wall,
            output: limits.output.filter(|_| !has_terminal),
        }
    }

    /// How long the program may run.
    pub(in crate::oci::container) fn wall(&self) -> Option<Duration> {
        self.wall
    }

    /// How many bytes its processes may write to the caller.
    pub(in crate::oci::container) fn output(&self) -> Option<u64> {
        self.output
    }

    /// Whether a control group has to hold something of it.
    pub(in crate::oci::container) fn need_a_group(&self) -> bool {
        self.memory.is_some() || self.pids.is_some() || self.cpus.is_some()
    }

    /// Narrows `linux.resources`.
    pub(super) fn narrow_spec(&self, spec: &mut Spec) {
        let Some(mut linux) = spec.linux().clone() else {
            return;
        };
        let mut resources = linux.resources().clone().unwrap_or_default();
        self.narrow(&mut resources, true);
        linux.set_resources(Some(resources));
        spec.set_linux(Some(linux));
    }

    /// Narrows resources: every limit of a creation, and of an update those that it changes.
    pub(in crate::oci::container) fn narrow(&self, resources: &mut LinuxResources, all: bool) {
        if let Some(most) = self.memory
            && (all || resources.memory().is_some())
        {
            let mut memory = (*resources.memory()).unwrap_or_default();
            if all || memory.limit().is_some() {
                memory.set_limit(Some(smaller(memory.limit(), most)));
            }
            resources.set_memory(Some(memory));
        }
        if let Some(most) = self.pids
            && (all || resources.pids().is_some())
        {
            let mut pids = LinuxPids::default();
            let own = (*resources.pids()).map(|pids| pids.limit());
            pids.set_limit(smaller(own, most));
            resources.set_pids(Some(pids));
        }
        let cpu = resources.cpu().clone();
        let is_changed =
            |cpu: &oci_spec::runtime::LinuxCpu| cpu.quota().is_some() || cpu.period().is_some();
        if let Some(most) = self.cpus
            && (all || cpu.as_ref().is_some_and(is_changed))
        {
            let mut cpu = cpu.unwrap_or_default();
            let period = cpu.period().filter(|period| *period > 0).unwrap_or(PERIOD);
            cpu.set_period(Some(period));
            let quota = smaller(cpu.quota(), (most * period as f64) as u64);
            cpu.set_quota(Some(quota));
            resources.set_cpu(Some(cpu));
        }
    }

    /// The limit of open descriptors beside what is asked for.
    pub(in crate::oci::container) fn narrow_descriptors(
        &self,
        rlimits: &mut Vec<(Resource, Rlimit)>,
    ) {
        let Some(most) = self.files else {
            return;
        };
        let own = rlimits.iter().find(|(kind, _)| *kind == Resource::Nofile);
        let (current, maximum) = own.map_or((None, None), |(_, own)| (own.current, own.maximum));
        let narrowed = |value: Option<u64>| Some(value.map_or(most, |value| value.min(most)));
        rlimits.retain(|(kind, _)| *kind != Resource::Nofile);
        let limit = Rlimit {
            current: narrowed(current),
            maximum: narrowed(maximum),
        };
        rlimits.push((Resource::Nofile, limit));
    }

    /// Each limit, and what holds it.
    pub(super) fn mechanisms(&self) -> Vec<Mechanism> {
        let by_group = |amount: String| format!("at most {amount}, by the control group");
        let all = [
            (
                "limits.memory",
                self.memory.map(|bytes| by_group(format!("{bytes} bytes"))),
            ),
            (
                "limits.pids",
                self.pids.map(|count| by_group(count.to_string())),
            ),
            (
                "limits.cpus",
                self.cpus.map(|count| by_group(count.to_string())),
            ),
            (
                "limits.files",
                self.files
                    .map(|count| format!("at most {count}, by RLIMIT_NOFILE")),
            ),
            (
                "limits.wall",
                self.wall
                    .map(|time| format!("at most {time:?} from the start, by the supervisor")),
            ),
            (
                "limits.output",
                self.output.map(|bytes| {
                    format!("at most {bytes} bytes of all processes, which the supervisor copies")
                }),
            ),
        ];
        let held = all.into_iter().filter_map(|(name, detail)| {
            Some(Mechanism {
                mechanism: name.to_owned(),
                state: State::Full,
                detail: detail?,
            })
        });
        held.collect()
    }
}

/// Zero, a negative number and nothing are no limit.
fn smaller(own: Option<i64>, most: u64) -> i64 {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    match own {
        Some(own) if own > 0 => own.min(most),
        _ => most,
    }
}
