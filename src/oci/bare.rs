//! What changes in a launch without namespaces: nothing can be mounted, so the host's own paths
//! are what is granted, and a directory of the worker's own stands in for /tmp.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::error::OciError;
use super::grants;
use super::prepare::{Draft, PrepareInput};
use super::program::Place;
use crate::launch::{BareRequest, Layout, Piece};
use crate::policy::{Grant, Perm, PermSet};

/// Devices that belong to nobody, and whether they are written to as well.
const DEVICES: [(&str, bool); 5] = [
    ("/dev/null", true),
    ("/dev/zero", true),
    ("/dev/full", true),
    ("/dev/random", false),
    ("/dev/urandom", false),
];

/// Refuses what only a root of its own could be. `why` there are no namespaces.
pub(super) fn check(why: &str, root: Option<&Path>) -> Result<(), OciError> {
    match root {
        Some(root) => Err(OciError::NeedsNamespaces {
            path: root.to_owned(),
            why: why.to_owned(),
        }),
        None => Ok(()),
    }
}

/// Makes the draft one of the host's paths, and gives what the launch needs besides.
pub(super) fn adapt(
    draft: &mut Draft,
    input: &PrepareInput,
    why: &str,
) -> Result<BareRequest, OciError> {
    let layout = Layout::choose().map_err(OciError::io("choose", "the worker's directory"))?;
    let host = Place::host();
    // What the bundle shows is granted where the host has it; what it makes up, it cannot.
    draft.pieces.retain_mut(|piece| match piece {
        Piece::Bind { source, path, .. } => match host.real(source) {
            Some(real) => {
                path.clone_from(&real);
                *source = real;
                true
            }
            None => false,
        },
        _ => false,
    });
    // For the policy it is what /tmp would be; nothing is mounted.
    draft.pieces.push(Piece::Tmpfs {
        path: layout.tmp(),
        bytes: 0,
        executable: false,
    });
    let given = |key: &str| input.env.iter().any(|(given, _)| given == key);
    for (key, value) in &mut draft.program.env {
        if (key == "HOME" || key == "TMPDIR") && !given(&key.to_string_lossy()) {
            *value = layout.tmp().into_os_string();
        }
    }
    if let Some(asked) = &mut draft.channel {
        let socket = layout
            .run()
            .join(asked.socket.file_name().unwrap_or_default());
        for (old, new) in [
            (&asked.socket, &socket),
            (&asked.segment, &layout.segment()),
        ] {
            rename_argument(&mut draft.program.args, old, new);
        }
        asked.segment = layout.segment();
        asked.socket = socket;
    }
    let files = input.worker.as_ref().map(|worker| worker.files.clone());
    Ok(BareRequest {
        why: why.to_owned(),
        layout,
        files: files.unwrap_or_default(),
    })
}

fn rename_argument(args: &mut [OsString], old: &Path, new: &Path) {
    for arg in args {
        if *arg == *old.as_os_str() {
            new.as_os_str().clone_into(arg);
        }
    }
}

/// What the bundle allows of the host.
pub(super) fn bundle_grants(draft: &Draft, bare: &BareRequest, out: Option<&Path>) -> Vec<Grant> {
    let grant = |path: PathBuf, perms| Grant { path, perms };
    let mut list = grants::readable(&draft.pieces);
    list.extend(draft.programs.iter().cloned().map(Grant::program));
    let writable = std::iter::once(bare.layout.tmp()).chain(out.map(Path::to_owned));
    list.extend(writable.map(|path| grant(path, PermSet::READ.union(PermSet::WRITE))));
    for (path, written) in DEVICES {
        if Path::new(path).exists() {
            let read = PermSet::of(&[Perm::ReadFile]);
            let perms = if written {
                read.with(Perm::WriteFile)
            } else {
                read
            };
            list.push(grant(path.into(), perms));
        }
    }
    if draft.channel.is_some() {
        list.push(grant(bare.layout.run(), PermSet::READ));
        let perms = PermSet::of(&[Perm::ReadFile, Perm::WriteFile]);
        list.push(grant(bare.layout.segment(), perms));
    }
    list
}
