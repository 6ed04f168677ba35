//! Sources of bind mounts that the child could not open by itself, opened in the parent.
//!
//! The root of a user namespace cannot translate owners, and cannot enter directories of the host
//! that are closed to it. What is opened for it here comes out of a mount namespace that belongs to
//! a user namespace with the same ids, so that the kernel keeps locked what the host has set:
//! a read-only mount stays one, and what is mounted over a directory stays there.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use oci_spec::runtime::Spec;
use rustix::fs::{Mode, OFlags};

use super::ids::{Helper, Ids};
use super::plan::{Kind, Mount};
use super::{RootfsError, RootfsFacts};
use crate::sys::mount::{self, Change, Reach};
use crate::sys::process;

/// Opens what the child could not, and leaves the rest to it.
pub(super) fn open(
    mounts: &mut [Mount],
    spec: &Spec,
    facts: &RootfsFacts,
) -> Result<(), RootfsError> {
    let privileged = rustix::process::geteuid().is_root();
    let container = Ids::of(spec).filter(|_| facts.user_namespace);
    let mut known: Vec<(Ids, Helper)> = Vec::new();
    for mount in mounts {
        let Kind::Bind(reach) = mount.kind else {
            continue;
        };
        let Some(source) = mount.source.clone() else {
            continue;
        };
        let own = mount.maps.clone().map(Ids::Mapped);
        let ids = match (mount.options.idmap, &container) {
            (Some(_), _) => {
                own.or_else(|| container.clone())
                    .ok_or_else(|| RootfsError::Mount {
                        target: mount.target.clone(),
                        why: "an id-mapped mount needs uidMappings and gidMappings, because the \
                          container has no user namespace to take them from"
                            .to_owned(),
                    })?
            }
            (None, Some(container)) if privileged && !can_reach(container, spec, &source) => {
                container.clone()
            }
            (None, _) => continue,
        };
        let fail = |cause| RootfsError::Namespace {
            target: mount.target.clone(),
            cause,
        };
        if !known.iter().any(|(kept, _)| *kept == ids) {
            known.push((ids.clone(), Helper::start(&ids).map_err(fail)?));
        }
        let Some((_, helper)) = known.iter().find(|(kept, _)| *kept == ids) else {
            continue;
        };
        let inside = container.as_ref() == Some(&ids);
        mount.opened = Some(open_one(mount, &source, reach, helper, inside)?);
    }
    Ok(())
}

/// Whether the root of the container's user namespace can open a path. What it cannot find it
/// can: that it is missing is for the child to say.
fn can_reach(container: &Ids, spec: &Spec, source: &Path) -> bool {
    let root_of = |maps: Option<&Vec<oci_spec::runtime::LinuxIdMapping>>| {
        let mut maps = maps.into_iter().flatten();
        maps.find(|map| map.container_id() == 0)
            .map(oci_spec::runtime::LinuxIdMapping::host_id)
    };
    let linux = spec.linux().as_ref();
    let uid = root_of(linux.and_then(|linux| linux.uid_mappings().as_ref()));
    let gid = root_of(linux.and_then(|linux| linux.gid_mappings().as_ref()));
    let (Ids::Mapped(_), Some(uid), Some(gid)) = (container, uid, gid) else {
        return false;
    };
    let found = process::with_file_rights(uid, gid, || {
        rustix::fs::open(source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
    });
    match found {
        Ok(Ok(_)) => true,
        Ok(Err(error)) => error != rustix::io::Errno::ACCESS,
        Err(_) => false,
    }
}

fn open_one(
    mount: &Mount,
    source: &Path,
    reach: Reach,
    helper: &Helper,
    inside: bool,
) -> Result<OwnedFd, RootfsError> {
    let link = mount.options.source_link;
    let cloned = if inside {
        helper.within(|| mount::clone_of(None, source, reach, link))
    } else {
        // Out of the own namespace: what is mounted in it must not show on the host.
        mount::clone_of(None, source, reach, link).and_then(|tree| {
            let slave = Change {
                propagation: libc::MS_SLAVE,
                ..Change::default()
            };
            mount::change(tree.as_fd(), slave, Reach::Tree)?;
            Ok(tree)
        })
    };
    let tree = cloned.map_err(|cause| RootfsError::Source {
        source_path: source.to_owned(),
        target: mount.target.clone(),
        cause,
    })?;
    if let Some(reach) = mount.options.idmap {
        mount::translate_owners(tree.as_fd(), helper.user(), reach).map_err(|cause| {
            RootfsError::IdMap {
                source_path: source.to_owned(),
                target: mount.target.clone(),
                cause,
            }
        })?;
    }
    Ok(tree)
}
