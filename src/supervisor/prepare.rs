//! The launch that carries a policy on this host, or what stands in its way.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::error::RunError;
use super::learner::{LearnError, real};
use super::options::{Program, Surroundings};
use super::secrets::variables;
use super::start::Wanted;
use super::worker::unreadable;
use crate::egress::Reading;
use crate::ipc::{DEFAULT_SEGMENT, assets};
use crate::launch::{Features, LaunchRequest, Piece};
use crate::oci::{self, OciError, PrepareInput, Prepared, Target, WorkerFiles};
use crate::policy::{Layer, PermSet};

/// The launch that carries the policy, with namespaces, or without them and then `bare` says why.
pub(super) fn prepare(
    wanted: &Wanted<'_>,
    layers: Vec<Layer>,
    features: &Features,
    (bare, reading): (Option<&str>, Option<&Reading>),
) -> Result<Prepared, RunError> {
    if let (Some(path), Some(why)) = (&wanted.policy.learn, bare) {
        let (path, why) = (path.display().to_string(), why.to_owned());
        return Err(LearnError::Without { path, why }.into());
    }
    let prepared = oci::prepare(input(
        wanted,
        layers,
        features.clone(),
        (bare.map(str::to_owned), reading),
    )?);
    let prepared = match (prepared, bare) {
        (Err(OciError::Refused(refused)), Some(why)) => {
            let why = why.to_owned();
            return Err(RunError::NotWithout { why, refused });
        }
        (prepared, _) => prepared?,
    };
    unexposed(&prepared.request, wanted)?;
    Ok(prepared)
}

/// The log and the report are evidence about the program, and what is learned holds it next time, so it
/// must not be able to write where they are kept: in a host path that is shown to it writable.
fn unexposed(request: &LaunchRequest, wanted: &Wanted<'_>) -> Result<(), RunError> {
    let writable = writable(request);
    let learned = wanted.policy.learn.as_deref().map(real);
    for (what, path) in [
        ("the event log", wanted.events.map(Path::canonicalize)),
        ("the report", wanted.report.map(Path::canonicalize)),
        ("what is learned in", learned),
    ] {
        // What cannot be resolved is no file that the program could reach.
        let Some(Ok(path)) = path else {
            continue;
        };
        if let Some(place) = writable.iter().find(|place| path.starts_with(place)) {
            let (path, place) = (path.display().to_string(), place.display().to_string());
            return Err(RunError::Exposed { what, path, place });
        }
    }
    Ok(())
}

/// The places of the host that the program may write.
pub(super) fn writable(request: &LaunchRequest) -> Vec<PathBuf> {
    let granted = request.plan.binds.iter().filter(|bind| bind.writable);
    let mut writable: Vec<PathBuf> = granted.map(|bind| bind.path.clone()).collect();
    writable.extend(request.pieces.iter().filter_map(|piece| match piece {
        Piece::Bind {
            source,
            writable: true,
            ..
        } => Some(source.clone()),
        _ => None,
    }));
    if request.bare.is_some() {
        let granted = request.plan.landlock.iter();
        let changed = granted.filter(|grant| grant.perms.intersects(PermSet::CHANGE));
        writable.extend(changed.map(|grant| grant.path.clone()));
    }
    writable
}

/// Nothing of the directory in which runs are found is shown to a program, which could ask there for
/// another policy.
pub(super) fn unseen(request: &LaunchRequest, directory: &Path) -> Result<(), RunError> {
    let shown = request.plan.binds.iter().map(|bind| &bind.path);
    let shown = shown.chain(request.pieces.iter().filter_map(|piece| match piece {
        Piece::Bind { source, .. } => Some(source),
        _ => None,
    }));
    // It need not be there yet, but what it stands in is.
    let parent = directory
        .parent()
        .and_then(|parent| parent.canonicalize().ok());
    let name = directory.file_name();
    let real = parent.zip(name).map(|(parent, name)| parent.join(name));
    let places = [Some(directory), real.as_deref()];
    let meets = |place: &Path, shown: &Path| place.starts_with(shown) || shown.starts_with(place);
    for shown in shown {
        if places.iter().flatten().any(|place| meets(place, shown)) {
            return Err(RunError::Shown {
                path: directory.display().to_string(),
                place: shown.display().to_string(),
            });
        }
    }
    match request.bare {
        None => Ok(()),
        Some(_) => Err(RunError::Shown {
            path: directory.display().to_string(),
            place: "/".to_owned(),
        }),
    }
}

/// What the bundle needs to know.
fn input(
    wanted: &Wanted<'_>,
    layers: Vec<Layer>,
    features: Features,
    (bare, reading): (Option<String>, Option<&Reading>),
) -> Result<PrepareInput, RunError> {
    let Surroundings {
        mut env,
        workdir,
        python,
        venv,
        out,
        out_keep,
        network,
        proxy_port,
        bundle,
        rootfs,
    } = wanted.surroundings.clone();
    // In the place of what the caller may have given by the same name.
    let words = reading
        .into_iter()
        .flat_map(|reading| variables(&reading.secrets));
    let words: Vec<(OsString, OsString)> = words.collect();
    env.retain(|(name, _)| !words.iter().any(|(word, _)| word == name));
    env.extend(words);
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
        network,
        proxy_port,
        trusted: reading.map(|reading| reading.authority.trusted()),
        bundle,
        rootfs,
        stdio: wanted.stdio,
        features,
        umask: umask(),
        bare,
        require: wanted.require,
        allow_degraded: wanted.allow_degraded,
    })
}

pub(super) fn worker_files(segment: Option<u64>) -> WorkerFiles {
    let mut files = vec![("worker.py".to_owned(), assets::WORKER_PY.into())];
    files.extend(assets::WORKER_PYC.map(|code| ("worker.pyc".to_owned(), code.into())));
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
