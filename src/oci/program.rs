//! Programs on the host or in a root: where a name leads, and what else the kernel opens to run it.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::error::OciError;
use crate::sys::links::{self, Led};

/// Where commands are looked for, as POSIX's default PATH does it.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How deep scripts may stand in for each other, as the kernel allows it.
const SCRIPT_DEPTH: usize = 4;

/// The longest first line of a script that the kernel reads (BINPRM_BUF_SIZE), in bytes.
const SCRIPT_LINE: usize = 256;

/// The type of a shared object (elf(5)).
const ET_DYN: u16 = 3;

/// A program, and what the kernel needs beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// The path by which it is run.
    pub path: PathBuf,
    /// The file that this leads to.
    pub real: PathBuf,
    /// Interpreters of scripts, and dynamic loaders, by their real paths.
    pub loaders: Vec<PathBuf>,
    /// What leads to them.
    pub way: Way,
}

/// What resolving a path goes over besides the directories of its result.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Way {
    /// Symbolic links in any component: where each stands, and what it says.
    pub links: Vec<(PathBuf, PathBuf)>,
    /// Directories that `..` leaves again: the kernel looks whether they are there.
    pub dirs: Vec<PathBuf>,
}

impl Way {
    pub(super) fn extend(&mut self, other: Way) {
        for link in other.links {
            if !self.links.contains(&link) {
                self.links.push(link);
            }
        }
        self.dirs.extend(other.dirs);
    }
}

/// A place in which paths are resolved: the host's root, or a directory that becomes the root.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub root: PathBuf,
    /// What is mounted over it: the path inside and the host path, both without symbolic links.
    pub mounts: Vec<(PathBuf, PathBuf)>,
}

impl Place {
    pub(super) fn host() -> Place {
        Place::at(PathBuf::from("/"))
    }

    pub(super) fn at(root: PathBuf) -> Place {
        Place {
            root,
            mounts: Vec::new(),
        }
    }

    /// Where on the host a path is that has no symbolic links inside.
    pub(super) fn outside(&self, path: &Path) -> PathBuf {
        for (inside, host) in self.mounts.iter().rev() {
            match path.strip_prefix(inside) {
                Ok(rest) if rest.as_os_str().is_empty() => return host.clone(),
                Ok(rest) => return host.join(rest),
                Err(_) => {}
            }
        }
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The path without symbolic links, all of them resolved inside the place.
    pub(super) fn real(&self, path: &Path) -> Option<PathBuf> {
        self.walk(path).map(|(real, _)| real)
    }

    /// Resolves a path as the kernel does, and notes what it goes over.
    pub(super) fn walk(&self, path: &Path) -> Option<(PathBuf, Way)> {
        let led = self.follow(path);
        let mut way = Way::default();
        way.extend(Way {
            links: led.links,
            dirs: led.dirs,
        });
        led.is_there.then_some((led.real, way))
    }

    /// Where a path leads inside the place, whether something is there or not. What cannot be looked at
    /// is not there.
    pub(super) fn follow(&self, path: &Path) -> Led {
        let look = |at: &Path| Ok(links::look(&self.outside(at)).unwrap_or(links::Found::Missing));
        let Ok::<_, Infallible>(led) = links::follow(path, look);
        led
    }

    /// The path without symbolic links, also where nothing is.
    pub(super) fn real_as_far(&self, path: &Path) -> PathBuf {
        self.follow(path).real
    }

    /// Finds a command as a shell would: a name with a slash is a path, any other is looked for.
    /// `search` is a list of directories as PATH has it.
    pub(super) fn find(&self, name: &OsStr, cwd: &Path, search: &OsStr) -> Result<Found, OciError> {
        let lost = |cause: String| OciError::NotFound {
            name: name.to_string_lossy().into_owned(),
            cause,
        };
        if name.is_empty() {
            return Err(lost("the name of the program is empty".to_owned()));
        }
        if name.as_bytes().contains(&b'/') {
            let path = cwd.join(name);
            return match self.walk(&path) {
                Some(walked) => self.examine(path, walked),
                None => Err(lost("there is no such file".to_owned())),
            };
        }
        let mut unusable = None;
        for dir in std::env::split_paths(search) {
            let path = cwd.join(dir).join(name);
            if let Some(walked) = self.walk(&path) {
                match self.examine(path, walked) {
                    Ok(found) => return Ok(found),
                    Err(error) => unusable = Some(error),
                }
            }
        }
        Err(unusable.unwrap_or_else(|| {
            let places = search.to_string_lossy();
            lost(format!("it is not in {places}; give its path"))
        }))
    }

    /// What a path that exists is as a program.
    pub(super) fn examine(
        &self,
        path: PathBuf,
        (real, mut way): (PathBuf, Way),
    ) -> Result<Found, OciError> {
        let unfit = |cause: &str| OciError::NotExecutable {
            path: path.clone(),
            cause: cause.to_owned(),
        };
        let outside = self.outside(&real);
        let found = outside
            .metadata()
            .map_err(|error| unfit(&error.to_string()))?;
        if !found.is_file() {
            return Err(unfit("it is not a regular file"));
        }
        if found.permissions().mode() & 0o111 == 0 {
            return Err(unfit("it is not executable; chmod +x it"));
        }
        let mut loaders = Vec::new();
        let mut current = real.clone();
        for _ in 0..=SCRIPT_DEPTH {
            match loader(&self.outside(&current)) {
                Loader::None => break,
                Loader::Elf(interpreter) => {
                    if let Some((real, led)) = self.walk(&interpreter) {
                        loaders.push(real);
                        way.extend(led);
                    }
                    break;
                }
                Loader::Script(interpreter) => match self.walk(&interpreter) {
                    Some((next, led)) => {
                        way.extend(led);
                        loaders.push(next.clone());
                        current = next;
                    }
                    None => {
                        let cause =
                            format!("its interpreter {} does not exist", interpreter.display());
                        return Err(unfit(&cause));
                    }
                },
            }
        }
        Ok(Found {
            path,
            real,
            loaders,
            way,
        })
    }
}

enum Loader {
    None,
    Elf(PathBuf),
    Script(PathBuf),
}

/// What the first bytes of a file ask the kernel to run instead. A file that cannot be read, or
/// is malformed, asks for nothing; running it is then the kernel's refusal.
fn loader(path: &Path) -> Loader {
    let mut head = Vec::new();
    // Somebody's root may have a pipe or a device there, which is not to be waited for or touched.
    if !path.metadata().is_ok_and(|found| found.is_file()) {
        return Loader::None;
    }
    let Ok(file) = File::open(path) else {
        return Loader::None;
    };
    if (&file)
        .take(SCRIPT_LINE as u64)
        .read_to_end(&mut head)
        .is_err()
    {
        return Loader::None;
    }
    if let Some(line) = head.strip_prefix(b"#!") {
        let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let word = line
            .split(|b| matches!(b, b' ' | b'\t'))
            .find(|word| !word.is_empty());
        return word.map_or(Loader::None, |word| {
            Loader::Script(PathBuf::from(OsStr::from_bytes(word)))
        });
    }
    elf_interpreter(&file, &head).map_or(Loader::None, Loader::Elf)
}

/// PT_INTERP of a 64-bit little-endian ELF file (elf(5)).
fn elf_interpreter(file: &File, head: &[u8]) -> Option<PathBuf> {
    if !head.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let u16_at =
        |bytes: &[u8], at: usize| Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let u64_at =
        |bytes: &[u8], at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let (table, size, count) = (u64_at(head, 32)?, u16_at(head, 54)?, u16_at(head, 56)?);
    for index in 0..u64::from(count.min(128)) {
        let mut entry = [0; 56];
        file.read_exact_at(&mut entry, table.checked_add(index * u64::from(size))?)
            .ok()?;
        if entry.starts_with(&3_u32.to_le_bytes()) {
            let length = usize::try_from(u64_at(&entry, 32)?)
                .ok()
                .filter(|length| *length <= 4096)?;
            let mut text = vec![0; length];
            file.read_exact_at(&mut text, u64_at(&entry, 8)?).ok()?;
            let text = text.split(|byte| *byte == 0).next()?;
            return Some(PathBuf::from(OsStr::from_bytes(text)));
        }
    }
    None
}

/// Whether a file is what a dynamic loader is: a shared object that names no other one.
pub(super) fn is_loader(path: &Path) -> bool {
    let mut head = [0; 64];
    if !is_executable(path) {
        return false;
    }
    let Ok(file) = File::open(path) else {
        return false;
    };
    let is_shared = file.read_exact_at(&mut head, 0).is_ok()
        && head.starts_with(b"\x7fELF\x02\x01")
        && head[16..18] == ET_DYN.to_le_bytes();
    is_shared && elf_interpreter(&file, &head).is_none()
}

/// Whether it is a file that may be executed.
fn is_executable(path: &Path) -> bool {
    let found = path.metadata();
    found.is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// Whether a file is a script, which cannot stand in for an interpreter.
pub(super) fn is_script(path: &Path) -> bool {
    matches!(loader(path), Loader::Script(_))
}
