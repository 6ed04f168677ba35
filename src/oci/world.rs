//! The snapshot that a policy is compiled against.

use std::fs::{DirEntry, File};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::error::OciError;
use super::program::Place;
use super::root::LIBRARIES;
use crate::launch::Piece;
use crate::policy::{Entry, EntryKind};

/// The most programs in library directories that can be hidden one by one, each by a mount.
const MOST_HELPERS: usize = 4096;

/// How deep library directories may be nested. Package managers of languages nest them some twenty deep.
const DEEPEST_LIBRARY: usize = 64;

/// What `path` is on the host, and whether `pieces` show it; and the names by which that is found.
pub(super) fn entry(place: &Place, pieces: &[Piece], path: &Path) -> (Entry, Vec<PathBuf>) {
    let host = Place::host();
    let inside = in_bundle(place, pieces, path);
    // What the bundle shows is looked up where the bundle has it from; anything else is the host's.
    let led = if inside { place } else { &host }.follow(path);
    let entry = match led.is_there {
        true => found(place, pieces, led.real, inside),
        false => missing(led.real, inside),
    };
    (entry, led.through)
}

fn missing(real: PathBuf, in_bundle: bool) -> Entry {
    Entry {
        kind: EntryKind::Missing,
        links: 0,
        in_bundle,
        real,
    }
}

fn found(place: &Place, pieces: &[Piece], real: PathBuf, inside: bool) -> Entry {
    let outside = if inside {
        place.outside(&real)
    } else {
        real.clone()
    };
    let Ok(found) = outside.symlink_metadata() else {
        return missing(real, inside);
    };
    let kind = match (found.is_file(), found.is_dir()) {
        (true, _) => EntryKind::File,
        (_, true) => EntryKind::Dir,
        _ => EntryKind::Other,
    };
    let links = if found.is_dir() { 1 } else { found.nlink() };
    let in_bundle = inside || in_bundle_at(pieces, &real);
    Entry {
        kind,
        links,
        in_bundle,
        real,
    }
}

fn in_bundle(place: &Place, pieces: &[Piece], path: &Path) -> bool {
    let real = place.real_as_far(path);
    in_bundle_at(pieces, path) || in_bundle_at(pieces, &real)
}

fn in_bundle_at(pieces: &[Piece], path: &Path) -> bool {
    pieces.iter().any(|piece| match piece {
        Piece::Bind { path: shown, .. }
        | Piece::Proc { path: shown }
        | Piece::Dev { path: shown, .. } => path.starts_with(shown),
        // A private place is the bundle's own; a host path below it is not shown by itself.
        Piece::Tmpfs { path: shown, .. } => {
            path == shown || (path.starts_with(shown) && !path.exists())
        }
        Piece::File { path: shown, .. }
        | Piece::Link { path: shown, .. }
        | Piece::Mqueue { path: shown } => path == shown,
        Piece::Dir { .. } => false,
    })
}

/// The worker's own writable places.
pub(super) fn private(pieces: &[Piece]) -> Vec<PathBuf> {
    let mut places: Vec<PathBuf> = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Tmpfs { path, .. } => places.push(path.clone()),
            Piece::Dev { path, .. } => places.push(path.join("shm")),
            _ => {}
        }
    }
    places
}

/// Programs inside the library directories that are shown, for policies that let some programs
/// run: the dynamic loader could be asked to load the others, so each of these is hidden.
///
/// # Errors
/// A directory or file that cannot be looked at, and more than can be hidden: what is not found
/// here would stay within the loader's reach.
pub(super) fn helpers(place: &Place) -> Result<Vec<PathBuf>, OciError> {
    let mut found = Vec::new();
    for library in LIBRARIES {
        collect(place, Path::new(library), DEEPEST_LIBRARY, &mut found)?;
    }
    Ok(found)
}

fn collect(
    place: &Place,
    dir: &Path,
    depth: usize,
    found: &mut Vec<PathBuf>,
) -> Result<(), OciError> {
    let outside = place.outside(dir);
    let entries = match std::fs::read_dir(&outside) {
        Ok(entries) => entries,
        // A directory that is closed to us is closed to the program, which has no more rights.
        Err(error) if is_out_of_reach(&error) => return Ok(()),
        Err(error) => return Err(OciError::io("look for programs in", outside)(error)),
    };
    for entry in entries {
        let unseen = |path: &Path| OciError::io("look for programs in", path.to_owned());
        let entry = entry.map_err(unseen(&outside))?;
        let path = dir.join(entry.file_name());
        let kind = entry.file_type().map_err(unseen(&outside))?;
        if kind.is_dir() {
            let Some(depth) = depth.checked_sub(1) else {
                return Err(unhidden(&path, "it is nested too deep"));
            };
            collect(place, &path, depth, found)?;
        } else if kind.is_file() && is_program(&entry).map_err(unseen(&entry.path()))? {
            if found.len() == MOST_HELPERS {
                let cause = "the library directories hold too many programs to hide each of them";
                return Err(unhidden(&path, cause));
            }
            found.push(path);
        }
    }
    Ok(())
}

fn unhidden(path: &Path, cause: &'static str) -> OciError {
    OciError::Unhidden {
        path: path.to_owned(),
        cause,
    }
}

fn is_out_of_reach(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
    )
}

/// An executable ELF file that is no library by its name: a script in a library directory is run
/// by no loader.
fn is_program(entry: &DirEntry) -> io::Result<bool> {
    if entry.file_name().to_string_lossy().contains(".so") {
        return Ok(false);
    }
    let looked = || {
        if entry.metadata()?.permissions().mode() & 0o111 == 0 {
            return Ok(false);
        }
        let mut magic = Vec::new();
        File::open(entry.path())?.take(4).read_to_end(&mut magic)?;
        Ok(magic == *b"\x7fELF")
    };
    match looked() {
        // Removed meanwhile; or executable and not to be read, which nothing can load.
        Err(error) if is_out_of_reach(&error) => Ok(false),
        answer => answer,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::OpenOptionsExt;

    use super::*;

    /// A root with the named files, all of them executable ELF by their first bytes.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str, files: impl Iterator<Item = String>) -> Scratch {
            let root = std::env::temp_dir().join(format!("buntime-{name}-{}", std::process::id()));
            for file in files {
                let path = root.join(file);
                std::fs::create_dir_all(path.parent().expect("a directory")).unwrap();
                let mut options = File::options();
                let file = options.write(true).create_new(true).mode(0o755);
                let mut file = file.open(path).unwrap();
                io::Write::write_all(&mut file, b"\x7fELF").unwrap();
            }
            Scratch(root)
        }

        fn helpers(&self) -> Result<Vec<PathBuf>, OciError> {
            helpers(&Place::at(self.0.clone()))
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).expect("the scratch directory can be removed");
        }
    }

    #[test]
    fn programs_are_found_however_deep_they_lie() {
        let deep = format!("usr/lib/{}tool", "d/".repeat(DEEPEST_LIBRARY));
        let names = ["usr/lib/libx.so.1", "usr/lib/a/tool", &deep].map(str::to_owned);
        let scratch = Scratch::new("deep", names.into_iter());
        let mut found = scratch.helpers().unwrap();
        found.sort();
        let expected = ["usr/lib/a/tool", &deep].map(|name| Path::new("/").join(name));
        assert_eq!(found, expected);
    }

    #[test]
    fn what_cannot_all_be_hidden_is_refused_by_name() {
        let deeper = format!("usr/lib/{}tool", "d/".repeat(DEEPEST_LIBRARY + 1));
        let scratch = Scratch::new("deeper", std::iter::once(deeper));
        let refused = scratch.helpers().unwrap_err().to_string();
        assert!(refused.contains("nested too deep"), "{refused}");

        let many = (0..=MOST_HELPERS).map(|number| format!("usr/lib/t/{number}"));
        let scratch = Scratch::new("many", many);
        let refused = scratch.helpers().unwrap_err().to_string();
        assert!(refused.contains("too many programs"), "{refused}");
        assert!(refused.contains("/usr/lib/t/"), "{refused}");
    }
}
