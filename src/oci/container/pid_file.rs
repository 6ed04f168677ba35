//! The file in which a caller wants a process's pid.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD};

use crate::launch::container::ContainerError;

/// How often another file may be made at the place of the one that was removed.
const TRIES: usize = 16;

/// Writes `pid` to `path`, whole or not at all, and leaves nothing else behind even if it is killed.
pub(super) fn write(path: &Path, pid: i32) -> Result<(), ContainerError> {
    let failed = |source| ContainerError::System {
        operation: "write the pid file",
        object: path.display().to_string(),
        source,
    };
    if path.file_name().is_none() {
        return Err(failed(io::Error::other("it names no file")));
    }
    let text = pid.to_string();
    match without_name(path) {
        Ok(mut file) => file
            .write_all(text.as_bytes())
            .and_then(|()| name(&file, path)),
        // Not every file system has files without a name.
        Err(error) if has_none_without_name(&error) => in_two_steps(path, &text),
        Err(error) => Err(error),
    }
    .map_err(failed)
}

/// A file in the directory of `path` that has no name yet.
fn without_name(path: &Path) -> io::Result<File> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut options = OpenOptions::new();
    options
        .write(true)
        .custom_flags(libc::O_TMPFILE)
        .mode(0o666)
        .open(folder)
}

fn has_none_without_name(error: &io::Error) -> bool {
    // EISDIR: a kernel that does not know the flag opens the directory.
    matches!(
        error.raw_os_error(),
        Some(libc::EOPNOTSUPP | libc::EISDIR | libc::EINVAL)
    )
}

/// Gives the file its name, which a file of an earlier process may have.
fn name(file: &File, path: &Path) -> io::Result<()> {
    let nameless = format!("/proc/self/fd/{}", file.as_raw_fd());
    for _ in 0..TRIES {
        let linked = rustix::fs::linkat(CWD, &nameless, CWD, path, AtFlags::SYMLINK_FOLLOW);
        match linked {
            Err(rustix::io::Errno::EXIST) => {}
            other => return Ok(other?),
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

fn in_two_steps(path: &Path, text: &str) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let new = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).open(&new)?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        // The failure that led here is what the caller learns.
        fs::remove_file(&new).err();
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_file_is_replaced_and_nothing_is_beside_it() {
        let folder = std::env::temp_dir().join(format!("pid-file-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let path = folder.join("pid");
        type Way = fn(&Path, i32) -> Result<(), ContainerError>;
        let older: Way = |path, pid| {
            in_two_steps(path, &pid.to_string()).unwrap();
            Ok(())
        };
        for way in [write as Way, older] {
            for pid in [12_345, 7] {
                way(&path, pid).unwrap();
                assert_eq!(fs::read_to_string(&path).unwrap(), pid.to_string());
                assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
            }
        }
        // A directory is nobody's pid file, and stays.
        fs::create_dir(folder.join("dir")).unwrap();
        assert!(write(&folder.join("dir"), 7).is_err());
        assert!(in_two_steps(&folder.join("dir"), "7").is_err());
        assert!(write(&folder.join("none/pid"), 7).is_err());
        assert!(write(Path::new("/"), 7).is_err());
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
        fs::remove_dir_all(&folder).unwrap();
    }
}
