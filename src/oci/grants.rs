//! What the bundle itself allows: the lowest layer of every policy.

use std::path::{Path, PathBuf};

use crate::policy::{Grant, Perm, PermSet};

/// Where the channel and the worker's files stand.
pub(super) const CHANNEL: &str = "/run/buntime";

/// The grants for a root that shows `readable` (paths, and whether code is mapped from them), runs `programs`, and may have a channel.
pub(super) fn bundle_grants(
    readable: impl Iterator<Item = (PathBuf, bool)>,
    programs: impl Iterator<Item = PathBuf>,
    writable: impl Iterator<Item = PathBuf>,
    channel: &[&Path],
) -> Vec<Grant> {
    let grant = |path: &Path, perms| Grant {
        path: path.to_owned(),
        perms,
    };
    let mut grants: Vec<Grant> = readable
        .map(|(path, mapped)| {
            // Code is mapped from library directories, whatever else a rule makes of them.
            let perms = if mapped {
                PermSet::READ.with(Perm::Execute)
            } else {
                PermSet::READ
            };
            grant(&path, perms)
        })
        .collect();
    grants.extend(programs.map(Grant::program));
    grants.extend(writable.map(|path| grant(&path, PermSet::READ.union(PermSet::WRITE))));
    grants.push(grant(
        Path::new("/dev"),
        PermSet::READ.with(Perm::WriteFile),
    ));
    grants.push(grant(Path::new("/proc"), PermSet::READ));
    if !channel.is_empty() {
        grants.push(grant(Path::new(CHANNEL), PermSet::READ));
    }
    grants.extend(
        channel
            .iter()
            .map(|path| grant(path, PermSet::READ.with(Perm::WriteFile))),
    );
    grants
}
