//! Where a container's group is to be: `linux.cgroupsPath`, made safe.

use std::path::{Component, Path, PathBuf};

use super::GroupError;

/// A path in every hierarchy alike, without `..` and never empty.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Below the root that the mount shows.
    BelowRoot(PathBuf),
    /// Below the caller's own group; on cgroup2 beside it, since a group with processes hands no
    /// controllers down.
    BelowOwn(PathBuf),
}

impl Place {
    /// The place that `path` names; without one, a group named like the container.
    pub(super) fn of(path: Option<&Path>, id: &str) -> Result<Place, GroupError> {
        let given = match path {
            Some(path) if !path.as_os_str().is_empty() => path,
            _ => Path::new(id),
        };
        let mut clean = PathBuf::new();
        for component in given.components() {
            match component {
                Component::Normal(name) => clean.push(name),
                Component::ParentDir => {
                    clean.pop();
                }
                Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            }
        }
        if clean.as_os_str().is_empty() {
            return Err(GroupError::Path {
                path: given.to_owned(),
                why: "it names the root; give the path of a group for this container alone",
            });
        }
        Ok(match given.has_root() {
            true => Place::BelowRoot(clean),
            false => Place::BelowOwn(clean),
        })
    }

    /// The place called `name` in this one; a container's id is one name.
    pub(super) fn child(self, name: &str) -> Place {
        match self {
            Place::BelowRoot(path) => Place::BelowRoot(path.join(name)),
            Place::BelowOwn(path) => Place::BelowOwn(path.join(name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(path: &str) -> Place {
        Place::of(Some(Path::new(path)), "id").unwrap()
    }

    #[test]
    fn a_path_never_leads_out() {
        assert_eq!(place("/a/b"), Place::BelowRoot("a/b".into()));
        assert_eq!(place("/../../a/./b/../c"), Place::BelowRoot("a/c".into()));
        assert_eq!(place("../../a"), Place::BelowOwn("a".into()));
        assert_eq!(place("a/../../b"), Place::BelowOwn("b".into()));
    }

    #[test]
    fn without_a_path_the_group_has_the_name_of_the_container() {
        assert_eq!(Place::of(None, "id").unwrap(), Place::BelowOwn("id".into()));
        assert_eq!(place(""), Place::BelowOwn("id".into()));
    }

    #[test]
    fn the_root_is_nobodys_group() {
        for path in ["/", ".", "..", "/..", "a/..", "/a/b/../.."] {
            let answer = Place::of(Some(Path::new(path)), "id");
            assert!(matches!(answer, Err(GroupError::Path { .. })), "{path}");
        }
        assert!(Place::of(None, "..").is_err());
    }
}
