//! Limits in systemd's words. They are written to the kernel's files as well, exactly; systemd must
//! know of them because it writes what it knows whenever it reads its units again.

use std::path::Path;

use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxResources};

use super::wire::{Property, Value};
use crate::launch::group::GroupError;
use crate::launch::group::fields::{self, UNLIMITED, given};
use crate::launch::group::v2;

/// How systemd writes that there is no limit.
const INFINITE: u64 = u64::MAX;

/// systemd counts processor time in hundredths of a processor, in microseconds a second.
const STEP_US: u64 = 10_000;

/// The versions from which systemd knows periods of processor time, sets of processors, and that a
/// weight of 0 is idle.
const PERIODS: u32 = 242;
const CPUSETS: u32 = 244;
const IDLE: u32 = 252;

/// The properties for `resources`. `dir` is the group's directory, when it is there, whose limits
/// stand where only one of two that belong together is given. `version` asks for systemd's.
pub(super) fn of_v2(
    resources: &LinuxResources,
    dir: Option<&Path>,
    version: &mut dyn FnMut() -> Result<u32, GroupError>,
) -> Result<Vec<Property>, GroupError> {
    let mut found = Vec::new();
    if let Some(memory) = resources.memory() {
        memory_v2(memory, &mut found)?;
    }
    if let Some(pids) = resources.pids() {
        found.push(limit("TasksMax", tasks(pids.limit())));
    }
    if let Some(cpu) = resources.cpu() {
        let idle = cpu.idle() == Some(1);
        if idle && version()? >= IDLE {
            found.push(limit("CPUWeight", 0));
        } else if let Some(shares) = cpu.shares().filter(|shares| *shares != 0) {
            found.push(limit("CPUWeight", v2::weight_of_shares(shares)));
        }
        let quota = cpu.quota().filter(|quota| *quota != 0);
        let period = cpu.period().filter(|period| *period != 0);
        if quota.is_some() || period.is_some() {
            let whole = v2::cpu_max(dir, quota, period);
            processor_time(&whole, version, &mut found)?;
        }
        sets(cpu, version, &mut found)?;
    }
    for (file, text) in sorted(resources) {
        verbatim(file, text.trim(), version, &mut found)?;
    }
    Ok(found)
}

/// The same for v1, whose words are older.
pub(super) fn of_v1(
    resources: &LinuxResources,
    version: &mut dyn FnMut() -> Result<u32, GroupError>,
) -> Result<Vec<Property>, GroupError> {
    let mut found = Vec::new();
    let memory = resources
        .memory()
        .as_ref()
        .and_then(|memory| given(memory.limit()));
    if let Some(bytes) = memory {
        found.push(limit("MemoryLimit", bytes_of(bytes)));
    }
    if let Some(pids) = resources.pids() {
        found.push(limit("TasksMax", tasks(pids.limit())));
    }
    if let Some(cpu) = resources.cpu() {
        if let Some(shares) = cpu.shares().filter(|shares| *shares != 0) {
            found.push(limit("CPUShares", shares));
        }
        let quota = cpu.quota().filter(|quota| *quota != 0);
        let period = cpu.period().filter(|period| *period != 0);
        if quota.is_some() || period.is_some() {
            processor_time(&v2::cpu_max(None, quota, period), version, &mut found)?;
        }
        sets(cpu, version, &mut found)?;
    }
    let weight = resources.block_io().as_ref().and_then(|io| io.weight());
    if let Some(weight) = weight.filter(|weight| *weight != 0) {
        found.push(limit("BlockIOWeight", weight.into()));
    }
    Ok(found)
}

fn limit(name: &str, value: u64) -> Property {
    Property::new(name, Value::U64(value))
}

fn bytes_of(bytes: i64) -> u64 {
    match bytes {
        UNLIMITED => INFINITE,
        bytes => bytes.cast_unsigned(),
    }
}

fn tasks(limit: i64) -> u64 {
    fields::pids_max(limit).parse().unwrap_or(INFINITE)
}

fn memory_v2(memory: &LinuxMemory, found: &mut Vec<Property>) -> Result<(), GroupError> {
    let bytes = given(memory.limit());
    if let Some(bytes) = bytes {
        found.push(limit("MemoryMax", bytes_of(bytes)));
    }
    if let Some(bytes) = given(memory.reservation()) {
        found.push(limit("MemoryLow", bytes_of(bytes)));
    }
    if let Some(bytes) = v2::swap_alone(bytes, given(memory.swap()))? {
        found.push(limit("MemorySwapMax", bytes_of(bytes)));
    }
    Ok(())
}

/// A quota and a period as cpu.max has them.
fn processor_time(
    max: &str,
    version: &mut dyn FnMut() -> Result<u32, GroupError>,
    found: &mut Vec<Property>,
) -> Result<(), GroupError> {
    let invalid = || GroupError::invalid("cpu.quota", format!("{max:?} is no quota and period"));
    let mut parts = max.split_whitespace();
    let quota = parts.next().ok_or_else(invalid)?;
    let period: u64 = parts
        .next()
        .unwrap_or("100000")
        .parse()
        .map_err(|_| invalid())?;
    let share = match quota {
        "max" => INFINITE,
        quota => {
            let quota: u64 = quota.parse().map_err(|_| invalid())?;
            let share = quota
                .checked_mul(1_000_000)
                .and_then(|share| share.checked_div(period));
            share.ok_or_else(invalid)?.next_multiple_of(STEP_US)
        }
    };
    if version()? >= PERIODS {
        found.push(limit("CPUQuotaPeriodUSec", period));
    }
    found.push(limit("CPUQuotaPerSecUSec", share));
    Ok(())
}

fn sets(
    cpu: &LinuxCpu,
    version: &mut dyn FnMut() -> Result<u32, GroupError>,
    found: &mut Vec<Property>,
) -> Result<(), GroupError> {
    for (name, field, list) in [
        ("AllowedCPUs", "cpu.cpus", cpu.cpus()),
        ("AllowedMemoryNodes", "cpu.mems", cpu.mems()),
    ] {
        if let Some(list) = list.as_deref().filter(|list| !list.is_empty())
            && version()? >= CPUSETS
        {
            found.push(set(name, field, list)?);
        }
    }
    Ok(())
}

fn set(name: &str, field: &str, list: &str) -> Result<Property, GroupError> {
    let bits = bits(list)
        .ok_or_else(|| GroupError::invalid(field, format!("{list:?} is no list such as 0-3,8")))?;
    Ok(Property::new(name, Value::Bytes(bits)))
}

/// A list such as `0-3,8` as a set of bits, the lowest first.
fn bits(list: &str) -> Option<Vec<u8>> {
    /// More than the kernel can be built for.
    const MOST: usize = 1 << 16;
    let mut bits = Vec::new();
    for range in list
        .split(',')
        .map(str::trim)
        .filter(|range| !range.is_empty())
    {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last >= MOST {
            return None;
        }
        if bits.len() <= last / 8 {
            bits.resize(last / 8 + 1, 0);
        }
        for bit in first..=last {
            bits[bit / 8] |= 1 << (bit % 8);
        }
    }
    (!bits.is_empty()).then_some(bits)
}

fn sorted(resources: &LinuxResources) -> Vec<(&str, &str)> {
    let unified = resources.unified().iter().flatten();
    let mut sorted: Vec<(&str, &str)> = unified.map(|(file, text)| (&**file, &**text)).collect();
    sorted.sort_unstable();
    sorted
}

/// The property that means what `text` in the kernel's `file` does, where there is one.
fn verbatim(
    file: &str,
    text: &str,
    version: &mut dyn FnMut() -> Result<u32, GroupError>,
    found: &mut Vec<Property>,
) -> Result<(), GroupError> {
    let field = || format!("unified.{file:?}");
    let number = || match text {
        "max" => Ok(INFINITE),
        text => {
            let why = || format!("{text:?} is no number");
            text.parse()
                .map_err(|_| GroupError::invalid(field(), why()))
        }
    };
    let one = match file {
        "cpu.max" => return processor_time(text, version, found),
        "cpu.weight" => limit("CPUWeight", number()?),
        "cpu.idle" if text == "1" && version()? >= IDLE => limit("CPUWeight", 0),
        "cpuset.cpus" if version()? >= CPUSETS => set("AllowedCPUs", &field(), text)?,
        "cpuset.mems" if version()? >= CPUSETS => set("AllowedMemoryNodes", &field(), text)?,
        "memory.high" => limit("MemoryHigh", number()?),
        "memory.low" => limit("MemoryLow", number()?),
        "memory.min" => limit("MemoryMin", number()?),
        "memory.max" => limit("MemoryMax", number()?),
        "memory.swap.max" => limit("MemorySwapMax", number()?),
        "pids.max" => limit("TasksMax", number()?.max(1)),
        _ => return Ok(()),
    };
    // What is said in the kernel's words stands instead of what was said before.
    found.retain(|other| other.name != one.name);
    found.push(one);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(resources: &str, version: u32) -> Vec<(String, Value)> {
        let resources: LinuxResources = serde_json::from_str(resources).unwrap();
        let properties = of_v2(&resources, None, &mut || Ok(version)).unwrap();
        properties
            .into_iter()
            .map(|one| (one.name, one.value))
            .collect()
    }

    fn one(name: &str, value: u64) -> (String, Value) {
        (name.to_owned(), Value::U64(value))
    }

    #[test]
    fn limits_are_told_in_systemds_words() {
        assert_eq!(told("{}", 257), []);
        assert_eq!(
            told(
                r#"{"memory": {"limit": 10, "swap": 30, "reservation": 5}, "pids": {"limit": 0}}"#,
                257
            ),
            [
                one("MemoryMax", 10),
                one("MemoryLow", 5),
                one("MemorySwapMax", 20),
                one("TasksMax", 1)
            ]
        );
        assert_eq!(
            told(r#"{"memory": {"limit": -1}, "pids": {"limit": -1}}"#, 257),
            [
                one("MemoryMax", INFINITE),
                one("MemorySwapMax", INFINITE),
                one("TasksMax", INFINITE)
            ]
        );
        // 3.3 hundredths of a processor are rounded up.
        let cpu = r#"{"cpu": {"quota": 3300, "period": 100000, "shares": 1024, "cpus": "0-2,9"}}"#;
        let cpus = ("AllowedCPUs".to_owned(), Value::Bytes(vec![7, 2]));
        assert_eq!(
            told(cpu, 257),
            [
                one("CPUWeight", 100),
                one("CPUQuotaPeriodUSec", 100_000),
                one("CPUQuotaPerSecUSec", 40_000),
                cpus
            ]
        );
        assert_eq!(
            told(cpu, 230),
            [one("CPUWeight", 100), one("CPUQuotaPerSecUSec", 40_000)]
        );
    }

    #[test]
    fn the_kernels_words_come_last() {
        let unified = r#"{"memory": {"limit": 10}, "unified": {"memory.max": "20", "io.weight": "5", "cpu.max": "max 50000"}}"#;
        assert_eq!(
            told(unified, 257),
            [
                one("CPUQuotaPeriodUSec", 50_000),
                one("CPUQuotaPerSecUSec", INFINITE),
                one("MemoryMax", 20)
            ]
        );
        for wrong in [
            r#"{"pids.max": "many"}"#,
            r#"{"cpu.max": "1 0"}"#,
            r#"{"cpuset.cpus": "3-1"}"#,
        ] {
            let resources = format!(r#"{{"unified": {wrong}}}"#);
            let resources: LinuxResources = serde_json::from_str(&resources).unwrap();
            assert!(of_v2(&resources, None, &mut || Ok(257)).is_err(), "{wrong}");
        }
        assert_eq!(bits("0-70000"), None);
        assert_eq!(bits(" "), None);
    }
}
