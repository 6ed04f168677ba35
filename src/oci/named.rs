//! The dynamic loaders that the kernel starts with the programs that rules let run by name.
//!
//! A program that the worker may write to could name any file of the host: of what it names only the
//! loaders of the system are taken. Of a directory the programs are not looked at one by one, and need
//! the same. The interpreter of a script is none, and runs by itself too: a rule has to name it.

use std::path::{Path, PathBuf};

use super::prepare::Draft;
use super::program::{Place, is_loader};
use super::root::{LIBRARIES, command_pieces};
use crate::policy::{LOADERS, Perm, Policy, Request, Verdict};

/// Shows it, where the root is put together from the host, and lets it run, as that of the command.
pub(super) fn add(
    draft: &mut Draft,
    (place, own_root): (&Place, bool),
    policy: &Policy,
    out: Option<&Path>,
) {
    for named in policy.named_programs() {
        let Some(walked) = place.walk(&named) else {
            continue;
        };
        if place.outside(&walked.0).is_dir() {
            let usual = LOADERS
                .iter()
                .filter_map(|path| place.real(Path::new(path)));
            let of_system = usual.filter(|path| is_of_system(place, path));
            start(draft, of_system.collect());
            continue;
        }
        let changes = out.is_some_and(|out| walked.0.starts_with(out))
            || may_change(policy, &named)
            || may_change(policy, &walked.0);
        // What is no program is not started.
        let Ok(found) = place.examine(named, walked) else {
            continue;
        };
        let is_usual = |loader: &PathBuf| match changes {
            true => is_of_system(place, loader),
            false => is_loader(&place.outside(loader)),
        };
        if !found.loaders.iter().all(is_usual) {
            continue;
        }
        if !own_root {
            command_pieces(&found, place, &mut draft.pieces);
        }
        start(draft, found.loaders);
    }
}

fn start(draft: &mut Draft, loaders: Vec<PathBuf>) {
    for loader in loaders {
        if !draft.loaders.contains(&loader) {
            draft.programs.push(loader.clone());
            draft.loaders.push(loader);
        }
    }
}

/// Whether the policy may let what stands at the path be changed, or something else be put there.
fn may_change(policy: &Policy, path: &Path) -> bool {
    let may = |path: &Path, perm| {
        let request = Request::Fs { path, perm };
        policy.decide(&request).verdict != Verdict::Deny
    };
    let replaced = path.parent().is_some_and(|folder| {
        [Perm::MakeReg, Perm::MakeSym]
            .into_iter()
            .any(|perm| may(folder, perm))
    });
    replaced || may(path, Perm::WriteFile)
}

/// Whether it is a dynamic loader among the system's libraries, which every worker may read.
fn is_of_system(place: &Place, path: &Path) -> bool {
    let is_library = LIBRARIES.iter().any(|library| path.starts_with(library));
    is_library && is_loader(&place.outside(path))
}
