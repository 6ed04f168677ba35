//! By which mechanism the plan of a policy carries what is asked of it.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use buntime::policy::{Mask, MaskKind, PermSet, Plan, Verdict};
use serde_json::Value;

use super::expected::{Call, Need};
use super::{Kernel, Pair, passes};

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
        let intercept = plan.and_then(|plan| plan.intercept).unwrap_or_default();
        Ways {
            mounts,
            stays: kernel.abi == Some(1),
            hidden,
            masked,
            live: intercept.perms,
            linked: intercept.linked,
        }
    }

    /// Whether a call that is allowed was kept from its effect by the mounts alone.
    pub fn stand_between(&self, pair: &Pair, call: &Call, errno: &Value) -> bool {
        let moves = matches!(call.name, "rename" | "link" | "rmdir");
        if *errno == libc::EXDEV || *errno == libc::EBUSY {
            return moves && (self.mounts || self.stays);
        }
        let is_hidden = |real: &Path| {
            let below = real.strip_prefix(&pair.native).unwrap_or(real);
            let real = pair.inside.join(below);
            self.hidden.iter().any(|hidden| real.starts_with(hidden))
        };
        let mut paths = [&call.path, &call.to].into_iter();
        *errno == libc::EACCES && paths.any(|path| passes(&pair.native, path, is_hidden))
    }

    pub fn mechanism(&self, pair: &Pair, needs: &[Need], verdict: Verdict) -> &'static str {
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
        if needs.iter().any(is_live) {
            "interceptor"
        } else if !verdict.permits() && needs.iter().any(is_masked) {
            "mask"
        } else {
            "landlock"
        }
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
