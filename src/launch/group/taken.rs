//! A group that was there before.

use std::path::Path;

use super::record::GroupRecord;
use super::{GroupError, freeze, procs};

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
