//! Other names by which the host gives what a policy names.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::Metadata;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::error::OciError;
use crate::policy::{Alias, Entry, EntryKind};
use crate::sys::mountinfo::{self, Mount};
use crate::sys::names;

/// Entries of a directory that are looked at for one whose name has letters.
const NAMES: usize = 64;

/// The mounts of this process.
const MOUNTS: &str = "/proc/self/mountinfo";

/// The aliases of those of the `wanted` paths that are the host's and have any.
///
/// # Errors
/// The mounts cannot be read.
pub(super) fn of(
    entries: &BTreeMap<PathBuf, Entry>,
    wanted: &BTreeSet<PathBuf>,
) -> Result<BTreeMap<PathBuf, Vec<Alias>>, OciError> {
    let list = std::fs::read(MOUNTS).map_err(OciError::io("read", MOUNTS))?;
    let mounts: Vec<Mount<'_>> = mountinfo::mounts(&list).collect();
    let mut folding = BTreeMap::new();
    let of_host = entries
        .iter()
        .filter(|(path, entry)| wanted.contains(*path) && !entry.in_bundle);
    let aliases = of_host.map(|(path, entry)| {
        let by_mounts = elsewhere(&mounts, &entry.real)
            .into_iter()
            .map(Alias::Mount);
        let mut found: Vec<Alias> = by_mounts.collect();
        let mut around = entry.real.ancestors().skip(1);
        if around.any(|directory| folds(directory, &mut folding)) {
            found.push(Alias::Case);
        }
        if entry.kind == EntryKind::Dir && folds(&entry.real, &mut folding) {
            found.push(Alias::CaseWithin);
        }
        let is_linked = entry.kind == EntryKind::File && entry.links > 1;
        if is_linked && names::are_on_overlay(&entry.real) {
            found.push(Alias::Copy);
        }
        (path.clone(), found)
    });
    Ok(aliases.filter(|(_, found)| !found.is_empty()).collect())
}

/// Where other mounts show what is at `path`, or some of it.
fn elsewhere(mounts: &[Mount<'_>], path: &Path) -> Vec<PathBuf> {
    // Of several at one place the last lies on top.
    let own = mounts.iter().filter(|mount| path.starts_with(&mount.point));
    let Some(own) = own.max_by_key(|mount| mount.point.components().count()) else {
        return Vec::new();
    };
    let Ok(below) = path.strip_prefix(&own.point) else {
        return Vec::new();
    };
    let inside = own.root.join(below);
    let mut found = Vec::new();
    for mount in mounts.iter().filter(|mount| mount.device == own.device) {
        let other = match inside.strip_prefix(&mount.root) {
            Ok(below) if below.as_os_str().is_empty() => mount.point.clone(),
            Ok(below) => mount.point.join(below),
            // It shows something that lies below.
            Err(_) if mount.root.starts_with(&inside) => mount.point.clone(),
            Err(_) => continue,
        };
        let is_below = other.starts_with(path);
        if !is_below && !found.contains(&other) && is_there(&other, path, mount, &inside) {
            found.push(other);
        }
    }
    found
}

/// Whether nothing is mounted over the other name.
fn is_there(other: &Path, path: &Path, mount: &Mount<'_>, inside: &Path) -> bool {
    let shown = match mount.root.strip_prefix(inside) {
        Ok(below) if !below.as_os_str().is_empty() => path.join(below),
        _ => path.to_owned(),
    };
    match (other.symlink_metadata(), shown.symlink_metadata()) {
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
            23 20 0:7 / /dev rw - tmpfs t rw\n";
        let mounts: Vec<Mount<'_>> = mountinfo::mounts(list).collect();
        let found = |path: &str| elsewhere(&mounts, Path::new(path));
        // A place that is mounted on itself has one name.
        assert_eq!(found("/usr/lib"), Vec::<PathBuf>::new());
        assert_eq!(found("/dev/null"), Vec::<PathBuf>::new());
        let nowhere = |path: &str| vec![PathBuf::from(path)];
        assert_eq!(found("/usr/share/nowhere/x"), nowhere("/proc/x/x"));
        assert_eq!(found("/usr/share/nowhere"), nowhere("/proc/x"));
    }

    #[test]
    fn letters_have_another_case() {
        let other = |name: &str| otherwise(&name.into()).map(|name| name.into_string().unwrap());
        assert_eq!(other("aB-1").as_deref(), Some("Ab-1"));
        assert_eq!(other("123.4"), None);
    }
}
