//! `linux.mountLabel`, which has a meaning only where SELinux is enabled.

use std::path::Path;

/// Whether SELinux runs on this host.
pub(super) fn enabled() -> bool {
    Path::new("/sys/fs/selinux/enforce").exists()
}
