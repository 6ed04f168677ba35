//! The credentials of a run, and what programs have in their place.

use std::ffi::OsString;
use std::io;

use super::error::RunError;
use crate::egress::Secret;
use crate::oci::secrets::{self, Credential};
use crate::policy::{Layer, Secret as Granted};

/// The secrets that these layers grant, each with a word of its own.
///
/// # Errors
/// One that cannot be had, or that no request can say.
pub(super) fn of(layers: &[Layer]) -> Result<Vec<Secret>, RunError> {
    let mut put = Vec::new();
    for granted in secrets::granted(layers)? {
        put.push(secret(granted, secrets::found(granted, secrets::word()?)?));
    }
    Ok(put)
}

/// These credentials, with what the layers say of each, for the egress plane.
///
/// # Errors
/// No layer grants one of them.
pub(super) fn to_put(
    layers: &[Layer],
    credentials: Vec<Credential>,
) -> Result<Vec<Secret>, RunError> {
    let of = |credential: Credential| {
        let mut granted = layers.iter().flat_map(Layer::secrets);
        match granted.find(|secret| secret.name() == credential.name) {
            Some(granted) => Ok(secret(granted, credential)),
            None => {
                let object = format!("the secret {}", credential.name);
                let cause = io::Error::other("no policy grants it");
                Err(RunError::io("put", object)(cause))
            }
        }
    };
    credentials.into_iter().map(of).collect()
}

fn secret(granted: &Granted, credential: Credential) -> Secret {
    Secret {
        granted: granted.clone(),
        placeholder: credential.placeholder,
        value: credential.value,
    }
}

/// The variables in which programs find the words.
pub(super) fn variables(secrets: &[Secret]) -> impl Iterator<Item = (OsString, OsString)> + '_ {
    let pair = |one: &Secret| (one.granted.name().into(), one.placeholder.clone().into());
    secrets.iter().map(pair)
}
