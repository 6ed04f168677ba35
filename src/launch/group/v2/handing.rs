//! How controllers come down to a group: each group above it must hand them on.

use std::path::Path;

use oci_spec::runtime::LinuxResources;

use super::limits;
use crate::launch::cgroup::overwrite;
use crate::launch::group::GroupError;
use crate::launch::group::files::{is_absent, line, write};

const AVAILABLE: &str = "cgroup.controllers";
const HANDED: &str = "cgroup.subtree_control";
const TYPE: &str = "cgroup.type";

/// Has every group from `root` to `path`'s parent hand on what `root` has.
///
/// What one of them does not hand on is not missed here: it may not be this user's, or have
/// processes of its own. A limit that needs it is refused when it is written.
pub(super) fn down(
    root: &Path,
    path: &Path,
    resources: Option<&LinuxResources>,
) -> Result<(), GroupError> {
    let read = |dir: &Path| {
        line(dir, AVAILABLE).map_err(GroupError::io("reading the controllers of", dir))
    };
    let (available, has) = (read(root)?, read(path)?);
    let has: Vec<&str> = has.split(' ').collect();
    let missing: Vec<String> = available
        .split(' ')
        .filter(|name| !name.is_empty() && !has.contains(name))
        .map(|name| format!("+{name}"))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut above: Vec<&Path> = path.ancestors().skip(1).collect();
    above.reverse();
    for dir in above.into_iter().filter(|dir| dir.starts_with(root)) {
        if dir != root {
            threaded(dir, resources)?;
        }
        hand_on(dir, &missing);
    }
    threaded(path, resources)
}

fn hand_on(dir: &Path, controllers: &[String]) {
    let file = dir.join(HANDED);
    if overwrite(&file, &controllers.join(" ")).is_err() {
        for controller in controllers {
            // The caller reads what came of it.
            overwrite(&file, controller).err();
        }
    }
}

/// Below a group of threads there are only groups of threads, which have no controllers of whole
/// processes: none of those may be asked for.
fn threaded(dir: &Path, resources: Option<&LinuxResources>) -> Result<(), GroupError> {
    let kind = match line(dir, TYPE) {
        Ok(kind) => kind,
        Err(error) if is_absent(&error) => return Ok(()),
        Err(error) => return Err(GroupError::io("reading the type of", dir)(error)),
    };
    if kind == "domain" {
        return Ok(());
    }
    if let Some((controller, field)) = resources.and_then(limits::asked_of_domain) {
        return Err(GroupError::Unheld {
            controller,
            field: field.to_owned(),
            why: format!(
                "cannot enter cgroupv2 {:?} with domain controllers: its type is {kind:?}",
                dir.display().to_string()
            ),
        });
    }
    match &*kind {
        "domain invalid" => write(dir, TYPE, "threaded"),
        _ => Ok(()),
    }
}
