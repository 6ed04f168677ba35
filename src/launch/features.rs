//! What this host offers, found by asking the kernel and not by its version.
//!
//! [`Features::probe`] reads a few facts and makes a few calls that change nothing; it is cheap
//! enough for every start. Whether namespaces can really be made is seen by making them: the
//! launch does that anyway, and [`probe_namespaces`] does it for whoever wants the reason.

use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize;

use super::cgroup::Hierarchies;
use crate::sys;

/// The facts about one host that decide how a policy is carried here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Features {
    /// Landlock's ABI version; 0 where it is not built in or not enabled.
    pub landlock_abi: u32,
    /// Whether user namespaces can be expected to work.
    pub user_namespaces: Availability,
    /// Whether mounts can be given an id mapping (mount_setattr, Linux 5.12). Each file system
    /// still decides for itself.
    pub idmapped_mounts: bool,
    /// Whether seccomp can hand system calls to a listener (Linux 5.0).
    pub seccomp_notify: bool,
    /// Whether execution of memfds can be forbidden for a pid namespace (Linux 6.3).
    pub memfd_noexec: bool,
    /// Where this process stands among control groups; nowhere when /proc does not tell.
    pub cgroup: Hierarchies,
}

/// Whether something is there, and why not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Availability {
    /// Whether it is there, as far as could be told.
    pub available: bool,
    /// Where it is not: what stands in the way, and what would change it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why_not: Option<String>,
}

impl Availability {
    fn yes() -> Availability {
        Availability {
            available: true,
            why_not: None,
        }
    }

    fn no(why: impl Into<String>) -> Availability {
        Availability {
            available: false,
            why_not: Some(why.into()),
        }
    }
}

impl Features {
    /// Asks this host.
    #[must_use]
    pub fn probe() -> Features {
        Features {
            landlock_abi: sys::probe::landlock_abi(),
            user_namespaces: expect_user_namespaces(),
            idmapped_mounts: sys::probe::has_mount_setattr(),
            seccomp_notify: sys::probe::has_seccomp_notify(),
            memfd_noexec: Path::new("/proc/sys/vm/memfd_noexec").exists(),
            cgroup: Hierarchies::of_this_process().unwrap_or_default(),
        }
    }
}

/// What the settings say. A security module or a container's seccomp profile may still forbid
/// them, which only [`probe_namespaces`] sees.
fn expect_user_namespaces() -> Availability {
    if !Path::new("/proc/self/ns/user").exists() {
        return Availability::no("this kernel is built without user namespaces");
    }
    let setting = |path| {
        fs::read_to_string(path)
            .ok()
            .map(|text| text.trim().to_owned())
    };
    if setting("/proc/sys/user/max_user_namespaces").as_deref() == Some("0") {
        return Availability::no(
            "the sysctl user.max_user_namespaces is 0; raise it (sysctl -w \
             user.max_user_namespaces=10000)",
        );
    }
    // Debian's and Ubuntu's switches; both concern those without CAP_SYS_ADMIN only.
    if rustix::process::geteuid().is_root() {
        return Availability::yes();
    }
    if setting("/proc/sys/kernel/unprivileged_userns_clone").as_deref() == Some("0") {
        return Availability::no(
            "the sysctl kernel.unprivileged_userns_clone is 0; set it to 1 or run as root",
        );
    }
    Availability::yes()
}

/// Makes the namespaces of a launch in a child that ends at once, and tries there what needs a
/// capability in them. Costs about as much as a launch without a program.
#[must_use]
pub fn probe_namespaces() -> Availability {
    match sys::probe::namespaces() {
        Ok(()) => Availability::yes(),
        Err(refusal) => Availability::no(explain(&refusal)),
    }
}

/// Why the clone of a launch was refused, and what would change it.
pub(super) fn why_no_clone(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ENOSYS) => "the system call clone3 is hidden here, as containers do".to_owned(),
        _ => format!(
            "creating them: {error}{}",
            clone_advice(error.raw_os_error())
        ),
    }
}

fn explain(refusal: &sys::probe::NamespaceRefusal) -> String {
    use sys::probe::NamespaceRefusal::{Clone, Mount};
    let (step, error) = match refusal {
        Clone(error) => ("creating the namespaces", error),
        Mount(error) => ("changing a mount in them", error),
    };
    format!("{step}: {error}{}", advice(refusal, error))
}

fn advice(refusal: &sys::probe::NamespaceRefusal, error: &io::Error) -> &'static str {
    use sys::probe::NamespaceRefusal::Mount;
    match (refusal, error.raw_os_error()) {
        (Mount(_), Some(libc::EPERM | libc::EACCES)) => {
            "; a security module gives user namespaces no capabilities (on Ubuntu the sysctl \
             kernel.apparmor_restrict_unprivileged_userns: set it to 0 or give buntime a profile)"
        }
        (_, errno) => clone_advice(errno),
    }
}

fn clone_advice(errno: Option<i32>) -> &'static str {
    match errno {
        Some(libc::ENOSPC) => "; raise the sysctls user.max_*_namespaces",
        Some(libc::EPERM | libc::ENOSYS) => {
            "; a sandbox or a container around this process forbids it, or a sysctl does \
             (kernel.unprivileged_userns_clone)"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probe_agrees_with_a_real_try() {
        let features = Features::probe();
        let real = probe_namespaces();
        assert_eq!(
            features.user_namespaces.available, real.available,
            "{real:?}"
        );
    }

    #[test]
    fn the_report_names_every_feature() {
        let report = serde_json::to_value(Features::probe()).unwrap();
        for key in [
            "landlock_abi",
            "user_namespaces",
            "seccomp_notify",
            "memfd_noexec",
            "cgroup",
        ] {
            assert!(report.get(key).is_some(), "{key} is missing from {report}");
        }
    }

    #[test]
    fn a_refusal_says_what_to_change() {
        let refused = |errno| io::Error::from_raw_os_error(errno);
        let full = sys::probe::NamespaceRefusal::Clone(refused(libc::ENOSPC));
        assert!(explain(&full).contains("user.max_"));
        let confined = sys::probe::NamespaceRefusal::Mount(refused(libc::EACCES));
        assert!(explain(&confined).contains("apparmor"));
    }
}
