//! What one process of a container starts with, read from `process` of a configuration before
//! anything is touched; the same for the first process and for those that join it later.

use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::str::FromStr;

use oci_spec::runtime::{Capabilities, LinuxCapabilities, LinuxPersonalityDomain, Process, Spec};

use super::ContainerError;
use super::attributes::Attributes;
use super::hooks::Environment;
use super::memory_policy::MemoryPolicy;
use crate::launch::Failure;
use crate::launch::profile::Profile;
use crate::launch::rootfs::label;
use crate::sys::capabilities::Sets;
use crate::sys::process;

/// See the module.
#[derive(Debug)]
pub struct ProcessPlan {
    /// The program's name or path, and its arguments.
    pub args: Vec<String>,
    /// The whole environment, as `KEY=value`.
    pub env: Vec<String>,
    /// Absolute working directory inside.
    pub cwd: PathBuf,
    /// User id inside.
    pub uid: u32,
    /// Group id inside.
    pub gid: u32,
    /// Supplementary group ids inside; `None` keeps the caller's.
    pub groups: Option<Vec<u32>>,
    /// File mode creation mask; `None` keeps 0022.
    pub umask: Option<u32>,
    /// What it may do.
    pub capabilities: Sets,
    /// Whether execve(2) gives no privilege.
    pub no_new_privileges: bool,
    /// Limits: the kernel's number, soft and hard.
    pub rlimits: Vec<(rustix::process::Resource, rustix::process::Rlimit)>,
    /// How readily the kernel kills it for memory.
    pub oom_score_adj: Option<i32>,
    /// The AppArmor profile, where there is to be one.
    pub apparmor: Option<String>,
    /// The SELinux label, where there is to be one.
    pub selinux: Option<String>,
    /// The execution domain, as personality(2) takes it.
    pub personality: Option<u64>,
    /// Scheduling.
    pub attributes: Attributes,
    /// Where its memory comes from.
    pub memory_policy: Option<MemoryPolicy>,
    /// The system call filter.
    pub profile: Option<Profile>,
    /// Whether descriptors 0 to 2 are a pseudo-terminal.
    pub terminal: bool,
    /// Its height and width in character cells.
    pub console_size: Option<(u16, u16)>,
    /// The descriptors beside the standard ones that stay open, ascending.
    pub preserved_fds: Vec<i32>,
    /// What takes its standard output and its standard error, where not the caller's do.
    pub outputs: Option<[OwnedFd; 2]>,
}

impl ProcessPlan {
    /// Reads the process of `spec`.
    ///
    /// # Errors
    /// A field that cannot be carried out, by name.
    pub fn of_spec(spec: &Spec) -> Result<ProcessPlan, ContainerError> {
        match spec.process() {
            Some(process) => ProcessPlan::of(process, spec),
            None => Err(ContainerError::invalid(
                "process",
                "it is missing; a container needs a process to start",
            )),
        }
    }

    /// Reads `process`, which is to run in the container of `spec`.
    ///
    /// # Errors
    /// A field that cannot be carried out, by name.
    pub fn of(process: &Process, spec: &Spec) -> Result<ProcessPlan, ContainerError> {
        let args = process.args().clone().unwrap_or_default();
        if args.first().is_none_or(String::is_empty) {
            return Err(ContainerError::invalid(
                "process.args",
                "it is empty; name the program",
            ));
        }
        let cwd = process.cwd().clone();
        if !cwd.is_absolute() {
            return Err(ContainerError::invalid(
                "process.cwd",
                format!("{:?} is not an absolute path", cwd.display().to_string()),
            ));
        }
        let env = process.env().clone().unwrap_or_default();
        for (field, entries) in [("process.args", &args), ("process.env", &env)] {
            if entries.iter().any(|entry| entry.contains('\0')) {
                return Err(ContainerError::invalid(field, "an entry has a NUL byte"));
            }
        }
        let seccomp = spec
            .linux()
            .as_ref()
            .and_then(|linux| linux.seccomp().as_ref());
        let profile = seccomp
            .map(Profile::compile)
            .transpose()
            .map_err(|error| ContainerError::Seccomp(error.to_string()))?;
        let terminal = process.terminal().unwrap_or(false);
        let size = process.console_size().filter(|_| terminal);
        let user = process.user();
        Ok(ProcessPlan {
            args,
            env: without_repeats(env),
            cwd,
            uid: user.uid(),
            gid: user.gid(),
            groups: match keeps_groups(spec) {
                true => None,
                false => Some(once_each(
                    user.additional_gids().clone().unwrap_or_default(),
                )),
            },
            umask: user.umask(),
            capabilities: sets(process.capabilities().as_ref()),
            no_new_privileges: process.no_new_privileges().unwrap_or(false),
            rlimits: rlimits(process)?,
            oom_score_adj: process.oom_score_adj(),
            apparmor: named(process.apparmor_profile().as_ref()),
            selinux: selinux(process)?,
            personality: personality(spec)?,
            attributes: Attributes::of(process)?,
            memory_policy: MemoryPolicy::of(spec)?,
            profile,
            terminal,
            console_size: size.map(|size| (cells(size.height()), cells(size.width()))),
            preserved_fds: Vec::new(),
            outputs: None,
        })
    }

    /// Connects standard output and standard error, in the process that is to have them.
    pub(super) fn connect_outputs(&mut self) -> Result<(), Failure> {
        for (number, output) in (1..).zip(self.outputs.take().into_iter().flatten()) {
            process::duplicate_onto(output.as_raw_fd(), number)
                .map_err(|cause| Failure::new("connect", "its output", cause))?;
        }
        Ok(())
    }

    /// The value of a variable of the environment.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        let mut entries = self.env.iter().filter_map(|entry| entry.split_once('='));
        entries
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    }

    /// Takes CAP_NET_ADMIN away: who has it, and sockets of rtnetlink(7), could make an interface whose other end is in
    /// another network.
    pub(super) fn may_not_administer_networks(&mut self) {
        let taken = caps::Capability::CAP_NET_ADMIN.bitmask();
        self.capabilities.remove(taken);
    }

    /// The environment in pairs.
    pub(super) fn environment(&self) -> Environment {
        let pairs = self.env.iter().filter_map(|entry| entry.split_once('='));
        pairs
            .map(|(key, value)| (key.into(), value.into()))
            .collect()
    }
}

/// Text as the kernel takes it. NUL bytes were refused before, so none is lost here.
pub(super) fn texts(entries: &[String]) -> Option<Vec<CString>> {
    let texts = entries.iter().map(|entry| CString::new(entry.as_bytes()));
    texts.collect::<Result<_, _>>().ok()
}

/// A label that nothing would carry out is refused, as by runc.
fn selinux(process: &Process) -> Result<Option<String>, ContainerError> {
    let label = named(process.selinux_label().as_ref());
    if label.is_some() && !label::enabled() {
        let cause = "selinux is disabled or not supported on this host: take the label out";
        return Err(ContainerError::invalid("process.selinuxLabel", cause));
    }
    Ok(label)
}

/// Podman asks for it by this annotation: a user's groups open files to the user's containers.
fn keeps_groups(spec: &Spec) -> bool {
    const ANNOTATION: &str = "run.oci.keep_original_groups";
    let annotations = spec.annotations().as_ref();
    annotations.is_some_and(|annotations| {
        annotations
            .get(ANNOTATION)
            .is_some_and(|value| matches!(value.as_str(), "1" | "true"))
    })
}

fn personality(spec: &Spec) -> Result<Option<u64>, ContainerError> {
    /// `PER_LINUX` and `PER_LINUX32` of `linux/personality.h`.
    const LINUX: u64 = 0;
    const LINUX32: u64 = 8;
    let linux = spec.linux().as_ref();
    let Some(asked) = linux.and_then(|linux| linux.personality().as_ref()) else {
        return Ok(None);
    };
    if asked
        .flags()
        .as_ref()
        .is_some_and(|flags| !flags.is_empty())
    {
        return Err(ContainerError::invalid(
            "linux.personality.flags",
            "the specification has none; take them out",
        ));
    }
    Ok(Some(match asked.domain() {
        LinuxPersonalityDomain::PerLinux => LINUX,
        LinuxPersonalityDomain::PerLinux32 => LINUX32,
    }))
}

/// Callers list a group twice, and the kernel would too.
fn once_each(groups: Vec<u32>) -> Vec<u32> {
    let mut seen = std::collections::HashSet::new();
    groups
        .into_iter()
        .filter(|group| seen.insert(*group))
        .collect()
}

fn named(value: Option<&String>) -> Option<String> {
    value.filter(|value| !value.is_empty()).cloned()
}

fn cells(number: u64) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

/// Of entries with one name the last counts, as shells and the C library's callers expect.
fn without_repeats(env: Vec<String>) -> Vec<String> {
    let key = |entry: &str| entry.split_once('=').map(|(key, _)| key.to_owned());
    let mut kept: Vec<String> = Vec::with_capacity(env.len());
    let mut seen = std::collections::HashSet::new();
    for entry in env.into_iter().rev() {
        let is_new = key(&entry).is_none_or(|key| seen.insert(key));
        if is_new {
            kept.push(entry);
        }
    }
    kept.reverse();
    kept
}

fn sets(capabilities: Option<&LinuxCapabilities>) -> Sets {
    let Some(capabilities) = capabilities else {
        return Sets::default();
    };
    Sets {
        bounding: mask(capabilities.bounding().as_ref()),
        effective: mask(capabilities.effective().as_ref()),
        permitted: mask(capabilities.permitted().as_ref()),
        inheritable: mask(capabilities.inheritable().as_ref()),
        ambient: mask(capabilities.ambient().as_ref()),
    }
}

fn mask(set: Option<&Capabilities>) -> u64 {
    let numbers = set.into_iter().flatten().filter_map(|capability| {
        let name = format!("CAP_{capability}");
        caps::Capability::from_str(&name).ok()
    });
    numbers.fold(0, |mask, capability| mask | capability.bitmask())
}

/// The names of all capabilities that are known, in the order of their numbers.
#[must_use]
pub fn capability_names() -> Vec<String> {
    let mut all: Vec<caps::Capability> = caps::all().into_iter().collect();
    all.sort_by_key(caps::Capability::index);
    all.iter().map(ToString::to_string).collect()
}

fn rlimits(
    process: &Process,
) -> Result<Vec<(rustix::process::Resource, rustix::process::Rlimit)>, ContainerError> {
    use oci_spec::runtime::PosixRlimitType as Type;
    use rustix::process::{Resource, Rlimit};
    let mut limits = Vec::new();
    for limit in process.rlimits().as_deref().unwrap_or_default() {
        let resource = match limit.typ() {
            Type::RlimitCpu => Resource::Cpu,
            Type::RlimitFsize => Resource::Fsize,
            Type::RlimitData => Resource::Data,
            Type::RlimitStack => Resource::Stack,
            Type::RlimitCore => Resource::Core,
            Type::RlimitRss => Resource::Rss,
            Type::RlimitNproc => Resource::Nproc,
            Type::RlimitNofile => Resource::Nofile,
            Type::RlimitMemlock => Resource::Memlock,
            Type::RlimitAs => Resource::As,
            Type::RlimitLocks => Resource::Locks,
            Type::RlimitSigpending => Resource::Sigpending,
            Type::RlimitMsgqueue => Resource::Msgqueue,
            Type::RlimitNice => Resource::Nice,
            Type::RlimitRtprio => Resource::Rtprio,
            Type::RlimitRttime => Resource::Rttime,
        };
        if limits.iter().any(|(known, _)| *known == resource) {
            return Err(ContainerError::invalid(
                "process.rlimits",
                format!("{} is listed twice; take one out", limit.typ()),
            ));
        }
        let value = |number: u64| (number != u64::MAX).then_some(number);
        let rlimit = Rlimit {
            current: value(limit.soft()),
            maximum: value(limit.hard()),
        };
        limits.push((resource, rlimit));
    }
    Ok(limits)
}
