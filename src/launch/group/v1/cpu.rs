//! Processor time on v1.

use std::path::Path;

use oci_spec::runtime::LinuxCpu;

use crate::launch::group::GroupError;
use crate::launch::group::fields::later;
use crate::launch::group::files::{exists, set};

/// The kernel's bounds (`MIN_SHARES` and `MAX_SHARES` of kernel/sched/sched.h), to which it moves
/// what is outside of them without a word.
const SHARES: std::ops::RangeInclusive<u64> = 2..=1 << 18;

/// Writes what is asked for; 0 asks for nothing.
pub(super) fn apply(dir: &Path, wanted: &LinuxCpu) -> Result<(), GroupError> {
    // An idle group takes no shares.
    let idle = |value| set(dir, "cpu.idle", "cpu.idle", value);
    if wanted.idle() == Some(0) && exists(dir, "cpu.idle") {
        idle(0)?;
    }
    if let Some(shares) = wanted.shares().filter(|value| *value != 0) {
        if !SHARES.contains(&shares) {
            let (least, most) = SHARES.into_inner();
            return Err(GroupError::invalid(
                "cpu.shares",
                format!(
                    "the minimum allowed cpu-shares is {least} and the maximum allowed cpu-shares is \
                     {most}; it is {shares}"
                ),
            ));
        }
        set(dir, "cpu.shares", "cpu.shares", shares)?;
    }
    if let Some(value) = wanted.idle().filter(|value| *value != 0) {
        idle(value)?;
    }
    bandwidth(dir, wanted)?;
    realtime(dir, wanted)
}

/// The kernel checks each value against the others and the parent's, so that what is refused at
/// first may be taken after the quota.
fn bandwidth(dir: &Path, wanted: &LinuxCpu) -> Result<(), GroupError> {
    let quota = wanted.quota().filter(|value| *value != 0);
    let period = wanted.period().filter(|value| *value != 0);
    let period = || period.map(|value| set(dir, "cpu.cfs_period_us", "cpu.period", value));
    let burst = || match wanted.burst() {
        // A kernel that knows no bursts allows none.
        Some(0) if !exists(dir, "cpu.cfs_burst_us") => None,
        burst => burst.map(|value| set(dir, "cpu.cfs_burst_us", "cpu.burst", value)),
    };
    let period_waits = later(period(), quota.is_some())?;
    let burst_waits = later(burst(), quota.is_some())?;
    if let Some(quota) = quota {
        set(dir, "cpu.cfs_quota_us", "cpu.quota", quota)?;
    }
    if period_waits {
        period().transpose()?;
    }
    if burst_waits {
        burst().transpose()?;
    }
    Ok(())
}

fn realtime(dir: &Path, wanted: &LinuxCpu) -> Result<(), GroupError> {
    let runtime = wanted.realtime_runtime().filter(|value| *value != 0);
    let period = wanted.realtime_period().filter(|value| *value != 0);
    let period = || period.map(|value| set(dir, "cpu.rt_period_us", "cpu.realtimePeriod", value));
    let waits = later(period(), runtime.is_some())?;
    if let Some(runtime) = runtime {
        set(dir, "cpu.rt_runtime_us", "cpu.realtimeRuntime", runtime)?;
    }
    if waits {
        period().transpose()?;
    }
    Ok(())
}
