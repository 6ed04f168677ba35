//! Memory on v1, where the limit on swap is one on memory and swap together, as the specification
//! has it too.

use std::io;
use std::path::Path;

use oci_spec::runtime::LinuxMemory;

use crate::launch::group::GroupError;
use crate::launch::group::fields::{UNLIMITED, given};
use crate::launch::group::files::{exists, line, set};

const LIMIT: &str = "memory.limit_in_bytes";
const LIMIT_WITH_SWAP: &str = "memory.memsw.limit_in_bytes";

/// Writes what is asked for. Limits on the kernel's memory are not: the kernel has none any more.
pub(super) fn apply(dir: &Path, wanted: &LinuxMemory) -> Result<(), GroupError> {
    if wanted.use_hierarchy() == Some(true) && exists(dir, "memory.use_hierarchy") {
        set(dir, "memory.use_hierarchy", "memory.useHierarchy", 1)?;
    }
    limits(dir, given(wanted.limit()), given(wanted.swap()))?;
    if let Some(bytes) = given(wanted.reservation()) {
        set(
            dir,
            "memory.soft_limit_in_bytes",
            "memory.reservation",
            bytes,
        )?;
    }
    if wanted.disable_oom_killer() == Some(true) {
        set(dir, "memory.oom_control", "memory.disableOOMKiller", 1)?;
    }
    match wanted.swappiness() {
        None => Ok(()),
        Some(value @ 0..=100) => set(dir, "memory.swappiness", "memory.swappiness", value),
        Some(value) => Err(GroupError::invalid(
            "memory.swappiness",
            format!("{value} is not from 0 to 100"),
        )),
    }
}

/// Both limits, in an order in which neither is for a moment above or below the other's.
fn limits(dir: &Path, limit: Option<i64>, swap: Option<i64>) -> Result<(), GroupError> {
    let counts_swap = || exists(dir, LIMIT_WITH_SWAP);
    let swap = match (limit, swap) {
        // Unlimited memory and a limit on memory and swap together do not go together.
        (Some(UNLIMITED), None) if counts_swap() => Some(UNLIMITED),
        (_, Some(UNLIMITED)) if !counts_swap() => None,
        (Some(limit), Some(swap)) if swap < limit && swap != UNLIMITED => {
            return Err(GroupError::invalid(
                "memory.swap",
                format!(
                    "{swap} is below memory.limit, {limit}: it is for memory and swap together"
                ),
            ));
        }
        (_, swap) => swap,
    };
    if swap.is_some() && !counts_swap() {
        return Err(GroupError::Unheld {
            controller: "memory",
            field: "memory.swap".to_owned(),
            why: "this kernel does not count swap for groups (boot with swapaccount=1)".to_owned(),
        });
    }
    let with_swap = |swap| set(dir, LIMIT_WITH_SWAP, "memory.swap", swap);
    match (limit, swap) {
        (Some(limit), Some(swap)) => {
            // The new limit is above the old limit on both.
            if swap == UNLIMITED || !set_limit(dir, limit)? {
                with_swap(swap)?;
                set(dir, LIMIT, "memory.limit", limit)
            } else {
                with_swap(swap)
            }
        }
        (Some(limit), None) => {
            set(dir, LIMIT, "memory.limit", limit).map_err(|e| busy(dir, limit, e))
        }
        (None, Some(swap)) => with_swap(swap),
        (None, None) => Ok(()),
    }
}

/// Gives whether the kernel took the limit; it may be too high for the moment.
fn set_limit(dir: &Path, limit: i64) -> Result<bool, GroupError> {
    match set(dir, LIMIT, "memory.limit", limit) {
        Ok(()) => Ok(true),
        Err(GroupError::Refused { source, .. }) if source.raw_os_error() == Some(libc::EINVAL) => {
            Ok(false)
        }
        Err(error) => Err(busy(dir, limit, error)),
    }
}

/// A limit below what is in use and cannot be reclaimed: the numbers say by how much.
fn busy(dir: &Path, limit: i64, error: GroupError) -> GroupError {
    let is_busy = matches!(&error, GroupError::Refused { source, .. } if source.raw_os_error() == Some(libc::EBUSY));
    if !is_busy {
        return error;
    }
    let read = |file| line(dir, file).unwrap_or_else(|error: io::Error| error.to_string());
    GroupError::invalid(
        "memory.limit",
        format!(
            "unable to set memory limit to {limit} (current usage: {}, peak usage: {})",
            read("memory.usage_in_bytes"),
            read("memory.max_usage_in_bytes"),
        ),
    )
}
