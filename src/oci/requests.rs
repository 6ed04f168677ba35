//! What a bundle's process and platform ask for: limits, ids, devices, namespaces, system calls.

use std::collections::HashSet;
use std::path::Path;

use oci_spec::runtime::{
    Linux, LinuxNamespace, LinuxNamespaceType, LinuxResources, LinuxSeccomp, LinuxSeccompAction,
    PosixRlimitType, Process,
};
use rustix::process::Resource;

use super::prepare::worker_ids;
use super::settings::remark;
use crate::launch::rlimits::AskedLimit;
use crate::launch::{Mechanism, State};
use crate::policy::Limits;

/// What the platform's section asks for.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// Limits beside the policy's.
    pub limits: Limits,
    /// System calls that fail with EPERM.
    pub deny_syscalls: Vec<String>,
    /// What is carried otherwise than asked.
    pub remarks: Vec<Mechanism>,
}

/// The resource limits of a process, and remarks on who it is.
///
/// # Errors
/// A limit that contradicts itself.
pub(super) fn of_process(process: &Process) -> Result<(Vec<AskedLimit>, Vec<Mechanism>), String> {
    let mut limits: Vec<AskedLimit> = Vec::new();
    for asked in process.rlimits().iter().flatten() {
        let (soft, hard) = (asked.soft(), asked.hard());
        let resource = resource(asked.typ());
        if soft > hard {
            return Err(format!(
                "process.rlimits: the soft limit {soft} of {} is above the hard limit {hard}",
                asked.typ()
            ));
        }
        if limits.iter().any(|limit| limit.resource == resource) {
            return Err(format!("process.rlimits has {} twice", asked.typ()));
        }
        limits.push(AskedLimit {
            resource,
            soft,
            hard,
        });
    }
    let mut remarks = Vec::new();
    if !limits.is_empty() {
        let names: Vec<String> = process
            .rlimits()
            .iter()
            .flatten()
            .map(|limit| format!("{} {}/{}", limit.typ(), limit.soft(), limit.hard()))
            .collect();
        let how = format!("{}, or what is lower already", names.join(", "));
        remarks.push(remark("process.rlimits", State::Full, how));
    }
    let user = process.user();
    let (uid, gid) = worker_ids();
    if (user.uid(), user.gid()) != (uid, gid) {
        let how = format!(
            "uid {uid} and gid {gid} inside, not {} and {}: a worker has the least",
            user.uid(),
            user.gid()
        );
        remarks.push(remark("process.user", State::Partial, how));
    }
    Ok((limits, remarks))
}

fn resource(kind: PosixRlimitType) -> Resource {
    match kind {
        PosixRlimitType::RlimitCpu => Resource::Cpu,
        PosixRlimitType::RlimitFsize => Resource::Fsize,
        PosixRlimitType::RlimitData => Resource::Data,
        PosixRlimitType::RlimitStack => Resource::Stack,
        PosixRlimitType::RlimitCore => Resource::Core,
        PosixRlimitType::RlimitRss => Resource::Rss,
        PosixRlimitType::RlimitNproc => Resource::Nproc,
        PosixRlimitType::RlimitNofile => Resource::Nofile,
        PosixRlimitType::RlimitMemlock => Resource::Memlock,
        PosixRlimitType::RlimitAs => Resource::As,
        PosixRlimitType::RlimitLocks => Resource::Locks,
        PosixRlimitType::RlimitSigpending => Resource::Sigpending,
        PosixRlimitType::RlimitMsgqueue => Resource::Msgqueue,
        PosixRlimitType::RlimitNice => Resource::Nice,
        PosixRlimitType::RlimitRtprio => Resource::Rtprio,
        PosixRlimitType::RlimitRttime => Resource::Rttime,
    }
}

/// What the section on Linux asks for.
///
/// # Errors
/// What cannot be carried, by name, and what to do.
pub(super) fn of_linux(linux: &Linux) -> Result<Asked, String> {
    let mut asked = Asked::default();
    if let Some(list) = linux.namespaces() {
        asked.remarks.extend(namespaces(list)?);
    }
    const DEVICES: [&str; 8] = [
        "/dev/null",
        "/dev/zero",
        "/dev/full",
        "/dev/random",
        "/dev/urandom",
        "/dev/tty",
        "/dev/console",
        "/dev/ptmx",
    ];
    let mut devices = linux.devices().iter().flatten().map(|device| device.path());
    if let Some(path) = devices.find(|path| !DEVICES.iter().any(|known| *path == Path::new(known)))
    {
        return Err(format!(
            "linux.devices has {}, which is not carried; take it out",
            path.display()
        ));
    }
    match linux.rootfs_propagation().as_deref().unwrap_or_default() {
        "" | "private" | "rprivate" | "slave" | "rslave" => {}
        other => {
            return Err(format!(
                "linux.rootfsPropagation is {other}, which is not carried: no mount leaves a \
                 sandbox; take it out"
            ));
        }
    }
    if let Some(resources) = linux.resources() {
        asked.limits = limits(resources)?;
        let devices = resources.devices().iter().flatten();
        if devices.into_iter().any(|rule| rule.allow()) {
            let how = "null, zero, full, random, urandom, tty and terminals, whatever is allowed";
            asked
                .remarks
                .push(remark("linux.resources.devices", State::Partial, how));
        }
    }
    if let Some(section) = linux.seccomp() {
        asked.deny_syscalls = seccomp(section)?;
        let how = format!(
            "{} system calls are denied beside those that always are",
            asked.deny_syscalls.len()
        );
        asked
            .remarks
            .push(remark("linux.seccomp", State::Full, how));
    }
    Ok(asked)
}

fn namespaces(list: &[LinuxNamespace]) -> Result<Option<Mechanism>, String> {
    let mut kinds = HashSet::new();
    for namespace in list {
        let kind = namespace.typ();
        if let Some(path) = namespace
            .path()
            .as_ref()
            .filter(|path| !path.as_os_str().is_empty())
        {
            return Err(format!(
                "linux.namespaces joins the {kind} namespace {}: a sandbox has its own; take the \
                 path out",
                path.display()
            ));
        }
        if kind == LinuxNamespaceType::Time {
            return Err("linux.namespaces has time, which is not carried; take it out".to_owned());
        }
        if !kinds.insert(kind) {
            return Err(format!("linux.namespaces has {kind} twice"));
        }
    }
    let all = [
        LinuxNamespaceType::User,
        LinuxNamespaceType::Mount,
        LinuxNamespaceType::Pid,
        LinuxNamespaceType::Network,
        LinuxNamespaceType::Ipc,
        LinuxNamespaceType::Uts,
        LinuxNamespaceType::Cgroup,
    ];
    let more: Vec<String> = all
        .iter()
        .filter(|kind| !kinds.contains(kind))
        .map(ToString::to_string)
        .collect();
    Ok((!more.is_empty()).then(|| {
        let how = format!("its own also of: {}", more.join(", "));
        remark("linux.namespaces", State::Partial, how)
    }))
}

fn limits(resources: &LinuxResources) -> Result<Limits, String> {
    // Zero, -1 and nothing are no limit.
    let positive = |value: Option<i64>| {
        value
            .and_then(|value| u64::try_from(value).ok())
            .filter(|value| *value > 0)
    };
    let memory = resources
        .memory()
        .as_ref()
        .and_then(|memory| memory.limit());
    let pids = resources.pids().as_ref().map(|pids| pids.limit());
    let cpu = resources.cpu().as_ref();
    let cpus = match positive(cpu.and_then(|cpu| cpu.quota())) {
        None => None,
        Some(quota) => {
            // The kernel's own period is 100 ms (cgroup-v1/cpu, sched-bwc).
            let period = cpu.and_then(|cpu| cpu.period()).unwrap_or(100_000);
            if period == 0 {
                return Err("linux.resources.cpu.period is 0; give microseconds".to_owned());
            }
            Some(quota as f64 / period as f64)
        }
    };
    Ok(Limits {
        memory: positive(memory),
        pids: positive(pids),
        cpus,
        ..Limits::default()
    })
}

/// A list of denied system calls can be added to ours; an allow-list or a rule on arguments can not.
fn seccomp(section: &LinuxSeccomp) -> Result<Vec<String>, String> {
    let refuse = |what: &str| {
        format!(
            "linux.seccomp {what}, which is not carried; take the section out, since a filter is \
             always applied, and deny system calls by name in the policy (antiEscape.denySyscalls)"
        )
    };
    if section.default_action() != LinuxSeccompAction::ScmpActAllow {
        return Err(refuse("allows only what it lists"));
    }
    if section.listener_path().is_some() || section.flags().iter().flatten().next().is_some() {
        return Err(refuse("has flags or a listener"));
    }
    let mut names = Vec::new();
    for entry in section.syscalls().iter().flatten() {
        if entry.action() == LinuxSeccompAction::ScmpActAllow {
            continue;
        }
        let errno = entry.errno_ret().unwrap_or(libc::EPERM as u32);
        if entry.action() != LinuxSeccompAction::ScmpActErrno || errno != libc::EPERM as u32 {
            return Err(refuse("has an action other than EPERM"));
        }
        if entry.args().iter().flatten().next().is_some() {
            return Err(refuse("has a rule on arguments"));
        }
        names.extend(entry.names().iter().cloned());
    }
    names.sort_unstable();
    names.dedup();
    Ok(names)
}
