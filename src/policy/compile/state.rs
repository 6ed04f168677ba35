//! What the kernel would allow at a spot, as far as the plan goes.

use super::spots::Spot;
use crate::policy::merge::ExecMode;
use crate::policy::perm::{Perm, PermSet};

/// Where the bytes that are seen at a path come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// The bundle's root, read-only.
    Bundle,
    /// A private file system of the bundle, writable.
    Private,
    /// The host, by a bind; without namespaces all of it.
    Host,
}

/// The kernel's side at one spot and, up to the next, below.
#[derive(Debug, Clone, Copy)]
pub(super) struct State {
    /// Something is there to be seen.
    pub visible: bool,
    pub origin: Origin,
    pub writable: bool,
    pub executable: bool,
    /// What Landlock allows: a grant also holds below.
    pub reach: PermSet,
    /// What a mask here or above takes away.
    pub blocked: PermSet,
    /// What a live decision may allow, here or below.
    pub live: PermSet,
}

impl State {
    /// Above the root there is nothing.
    pub fn outside(namespaces: bool) -> State {
        State {
            visible: true,
            origin: if namespaces {
                Origin::Bundle
            } else {
                Origin::Host
            },
            writable: !namespaces,
            executable: !namespaces,
            reach: PermSet::NONE,
            blocked: PermSet::NONE,
            live: PermSet::NONE,
        }
    }

    /// What the kernel allows.
    pub fn have(&self) -> PermSet {
        self.reach.difference(self.blocked)
    }

    /// Whether the worker could make something appear here.
    pub fn creatable(&self) -> bool {
        const CREATE: PermSet = PermSet::of(&[
            Perm::MakeDir,
            Perm::MakeReg,
            Perm::MakeSock,
            Perm::MakeFifo,
            Perm::MakeSym,
        ]);
        self.visible && self.writable && self.have().union(self.live).intersects(CREATE)
    }
}

/// Whether a mount at the spot has to let code run.
pub(super) fn wants_code(spot: &Spot, mode: ExecMode) -> bool {
    // Under a list of programs ld.so could load whatever lies on an executable mount, so only
    // the bundle's libraries and the programs themselves are on one.
    let restricted = mode == ExecMode::Programs && !spot.runs && !spot.library;
    spot.allowed.contains(Perm::Execute) && !restricted
}
