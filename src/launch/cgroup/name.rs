//! Names of groups, which say whose they are: `buntime-PIDNS-PID-START-COUNT`.
//!
//! PIDNS is the inode of the owner's pid namespace, START its start time in clock ticks since
//! boot: a pid alone is used again.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use super::CgroupError;

const PREFIX: &str = "buntime-";

/// A name that no other group has or had.
pub(super) fn fresh() -> Result<String, CgroupError> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let pid = std::process::id();
    let stat = Path::new("/proc/self/stat");
    let start = fs::read_to_string(stat)
        .and_then(|text| start_time(&text).ok_or_else(|| std::io::ErrorKind::InvalidData.into()))
        .map_err(CgroupError::io("reading the start time in", stat))?;
    let namespace = pid_namespace()?;
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    Ok(format!("{PREFIX}{namespace}-{pid}-{start}-{count}"))
}

/// Whether `name` is of a group whose owner has ended. In doubt it has not: another pid namespace
/// cannot be looked into, and a name of another form is not ours.
pub(super) fn is_stale(name: &OsStr) -> bool {
    let Some(owner) = name.to_str().and_then(Owner::parse) else {
        return false;
    };
    if !pid_namespace().is_ok_and(|namespace| namespace == owner.namespace) {
        return false;
    }
    match fs::read_to_string(format!("/proc/{}/stat", owner.pid)) {
        Ok(stat) => start_time(&stat).is_some_and(|start| start != owner.start),
        // With hidepid= another user's process has no directory here and is alive all the same.
        Err(_) => !exists(owner.pid),
    }
}

struct Owner {
    namespace: u64,
    pid: i32,
    start: u64,
}

impl Owner {
    fn parse(name: &str) -> Option<Owner> {
        let mut fields = name.strip_prefix(PREFIX)?.split('-');
        let owner = Owner {
            namespace: fields.next()?.parse().ok()?,
            pid: fields.next()?.parse().ok().filter(|pid| *pid > 0)?,
            start: fields.next()?.parse().ok()?,
        };
        let _count: u32 = fields.next()?.parse().ok()?;
        fields.next().is_none().then_some(owner)
    }
}

fn pid_namespace() -> Result<u64, CgroupError> {
    let link = Path::new("/proc/self/ns/pid");
    fs::read_link(link)
        .ok()
        .and_then(|text| {
            let text = text.to_str()?;
            text.strip_prefix("pid:[")?.strip_suffix(']')?.parse().ok()
        })
        .ok_or_else(|| std::io::ErrorKind::InvalidData.into())
        .map_err(CgroupError::io("reading the pid namespace in", link))
}

/// Field 22 of /proc/PID/stat. The second field is the program's name in parentheses and may
/// contain anything, so fields are counted from the last parenthesis.
fn start_time(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(19)?.parse().ok()
}

fn exists(pid: i32) -> bool {
    rustix::process::Pid::from_raw(pid)
        .is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}
