//! Credentials that requests to a host are given on their way, and that programs never see.

use std::path::PathBuf;

use super::layer::Layer;
use super::merge::Policy;
use super::net::{NameBuffer, Target};
use super::request::RuleRef;

/// A credential, and the hosts for which it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    pub(super) name: String,
    pub(super) host: Target,
    pub(super) source: SecretSource,
    /// The names of the headers in which it may be said, in lower case.
    pub(super) headers: Vec<String>,
    pub(super) rule: RuleRef,
}

/// Where the supervisor has a credential from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// A variable of its environment.
    Env(String),
    /// A file of the host.
    File(PathBuf),
    /// What this program of the host writes to standard output, with its arguments.
    Command(Vec<String>),
}

impl Secret {
    /// Its name, which is that of the variable in which programs find what stands for it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is from.
    #[must_use]
    pub fn source(&self) -> &SecretSource {
        &self.source
    }

    /// The headers in which it may be said, in lower case.
    #[must_use]
    pub fn headers(&self) -> &[String] {
        &self.headers
    }

    /// Whether it is for this host.
    #[must_use]
    pub fn is_for_host(&self, host: &str) -> bool {
        let mut buffer = NameBuffer::new();
        let name = super::http::canonical(host, &mut buffer);
        name.is_some_and(|name| self.host.is_about(name))
    }

    /// Where that was written.
    #[must_use]
    pub fn rule(&self) -> &RuleRef {
        &self.rule
    }

    /// In a line, as a person would say it.
    pub(super) fn says(&self) -> String {
        let from = match &self.source {
            SecretSource::Env(variable) => format!("the variable {variable}"),
            SecretSource::File(path) => path.display().to_string(),
            SecretSource::Command(words) => format!("what {} writes", words.join(" ")),
        };
        let headers = self.headers.join(",");
        format!(
            "http secret {} of {from} for {} in {headers}",
            self.name, self.host
        )
    }
}

impl SecretSource {
    /// Its name in a document, and what stands there.
    pub(super) fn written(&self) -> (&'static str, serde_json::Value) {
        match self {
            SecretSource::Env(variable) => ("env", variable.as_str().into()),
            SecretSource::File(path) => ("file", path.to_string_lossy().into()),
            SecretSource::Command(words) => ("command", words.clone().into()),
        }
    }
}

impl Layer {
    /// The credentials that it grants.
    #[must_use]
    pub fn secrets(&self) -> &[Secret] {
        &self.secrets
    }
}

impl Policy {
    /// The credentials that requests to this host may have.
    pub fn secrets_for(&self, host: &str) -> impl Iterator<Item = &Secret> {
        let secrets = self.layers.iter().flat_map(|layer| &layer.secrets);
        secrets.filter(move |secret| secret.is_for_host(host))
    }
}
