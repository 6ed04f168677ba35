//! What a mount of type `cgroup` is to show inside the container.

use std::path::{Path, PathBuf};

use super::record::GroupRecord;

/// The container's part of the host's hierarchies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum View {
    /// There is no group.
    Nothing,
    /// One file system of type cgroup2.
    V2 {
        /// The directory of the host that a bind mount shows, where the container has no cgroup
        /// namespace whose root it is.
        host: PathBuf,
    },
    /// A tmpfs with a directory for each hierarchy.
    V1(Vec<Shown>),
}

/// One of v1's hierarchies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The directory's name: `cpu,cpuacct`, `systemd`.
    pub name: String,
    /// The mount options of a file system of type cgroup, for a container with a cgroup namespace:
    /// `cpu,cpuacct`, `name=systemd`.
    pub options: String,
    /// Symbolic links to the directory: `cpu`, `cpuacct`.
    pub links: Vec<String>,
    /// The directory of the host that a bind mount shows, for a container without one.
    pub host: PathBuf,
}

pub(super) fn of(group: &GroupRecord) -> View {
    if let Some(dir) = group.v2() {
        return View::V2 {
            host: dir.to_owned(),
        };
    }
    if group.v1.is_empty() {
        return View::Nothing;
    }
    let shown = group.v1.iter().map(|one| {
        let names: Vec<&str> = one.controllers.split(',').collect();
        Shown {
            name: name(&one.controllers).to_owned(),
            options: one.controllers.clone(),
            links: match &names[..] {
                [_] => Vec::new(),
                several => several.iter().map(|&name| name.to_owned()).collect(),
            },
            host: one.path.clone(),
        }
    });
    View::V1(shown.collect())
}

fn name(controllers: &str) -> &str {
    controllers.strip_prefix("name=").unwrap_or(controllers)
}

impl View {
    /// Every directory of the host that is shown.
    pub fn hosts(&self) -> impl Iterator<Item = &Path> {
        let (one, several): (_, &[Shown]) = match self {
            View::Nothing => (None, &[]),
            View::V2 { host } => (Some(&**host), &[]),
            View::V1(shown) => (None, shown),
        };
        one.into_iter().chain(several.iter().map(|one| &*one.host))
    }
}
