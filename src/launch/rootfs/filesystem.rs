//! New file systems, configured by descriptors: no path is looked up to make one.

use std::ffi::{CStr, CString};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

/// Why a file system could not be made, in the kernel's own words where it has any.
#[derive(Debug)]
pub(super) struct Refused {
    pub errno: Errno,
    /// What the file system said about its options.
    pub said: String,
    /// The option that was being set.
    pub option: Option<String>,
}

impl From<Errno> for Refused {
    fn from(errno: Errno) -> Refused {
        Refused {
            errno,
            said: String::new(),
            option: None,
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(option) = &self.option {
            write!(out, "the option {option:?}: ")?;
        }
        write!(out, "{}", std::io::Error::from(self.errno))?;
        if !self.said.is_empty() {
            write!(out, " ({})", self.said)?;
        }
        Ok(())
    }
}

/// The words for a new file system, in the order in which they are given to it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Words<'a> {
    pub source: Option<&'a str>,
    /// `name=value`, or a word alone.
    pub data: &'a [(&'a str, Option<&'a str>)],
}

/// A detached mount of a new file system, with mount attributes.
pub(super) fn fresh(kind: &CStr, words: Words<'_>, attributes: u64) -> Result<OwnedFd, Refused> {
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).map_err(|errno| {
        let said = match errno {
            Errno::NODEV => format!("this kernel has no file system {}", kind.to_string_lossy()),
            _ => String::new(),
        };
        Refused {
            said,
            ..Refused::from(errno)
        }
    })?;
    let refused = |errno, option: Option<String>| Refused {
        errno,
        said: log(context.as_fd()),
        option,
    };
    if let Some(source) = words.source {
        rustix::mount::fsconfig_set_string(&context, "source", source)
            .map_err(|errno| refused(errno, Some(format!("source={source}"))))?;
    }
    configure(context.as_fd(), words.data)
        .map_err(|(errno, option)| refused(errno, Some(option)))?;
    rustix::mount::fsconfig_create(&context).map_err(|errno| refused(errno, None))?;
    rustix::mount::fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::from_bits_retain(attributes as u32),
    )
    .map_err(|errno| refused(errno, None))
}

/// The same for a file system that only wants words.
pub(super) fn plain(
    kind: &CStr,
    data: &[(&str, Option<&str>)],
    attributes: u64,
) -> Result<OwnedFd, Refused> {
    let words = Words { source: None, data };
    fresh(kind, words, attributes)
}

/// How long a value can be that is given by itself, in bytes (`fs/fsopen.c`).
const LONGEST_VALUE: usize = 255;

impl Words<'_> {
    /// Whether a value is too long to be given by itself, as the layers of an overlay can be.
    pub(super) fn are_long(self) -> bool {
        let mut values = self.data.iter().filter_map(|(_, value)| *value);
        values.any(|value| value.len() > LONGEST_VALUE)
    }

    /// All of them in one text, as mount(2) takes them.
    fn joined(self) -> String {
        let words = self.data.iter().map(|(name, value)| match value {
            Some(value) => format!("{name}={value}"),
            None => (*name).to_owned(),
        });
        words.collect::<Vec<_>>().join(",")
    }
}

/// Mounts on a directory the older way, which has room for longer words: the current directory
/// becomes `place`, so that no path is looked up here either.
pub(super) fn mount_here(
    place: BorrowedFd<'_>,
    kind: &CStr,
    words: Words<'_>,
) -> Result<(), Refused> {
    rustix::process::fchdir(place)?;
    let data = CString::new(words.joined()).map_err(|_| Errno::INVAL)?;
    let source = words.source.unwrap_or("none");
    let flags = rustix::mount::MountFlags::empty();
    Ok(rustix::mount::mount(
        source,
        ".",
        kind,
        flags,
        data.as_c_str(),
    )?)
}

/// Changes the options of the file system that `mount` is the root of a mount of.
pub(super) fn reconfigure(
    mount: BorrowedFd<'_>,
    data: &[(&str, Option<&str>)],
) -> Result<(), Refused> {
    use rustix::mount::FsPickFlags;
    let flags = FsPickFlags::FSPICK_CLOEXEC | FsPickFlags::FSPICK_EMPTY_PATH;
    let context = rustix::mount::fspick(mount, "", flags)?;
    let refused = |errno, option| Refused {
        errno,
        said: log(context.as_fd()),
        option,
    };
    configure(context.as_fd(), data).map_err(|(errno, option)| refused(errno, Some(option)))?;
    rustix::mount::fsconfig_reconfigure(&context).map_err(|errno| refused(errno, None))
}

fn configure(
    context: BorrowedFd<'_>,
    data: &[(&str, Option<&str>)],
) -> Result<(), (Errno, String)> {
    for (name, value) in data {
        match value {
            Some(value) => rustix::mount::fsconfig_set_string(context, *name, *value)
                .map_err(|errno| (errno, format!("{name}={value}")))?,
            None => rustix::mount::fsconfig_set_flag(context, *name)
                .map_err(|errno| (errno, (*name).to_owned()))?,
        }
    }
    Ok(())
}

/// What the kernel has to say about the last failure; it keeps at most a few lines.
fn log(context: BorrowedFd<'_>) -> String {
    let mut lines = Vec::new();
    let mut line = [0; 1024];
    // The kernel keeps eight lines; it never hands out more than it has.
    for _ in 0..8 {
        let Ok(length) = rustix::io::read(context, &mut line) else {
            break;
        };
        let text = String::from_utf8_lossy(&line[..length]);
        // A letter for its kind comes first: `e ` for an error, `w ` for a warning.
        lines.push(text.trim_end().get(2..).unwrap_or_default().to_owned());
    }
    lines.join("; ")
}
