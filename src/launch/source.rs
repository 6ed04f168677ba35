//! Where mounts come from: host paths, cloned with the attributes they will have inside.
//!
//! A privileged caller clones before the child exists, so that the mounts are owned from outside
//! and directories that only root may pass through can be shown. Any other caller's child clones
//! for itself, with the caller's rights.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};

use super::identity::Identity;
use super::notice::Failure;
use super::request::Piece;
use crate::policy::{Bind, OWN_PLACES};
use crate::sys::mount::{self, attr};

/// A mount to make: a tree (already cloned, or still to be), and where it goes.
#[derive(Debug)]
pub struct Source {
    /// The path inside.
    pub path: PathBuf,
    /// Whether it is a directory.
    pub dir: bool,
    /// The attributes that must hold once it is in place (`MOUNT_ATTR_*`).
    pub attributes: u64,
    /// The host path.
    pub host: PathBuf,
    /// Whether it may be gone: no rule names it, and it was only found in a directory.
    pub optional: bool,
    /// Whether it is not shown: a link, which leads to what is shown or not, or a directory that
    /// the worker has its own of.
    pub left_out: bool,
    /// The clone, when the caller made it.
    pub tree: Option<OwnedFd>,
    /// Why owners appear as on the host, when a translation was wanted and cannot be had.
    pub unmapped: Option<String>,
}

impl Source {
    /// A bind of the bundle; `None` when it is optional and not there.
    ///
    /// # Errors
    /// A source that must exist and does not.
    pub fn of_piece(piece: &Piece) -> Result<Option<Source>, Failure> {
        let Piece::Bind {
            source,
            path,
            dir,
            writable,
            executable,
            optional,
        } = piece
        else {
            return Ok(None);
        };
        if *optional && !source.exists() {
            return Ok(None);
        }
        let attributes = attributes(*writable, *executable);
        Ok(Some(Source {
            path: path.clone(),
            dir: *dir,
            attributes,
            host: source.clone(),
            optional: false,
            left_out: false,
            tree: None,
            unmapped: None,
        }))
    }

    /// A bind of the policy. A directory that holds places of the worker's own is shown by its
    /// entries, since a mount on the whole of it would cover those.
    ///
    /// # Errors
    /// Such a directory that cannot be listed.
    pub fn of_bind(bind: &Bind) -> Result<Vec<Source>, Failure> {
        let own = |path: &Path| OWN_PLACES.map(Path::new).contains(&path);
        let holds_own = OWN_PLACES
            .iter()
            .any(|place| Path::new(place).starts_with(&bind.path));
        if !holds_own || own(&bind.path) {
            return Ok(vec![Source::of_one(bind)]);
        }
        let fail = |cause| Failure::new("list", bind.path.display().to_string(), cause);
        let mut sources = Vec::new();
        for entry in std::fs::read_dir(&bind.path).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let kind = entry.file_type().map_err(fail)?;
            let bind = Bind {
                path: entry.path(),
                dir: kind.is_dir(),
                ..bind.clone()
            };
            let left_out = kind.is_symlink() || own(&bind.path);
            let mut parts = if left_out {
                vec![Source::of_one(&bind)]
            } else {
                Source::of_bind(&bind)?
            };
            for part in &mut parts {
                part.optional = true;
                part.left_out |= left_out;
            }
            sources.extend(parts);
        }
        Ok(sources)
    }

    fn of_one(bind: &Bind) -> Source {
        Source {
            path: bind.path.clone(),
            dir: bind.dir,
            attributes: attributes(bind.writable, bind.executable),
            host: bind.path.clone(),
            optional: false,
            left_out: false,
            tree: None,
            unmapped: None,
        }
    }

    /// Whether nothing can be written through it.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.attributes & attr::RDONLY != 0
    }

    /// Clones the tree now, translating its owner to the worker where that is possible.
    ///
    /// # Errors
    /// What the kernel says of the clone.
    pub fn open(&mut self, maps: Option<&mut OwnerMaps<'_>>) -> Result<(), Failure> {
        if self.tree.is_some() || self.left_out {
            return Ok(());
        }
        let fail = |cause: io::Error| Failure::new("bind", self.host.display().to_string(), cause);
        let found = match open_plain(&self.host) {
            Err(cause) if self.optional && cause.kind() == io::ErrorKind::NotFound => return Ok(()),
            found => found.map_err(fail)?,
        };
        if self.is_read_only() && is_socket(&found).map_err(fail)? {
            if self.optional {
                return Ok(());
            }
            return Err(fail(io::Error::other(
                "it is a socket, and a read-only mount does not keep the program from connecting to \
                 it; allow it to be written, or do not show it",
            )));
        }
        let tree = mount::clone_tree(Some(found.as_fd()), Path::new("")).map_err(fail)?;
        mount::set_attributes(tree.as_fd(), self.attributes, None).map_err(fail)?;
        if let Some(maps) = maps {
            self.unmapped = maps
                .apply(&tree, found.as_fd())
                .err()
                .map(|error| error.to_string());
        }
        self.tree = Some(tree);
        Ok(())
    }
}

/// Opens a path as it was resolved before: a symbolic link in it has been put there since, by
/// somebody who would have another place shown than the one that was looked at.
fn open_plain(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat2(
        rustix::fs::CWD,
        path,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::NO_SYMLINKS,
    )?)
}

fn is_socket(found: &OwnedFd) -> io::Result<bool> {
    let kind = FileType::from_raw_mode(rustix::fs::fstat(found)?.st_mode);
    Ok(kind == FileType::Socket)
}

fn attributes(writable: bool, executable: bool) -> u64 {
    let read_only = if writable { 0 } else { attr::RDONLY };
    let no_exec = if executable { 0 } else { attr::NOEXEC };
    attr::NOSUID | attr::NODEV | read_only | no_exec
}

/// User namespaces for idmapped mounts, one for each owner.
pub struct OwnerMaps<'a> {
    identity: &'a Identity,
    known: HashMap<(u32, u32), OwnedFd>,
}

impl<'a> OwnerMaps<'a> {
    /// None made yet.
    #[must_use]
    pub fn new(identity: &'a Identity) -> OwnerMaps<'a> {
        OwnerMaps {
            identity,
            known: HashMap::new(),
        }
    }

    fn apply(&mut self, tree: &OwnedFd, host: BorrowedFd<'_>) -> io::Result<()> {
        let found = rustix::fs::fstat(host)?;
        let owner = (found.st_uid, found.st_gid);
        if !self.known.contains_key(&owner) {
            let Some(namespace) = self.identity.mount_map(owner)? else {
                return Ok(());
            };
            self.known.insert(owner, namespace);
        }
        let namespace = self.known.get(&owner).map(AsFd::as_fd);
        mount::set_attributes(tree.as_fd(), attr::IDMAP, namespace)
    }
}
