//! What is mounted in the worker's root, which nothing changes while it runs.

use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::sys::mountinfo;

/// See the module.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Mounts {
    /// The numbers of all.
    ids: HashSet<u64>,
    /// Where file systems of processes are.
    pub of_processes: Vec<PathBuf>,
    /// Where device nodes are devices.
    of_devices: Vec<PathBuf>,
    /// Where something is that is not read-only.
    writable: Vec<PathBuf>,
}

impl Mounts {
    /// Reads such a list ([`mountinfo`]).
    pub fn new(list: &[u8]) -> Mounts {
        let mut found = Mounts::default();
        for mount in mountinfo::mounts(list) {
            found.ids.insert(mount.id);
            let places = [
                (mount.kind == b"proc", &mut found.of_processes),
                (!mount.has("nodev"), &mut found.of_devices),
                (!mount.has("ro"), &mut found.writable),
            ];
            for (is_one, places) in places {
                if is_one && !is_below(&mount.point, places) {
                    places.push(mount.point.clone());
                }
            }
        }
        found
    }

    /// Whether it is one of them: what lies on any other mount has no name here, whatever the kernel
    /// calls it.
    pub fn has(&self, id: u64) -> bool {
        self.ids.contains(&id)
    }

    /// Whether a path leads to files that the kernel makes for each process.
    pub fn is_of_processes(&self, path: &Path) -> bool {
        is_below(path, &self.of_processes)
    }

    /// The path below the file system of processes that it leads to.
    pub fn below_processes<'p>(&self, path: &'p Path) -> Option<&'p Path> {
        let mut mounts = self.of_processes.iter();
        mounts.find_map(|mount| path.strip_prefix(mount).ok())
    }

    /// Whether nothing is opened at a path but files, directories, pipes and sockets, and those are the
    /// same to every process.
    pub fn is_plain(&self, path: &Path) -> bool {
        !self.is_of_processes(path) && !is_below(path, &self.of_devices)
    }

    /// Whether something can be changed at a path, as far as its mount goes.
    pub fn may_change(&self, path: &Path) -> bool {
        is_below(path, &self.writable)
    }
}

fn is_below(path: &Path, folders: &[PathBuf]) -> bool {
    folders.iter().any(|folder| lies_in(path, folder))
}

/// Whether a path is `folder` or below it, both as the kernel spells them.
fn lies_in(path: &Path, folder: &Path) -> bool {
    let folder = folder.as_os_str().as_bytes();
    let below = path.as_os_str().as_bytes().strip_prefix(folder);
    below.is_some_and(|rest| matches!(rest, [] | [b'/', ..]) || folder.ends_with(b"/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_lies_in_a_folder_by_whole_names() {
        let lies_in = |path: &str, folder: &str| lies_in(Path::new(path), Path::new(folder));
        assert!(lies_in("/proc", "/proc"));
        assert!(lies_in("/proc/1/fd", "/proc"));
        assert!(lies_in("/a", "/"));
        assert!(!lies_in("/process", "/proc"));
        assert!(!lies_in("/a/proc", "/proc"));
        assert!(!lies_in("/", "/proc"));
    }

    #[test]
    fn mounts_are_told_apart() {
        let list = b"22 1 0:20 / /proc rw,nodev - proc proc rw\n\
            23 1 0:21 / /a\\040b rw,nodev,noexec shared:1 - proc p rw\n\
            24 1 0:22 / /tmp rw,nodev - tmpfs proc rw\n\
            25 1 0:23 / /dev rw,nosuid - tmpfs nodev rw\n\
            26 25 0:24 / /dev/pts rw - devpts pts rw\n\
            27 1 0:25 / /d ro - ext4 nodev rw\n\
            28 1 0:25 / /e ro,nodev - ext4 e rw\n";
        let paths = |paths: &[&str]| paths.iter().map(PathBuf::from).collect();
        let expected = Mounts {
            ids: (22..=28).collect(),
            of_processes: paths(&["/proc", "/a b"]),
            of_devices: paths(&["/dev", "/d"]),
            writable: paths(&["/proc", "/a b", "/tmp", "/dev"]),
        };
        assert_eq!(Mounts::new(list), expected);
    }
}
