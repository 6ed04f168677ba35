//! Directories that become mount points, so that nothing renames what a mask lies in.

use super::descend::Descent;
use super::state::Origin;
use crate::policy::perm::Perm;
use crate::policy::plan::Bind;

impl Descent<'_> {
    /// A mask moves with its directory when that is renamed, and the path that it covered could
    /// be made anew. A mount point cannot be renamed, so each directory on the way that could be
    /// becomes one. In the private places there is nothing of the host to be reached that way.
    pub(super) fn pin_parents_of_masks(&mut self) {
        let mut pins = Vec::new();
        for mask in &self.out.masks {
            for directory in mask.path.ancestors().skip(1) {
                let Some(parent) = directory.parent() else {
                    break;
                };
                let (Some(around), Some(here)) = (self.state_at(parent), self.state_at(directory))
                else {
                    break;
                };
                let movable = around.origin == Origin::Host
                    && around.writable
                    && around.have().contains(Perm::RemoveDir);
                let mounted = self.out.binds.iter().any(|bind| bind.path == directory)
                    || self.out.masks.iter().any(|mask| mask.path == directory);
                if movable && !mounted {
                    pins.push(Bind {
                        path: directory.to_owned(),
                        writable: here.writable,
                        executable: here.executable,
                        dir: true,
                    });
                }
            }
        }
        self.out.binds.extend(pins);
    }
}
