//! `exec`: a further process in a container that runs.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use oci_spec::runtime::{Capabilities, Capability, LinuxCapabilities, Process, Spec};

use super::create::{hold, limited_outputs};
use super::descriptors::preserved;
use super::foreground::Foreground;
use super::record::{Found, State, Status};
use super::supervised::{Outputs, Request};
use super::{Runtime, VerbError, config, pid_file};
use crate::launch::container::{
    self, Confinement, ContainerError, Execution, ProcessPlan, connect_console,
};
use crate::launch::group::{Group, SubGroups};

/// What `exec` is told.
#[derive(Debug, Clone, Default)]
pub struct ExecInput {
    /// The container's id.
    pub id: String,
    /// What runs.
    pub process: ProcessInput,
    /// Leave it running.
    pub detach: bool,
    /// The socket that takes the terminal's master.
    pub console_socket: Option<PathBuf>,
    /// The file that takes the process's pid.
    pub pid_file: Option<PathBuf>,
    /// How many descriptors from 3 on are the process's.
    pub preserve_fds: u32,
    /// Groups below the container's, as `PATH` or `CONTROLLER:PATH`.
    pub cgroups: Vec<String>,
    /// Join a container whose processes are frozen.
    pub ignore_paused: bool,
    /// Keep the caller's session keyring.
    pub no_new_keyring: bool,
}

/// The process of `exec`: whole from a file, or the container's own with changes.
#[derive(Debug, Clone, Default)]
pub struct ProcessInput {
    /// A file that has the specification's `process`.
    pub file: Option<PathBuf>,
    /// The program and its arguments.
    pub args: Vec<String>,
    /// Working directory.
    pub cwd: Option<PathBuf>,
    /// Variables to add, as `KEY=value`.
    pub env: Vec<String>,
    /// Give it a terminal.
    pub terminal: bool,
    /// User id and, if given, group id.
    pub user: Option<(u32, Option<u32>)>,
    /// Supplementary group ids to add.
    pub additional_gids: Vec<u32>,
    /// Capabilities to add, as `CAP_NET_RAW`.
    pub capabilities: Vec<String>,
    /// The AppArmor profile.
    pub apparmor: Option<String>,
    /// The SELinux label.
    pub selinux: Option<String>,
    /// Set no_new_privs.
    pub no_new_privileges: bool,
}

impl Runtime {
    /// Runs a process in a container; gives its exit status, or 0 when it goes on by itself.
    ///
    /// # Errors
    /// See [`VerbError`]; nothing runs then.
    pub fn exec(&self, input: &ExecInput) -> Result<u8, VerbError> {
        let preserved = preserved(input.preserve_fds);
        let found = self.seen(&input.id)?;
        match found.status {
            Status::Running | Status::Created => {}
            Status::Paused if input.ignore_paused => {}
            Status::Paused => return Err(VerbError::Paused(input.id.clone())),
            _ => return Err(found.wrong_state("exec in", "; container not running")),
        }
        let spec = found.entry.config()?;
        let process = input.process.process(&spec)?;
        let mut plan = ProcessPlan::of(&process, &spec)?;
        plan.preserved_fds = preserved;
        hold(&mut plan, found.record.policy.as_ref());
        if input.detach {
            let console = self.console(input, plan.terminal)?;
            self.execute(input, &found, plan, console)?;
            return Ok(0);
        }
        let wants_terminal = plan.terminal && input.console_socket.is_none();
        let (foreground, own) = Foreground::prepare(wants_terminal)?;
        let console = match own {
            Some(socket) => Some(socket),
            None => self.console(input, plan.terminal)?,
        };
        let (pid, outputs) = self.execute(input, &found, plan, console)?;
        let status = foreground.attend(pid, None)?;
        if let Some(outputs) = outputs {
            let waited = outputs.wait_for_copies();
            waited.map_err(VerbError::system("wait for", "the output of the process"))?;
        }
        Ok(status)
    }

    fn console(&self, input: &ExecInput, terminal: bool) -> Result<Option<OwnedFd>, VerbError> {
        match (&input.console_socket, terminal) {
            (Some(path), true) => Ok(Some(connect_console(path)?)),
            (_, false) => Ok(None),
            (None, true) => Err(VerbError::argument(
                "--console-socket",
                "the process has a terminal: name the socket that takes it",
            )),
        }
    }

    fn execute(
        &self,
        input: &ExecInput,
        found: &Found,
        mut process: ProcessPlan,
        console_socket: Option<OwnedFd>,
    ) -> Result<(i32, Option<Outputs>), VerbError> {
        let first = found.living("exec in")?;
        let confinement = confinement(found)?;
        if let Some(policy) = &found.record.policy
            && policy.bounds.output().is_some()
            && process.terminal
        {
            return Err(VerbError::Policy {
                name: policy.names.join(", "),
                cause: "limits.output does not hold what is written to a terminal; run it without \
                        one"
                .to_owned(),
            });
        }
        let mut outputs = limited_outputs(found.record.policy.as_ref())?;
        process.outputs = outputs.as_mut().and_then(Outputs::take_inside);
        let request = Request::Exec {
            program: process.args.clone(),
            uid: process.uid,
        };
        found.ask_with(&request, outputs.as_ref())?;
        let state = serde_json::to_vec(&State::of(&found.record, found.status))
            .map_err(|error| VerbError::system("write", "the container's state")(error.into()))?;
        let execution = Execution {
            id: &input.id,
            first: (first.pid, first.pidfd()),
            process,
            confinement,
            group: &Group::of(&found.record.group),
            sub_groups: &SubGroups::parse(&input.cgroups)?,
            console_socket,
            no_new_keyring: input.no_new_keyring,
            state: &state,
        };
        let mut ready = |pid| match &input.pid_file {
            Some(path) => pid_file::write(path, pid),
            None => Ok(()),
        };
        Ok((container::execute(execution, &mut ready)?, outputs))
    }
}

/// What holds the processes of the container; without it nothing runs beside the first one.
fn confinement(found: &Found) -> Result<Option<Confinement>, VerbError> {
    match &found.record.policy {
        None => Ok(None),
        Some(policy) => match &policy.confinement {
            Some(confinement) => Ok(Some(confinement.clone())),
            None => Err(found.wrong_state("exec in", "; what its policy holds is not known")),
        },
    }
}

impl ProcessInput {
    fn process(&self, spec: &Spec) -> Result<Process, VerbError> {
        if let Some(path) = &self.file {
            let object = path.display().to_string();
            let bytes = std::fs::read(path).map_err(VerbError::system("read", object))?;
            return Ok(config::parse_process(&bytes)?);
        }
        let own = spec.process().clone();
        let mut process = own.ok_or_else(|| ContainerError::invalid("process", "it is missing"))?;
        process.set_args(Some(self.args.clone()));
        process.set_terminal(Some(self.terminal));
        if let Some(cwd) = &self.cwd {
            process.set_cwd(cwd.clone());
        }
        let mut env = process.env().clone().unwrap_or_default();
        env.extend(self.env.iter().cloned());
        process.set_env(Some(env));
        if let Some((uid, gid)) = self.user {
            process.user_mut().set_uid(uid);
            if let Some(gid) = gid {
                process.user_mut().set_gid(gid);
            }
        }
        let mut groups = process.user().additional_gids().clone().unwrap_or_default();
        groups.extend(&self.additional_gids);
        process.user_mut().set_additional_gids(Some(groups));
        if self.apparmor.is_some() {
            process.set_apparmor_profile(self.apparmor.clone());
        }
        if self.selinux.is_some() {
            process.set_selinux_label(self.selinux.clone());
        }
        if self.no_new_privileges {
            process.set_no_new_privileges(Some(true));
        }
        self.add_capabilities(&mut process);
        Ok(process)
    }

    fn add_capabilities(&self, process: &mut Process) {
        if self.capabilities.is_empty() {
            return;
        }
        let mut added = Capabilities::new();
        for name in &self.capabilities {
            let upper = name.to_ascii_uppercase();
            let short = upper.strip_prefix("CAP_").unwrap_or(&upper);
            match short.parse::<Capability>() {
                Ok(capability) => {
                    added.insert(capability);
                }
                // As in the configuration.
                Err(_) => tracing::warn!(%name, "a capability that is not known is left out"),
            }
        }
        let mut sets = process.capabilities().clone().unwrap_or_else(|| {
            let mut none = LinuxCapabilities::default();
            none.set_bounding(None)
                .set_effective(None)
                .set_inheritable(None)
                .set_permitted(None)
                .set_ambient(None);
            none
        });
        let with = |set: &Option<Capabilities>| {
            let mut set = set.clone().unwrap_or_default();
            set.extend(&added);
            Some(set)
        };
        let (bounding, effective, permitted, ambient) = (
            with(sets.bounding()),
            with(sets.effective()),
            with(sets.permitted()),
            with(sets.ambient()),
        );
        sets.set_bounding(bounding)
            .set_effective(effective)
            .set_permitted(permitted)
            .set_ambient(ambient);
        process.set_capabilities(Some(sets));
    }
}
