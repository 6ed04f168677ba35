//! Programs on the host or in a root: where a name leads, and what else the kernel opens to run it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::error::OciError;

/// Where commands are looked for, as POSIX's default PATH does it.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How deep scripts may stand in for each other, as the kernel allows it.
const SCRIPT_DEPTH: usize = 4;

/// The longest first line of a script that the kernel reads (BINPRM_BUF_SIZE), in bytes.
const SCRIPT_LINE: usize = 256;

/// A program, and what the kernel needs beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// The path by which it is run.
    pub path: PathBuf,
    /// The file that this leads to.
    pub real: PathBuf,
    /// Interpreters of scripts, and dynamic loaders, by their real paths.
    pub loaders: Vec<PathBuf>,
}

/// A place in which paths are resolved: the host's root, or a directory that becomes the root.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub root: PathBuf,
}

impl Place {
    pub(super) fn host() -> Place {
        Place {
            root: PathBuf::from("/"),
        }
    }

    pub(super) fn outside(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The path without symbolic links, all of them resolved inside the place.
    pub(super) fn real(&self, path: &Path) -> Option<PathBuf> {
        let mut todo: Vec<PathBuf> = vec![path.to_owned()];
        let mut real = PathBuf::from("/");
        let mut links = 0;
        while let Some(next) = todo.pop() {
            let mut components = next.components();
            let Some(first) = components.next() else {
                continue;
            };
            let rest = components.as_path().to_owned();
            if !rest.as_os_str().is_empty() {
                todo.push(rest);
            }
            match first {
                std::path::Component::RootDir => real = PathBuf::from("/"),
                std::path::Component::ParentDir => drop(real.pop()),
                std::path::Component::Normal(name) => {
                    let candidate = real.join(name);
                    let outside = self.outside(&candidate);
                    let found = outside.symlink_metadata().ok()?;
                    if found.is_symlink() {
                        links += 1;
                        if links > 40 {
                            return None;
                        }
                        todo.push(std::fs::read_link(&outside).ok()?);
                    } else {
                        real = candidate;
                    }
                }
                std::path::Component::CurDir | std::path::Component::Prefix(_) => {}
            }
        }
        Some(real)
    }

    /// Finds a command as a shell would: a name with a slash is a path, any other is looked for.
    pub(super) fn find(&self, name: &OsStr, cwd: &Path) -> Result<Found, OciError> {
        let lost = |places: &str| OciError::NotFound {
            name: name.to_string_lossy().into_owned(),
            places: places.to_owned(),
        };
        if name.as_bytes().contains(&b'/') {
            let path = cwd.join(name);
            return match self.real(&path) {
                Some(real) => self.examine(path, real),
                None => Err(lost("the place it names")),
            };
        }
        let mut unusable = None;
        for dir in PATH.split(':') {
            let path = Path::new(dir).join(name);
            if let Some(real) = self.real(&path) {
                match self.examine(path, real) {
                    Ok(found) => return Ok(found),
                    Err(error) => unusable = Some(error),
                }
            }
        }
        Err(unusable.unwrap_or_else(|| lost(PATH)))
    }

    /// What a path that exists is as a program.
    pub(super) fn examine(&self, path: PathBuf, real: PathBuf) -> Result<Found, OciError> {
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
                    loaders.extend(self.real(&interpreter));
                    break;
                }
                Loader::Script(interpreter) => match self.real(&interpreter) {
                    Some(next) => {
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

/// Whether a file is a script, which cannot stand in for an interpreter.
pub(super) fn is_script(path: &Path) -> bool {
    matches!(loader(path), Loader::Script(_))
}
