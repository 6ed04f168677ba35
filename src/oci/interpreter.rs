//! A Python interpreter, with its library and nothing around it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::error::OciError;
use super::program::{Found, PATH, Place, Way, is_script};
use super::root::LIBRARIES;

/// An interpreter as it is shown to a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Interpreter {
    /// The path by which it is run: a virtual environment's own, if there is one.
    pub path: PathBuf,
    /// The program itself, without symbolic links.
    pub real: PathBuf,
    /// What leads from the one to the other, and to its parts.
    pub way: Way,
    /// Files and directories that it needs beside the system's libraries, read-only and without
    /// symbolic links.
    pub parts: Vec<PathBuf>,
    /// Dynamic loaders.
    pub loaders: Vec<PathBuf>,
}

/// What stands in a prefix's `lib` for an interpreter besides its library: Tcl and Tk, which
/// builds that are made to be moved bring with them.
const BESIDE: [&str; 7] = [
    "libpython",
    "libtcl",
    "libtk",
    "tcl",
    "tk",
    "itcl",
    "thread",
];

/// Data of a prefix that modules of the standard library read: time zones, terminals, and the
/// certificates of conda's OpenSSL.
const DATA: [&str; 3] = ["share/zoneinfo", "share/terminfo", "ssl"];

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
            (Some(python), None) => {
                place
                    .find(python.as_os_str(), Path::new("/"), PATH.as_ref())?
                    .path
            }
            (None, None) => PathBuf::from("/usr/bin/python3"),
        };
        let venv = match venv {
            Some(venv) => Some(Environment::Named(environment(place, &absolute(venv)?)?)),
            // Given by its path, an environment's interpreter still means its packages.
            None => wanted
                .parent()
                .and_then(Path::parent)
                .filter(|dir| configuration(place, dir).is_some())
                .map(|dir| Environment::Around(dir.to_owned())),
        };
        let Some((real, way)) = place.walk(&wanted) else {
            let cause = "install python3, or name an interpreter with --python";
            return Err(OciError::NotFound {
                name: wanted.display().to_string(),
                cause: cause.to_owned(),
            });
        };
        if is_script(&place.outside(&real)) {
            let cause = "it is a script that chooses one, as a shim of pyenv is; name the \
                         interpreter itself with --python, as `python3 -c 'import sys; \
                         print(sys.executable)'` tells it";
            return Err(OciError::Interpreter {
                path: wanted,
                cause: cause.to_owned(),
            });
        }
        let found = place.examine(wanted, (real, way))?;
        let mut interpreter = Interpreter::of(found);
        let prefix = interpreter.real.parent().and_then(Path::parent);
        if let Some(prefix) = prefix.map(Path::to_owned) {
            interpreter.add_prefix(place, &prefix);
        }
        if let Some(venv) = venv {
            interpreter.add_environment(place, &venv);
        }
        Ok(interpreter)
    }

    fn of(found: Found) -> Interpreter {
        let Found {
            path,
            real,
            loaders,
            way,
        } = found;
        Interpreter {
            path,
            real,
            way,
            parts: Vec::new(),
            loaders,
        }
    }

    /// The environment itself, and the library of the interpreter that it was made from, which is
    /// looked for by the path that `home` says.
    fn add_environment(&mut self, place: &Place, venv: &Environment) {
        match venv {
            Environment::Named(dir) => self.add(place, dir, Path::new("/")),
            Environment::Around(dir) => {
                self.add(place, &dir.join("pyvenv.cfg"), dir);
                for lib in ["lib", "lib64"] {
                    if let Some(version) = version(&self.real) {
                        self.add(place, &dir.join(lib).join(version), dir);
                    }
                }
            }
        }
        let home = configuration(place, venv.dir()).and_then(|text| home(&text));
        if let Some(home) = home.filter(|home| home.is_absolute())
            && let Some((real, way)) = place.walk(&home)
        {
            self.way.extend(way);
            if let Some(prefix) = real.parent() {
                self.add_prefix(place, prefix);
            }
        }
    }

    /// PREFIX/bin/pythonX.Y has its library in PREFIX/lib. The prefix may be /usr/local or
    /// ~/.local, and an environment of others may lead to any program below any folder: so it must
    /// have the file by which Python itself knows its library, nothing but what belongs to that
    /// is shown, and no link out of the prefix is followed. The system's own is shown anyway.
    fn add_prefix(&mut self, place: &Place, prefix: &Path) {
        if [Path::new("/usr"), Path::new("/")].contains(&prefix) {
            return;
        }
        let version = version(&self.real);
        let mut found = false;
        for lib in ["lib", "lib64"].map(|name| prefix.join(name)) {
            let names = library(place, &lib, version.as_deref());
            found |= !names.is_empty();
            for name in names {
                self.add(place, &lib.join(name), prefix);
            }
        }
        if !found {
            return;
        }
        // Conda keeps the libraries of all packages of an environment beside each other.
        if place.outside(&prefix.join("conda-meta")).is_dir() {
            self.add(place, &prefix.join("lib"), prefix);
        }
        for name in DATA {
            self.add(place, &prefix.join(name), prefix);
        }
    }

    /// Adds what is at a path, and what leads there, if it is within `bound`.
    fn add(&mut self, place: &Place, path: &Path, bound: &Path) {
        let Some((real, way)) = place.walk(path) else {
            return;
        };
        let bound = place.real(bound);
        if !bound.is_some_and(|bound| real.starts_with(bound)) {
            return;
        }
        self.way.extend(way);
        let system = LIBRARIES.iter().any(|library| real.starts_with(library));
        if !system && !self.parts.iter().any(|part| real.starts_with(part)) {
            self.parts.retain(|part| !part.starts_with(&real));
            self.parts.push(real);
        }
    }
}

/// What of a `lib` belongs to an interpreter; nothing, if its library is not there.
fn library(place: &Place, lib: &Path, version: Option<&str>) -> Vec<String> {
    let Some(real) = place.real(lib) else {
        return Vec::new();
    };
    // A directory that cannot be read gives nothing; the interpreter then says what it lacks.
    let Ok(entries) = std::fs::read_dir(place.outside(&real)) else {
        return Vec::new();
    };
    let names = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok());
    let named = |name: &str| match version {
        Some(version) => name == version,
        None => name.starts_with("python3."),
    };
    let landmark = |name: &str| {
        let path = place.real(&real.join(name).join("os.py"));
        path.is_some_and(|path| place.outside(&path).is_file())
    };
    let (library, beside): (Vec<String>, Vec<String>) =
        names.partition(|name| named(name) && landmark(name));
    if library.is_empty() {
        return library;
    }
    let belongs = |name: &String| BESIDE.iter().any(|start| name.starts_with(start));
    library
        .into_iter()
        .chain(beside.into_iter().filter(belongs))
        .collect()
}

/// A virtual environment.
enum Environment {
    /// Given by `--venv`: shown whole.
    Named(PathBuf),
    /// Around an interpreter that was given by its path: its packages are shown.
    Around(PathBuf),
}

impl Environment {
    fn dir(&self) -> &Path {
        match self {
            Environment::Named(dir) | Environment::Around(dir) => dir,
        }
    }
}

fn absolute(path: &Path) -> Result<PathBuf, OciError> {
    std::path::absolute(path).map_err(OciError::io("resolve", path))
}

/// Looks whether a directory is a virtual environment.
fn environment(place: &Place, venv: &Path) -> Result<PathBuf, OciError> {
    if configuration(place, venv).is_some() {
        return Ok(venv.to_owned());
    }
    let conda = place.real(&venv.join("conda-meta")).is_some();
    let cause = if conda {
        format!(
            "it is an environment of conda; name its interpreter with --python {}",
            venv.join("bin/python").display()
        )
    } else {
        "it has no pyvenv.cfg; make it with python3 -m venv".to_owned()
    };
    Err(OciError::Interpreter {
        path: venv.to_owned(),
        cause,
    })
}

/// The text of an environment's pyvenv.cfg.
fn configuration(place: &Place, venv: &Path) -> Option<String> {
    let file = place.outside(&place.real(&venv.join("pyvenv.cfg"))?);
    // A pipe of that name would make us wait.
    file.is_file().then(|| std::fs::read_to_string(file).ok())?
}

/// The directory of the interpreter that an environment was made from.
fn home(text: &str) -> Option<PathBuf> {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .find(|(key, _)| key.trim() == "home")
        .map(|(_, value)| PathBuf::from(value.trim()))
}

/// `pythonX.Y`, if the program's own name says so.
fn version(real: &Path) -> Option<String> {
    let name = real.file_name().and_then(OsStr::to_str)?;
    let minor = name.strip_prefix("python3.")?.trim_end_matches('t');
    let digits = !minor.is_empty() && minor.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_home_of_an_environment_is_read() {
        let text = "home = /opt/py/bin\ninclude-system-site-packages = false\n";
        assert_eq!(home(text), Some(PathBuf::from("/opt/py/bin")));
        assert_eq!(home("version = 3.11\n"), None);
    }

    #[test]
    fn a_version_is_told_from_other_names() {
        for (name, version_of) in [
            ("python3.11", Some("python3.11")),
            ("python3.13t", Some("python3.13t")),
            ("python3", None),
            ("python3.11-config", None),
            ("pypy3.10", None),
        ] {
            assert_eq!(
                version(&Path::new("/p/bin").join(name)).as_deref(),
                version_of
            );
        }
    }
}
