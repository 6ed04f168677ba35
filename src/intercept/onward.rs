//! Calls with which the kernel goes on: those that read what every policy in force lets be read.
//!
//! The caller may have another path there by the time the kernel looks, and that does no harm. The
//! flags are the call's own, so whatever is opened is opened for reading; and for reading the
//! worker's Landlock ruleset grants the places of [`crate::policy::Intercept::readable`] and nothing
//! else of what is decided live. What was seen of the path decides who answers, and never what is
//! allowed.
//!
//! A link in such a place may lead to where only the interceptor opens anything, so a call goes on only
//! by a path without one.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

/// For how long it is believed that a path leads over no link. The worker can make none there; somebody
/// of the host could.
const MOMENT: Duration = Duration::from_secs(1);

/// The most paths that are remembered.
const MOST: usize = 1024;

/// Calls with which the kernel went on a moment ago.
#[derive(Debug, Default)]
pub struct SeenNames {
    /// Their paths, which lead over no link.
    names: HashSet<Vec<u8>>,
    since: Option<Instant>,
    /// By which rules ([`super::need::Judge::number`]).
    rules: u64,
}

impl SeenNames {
    /// Whether the kernel goes on with a call of this path as it did a moment ago by the same rules.
    pub(super) fn knows(&mut self, path: &[u8], rules: u64) -> bool {
        let is_old = self.since.is_none_or(|since| since.elapsed() > MOMENT);
        if is_old || self.rules != rules || self.names.len() >= MOST {
            self.names.clear();
            self.since = Some(Instant::now());
            self.rules = rules;
        }
        self.names.contains(path)
    }

    /// Whether the kernel comes to the end of a path over no symbolic link, or to where nothing is. The
    /// path is in a place where it may go on.
    pub(super) fn has_no_link(&mut self, path: &Path) -> bool {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        match openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS) {
            Ok(_) => {
                let bytes = path.as_os_str().as_encoded_bytes();
                self.names.insert(bytes.to_vec());
                true
            }
            Err(errno) => errno == Errno::NOENT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_seen_and_a_name_is_forgotten() {
        let root = std::env::temp_dir().join(format!("buntime-onward-{}", std::process::id()));
        std::fs::create_dir(&root).expect("a folder can be made");
        let root = root.canonicalize().expect("it is there");
        let (file, link, none) = (root.join("file"), root.join("link"), root.join("none"));
        std::fs::write(&file, "").expect("it can be written");
        std::os::unix::fs::symlink(&file, &link).expect("it can be made");
        let mut seen = SeenNames::default();
        let bytes = |path: &Path| path.as_os_str().as_encoded_bytes().to_vec();
        assert!(!seen.knows(&bytes(&file), 0));
        assert!(seen.has_no_link(&file) && seen.knows(&bytes(&file), 0));
        assert!(!seen.has_no_link(&link) && !seen.knows(&bytes(&link), 0));
        assert!(!seen.has_no_link(&link.join("below")));
        assert!(seen.has_no_link(&none) && !seen.knows(&bytes(&none), 0));
        assert!(
            !seen.knows(&bytes(&file), 1),
            "by other rules it is another"
        );
        assert!(seen.has_no_link(&file) && seen.knows(&bytes(&file), 1));
        seen.since = Instant::now().checked_sub(2 * MOMENT);
        assert!(!seen.knows(&bytes(&file), 1), "and not for long");
        std::fs::remove_dir_all(root).expect("it can be removed");
    }
}
