//! Credentials that requests are to have, as the host has them, and what programs have in their place.

use std::collections::BTreeSet;
use std::env::VarError;
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use super::error::{OciError, drawn};
use crate::policy::{Layer, Secret, SecretSource};
use crate::sys::process;

/// What every word begins with that stands for one.
const WORD: &str = "buntime-secret-";

/// Bytes of the longest, and of the shortest: fewer are in whatever a host says.
const LONGEST: usize = 8192;
const SHORTEST: usize = 8;

/// A credential of one run or container.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    /// Its name, which is that of the variable in which programs find the word for it.
    pub name: String,
    /// That word.
    pub placeholder: String,
    /// What it is, in visible characters of ASCII.
    pub value: String,
}

impl fmt::Debug for Credential {
    /// Without what it is.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Credential")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A credential cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("the secret {name} ({rule}): {why}")]
pub struct SecretError {
    name: String,
    rule: String,
    why: String,
}

impl SecretError {
    pub(super) fn of(secret: &Secret, why: impl ToString) -> SecretError {
        SecretError {
            name: secret.name().to_owned(),
            rule: secret.rule().location(),
            why: why.to_string(),
        }
    }
}

/// That a layer, which can only narrow, grants none.
///
/// # Errors
/// It does.
pub fn refuse(layer: &Layer) -> Result<(), SecretError> {
    let why = "only a policy of --policy can grant it; leave it out there";
    match layer.secrets().first() {
        None => Ok(()),
        Some(secret) => Err(SecretError::of(secret, why)),
    }
}

/// What these layers grant, each with a name of its own.
///
/// # Errors
/// Two of them grant one of the same name.
pub fn granted(layers: &[Layer]) -> Result<Vec<&Secret>, SecretError> {
    let mut names = BTreeSet::new();
    let all = layers.iter().flat_map(Layer::secrets);
    all.map(|secret| match names.insert(secret.name()) {
        true => Ok(secret),
        false => Err(SecretError::of(
            secret,
            "two policies grant a secret of this name; rename one",
        )),
    })
    .collect()
}

/// A word that stands for a credential, and that nobody can guess.
///
/// # Errors
/// The kernel gives no random bytes.
pub fn word() -> Result<String, OciError> {
    let bytes: [u8; 16] = drawn("a word that stands for a secret")?;
    Ok(format!("{WORD}{:032x}", u128::from_ne_bytes(bytes)))
}

/// The credential, for which this word stands.
///
/// # Errors
/// It cannot be had, or no request can say it.
pub fn found(secret: &Secret, placeholder: String) -> Result<Credential, SecretError> {
    Ok(Credential {
        name: secret.name().to_owned(),
        placeholder,
        value: value(secret).map_err(|why| SecretError::of(secret, why))?,
    })
}

fn value(secret: &Secret) -> Result<String, String> {
    let found = match secret.source() {
        SecretSource::Env(variable) => std::env::var(variable).map_err(|error| {
            let why = match error {
                VarError::NotPresent => "is not set",
                VarError::NotUnicode(_) => "is no text",
            };
            format!(
                "the variable {variable} {why}; set it for whoever starts this, or name a file or a command"
            )
        })?,
        SecretSource::File(path) => in_file(path)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))?,
        SecretSource::Command(words) => written(words)?,
    };
    let value = found.trim_end_matches(['\r', '\n']);
    let is_said = value.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if !is_said || value.trim() != value {
        return Err("it has characters that no header can have".to_owned());
    }
    if !(SHORTEST..=LONGEST).contains(&value.len()) {
        return Err(format!(
            "it has {} bytes, and not {SHORTEST} to {LONGEST}",
            value.len()
        ));
    }
    Ok(value.to_owned())
}

/// The text of a file: of a longer one than is taken, some of it.
fn in_file(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let file = fs::File::open(path)?;
    file.take(2 * LONGEST as u64).read_to_string(&mut text)?;
    Ok(text)
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
    process::close_descriptors_of(&mut command);
    let done = command
        .output()
        .map_err(|error| format!("cannot run {program}: {error}"))?;
    if !done.status.success() {
        return Err(format!("{program} ended with {}", done.status));
    }
    String::from_utf8(done.stdout).map_err(|_| format!("{program} wrote what is no text"))
}
