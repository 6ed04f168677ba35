//! The policy's layers of one run: what the person chose, and what a project narrows.

use std::io;

use super::error::RunError;
use super::learner::LearnError;
use super::options::{PolicyChoice, PolicySource};
use crate::oci::secrets;
use crate::policy::{Flags, Layer, Limits, LoadError, Vars};

/// The layers, lowest first. A project's own can only narrow, so they stand above
/// a base that does not depend on them.
pub(super) fn load_layers(choice: &PolicyChoice) -> Result<Vec<Layer>, RunError> {
    let vars = vars()?;
    let mut layers = load_all(&choice.policies, &vars)?;
    let over_policy = !layers.is_empty();
    let flags = Flags {
        over_policy,
        ..choice.flags.clone()
    };
    let flags = Layer::from_flags(&flags, &vars)?;
    layers.push(match &choice.learn {
        None => flags,
        Some(_) if !over_policy => flags.learning(),
        Some(path) => {
            let path = path.display().to_string();
            return Err(LearnError::UnderPolicy { path }.into());
        }
    });
    for source in &choice.narrowing {
        regular(source)?;
        let layer = load(source, &vars)?;
        secrets::refuse(&layer)?;
        layers.push(layer);
    }
    layers.extend(project_layers(&choice.project, &vars)?);
    Ok(layers)
}

/// The policies of these sources alone, for a run that cannot wait for a pipe.
pub(super) fn load_regular(policies: &[PolicySource]) -> Result<Vec<Layer>, RunError> {
    policies.iter().try_for_each(regular)?;
    Ok(load_all(policies, &vars()?)?)
}

/// The policies of these sources alone.
pub(super) fn load_all(policies: &[PolicySource], vars: &Vars) -> Result<Vec<Layer>, LoadError> {
    policies.iter().map(|source| load(source, vars)).collect()
}

fn load(source: &PolicySource, vars: &Vars) -> Result<Layer, LoadError> {
    match source {
        PolicySource::File(path) => Layer::load(path, vars),
        PolicySource::Shipped(name) => Layer::shipped(name, vars),
    }
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
        let cause = "the policy must be a regular file here";
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

pub(super) fn vars() -> Result<Vars, RunError> {
    let pwd = std::env::current_dir().map_err(no_directory)?;
    Ok(Vars::of(pwd, std::env::var_os("HOME")))
}
