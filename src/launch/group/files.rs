//! Reading and writing the kernel's files in a group's directory.

use std::fmt::Display;
use std::fs;
use std::io::{self, Read};
use std::path::Path;

use super::GroupError;
use crate::launch::cgroup::overwrite;

/// Writes the value of a setting; `field` is its name below `linux.resources`.
pub(super) fn set(
    dir: &Path,
    file: &str,
    field: &'static str,
    value: impl Display,
) -> Result<(), GroupError> {
    let path = dir.join(file);
    let value = value.to_string();
    overwrite(&path, &value).map_err(|source| GroupError::Refused {
        field,
        value,
        path,
        source,
    })
}

/// Writes what no setting asks for.
pub(super) fn write(dir: &Path, file: &str, value: &str) -> Result<(), GroupError> {
    let path = dir.join(file);
    overwrite(&path, value).map_err(GroupError::io("writing to", &path))
}

/// The first 4096 bytes of a file that holds one short line, without its end.
pub(super) fn line(dir: &Path, file: &str) -> io::Result<String> {
    let mut buffer = [0; 4096];
    // The kernel gives a line of less than a page at once.
    let count = fs::File::open(dir.join(file))?.read(&mut buffer)?;
    let text = std::str::from_utf8(&buffer[..count])
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok(text.trim_end().to_owned())
}

/// The whole of a file.
pub(super) fn text(dir: &Path, file: &str) -> io::Result<String> {
    fs::read_to_string(dir.join(file))
}

/// Whether there is such a file, which tells what the kernel can do.
pub(super) fn exists(dir: &Path, file: &str) -> bool {
    rustix::fs::access(dir.join(file), rustix::fs::Access::EXISTS).is_ok()
}

/// What `error` says when the group or a file in it is not there: never made, or removed meanwhile.
pub(super) fn is_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

/// Whether the caller may not, rather than that something is wrong.
pub(super) fn is_forbidden(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EACCES | libc::EPERM | libc::EROFS)
    )
}
