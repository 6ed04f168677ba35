//! What it takes to read the requests of a container: its programs have to trust its supervisor, and have words in
//! the place of credentials.

use std::collections::BTreeMap;

use oci_spec::runtime::Spec;
use serde::{Deserialize, Serialize};

use super::{Texts, variable};
use crate::launch::container::{Trust, TrustEnds};
use crate::oci::OciError;
use crate::oci::container::VerbError;
use crate::oci::container::supervised::Reading;
use crate::oci::{secrets, trust};
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
    /// The kernel gives no random bytes.
    pub(super) fn of(layers: &[Layer], policy: &Policy) -> Result<Option<ReadingRecord>, OciError> {
        if !policy.reads_requests() || !policy.has_way_out() {
            return Ok(None);
        }
        let names = layers.iter().flat_map(Layer::secrets).map(|one| one.name());
        let words = names.map(|name| Ok((name.to_owned(), secrets::word()?)));
        Ok(Some(ReadingRecord {
            words: words.collect::<Result<_, OciError>>()?,
        }))
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

    /// What the supervisor of the container is told, whose policy these are, and which has `trust`. To be called when
    /// the container's first process is there, which has a copy of what this process has had until then.
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
            if let Some(word) = self.words.get(granted.name()) {
                credentials.push(secrets::found(granted, word.clone())?);
            }
        }
        Ok(Reading {
            trust: trust.to_carry().count(),
            credentials,
        })
    }
}

/// A layer of these that grants a secret, and which.
pub(super) fn granting(layers: &[Layer]) -> Option<(&str, &str)> {
    let mut secrets = layers.iter().flat_map(|layer| {
        let name = layer.name();
        layer
            .secrets()
            .iter()
            .map(move |secret| (name, secret.name()))
    });
    secrets.next()
}

/// What its programs trust without us.
pub(super) fn trust(spec: &Spec) -> Trust {
    let named = variable(spec, "SSL_CERT_FILE").filter(|path| !path.is_empty());
    Trust {
        named: named.map(str::to_owned),
    }
}
