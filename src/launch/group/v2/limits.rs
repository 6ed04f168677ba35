//! What `linux.resources` asks for, written to cgroup2's files. Fields that are not there are left as
//! they are, so that the same serves a new group and an update.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxNetwork, LinuxResources};

use super::memory;
use crate::launch::group::files::{self, exists, line};
use crate::launch::group::record::GroupRecord;
use crate::launch::group::{GroupError, fields};

/// The kernel's default for `cpu.max`, in microseconds.
const PERIOD_US: u64 = 100_000;

/// The controller and the field of the first limit that is asked for.
pub(super) fn asked(resources: &LinuxResources) -> Option<(&'static str, &'static str)> {
    let cpu = resources.cpu().as_ref();
    asked_of_domain(resources)
        .or_else(|| resources.pids().map(|_| ("pids", "pids.limit")))
        .or_else(|| cpu.and_then(fields::cpu).map(|field| ("cpu", field)))
        .or_else(|| cpu.and_then(fields::cpuset).map(|field| ("cpuset", field)))
        .or_else(|| {
            let unified = resources.unified().iter().flatten().next();
            unified.map(|_| ("cgroup v2", "unified"))
        })
}

/// The same for controllers that a group of threads cannot have.
pub(super) fn asked_of_domain(resources: &LinuxResources) -> Option<(&'static str, &'static str)> {
    let memory = resources.memory().as_ref().and_then(fields::memory);
    let io = resources.block_io().as_ref().and_then(fields::block_io);
    let pages = resources.hugepage_limits().iter().flatten().next();
    let rdma = resources.rdma().iter().flatten().next();
    memory
        .map(|field| ("memory", field))
        .or_else(|| io.map(|field| ("io", field)))
        .or_else(|| pages.map(|_| ("hugetlb", "hugepageLimits")))
        .or_else(|| rdma.map(|_| ("rdma", "rdma")))
}

/// Writes every limit but the devices'.
pub(in crate::launch::group) fn apply(
    group: &GroupRecord,
    resources: &LinuxResources,
) -> Result<(), GroupError> {
    let Some(dir) = group.v2() else {
        return Ok(());
    };
    if let Some(network) = resources.network() {
        no_network(network)?;
    }
    if let Some(pids) = resources.pids() {
        let value = fields::pids_max(pids.limit());
        set(dir, "pids", "pids.max", "pids.limit", value)?;
    }
    if let Some(wanted) = resources.memory() {
        memory::apply(dir, wanted)?;
    }
    if let Some(wanted) = resources.block_io() {
        block_io(dir, wanted)?;
    }
    if let Some(wanted) = resources.cpu() {
        cpu(dir, wanted)?;
        for (file, field, list) in [
            ("cpuset.cpus", "cpu.cpus", wanted.cpus()),
            ("cpuset.mems", "cpu.mems", wanted.mems()),
        ] {
            if let Some(list) = list.as_deref().filter(|list| !list.is_empty()) {
                set(dir, "cpuset", file, field, list)?;
            }
        }
    }
    for limit in resources.hugepage_limits().iter().flatten() {
        fields::hugepages(dir, limit, "max").map_err(|error| missing(dir, "hugetlb", error))?;
    }
    for (device, limit) in resources.rdma().iter().flatten() {
        set(dir, "rdma", "rdma.max", "rdma", fields::rdma(device, limit))?;
    }
    // Last, so that what is said in the kernel's own words wins; in an order that does not change.
    let unified: BTreeMap<_, _> = resources.unified().iter().flatten().collect();
    unified
        .into_iter()
        .try_for_each(|(file, text)| verbatim(dir, file, text))
}

/// Writes a limit; where the file is not there, the error says which controller is missing.
pub(super) fn set(
    dir: &Path,
    controller: &'static str,
    file: &str,
    field: &'static str,
    value: impl Display,
) -> Result<(), GroupError> {
    files::set(dir, file, field, value).map_err(|error| missing(dir, controller, error))
}

fn missing(dir: &Path, controller: &'static str, error: GroupError) -> GroupError {
    match error {
        GroupError::Refused { field, source, .. }
            if source.kind() == std::io::ErrorKind::NotFound && !has(dir, controller) =>
        {
            GroupError::Unheld {
                controller,
                field: field.to_owned(),
                why: format!(
                    "{} has no such controller: each group above it must hand it on in \
                     cgroup.subtree_control and have no processes of its own",
                    dir.display()
                ),
            }
        }
        error => error,
    }
}

fn has(dir: &Path, controller: &str) -> bool {
    line(dir, "cgroup.controllers")
        .is_ok_and(|names| names.split(' ').any(|name| name == controller))
}

fn cpu(dir: &Path, wanted: &LinuxCpu) -> Result<(), GroupError> {
    if wanted.realtime_runtime().is_some_and(|value| value != 0)
        || wanted.realtime_period().is_some_and(|value| value != 0)
    {
        return Err(GroupError::Unheld {
            controller: "cpu",
            field: "cpu.realtimeRuntime or cpu.realtimePeriod".to_owned(),
            why: "cgroup v2 does not divide real time".to_owned(),
        });
    }
    // An idle group takes no weight.
    let idle = |value| set(dir, "cpu", "cpu.idle", "cpu.idle", value);
    if wanted.idle() == Some(0) && exists(dir, "cpu.idle") {
        idle(0)?;
    }
    if let Some(shares) = wanted.shares().filter(|value| *value != 0) {
        set(
            dir,
            "cpu",
            "cpu.weight",
            "cpu.shares",
            weight_of_shares(shares),
        )?;
    }
    if let Some(value) = wanted.idle().filter(|value| *value != 0) {
        idle(value)?;
    }
    let burst = || match wanted.burst() {
        // A kernel that knows no bursts allows none.
        Some(0) if !exists(dir, "cpu.max.burst") => None,
        burst => burst.map(|value| set(dir, "cpu", "cpu.max.burst", "cpu.burst", value)),
    };
    let quota = wanted.quota().filter(|value| *value != 0);
    let period = wanted.period().filter(|value| *value != 0);
    // The kernel checks a burst against the quota, so that either may have to come first.
    let waits = fields::later(burst(), quota.is_some())?;
    if quota.is_some() || period.is_some() {
        let value = cpu_max(Some(dir), quota, period);
        set(dir, "cpu", "cpu.max", "cpu.quota", value)?;
    }
    if waits {
        burst().transpose()?;
    }
    Ok(())
}

/// What `cpu.max` takes: of a quota and a period that one keeps its value which is not asked for.
pub(in crate::launch::group) fn cpu_max(
    dir: Option<&Path>,
    quota: Option<i64>,
    period: Option<u64>,
) -> String {
    let now = match (quota, period, dir) {
        (Some(_), Some(_), _) | (_, _, None) => String::new(),
        (_, _, Some(dir)) => line(dir, "cpu.max").unwrap_or_default(),
    };
    let mut now = now.split(' ').map(str::to_owned);
    let (now_quota, now_period) = (now.next(), now.next());
    let quota = match quota {
        Some(..0) => "max".to_owned(),
        Some(quota) => quota.to_string(),
        None => now_quota
            .filter(|text| !text.is_empty())
            .unwrap_or_else(|| "max".to_owned()),
    };
    let period = match period {
        Some(period) => period.to_string(),
        None => now_period.unwrap_or_else(|| PERIOD_US.to_string()),
    };
    format!("{quota} {period}")
}

/// v1's shares, from 2 to 262144 around 1024, as a weight from 1 to 10000 around 100, by the curve
/// through these three points that container tools have agreed on.
pub(in crate::launch::group) fn weight_of_shares(shares: u64) -> u64 {
    match shares {
        ..=2 => 1,
        262_144.. => 10_000,
        shares => {
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            10_f64.powf(exponent).ceil() as u64
        }
    }
}

/// v1's weight, from 10 to 1000, as one from 1 to 10000.
fn weight_of_block_io(weight: u16) -> u64 {
    1 + u64::from(weight).saturating_sub(10) * 9_999 / 990
}

fn block_io(dir: &Path, wanted: &LinuxBlockIo) -> Result<(), GroupError> {
    let given = |weight: Option<u16>| weight.filter(|weight| *weight != 0);
    let devices = wanted.weight_device().as_deref().unwrap_or_default();
    let leaf = devices.iter().any(|one| given(one.leaf_weight()).is_some());
    if leaf || given(wanted.leaf_weight()).is_some() {
        return Err(GroupError::Unheld {
            controller: "io",
            field: "blockIO.leafWeight".to_owned(),
            why: "cgroup v2 has no weights of leaves".to_owned(),
        });
    }
    // BFQ knows v1's weights; the kernel's own model of cost has a scale of its own.
    let bfq = exists(dir, "io.bfq.weight");
    let weight = |field, device: &str, weight: u16| match bfq {
        true => set(
            dir,
            "io",
            "io.bfq.weight",
            field,
            format!("{device}{weight}"),
        ),
        false => {
            let value = format!("{device}{}", weight_of_block_io(weight));
            set(dir, "io", "io.weight", field, value)
        }
    };
    if let Some(value) = given(wanted.weight()) {
        weight("blockIO.weight", "", value)?;
    }
    for one in devices {
        if let Some(value) = given(one.weight()) {
            let device = format!("{}:{} ", one.major(), one.minor());
            weight("blockIO.weightDevice", &device, value)?;
        }
    }
    let names = ["rbps", "wbps", "riops", "wiops"];
    for ((list, field, _), name) in fields::throttles(wanted).into_iter().zip(names) {
        for one in list {
            // v1 takes 0 for no limit.
            let rate = match one.rate() {
                0 => "max".to_owned(),
                rate => rate.to_string(),
            };
            let value = format!("{}:{} {name}={rate}", one.major(), one.minor());
            set(dir, "io", "io.max", field, value)?;
        }
    }
    Ok(())
}

fn no_network(network: &LinuxNetwork) -> Result<(), GroupError> {
    let class = network.class_id().is_some_and(|class| class != 0);
    let priorities = network.priorities().iter().flatten().next().is_some();
    let (controller, field) = match (class, priorities) {
        (true, _) => ("net_cls", "network.classID"),
        (_, true) => ("net_prio", "network.priorities"),
        _ => return Ok(()),
    };
    Err(GroupError::Unheld {
        controller,
        field: field.to_owned(),
        why: "cgroup v2 has no controller for it; mark packets by the group's path (nft's \
              `socket cgroupv2`) instead"
            .to_owned(),
    })
}

/// Writes one of `unified`'s files, line by line, as the kernel wants those that take several.
fn verbatim(dir: &Path, file: &str, text: &str) -> Result<(), GroupError> {
    let field = || format!("unified.{file:?}");
    if file.contains('/') {
        return Err(GroupError::invalid(
            field(),
            "it must be a file name (no slashes)",
        ));
    }
    let Some((controller, _)) = file.split_once('.') else {
        return Err(GroupError::invalid(
            field(),
            "it must be in the form CONTROLLER.PARAMETER",
        ));
    };
    // The other files of the core move, stop and kill processes, of this container or not.
    let limits = [
        "cgroup.max.depth",
        "cgroup.max.descendants",
        "cgroup.pressure",
    ];
    if controller == "cgroup" && !limits.contains(&file) {
        return Err(GroupError::invalid(field(), "it is no limit"));
    }
    for line in text.lines() {
        let wrote = files::set(dir, file, "unified", line);
        wrote.map_err(|error| match error {
            GroupError::Refused { source, .. }
                if source.kind() == std::io::ErrorKind::NotFound && !has(dir, controller) =>
            {
                GroupError::invalid(
                    field(),
                    format!("it can't be set: controller {controller:?} not available"),
                )
            }
            error => error,
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn shares_become_weights_through_three_points() {
        let points = [
            (1, 1),
            (2, 1),
            (1024, 100),
            (262_144, 10_000),
            (u64::MAX, 10_000),
        ];
        for (shares, weight) in points {
            assert_eq!(weight_of_shares(shares), weight, "{shares}");
        }
        let all: Vec<u64> = (2..=262_144).step_by(37).map(weight_of_shares).collect();
        assert!(all.is_sorted());
    }

    #[test]
    fn weights_of_block_io_are_stretched() {
        let written = [10, 750, 1000].map(weight_of_block_io);
        assert_eq!(written, [1, 7475, 10_000]);
    }
}
