//! What a group of v1's hierarchies has used.

use std::collections::BTreeMap;
use std::path::Path;

use super::read::{huge_page_sizes, keyed, number, parsed, whole};
use super::{
    Blkio, BlkioEntry, Cpu, CpuUsage, Cpuset, Hugetlb, Memory, MemoryEntry, Pids, Stats, Throttling,
};
use crate::launch::group::GroupError;
use crate::launch::group::record::GroupRecord;

/// Ticks in which cpuacct.stat counts (`USER_HZ`), in nanoseconds.
const TICK_NS: u64 = 10_000_000;

pub(super) fn of(group: &GroupRecord) -> Result<Stats, GroupError> {
    fn held<T: Default>(
        dir: Option<&Path>,
        read: impl Fn(&Path) -> Result<T, GroupError>,
    ) -> Result<T, GroupError> {
        dir.map_or_else(|| Ok(T::default()), read)
    }
    Ok(Stats {
        cpu: Cpu {
            usage: held(group.v1("cpuacct"), cpu_usage)?,
            throttling: held(group.v1("cpu"), throttling)?,
            psi: None,
        },
        cpuset: held(group.v1("cpuset"), cpuset)?,
        memory: held(group.v1("memory"), memory)?,
        pids: held(group.v1("pids"), pids)?,
        blkio: held(group.v1("blkio"), blkio)?,
        hugetlb: held(group.v1("hugetlb"), hugetlb)?,
        ..Stats::default()
    })
}

fn cpu_usage(dir: &Path) -> Result<CpuUsage, GroupError> {
    let mut usage = CpuUsage {
        total: number(dir, "cpuacct.usage")?.unwrap_or(0),
        ..CpuUsage::default()
    };
    let file = "cpuacct.usage_percpu";
    for time in whole(dir, file)?.unwrap_or_default().split_whitespace() {
        usage.percpu.push(parsed(dir, file, time)?);
    }
    // After a line of titles, for each processor: its number, user time, kernel time.
    let file = "cpuacct.usage_all";
    for line in whole(dir, file)?.unwrap_or_default().lines().skip(1) {
        let mut times = line.split(' ').skip(1);
        if let (Some(user), Some(kernel)) = (times.next(), times.next()) {
            usage.percpu_user.push(parsed(dir, file, user)?);
            usage.percpu_kernel.push(parsed(dir, file, kernel)?);
        }
    }
    for (name, ticks) in keyed(dir, "cpuacct.stat")? {
        match &*name {
            "user" => usage.user = ticks * TICK_NS,
            "system" => usage.kernel = ticks * TICK_NS,
            _ => {}
        }
    }
    Ok(usage)
}

fn throttling(dir: &Path) -> Result<Throttling, GroupError> {
    let mut told = Throttling::default();
    for (name, value) in keyed(dir, "cpu.stat")? {
        match &*name {
            "nr_periods" => told.periods = value,
            "nr_throttled" => told.throttled_periods = value,
            "throttled_time" => told.throttled_time = value,
            _ => {}
        }
    }
    Ok(told)
}

fn cpuset(dir: &Path) -> Result<Cpuset, GroupError> {
    let switch = |name: &str| -> Result<u64, GroupError> {
        Ok(number(dir, &format!("cpuset.{name}"))?.unwrap_or(0))
    };
    let level = "cpuset.sched_relax_domain_level";
    Ok(Cpuset {
        cpus: list(dir, "cpuset.cpus")?,
        cpu_exclusive: switch("cpu_exclusive")?,
        mems: list(dir, "cpuset.mems")?,
        mem_hardwall: switch("mem_hardwall")?,
        mem_exclusive: switch("mem_exclusive")?,
        memory_migrate: switch("memory_migrate")?,
        memory_spread_page: switch("memory_spread_page")?,
        memory_spread_slab: switch("memory_spread_slab")?,
        memory_pressure: switch("memory_pressure")?,
        sched_load_balance: switch("sched_load_balance")?,
        sched_relax_domain_level: match whole(dir, level)? {
            Some(text) => parsed(dir, level, &text)?,
            None => 0,
        },
    })
}

/// A list such as `0-3,8`.
fn list(dir: &Path, file: &str) -> Result<Vec<u16>, GroupError> {
    let mut found = Vec::new();
    let text = whole(dir, file)?.unwrap_or_default();
    for range in text.trim().split(',').filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        found.extend(parsed::<u16>(dir, file, first)?..=parsed(dir, file, last)?);
    }
    Ok(found)
}

fn memory(dir: &Path) -> Result<Memory, GroupError> {
    let raw: BTreeMap<String, u64> = keyed(dir, "memory.stat")?.into_iter().collect();
    let entry = |kind: &str| -> Result<MemoryEntry, GroupError> {
        let read = |what: &str| -> Result<u64, GroupError> {
            Ok(number(dir, &format!("memory.{kind}{what}"))?.unwrap_or(0))
        };
        Ok(MemoryEntry {
            limit: read("limit_in_bytes")?,
            usage: read("usage_in_bytes")?,
            max: read("max_usage_in_bytes")?,
            failcnt: read("failcnt")?,
        })
    };
    Ok(Memory {
        cache: raw.get("cache").copied().unwrap_or(0),
        usage: entry("")?,
        swap: entry("memsw.")?,
        kernel: entry("kmem.")?,
        kernel_tcp: entry("kmem.tcp.")?,
        raw,
        psi: None,
    })
}

fn pids(dir: &Path) -> Result<Pids, GroupError> {
    Ok(Pids {
        current: number(dir, "pids.current")?.unwrap_or(0),
        limit: number(dir, "pids.max")?
            .filter(|limit| *limit != u64::MAX)
            .unwrap_or(0),
    })
}

/// What counts depends on the scheduler of the kernel and of the device: the first set of files that
/// says anything is taken, with BFQ's before CFQ's and both before what throttling counts.
fn blkio(dir: &Path) -> Result<Blkio, GroupError> {
    type Place = fn(&mut Blkio) -> &mut Vec<BlkioEntry>;
    const BYTES: Place = |told| &mut told.io_service_bytes_recursive;
    const COUNT: Place = |told| &mut told.io_serviced_recursive;
    let scheduled: [(&str, Place); 8] = [
        ("sectors_recursive", |told| &mut told.sectors_recursive),
        ("io_service_time_recursive", |told| {
            &mut told.io_service_time_recursive
        }),
        ("io_wait_time_recursive", |told| {
            &mut told.io_wait_time_recursive
        }),
        ("io_merged_recursive", |told| &mut told.io_merged_recursive),
        ("io_queued_recursive", |told| &mut told.io_queue_recursive),
        ("time_recursive", |told| &mut told.io_time_recursive),
        ("io_serviced_recursive", COUNT),
        ("io_service_bytes_recursive", BYTES),
    ];
    let recursive = [
        ("io_serviced_recursive", COUNT),
        ("io_service_bytes_recursive", BYTES),
    ];
    let plain = [("io_serviced", COUNT), ("io_service_bytes", BYTES)];
    let sets: [(&str, &[(&str, Place)]); 5] = [
        ("bfq.", &scheduled),
        ("bfq.", &recursive),
        ("", &scheduled),
        ("throttle.", &recursive),
        ("throttle.", &plain),
    ];
    for (kind, files) in sets {
        let mut told = Blkio::default();
        let mut first = true;
        for (name, place) in files {
            let found = entries(dir, &format!("blkio.{kind}{name}"))?;
            if found.is_empty() && first {
                break;
            }
            first = false;
            *place(&mut told) = found;
        }
        if !first {
            return Ok(told);
        }
    }
    Ok(Blkio::default())
}

/// Lines such as `8:0 Read 1282048` or `8:0 6792`; those of totals name no device.
fn entries(dir: &Path, file: &str) -> Result<Vec<BlkioEntry>, GroupError> {
    let mut found = Vec::new();
    for line in whole(dir, file)?.unwrap_or_default().lines() {
        let Some((device, rest)) = line.split_once(' ') else {
            continue;
        };
        let Some((major, minor)) = device.split_once(':') else {
            continue;
        };
        let (op, value) = rest.split_once(' ').unwrap_or(("", rest));
        found.push(BlkioEntry {
            major: parsed(dir, file, major)?,
            minor: parsed(dir, file, minor)?,
            op: op.to_owned(),
            value: parsed(dir, file, value)?,
        });
    }
    Ok(found)
}

fn hugetlb(dir: &Path) -> Result<BTreeMap<String, Hugetlb>, GroupError> {
    let mut told = BTreeMap::new();
    for size in huge_page_sizes() {
        // Those reserved are counted since 5.7, and are what a limit is on.
        let reserved = number(dir, &format!("hugetlb.{size}.rsvd.usage_in_bytes"))?;
        let of = if reserved.is_some() { ".rsvd" } else { "" };
        let read = |what: &str| -> Result<u64, GroupError> {
            Ok(number(dir, &format!("hugetlb.{size}{of}.{what}"))?.unwrap_or(0))
        };
        let one = Hugetlb {
            usage: read("usage_in_bytes")?,
            max: read("max_usage_in_bytes")?,
            failcnt: read("failcnt")?,
        };
        told.insert(size, one);
    }
    Ok(told)
}
