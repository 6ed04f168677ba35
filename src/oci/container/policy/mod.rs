//! The policy of a container: what the caller and the configuration choose, kept beside the
//! container from its creation on, so that later changes of the files change nothing.

mod limits;
mod mounts;

use std::io::Read;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxNamespaceType, Spec};
use serde::{Deserialize, Serialize};

use super::VerbError;
use crate::launch::container::{Confinement, ContainerPolicy};
use crate::launch::{Mechanism, State};
use crate::policy::{Layer, LoadError, OnViolation, Policy, Vars, shipped_names, shipped_text};

pub use limits::Bounds;

/// The annotation by which a configuration names a policy. It can only narrow.
pub const ANNOTATION: &str = "buntime.dev/policy";

/// Where an administrator keeps the policies that a configuration may name.
pub const DIRECTORY: &str = "/etc/buntime/policies";

/// The most bytes of a policy that are read; a longer one is refused by its reader.
const LARGEST: u64 = (1 << 20) + 1;

/// What the flags before the verb say.
#[derive(Debug, Clone)]
pub struct PolicyChoice {
    /// Names of shipped policies, and files.
    pub policies: Vec<PathBuf>,
    /// Start although something of the policy is not carried out, and say so in the state.
    pub allow_degraded: bool,
    /// Where the policies are that an annotation names.
    pub directory: PathBuf,
}

impl Default for PolicyChoice {
    fn default() -> PolicyChoice {
        PolicyChoice {
            policies: Vec::new(),
            allow_degraded: false,
            directory: PathBuf::from(DIRECTORY),
        }
    }
}

/// One document, as it was when the container was created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// Its name or file.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// What is kept of a container's policy in its state.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyRecord {
    /// The names of its documents, which the directory has whole.
    pub names: Vec<String>,
    /// What is not carried out, by leave of the caller.
    pub unheld: Vec<Mechanism>,
    /// What holds every process; nothing while the first one is on its way.
    pub confinement: Option<Confinement>,
    /// What the container may use at most.
    pub bounds: Bounds,
}

/// What `state` says of a container's policy.
#[derive(Debug, Serialize)]
pub struct Shown {
    names: Vec<String>,
    enforced: Vec<Mechanism>,
}

impl PolicyRecord {
    pub(super) fn shown(&self) -> Shown {
        let mut enforced = Vec::new();
        if let Some(held) = &self.confinement {
            enforced.extend(held.mechanisms.iter().cloned());
            enforced.extend(self.bounds.mechanisms());
        }
        enforced.extend(self.unheld.iter().cloned());
        Shown {
            names: self.names.clone(),
            enforced,
        }
    }
}

/// A policy that was chosen and read.
#[derive(Debug)]
pub(super) struct Chosen {
    pub documents: Vec<Document>,
    pub record: PolicyRecord,
    pub request: ContainerPolicy,
}

impl PolicyChoice {
    /// Reads what is chosen for the container of `spec`, and narrows its limits; `None` without a
    /// policy.
    ///
    /// # Errors
    /// A policy that cannot be read, or that this runtime does not carry out, by name.
    pub(super) fn choose(
        &self,
        spec: &mut Spec,
        landlock_abi: u32,
    ) -> Result<Option<Chosen>, VerbError> {
        let documents = self.documents(spec)?;
        if documents.is_empty() {
            return Ok(None);
        }
        let layers = layers(&documents, spec)?;
        let policy = Policy::merge(layers.clone(), Vec::new())
            .map_err(|error| refused(&documents, error.to_string()))?;
        mounts::check(spec).map_err(|cause| refused(&documents, cause))?;
        let unheld = unheld(&policy, spec, landlock_abi);
        let bounds = Bounds::of(policy.limits());
        bounds.narrow_spec(spec);
        if let (Some(first), false) = (unheld.first(), self.allow_degraded) {
            let cause = format!(
                "{}: {}; take it out of the policy, or start without it (--allow-degraded)",
                first.mechanism, first.detail
            );
            return Err(refused(&documents, cause));
        }
        Ok(Some(Chosen {
            record: PolicyRecord {
                names: documents.iter().map(|one| one.name.clone()).collect(),
                unheld,
                confinement: None,
                bounds,
            },
            request: ContainerPolicy {
                layers,
                given: mounts::given(spec),
                landlock_abi,
                own_processes: makes(spec, LinuxNamespaceType::Pid),
                own_network: makes(spec, LinuxNamespaceType::Network),
            },
            documents,
        }))
    }

    /// The texts, lowest first.
    fn documents(&self, spec: &Spec) -> Result<Vec<Document>, VerbError> {
        let mut documents = Vec::new();
        for named in &self.policies {
            documents.push(document(named)?);
        }
        let annotations = spec.annotations().as_ref();
        if let Some(name) = annotations.and_then(|annotations| annotations.get(ANNOTATION)) {
            documents.push(self.annotated(name)?);
        }
        Ok(documents)
    }

    fn annotated(&self, name: &str) -> Result<Document, VerbError> {
        let bad = |cause: String| VerbError::Policy {
            name: format!("annotations.{ANNOTATION}: {name:?}"),
            cause,
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
            let cause = "it is no name of a policy: letters, digits, '_', '-' and '.', and no path";
            return Err(bad(cause.to_owned()));
        }
        let path = self.directory.join(format!("{name}.json"));
        match path.symlink_metadata() {
            Ok(_) => read(&path),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                shipped(name).ok_or_else(|| {
                    bad(format!(
                        "there is no {} and no shipped policy of this name (there are: {})",
                        path.display(),
                        shipped_names().join(", ")
                    ))
                })
            }
            Err(error) => Err(bad(format!("cannot look at {}: {error}", path.display()))),
        }
    }
}

fn refused(documents: &[Document], cause: String) -> VerbError {
    let names: Vec<&str> = documents.iter().map(|one| one.name.as_str()).collect();
    VerbError::Policy {
        name: names.join(", "),
        cause,
    }
}

fn shipped(name: &str) -> Option<Document> {
    shipped_text(name).map(|text| Document {
        name: name.to_owned(),
        text: text.to_owned(),
    })
}

fn document(named: &Path) -> Result<Document, VerbError> {
    match named.to_str() {
        Some(name) if !name.contains(['/', '.']) && !named.exists() => {
            shipped(name).ok_or_else(|| VerbError::Load(LoadError::Unknown { name: name.into() }))
        }
        Some(name) if shipped_text(name).is_some() => {
            shipped(name).ok_or_else(|| VerbError::Load(LoadError::Unknown { name: name.into() }))
        }
        _ => read(named),
    }
}

fn read(path: &Path) -> Result<Document, VerbError> {
    let unread = |cause| {
        VerbError::Load(LoadError::Read {
            path: path.to_owned(),
            cause,
        })
    };
    // A named pipe would have the runtime wait.
    if !path.metadata().map_err(unread)?.is_file() {
        return Err(unread(std::io::Error::other("it is no regular file")));
    }
    let file = std::fs::File::open(path).map_err(unread)?;
    let mut text = String::new();
    file.take(LARGEST)
        .read_to_string(&mut text)
        .map_err(unread)?;
    Ok(Document {
        name: path.display().to_string(),
        text,
    })
}

/// What `~` and `$PWD` stand for is the container's own.
fn layers(documents: &[Document], spec: &Spec) -> Result<Vec<Layer>, VerbError> {
    let process = spec.process().as_ref();
    let cwd = process.map_or_else(|| PathBuf::from("/"), |process| process.cwd().clone());
    let env = process.and_then(|process| process.env().as_ref());
    let home = env
        .into_iter()
        .flatten()
        .rev()
        .find_map(|entry| entry.strip_prefix("HOME="))
        .map(Into::into);
    let vars = Vars::of(cwd, home);
    let parse = |one: &Document| Layer::parse(one.text.as_bytes(), &one.name, &vars);
    Ok(documents.iter().map(parse).collect::<Result<_, _>>()?)
}

/// What nothing here carries out.
fn unheld(policy: &Policy, spec: &Spec, landlock_abi: u32) -> Vec<Mechanism> {
    let mut unheld = Vec::new();
    let mut note = |mechanism: &str, detail: String| {
        unheld.push(Mechanism {
            mechanism: mechanism.to_owned(),
            state: State::None,
            detail,
        });
    };
    if policy.limits().output.is_some() {
        let detail = "what a container writes goes to its caller, and nothing here counts it";
        note("limits.output", detail.to_owned());
    }
    if policy.limits().wall.is_some() {
        let detail = "nothing here ends a container by the clock";
        note("limits.wall", detail.to_owned());
    }
    if policy.on_violation() == OnViolation::Kill {
        let detail = "the kernel denies by itself, and nothing here is told of it to kill for it";
        note("onViolation", detail.to_owned());
    }
    // ABI 3 holds truncations.
    if landlock_abi < 3 {
        let detail = format!(
            "this kernel's Landlock (ABI {landlock_abi}) does not hold truncate(2) of files that \
             may only be read"
        );
        note("landlock", detail);
    }
    if policy.required().namespaces {
        let needed = [
            LinuxNamespaceType::Pid,
            LinuxNamespaceType::Network,
            LinuxNamespaceType::Ipc,
        ];
        let missing: Vec<String> = needed
            .into_iter()
            .filter(|kind| !makes(spec, *kind))
            .map(|kind| kind.to_string())
            .collect();
        if !missing.is_empty() {
            let detail = format!("linux.namespaces makes none of: {}", missing.join(", "));
            note("plugins.namespaces", detail);
        }
    }
    unheld
}

/// Whether the configuration makes a namespace of this kind.
fn makes(spec: &Spec, kind: LinuxNamespaceType) -> bool {
    let linux = spec.linux().as_ref();
    let listed = linux.and_then(|linux| linux.namespaces().as_ref());
    listed
        .into_iter()
        .flatten()
        .any(|one| one.typ() == kind && one.path().is_none())
}

/// The documents as they are kept.
pub(super) fn kept(documents: &[Document]) -> Result<Vec<u8>, VerbError> {
    serde_json::to_vec(documents)
        .map_err(|error| VerbError::system("write", "the container's policy")(error.into()))
}

#[cfg(test)]
mod tests;
