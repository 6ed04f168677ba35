//! What a container has used, in the form of `runc events --stats`: the same names in the same order,
//! for programs that were written for that.
//!
//! Trusts: the kernel's files; one that this kernel does not have counts as zero. Never: changes
//! anything.

mod read;
mod v1;
mod v2;

use std::collections::BTreeMap;

use serde::Serialize;

use super::GroupError;
use super::record::GroupRecord;

/// The `data` of an event of type `stats`.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Stats {
    /// Processor time.
    pub cpu: Cpu,
    /// Processors and memory nodes, on v1.
    pub cpuset: Cpuset,
    /// Memory.
    pub memory: Memory,
    /// Processes and threads.
    pub pids: Pids,
    /// Block devices.
    pub blkio: Blkio,
    /// Huge pages, by their size.
    pub hugetlb: BTreeMap<String, Hugetlb>,
    /// Nothing: resctrl groups are not made.
    pub intel_rdt: Nothing,
    /// Nothing: interfaces are made by others.
    pub network_interfaces: Option<Nothing>,
}

/// An object without members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Nothing {}

/// Processor time.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Cpu {
    /// What was used.
    pub usage: CpuUsage,
    /// What a quota held back.
    pub throttling: Throttling,
    /// Waiting for processors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

/// Processor time, in nanoseconds; of each processor, on v1.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct CpuUsage {
    /// In all.
    #[serde(skip_serializing_if = "is_zero")]
    pub total: u64,
    /// Of each processor.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu: Vec<u64>,
    /// In the kernel.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_kernel: Vec<u64>,
    /// Outside of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_user: Vec<u64>,
    /// In the kernel.
    pub kernel: u64,
    /// Outside of it.
    pub user: u64,
}

/// What a quota of processor time held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Throttling {
    /// Periods that have passed.
    #[serde(skip_serializing_if = "is_zero")]
    pub periods: u64,
    /// Of these, the ones in which the quota was used up.
    #[serde(skip_serializing_if = "is_zero")]
    pub throttled_periods: u64,
    /// For how long processes waited, in nanoseconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub throttled_time: u64,
}

/// v1's processors and memory nodes, and switches.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Cpuset {
    /// Processors.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cpus: Vec<u16>,
    /// `cpuset.cpu_exclusive`.
    pub cpu_exclusive: u64,
    /// Memory nodes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mems: Vec<u16>,
    /// `cpuset.mem_hardwall`.
    pub mem_hardwall: u64,
    /// `cpuset.mem_exclusive`.
    pub mem_exclusive: u64,
    /// `cpuset.memory_migrate`.
    pub memory_migrate: u64,
    /// `cpuset.memory_spread_page`.
    pub memory_spread_page: u64,
    /// `cpuset.memory_spread_slab`.
    pub memory_spread_slab: u64,
    /// `cpuset.memory_pressure`.
    pub memory_pressure: u64,
    /// `cpuset.sched_load_balance`.
    pub sched_load_balance: u64,
    /// `cpuset.sched_relax_domain_level`.
    pub sched_relax_domain_level: i64,
}

/// Memory.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Memory {
    /// Of files, in bytes.
    #[serde(skip_serializing_if = "is_zero")]
    pub cache: u64,
    /// In all.
    pub usage: MemoryEntry,
    /// With what is swapped out.
    pub swap: MemoryEntry,
    /// The kernel's, on v1.
    pub kernel: MemoryEntry,
    /// The buffers of sockets, on v1.
    #[serde(rename = "kernelTCP")]
    pub kernel_tcp: MemoryEntry,
    /// memory.stat.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub raw: BTreeMap<String, u64>,
    /// Waiting for memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

/// One kind of memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct MemoryEntry {
    /// The most that is allowed; the greatest number where all is.
    pub limit: u64,
    /// In use.
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: u64,
    /// The most that ever was.
    #[serde(skip_serializing_if = "is_zero")]
    pub max: u64,
    /// How often the limit was hit, on v1.
    pub failcnt: u64,
}

/// Processes and threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Pids {
    /// There are.
    #[serde(skip_serializing_if = "is_zero")]
    pub current: u64,
    /// There may be; 0 for no limit.
    #[serde(skip_serializing_if = "is_zero")]
    pub limit: u64,
}

/// Block devices.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Blkio {
    /// Bytes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_bytes_recursive: Vec<BlkioEntry>,
    /// Operations.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_serviced_recursive: Vec<BlkioEntry>,
    /// Operations that wait.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_queue_recursive: Vec<BlkioEntry>,
    /// How long operations took, in nanoseconds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_time_recursive: Vec<BlkioEntry>,
    /// How long operations waited, in nanoseconds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_wait_time_recursive: Vec<BlkioEntry>,
    /// Operations merged into others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_merged_recursive: Vec<BlkioEntry>,
    /// How long the group had the device, in milliseconds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_time_recursive: Vec<BlkioEntry>,
    /// Sectors.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sectors_recursive: Vec<BlkioEntry>,
    /// Waiting for devices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

/// One device and kind of operation.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct BlkioEntry {
    /// The device's major number.
    #[serde(skip_serializing_if = "is_zero")]
    pub major: u64,
    /// Its minor number.
    #[serde(skip_serializing_if = "is_zero")]
    pub minor: u64,
    /// The operation, `Read` for one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub op: String,
    /// How much.
    #[serde(skip_serializing_if = "is_zero")]
    pub value: u64,
}

/// Huge pages of one size, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Hugetlb {
    /// In use or reserved.
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: u64,
    /// The most that ever was, on v1.
    #[serde(skip_serializing_if = "is_zero")]
    pub max: u64,
    /// How often the limit was hit.
    pub failcnt: u64,
}

/// How long processes had to wait for a resource, on v2.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Pressure {
    /// Some of them.
    pub some: PressureEntry,
    /// All of them.
    pub full: PressureEntry,
}

/// Percentages of the last 10, 60 and 300 seconds, and all time in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct PressureEntry {
    /// Of the last 10 seconds.
    pub avg10: f64,
    /// Of the last 60 seconds.
    pub avg60: f64,
    /// Of the last 300 seconds.
    pub avg300: f64,
    /// Microseconds since the group was made.
    pub total: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What `group` has used until now.
pub(super) fn of(group: &GroupRecord) -> Result<Stats, GroupError> {
    match group.v2() {
        Some(dir) => v2::of(dir),
        None => v1::of(group),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The members are runc's, in its order, and zeros are left out where it leaves them out.
    #[test]
    fn nothing_used_is_told_as_runc_tells_it() {
        let told = serde_json::to_string(&Stats::default()).unwrap();
        let memory = r#"{"limit":0,"failcnt":0}"#;
        assert_eq!(
            told,
            format!(
                r#"{{"cpu":{{"usage":{{"kernel":0,"user":0}},"throttling":{{}}}},"cpuset":{{"cpu_exclusive":0,"mem_hardwall":0,"mem_exclusive":0,"memory_migrate":0,"memory_spread_page":0,"memory_spread_slab":0,"memory_pressure":0,"sched_load_balance":0,"sched_relax_domain_level":0}},"memory":{{"usage":{memory},"swap":{memory},"kernel":{memory},"kernelTCP":{memory}}},"pids":{{}},"blkio":{{}},"hugetlb":{{}},"intel_rdt":{{}},"network_interfaces":null}}"#
            )
        );
    }
}
