//! From what was wanted to a launched sandbox: policy, bundle, plan, launch.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::error::RunError;
use super::gate::Gate;
use super::options::{PolicyChoice, PolicySource, Program, Surroundings};
use crate::audit::{Event, EventLog, Mechanism};
use crate::ipc::{Channel, Config};
use crate::launch::{self, Launched, StdioRequest};
use crate::oci;
use crate::policy::{Flags, Grant, Layer, Limits, Perm, Policy, Request, RuleMechanism, Vars};
use crate::sys::signal::HeldSignals;

/// What is to be started.
pub(super) struct Wanted<'a> {
    pub program: &'a Program,
    pub policy: &'a PolicyChoice,
    pub surroundings: &'a Surroundings,
    /// The size of the segment of a library session; `None` for a run.
    pub session: Option<u64>,
    pub stdio: StdioRequest,
    pub events: Option<&'a Path>,
    pub report: Option<&'a Path>,
}

/// A sandbox that has been launched, with everything that its loop needs.
pub(super) struct Begun {
    pub launched: Launched,
    /// When the launch began: the wall limit counts from here.
    pub started: Instant,
    pub session: String,
    pub layers: Vec<String>,
    pub enforced: Vec<Mechanism>,
    pub rules: Vec<RuleMechanism>,
    pub limits: Limits,
    pub gate: Gate,
    pub worker: Option<WorkerStart>,
    /// Signals that end us wait until there is a loop to take them.
    pub held: HeldSignals,
}

/// What the worker is told first.
pub(super) struct WorkerStart {
    config: Config,
    code: Option<Vec<u8>>,
}

impl WorkerStart {
    /// Opens the channel and leaves configuration and code in it, for the worker to
    /// find when it is there.
    pub(super) fn open(self, ends: Option<(OwnedFd, File)>) -> Result<Channel, RunError> {
        let (listener, segment) = ends.ok_or_else(|| RunError::Worker {
            reason: "the launch gave no channel".to_owned(),
        })?;
        let mut channel = Channel::new(listener, segment)?;
        channel.send_config(&self.config)?;
        if let Some(code) = self.code {
            channel.send_code(&code)?;
        }
        Ok(channel)
    }
}

/// Starts what is wanted. The order is the contract: nothing is launched before the
/// policy is whole, the log is open and the start is recorded in it.
pub(super) fn begin(wanted: &Wanted<'_>) -> Result<Begun, RunError> {
    single_threaded()?;
    let session = session_name()?;
    let log = wanted.events.map(|path| EventLog::open(path, &session)).transpose()?;
    let layers = load_layers(wanted.policy)?;
    let names: Vec<String> = layers.iter().map(|layer| layer.name().to_owned()).collect();
    todo!()
}

/// A process with threads must not clone itself: the child would have one of
/// them, and the locks of all.
fn single_threaded() -> Result<(), RunError> {
    let tasks = std::fs::read_dir("/proc/self/task")
        .map_err(RunError::io("count the threads in", "/proc/self/task"))?;
    match tasks.count() {
        0 | 1 => Ok(()),
        count => Err(RunError::Threads { count }),
    }
}

/// 64 random bits in hexadecimal.
fn session_name() -> Result<String, RunError> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|errno| RunError::io("draw", "random bytes")(errno.into()))?;
    Ok(format!("{:016x}", u64::from_ne_bytes(bytes)))
}

/// The layers, lowest first. A project's own can only narrow, so they stand above
/// a base that does not depend on them.
fn load_layers(choice: &PolicyChoice) -> Result<Vec<Layer>, RunError> {
    let vars = vars()?;
    let load = |source: &PolicySource| match source {
        PolicySource::File(path) => Layer::load(path, &vars),
        PolicySource::Shipped(name) => Layer::shipped(name, &vars),
    };
    let mut layers = choice.policies.iter().map(load).collect::<Result<Vec<_>, _>>()?;
    let over_policy = !layers.is_empty();
    layers.push(Layer::from_flags(&Flags { over_policy, ..choice.flags.clone() }, &vars)?);
    for source in &choice.narrowing {
        layers.push(load(source)?);
    }
    layers.push(Layer::from_flags(&Flags { over_policy: true, ..choice.project.clone() }, &vars)?);
    Ok(layers)
}

fn vars() -> Result<Vars, RunError> {
    let pwd = std::env::current_dir().map_err(RunError::io("find", "the working directory"))?;
    let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("/"), PathBuf::from);
    Ok(Vars { home, workspace: pwd.clone(), pwd })
}
