//! What the bundle itself allows: the lowest layer of every policy.

use std::path::{Path, PathBuf};

use crate::launch::Piece;
use crate::policy::{CHANNEL, Grant, Perm, PermSet};

/// What `pieces` show, to be read.
pub(super) fn readable(pieces: &[Piece]) -> Vec<Grant> {
    let shown = pieces.iter().filter_map(|piece| match piece {
        Piece::Bind {
            path,
            dir,
            executable,
            ..
        } => Some((path, *dir && *executable)),
        Piece::File { path, .. } => Some((path, false)),
        _ => None,
    });
    let grant = |(path, mapped): (&PathBuf, bool)| Grant {
        path: path.clone(),
        // Code is mapped from library directories, whatever else a rule makes of them.
        perms: if mapped {
            PermSet::READ.with(Perm::Execute)
        } else {
            PermSet::READ
        },
    };
    shown.map(grant).collect()
}

/// The grants for a root that shows `pieces`, runs `programs`, and may have a channel.
pub(super) fn bundle_grants(
    pieces: &[Piece],
    programs: impl Iterator<Item = PathBuf>,
    writable: impl Iterator<Item = PathBuf>,
    channel: &[&Path],
) -> Vec<Grant> {
    let grant = |path: &Path, perms| Grant {
        path: path.to_owned(),
        perms,
    };
    let mut grants = readable(pieces);
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
