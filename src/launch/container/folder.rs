//! The folder of a container in which it finds what its supervisor gives it: a small file system of the
//! container's own that nothing of the host's leads to, with room for so many files and so many bytes as that may take.
//!
//! It is made while nothing of the container's runs, and ends with the container's mounts.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use super::channel::SEGMENT_BYTES;
use super::trust;
use crate::launch::Failure;
use crate::launch::rootfs::Assembled;
use crate::policy::CHANNEL;
use crate::sys::mount::{self, attr};

/// Bytes of the longest page that there is: room for the folder itself.
const PAGE: u64 = 1 << 16;

/// What there is to be in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Content {
    /// A segment and a socket.
    pub channel: bool,
    /// The certificates that its programs trust.
    pub trust: bool,
}

impl Content {
    fn bytes(self) -> u64 {
        let channel = if self.channel { SEGMENT_BYTES } else { 0 };
        let trust = if self.trust { trust::MOST } else { 0 };
        PAGE + channel + trust
    }

    fn files(self) -> u64 {
        1 + 2 * u64::from(self.channel) + u64::from(self.trust)
    }
}

/// Makes the folder and shows it in `root`.
///
/// # Errors
/// What the kernel says; also that the image has no place for the folder and none can be made.
pub(super) fn show(root: &Assembled, content: Content) -> Result<OwnedFd, Failure> {
    let made = file_system(content, root.label());
    let made = made.map_err(|cause| Failure::new("make", "the supervisor's folder", cause))?;
    root.show(made.as_fd(), Path::new(CHANNEL))?;
    Ok(made)
}

fn file_system(content: Content, label: Option<&str>) -> io::Result<OwnedFd> {
    let label = label.map(CString::new).transpose()?;
    let size = CString::new(content.bytes().to_string())?;
    let files = CString::new(content.files().to_string())?;
    let mut options = vec![
        (c"size", size.as_c_str()),
        (c"nr_inodes", files.as_c_str()),
        (c"mode", c"0755"),
    ];
    options.extend(label.as_deref().map(|label| (c"context", label)));
    let set = attr::NOSUID | attr::NODEV | attr::NOEXEC;
    mount::new_filesystem(c"tmpfs", &options, set)
}

/// A name in the folder as a path which is short and leads through no name of the container's: the host's
/// procfs is still where this process is.
pub(super) fn within(folder: BorrowedFd<'_>, name: &str) -> String {
    format!("/proc/self/fd/{}/{name}", folder.as_raw_fd())
}
