//! What holds without namespaces, and what does not: each thing that a namespace gave, by name.

use super::user::User;
use crate::launch::demand::NAMESPACES;
use crate::launch::request::LaunchRequest;
use crate::launch::rlimits::ResourceLimits;
use crate::launch::{Cgroup, Enforced, State};

/// What is known before init lives.
pub(super) fn before(
    request: &LaunchRequest,
    why: &str,
    user: &User,
    cgroup: Option<&Cgroup>,
    rlimits: &ResourceLimits,
) -> Enforced {
    let mut enforced = Enforced::default();
    let carried = "Landlock and the system call filter carry the policy alone";
    enforced.note(NAMESPACES, State::None, format!("{why}; {carried}"));
    let state = if user.own.is_some() {
        State::Full
    } else {
        State::Partial
    };
    enforced.note("user", state, user.describe());
    enforced.full(
        "processes",
        "one, with threads: it starts no other, and names none but itself in any call",
    );
    enforced.full(
        "network",
        "no socket but pairs of connected streams; not even loopback",
    );
    enforced.full(
        "System V objects, message queues",
        "refused by the system call filter",
    );
    enforced.full("exec", "the command runs once, nothing after it");
    enforced.note(
        "names of files",
        State::Partial,
        "contents and listings are held by Landlock; whether a path exists, its size, times, \
         owner and mode, and where a symbolic link leads, can be seen as this user sees it, \
         under /proc and /sys too",
    );
    enforced.full(
        "metadata of files",
        "no mode, owner, time or attribute can be changed, not even of its own files",
    );
    enforced.note(
        "/tmp",
        State::Partial,
        "a directory of its own, by TMPDIR and HOME, removed at the end: it is not at /tmp, and \
         what it holds is limited by the disk only",
    );
    enforced.note(
        "/proc and /etc",
        State::None,
        "none of its own; the host's cannot be read",
    );
    enforced.note("host name", State::None, "the host's can be seen");
    if let Some(cgroup) = cgroup {
        enforced.full("control group", cgroup.describe());
    } else if request.plan.limits.pids.is_some() {
        enforced.full("pids limit", "init counts the threads as they are made");
    }
    rlimits.note(&mut enforced);
    enforced.0.extend(request.remarks.iter().cloned());
    enforced
}

/// What init has verified.
pub(super) fn after(
    enforced: &mut Enforced,
    request: &LaunchRequest,
    bounded: bool,
    unreachable: &[String],
) {
    enforced.full("no_new_privs", "set, verified");
    enforced.full(
        "capabilities",
        if bounded {
            "none in any set, verified"
        } else {
            "none, verified; the bounding set is not this user's to empty, and no_new_privs keeps \
             it from giving any"
        },
    );
    let (abi, rules) = (request.features.landlock_abi, request.plan.landlock.len());
    enforced.full("landlock", format!("ABI {abi}, {rules} rules"));
    if !unreachable.is_empty() {
        let paths = unreachable.join(", ");
        enforced.note(
            "allowed paths",
            State::Partial,
            format!("{paths}: allowed by the policy, out of reach for this user"),
        );
    }
    enforced.full("seccomp", "verified");
}
