//! What it takes to read the requests of a container: its programs have to trust its supervisor, and have words in
//! the place of credentials.

use std::collections::BTreeMap;

use oci_spec::runtime::Spec;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Document, Texts, variable};
use crate::launch::container::{Trust, TrustEnds};
use crate::oci::container::VerbError;
use crate::oci::container::supervised::Reading;
use crate::oci::secrets::{self, SecretError};
use crate::oci::trust;
use crate::policy::{Layer, Policy};

/// See the module. It is kept beside the container, and has no credential.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadingRecord {
    /// What stands for each credential, by the name of the variable in which programs find it.
    words: BTreeMap<String, String>,
}

impl ReadingRecord {
    /// `None` where no requests are read, or nothing leaves.
    ///
    /// # Errors
    /// Two of the layers grant a secret of the same name; the kernel gives no random bytes.
    pub(super) fn of(
        layers: &[Layer],
        policy: &Policy,
    ) -> Result<Option<ReadingRecord>, VerbError> {
        if !policy.reads_requests() || !policy.has_way_out() {
            return Ok(None);
        }
        let mut words = BTreeMap::new();
        for granted in secrets::granted(layers)? {
            words.insert(granted.name().to_owned(), secrets::word()?);
        }
        Ok(Some(ReadingRecord { words }))
    }

    /// Tells a program of them, in the place of what its environment says.
    pub(in crate::oci::container) fn tell(&self, env: &mut Vec<String>) {
        for (name, value) in self.words.clone().into_iter().chain(trust::variables()) {
            env.retain(|entry| {
                let known = entry.split_once('=');
                known.is_none_or(|(known, _)| known != name)
            });
            env.push(format!("{name}={value}"));
        }
    }

    /// What the supervisor of the container is told, whose policy `texts` are, and which gets `trust`. To be called when
    /// the container's first process has been forked, so that it has no copy of a credential.
    ///
    /// # Errors
    /// A credential that cannot be had, or that no request can say.
    pub(in crate::oci::container) fn told(
        &self,
        texts: &Texts,
        trust: &TrustEnds,
    ) -> Result<Reading, VerbError> {
        let layers = texts.layers()?;
        let mut credentials = Vec::new();
        for granted in secrets::granted(&layers)? {
            let Some(word) = self.words.get(granted.name()) else {
                return Err(SecretError::of(granted, "nothing stands for it").into());
            };
            credentials.push(secrets::found(granted, word.clone())?);
        }
        Ok(Reading {
            descriptors: trust.to_carry().count(),
            credentials,
        })
    }
}

/// Where on the host a secret is from is not the container's to say, whose `~` and `$PWD` are what they stand for in its
/// policy, nor the bundle's, in whose folder the runtime is.
pub(super) fn check(documents: &[Document]) -> Result<(), String> {
    let is_whole = |path: &str| path.starts_with('/') && !path.contains('$');
    for Document { name, text } in documents {
        let read: Value = serde_json::from_str(text).map_err(|error| format!("{name}: {error}"))?;
        let secrets = read["http"]["secrets"].as_array().into_iter().flatten();
        for from in secrets.map(|secret| &secret["from"]) {
            let bad = from["file"].as_str().filter(|file| !is_whole(file));
            let program = from["command"][0].as_str();
            let bad = bad.or(program.filter(|name| name.contains('/') && !is_whole(name)));
            if let Some(path) = bad {
                return Err(format!(
                    "{name}: where a secret of a container is from is named whole, and {path:?} is not: begin with \
                     /, without variables"
                ));
            }
        }
    }
    Ok(())
}

/// What its programs trust without us.
pub(super) fn trust(spec: &Spec) -> Trust {
    let named = variable(spec, "SSL_CERT_FILE").filter(|path| !path.is_empty());
    Trust {
        named: named.map(str::to_owned),
    }
}
