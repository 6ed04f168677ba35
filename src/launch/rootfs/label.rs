//! SELinux: labels have a meaning only where it is enabled.

use std::path::Path;

/// Whether SELinux runs on this host.
pub(in crate::launch) fn enabled() -> bool {
    Path::new("/sys/fs/selinux/enforce").exists()
}
