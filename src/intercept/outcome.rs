//! What came of a call, for a run that is learned from.

use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::act::Done;
use super::calls::Call;
use super::need::{Need, to_make, to_open};
use super::question::Asked;
use super::view::{Caller, Target, View};
use crate::policy::{Perm, PermSet};

/// What came of a call that was let through, or that found nothing. Paths are absolute and bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Outcome {
    /// One of the things that it needed, beyond what every program may.
    Used {
        /// What it wanted.
        asked: Asked,
        /// By which other names it spoke of that: through symbolic links.
        named: Vec<Vec<u8>>,
        /// Why the call failed, by its number.
        errno: Option<i32>,
    },
    /// Something got another name.
    Moved {
        /// The old name.
        from: Vec<u8>,
        /// The new one.
        to: Vec<u8>,
    },
}

/// Making one of these by a rename takes the place of another.
const REPLACED: PermSet =
    PermSet::of(&[Perm::MakeReg, Perm::MakeSym, Perm::MakeSock, Perm::MakeFifo]);

/// Of these the links are in every root, so that a name through them is known by the other.
const LINKED_TOPS: [&str; 6] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/// What came of a call that was looked at and let through.
pub(super) fn of(
    view: &View,
    caller: Caller,
    call: &Call,
    needs: &[Need],
    done: &Result<Done, Errno>,
) -> Vec<Outcome> {
    let mut named: Vec<PathBuf> = match call {
        Call::Open { target, .. }
        | Call::Truncate { target, .. }
        | Call::MakeDir { target, .. }
        | Call::MakeNode { target, .. }
        | Call::MakeSymlink { target, .. }
        | Call::Remove { target, .. }
        | Call::Change { target, .. }
        | Call::Execute { target, .. } => named(view, caller, target).into_iter().collect(),
        // Each of its needs has the path already.
        Call::Link { .. }
        | Call::Rename { .. }
        | Call::Bind(_)
        | Call::Connect(_)
        | Call::Send(_)
        | Call::Nothing => Vec::new(),
    };
    if let Ok(Done::Execute(execution)) = done {
        let absolute = execution
            .interpreters
            .iter()
            .filter(|path| path.is_absolute());
        named.extend(absolute.filter_map(|path| {
            let (base, path) = (None, bytes(path));
            self::named(view, caller, &Target { base, path })
        }));
    }
    let named: Vec<Vec<u8>> = named.iter().map(|path| bytes(path)).collect();
    let used = |need: &Need| Outcome::Used {
        asked: need.question(),
        named: named.clone(),
        errno: done.as_ref().err().map(|errno| errno.raw_os_error()),
    };
    let mut outcomes: Vec<Outcome> = needs.iter().map(used).collect();
    if let (Call::Link { from, to, .. } | Call::Rename { from, to, .. }, Ok(_)) = (call, done) {
        let spot = |target| view.spot(caller, target).map(|spot| spot.path);
        if let (Ok(from), Ok(to)) = (spot(from), spot(to)) {
            // What is moved there now is there next time, and is replaced.
            let replaced = Need::Fs(Perm::RemoveFile, to.clone());
            let is_file = |need: &Need| match need {
                Need::Fs(perm, path) => *path == to && REPLACED.contains(*perm),
                _ => false,
            };
            if matches!(call, Call::Rename { .. }) && needs.iter().any(is_file) {
                outcomes.push(used(&replaced));
            }
            let (from, to) = (bytes(&from), bytes(&to));
            outcomes.push(Outcome::Moved { from, to });
        }
    }
    outcomes
}

/// What came of a call that found nothing where it looked, if that can be said.
pub(super) fn of_nothing(view: &View, call: &Call, errno: Errno) -> Option<Outcome> {
    let (target, perm) = match call {
        Call::Open { target, flags, .. } => (target, wanted(*flags)),
        Call::MakeDir { target, .. } => (target, to_make(FileType::Directory)),
        Call::MakeSymlink { target, .. } => (target, to_make(FileType::Symlink)),
        Call::Truncate { target, .. } => (target, Perm::WriteFile),
        Call::Execute { target, .. } => (target, Perm::Execute),
        _ => return None,
    };
    let path = bytes(&spelt(view, target)?);
    let asked = match perm {
        Perm::Execute => Asked::Exec { path, sha256: None },
        perm => Asked::Fs { path, perm },
    };
    Some(Outcome::Used {
        asked,
        named: Vec::new(),
        errno: Some(errno.raw_os_error()),
    })
}

fn wanted(flags: OFlags) -> Perm {
    let kind = match flags.contains(OFlags::DIRECTORY) {
        true => FileType::Directory,
        false => FileType::RegularFile,
    };
    let wanted = to_open(kind, flags);
    wanted.last().copied().unwrap_or(Perm::ReadFile)
}

/// The name by which the call speaks of something.
fn named(view: &View, caller: Caller, target: &Target) -> Option<PathBuf> {
    let spelt = spelt(view, target)?;
    let top = spelt.components().nth(1).map(Component::as_os_str);
    let is_linked = top.is_some_and(|top| LINKED_TOPS.iter().any(|linked| top == *linked));
    match is_linked {
        true => view.spot(caller, target).ok().map(|spot| spot.path),
        false => Some(spelt),
    }
}

/// The absolute path as the call has it. With `..` it could be another through links.
fn spelt(view: &View, target: &Target) -> Option<PathBuf> {
    let path = Path::new(std::ffi::OsStr::from_bytes(&target.path));
    let base = match &target.base {
        None => PathBuf::new(),
        Some(base) => {
            let base = rustix::io::fcntl_dupfd_cloexec(base, 3).ok()?;
            view.found(base).ok()?.paths.into_iter().next()?
        }
    };
    let path: PathBuf = base.join(path).components().collect();
    let is_plain = !path.components().any(|part| part == Component::ParentDir);
    (path.is_absolute() && is_plain).then_some(path)
}

fn bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}
