//! `create`: everything up to the first process's wait for its start.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use chrono::{SecondsFormat, Utc};
use oci_spec::runtime::Spec;

use super::check::check;
use super::policy::{self, Chosen, PolicyRecord};
use super::record::{FirstProcess, Record, State, Status};
use super::store::Entry;
use super::{Runtime, VerbError, config, pid_file};
use crate::launch::container::{
    self, Confinement, ContainerError, Creation, Gate, Isolation, ProcessPlan, Steps,
    connect_console,
};
use crate::launch::group::{Group, GroupRecord, GroupRequest};
use crate::launch::rootfs::{Cgroups, Hierarchy, Rootfs, RootfsFacts};

/// What `create` is told.
#[derive(Debug, Clone, Default)]
pub struct CreateInput {
    /// The container's id.
    pub id: String,
    /// The bundle's directory.
    pub bundle: PathBuf,
    /// The configuration, where it is not the bundle's config.json.
    pub config: Option<PathBuf>,
    /// The socket that takes the terminal's master.
    pub console_socket: Option<PathBuf>,
    /// The file that takes the first process's pid.
    pub pid_file: Option<PathBuf>,
    /// Change the root by chroot(2).
    pub no_pivot: bool,
    /// Keep the caller's session keyring.
    pub no_new_keyring: bool,
    /// How many descriptors from 3 on are the container's.
    pub preserve_fds: u32,
}

/// A configuration that was read and can be carried out as far as can be told beforehand.
struct Prepared {
    spec: Spec,
    process: ProcessPlan,
    isolation: Isolation,
    bundle: PathBuf,
    rootfs: PathBuf,
    policy: Option<Chosen>,
}

/// What the launch is told on the way.
struct Recorder<'a> {
    entry: &'a Entry,
    record: &'a mut Record,
    pid_file: Option<&'a Path>,
}

impl Steps for Recorder<'_> {
    fn born(&mut self, pid: i32) -> Result<Vec<u8>, ContainerError> {
        let first = FirstProcess::of(pid).map_err(|source| ContainerError::System {
            operation: "look at",
            object: "the container's first process".to_owned(),
            source,
        })?;
        self.record.first = Some(first);
        self.write()?;
        let state = State::of(self.record, Status::Creating);
        serde_json::to_vec(&state).map_err(|error| ContainerError::Recording(error.to_string()))
    }

    fn created(
        &mut self,
        pid: i32,
        confinement: Option<Confinement>,
    ) -> Result<(), ContainerError> {
        self.record.complete = true;
        if let Some(policy) = &mut self.record.policy {
            policy.confinement = confinement;
        }
        self.write()?;
        match self.pid_file {
            Some(path) => pid_file::write(path, pid),
            None => Ok(()),
        }
    }
}

impl Recorder<'_> {
    fn write(&self) -> Result<(), ContainerError> {
        let written = self.entry.write_state(self.record);
        written.map_err(|error| ContainerError::Recording(error.to_string()))
    }
}

impl Runtime {
    /// Creates a container; gives the pid of its first process, which waits for its start.
    ///
    /// # Errors
    /// See [`VerbError`]; nothing is left then.
    pub fn create(&self, input: &CreateInput) -> Result<i32, VerbError> {
        self.create_with(input, None)
    }

    /// Whether the process of the configuration has a terminal.
    pub(super) fn has_terminal(&self, input: &CreateInput) -> Result<bool, VerbError> {
        let bundle = resolved(&input.bundle, "find the bundle")?;
        let (_, spec) = config::read(&config_path(input, &bundle))?;
        let process = spec.process().as_ref();
        Ok(process
            .and_then(|process| process.terminal())
            .unwrap_or(false))
    }

    /// As `create`, with `own_console` in place of a console socket by its path.
    pub(super) fn create_with(
        &self,
        input: &CreateInput,
        own_console: Option<OwnedFd>,
    ) -> Result<i32, VerbError> {
        check_descriptors(input.preserve_fds)?;
        let bundle = resolved(&input.bundle, "find the bundle")?;
        let (text, spec) = config::read(&config_path(input, &bundle))?;
        let mut prepared = self.prepare(spec, bundle)?;
        prepared.process.preserve_fds =
            input.preserve_fds + listen_descriptors(&mut prepared.process);
        let console = match own_console {
            Some(socket) => Some(socket),
            None => console(&prepared, input)?,
        };
        let entry = self.store.make(&input.id)?;
        match self.create_in(&entry, prepared, &text, input, console) {
            Ok(pid) => Ok(pid),
            Err(error) => {
                if let Err(leftover) = self.clear(entry) {
                    tracing::warn!(%leftover, "something of the failed container stays behind");
                }
                Err(error)
            }
        }
    }

    fn create_in(
        &self,
        entry: &Entry,
        mut prepared: Prepared,
        text: &[u8],
        input: &CreateInput,
        console_socket: Option<OwnedFd>,
    ) -> Result<i32, VerbError> {
        let chosen = prepared.policy.take();
        let spec = &prepared.spec;
        let request = self.group_request(spec, &input.id);
        let mut record = Record {
            id: input.id.clone(),
            oci_version: spec.version().clone(),
            bundle: prepared.bundle.clone(),
            rootfs: prepared.rootfs.clone(),
            created: Utc::now().to_rfc3339_opts(SecondsFormat::Nanos, true),
            owner: rustix::process::getuid().as_raw(),
            annotations: spec.annotations().clone().unwrap_or_default(),
            first: None,
            group: Group::planned(&request)?,
            own_pids: prepared.isolation.makes_pid_namespace(),
            policy: chosen.as_ref().map(|chosen| chosen.record.clone()),
            complete: false,
        };
        entry.write_config(text)?;
        if let Some(chosen) = &chosen {
            entry.write_policy(&policy::kept(&chosen.documents)?)?;
        }
        entry.write_state(&record)?;
        let mut group = match Group::create(&request) {
            Ok(group) => group,
            Err(error) => {
                // None of it is there, and what is there by now is somebody else's.
                record.group = GroupRecord::default();
                entry.write_state(&record)?;
                return Err(error.into());
            }
        };
        if record.group != *group.record() {
            record.group = group.record().clone();
            entry.write_state(&record)?;
        }
        check_limits(&record)?;
        let facts = facts(&prepared.isolation, group.record());
        let rootfs = Rootfs::prepare(spec, &prepared.bundle, &facts)
            .map_err(|error| ContainerError::Rootfs(error.to_string()))?;
        // Hooks run where the bundle is.
        rustix::process::chdir(&prepared.bundle).map_err(|error| {
            VerbError::system("enter", prepared.bundle.display().to_string())(error.into())
        })?;
        let creation = Creation {
            id: &input.id,
            spec,
            process: prepared.process,
            isolation: prepared.isolation,
            rootfs,
            policy: chosen.map(|chosen| chosen.request),
            gate: Gate::make(entry.dir())?,
            group: &group,
            console_socket,
            lock: entry.dir(),
            no_pivot: input.no_pivot,
            no_new_keyring: input.no_new_keyring,
        };
        let mut recorder = Recorder {
            entry,
            record: &mut record,
            pid_file: input.pid_file.as_deref(),
        };
        let pid = container::create(creation, &mut recorder)?;
        group.entered()?;
        Ok(pid)
    }

    fn prepare(&self, mut spec: Spec, bundle: PathBuf) -> Result<Prepared, VerbError> {
        let policy = match self
            .policy
            .choose(&mut spec, crate::launch::landlock_abi())?
        {
            Some(policy) => {
                tracing::debug!(names = ?policy.record.names, "the container has a policy");
                Some(policy)
            }
            None => {
                tracing::debug!("no policy: this is a plain OCI container");
                None
            }
        };
        let mut process = ProcessPlan::of_spec(&spec)?;
        hold(&mut process, policy.as_ref().map(|policy| &policy.record));
        let isolation = Isolation::of(&spec)?;
        check(&spec, &isolation)?;
        let root = spec.root().as_ref().map(|root| bundle.join(root.path()));
        let root = root.ok_or_else(|| ContainerError::invalid("root", "it is missing"))?;
        let rootfs = resolved(&root, "find the root file system")?;
        Ok(Prepared {
            spec,
            process,
            isolation,
            bundle,
            rootfs,
            policy,
        })
    }

    /// What the container of `spec` asks of its control group.
    pub(super) fn group_request<'a>(&self, spec: &'a Spec, id: &'a str) -> GroupRequest<'a> {
        let linux = spec.linux().as_ref();
        GroupRequest {
            path: linux.and_then(|linux| linux.cgroups_path().as_deref()),
            id,
            rootless: self.rootless,
            resources: linux.and_then(|linux| linux.resources().as_ref()),
            systemd: self.systemd_cgroup,
            annotations: spec.annotations().as_ref(),
        }
    }
}

fn config_path(input: &CreateInput, bundle: &Path) -> PathBuf {
    match &input.config {
        Some(path) => path.clone(),
        None => bundle.join("config.json"),
    }
}

/// A group that is not there holds no limit, and callers without the right to make one go on.
fn check_limits(record: &Record) -> Result<(), VerbError> {
    let Some(policy) = &record.policy else {
        return Ok(());
    };
    match policy.bounds.need_a_group() && record.group.is_empty() {
        false => Ok(()),
        true => Err(VerbError::Policy {
            name: policy.names.join(", "),
            cause: "it limits memory, processes or processors, and there is no control group to \
                    hold that; take the limits out, or let the caller make one"
                .to_owned(),
        }),
    }
}

/// What a policy asks of every process.
pub(super) fn hold(process: &mut ProcessPlan, policy: Option<&PolicyRecord>) {
    if let Some(policy) = policy {
        process.no_new_privileges = true;
        policy.bounds.narrow_descriptors(&mut process.rlimits);
    }
}

fn resolved(path: &Path, operation: &'static str) -> Result<PathBuf, VerbError> {
    std::fs::canonicalize(path).map_err(VerbError::system(operation, path.display().to_string()))
}

/// Descriptors that are not there would be somebody else's by the time the program runs.
pub(super) fn check_descriptors(preserved: u32) -> Result<(), VerbError> {
    for number in (3..).take(preserved as usize) {
        if std::fs::symlink_metadata(format!("/proc/self/fd/{number}")).is_err() {
            return Err(VerbError::argument(
                format!("--preserve-fds {preserved}"),
                format!("descriptor {number} is not open"),
            ));
        }
    }
    Ok(())
}

/// Sockets that a service manager hands over (sd_listen_fds(3)): as many descriptors more, and the
/// variables that tell of them, of which one is the receiver's pid.
fn listen_descriptors(process: &mut ProcessPlan) -> u32 {
    let listed = std::env::var("LISTEN_FDS").ok();
    let count = listed
        .and_then(|text| text.parse::<u32>().ok())
        .unwrap_or(0);
    if count > 0 && check_descriptors(count).is_ok() {
        let ours = ["LISTEN_FDS=", "LISTEN_PID="];
        process
            .env
            .retain(|entry| !ours.iter().any(|name| entry.starts_with(name)));
        process.env.push(format!("LISTEN_FDS={count}"));
        process.env.push("LISTEN_PID=1".to_owned());
        return count;
    }
    0
}

fn console(prepared: &Prepared, input: &CreateInput) -> Result<Option<OwnedFd>, VerbError> {
    match (&input.console_socket, prepared.process.terminal) {
        (Some(path), true) => Ok(Some(connect_console(path)?)),
        (None, false) => Ok(None),
        (None, true) => Err(VerbError::argument(
            "--console-socket",
            "process.terminal is true: name the socket that takes the terminal",
        )),
        (Some(path), false) => Err(VerbError::argument(
            format!("--console-socket {}", path.display()),
            "process.terminal is false: there is no terminal to hand over",
        )),
    }
}

fn facts(isolation: &Isolation, group: &GroupRecord) -> RootfsFacts {
    RootfsFacts {
        user_namespace: isolation.has_user_namespace(),
        mount_namespace: isolation.has_mount_namespace(),
        cgroup_namespace: isolation.has_cgroup_namespace(),
        cgroups: view(group),
    }
}

/// What a mount of the type cgroup shows of the group.
fn view(group: &GroupRecord) -> Cgroups {
    if let Some(path) = group.v2() {
        return Cgroups::V2 {
            mount: PathBuf::from("/sys/fs/cgroup"),
            group: Some(path.to_owned()),
        };
    }
    if group.v1.is_empty() {
        return Cgroups::None;
    }
    let hierarchy = |one: &crate::launch::group::HierarchyRecord| Hierarchy {
        name: one.controllers.trim_start_matches("name=").to_owned(),
        options: one.controllers.clone(),
        group: one.path.clone(),
    };
    Cgroups::V1(group.v1.iter().map(hierarchy).collect())
}
