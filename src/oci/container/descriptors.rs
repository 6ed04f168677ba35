//! The caller's descriptors that a container's process is to have.

use crate::launch::container::ProcessPlan;
use crate::sys::process;

/// More than a process can have open.
const MOST_DESCRIPTORS: i32 = 1 << 20;

/// The caller's descriptors among the `count` after the standard ones. A number that is not open
/// is nobody's now, and could be one of ours by the time the program runs.
pub(super) fn preserved(count: u32) -> Vec<i32> {
    let most = i32::try_from(count).map_or(MOST_DESCRIPTORS, |count| count.min(MOST_DESCRIPTORS));
    let found = process::inherited(3..3 + most);
    if found.len() < count as usize {
        tracing::warn!(
            asked = count,
            ?found,
            "fewer descriptors are open than are to be kept"
        );
    }
    found
}

/// Sockets that a service manager hands over (sd_listen_fds(3)): as many descriptors more, and the
/// variables that tell of them, of which one is the receiver's pid.
pub(super) fn listen_descriptors(process: &mut ProcessPlan) -> u32 {
    let listed = std::env::var("LISTEN_FDS").ok();
    let count = listed
        .and_then(|text| text.parse::<u32>().ok())
        .unwrap_or(0);
    if count > 0 {
        let ours = ["LISTEN_FDS=", "LISTEN_PID="];
        process
            .env
            .retain(|entry| !ours.iter().any(|name| entry.starts_with(name)));
        process.env.push(format!("LISTEN_FDS={count}"));
        process.env.push("LISTEN_PID=1".to_owned());
    }
    count
}
