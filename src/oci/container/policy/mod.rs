//! The policy of a container: what the caller and the configuration choose, kept beside the
//! container from its creation on, so that later changes of the files change nothing.

pub(super) mod egress;
mod limits;
mod mounts;
pub(super) mod reading;

use std::io::Read;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxNamespaceType, Spec};
use serde::{Deserialize, Serialize};

use super::VerbError;
use super::record::ProcessRecord;
use crate::launch::container::{Confinement, ContainerPolicy};
use crate::launch::{Mechanism, State, Subnet};
use crate::oci::network::{self, Network};
use crate::oci::secrets;
use crate::policy::{CHANNEL, Layer, LoadError, Policy, Vars, shipped_names, shipped_text};

pub(super) use egress::Egress;
pub use egress::EgressFrom;
pub use limits::Bounds;
pub use reading::ReadingRecord;

/// The annotation by which a configuration names a policy. It can only narrow.
pub const ANNOTATION: &str = "buntime.dev/policy";

/// The annotation by which a configuration asks for a channel to the supervisor: `"true"`.
pub const CHANNEL_ANNOTATION: &str = "buntime.dev/channel";

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
    /// The log of events of containers with a policy; by itself [`default_events`] where a policy
    /// has `audit.enabled`.
    pub events: Option<PathBuf>,
    /// In whose network connections are made.
    pub egress: EgressFrom,
}

/// Where events are recorded when the caller names no file: root's log, or the user's own.
#[must_use]
pub fn default_events() -> PathBuf {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let base = match super::is_ordinary_user() {
        false => PathBuf::from("/var/log"),
        true => match (set("XDG_STATE_HOME"), set("HOME")) {
            (Some(state), _) => PathBuf::from(state),
            (None, Some(home)) => PathBuf::from(home).join(".local/state"),
            (None, None) => super::Runtime::default_root(),
        },
    };
    base.join("buntime").join("events.jsonl")
}

impl Default for PolicyChoice {
    fn default() -> PolicyChoice {
        PolicyChoice {
            policies: Vec::new(),
            allow_degraded: false,
            directory: PathBuf::from(DIRECTORY),
            events: None,
            egress: EgressFrom::default(),
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

/// The documents of a container's policy, with what `~` and `$PWD` stand for in them: that is the
/// container's own.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Texts {
    documents: Vec<Document>,
    cwd: PathBuf,
    home: Option<PathBuf>,
}

impl Texts {
    fn of(documents: Vec<Document>, spec: &Spec) -> Texts {
        let process = spec.process().as_ref();
        Texts {
            documents,
            cwd: process.map_or_else(|| PathBuf::from("/"), |process| process.cwd().clone()),
            home: variable(spec, "HOME").map(Into::into),
        }
    }

    /// The layers, lowest first.
    ///
    /// # Errors
    /// What is wrong with a document.
    pub fn layers(&self) -> Result<Vec<Layer>, LoadError> {
        let vars = Vars::of(self.cwd.clone(), self.home.clone().map(Into::into));
        let parse = |one: &Document| Layer::parse(one.text.as_bytes(), &one.name, &vars);
        self.documents.iter().map(parse).collect()
    }
}

/// The value of a variable of the first process; of more of its name the last counts.
fn variable<'a>(spec: &'a Spec, name: &str) -> Option<&'a str> {
    let env = spec.process().as_ref()?.env().as_ref()?;
    let pairs = env.iter().rev().filter_map(|entry| entry.split_once('='));
    let mut named = pairs.filter(|(known, _)| *known == name);
    named.next().map(|(_, value)| value)
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
    /// Where events are recorded, if anywhere.
    pub events: Option<PathBuf>,
    /// Whether there is a channel to the supervisor.
    #[serde(default)]
    pub channel: bool,
    /// What it takes to read its requests, where they are read.
    #[serde(default)]
    pub reading: Option<ReadingRecord>,
    /// Who stands beside the container, once it is made.
    pub supervisor: Option<ProcessRecord>,
}

/// What `state` says of a container's policy.
#[derive(Debug, Serialize)]
pub struct Shown {
    names: Vec<String>,
    enforced: Vec<Mechanism>,
    supervisor: Option<Supervisor>,
    /// The folder in which the container finds its channel to the supervisor.
    channel: Option<&'static str>,
}

/// Who stands beside a container.
#[derive(Debug, Serialize)]
struct Supervisor {
    pid: i32,
    /// False: it has ended, and with it the container; nothing runs in it any more.
    alive: bool,
}

impl PolicyRecord {
    /// What holds, the container's limits and log among it.
    pub(super) fn enforced(&self, confinement: &Confinement) -> Vec<Mechanism> {
        let mut enforced = confinement.mechanisms.clone();
        enforced.extend(self.bounds.mechanisms());
        enforced.push(self.audit());
        enforced.extend(self.unheld.iter().cloned());
        enforced
    }

    fn audit(&self) -> Mechanism {
        let (state, detail) = match &self.events {
            None => (State::None, "audit is off: nothing is recorded".to_owned()),
            Some(path) => (
                State::Partial,
                format!(
                    "{}: the life of the container, and not what the kernel denies by itself",
                    path.display()
                ),
            ),
        };
        Mechanism {
            mechanism: "audit".to_owned(),
            state,
            detail,
        }
    }

    pub(super) fn shown(&self) -> Shown {
        let held = self.confinement.as_ref();
        let alive = |known: ProcessRecord| matches!(known.hold(), Ok(Some(_)));
        Shown {
            names: self.names.clone(),
            enforced: held.map_or_else(|| self.unheld.clone(), |held| self.enforced(held)),
            supervisor: self.supervisor.map(|known| Supervisor {
                pid: known.pid,
                alive: alive(known),
            }),
            channel: self.channel.then_some(CHANNEL),
        }
    }
}

/// A policy that was chosen and read.
#[derive(Debug)]
pub(super) struct Chosen {
    pub texts: Texts,
    pub record: PolicyRecord,
    pub egress: Egress,
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
        let texts = Texts::of(documents, spec);
        let documents = &texts.documents;
        let layers = texts.layers()?;
        for annotated in layers.iter().skip(self.policies.len()) {
            secrets::refuse(annotated)?;
        }
        let policy = Policy::merge(layers.clone(), Vec::new())
            .map_err(|error| refused(documents, error.to_string()))?;
        mounts::check(spec).map_err(|cause| refused(documents, cause))?;
        let channel = asks_for_channel(spec).map_err(|cause| refused(documents, cause))?;
        let link = link(spec, &policy).map_err(|cause| refused(documents, cause))?;
        let reading = ReadingRecord::of(&layers, &policy)?;
        reading::check(documents).map_err(|cause| refused(documents, cause))?;
        let egress = Egress::of(self.egress, spec, &policy);
        let unheld = unheld(&policy, spec, landlock_abi);
        let bounds = Bounds::of(policy.limits(), has_terminal(spec));
        bounds.narrow_spec(spec);
        if let (Some(first), false) = (unheld.first(), self.allow_degraded) {
            let cause = format!(
                "{}: {}; take it out of the policy, or start without it (--allow-degraded)",
                first.mechanism, first.detail
            );
            return Err(refused(documents, cause));
        }
        Ok(Some(Chosen {
            record: PolicyRecord {
                names: documents.iter().map(|one| one.name.clone()).collect(),
                unheld,
                confinement: None,
                bounds,
                events: match (&self.events, policy.audit().enabled) {
                    (None, true) => Some(default_events()),
                    (named, _) => named.clone(),
                },
                channel,
                reading: reading.clone(),
                supervisor: None,
            },
            request: ContainerPolicy {
                layers,
                given: mounts::given(spec),
                landlock_abi,
                own_processes: makes(spec, LinuxNamespaceType::Pid),
                own_network: makes(spec, LinuxNamespaceType::Network),
                channel,
                link,
                trust: reading.is_some().then(|| reading::trust(spec)),
            },
            egress,
            texts,
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

/// Whether the configuration asks for a channel.
fn asks_for_channel(spec: &Spec) -> Result<bool, String> {
    let annotations = spec.annotations().as_ref();
    let asked = annotations.and_then(|annotations| annotations.get(CHANNEL_ANNOTATION));
    match asked.map(String::as_str) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => Err(format!(
            "annotations.{CHANNEL_ANNOTATION} is {other:?}: write \"true\" or \"false\""
        )),
    }
}

/// The addresses of an interface beside the loopback, where the configuration asks for one.
fn link(spec: &Spec, policy: &Policy) -> Result<Option<Subnet>, String> {
    match network::chosen(spec.annotations().as_ref())? {
        None | Some(Network::Loopback) => Ok(None),
        Some(Network::Veth) if policy.has_way_out() => {
            let subnet = network::subnet().map_err(|error| error.to_string())?;
            Ok(Some(subnet))
        }
        Some(Network::Veth) => Err(format!(
            "annotations.{} is \"veth\", and the policy lets nothing leave: allow something, or take the annotation \
             out",
            network::ANNOTATION
        )),
    }
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
    if policy.limits().output.is_some() && has_terminal(spec) {
        let detail = "what is written to a terminal goes to its owner, and nothing here counts it";
        note("limits.output", detail.to_owned());
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
        // One with a way out is made in any case.
        let is_made = |kind: LinuxNamespaceType| {
            makes(spec, kind) || kind == LinuxNamespaceType::Network && policy.has_way_out()
        };
        let missing: Vec<String> = needed
            .into_iter()
            .filter(|kind| !is_made(*kind))
            .map(|kind| kind.to_string())
            .collect();
        if !missing.is_empty() {
            let detail = format!("linux.namespaces makes none of: {}", missing.join(", "));
            note("plugins.namespaces", detail);
        }
    }
    unheld
}

fn has_terminal(spec: &Spec) -> bool {
    let process = spec.process().as_ref();
    process
        .and_then(|process| process.terminal())
        .unwrap_or(false)
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
pub(super) fn kept(texts: &Texts) -> Result<Vec<u8>, VerbError> {
    serde_json::to_vec(&texts.documents)
        .map_err(|error| VerbError::system("write", "the container's policy")(error.into()))
}

#[cfg(test)]
mod tests;
