//! The mounts of a mount namespace, as /proc/PID/mountinfo lists them (proc_pid_mountinfo(5)).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// One mount.
#[derive(Debug, PartialEq, Eq)]
pub struct Mount<'l> {
    /// Its number, as statx(2) says it of what is on it (`STATX_MNT_ID`).
    pub id: u64,
    /// The device of its file system, as `major:minor`.
    pub device: &'l [u8],
    /// Which part of its file system it shows.
    pub root: PathBuf,
    /// Where it is.
    pub point: PathBuf,
    /// Its own options, with commas between them.
    options: &'l [u8],
    /// The type of the file system; empty where the line has none.
    pub kind: &'l [u8],
    /// The options of the file system as a whole, with commas between them.
    pub options_of_all: &'l [u8],
}

impl Mount<'_> {
    /// Whether it has this option, such as `nodev`. Those of the file system as a whole are not asked.
    #[must_use]
    pub fn has(&self, option: &str) -> bool {
        let mut options = self.options.split(|byte| *byte == b',');
        options.any(|one| one == option.as_bytes())
    }
}

/// The mounts of such a list, in its order. Lines that are none are passed over.
pub fn mounts(list: &[u8]) -> impl Iterator<Item = Mount<'_>> {
    list.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut fields = line.split(|byte| *byte == b' ');
        let id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
        let (device, root) = (fields.nth(1)?, fields.next()?);
        let (point, options) = (fields.next()?, fields.next()?);
        let mut fields = fields.skip_while(|field| *field != b"-").skip(1);
        Some(Mount {
            id,
            device,
            root: unescaped(root),
            point: unescaped(point),
            options,
            kind: fields.next().unwrap_or_default(),
            options_of_all: fields.nth(1).unwrap_or_default(),
        })
    })
}

/// Blanks and backslashes stand as a backslash and three octal digits there.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..3).filter(|_| *first == b'\\');
        let code = code.and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_and_backslashes_are_read() {
        let unescaped = |field: &[u8]| unescaped(field).into_os_string();
        assert_eq!(unescaped(b"/a\\040b\\134"), "/a b\\");
        assert_eq!(unescaped(b"/a\\"), "/a\\");
    }

    #[test]
    fn a_line_is_read_to_its_type() {
        let list = b"23 1 0:21 / /a\\040b rw,nodev shared:1 - proc p ro\nno mount\n";
        let found: Vec<Mount<'_>> = mounts(list).collect();
        let [mount] = &found[..] else {
            panic!("{found:?}")
        };
        assert_eq!(
            (mount.id, mount.point.to_str(), mount.kind),
            (23, Some("/a b"), &b"proc"[..])
        );
        assert_eq!(
            (mount.device, mount.root.to_str()),
            (&b"0:21"[..], Some("/"))
        );
        assert!(mount.has("rw") && mount.has("nodev") && !mount.has("ro"));
        assert_eq!(mount.options_of_all, b"ro");
    }
}
