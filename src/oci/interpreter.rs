//! A Python interpreter, with its library and nothing around it.

use std::path::{Path, PathBuf};

use super::error::OciError;
use super::program::{Found, Place, is_script};

/// An interpreter as it is shown to a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interpreter {
    /// The path by which it is run: a virtual environment's own, if there is one.
    pub path: PathBuf,
    /// The program itself, without symbolic links.
    pub real: PathBuf,
    /// Symbolic links on the way from the one to the other: path and target.
    pub links: Vec<(PathBuf, PathBuf)>,
    /// Directories that it needs beside the system's libraries, read-only.
    pub directories: Vec<PathBuf>,
    /// Dynamic loaders.
    pub loaders: Vec<PathBuf>,
}

impl Interpreter {
    /// Finds the interpreter to use in `place`: the given one, a virtual environment's, or
    /// Debian's.
    ///
    /// # Errors
    /// There is none, or it is a script that stands in for one.
    pub(super) fn find(
        place: &Place,
        python: Option<&Path>,
        venv: Option<&Path>,
    ) -> Result<Interpreter, OciError> {
        let wanted = match (python, venv) {
            (_, Some(venv)) => absolute(&venv.join("bin/python"))?,
            (Some(python), None) if python.components().count() > 1 => absolute(python)?,
            (Some(python), None) => place.find(python.as_os_str(), Path::new("/"))?.path,
            (None, None) => PathBuf::from("/usr/bin/python3"),
        };
        let Some(real) = place.real(&wanted) else {
            let places =
                "/usr/bin; install python3 or name an interpreter with --python".to_owned();
            return Err(OciError::NotFound {
                name: wanted.display().to_string(),
                places,
            });
        };
        if is_script(&place.outside(&real)) {
            let cause =
                "it is a script that chooses one; name the interpreter itself with --python";
            return Err(OciError::Interpreter {
                path: wanted,
                cause: cause.to_owned(),
            });
        }
        let Found {
            path,
            real,
            loaders,
        } = place.examine(wanted, real)?;
        let mut directories = Vec::new();
        if let Some(venv) = venv {
            let venv = absolute(venv)?;
            if !venv.join("pyvenv.cfg").is_file() {
                let cause = "it has no pyvenv.cfg; make it with python3 -m venv".to_owned();
                return Err(OciError::Interpreter { path: venv, cause });
            }
            directories.push(venv);
        }
        directories.extend(libraries(place, &real));
        let links = links(place, &path);
        Ok(Interpreter {
            path,
            real,
            links,
            directories,
            loaders,
        })
    }
}

/// What stands beside `PREFIX/bin/pythonX.Y` and belongs to it. The prefix may be a home, and a
/// virtual environment of others may lead to any program with any folder above it: so it must have
/// the file by which Python itself knows its library, and nothing else below it is shown.
fn libraries(place: &Place, real: &Path) -> Vec<PathBuf> {
    const LANDMARK: &str = "os.py";
    let Some(prefix) = real.parent().and_then(Path::parent) else {
        return Vec::new();
    };
    // The system's own is shown anyway.
    if prefix == Path::new("/usr") || prefix == Path::new("/") {
        return Vec::new();
    }
    let is_library = |entry: std::fs::DirEntry| {
        entry.file_name().to_string_lossy().starts_with("python")
            && entry.path().join(LANDMARK).is_file()
    };
    let entries = std::fs::read_dir(place.outside(&prefix.join("lib")));
    if !entries.is_ok_and(|entries| entries.flatten().any(is_library)) {
        return Vec::new();
    }
    ["lib", "lib64", "ssl", "share/zoneinfo"]
        .map(|name| prefix.join(name))
        .into_iter()
        .filter_map(|path| place.real(&path))
        .filter(|path| path.starts_with(prefix) && place.outside(path).is_dir())
        .collect()
}

fn absolute(path: &Path) -> Result<PathBuf, OciError> {
    std::path::absolute(path).map_err(OciError::io("resolve", path))
}

/// The chain of links that start at `path`, as far as its last components are links.
fn links(place: &Place, path: &Path) -> Vec<(PathBuf, PathBuf)> {
    let mut links = Vec::new();
    let mut current = path.to_owned();
    while let Ok(target) = std::fs::read_link(place.outside(&current)) {
        links.push((current.clone(), target.clone()));
        if links.len() > 16 {
            break;
        }
        current = match current.parent() {
            Some(parent) => parent.join(target),
            None => break,
        };
    }
    links
}
