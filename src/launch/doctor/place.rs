//! A folder for the trials that need files.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::stop::Stop;

/// The folder, or why there is none.
pub(super) struct Place(Result<PathBuf, String>);

impl Place {
    /// Makes the folder where this user may write.
    pub(super) fn make() -> Place {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let below = [
            Some(std::env::temp_dir()),
            set("XDG_RUNTIME_DIR").map(PathBuf::from),
            Some(PathBuf::from("/dev/shm")),
            set("HOME").map(PathBuf::from),
        ];
        let mut why = Vec::new();
        for folder in below.into_iter().flatten() {
            match within(&folder) {
                Ok(path) => return Place(Ok(path)),
                Err(error) => why.push(format!("{}: {error}", folder.display())),
            }
        }
        Place(Err(why.join("; ")))
    }

    /// # Errors
    /// There is none.
    pub(super) fn path(&self) -> Result<&Path, Stop> {
        let missing = |why| Stop::untried(format!("no folder can be made for the trial ({why})"));
        self.0.as_deref().map_err(missing)
    }

    /// Removes it with everything in it.
    ///
    /// # Errors
    /// What is left.
    pub(super) fn remove(&self) -> io::Result<()> {
        match &self.0 {
            Ok(path) => fs::remove_dir_all(path).map_err(|error| {
                let text = format!("remove {}: {error}", path.display());
                io::Error::new(error.kind(), text)
            }),
            Err(_) => Ok(()),
        }
    }
}

fn within(folder: &Path) -> io::Result<PathBuf> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    let path = folder.join(format!("buntime-doctor-{:016x}", u64::from_ne_bytes(bytes)));
    DirBuilder::new().mode(0o700).create(&path)?;
    Ok(path)
}
