//! Credentials as the supervisor has them, and what programs have in their place.

use std::collections::BTreeSet;
use std::env::VarError;
use std::ffi::OsString;
use std::fs;
use std::process::{Command, Stdio};

use super::error::RunError;
use super::start::session_name;
use crate::egress::Secret;
use crate::policy::{Layer, Secret as Granted, SecretSource};

/// What every word begins with that stands for one.
const WORD: &str = "buntime-secret-";

/// Bytes of the longest, and of the shortest: fewer are in whatever a host says.
const LONGEST: usize = 8192;
const SHORTEST: usize = 8;

/// The secrets that these layers grant, each with a word of its own.
///
/// # Errors
/// One that cannot be had, or that no request can say.
pub(super) fn of(layers: &[Layer]) -> Result<Vec<Secret>, RunError> {
    let granted = layers.iter().flat_map(Layer::secrets);
    let mut names = BTreeSet::new();
    let mut secrets = Vec::new();
    for one in granted {
        if !names.insert(one.name()) {
            return Err(failed(one, "two policies grant a secret of this name"));
        }
        secrets.push(Secret {
            granted: one.clone(),
            placeholder: format!("{WORD}{}{}", session_name()?, session_name()?),
            value: value(one)?,
        });
    }
    Ok(secrets)
}

/// The variables in which programs find the words.
pub(super) fn variables(secrets: &[Secret]) -> impl Iterator<Item = (OsString, OsString)> + '_ {
    let pair = |one: &Secret| (one.granted.name().into(), one.placeholder.clone().into());
    secrets.iter().map(pair)
}

fn failed(secret: &Granted, why: impl ToString) -> RunError {
    RunError::Secret {
        name: secret.name().to_owned(),
        rule: secret.rule().location(),
        why: why.to_string(),
    }
}

fn value(secret: &Granted) -> Result<String, RunError> {
    let found = match secret.source() {
        SecretSource::Env(variable) => std::env::var(variable).map_err(|error| {
            let why = match error {
                VarError::NotPresent => "is not set",
                VarError::NotUnicode(_) => "is no text",
            };
            failed(secret, format!("the variable {variable} {why}"))
        })?,
        SecretSource::File(path) => fs::read_to_string(path)
            .map_err(|error| failed(secret, format!("cannot read {}: {error}", path.display())))?,
        SecretSource::Command(words) => written(words).map_err(|why| failed(secret, why))?,
    };
    let value = found.trim_end_matches(['\r', '\n']);
    let is_said = value.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if !is_said || value.trim() != value {
        return Err(failed(secret, "it has characters that no header can have"));
    }
    if !(SHORTEST..=LONGEST).contains(&value.len()) {
        let why = format!(
            "it has {} bytes, and not {SHORTEST} to {LONGEST}",
            value.len()
        );
        return Err(failed(secret, why));
    }
    Ok(value.to_owned())
}

/// What a program of the host writes. What it says to a person reaches them.
fn written(words: &[String]) -> Result<String, String> {
    let [program, arguments @ ..] = words else {
        return Err("its command is empty".to_owned());
    };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    let done = command
        .output()
        .map_err(|error| format!("cannot run {program}: {error}"))?;
    if !done.status.success() {
        return Err(format!("{program} ended with {}", done.status));
    }
    String::from_utf8(done.stdout).map_err(|_| format!("{program} wrote what is no text"))
}
