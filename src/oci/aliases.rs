//! Other names by which the host gives what a policy names.

mod layers;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::Metadata;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use layers::Layer;

use super::error::OciError;
use super::program::Place;
use crate::policy::{Alias, Entry, EntryKind, OWN_PLACES, Policy};
use crate::sys::mountinfo::{self, Mount};
use crate::sys::names;

/// Entries of a directory that are looked at for one whose name has letters.
const NAMES: usize = 64;

/// The mounts of this process.
const MOUNTS: &str = "/proc/self/mountinfo";

/// What of the world is known already.
pub(super) struct Known<'k> {
    pub policy: &'k Policy,
    pub entries: &'k BTreeMap<PathBuf, Entry>,
    /// Where the bundle has its files.
    pub place: &'k Place,
}

/// The aliases of those of the policy's strict paths that have any.
///
/// # Errors
/// The mounts cannot be read.
pub(super) fn of(known: &Known<'_>) -> Result<BTreeMap<PathBuf, Vec<Alias>>, OciError> {
    let wanted = known.policy.strict_paths();
    if wanted.is_empty() {
        return Ok(BTreeMap::new());
    }
    let list = std::fs::read(MOUNTS).map_err(OciError::io("read", MOUNTS))?;
    let mounts: Vec<Mount<'_>> = mountinfo::mounts(&list).collect();
    let mut search = Search {
        known,
        layers: layers::of(&mounts),
        mounts: &mounts,
        folding: BTreeMap::new(),
    };
    let aliases = wanted.into_iter().map(|path| {
        let found = search.aliases(&path);
        (path, found)
    });
    Ok(aliases.filter(|(_, found)| !found.is_empty()).collect())
}

struct Search<'s> {
    known: &'s Known<'s>,
    mounts: &'s [Mount<'s>],
    layers: Vec<Layer<'s>>,
    /// What was found of directories so far.
    folding: BTreeMap<PathBuf, bool>,
}

impl Search<'_> {
    fn aliases(&mut self, path: &Path) -> Vec<Alias> {
        let entry = self.known.entries.get(path);
        let real = entry.map_or(path, |entry| &entry.real);
        let is_dir = entry.is_some_and(|entry| entry.kind == EntryKind::Dir);
        let is_linked = entry.is_some_and(|entry| entry.links > 1);
        let mut found = Vec::new();
        if self.is_of_host(path) {
            let places = layers::elsewhere(self.mounts, &self.layers, real).into_iter();
            found.extend(places.map(|(of, at)| Alias::Mount { of, at }));
            let mut around = real.ancestors().skip(1);
            if around.any(|directory| folds(directory, &mut self.folding)) {
                found.push(Alias::Case);
            }
            if is_dir || path == Path::new("/") {
                found.extend(self.folding_below(path, real));
            }
            if is_linked && !names::share_an_inode(real) && self.is_shown(real) {
                found.push(Alias::HardLinks);
            }
        } else if is_linked && !names::share_an_inode(&self.known.place.outside(real)) {
            found.push(Alias::HardLinks);
        }
        found
    }

    /// Whether the host has what is there. The bundle may have it from the same place.
    fn is_of_host(&self, path: &Path) -> bool {
        let entry = self.known.entries.get(path);
        let in_bundle = entry.is_some_and(|entry| entry.in_bundle);
        let is_host = self.known.place.root == Path::new("/");
        let is_own = OWN_PLACES.iter().any(|own| path.starts_with(own));
        !in_bundle || (is_host && !is_own)
    }

    /// Whether something of the file system of a path is shown: the other names could be there.
    fn is_shown(&self, path: &Path) -> bool {
        let Some(own) = own(self.mounts, path) else {
            return true;
        };
        let all = self.mounts.iter();
        let mut all = all.filter(|mount| mount.device == own.device);
        all.any(|mount| self.may_show(&mount.point))
    }

    fn may_show(&self, path: &Path) -> bool {
        self.known.policy.may_show(path, self.known.entries)
    }

    /// The directory itself and the mounts below it, where they are shown and case makes no difference.
    fn folding_below(&mut self, path: &Path, real: &Path) -> Vec<Alias> {
        let mut found = Vec::new();
        let points = self.mounts.iter().map(|mount| &*mount.point);
        let points: BTreeSet<&Path> = points.filter(|point| point.starts_with(real)).collect();
        let is_own = |place: &Path| OWN_PLACES.iter().any(|own| place.starts_with(own));
        for place in std::iter::once(real).chain(points) {
            let is_looked_at = place == real || (!is_own(place) && self.may_show(place));
            if is_looked_at && folds(place, &mut self.folding) {
                let at = join(path, place.strip_prefix(real).unwrap_or(place));
                found.push(Alias::CaseWithin { at });
            }
        }
        found.dedup();
        found
    }
}

/// The mount on which a path is.
fn own<'m>(mounts: &'m [Mount<'m>], path: &Path) -> Option<&'m Mount<'m>> {
    // Of several at one place the last lies on top.
    let around = mounts.iter().filter(|mount| path.starts_with(&mount.point));
    around.max_by_key(|mount| mount.point.components().count())
}

/// What is at `path`, or below it, and is shown by another mount too: what that is, and where.
fn elsewhere(mounts: &[Mount<'_>], path: &Path) -> Vec<(PathBuf, PathBuf)> {
    let own = own(mounts, path).and_then(|own| {
        let below = path.strip_prefix(&own.point).ok()?;
        Some((own, own.root.join(below), path))
    });
    let below = mounts.iter().filter(|mount| mount.point.starts_with(path));
    let below = below.map(|mount| (mount, mount.root.clone(), &*mount.point));
    let mut found = Vec::new();
    for (shown, root, place) in own.into_iter().chain(below) {
        for mount in mounts.iter().filter(|mount| mount.device == shown.device) {
            let same = overlap((&root, place), mount).filter(|(of, at)| of != at);
            if let Some(same) = same.filter(|(of, at)| !found.contains(&(of.clone(), at.clone())))
                && is_one(&same.0, &same.1)
            {
                found.push(same);
            }
        }
    }
    found
}

/// What of the part `root` of a file system, which is at `place`, another mount of it shows, and where.
fn overlap((root, place): (&Path, &Path), mount: &Mount<'_>) -> Option<(PathBuf, PathBuf)> {
    if let Ok(below) = root.strip_prefix(&mount.root) {
        return Some((place.to_owned(), join(&mount.point, below)));
    }
    let below = mount.root.strip_prefix(root).ok()?;
    Some((join(place, below), mount.point.clone()))
}

fn join(path: &Path, below: &Path) -> PathBuf {
    match below.as_os_str().is_empty() {
        true => path.to_owned(),
        false => path.join(below),
    }
}

/// Whether nothing is mounted over either name.
fn is_one(of: &Path, at: &Path) -> bool {
    match (of.symlink_metadata(), at.symlink_metadata()) {
        (Ok(one), Ok(other)) => id(&one) == id(&other),
        // What is missing can come into being at both.
        (Err(_), Err(_)) => true,
        _ => false,
    }
}

fn id(found: &Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

/// Whether names in a directory can be spelled in another case. `known` is what was found of others.
fn folds(directory: &Path, known: &mut BTreeMap<PathBuf, bool>) -> bool {
    if let Some(known) = known.get(directory) {
        return *known;
    }
    let found = names::fold_case(directory).unwrap_or_else(|| is_seen_to_fold(directory));
    known.insert(directory.to_owned(), found);
    found
}

/// Tries it with a name that is there.
fn is_seen_to_fold(directory: &Path) -> bool {
    let Ok(listed) = std::fs::read_dir(directory) else {
        return false;
    };
    let names: Vec<OsString> = listed
        .take(NAMES)
        .filter_map(|entry| Some(entry.ok()?.file_name()))
        .collect();
    let spelled = names.iter().find_map(|name| Some((name, otherwise(name)?)));
    let Some((name, other)) = spelled else {
        return false;
    };
    let found = |name: &OsString| directory.join(name).symlink_metadata();
    match (found(name), found(&other)) {
        (Ok(one), Ok(another)) => id(&one) == id(&another) && !names.contains(&other),
        _ => false,
    }
}

/// A name with its letters in the other case, if it has any.
fn otherwise(name: &OsString) -> Option<OsString> {
    let flip = |byte: &u8| match byte.is_ascii_lowercase() {
        true => byte.to_ascii_uppercase(),
        false => byte.to_ascii_lowercase(),
    };
    let other: Vec<u8> = name.as_bytes().iter().map(flip).collect();
    (other != name.as_bytes()).then(|| OsString::from_vec(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_mounts_show_has_two_names() {
        let list = b"20 1 8:1 / / rw - ext4 a rw\n\
            21 20 8:1 /usr /usr rw - ext4 a rw\n\
            22 20 8:1 /usr/share/nowhere /proc/x rw - ext4 a rw\n\
            23 20 0:7 / /dev rw - tmpfs t rw\n\
            24 20 0:9 / /nowhere/a rw - tmpfs u rw\n\
            25 20 0:9 /b /nowhere/c rw - tmpfs u rw\n";
        let mounts: Vec<Mount<'_>> = mountinfo::mounts(list).collect();
        let found = |path: &str| elsewhere(&mounts, Path::new(path));
        let pairs = |pairs: &[(&str, &str)]| -> Vec<(PathBuf, PathBuf)> {
            let pairs = pairs.iter();
            pairs.map(|(of, at)| (of.into(), at.into())).collect()
        };
        // A place that is mounted on itself has one name.
        assert_eq!(found("/usr/lib"), []);
        assert_eq!(found("/dev/null"), []);
        let below = [("/usr/share/nowhere/x", "/proc/x/x")];
        assert_eq!(found("/usr/share/nowhere/x"), pairs(&below));
        let of_directory = [("/usr/share/nowhere", "/proc/x")];
        assert_eq!(found("/usr/share/nowhere"), pairs(&of_directory));
        assert_eq!(found("/usr/share"), pairs(&of_directory));
        let mut of_all = found("/");
        of_all.sort();
        let both = [
            ("/nowhere/a/b", "/nowhere/c"),
            ("/nowhere/c", "/nowhere/a/b"),
            ("/proc/x", "/usr/share/nowhere"),
            ("/usr/share/nowhere", "/proc/x"),
        ];
        assert_eq!(of_all, pairs(&both));
    }

    #[test]
    fn letters_have_another_case() {
        let other = |name: &str| otherwise(&name.into()).map(|name| name.into_string().unwrap());
        assert_eq!(other("aB-1").as_deref(), Some("Ab-1"));
        assert_eq!(other("123.4"), None);
    }
}
