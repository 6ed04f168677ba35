//! From what was wanted to a launched sandbox: policy, bundle, plan, launch.

use std::path::Path;
use std::time::Instant;

use super::error::RunError;
use super::gate::Gate;
use super::layers::{load_layers, vars};
use super::learner::{LearnedFile, Learner};
use super::masks::MaskWatch;
use super::options::{PolicyChoice, Program, Surroundings};
use super::prepare::{prepare, unseen, worker_files, writable};
use super::reload::{Found, Ground, Listening, digest, directory, tidy};
use super::sandbox;
use super::secrets;
use super::worker::{WorkerStart, worker_start};
use crate::audit::{Event, EventLog, LogError, Mechanism, Resources};
use crate::egress::{Authority, Reading};
use crate::launch::{
    self, Features, HeldSignals, LaunchError, LaunchRequest, Launched, Require, StdioRequest,
};
use crate::oci::{self, Prepared};
use crate::policy::{Degraded, Layer, Limits, Policy, RuleMechanism};

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
    pub require: Require,
    pub allow_degraded: bool,
    pub name: Name<'a>,
}

/// By which name others find what is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name<'a> {
    /// By none.
    Nobody,
    /// By that of the session, where it can be reloaded.
    Session,
    /// By this one.
    Given(&'a str),
}

/// A sandbox that has been launched, with everything that its loop needs.
pub(super) struct Begun {
    pub session: String,
    pub gate: Gate,
    pub learner: Option<Learner>,
    pub started: Started,
    /// Where it is found, and what another policy is compared with.
    pub found: Option<Found>,
}

/// What a launch gave.
pub(super) struct Started {
    pub launched: Launched,
    /// Why there are no namespaces, where Landlock and seccomp carry the policy alone.
    pub bare: Option<String>,
    /// What is not carried as it stands, in words.
    pub degraded: Vec<String>,
    /// When the launch began: the wall limit counts from here.
    pub at: Instant,
    /// The program's name and arguments.
    pub program: Vec<String>,
    pub layers: Vec<String>,
    pub enforced: Vec<Mechanism>,
    pub rules: Vec<RuleMechanism>,
    pub limits: Limits,
    pub worker: Option<WorkerStart>,
    pub masks: Option<MaskWatch>,
    /// What it takes to read requests.
    pub reading: Option<Reading>,
    /// Signals that end us wait until there is a loop to take them.
    pub held: HeldSignals,
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
    let vars = vars()?;
    let learned = wanted.policy.learn.as_deref();
    let learned = learned
        .map(|path| LearnedFile::open(path, vars.clone()))
        .transpose()?;
    let mut log = wanted
        .events
        .map(|path| EventLog::open(path, &session))
        .transpose()?;
    let planned = plan(wanted).and_then(|(policy, mut planned)| {
        let found = found(wanted, &session, &mut planned)?;
        Ok((policy, planned, found))
    });
    let (policy, planned, found) = planned.inspect_err(|error| {
        if let Some(log) = &mut log {
            tell_unrecorded(log.append(&refused(error)));
        }
    })?;
    let learner = learned.map(|file| Learner::new(file, &vars, &policy, &planned.request));
    let mut gate = Gate::new(policy, log, wanted.policy.policies.is_empty());
    let id = found.as_ref().map(|found| found.listening.id.clone());
    let (started, done) =
        start(wanted, planned, (&mut gate, id), meanwhile).inspect_err(|error| {
            let event = if matches!(error, RunError::Ended(_)) {
                ended_by_failure()
            } else {
                refused(error)
            };
            tell_unrecorded(gate.record(&event));
        })?;
    let begun = Begun {
        session,
        gate,
        learner,
        // Without namespaces nothing is decided live, and names of the host are seen.
        found: found.filter(|_| started.bare.is_none()),
        started,
    };
    Ok((begun, done))
}

fn refused(error: &RunError) -> Event {
    Event::Refused {
        error: error.to_string(),
        status: error.exit_status(),
    }
}

fn ended_by_failure() -> Event {
    Event::Exit {
        code: None,
        signal: None,
        cause: "failure",
        resources: Resources::default(),
    }
}

/// The caller hears why nothing runs in any case, which may be that nothing can be recorded.
fn tell_unrecorded(recorded: Result<(), LogError>) {
    if let Err(unrecorded) = recorded {
        tracing::warn!(%unrecorded, "this end is not in the event log");
    }
}

/// What is to be launched.
struct Planned {
    program: Vec<String>,
    layers: Vec<String>,
    features: Features,
    bare: Option<String>,
    degraded: Vec<Degraded>,
    request: LaunchRequest,
    worker: Option<WorkerStart>,
    ground: Option<Ground>,
    reading: Option<Reading>,
}

fn reading(layers: &[Layer]) -> Result<Reading, RunError> {
    let made = Authority::new();
    Ok(Reading {
        authority: made.map_err(RunError::io("make", "the authority of this run"))?,
        secrets: secrets::of(layers)?,
    })
}

fn plan(wanted: &Wanted<'_>) -> Result<(Policy, Planned), RunError> {
    let layers = load_layers(wanted.policy)?;
    let names = layers.iter().map(|layer| layer.name().to_owned()).collect();
    // What nobody can ask to change needs nothing to be compared with.
    let is_found = match wanted.name {
        Name::Nobody => false,
        Name::Session => !wanted.policy.policies.is_empty(),
        Name::Given(_) => true,
    };
    let kept = is_found.then(|| {
        let (own, kept) = layers.split_at(wanted.policy.policies.len());
        (digest(own), kept.to_vec())
    });
    let features = Features::probe();
    let missing = &features.user_namespaces;
    let bare = (!missing.available).then(|| missing.why_not.clone().unwrap_or_default());
    // Without namespaces nothing leaves.
    let reads = bare.is_none() && layers.iter().any(Layer::reads_requests);
    let reading = reads.then(|| reading(&layers)).transpose()?;
    let Prepared {
        policy,
        request,
        degraded,
        standing,
    } = prepare(
        wanted,
        layers,
        &features,
        (bare.as_deref(), reading.as_ref()),
    )?;
    recorded(&policy, wanted.events.is_some())?;
    let ground = kept.map(|(digest, kept)| Ground {
        standing,
        policies: wanted.policy.policies.clone(),
        kept,
        writable: writable(&request),
        is_logged: wanted.events.is_some(),
        digest,
        policy: policy.clone(),
    });
    let program = match wanted.program {
        Program::OfBundle => {
            let args = request.program.args.iter();
            args.map(|arg| arg.to_string_lossy().into_owned()).collect()
        }
        program => program.words(),
    };
    let planned = Planned {
        program,
        layers: names,
        features,
        bare,
        degraded,
        request,
        worker: worker_start(wanted)?,
        ground,
        reading,
    };
    Ok((policy, planned))
}

/// The name under which the run is found, if anybody may find it. Nobody inside may.
fn found(
    wanted: &Wanted<'_>,
    session: &str,
    planned: &mut Planned,
) -> Result<Option<Found>, RunError> {
    let listen = |id: &str| -> Result<Listening, RunError> {
        unseen(&planned.request, &directory())?;
        Ok(Listening::at(id)?)
    };
    let ground = planned.ground.take();
    let listening = match (wanted.name, &ground) {
        (Name::Given(id), _) => Some(listen(id)?),
        (Name::Session, Some(ground)) if ground.standing.is_ok() => match listen(session) {
            Ok(listening) => Some(listening),
            Err(error) => {
                tracing::warn!(%error, "the run cannot be reloaded");
                None
            }
        },
        (Name::Session | Name::Nobody, _) => None,
    };
    if listening.is_none()
        && wanted.name != Name::Nobody
        && let Err(error) = tidy()
    {
        tracing::warn!(%error, "names of ended runs may stay");
    }
    let found = listening.zip(ground);
    Ok(found.map(|(listening, ground)| Found { listening, ground }))
}

fn start<T>(
    wanted: &Wanted<'_>,
    planned: Planned,
    (gate, id): (&mut Gate, Option<String>),
    meanwhile: impl FnOnce() -> Result<T, RunError>,
) -> Result<(Started, T), RunError> {
    let Planned {
        program,
        layers,
        features,
        mut bare,
        mut degraded,
        request,
        worker,
        reading,
        ..
    } = planned;
    gate.record(&Event::SessionStart {
        version: env!("CARGO_PKG_VERSION"),
        supervisor: std::process::id(),
        id,
        program: program.clone(),
        layers: layers.clone(),
    })?;
    let limits = request.plan.limits;
    let mut rules = request.plan.mechanisms.clone();
    let mut masks = MaskWatch::over(&request)?;
    let held = HeldSignals::hold().map_err(RunError::io("hold back", "signals"))?;
    let at = Instant::now();
    let (mut meanwhile, mut done) = (Some(meanwhile), None);
    let mut prepare_once = || {
        if let Some(meanwhile) = meanwhile.take() {
            done = Some(meanwhile());
        }
    };
    let launched = match launch::launch(request, &mut prepare_once) {
        Err(LaunchError::Namespaces(why)) if bare.is_none() => {
            let layers = load_layers(wanted.policy)?;
            let again = prepare(wanted, layers, &features, (Some(&why), None))?;
            bare = Some(why);
            masks = MaskWatch::over(&again.request)?;
            rules.clone_from(&again.request.plan.mechanisms);
            degraded = again.degraded;
            gate.hold_to(again.policy);
            launch::launch(again.request, &mut prepare_once)?.0
        }
        other => other?.0,
    };
    let done = done.ok_or_else(|| RunError::Worker {
        reason: "the launch did not leave the time to prepare for it".to_owned(),
    });
    let enforced: Vec<Mechanism> = launched.enforced.0.iter().map(mechanism).collect();
    let ready = done.and_then(|done| done).and_then(|done| {
        gate.record(&announced(launched.pid, &enforced))?;
        Ok(done)
    });
    let done = match ready {
        Ok(done) => done,
        Err(error) => {
            sandbox::abandon(launched);
            return Err(error.ended());
        }
    };
    let started = Started {
        degraded: in_words(&degraded, &enforced),
        launched,
        bare,
        at,
        program,
        layers,
        enforced,
        rules,
        limits,
        worker,
        masks,
        reading,
        held,
    };
    Ok((started, done))
}

/// Each rule that is not carried as it stands, and each limit that nothing holds.
fn in_words(degraded: &[Degraded], enforced: &[Mechanism]) -> Vec<String> {
    let rules = degraded.iter().map(|one| format!("{}: {one}", one.rule));
    let limits = enforced
        .iter()
        .filter(|one| one.state == "none" && one.mechanism.ends_with(" limit"))
        .map(|one| format!("{}: {}", one.mechanism, one.detail));
    rules.chain(limits).collect()
}

/// Says in our own log what is enforced, and gives the event of it.
fn announced(init: i32, enforced: &[Mechanism]) -> Event {
    for Mechanism {
        mechanism,
        state,
        detail,
    } in enforced
    {
        tracing::info!("{mechanism}: {state}: {detail}");
    }
    Event::LaunchEnforced {
        init,
        mechanisms: enforced.to_vec(),
    }
}

/// Writes the built-in bundle of Python, with its worker, to a directory: for any OCI runtime.
///
/// # Errors
/// The directory exists and is not empty, or cannot be written; there is no interpreter.
pub fn write_python_bundle(dir: &Path) -> Result<(), RunError> {
    Ok(oci::write_python(dir, &worker_files(None))?)
}

pub(super) fn mechanism(mechanism: &launch::Mechanism) -> Mechanism {
    let launch::Mechanism {
        mechanism,
        state,
        detail,
    } = mechanism.clone();
    Mechanism {
        mechanism,
        state: state.name().to_owned(),
        detail,
    }
}

/// What a policy wants recorded by name must have a place to be recorded in.
pub(super) fn recorded(policy: &Policy, is_logged: bool) -> Result<(), RunError> {
    let audit = policy.audit();
    // What is learned from is recorded by that.
    let learned = |event: &&String| policy.learns() && *event == "exec";
    let events: Vec<&str> = audit
        .events
        .iter()
        .filter(|event| !learned(event))
        .map(String::as_str)
        .collect();
    if audit.enabled && !events.is_empty() && !is_logged {
        let events = events.join(", ");
        return Err(RunError::NoLog { events });
    }
    Ok(())
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
pub(super) fn session_name() -> Result<String, RunError> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|errno| RunError::io("draw", "random bytes")(errno.into()))?;
    Ok(format!("{:016x}", u64::from_ne_bytes(bytes)))
}
