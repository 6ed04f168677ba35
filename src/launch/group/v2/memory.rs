//! Memory on cgroup2, where swap has a limit of its own and the specification has one for both.

use std::path::Path;

use oci_spec::runtime::LinuxMemory;

use super::limits::set;
use crate::launch::cgroup::{SWAPS, swaps_freely};
use crate::launch::group::GroupError;
use crate::launch::group::fields::{UNLIMITED, given};
use crate::launch::group::files::{exists, line};

const SWAP_LIMIT: &str = "memory.swap.max";

/// Writes what is asked for. Limits on the kernel's memory are not: it is counted with the rest.
pub(super) fn apply(dir: &Path, wanted: &LinuxMemory) -> Result<(), GroupError> {
    if wanted.disable_oom_killer() == Some(true) {
        return Err(unheld("memory.disableOOMKiller", "cgroup v2 always kills"));
    }
    if wanted.swappiness().is_some() {
        return Err(unheld(
            "memory.swappiness",
            "cgroup v2 knows it for the whole host only",
        ));
    }
    let limit = given(wanted.limit());
    let swap = swap_alone(limit, given(wanted.swap()))?;
    check(dir, wanted)?;
    if let Some(swap) = swap {
        limit_swap(dir, swap)?;
    }
    if let Some(limit) = limit {
        set(dir, "memory", "memory.max", "memory.limit", or_max(limit))?;
    }
    if let Some(bytes) = given(wanted.reservation()) {
        set(
            dir,
            "memory",
            "memory.low",
            "memory.reservation",
            or_max(bytes),
        )?;
    }
    Ok(())
}

fn or_max(bytes: i64) -> String {
    match bytes {
        UNLIMITED => "max".to_owned(),
        bytes => bytes.to_string(),
    }
}

fn unheld(field: &str, why: &str) -> GroupError {
    GroupError::Unheld {
        controller: "memory",
        field: field.to_owned(),
        why: why.to_owned(),
    }
}

/// The limit on swap that is meant by one on memory and swap together.
pub(in crate::launch::group) fn swap_alone(
    limit: Option<i64>,
    both: Option<i64>,
) -> Result<Option<i64>, GroupError> {
    let invalid = |why: String| Err(GroupError::invalid("memory.swap", why));
    match (limit, both) {
        // As on v1, where the one cannot be without the other.
        (Some(UNLIMITED), None) | (_, Some(UNLIMITED)) => Ok(both.or(Some(UNLIMITED))),
        (_, None) => Ok(None),
        (Some(UNLIMITED), Some(both)) => Ok(Some(both)),
        (None, Some(_)) => invalid("unable to set swap limit without memory limit".to_owned()),
        (Some(limit), Some(both)) if limit < 0 || both < limit => invalid(format!(
            "memory+swap limit should be >= memory limit: {both} is for both, {limit} for memory"
        )),
        (Some(limit), Some(both)) => Ok(Some(both - limit)),
    }
}

fn limit_swap(dir: &Path, swap: i64) -> Result<(), GroupError> {
    // Not there where the kernel does not count swap; unless there is some, there is no limit to miss.
    if !exists(dir, SWAP_LIMIT) && exists(dir, "memory.max") {
        return match swap == UNLIMITED || !swaps_freely(dir, SWAP_LIMIT, SWAPS) {
            true => Ok(()),
            false => Err(unheld(
                "memory.swap",
                "this kernel does not count swap for groups (boot with swapaccount=1)",
            )),
        };
    }
    set(dir, "memory", SWAP_LIMIT, "memory.swap", or_max(swap))
}

/// Refuses limits below what is in use, where that is asked for: the kernel takes them, and kills.
pub(in crate::launch::group) fn check(dir: &Path, wanted: &LinuxMemory) -> Result<(), GroupError> {
    match wanted.check_before_update() {
        Some(true) => refuse_below_usage(dir, given(wanted.limit()), given(wanted.swap())),
        _ => Ok(()),
    }
}

fn refuse_below_usage(dir: &Path, limit: Option<i64>, both: Option<i64>) -> Result<(), GroupError> {
    let used = |file| -> Result<u64, GroupError> {
        let text = line(dir, file).map_err(GroupError::io("reading", &dir.join(file)))?;
        let number = text.parse();
        number.map_err(|_| {
            GroupError::io("reading", &dir.join(file))(std::io::ErrorKind::InvalidData.into())
        })
    };
    let limited = |limit: Option<i64>| limit.and_then(|limit| u64::try_from(limit).ok());
    if let Some(limit) = limited(limit) {
        let usage = used("memory.current")?;
        if limit < usage {
            let why = format!("rejecting memory limit {limit}: {usage} bytes are in use");
            return Err(GroupError::invalid("memory.limit", why));
        }
    }
    if let Some(both) = limited(both) {
        let mut usage = used("memory.current")?;
        if exists(dir, "memory.swap.current") {
            usage += used("memory.swap.current")?;
        }
        if both < usage {
            let why = format!("rejecting memory+swap limit {both}: {usage} bytes are in use");
            return Err(GroupError::invalid("memory.swap", why));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swap_is_what_is_above_memory() {
        let meant = |limit, both| swap_alone(limit, both).unwrap();
        assert_eq!(meant(None, None), None);
        assert_eq!(meant(Some(5), None), None);
        assert_eq!(meant(Some(5), Some(5)), Some(0));
        assert_eq!(meant(Some(5), Some(8)), Some(3));
        assert_eq!(meant(Some(5), Some(-1)), Some(-1));
        assert_eq!(meant(None, Some(-1)), Some(-1));
        assert_eq!(meant(Some(-1), None), Some(-1));
        assert_eq!(meant(Some(-1), Some(8)), Some(8));
        for (limit, both) in [(None, Some(5)), (Some(8), Some(5)), (Some(-2), Some(5))] {
            assert!(swap_alone(limit, both).is_err(), "{limit:?} {both:?}");
        }
    }
}
