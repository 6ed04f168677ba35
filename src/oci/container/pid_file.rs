//! The file in which a caller wants a process's pid.

use std::fs;
use std::io::Write;
use std::path::Path;

use crate::launch::container::ContainerError;

/// Writes `pid` to `path`, whole or not at all.
pub(super) fn write(path: &Path, pid: i32) -> Result<(), ContainerError> {
    let failed = |source| ContainerError::System {
        operation: "write the pid file",
        object: path.display().to_string(),
        source,
    };
    let name = path
        .file_name()
        .ok_or_else(|| failed(std::io::Error::other("it names no file")))?;
    let new = path.with_file_name(format!(
        ".{}.{}",
        name.to_string_lossy(),
        std::process::id()
    ));
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&new)
        .map_err(failed)?;
    file.write_all(pid.to_string().as_bytes())
        .and_then(|()| fs::rename(&new, path))
        .map_err(failed)
}
