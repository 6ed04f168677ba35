//! A group in v1's hierarchies: one directory in each.

mod cpu;
mod cpuset;
mod limits;
mod memory;

use std::path::PathBuf;

use super::files::is_forbidden;
use super::layout::Hierarchy;
use super::made::Made;
use super::place::Place;
use super::record::{GroupRecord, HierarchyRecord};
use super::{GroupError, GroupRequest, devices, taken};

pub(super) use limits::apply;

/// Makes the directories. All hierarchies are joined, limits or not: whoever counts a container's
/// memory or time looks into the group in which its processes are.
pub(super) fn make(
    request: &GroupRequest<'_>,
    hierarchies: &[Hierarchy],
    unified: Option<&Hierarchy>,
    place: &Place,
    made: &mut Made,
) -> Result<GroupRecord, GroupError> {
    let mut group = GroupRecord::default();
    for hierarchy in hierarchies.iter().chain(unified) {
        let Some(path) = directory(request, hierarchy, place, made)? else {
            continue;
        };
        if hierarchy.controllers.is_empty() {
            group.unified = Some(path);
        } else {
            group.v1.push(HierarchyRecord {
                controllers: hierarchy.controllers.clone(),
                path,
            });
        }
    }
    if let Some(dir) = group.v1("cpuset") {
        let cpu = request
            .resources
            .and_then(|resources| resources.cpu().as_ref());
        cpuset::prepare(dir, cpu)?;
    }
    Ok(group)
}

/// Makes the directory in one hierarchy; `None` where this user may not and did not insist.
fn directory(
    request: &GroupRequest<'_>,
    hierarchy: &Hierarchy,
    place: &Place,
    made: &mut Made,
) -> Result<Option<PathBuf>, GroupError> {
    let Some(path) = hierarchy.directory(place) else {
        return if hierarchy.controllers.is_empty() || request.tolerates() {
            Ok(None)
        } else {
            Err(GroupError::Path {
                path: hierarchy.root.clone(),
                why: "the caller's own group is not shown there; give an absolute path",
            })
        };
    };
    match made.make(&path, &hierarchy.root) {
        Ok(true) => Ok(Some(path)),
        // systemd has just made it, for this container alone.
        Ok(false) if request.systemd => Ok(Some(path)),
        Ok(false) => {
            let alone = GroupRecord {
                v1: vec![HierarchyRecord {
                    controllers: hierarchy.controllers.clone(),
                    path: path.clone(),
                }],
                ..GroupRecord::default()
            };
            taken::refuse(&path, &alone).map(|()| Some(path))
        }
        Err(error) if request.tolerates() && is_forbidden(&error) => Ok(None),
        // Beside v1 it holds nothing; systemd may have left it read-only.
        Err(error) if hierarchy.controllers.is_empty() && is_forbidden(&error) => Ok(None),
        Err(error) => Err(GroupError::io(super::MAKING, &path)(error)),
    }
}

/// Has a group hold the container's device rules.
pub(super) fn devices(
    group: &GroupRecord,
    rules: &[devices::Rule],
    rootless: bool,
    new: bool,
) -> Result<(), GroupError> {
    match group.v1("devices") {
        Some(dir) => match devices::apply_v1(dir, rules, new) {
            // Without privileges there is no node to make, and none of the host's to open.
            Err(GroupError::Refused { .. }) if rootless => Ok(()),
            answer => answer,
        },
        None if rootless => Ok(()),
        None => Err(GroupError::Unheld {
            controller: "devices",
            field: "devices".to_owned(),
            why: "its controller is not mounted: a container of root's could open every device"
                .to_owned(),
        }),
    }
}
