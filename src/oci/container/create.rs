//! `create`: everything up to the first process's wait for its start.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use chrono::{SecondsFormat, Utc};
use oci_spec::runtime::Spec;

use super::check::check;
use super::descriptors::{listen_descriptors, preserved};
use super::policy::{self, Chosen, Egress, PolicyRecord, Texts};
use super::record::{ProcessRecord, Record, State, Status};
use super::store::Entry;
use super::supervised::{self, Beginning, Judging, Leading, Outputs};
use super::{Runtime, VerbError, config, pid_file, readiness};
use crate::launch::Failure;
use crate::launch::container::{
    self, Confinement, ContainerError, Creation, Ends, Gate, Isolation, ProcessPlan, Steps, WayOut,
    connect_console,
};
use crate::launch::group::{Group, GroupError, GroupRecord, GroupRequest};
use crate::launch::rootfs::{Cgroups, Rootfs, RootfsFacts};

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
    /// The program and its arguments.
    program: Vec<String>,
    /// The policy's documents.
    texts: Option<Texts>,
    /// Where its connections are made, if it may have any.
    egress: Option<Egress>,
    /// Its output, where it is limited.
    outputs: Option<Outputs>,
    pid_file: Option<&'a Path>,
}

impl Steps for Recorder<'_> {
    fn born(&mut self, pid: i32) -> Result<Vec<u8>, ContainerError> {
        let first = ProcessRecord::of(pid).map_err(|source| ContainerError::System {
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
        ends: Ends,
    ) -> Result<(), ContainerError> {
        if let Some(policy) = &mut self.record.policy {
            policy.confinement = confinement;
        }
        self.supervise(&ends)?;
        self.record.complete = true;
        self.write()?;
        match self.pid_file {
            Some(path) => pid_file::write(path, pid),
            None => Ok(()),
        }
    }
}

impl Recorder<'_> {
    /// Leaves a supervisor beside a container that has a policy.
    fn supervise(&mut self, ends: &Ends) -> Result<(), ContainerError> {
        let way_out = self.leading(ends)?;
        let (Some(policy), Some(first)) = (&mut self.record.policy, self.record.first) else {
            return Ok(());
        };
        let Some(confinement) = &mut policy.confinement else {
            return Ok(());
        };
        let oracle = confinement.oracle.take();
        if let Some(way_out) = &way_out {
            confinement
                .mechanisms
                .push(policy::egress::mechanism(way_out));
        }
        let Some(confinement) = &policy.confinement else {
            return Ok(());
        };
        let beginning = Beginning {
            id: self.record.id.clone(),
            dir: self.entry.path().to_owned(),
            first,
            group: self.record.group.clone(),
            program: std::mem::take(&mut self.program),
            layers: policy.names.clone(),
            mechanisms: policy.enforced(confinement),
            masks: confinement.masks.clone(),
            absent: confinement.absent.clone(),
            wall: policy.bounds.wall(),
            output: policy.bounds.output(),
            events: policy.events.clone(),
            judging: self
                .texts
                .take()
                .zip(oracle)
                .map(|(texts, oracle)| Judging { texts, oracle }),
            channel: ends.channel.is_some(),
            way_out,
        };
        let begun = supervised::begin(&beginning, ends, self.outputs.as_ref());
        policy.supervisor = Some(begun.map_err(|source| ContainerError::System {
            operation: "start",
            object: "the supervisor".to_owned(),
            source,
        })?);
        Ok(())
    }

    /// What the supervisor is told of what leaves.
    fn leading(&mut self, ends: &Ends) -> Result<Option<Leading>, ContainerError> {
        let shape = ends.way_out.as_ref().map(WayOut::shape);
        let Some((shape, egress)) = shape.zip(self.egress.take()) else {
            return Ok(None);
        };
        let policy = self.record.policy.as_ref();
        let record = policy.and_then(|policy| policy.reading.as_ref());
        let failed =
            |cause: String| ContainerError::Failed(Failure::new("carry out", "the policy", cause));
        let reading = match (record, &ends.trust, &self.texts) {
            (None, None, _) => None,
            (Some(record), Some(trust), Some(texts)) => {
                let told = record.told(texts, trust);
                Some(told.map_err(|error| failed(error.to_string()))?)
            }
            _ => {
                return Err(failed(
                    "what it takes to read requests is not whole".to_owned(),
                ));
            }
        };
        egress.leading(shape, reading).map(Some)
    }

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
        let bundle = resolved(&input.bundle, "find the bundle")?;
        let (text, spec) = config::read(&config_path(input, &bundle))?;
        let mut prepared = self.prepare(spec, bundle)?;
        let handed = listen_descriptors(&mut prepared.process);
        prepared.process.preserved_fds = preserved(input.preserve_fds.saturating_add(handed));
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
        let mut outputs = limited_outputs(chosen.as_ref().map(|chosen| &chosen.record))?;
        prepared.process.outputs = outputs.as_mut().and_then(Outputs::take_inside);
        readiness::prepare(
            entry,
            &mut prepared.spec,
            &mut prepared.process,
            &prepared.isolation,
        )?;
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
            root_mount: None,
            own_pids: prepared.isolation.makes_pid_namespace(),
            policy: chosen.as_ref().map(|chosen| chosen.record.clone()),
            complete: false,
        };
        entry.write_config(text)?;
        if let Some(chosen) = &chosen {
            entry.write_policy(&policy::kept(&chosen.texts)?)?;
        }
        entry.write_state(&record)?;
        let mut group = match Group::create(&request) {
            Ok(group) => group,
            Err(error) => {
                // None of it is there, and what is there by now is somebody else's.
                record.group = GroupRecord::default();
                entry.write_state(&record)?;
                return Err(blamed(error, record.policy.as_ref()));
            }
        };
        if record.group != *group.record() {
            record.group = group.record().clone();
            entry.write_state(&record)?;
        }
        check_limits(&record)?;
        let facts = facts(&prepared.isolation, group.record())?;
        let rootfs = Rootfs::prepare(spec, &prepared.bundle, &facts)
            .map_err(|error| ContainerError::Rootfs(error.to_string()))?;
        if let Some(mount) = rootfs.own_mount() {
            // Before it is attached: nothing else finds it again.
            record.root_mount = Some(mount.clone());
            entry.write_state(&record)?;
        }
        // Hooks run where the bundle is.
        rustix::process::chdir(&prepared.bundle).map_err(|error| {
            VerbError::system("enter", prepared.bundle.display().to_string())(error.into())
        })?;
        let (kept, policy) = chosen
            .map(|chosen| ((chosen.texts, chosen.egress), chosen.request))
            .unzip();
        let (texts, egress) = kept.unzip();
        let creation = Creation {
            id: &input.id,
            spec,
            process: prepared.process,
            isolation: prepared.isolation,
            rootfs,
            policy,
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
            program: spec_args(spec),
            texts,
            egress,
            outputs,
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
                if let Some(events) = &self.policy.events {
                    tracing::warn!(
                        "nothing is recorded in {}: the container has no policy",
                        events.display()
                    );
                }
                None
            }
        };
        let mut process = ProcessPlan::of_spec(&spec)?;
        hold(&mut process, policy.as_ref().map(|policy| &policy.record));
        let isolation = Isolation::of(&spec)?;
        check(&spec, &isolation)?;
        let root = spec.root().as_ref().map(|root| root.path());
        let root = root.ok_or_else(|| ContainerError::invalid("root", "it is missing"))?;
        if root.as_os_str().is_empty() {
            return Err(ContainerError::invalid("root.path", "it is empty").into());
        }
        let rootfs = resolved(&bundle.join(root), "find the root file system")?;
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
            disabled: self.no_cgroup,
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
    let cause = match (record.group.is_empty(), policy.bounds.need_a_group()) {
        (true, true) => {
            "it limits memory, processes or processors, and there is no control group to hold \
             that; take the limits out, or let the caller make one"
        }
        (true, false) if !record.own_pids => {
            "without a control group and a pid namespace of its own nothing ends the processes that \
             the container's first one leaves; add a pid namespace, or let the caller make a group"
        }
        _ => return Ok(()),
    };
    Err(VerbError::Policy {
        name: policy.names.join(", "),
        cause: cause.to_owned(),
    })
}

/// A limit that nothing here holds may be the policy's and not the configuration's.
fn blamed(error: GroupError, policy: Option<&PolicyRecord>) -> VerbError {
    match (&error, policy) {
        (GroupError::Unheld { .. }, Some(policy)) if policy.bounds.need_a_group() => {
            VerbError::Policy {
                name: policy.names.join(", "),
                cause: format!("it limits memory, processes or processors: {error}"),
            }
        }
        _ => error.into(),
    }
}

fn spec_args(spec: &Spec) -> Vec<String> {
    let process = spec.process().as_ref();
    let args = process.and_then(|process| process.args().clone());
    args.unwrap_or_default()
}

/// The way of a process's output where a policy limits it.
pub(super) fn limited_outputs(policy: Option<&PolicyRecord>) -> Result<Option<Outputs>, VerbError> {
    let is_limited = policy.is_some_and(|policy| policy.bounds.output().is_some());
    is_limited
        .then(Outputs::make)
        .transpose()
        .map_err(VerbError::system("make", "the pipes of limits.output"))
}

/// What a policy asks of every process.
pub(super) fn hold(process: &mut ProcessPlan, policy: Option<&PolicyRecord>) {
    if let Some(policy) = policy {
        process.no_new_privileges = true;
        if let Some(reading) = &policy.reading {
            reading.tell(&mut process.env);
        }
        policy.bounds.narrow_descriptors(&mut process.rlimits);
    }
}

fn resolved(path: &Path, operation: &'static str) -> Result<PathBuf, VerbError> {
    std::fs::canonicalize(path).map_err(VerbError::system(operation, path.display().to_string()))
}

fn console(prepared: &Prepared, input: &CreateInput) -> Result<Option<OwnedFd>, VerbError> {
    match (&input.console_socket, prepared.process.terminal) {
        (Some(path), true) => Ok(Some(connect_console(path)?)),
        (None, false) => Ok(None),
        (None, true) => Err(VerbError::argument(
            "--console-socket",
            "process.terminal is true: use --console-socket for the socket that takes the terminal",
        )),
        (Some(path), false) => Err(VerbError::argument(
            format!("--console-socket {}", path.display()),
            "process.terminal is false: there is no terminal to hand over",
        )),
    }
}

fn facts(isolation: &Isolation, group: &GroupRecord) -> Result<RootfsFacts, VerbError> {
    let cgroups = if group.is_empty() {
        // It stays where its caller is.
        Cgroups::of(&GroupRecord::of_caller()?)
    } else {
        Cgroups::of(group)
    };
    Ok(RootfsFacts {
        user_namespace: isolation.has_user_namespace(),
        mount_namespace: isolation.has_mount_namespace(),
        cgroup_namespace: isolation.has_cgroup_namespace(),
        cgroups,
    })
}
