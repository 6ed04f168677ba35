//! Fields of `linux.resources` that v1 and v2 hold in the same form.

use std::path::Path;

use oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxHugepageLimit, LinuxMemory, LinuxRdma, LinuxThrottleDevice,
};

use super::GroupError;
use super::files::{exists, set};

/// How the specification writes that there is no limit.
pub(super) const UNLIMITED: i64 = -1;

/// The value of a limit in bytes. Callers write 0 where they mean that nothing is asked for.
pub(super) fn given(value: Option<i64>) -> Option<i64> {
    value.filter(|value| *value != 0)
}

/// What `pids.max` takes. A limit of 0 becomes 1, as systemd's does: the container's first process
/// could not be born into the group otherwise, and a second one cannot be either way.
pub(super) fn pids_max(limit: i64) -> String {
    match limit {
        ..0 => "max".to_owned(),
        limit => limit.max(1).to_string(),
    }
}

/// The first field of `memory` that is asked for.
pub(super) fn memory(wanted: &LinuxMemory) -> Option<&'static str> {
    let fields = [
        ("memory.limit", given(wanted.limit()).is_some()),
        ("memory.reservation", given(wanted.reservation()).is_some()),
        ("memory.swap", given(wanted.swap()).is_some()),
        ("memory.swappiness", wanted.swappiness().is_some()),
        (
            "memory.disableOOMKiller",
            wanted.disable_oom_killer() == Some(true),
        ),
        ("memory.useHierarchy", wanted.use_hierarchy() == Some(true)),
    ];
    fields
        .iter()
        .find(|(_, asked)| *asked)
        .map(|(name, _)| *name)
}

/// The first field of `cpu` that is asked for, but processors and nodes.
pub(super) fn cpu(wanted: &LinuxCpu) -> Option<&'static str> {
    let fields = [
        (
            "cpu.shares",
            wanted.shares().is_some_and(|value| value != 0),
        ),
        ("cpu.quota", wanted.quota().is_some_and(|value| value != 0)),
        (
            "cpu.period",
            wanted.period().is_some_and(|value| value != 0),
        ),
        ("cpu.burst", wanted.burst().is_some()),
        ("cpu.idle", wanted.idle().is_some()),
        (
            "cpu.realtimeRuntime",
            wanted.realtime_runtime().is_some_and(|value| value != 0),
        ),
        (
            "cpu.realtimePeriod",
            wanted.realtime_period().is_some_and(|value| value != 0),
        ),
    ];
    fields
        .iter()
        .find(|(_, asked)| *asked)
        .map(|(name, _)| *name)
}

/// The field of processors or nodes that is asked for, if any is.
pub(super) fn cpuset(wanted: &LinuxCpu) -> Option<&'static str> {
    let given = |list: &Option<String>| list.as_ref().is_some_and(|list| !list.is_empty());
    match (given(wanted.cpus()), given(wanted.mems())) {
        (true, _) => Some("cpu.cpus"),
        (_, true) => Some("cpu.mems"),
        _ => None,
    }
}

/// The first field of `blockIO` that is asked for.
pub(super) fn block_io(wanted: &LinuxBlockIo) -> Option<&'static str> {
    let weight = |value: Option<u16>| value.is_some_and(|value| value != 0);
    let devices = wanted.weight_device().as_deref().unwrap_or_default();
    if weight(wanted.weight()) {
        return Some("blockIO.weight");
    }
    if weight(wanted.leaf_weight()) {
        return Some("blockIO.leafWeight");
    }
    if devices
        .iter()
        .any(|one| weight(one.weight()) || weight(one.leaf_weight()))
    {
        return Some("blockIO.weightDevice");
    }
    let throttles = throttles(wanted);
    let asked = throttles.iter().find(|(list, ..)| !list.is_empty());
    asked.map(|(_, field, _)| *field)
}

/// The four lists of throttled devices: the list, its field, and what v1 calls it.
pub(super) fn throttles(
    wanted: &LinuxBlockIo,
) -> [(&[LinuxThrottleDevice], &'static str, &'static str); 4] {
    fn list(given: &Option<Vec<LinuxThrottleDevice>>) -> &[LinuxThrottleDevice] {
        given.as_deref().unwrap_or_default()
    }
    [
        (
            list(wanted.throttle_read_bps_device()),
            "blockIO.throttleReadBpsDevice",
            "read_bps",
        ),
        (
            list(wanted.throttle_write_bps_device()),
            "blockIO.throttleWriteBpsDevice",
            "write_bps",
        ),
        (
            list(wanted.throttle_read_iops_device()),
            "blockIO.throttleReadIOPSDevice",
            "read_iops",
        ),
        (
            list(wanted.throttle_write_iops_device()),
            "blockIO.throttleWriteIOPSDevice",
            "write_iops",
        ),
    ]
}

/// Writes a limit on huge pages of one size, and on those reserved where the kernel counts them
/// (5.7). `suffix` is what the version at hand calls a limit.
pub(super) fn hugepages(
    dir: &Path,
    limit: &LinuxHugepageLimit,
    suffix: &str,
) -> Result<(), GroupError> {
    let size = limit.page_size();
    if size.is_empty() || !size.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(GroupError::invalid(
            "hugepageLimits.pageSize",
            format!("{size:?} is no size such as 2MB"),
        ));
    }
    let value = match limit.limit() {
        ..0 if suffix == "max" => "max".to_owned(),
        value => value.to_string(),
    };
    set(
        dir,
        &format!("hugetlb.{size}.{suffix}"),
        "hugepageLimits",
        &value,
    )?;
    let reserved = format!("hugetlb.{size}.rsvd.{suffix}");
    match exists(dir, &reserved) {
        true => set(dir, &reserved, "hugepageLimits", value),
        false => Ok(()),
    }
}

/// Whether to try again, because the kernel found a value at odds with one that `follows`.
pub(super) fn later(
    answer: Option<Result<(), GroupError>>,
    follows: bool,
) -> Result<bool, GroupError> {
    match answer {
        Some(Err(GroupError::Refused { source, .. }))
            if follows && source.raw_os_error() == Some(libc::EINVAL) =>
        {
            Ok(true)
        }
        Some(answer) => answer.map(|()| false),
        None => Ok(false),
    }
}

/// What `rdma.max` takes for one device.
pub(super) fn rdma(device: &str, limit: &LinuxRdma) -> String {
    let mut line = device.to_owned();
    for (name, value) in [
        ("hca_handle", limit.hca_handles()),
        ("hca_object", limit.hca_objects()),
    ] {
        if let Some(value) = value {
            line.push_str(&format!(" {name}={value}"));
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pids_of_zero_are_one_and_of_less_are_unlimited() {
        let written: Vec<String> = [-1, i64::MIN, 0, 1, 99].into_iter().map(pids_max).collect();
        assert_eq!(written, ["max", "max", "1", "1", "99"]);
    }
}
