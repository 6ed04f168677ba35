//! The launch that carries a policy on this host, or what stands in its way.

use std::path::Path;

use super::error::RunError;
use super::learner::{LearnError, real};
use super::start::{Wanted, input};
use crate::launch::{Features, LaunchRequest, Piece};
use crate::oci::{self, OciError, Prepared};
use crate::policy::{Layer, PermSet};

/// The launch that carries the policy, with namespaces, or without them and then `bare` says why.
pub(super) fn prepare(
    wanted: &Wanted<'_>,
    layers: Vec<Layer>,
    features: &Features,
    bare: Option<&str>,
) -> Result<Prepared, RunError> {
    if let (Some(path), Some(why)) = (&wanted.policy.learn, bare) {
        let (path, why) = (path.display().to_string(), why.to_owned());
        return Err(LearnError::Without { path, why }.into());
    }
    let prepared = oci::prepare(input(
        wanted,
        layers,
        features.clone(),
        bare.map(str::to_owned),
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
    let granted = request.plan.binds.iter().filter(|bind| bind.writable);
    let mut writable: Vec<&Path> = granted.map(|bind| bind.path.as_path()).collect();
    writable.extend(request.pieces.iter().filter_map(|piece| match piece {
        Piece::Bind {
            source,
            writable: true,
            ..
        } => Some(source.as_path()),
        _ => None,
    }));
    if request.bare.is_some() {
        let granted = request.plan.landlock.iter();
        let changed = granted.filter(|grant| grant.perms.intersects(PermSet::CHANGE));
        writable.extend(changed.map(|grant| grant.path.as_path()));
    }
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
