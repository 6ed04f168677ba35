//! What a group of cgroup2 has used, under the names that v1 had for it.

use std::collections::BTreeMap;
use std::path::Path;

use super::read::{huge_page_sizes, keyed, number, parsed, whole};
use super::{
    Blkio, BlkioEntry, Cpu, Hugetlb, Memory, MemoryEntry, Pids, Pressure, PressureEntry, Stats,
};
use crate::launch::group::GroupError;

pub(super) fn of(dir: &Path) -> Result<Stats, GroupError> {
    Ok(Stats {
        cpu: cpu(dir)?,
        memory: memory(dir)?,
        pids: pids(dir)?,
        blkio: blkio(dir)?,
        hugetlb: hugetlb(dir)?,
        ..Stats::default()
    })
}

fn cpu(dir: &Path) -> Result<Cpu, GroupError> {
    let mut told = Cpu {
        psi: pressure(dir, "cpu.pressure")?,
        ..Cpu::default()
    };
    for (name, value) in keyed(dir, "cpu.stat")? {
        let ns = value.saturating_mul(1_000);
        match &*name {
            "usage_usec" => told.usage.total = ns,
            "user_usec" => told.usage.user = ns,
            "system_usec" => told.usage.kernel = ns,
            "nr_periods" => told.throttling.periods = value,
            "nr_throttled" => told.throttling.throttled_periods = value,
            "throttled_usec" => told.throttling.throttled_time = ns,
            _ => {}
        }
    }
    Ok(told)
}

fn memory(dir: &Path) -> Result<Memory, GroupError> {
    let raw: BTreeMap<String, u64> = keyed(dir, "memory.stat")?.into_iter().collect();
    let read = |file: &str| -> Result<u64, GroupError> { Ok(number(dir, file)?.unwrap_or(0)) };
    let usage = MemoryEntry {
        limit: read("memory.max")?,
        usage: read("memory.current")?,
        max: read("memory.peak")?,
        failcnt: 0,
    };
    // v1's is of both together, whose peak nobody counts.
    let (swap, swap_limit) = (read("memory.swap.current")?, read("memory.swap.max")?);
    let swap = MemoryEntry {
        limit: match swap_limit {
            u64::MAX => u64::MAX,
            limit => limit.saturating_add(usage.limit),
        },
        usage: swap.saturating_add(usage.usage),
        max: 0,
        failcnt: 0,
    };
    Ok(Memory {
        cache: raw.get("file").copied().unwrap_or(0),
        usage,
        swap,
        raw,
        psi: pressure(dir, "memory.pressure")?,
        ..Memory::default()
    })
}

fn pids(dir: &Path) -> Result<Pids, GroupError> {
    if let Some(current) = number(dir, "pids.current")? {
        let limit = number(dir, "pids.max")?.filter(|limit| *limit != u64::MAX);
        return Ok(Pids {
            current,
            limit: limit.unwrap_or(0),
        });
    }
    // Without the controller there is the list.
    let list = match whole(dir, "cgroup.procs")? {
        Some(list) => list,
        None => whole(dir, "cgroup.threads")?.unwrap_or_default(),
    };
    Ok(Pids {
        current: list.lines().count() as u64,
        limit: 0,
    })
}

/// Lines such as `8:0 rbytes=90112 wbytes=0 rios=3`.
fn blkio(dir: &Path) -> Result<Blkio, GroupError> {
    let mut told = Blkio {
        psi: pressure(dir, "io.pressure")?,
        ..Blkio::default()
    };
    let file = "io.stat";
    for line in whole(dir, file)?.unwrap_or_default().lines() {
        let mut fields = line.split_whitespace();
        let Some((major, minor)) = fields.next().and_then(|device| device.split_once(':')) else {
            continue;
        };
        for (name, value) in fields.filter_map(|field| field.split_once('=')) {
            let (op, list) = match name {
                "rbytes" => ("Read", &mut told.io_service_bytes_recursive),
                "wbytes" => ("Write", &mut told.io_service_bytes_recursive),
                "rios" => ("Read", &mut told.io_serviced_recursive),
                "wios" => ("Write", &mut told.io_serviced_recursive),
                _ => continue,
            };
            list.push(BlkioEntry {
                major: parsed(dir, file, major)?,
                minor: parsed(dir, file, minor)?,
                op: op.to_owned(),
                value: parsed(dir, file, value)?,
            });
        }
    }
    Ok(told)
}

fn hugetlb(dir: &Path) -> Result<BTreeMap<String, Hugetlb>, GroupError> {
    let mut told = BTreeMap::new();
    for size in huge_page_sizes() {
        let usage = match number(dir, &format!("hugetlb.{size}.rsvd.current"))? {
            Some(reserved) => Some(reserved),
            None => number(dir, &format!("hugetlb.{size}.current"))?,
        };
        let Some(usage) = usage else { continue };
        let events = keyed(dir, &format!("hugetlb.{size}.events"))?;
        let failed = events.iter().find(|(name, _)| name == "max");
        let one = Hugetlb {
            usage,
            max: 0,
            failcnt: failed.map_or(0, |(_, times)| *times),
        };
        told.insert(size, one);
    }
    Ok(told)
}

/// Lines such as `some avg10=0.00 avg60=0.00 avg300=0.00 total=7`; kernels without PSI have none.
fn pressure(dir: &Path, file: &str) -> Result<Option<Pressure>, GroupError> {
    let Some(text) = whole(dir, file)? else {
        return Ok(None);
    };
    let mut told = Pressure::default();
    for line in text.lines() {
        let mut fields = line.split(' ');
        let entry = match fields.next() {
            Some("some") => &mut told.some,
            Some("full") => &mut told.full,
            _ => continue,
        };
        for (name, value) in fields.filter_map(|field| field.split_once('=')) {
            let PressureEntry {
                avg10,
                avg60,
                avg300,
                total,
            } = entry;
            match name {
                "avg10" => *avg10 = parsed(dir, file, value)?,
                "avg60" => *avg60 = parsed(dir, file, value)?,
                "avg300" => *avg300 = parsed(dir, file, value)?,
                "total" => *total = parsed(dir, file, value)?,
                _ => {}
            }
        }
    }
    Ok(Some(told))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_kernels_text_becomes_numbers() {
        let dir = std::env::temp_dir().join(format!("buntime-stats-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let files = [
            (
                "cpu.stat",
                "usage_usec 7\nuser_usec 5\nsystem_usec 2\nnr_periods 3\nnr_throttled 1\nthrottled_usec 4\n",
            ),
            (
                "cpu.pressure",
                "some avg10=1.50 avg60=0.00 avg300=0.25 total=9\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
            ),
            ("memory.stat", "anon 4096\nfile 8192\n"),
            ("memory.current", "12288\n"),
            ("memory.max", "65536\n"),
            ("memory.peak", "20480\n"),
            ("memory.swap.current", "100\n"),
            ("memory.swap.max", "1000\n"),
            ("pids.current", "3\n"),
            ("pids.max", "max\n"),
            (
                "io.stat",
                "8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n7:1 \n",
            ),
        ];
        for (file, text) in files {
            fs::write(dir.join(file), text).unwrap();
        }
        let told = of(&dir).unwrap();
        fs::write(dir.join("memory.current"), "many\n").unwrap();
        let error = of(&dir).unwrap_err().to_string();
        fs::remove_dir_all(&dir).unwrap();
        assert!(
            error.contains("memory.current") && error.contains("many"),
            "{error}"
        );
        assert_eq!(
            (told.cpu.usage.total, told.cpu.usage.kernel),
            (7_000, 2_000)
        );
        assert_eq!(told.cpu.throttling.throttled_time, 4_000);
        assert_eq!(told.cpu.psi.unwrap().some.avg10, 1.5);
        assert_eq!(told.memory.cache, 8_192);
        assert_eq!(
            told.memory.swap,
            MemoryEntry {
                limit: 66_536,
                usage: 12_388,
                max: 0,
                failcnt: 0
            }
        );
        assert_eq!(
            told.pids,
            Pids {
                current: 3,
                limit: 0
            }
        );
        let bytes: Vec<u64> = told
            .blkio
            .io_service_bytes_recursive
            .iter()
            .map(|one| one.value)
            .collect();
        assert_eq!(bytes, [10, 20]);
    }
}
