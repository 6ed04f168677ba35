//! What is kept of a group between two calls of the runtime.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::GroupError;
use super::layout::Layout;
use super::systemd::ScopeRecord;

/// Which directories a container's group is, for its state file.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct GroupRecord {
    /// v1: the directory in each hierarchy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub v1: Vec<HierarchyRecord>,
    /// The directory in cgroup2's hierarchy. Beside v1's it holds no limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unified: Option<PathBuf>,
    /// The scope, where systemd has made the group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<ScopeRecord>,
}

/// A group's directory in one v1 hierarchy.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct HierarchyRecord {
    /// The hierarchy's controllers as the kernel writes them: `cpu,cpuacct`, `name=systemd`.
    pub controllers: String,
    /// The directory.
    pub path: PathBuf,
}

impl GroupRecord {
    /// The groups that the calling process is in, as far as its mounts show them: those of a
    /// container that has none of its own.
    ///
    /// # Errors
    /// The kernel's tables could not be read.
    pub fn of_caller() -> Result<GroupRecord, GroupError> {
        let layout = Layout::of_this_process()?;
        let v1 = layout.v1.into_iter().filter_map(|hierarchy| {
            Some(HierarchyRecord {
                controllers: hierarchy.controllers,
                path: hierarchy.own?,
            })
        });
        Ok(GroupRecord {
            v1: v1.collect(),
            unified: layout.unified.and_then(|hierarchy| hierarchy.own),
            scope: None,
        })
    }

    /// Whether there is no group at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.v1.is_empty() && self.unified.is_none() && self.scope.is_none()
    }

    /// The directory in v1's hierarchy of `controller`.
    #[must_use]
    pub fn v1(&self, controller: &str) -> Option<&Path> {
        let has =
            |one: &&HierarchyRecord| one.controllers.split(',').any(|name| name == controller);
        self.v1.iter().find(has).map(|one| &*one.path)
    }

    /// The directory in cgroup2's hierarchy, when that one holds the limits.
    #[must_use]
    pub fn v2(&self) -> Option<&Path> {
        self.unified.as_deref().filter(|_| self.v1.is_empty())
    }

    /// The directory that stands for the group where one is enough.
    ///
    /// On v1 it is the device controller's: nobody moves a container's processes out of that.
    #[must_use]
    pub fn principal(&self) -> Option<&Path> {
        self.v2()
            .or_else(|| self.v1("devices"))
            .or_else(|| self.v1.first().map(|one| &*one.path))
    }

    /// Every directory.
    pub fn directories(&self) -> impl Iterator<Item = &Path> {
        let v1 = self.v1.iter().map(|one| &*one.path);
        v1.chain(self.unified.as_deref())
    }

    /// Directories by controller, the empty name for cgroup2, as callers of other runtimes know them.
    #[must_use]
    pub fn by_controller(&self) -> BTreeMap<String, PathBuf> {
        let v1 = self.v1.iter().flat_map(|one| {
            let names = one.controllers.split(',');
            names.map(|name| (name.to_owned(), one.path.clone()))
        });
        let unified = self
            .unified
            .iter()
            .map(|path| (String::new(), path.clone()));
        v1.chain(unified).collect()
    }
}
