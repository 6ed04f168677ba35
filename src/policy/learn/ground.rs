//! Which directories may be named as a whole.

use std::path::Path;

use super::place::{Name, Place};

/// How far a rule may speak of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Of it and of what is below.
    Open,
    /// Of single names in it: a home, its hidden directories, the system's.
    Kept,
    /// The same, and not of its list either.
    Closed,
}

/// The top directories of a system, and of homes and mounts. Others are somebody's own.
const TOPS: [&str; 22] = [
    "bin", "boot", "dev", "etc", "home", "lib", "lib32", "lib64", "libx32", "media", "mnt", "opt",
    "proc", "root", "run", "sbin", "snap", "srv", "sys", "tmp", "usr", "var",
];

/// Below these, nothing is named as a whole.
const WHOLLY_KEPT: [&str; 6] = ["boot", "dev", "etc", "proc", "run", "sys"];

/// Below these, nothing that is next to the top.
const KEPT_BELOW: [&str; 6] = ["home", "lib", "lib64", "snap", "usr", "var"];

/// The caller's home, beside those that every system has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ground {
    home: Option<Place>,
}

impl Ground {
    pub fn new(home: Option<&Path>) -> Ground {
        let home = home.and_then(Place::of).filter(|home| !home.0.is_empty());
        Ground { home }
    }

    /// How far a rule may speak of the directory. What is above a directory that is not open is not
    /// open either.
    pub fn standing(&self, place: &Place) -> Standing {
        let names: Vec<&str> = place
            .0
            .iter()
            .map(|name| match name {
                Name::Exact(name) => name.as_str(),
                Name::Coming(_) => "",
            })
            .collect();
        let above_home = self
            .home
            .as_ref()
            .is_some_and(|home| *home != *place && place.covers(home));
        let is_home = self.is_home(place);
        let hidden_in_home =
            names.last().is_some_and(|last| last.starts_with('.')) && self.is_home(&place.parent());
        match *names.as_slice() {
            _ if is_home => Standing::Kept,
            [] => Standing::Closed,
            [top] if TOPS.contains(&top) => Standing::Closed,
            _ if above_home => Standing::Closed,
            [top, ..] if WHOLLY_KEPT.contains(&top) => Standing::Kept,
            [top, _] if KEPT_BELOW.contains(&top) => Standing::Kept,
            _ if hidden_in_home => Standing::Kept,
            _ => Standing::Open,
        }
    }

    /// Whether it is somebody's home.
    fn is_home(&self, place: &Place) -> bool {
        let exact = |name: &Name, text: &str| matches!(name, Name::Exact(name) if name == text);
        match place.0.as_slice() {
            [root] => exact(root, "root") || self.home.as_ref() == Some(place),
            [home, _] if exact(home, "home") => true,
            _ => self.home.as_ref() == Some(place),
        }
    }

    /// Whether it is known to be a directory of which no file may be read or written as a whole.
    pub fn is_known_directory(&self, place: &Place) -> bool {
        let below = |tops: &[&str]| {
            let [Name::Exact(top), _] = place.0.as_slice() else {
                return false;
            };
            tops.contains(&top.as_str())
        };
        self.standing(place) == Standing::Closed || self.is_home(place) || below(&["usr", "var"])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn homes_and_the_system_are_not_named_as_a_whole() {
        let ground = Ground::new(Some(Path::new("/data/people/ann")));
        for (path, standing) in [
            ("/", Standing::Closed),
            ("/etc", Standing::Closed),
            ("/home", Standing::Closed),
            ("/usr", Standing::Closed),
            ("/data", Standing::Closed),
            ("/data/people", Standing::Closed),
            ("/data/people/ann", Standing::Kept),
            ("/data/people/ann/.ssh", Standing::Kept),
            ("/data/people/ann/work", Standing::Open),
            ("/home/bob", Standing::Kept),
            ("/home/bob/.ssh", Standing::Kept),
            ("/home/bob/.cache/pip", Standing::Open),
            ("/home/bob/work", Standing::Open),
            ("/root", Standing::Kept),
            ("/root/.aws", Standing::Kept),
            ("/root/work", Standing::Open),
            ("/etc/ssl/private", Standing::Kept),
            ("/usr/share", Standing::Kept),
            ("/usr/share/dict", Standing::Open),
            ("/srv/data", Standing::Open),
            ("/tmp/x", Standing::Open),
            ("/work", Standing::Open),
        ] {
            let place = Place::of(Path::new(path)).unwrap();
            assert_eq!(ground.standing(&place), standing, "{path}");
        }
    }
}
