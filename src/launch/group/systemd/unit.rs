//! Which unit a container's group is: `linux.cgroupsPath` as `SLICE:PREFIX:NAME`.

use std::path::Path;

use crate::launch::group::GroupError;

/// A scope, and the slice that it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unit {
    pub(super) name: String,
    pub(super) slice: String,
}

impl Unit {
    /// The scope that `path` names; without one, one named like the container.
    pub(super) fn of(path: Option<&Path>, id: &str, user: bool) -> Result<Unit, GroupError> {
        let usual = if user { "user.slice" } else { "system.slice" };
        let Some(path) = path.filter(|path| !path.as_os_str().is_empty()) else {
            return Ok(Unit {
                name: format!("buntime-{id}.scope"),
                slice: usual.to_owned(),
            });
        };
        let wrong = |why| GroupError::Path {
            path: path.to_owned(),
            why,
        };
        let text = path.to_str().ok_or_else(|| wrong("it is not UTF-8"))?;
        let mut parts = text.split(':');
        let (Some(slice), Some(prefix), Some(name), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(wrong(
                "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups",
            ));
        };
        let slice = if slice.is_empty() { usual } else { slice };
        if !is_slice(slice) {
            return Err(wrong("its slice is no name such as a-b.slice"));
        }
        if name.ends_with(".slice") {
            return Err(wrong("its name is a slice's, which holds no processes"));
        }
        if name.is_empty() || [prefix, name].iter().any(|part| part.contains('/')) {
            return Err(wrong("its name is no unit's"));
        }
        let name = match prefix {
            "" => format!("{name}.scope"),
            prefix => format!("{prefix}-{name}.scope"),
        };
        Ok(Unit {
            name,
            slice: slice.to_owned(),
        })
    }
}

/// Each part between dashes names a slice inside the one of the parts before it.
fn is_slice(name: &str) -> bool {
    let Some(stem) = name.strip_suffix(".slice") else {
        return false;
    };
    stem == "-" || !stem.contains('/') && stem.split('-').all(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(path: &str) -> Result<Unit, GroupError> {
        Unit::of(Some(Path::new(path)), "id", false)
    }

    #[test]
    fn the_path_names_a_scope_in_a_slice() {
        let named = |path: &str| {
            let unit = unit(path).unwrap();
            (unit.name, unit.slice)
        };
        let expected = |name: &str, slice: &str| (name.to_owned(), slice.to_owned());
        assert_eq!(
            named("system.slice:docker:12"),
            expected("docker-12.scope", "system.slice")
        );
        assert_eq!(named(":a:b"), expected("a-b.scope", "system.slice"));
        assert_eq!(named("a-b.slice::c"), expected("c.scope", "a-b.slice"));
        assert_eq!(named("-.slice:a:b"), expected("a-b.scope", "-.slice"));
        let own = Unit::of(None, "id", true).unwrap();
        assert_eq!(
            (&*own.name, &*own.slice),
            ("buntime-id.scope", "user.slice")
        );
    }

    #[test]
    fn other_paths_are_refused() {
        for wrong in [
            "/a/b",
            "a:b",
            "a:b:c:d",
            "a:b:c",
            ".slice:b:c",
            "a--b.slice:b:c",
            "-a.slice:b:c",
            "a/b.slice:b:c",
            "a.slice:b:",
            "a.slice:b/..:c",
            "a.slice:b:c.slice",
        ] {
            assert!(
                matches!(unit(wrong), Err(GroupError::Path { .. })),
                "{wrong}"
            );
        }
    }
}
