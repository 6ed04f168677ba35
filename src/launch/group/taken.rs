//! A group that was there before.

use std::path::{Path, PathBuf};

use super::layout::Layout;
use super::place::Place;
use super::record::{GroupRecord, HierarchyRecord};
use super::{GroupError, freeze, procs};

/// How many processes there are, and where.
pub(super) type Used = (usize, PathBuf);

/// Where the container `id` goes that names `place`: there, or with v1 below it when somebody is there
/// already. Callers of runc share groups. In one with others a container would change their limits and
/// devices by its own; below it all of theirs go on to hold, for the container too. On cgroup2 no group
/// with processes has another below it that can be limited.
///
/// # Errors
/// What would be below is frozen and would stop at once; or the kernel's files could not be read.
pub(super) fn beside(
    place: Place,
    id: &str,
    layout: &Layout,
) -> Result<(Place, Option<Used>), GroupError> {
    for hierarchy in &layout.v1 {
        let Some(path) = hierarchy.directory(&place) else {
            continue;
        };
        let count = procs::all(&path)?.len();
        if count == 0 {
            continue;
        }
        let v1 = layout.v1.iter().filter_map(|hierarchy| {
            Some(HierarchyRecord {
                controllers: hierarchy.controllers.clone(),
                path: hierarchy.directory(&place)?,
            })
        });
        let whole = GroupRecord {
            v1: v1.collect(),
            ..GroupRecord::default()
        };
        if freeze::is_frozen(&whole)? {
            return Err(GroupError::Frozen { path });
        }
        return Ok((place.child(id), Some((count, path))));
    }
    Ok((place, None))
}

/// Refuses the group at `path` unless nobody uses it; `group` is of that directory alone.
pub(super) fn refuse(path: &Path, group: &GroupRecord) -> Result<(), GroupError> {
    let count = procs::all(path)?.len();
    if count > 0 {
        return Err(GroupError::Occupied {
            path: path.to_owned(),
            count,
        });
    }
    match freeze::is_frozen(group)? {
        true => Err(GroupError::Frozen {
            path: path.to_owned(),
        }),
        false => Ok(()),
    }
}
