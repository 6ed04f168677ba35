//! What `linux.resources` asks for, written to v1's files. Fields that are not there are left as they
//! are, so that the same serves a new group and an update.

use std::path::Path;

use oci_spec::runtime::{LinuxBlockIo, LinuxResources};

use super::{cpu, cpuset, memory};
use crate::launch::group::files::{exists, set};
use crate::launch::group::record::GroupRecord;
use crate::launch::group::{GroupError, fields};

/// Writes every limit but the devices'.
pub(in crate::launch::group) fn apply(
    group: &GroupRecord,
    resources: &LinuxResources,
) -> Result<(), GroupError> {
    if let Some((name, _)) = resources.unified().iter().flatten().next() {
        return Err(GroupError::invalid(
            format!("unified.{name:?}"),
            "it is a file of cgroup v2, and this host's limits are v1's",
        ));
    }
    if let Some(wanted) = resources.memory()
        && let Some(dir) = holder(group, "memory", fields::memory(wanted))?
    {
        memory::apply(dir, wanted)?;
    }
    if let Some(wanted) = resources.cpu() {
        if let Some(dir) = holder(group, "cpu", fields::cpu(wanted))? {
            cpu::apply(dir, wanted)?;
        }
        if let Some(dir) = holder(group, "cpuset", fields::cpuset(wanted))? {
            cpuset::apply(dir, wanted)?;
        }
    }
    if let Some(pids) = resources.pids()
        && let Some(dir) = holder(group, "pids", Some("pids.limit"))?
    {
        set(
            dir,
            "pids.max",
            "pids.limit",
            fields::pids_max(pids.limit()),
        )?;
    }
    if let Some(wanted) = resources.block_io()
        && let Some(dir) = holder(group, "blkio", fields::block_io(wanted))?
    {
        block_io(dir, wanted)?;
    }
    rest(group, resources)
}

/// Limits on huge pages, network and RDMA.
fn rest(group: &GroupRecord, resources: &LinuxResources) -> Result<(), GroupError> {
    for limit in resources.hugepage_limits().iter().flatten() {
        if let Some(dir) = holder(group, "hugetlb", Some("hugepageLimits"))? {
            fields::hugepages(dir, limit, "limit_in_bytes")?;
        }
    }
    if let Some(network) = resources.network() {
        let class = network.class_id().filter(|class| *class != 0);
        if let Some(dir) = holder(group, "net_cls", class.map(|_| "network.classID"))? {
            set(
                dir,
                "net_cls.classid",
                "network.classID",
                class.unwrap_or(0),
            )?;
        }
        for one in network.priorities().iter().flatten() {
            if let Some(dir) = holder(group, "net_prio", Some("network.priorities"))? {
                let value = format!("{} {}", one.name(), one.priority());
                set(dir, "net_prio.ifpriomap", "network.priorities", value)?;
            }
        }
    }
    for (device, limit) in resources.rdma().iter().flatten() {
        if let Some(dir) = holder(group, "rdma", Some("rdma"))? {
            set(dir, "rdma.max", "rdma", fields::rdma(device, limit))?;
        }
    }
    Ok(())
}

/// The directory that holds `controller`'s limits, if any is asked for: `field` names one.
fn holder<'a>(
    group: &'a GroupRecord,
    controller: &'static str,
    field: Option<&'static str>,
) -> Result<Option<&'a Path>, GroupError> {
    let Some(field) = field else {
        return Ok(None);
    };
    match group.v1(controller) {
        Some(dir) => Ok(Some(dir)),
        None => Err(GroupError::Unheld {
            controller,
            field: field.to_owned(),
            why:
                "container could not join or create cgroup: the controller is not mounted, or this \
                  user may not make a group there"
                    .to_owned(),
        }),
    }
}

fn block_io(dir: &Path, wanted: &LinuxBlockIo) -> Result<(), GroupError> {
    let bfq = !exists(dir, "blkio.weight");
    let (weight, weight_device) = match bfq {
        true => ("blkio.bfq.weight", "blkio.bfq.weight_device"),
        false => ("blkio.weight", "blkio.weight_device"),
    };
    if let Some(value) = wanted.weight().filter(|value| *value != 0) {
        set(dir, weight, "blockIO.weight", value)?;
    }
    if let Some(value) = wanted.leaf_weight().filter(|value| *value != 0) {
        set(dir, "blkio.leaf_weight", "blockIO.leafWeight", value)?;
    }
    for one in wanted.weight_device().iter().flatten() {
        let device = format!("{}:{}", one.major(), one.minor());
        if let Some(value) = one.weight().filter(|value| *value != 0) {
            let field = "blockIO.weightDevice";
            set(dir, weight_device, field, format!("{device} {value}"))?;
        }
        if let Some(value) = one.leaf_weight().filter(|value| *value != 0) {
            let field = "blockIO.weightDevice";
            set(
                dir,
                "blkio.leaf_weight_device",
                field,
                format!("{device} {value}"),
            )?;
        }
    }
    for (list, field, name) in fields::throttles(wanted) {
        let file = format!("blkio.throttle.{name}_device");
        for one in list {
            let value = format!("{}:{} {}", one.major(), one.minor(), one.rate());
            set(dir, &file, field, value)?;
        }
    }
    Ok(())
}
