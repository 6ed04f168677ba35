//! Making directories of groups, so that a failure leaves none.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Directories that were made and are not yet wanted. Dropping it removes them again.
#[derive(Debug, Default)]
pub(super) struct Made {
    directories: Vec<PathBuf>,
}

impl Made {
    /// Makes `path`, and what is missing above it below `root`. Gives whether `path` is new.
    pub(super) fn make(&mut self, path: &Path, root: &Path) -> io::Result<bool> {
        match fs::create_dir(path) {
            Ok(()) => {
                self.directories.push(path.to_owned());
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let parent = path
                    .parent()
                    .filter(|_| path.starts_with(root) && path != root);
                let Some(parent) = parent else {
                    return Err(error);
                };
                self.make(parent, root)?;
                match fs::create_dir(path) {
                    Ok(()) => {
                        self.directories.push(path.to_owned());
                        Ok(true)
                    }
                    // Another container's creation was faster.
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
                    Err(error) => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// They are wanted: they stay.
    pub(super) fn keep(mut self) {
        self.directories.clear();
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for path in self.directories.iter().rev() {
            // The failure that led here is what the caller learns. What cannot be removed is used by
            // somebody else by now: a parent that another container shares.
            fs::remove_dir(path).err();
        }
    }
}
