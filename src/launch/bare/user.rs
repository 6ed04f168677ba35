//! As whom a worker without namespaces runs: an id that no account has, where the caller can
//! give it one, else the caller's own.

use std::path::Path;

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
pub enum UserError {
    /// It would be the host's root.
    #[error(
        "without namespaces the program would run as root, because this process may not take \
         another user id: run buntime as an ordinary user, give the container CAP_SETUID and \
         CAP_SETGID, or permit user namespaces here"
    )]
    Root,
    /// This process has no id that the program could keep, nor one to give it.
    #[error(
        "no {0} id is mapped for this process in the user namespace that it is in, so the program \
         can have none: have the ids mapped when that namespace is made (unshare --user \
         --map-root-user does), or run buntime outside of it"
    )]
    Unmapped(&'static str),
}

impl User {
    /// Chooses for the calling process.
    pub(super) fn choose() -> Result<User, UserError> {
        let (uid, gid) = (
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        );
        let may = |capability| caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false);
        if may(Capability::CAP_SETUID) && may(Capability::CAP_SETGID) {
            let own = identity::own_ids().1;
            let mapped = |id: &u32| outside(USERS, *id).and(outside(GROUPS, *id)).is_some();
            if let Some(id) = [own, NOBODY].into_iter().find(mapped) {
                let own = Some((id, id));
                return Ok(User {
                    uid: id,
                    gid: id,
                    own,
                });
            }
        }
        for (what, map, id) in [("user", USERS, uid), ("group", GROUPS, gid)] {
            if outside(map, id).is_none() {
                return Err(UserError::Unmapped(what));
            }
        }
        // The root of a user namespace around us is some ordinary user outside.
        if uid == 0 && outside(USERS, 0) == Some(0) {
            return Err(UserError::Root);
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

const USERS: &str = "/proc/self/uid_map";
const GROUPS: &str = "/proc/self/gid_map";

/// What an id of the user namespace that this process is in is outside of it. A kernel without
/// user namespaces has no map, and every id is what it is.
fn outside(map: &str, id: u32) -> Option<u32> {
    if Path::new(map).exists() {
        identity::outside_id(map, id, 1)
    } else {
        Some(id)
    }
}
