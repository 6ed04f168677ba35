//! The pieces of a root: assembled from the host's system directories, or a given directory's.

use std::path::{Path, PathBuf};

use super::error::OciError;
use super::interpreter::Interpreter;
use super::program::{Found, Place, Way};
use crate::launch::{Piece, RESOLVER, SYSTEM_FOLDERS};

/// Size of the private /tmp and of /dev/shm, in bytes.
pub(super) const TMP_BYTES: u64 = 64 << 20;
const SHM_BYTES: u64 = 16 << 20;

/// System directories that hold libraries: read-only, and code is mapped from them.
pub(super) const LIBRARIES: [&str; 4] = ["/usr/lib", "/usr/lib64", "/usr/lib32", "/usr/local/lib"];

/// Data that interpreters read, where it is there. Debian keeps there what `python3 -m venv` installs.
const DATA: [&str; 3] = [
    "/usr/share/zoneinfo",
    "/usr/share/python3",
    "/usr/share/python-wheels",
];

/// Files and directories of /etc that say nothing of the host's users, shown where they are there.
const ETC: [&str; 6] = [
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/alternatives",
    "/etc/ssl/openssl.cnf",
    "/etc/protocols",
];

/// Names at the top of a root that the launch makes itself.
const OWN: [&str; 4] = ["dev", "proc", "tmp", "run"];

/// Whether every run may see a host path: programs, libraries and data of the system.
pub(super) fn is_of_the_system(path: &Path) -> bool {
    let mut shown = SYSTEM_FOLDERS.iter().chain(&ETC);
    shown.any(|folder| path.starts_with(folder)) || is_of_a_python(path)
}

/// Debian's interpreters have a folder each for what an administrator adds: /etc/python3.11.
fn is_of_a_python(path: &Path) -> bool {
    let name = path
        .strip_prefix("/etc")
        .ok()
        .and_then(|below| below.iter().next());
    name.is_some_and(|name| name.as_encoded_bytes().starts_with(b"python3"))
}

/// Read-only bind at `path` of what `named` is in `place`. The source has no symbolic link in it, and
/// the launch follows none: what becomes one meanwhile is refused.
pub(super) fn shown(place: &Place, named: &Path, path: &Path, executable: bool) -> Option<Piece> {
    let source = place.outside(&place.real(named)?);
    let found = source.metadata().ok()?;
    Some(Piece::Bind {
        source,
        path: path.to_owned(),
        dir: found.is_dir(),
        writable: false,
        executable,
        optional: true,
    })
}

/// The system part of a root that is assembled from the host.
pub(super) fn of_host(uid: u32, gid: u32, hostname: &str) -> Vec<Piece> {
    let host = Place::host();
    let mut pieces = Vec::new();
    for name in ["bin", "sbin", "lib", "lib32", "lib64"] {
        let path = Path::new("/").join(name);
        if let Ok(target) = std::fs::read_link(&path) {
            pieces.push(Piece::Link { path, target });
        } else if name.starts_with("lib") {
            pieces.extend(shown(&host, &path, &path, true));
        }
    }
    let libraries = LIBRARIES
        .iter()
        .filter_map(|path| shown(&host, Path::new(path), Path::new(path), true));
    pieces.extend(libraries);
    let data = DATA.iter().chain(&ETC).map(Path::new);
    pieces.extend(data.filter_map(|path| shown(&host, path, path, false)));
    pieces.extend(etc(uid, gid, hostname));
    pieces
}

/// The system part of a root that is somebody's directory.
pub(super) fn of_directory(place: &Place) -> Result<Vec<Piece>, OciError> {
    let root = &place.root;
    let entries = std::fs::read_dir(root).map_err(OciError::io("read the root", root))?;
    let mut pieces = Vec::new();
    for entry in entries {
        let entry = entry.map_err(OciError::io("read the root", root))?;
        let name = entry.file_name();
        if OWN.iter().any(|own| name.as_os_str() == *own) {
            continue;
        }
        let path = Path::new("/").join(&name);
        match std::fs::read_link(entry.path()) {
            Ok(target) => pieces.push(Piece::Link { path, target }),
            Err(_) => pieces.extend(shown(place, &path, &path, true)),
        }
    }
    Ok(pieces)
}

/// An interpreter with its library.
pub(super) fn interpreter_pieces(found: &Interpreter, place: &Place, pieces: &mut Vec<Piece>) {
    for path in std::iter::once(&found.real).chain(&found.parts) {
        if !covered(pieces, path) {
            pieces.extend(shown(place, path, path, true));
        }
    }
    lead(&found.way, pieces);
    if let Some(name) = found.real.file_name() {
        let etc = Path::new("/etc").join(name);
        pieces.extend(shown(place, &etc, &etc, false));
    }
}

/// A program, and what the kernel needs to start it.
pub(super) fn command_pieces(found: &Found, place: &Place, pieces: &mut Vec<Piece>) {
    for path in std::iter::once(&found.real).chain(&found.loaders) {
        if !covered(pieces, path) {
            pieces.extend(shown(place, path, path, true));
        }
    }
    lead(&found.way, pieces);
}

/// Makes what the kernel goes over on its way to what is shown, where that is not shown already.
fn lead(way: &Way, pieces: &mut Vec<Piece>) {
    for dir in &way.dirs {
        if !covered(pieces, dir) {
            pieces.push(Piece::Dir { path: dir.clone() });
        }
    }
    for (path, target) in &way.links {
        let made =
            |piece: &Piece| matches!(piece, Piece::Link { path: there, .. } if there == path);
        if !covered(pieces, path) && !pieces.iter().any(made) {
            pieces.push(Piece::Link {
                path: path.clone(),
                target: target.clone(),
            });
        }
    }
}

/// Whether a host directory that is shown has the path in it.
fn covered(pieces: &[Piece], path: &Path) -> bool {
    pieces
        .iter()
        .any(|piece| matches!(piece, Piece::Bind { path: shown, .. } if path.starts_with(shown)))
}

/// Where the system keeps programs, for policies under which every visible one may run.
const PROGRAMS: [&str; 4] = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"];

/// Shows the programs of the host, also where they are not below /usr.
pub(super) fn every_program(place: &Place, pieces: &mut Vec<Piece>) {
    let own = ["/bin", "/sbin"].map(Path::new).into_iter();
    let own = own.filter(|dir| place.real(dir).is_some_and(|real| real == *dir));
    for dir in PROGRAMS.map(Path::new).into_iter().chain(own) {
        let Some(real) = place.real(dir) else {
            continue;
        };
        pieces.retain(|piece| match piece {
            Piece::Bind { path, .. } | Piece::Link { path, .. } => !path.starts_with(&real),
            _ => true,
        });
        if !covered(pieces, &real) {
            pieces.extend(shown(place, &real, &real, true));
        }
    }
}

/// What every root has beside its system part.
///
/// `tmp_bytes` and `shm_bytes` are what a bundle asks for; only less is given.
pub(super) fn own_places(tmp_bytes: Option<u64>, shm_bytes: Option<u64>) -> Vec<Piece> {
    vec![
        Piece::Tmpfs {
            path: PathBuf::from("/tmp"),
            bytes: tmp_bytes.unwrap_or(TMP_BYTES).min(TMP_BYTES),
            executable: false,
        },
        Piece::Dev {
            path: PathBuf::from("/dev"),
            shm_bytes: shm_bytes.unwrap_or(SHM_BYTES).min(SHM_BYTES),
        },
        Piece::Proc {
            path: PathBuf::from("/proc"),
        },
    ]
}

/// An /etc that knows the worker and nobody else.
fn etc(uid: u32, gid: u32, hostname: &str) -> Vec<Piece> {
    let files = [
        (
            "passwd",
            format!(
                "root:x:0:0:root:/:/usr/sbin/nologin\nworker:x:{uid}:{gid}::/tmp:/bin/sh\n\
                 nobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n"
            ),
        ),
        (
            "group",
            format!("root:x:0:\nworker:x:{gid}:\nnogroup:x:65534:\n"),
        ),
        (
            "hosts",
            format!("127.0.0.1 localhost {hostname}\n::1 localhost\n"),
        ),
        ("hostname", format!("{hostname}\n")),
        (
            "nsswitch.conf",
            "passwd: files\ngroup: files\nhosts: files dns\n".to_owned(),
        ),
        ("resolv.conf", format!("nameserver {RESOLVER}\n")),
    ];
    files
        .into_iter()
        .map(|(name, text)| Piece::File {
            path: Path::new("/etc").join(name),
            bytes: text.into_bytes().into(),
        })
        .collect()
}
