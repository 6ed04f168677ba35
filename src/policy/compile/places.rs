//! The places that no rule opens or closes, because the sandbox itself stands on them.

use std::path::Path;

use crate::policy::plan::OWN_PLACES;

/// Whether a directory holds such a place, and is none itself.
pub(super) fn holds_own_places(path: &Path) -> bool {
    let mut own = OWN_PLACES.iter().map(Path::new);
    own.any(|own| own != path && own.starts_with(path))
}

/// Whether it is /proc, or the part of it that speaks of a process.
pub(super) fn starts_programs(path: &Path) -> bool {
    let Ok(below) = path.strip_prefix("/proc") else {
        return false;
    };
    below.iter().next().is_none_or(|name| {
        let digits = name.as_encoded_bytes().iter().all(u8::is_ascii_digit);
        digits || name == "self" || name == "thread-self"
    })
}

/// Where the kernel makes the files: the bundle has its own, and never shows the host's.
pub(super) fn kernel_made(path: &Path) -> bool {
    ["/dev", "/proc", "/sys"]
        .iter()
        .any(|root| path.starts_with(root))
}
