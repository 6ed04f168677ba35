//! What to change on a host that lacks something.

use std::fs;

use super::stop::Stop;

/// What brings a mechanism where it is missing.
#[derive(Debug, Clone)]
pub(super) struct Remedy {
    /// The system call that a container's filter would have to let through.
    call: &'static str,
    /// The kernel that has it, and how that is built: `Linux 5.13 with CONFIG_SECURITY_LANDLOCK`.
    kernel: &'static str,
    /// What else may stand in the way, most likely first.
    beside: Vec<Beside>,
}

/// What may stand in the way beside a filter and the kernel's age.
#[derive(Debug, Clone, Copy)]
enum Beside {
    /// A limit of namespaces, and sysctls about who may make one.
    Namespaces(&'static str),
    /// Whatever these words say, when the kernel's reason is this one.
    When(i32, &'static str),
    /// Whatever these words say.
    Always(&'static str),
}

impl Remedy {
    pub(super) fn new(call: &'static str, kernel: &'static str) -> Remedy {
        Remedy {
            call,
            kernel,
            beside: Vec::new(),
        }
    }

    /// Needs namespaces of this user, counted by the sysctl.
    pub(super) fn namespaces(mut self, sysctl: &'static str) -> Remedy {
        self.beside.push(Beside::Namespaces(sysctl));
        self
    }

    /// This is to be changed where the kernel gave that reason.
    pub(super) fn when(mut self, errno: i32, words: &'static str) -> Remedy {
        self.beside.push(Beside::When(errno, words));
        self
    }

    /// This is to be changed, whatever the reason.
    pub(super) fn otherwise(mut self, words: &'static str) -> Remedy {
        self.beside.push(Beside::Always(words));
        self
    }

    /// What to change, given how it failed.
    pub(super) fn change(&self, stop: &Stop, host: &Host) -> String {
        let errno = stop.errno();
        let mut advice = Vec::new();
        for beside in &self.beside {
            match *beside {
                Beside::When(reason, words) if errno == Some(reason) => {
                    advice.push(words.to_owned());
                }
                Beside::Namespaces(sysctl) => {
                    let alone = advice.is_empty();
                    advice.extend(host.namespaces(sysctl, errno, alone));
                }
                Beside::Always(words) => advice.push(words.to_owned()),
                Beside::When(..) => {}
            }
        }
        let filter = matches!(
            errno,
            None | Some(libc::EPERM | libc::EACCES | libc::ENOSYS)
        );
        if host.filtered && filter {
            advice.push(format!(
                "let the system call filter around this process permit {} (docker run \
                 --security-opt seccomp=PROFILE, Kubernetes securityContext.seccompProfile)",
                self.call
            ));
        }
        let unknown = [
            libc::ENOSYS,
            libc::EINVAL,
            libc::EOPNOTSUPP,
            libc::E2BIG,
            libc::ENOTTY,
            libc::ENOPROTOOPT,
            libc::EPROTONOSUPPORT,
            libc::ENODEV,
            libc::ENOENT,
        ];
        if advice.is_empty() || errno.is_some_and(|errno| unknown.contains(&errno)) {
            advice.push(format!("use {}", self.kernel));
        }
        advice.dedup();
        advice.join("; or ")
    }
}

/// Settings of this host that explain a refusal.
#[derive(Debug, Clone, Default)]
pub(super) struct Host {
    /// A system call filter holds this process.
    pub filtered: bool,
    /// This user is root here.
    pub root: bool,
    /// `kernel.unprivileged_userns_clone` is 0.
    pub debian: bool,
    /// `kernel.apparmor_restrict_unprivileged_userns` is 1.
    pub ubuntu: bool,
}

impl Host {
    /// Reads them.
    pub(super) fn look() -> Host {
        let is = |path: &str, value: &str| {
            fs::read_to_string(path).is_ok_and(|text| text.trim() == value)
        };
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mut lines = status.lines();
        Host {
            filtered: lines.any(|line| line.split_whitespace().eq(["Seccomp:", "2"])),
            root: rustix::process::geteuid().is_root(),
            debian: is("/proc/sys/kernel/unprivileged_userns_clone", "0"),
            ubuntu: is(
                "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
                "1",
            ),
        }
    }

    /// What lets this user make namespaces that `sysctl` counts; a guess only where it would stand
    /// `alone`.
    fn namespaces(&self, sysctl: &str, errno: Option<i32>, alone: bool) -> Vec<String> {
        let mut advice = Vec::new();
        match errno {
            Some(libc::ENOSPC) => advice.push(format!(
                "raise the sysctl {sysctl} here and in each user namespace around (sysctl -w \
                 {sysctl}=10000)"
            )),
            Some(libc::EPERM | libc::EACCES) => {
                if self.debian && !self.root {
                    let words = "set the sysctl kernel.unprivileged_userns_clone to 1";
                    advice.push(words.to_owned());
                }
                if self.ubuntu {
                    advice.push(
                        "set the sysctl kernel.apparmor_restrict_unprivileged_userns to 0, or give \
                         buntime an AppArmor profile that has userns"
                            .to_owned(),
                    );
                }
                if alone && advice.is_empty() && !self.filtered {
                    let words = "let the security module of this host permit user namespaces, and \
                                 do not run in a chroot";
                    advice.push(words.to_owned());
                }
            }
            _ => {}
        }
        advice
    }
}
