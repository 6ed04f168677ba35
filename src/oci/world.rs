//! The snapshot that a policy is compiled against.

use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::program::Place;
use super::root::LIBRARIES;
use crate::launch::Piece;
use crate::policy::{Entry, EntryKind};

/// Programs in library directories, for policies that let programs run: there the dynamic loader
/// could be asked to load them. At most this many are looked at.
const MOST_HELPERS: usize = 4096;

/// How deep below a library directory programs are looked for.
const HELPER_DEPTH: usize = 6;

/// What `path` is on the host, and whether `pieces` show it.
pub(super) fn entry(place: &Place, pieces: &[Piece], path: &Path) -> Entry {
    let host = Place::host();
    let inside = in_bundle(place, pieces, path);
    // What the bundle shows is looked up where the bundle has it from; anything else is the host's.
    let real = if inside {
        place.real(path)
    } else {
        host.real(path)
    };
    let Some(real) = real else {
        let real = if inside { place } else { &host }.real_as_far(path);
        return Entry {
            kind: EntryKind::Missing,
            links: 0,
            in_bundle: inside,
            real,
        };
    };
    let outside = if inside {
        place.outside(&real)
    } else {
        real.clone()
    };
    let Ok(found) = outside.symlink_metadata() else {
        return Entry {
            kind: EntryKind::Missing,
            links: 0,
            in_bundle: inside,
            real,
        };
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

/// Programs inside the library directories that are shown.
pub(super) fn helpers(place: &Place) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for library in LIBRARIES {
        collect(place, Path::new(library), HELPER_DEPTH, &mut found);
    }
    found
}

fn collect(place: &Place, dir: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(place.outside(dir)) else {
        return;
    };
    for entry in entries.flatten() {
        if found.len() >= MOST_HELPERS {
            return;
        }
        let path = dir.join(entry.file_name());
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        if kind.is_dir() {
            if depth > 0 {
                collect(place, &path, depth - 1, found);
            }
            continue;
        }
        let name = entry.file_name();
        let library = name.to_string_lossy().contains(".so");
        if kind.is_file() && !library && is_program(&entry.path()) {
            found.push(path);
        }
    }
}

/// An executable ELF file: a script in a library directory is run by no loader.
fn is_program(path: &Path) -> bool {
    use std::io::Read;
    let executable = path
        .metadata()
        .is_ok_and(|found| found.permissions().mode() & 0o111 != 0);
    let mut magic = [0; 4];
    executable
        && std::fs::File::open(path)
            .and_then(|mut file| file.read_exact(&mut magic))
            .is_ok()
        && magic == *b"\x7fELF"
}
