//! By which mechanism the plan of a policy carries what is asked of it.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use buntime::policy::{Bind, Mask, MaskKind, Perm, PermSet, Plan, Verdict};
use serde_json::Value;

use super::expected::{Call, Need};
use super::world::{Kind, kind_of, leads};
use super::{Kernel, NO_SOCKET, Pair, passes};

/// What the plan of a policy does to the tree.
pub struct Ways {
    /// Some of it is a mount of its own: nothing is moved or linked from one mount to another, and
    /// whoever tries it is told so, and copies.
    mounts: bool,
    /// Before ABI 2 Landlock lets nothing into another directory.
    stays: bool,
    /// What cannot be passed through either, wherever the way leads.
    hidden: Vec<PathBuf>,
    masked: Vec<PathBuf>,
    live: PermSet,
    linked: Vec<PathBuf>,
    /// There are sockets of the kind that has names, and whether each name is decided about.
    sockets: bool,
    decides_sockets: bool,
}

impl Ways {
    pub fn of(plan: Option<Plan>, kernel: Kernel) -> Ways {
        let masks = plan.iter().flat_map(|plan| &plan.masks);
        let path = |mask: &Mask| mask.path.clone();
        let hidden = masks.clone().filter(|mask| mask.kind == MaskKind::Hidden);
        let (hidden, masked) = (
            hidden.map(path).collect(),
            masks.clone().map(path).collect(),
        );
        let mounts = plan.is_none() || masks.count() > 0;
        let decides = |plan: &Plan| {
            let decided = plan.intercept.as_ref().map(|intercept| intercept.perms);
            decided.is_some_and(|perms| perms.intersects(PermSet::NAMED_SOCKETS))
        };
        let decides_sockets = plan.as_ref().is_some_and(decides);
        let sockets = decides_sockets || plan.as_ref().is_some_and(writes_all);
        let intercept = plan.and_then(|plan| plan.intercept).unwrap_or_default();
        Ways {
            mounts,
            stays: kernel.abi == Some(1),
            hidden,
            masked,
            live: intercept.perms,
            linked: intercept.linked,
            sockets,
            decides_sockets,
        }
    }

    /// Whether a call that is allowed was kept from its effect by the mounts alone, or by the filter
    /// where nobody decides who is connected to.
    pub fn stand_between(&self, pair: &Pair, call: &Call, answer: &Value) -> bool {
        let errno = &answer[0];
        if answer[1] == NO_SOCKET {
            return !self.sockets;
        }
        let moves = matches!(call.name, "rename" | "link" | "rmdir");
        if *errno == libc::EXDEV || *errno == libc::EBUSY {
            return moves && (self.mounts || self.stays);
        }
        // A link itself is changed where the directory can be in which it stands.
        if *errno == libc::EROFS && call.flags & libc::AT_SYMLINK_NOFOLLOW != 0 {
            let link = leads(&pair.native, &call.path, false);
            return link.and_then(|link| kind_of(&link)) == Some(Kind::Link);
        }
        let mut paths = [&call.path, &call.to].into_iter();
        *errno == libc::EACCES && paths.any(|path| self.hide_the_way(pair, path))
    }

    /// Whether a path leads through what is hidden.
    pub fn hide_the_way(&self, pair: &Pair, path: &str) -> bool {
        let is_hidden = |real: &Path| {
            let below = real.strip_prefix(&pair.native).unwrap_or(real);
            let real = pair.inside.join(below);
            self.hidden.iter().any(|hidden| real.starts_with(hidden))
        };
        passes(&pair.native, path, is_hidden)
    }

    /// Whether nobody looks what a directory carries to another name: nothing is decided by names then.
    pub fn carry_all(&self) -> bool {
        self.live.is_empty()
    }

    pub fn mechanism(
        &self,
        pair: &Pair,
        call: &Call,
        needs: &[Need],
        verdict: Verdict,
    ) -> &'static str {
        match call.name {
            "bind" | "connect" if !self.sockets => return "filter",
            // Landlock does not know it, and it is held together with what makes them.
            "connect" if self.decides_sockets => return "interceptor",
            _ => {}
        }
        let is_live = |need: &Need| match need {
            Need::Perm(perm, _) => self.live.contains(*perm),
            Need::Change(_) => self.live.intersects(PermSet::CHANGE),
            Need::Carried(..) => false,
        };
        let is_masked = |need: &Need| match need {
            Need::Perm(_, path) | Need::Change(path) => {
                let below = path.strip_prefix(&pair.native).unwrap_or(path);
                let path = pair.inside.join(below);
                self.masked.iter().any(|masked| path.starts_with(masked))
            }
            Need::Carried(..) => false,
        };
        // Nothing else asks or records, as of what is carried to another name.
        let is_said = matches!(verdict, Verdict::Ask | Verdict::Warn);
        if is_said || needs.iter().any(is_live) {
            "interceptor"
        } else if !verdict.permits() && needs.iter().any(is_masked) {
            "mask"
        } else {
            "landlock"
        }
    }

    /// Whether the kernel answers the opening by itself: it makes a file before it asks whether that
    /// may be opened.
    pub fn makes_first(&self, call: &Call) -> bool {
        let makes = PermSet::of(&[Perm::WriteFile, Perm::MakeReg]);
        let held = match call.is_creat() {
            true => makes,
            false => makes.union(PermSet::READ),
        };
        !self.live.intersects(held)
    }

    /// The files that rules know under every name, by their inodes in the other tree.
    pub fn linked(&self, pair: &Pair) -> Vec<(u64, PathBuf)> {
        let linked = self.linked.iter().map(|path| {
            let below = path.strip_prefix(&pair.inside).expect("it is in the tree");
            let found = pair.native.join(below).symlink_metadata();
            (found.expect("it is there").ino(), path.clone())
        });
        linked.collect()
    }
}

/// Whether everything that is shown may be written: a read-only mount does not keep anybody from
/// connecting.
fn writes_all(plan: &Plan) -> bool {
    let is_written = |bind: &Bind| {
        let mut grants = plan.landlock.iter().filter(|grant| grant.path == bind.path);
        bind.writable && grants.any(|grant| grant.perms.contains(Perm::WriteFile))
    };
    let mut binds = plan.binds.iter().filter(|bind| bind.dir);
    let mut masks = plan.masks.iter();
    binds.all(is_written) && masks.all(|mask| mask.kind != MaskKind::ReadOnly)
}
