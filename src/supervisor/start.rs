//! From what was wanted to a launched sandbox: policy, bundle, plan, launch.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::error::RunError;
use super::gate::Gate;
use super::masks::MaskWatch;
use super::options::{PolicyChoice, PolicySource, Program, Surroundings};
use super::prepare::prepare;
use super::sandbox;
use crate::audit::{Event, EventLog, Mechanism};
use crate::ipc::{Channel, Config, DEFAULT_SEGMENT, assets};
use crate::launch::{self, Features, HeldSignals, LaunchError, Launched, StdioRequest};
use crate::oci::{PrepareInput, Prepared, Target, WorkerFiles};
use crate::policy::{Flags, Layer, Limits, LoadError, Policy, RuleMechanism, Vars};

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
    /// Why there are no namespaces, where Landlock and seccomp carry the policy alone.
    pub bare: Option<String>,
    /// When the launch began: the wall limit counts from here.
    pub started: Instant,
    pub session: String,
    pub layers: Vec<String>,
    pub enforced: Vec<Mechanism>,
    pub rules: Vec<RuleMechanism>,
    pub limits: Limits,
    pub gate: Gate,
    pub worker: Option<WorkerStart>,
    pub masks: Option<MaskWatch>,
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
/// policy is whole, the log is open and the start is recorded in it. What the caller prepares,
/// `meanwhile`, is done while the sandbox is being built.
pub(super) fn begin<T>(
    wanted: &Wanted<'_>,
    meanwhile: impl FnOnce() -> Result<T, RunError>,
) -> Result<(Begun, T), RunError> {
    single_threaded()?;
    let session = session_name()?;
    let log = wanted
        .events
        .map(|path| EventLog::open(path, &session))
        .transpose()?;
    let layers = load_layers(wanted.policy)?;
    let names: Vec<String> = layers.iter().map(|layer| layer.name().to_owned()).collect();
    let features = Features::probe();
    let missing = &features.user_namespaces;
    let mut bare = (!missing.available).then(|| missing.why_not.clone().unwrap_or_default());
    let Prepared { policy, request } = prepare(wanted, layers, &features, bare.as_deref())?;
    recorded(&policy, wanted)?;
    let worker = worker_start(wanted)?;
    let limits = request.plan.limits;
    let mut rules = request.plan.mechanisms.clone();
    let mut gate = Gate::new(policy, log, wanted.policy.policies.is_empty());
    gate.record(&Event::SessionStart {
        version: env!("CARGO_PKG_VERSION"),
        supervisor: std::process::id(),
        program: wanted.program.words(),
        layers: names.clone(),
    })?;
    let mut masks = MaskWatch::over(&request)?;
    let held = HeldSignals::hold().map_err(RunError::io("hold back", "signals"))?;
    let started = Instant::now();
    let (mut meanwhile, mut done) = (Some(meanwhile), None);
    let mut prepare_once = || {
        if let Some(meanwhile) = meanwhile.take() {
            done = Some(meanwhile());
        }
    };
    let launched = match launch::launch(request, &mut prepare_once) {
        Err(LaunchError::Namespaces(why)) if bare.is_none() => {
            let layers = load_layers(wanted.policy)?;
            let again = prepare(wanted, layers, &features, Some(&why))?;
            bare = Some(why);
            masks = MaskWatch::over(&again.request)?;
            rules.clone_from(&again.request.plan.mechanisms);
            gate.hold_to(again.policy);
            launch::launch(again.request, &mut prepare_once)?.0
        }
        other => other?.0,
    };
    let done = done.ok_or_else(|| RunError::Worker {
        reason: "the launch did not leave the time to prepare for it".to_owned(),
    });
    let done = match done.and_then(|done| done) {
        Ok(done) => done,
        Err(error) => {
            sandbox::abandon(launched);
            return Err(error);
        }
    };
    let enforced: Vec<Mechanism> = launched.enforced.0.iter().map(mechanism).collect();
    for Mechanism {
        mechanism,
        state,
        detail,
    } in &enforced
    {
        tracing::info!("{mechanism}: {state}: {detail}");
    }
    let event = Event::LaunchEnforced {
        init: launched.pid,
        mechanisms: enforced.clone(),
    };
    if let Err(error) = gate.record(&event) {
        sandbox::abandon(launched);
        return Err(error.into());
    }
    let begun = Begun {
        launched,
        bare,
        started,
        session,
        layers: names,
        enforced,
        rules,
        limits,
        gate,
        worker,
        masks,
        held,
    };
    Ok((begun, done))
}

/// What the bundle needs to know.
pub(super) fn input(
    wanted: &Wanted<'_>,
    layers: Vec<Layer>,
    features: Features,
    bare: Option<String>,
) -> Result<PrepareInput, RunError> {
    let Surroundings {
        env,
        workdir,
        python,
        venv,
        out,
        out_keep,
        bundle,
        rootfs,
    } = wanted.surroundings.clone();
    let (target, worker) = match wanted.program {
        Program::Code { .. } => (
            Target::Python {
                python,
                venv,
                script: None,
            },
            true,
        ),
        Program::Script { path, .. } => {
            let real = path.canonicalize().map_err(unreadable(path))?;
            (
                Target::Python {
                    python,
                    venv,
                    script: Some(real),
                },
                true,
            )
        }
        Program::Command { name, args } => {
            let (name, args) = (Some(name.clone()), args.clone());
            (Target::Command { name, args }, false)
        }
        Program::OfBundle => {
            let (name, args) = (None, Vec::new());
            (Target::Command { name, args }, false)
        }
    };
    Ok(PrepareInput {
        layers,
        target,
        worker: worker.then(|| worker_files(wanted.session)),
        env,
        cwd: workdir,
        out,
        out_keep,
        bundle,
        rootfs,
        stdio: wanted.stdio,
        features,
        umask: umask(),
        bare,
    })
}

fn worker_files(segment: Option<u64>) -> WorkerFiles {
    let mut files = vec![("worker.py".to_owned(), assets::WORKER_PY.to_vec())];
    files.extend(assets::WORKER_PYC.map(|code| ("worker.pyc".to_owned(), code.to_vec())));
    WorkerFiles {
        bootstrap: assets::BOOTSTRAP_PY.to_owned(),
        files,
        segment_bytes: segment.unwrap_or(DEFAULT_SEGMENT),
    }
}

/// The caller's file mode creation mask, which can only be read by setting it. There
/// is no other thread that could make a file in between.
fn umask() -> u32 {
    let mask = rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::umask(mask);
    mask.bits()
}

fn mechanism(mechanism: &launch::Mechanism) -> Mechanism {
    let state = match mechanism.state {
        launch::State::Full => "full",
        launch::State::Partial => "partial",
        launch::State::None => "none",
    };
    let launch::Mechanism {
        mechanism, detail, ..
    } = mechanism.clone();
    Mechanism {
        mechanism,
        state: state.to_owned(),
        detail,
    }
}

/// What a policy wants recorded by name must have a place to be recorded in.
fn recorded(policy: &Policy, wanted: &Wanted<'_>) -> Result<(), RunError> {
    let audit = policy.audit();
    if audit.enabled && !audit.events.is_empty() && wanted.events.is_none() {
        let events = audit.events.join(", ");
        return Err(RunError::NoLog { events });
    }
    Ok(())
}

fn worker_start(wanted: &Wanted<'_>) -> Result<Option<WorkerStart>, RunError> {
    if wanted.session.is_some() {
        return Ok(Some(WorkerStart {
            config: Config::session(),
            code: None,
        }));
    }
    let start = match wanted.program {
        Program::Code { code, name, args } => {
            let argv = std::iter::once(name.clone())
                .chain(args.iter().cloned())
                .collect();
            WorkerStart {
                config: Config::once(argv, None),
                code: Some(code.clone()),
            }
        }
        Program::Script { path, args } => {
            let argv = std::iter::once(path.into())
                .chain(args.iter().cloned())
                .collect();
            let code = read_script(path)?;
            WorkerStart {
                config: Config::once(argv, Some(path.clone())),
                code: Some(code),
            }
        }
        Program::Command { .. } | Program::OfBundle => return Ok(None),
    };
    Ok(Some(start))
}

/// Bytes of the longest script: code is held in memory until the worker took it.
const LONGEST_SCRIPT: u64 = 64 * 1024 * 1024;

fn read_script(path: &Path) -> Result<Vec<u8>, RunError> {
    let file = File::open(path).map_err(unreadable(path))?;
    let mut code = Vec::new();
    let limit = LONGEST_SCRIPT + 1;
    file.take(limit)
        .read_to_end(&mut code)
        .map_err(unreadable(path))?;
    if code.len() as u64 > LONGEST_SCRIPT {
        return Err(unreadable(path)(io::ErrorKind::FileTooLarge.into()));
    }
    Ok(code)
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> RunError {
    let path = path.display().to_string();
    move |error| RunError::Script {
        path,
        missing: error.kind() == io::ErrorKind::NotFound,
        cause: match error.kind() {
            io::ErrorKind::IsADirectory => "it is a directory; name a file in it".to_owned(),
            io::ErrorKind::FileTooLarge => format!("it is longer than {LONGEST_SCRIPT} bytes"),
            _ => error.to_string(),
        },
    }
}

/// A process with threads must not clone itself: the child would have one of
/// them, and the locks of all.
fn single_threaded() -> Result<(), RunError> {
    let counted = launch::thread_count();
    match counted.map_err(RunError::io("count the threads in", "/proc/self/task"))? {
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
    let mut layers = choice
        .policies
        .iter()
        .map(load)
        .collect::<Result<Vec<_>, _>>()?;
    let over_policy = !layers.is_empty();
    layers.push(Layer::from_flags(
        &Flags {
            over_policy,
            ..choice.flags.clone()
        },
        &vars,
    )?);
    for source in &choice.narrowing {
        regular(source)?;
        layers.push(load(source)?);
    }
    layers.extend(project_layers(&choice.project, &vars)?);
    Ok(layers)
}

/// A project may name a pipe without a writer or a device as its policy, which would make us wait
/// for ever; a person may well give one.
fn regular(source: &PolicySource) -> Result<(), LoadError> {
    let PolicySource::File(path) = source else {
        return Ok(());
    };
    let read = |cause| LoadError::Read {
        path: path.clone(),
        cause,
    };
    if path.metadata().map_err(read)?.is_file() {
        Ok(())
    } else {
        let cause = "a project's policy must be a regular file";
        Err(read(io::Error::new(io::ErrorKind::InvalidInput, cause)))
    }
}

/// A project's lists and its limits. A limit that is larger than
/// the person's is no attempt to widen: the smaller one holds, as between any two
/// layers, so limits are a document of their own and not flags.
fn project_layers(project: &Flags, vars: &Vars) -> Result<Vec<Layer>, RunError> {
    let mut layers = Vec::new();
    if project.limits != Limits::default() {
        let given = serde_json::to_value(project.limits)
            .map_err(|error| RunError::io("write", PROJECT)(error.into()))?;
        let given = given.as_object().into_iter().flatten();
        let limits: serde_json::Map<_, _> = given
            .filter(|(_, limit)| !limit.is_null())
            .map(|(name, limit)| (name.clone(), limit.clone()))
            .collect();
        let document = serde_json::json!({ "version": 1, "limits": limits }).to_string();
        layers.push(Layer::parse(document.as_bytes(), PROJECT, vars)?);
    }
    let Flags {
        allow_read,
        deny_read,
        allow_write,
        deny_write,
        allow_net,
        deny_net,
        allow_run,
        deny_run,
        ..
    } = project;
    let paths = [
        allow_read,
        deny_read,
        allow_write,
        deny_write,
        allow_run,
        deny_run,
    ];
    let hosts = [allow_net, deny_net];
    if paths.iter().any(|list| list.is_some()) || hosts.iter().any(|list| list.is_some()) {
        let lists = Flags {
            over_policy: true,
            limits: Limits::default(),
            ..project.clone()
        };
        layers.push(Layer::from_flags(&lists, vars)?);
    }
    Ok(layers)
}

fn no_directory(source: io::Error) -> RunError {
    let object = "the working directory, which this policy speaks of; change to one that is there";
    RunError::io("cannot find", object)(source)
}

/// How a project's limits are named in messages.
const PROJECT: &str = "the project's configuration";

fn vars() -> Result<Vars, RunError> {
    let pwd = std::env::current_dir().map_err(no_directory)?;
    // Without one, a policy that speaks of it is refused: another place in its stead would leave
    // what the policy denies open.
    let home = std::env::var_os("HOME")
        .map(PathBuf::from)
        .unwrap_or_default();
    Ok(Vars {
        home,
        workspace: pwd.clone(),
        pwd,
    })
}
