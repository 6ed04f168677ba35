//! The directories that a person names for the program: where it starts, and where it may write.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::error::OciError;

/// A mistyped directory must not turn into an empty one of the program's own. One that we may
/// not look into can only be one of its own.
pub(super) fn existing_directory(path: &Path) -> Result<(), OciError> {
    let source = match path.metadata() {
        Ok(found) if found.is_dir() => return Ok(()),
        Ok(_) => ErrorKind::NotADirectory.into(),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return Ok(()),
        Err(error) => error,
    };
    let path = path.to_owned();
    Err(OciError::Workdir { path, source })
}

/// Makes the directory where it is not there yet, but not the one that it stands in.
pub(super) fn out_directory(path: &Path, keep: bool) -> Result<PathBuf, OciError> {
    match std::fs::create_dir(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            return Err(OciError::io("make the output directory", path)(error));
        }
        _ => {}
    }
    let real =
        std::fs::canonicalize(path).map_err(OciError::io("open the output directory", path))?;
    let refuse = |cause| OciError::Out {
        path: path.to_owned(),
        cause,
    };
    let mut entries =
        std::fs::read_dir(&real).map_err(OciError::io("read the output directory", path))?;
    if !keep && entries.next().is_some() {
        return Err(refuse(
            "it is not empty; name an empty one, or pass --out-keep",
        ));
    }
    Ok(real)
}
