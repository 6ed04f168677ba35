//! The file that is learned into.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};

use crate::policy::{Learned, LearnedError, MAX_POLICY_BYTES, Vars};

/// Why nothing is learned.
#[derive(Debug, thiserror::Error)]
pub enum LearnError {
    /// The file cannot be used.
    #[error("learn into {path}: {cause}; name a file in a folder that you may write")]
    Unusable {
        /// As it was named.
        path: String,
        /// Why.
        cause: io::Error,
    },
    /// The file is something else.
    #[error("learn into {path}: {cause}")]
    Foreign {
        /// As it was named.
        path: String,
        /// What it is.
        cause: LearnedError,
    },
    /// What was learned cannot be written.
    #[error("write what was learned to {path}: {cause}; what was there before is as it was")]
    Unwritten {
        /// As it was named.
        path: String,
        /// Why.
        cause: io::Error,
    },
    /// There is another policy already.
    #[error(
        "learn into {path} while another policy holds: what is learned from is a run under the \
         --allow flags alone; leave --policy out, or take \"policy\" out of your configuration"
    )]
    UnderPolicy {
        /// As it was named.
        path: String,
    },
    /// Nobody is there who would see each call.
    #[error(
        "learn into {path} without namespaces: no call would be seen ({why}); permit user \
         namespaces here, or run as root"
    )]
    Without {
        /// As it was named.
        path: String,
        /// Why there are none.
        why: String,
    },
}

/// A file for a learned policy, which is there already or can be made.
#[derive(Debug)]
pub struct LearnedFile {
    /// As it was named, to be printed.
    pub name: String,
    /// Without symbolic links.
    real: PathBuf,
    vars: Vars,
}

impl LearnedFile {
    /// Looks whether the file can be written, and whether it is one that was learned.
    pub fn open(path: &Path, vars: Vars) -> Result<LearnedFile, LearnError> {
        let name = path.display().to_string();
        let unusable = |cause: io::Error| LearnError::Unusable {
            path: name.clone(),
            cause,
        };
        let real = real(path).map_err(unusable)?;
        let folder = real.parent().unwrap_or(Path::new("/"));
        let may = |path: &Path, access| accessat(CWD, path, access, AtFlags::EACCESS);
        may(folder, Access::WRITE_OK | Access::EXEC_OK).map_err(|e| unusable(e.into()))?;
        match may(&real, Access::WRITE_OK | Access::READ_OK) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(unusable(error.into())),
        }
        let file = LearnedFile { name, real, vars };
        file.read()?;
        Ok(file)
    }

    /// What was learned before. A file that is empty or not there has nothing.
    pub fn read(&self) -> Result<Option<Learned>, LearnError> {
        let unusable = |cause| LearnError::Unusable {
            path: self.name.clone(),
            cause,
        };
        let file = match File::open(&self.real) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(unusable)?,
        };
        let mut text = Vec::new();
        file.take(MAX_POLICY_BYTES as u64 + 1)
            .read_to_end(&mut text)
            .map_err(unusable)?;
        if text.is_empty() {
            return Ok(None);
        }
        let learned = self.parse(&text).map_err(|cause| LearnError::Foreign {
            path: self.name.clone(),
            cause,
        })?;
        Ok(Some(learned))
    }

    fn parse(&self, text: &[u8]) -> Result<Learned, LearnedError> {
        Learned::parse(text, &self.name, &self.vars)
    }

    /// Replaces the file as a whole.
    pub fn write(&self, learned: &Learned) -> Result<(), LearnError> {
        self.replace(learned)
            .map_err(|cause| LearnError::Unwritten {
                path: self.name.clone(),
                cause,
            })
    }

    fn replace(&self, learned: &Learned) -> io::Result<()> {
        let text = learned.to_json()?;
        // What cannot be read again is no policy, and the old one is better than it.
        self.parse(text.as_bytes()).map_err(io::Error::other)?;
        let mode = match fs::metadata(&self.real) {
            Ok(found) => Some(found.permissions().mode()),
            Err(_) => None,
        };
        let mut name = self.real.clone().into_os_string();
        name.push(format!(".{}.new", std::process::id()));
        let new = PathBuf::from(name);
        let written = self.fill(&new, &text, mode);
        let written = written.and_then(|()| fs::rename(&new, &self.real));
        if written.is_err()
            && let Err(error) = fs::remove_file(&new)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "{} stays behind", new.display());
        }
        written
    }

    fn fill(&self, new: &Path, text: &str, mode: Option<u32>) -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode.unwrap_or(0o666))
            .open(new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    }
}

/// The path without symbolic links, of a file that need not be there.
pub fn real(path: &Path) -> io::Result<PathBuf> {
    match path.canonicalize() {
        Ok(real) if real.metadata()?.is_file() => return Ok(real),
        Ok(_) => return Err(io::Error::other("it is no regular file")),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Err(_) => {}
    }
    // A link that leads nowhere would be replaced by what it was to lead to.
    if path.symlink_metadata().is_ok() {
        return Err(io::Error::other("it is a link to what is not there"));
    }
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::other("it is no name of a file"))?;
    let folder = match path.parent() {
        None => Path::new("/"),
        Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
        Some(folder) => folder,
    };
    Ok(folder.canonicalize()?.join(name))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::policy::{Limits, Observation, Perm, Plugins};

    struct Scratch(PathBuf);

    impl Scratch {
        fn new() -> Scratch {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!("learning-{}-{number}", std::process::id());
            let dir = std::env::temp_dir().join(name);
            fs::create_dir(&dir).unwrap();
            Scratch(dir)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn learned(path: &str) -> Learned {
        let mut learned = Learned::new(None, Limits::default(), Plugins::default());
        let perm = Perm::ReadFile;
        let path = Path::new(path);
        learned.note(&Observation::Fs { path, perm }).unwrap();
        learned
    }

    fn open(path: &Path) -> Result<LearnedFile, LearnError> {
        LearnedFile::open(path, Vars::of("/w".into(), None))
    }

    #[test]
    fn a_file_is_made_and_replaced_as_a_whole() {
        let dir = Scratch::new();
        let path = dir.0.join("learned.json");
        let file = open(&path).unwrap();
        assert!(file.read().unwrap().is_none() && !path.exists());
        file.write(&learned("/w/a")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let again = open(&path).unwrap();
        let known = again.read().unwrap().unwrap();
        again.write(&known.merged(learned("/w/b"))).unwrap();
        assert_eq!(again.read().unwrap().unwrap().rules(), 2);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(&dir.0).unwrap().count(), 1);
    }

    #[test]
    fn a_link_is_followed_and_an_empty_file_is_new() {
        let dir = Scratch::new();
        let (path, link) = (dir.0.join("empty"), dir.0.join("link"));
        fs::write(&path, "").unwrap();
        symlink(&path, &link).unwrap();
        open(&link).unwrap().write(&learned("/w/a")).unwrap();
        assert!(link.symlink_metadata().unwrap().is_symlink());
        assert!(open(&path).unwrap().read().unwrap().is_some());
    }

    #[test]
    fn what_is_no_place_for_it_is_refused_and_stays() {
        let dir = Scratch::new();
        let other = dir.0.join("other.json");
        fs::write(&other, r#"{"version": 1}"#).unwrap();
        symlink("nowhere", dir.0.join("loose")).unwrap();
        for path in ["other.json", "loose", ".", "none/file"] {
            assert!(open(&dir.0.join(path)).is_err(), "{path}");
        }
        assert!(open(Path::new("/dev/null")).is_err());
        assert_eq!(fs::read(&other).unwrap(), br#"{"version": 1}"#);
    }
}
