//! A group in cgroup2's one hierarchy.

mod handing;
mod limits;
mod memory;
#[cfg(test)]
mod tests;

use super::files::is_forbidden;
use super::layout::Hierarchy;
use super::made::Made;
use super::place::Place;
use super::record::GroupRecord;
use super::{GroupError, GroupRequest, devices, taken};

pub(super) use limits::{apply, cpu_max, weight_of_shares};
pub(super) use memory::{check, swap_alone};

/// Makes the group, with every controller that its parents have. There is none where this user may
/// make none, and neither a path nor a limit insists on it.
pub(super) fn make(
    request: &GroupRequest<'_>,
    unified: &Hierarchy,
    place: &Place,
    made: &mut Made,
) -> Result<GroupRecord, GroupError> {
    let Some(path) = unified.directory(place) else {
        return without(
            request,
            "the caller's own group is not shown where cgroup2 is mounted",
        );
    };
    let group = GroupRecord {
        v1: Vec::new(),
        unified: Some(path.clone()),
        scope: None,
    };
    match made.make(&path, &unified.root) {
        Ok(true) => {}
        // systemd has just made it, for this container alone.
        Ok(false) if request.systemd => {}
        Ok(false) => taken::refuse(&path, &group)?,
        Err(error) if request.tolerates() && is_forbidden(&error) => {
            let why = format!(
                "rootless needs no limits + no cgrouppath when no permission is granted for \
                 cgroups: {} cannot be made",
                path.display()
            );
            return without(request, &why);
        }
        Err(error) => return Err(GroupError::io(super::MAKING, &path)(error)),
    }
    handing::down(&unified.root, &path, request.resources)?;
    Ok(group)
}

/// No group, when nothing asks for one.
fn without(request: &GroupRequest<'_>, why: &str) -> Result<GroupRecord, GroupError> {
    let asked = request.resources.and_then(limits::asked);
    match asked {
        Some((controller, field)) => Err(GroupError::Unheld {
            controller,
            field: field.to_owned(),
            why: why.to_owned(),
        }),
        None if request.tolerates() => Ok(GroupRecord::default()),
        None => Err(GroupError::Path {
            path: request.path.unwrap_or("".as_ref()).to_owned(),
            why: "no group can be made for it: cgroup2 does not show the caller's own; give an \
                  absolute path",
        }),
    }
}

/// Has a group hold the container's device rules.
pub(super) fn devices(
    group: &GroupRecord,
    rules: &[devices::Rule],
    rootless: bool,
    new: bool,
) -> Result<(), GroupError> {
    let Some(dir) = group.v2() else {
        return Ok(());
    };
    match devices::apply_v2(dir, rules, new) {
        // Without privileges there is no node to make, and none of the host's to open.
        Err(GroupError::Io { source, .. }) if rootless && is_forbidden(&source) => Ok(()),
        answer => answer,
    }
}
