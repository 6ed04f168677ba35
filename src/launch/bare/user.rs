//! As whom a worker without namespaces runs: an id that no account has, where the caller can
//! give it one, else the caller's own.

use std::fs;

use caps::{CapSet, Capability};

use crate::launch::identity;

/// The worker's ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct User {
    pub uid: u32,
    pub gid: u32,
    /// Whether they are of this run alone, and its files have to be given to them.
    pub own: Option<(u32, u32)>,
}

/// Nobody is there as whom the worker could run.
#[derive(Debug, thiserror::Error)]
#[error(
    "without namespaces the program would run as root, because this process may not take another \
     user id: run buntime as an ordinary user, give the container CAP_SETUID and CAP_SETGID, or \
     permit user namespaces here"
)]
pub struct UserError;

impl User {
    /// Chooses for the calling process.
    pub(super) fn choose() -> Result<User, UserError> {
        let (uid, gid) = (
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        );
        let may = |capability| caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false);
        if may(Capability::CAP_SETUID) && may(Capability::CAP_SETGID) {
            let (users, groups) = (Map::read("uid_map"), Map::read("gid_map"));
            let own = identity::own_ids().1;
            let mapped = |id: &u32| users.has(*id) && groups.has(*id);
            if let Some(id) = [own, NOBODY].into_iter().find(mapped) {
                let own = Some((id, id));
                return Ok(User {
                    uid: id,
                    gid: id,
                    own,
                });
            }
        }
        // The root of a user namespace around us is some ordinary user outside.
        if uid == 0 && Map::read("uid_map").outside(0) == Some(0) {
            return Err(UserError);
        }
        Ok(User {
            uid,
            gid,
            own: None,
        })
    }

    /// One sentence for the report.
    pub(super) fn describe(&self) -> String {
        match (self.own, self.uid) {
            (Some(_), NOBODY) => format!("uid {NOBODY}, which other programs may have too"),
            (Some((uid, _)), _) => format!("uid {uid}, which no account has"),
            (None, uid) => format!("uid {uid} with its groups, the caller's own"),
        }
    }
}

/// The user that Debian calls nobody, for containers that map few ids.
const NOBODY: u32 = 65534;

/// The ids of the user namespace that this process is in: (inside, outside, count).
struct Map(Vec<[u32; 3]>);

impl Map {
    /// An unreadable map maps nothing.
    fn read(name: &str) -> Map {
        let text = fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
        let line = |line: &str| {
            let mut numbers = line.split_whitespace().map(str::parse);
            let mut next = || numbers.next()?.ok();
            Some([next()?, next()?, next()?])
        };
        Map(text.lines().filter_map(line).collect())
    }

    fn has(&self, id: u32) -> bool {
        self.outside(id).is_some()
    }

    fn outside(&self, id: u32) -> Option<u32> {
        self.0.iter().find_map(|[inside, outside, count]| {
            let offset = id.checked_sub(*inside)?;
            (offset < *count).then(|| outside.saturating_add(offset))
        })
    }
}
