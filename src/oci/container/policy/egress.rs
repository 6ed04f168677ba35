//! Where the connections of a container are made that its policy lets out.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;
use serde::{Deserialize, Serialize};

use crate::launch::container::{ContainerError, RESOLV_CONF, WayOutShape};
use crate::launch::{Mechanism, State};
use crate::oci::container::supervised::{Leading, Reading};
use crate::policy::{Perm, Policy, Request};

/// The most of a resolv.conf(5) that is read, in bytes.
const LARGEST: u64 = 1 << 16;

/// In whose network connections are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EgressFrom {
    /// In the one that the configuration gives the container, as its engine has set it up.
    #[default]
    Container,
    /// In the one in which the runtime is called.
    Host,
}

/// See the module.
#[derive(Debug)]
pub(in crate::oci::container) struct Egress {
    from: EgressFrom,
    /// The file of the host that says who resolves names for the container, if one does.
    resolvers: Option<PathBuf>,
}

impl Egress {
    /// As the caller wants it, and the configuration has it.
    pub(super) fn of(from: EgressFrom, spec: &Spec, policy: &Policy) -> Egress {
        let resolvers = match from {
            EgressFrom::Container => resolvers(spec, policy),
            EgressFrom::Host => None,
        };
        Egress { from, resolvers }
    }

    /// What the supervisor is told. To be called when hooks have run: an engine's can write anew who resolves
    /// names.
    ///
    /// # Errors
    /// The file that says so cannot be read.
    pub(in crate::oci::container) fn leading(
        self,
        shape: WayOutShape,
        reading: Option<Reading>,
    ) -> Result<Leading, ContainerError> {
        let resolvers = self.resolvers.map(|path| {
            said(&path).map_err(|source| ContainerError::System {
                operation: "read",
                object: path.display().to_string(),
                source,
            })
        });
        Ok(Leading {
            shape,
            reading,
            from: self.from,
            resolvers: resolvers.transpose()?.flatten(),
        })
    }
}

/// The file that its engine gives the container, if the container cannot have written to it in a life
/// before: who answers for a name decides where its connections go. An image's own is nobody's word.
fn resolvers(spec: &Spec, policy: &Policy) -> Option<PathBuf> {
    let path = Path::new(RESOLV_CONF);
    let mounts = spec.mounts().iter().flatten();
    let given = mounts.rev().find(|mount| mount.destination() == path)?;
    let perms = [Perm::WriteFile, Perm::RemoveFile];
    let is_writable = perms.into_iter().any(|perm| {
        let write = Request::Fs { path, perm };
        policy.decide(&write).verdict.permits()
    });
    let source = given.source().as_ref()?;
    (!is_writable).then(|| source.clone())
}

/// The text of such a file; `None` where it names nobody, or something else is there.
fn said(path: &Path) -> io::Result<Option<String>> {
    if !path.metadata()?.is_file() {
        return Ok(None);
    }
    let mut text = Vec::new();
    let file = std::fs::File::open(path)?;
    file.take(LARGEST).read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let is_named = |line: &str| line.split_ascii_whitespace().next() == Some("nameserver");
    Ok(text.lines().any(is_named).then_some(text))
}

/// What `state` says of it.
pub(in crate::oci::container) fn mechanism(leading: &Leading) -> Mechanism {
    let (state, mut detail) = match (leading.from, leading.shape.is_linked) {
        (EgressFrom::Host, _) => (State::Full, "connections are made in the host's network".to_owned()),
        (EgressFrom::Container, true) => (
            State::Full,
            "connections are made in the network that the configuration gives".to_owned(),
        ),
        (EgressFrom::Container, false) => (
            State::Partial,
            "the network that the configuration gives has no interface, so that nothing is reached: have a \
             hook make one, or take the host's (--egress host)"
                .to_owned(),
        ),
    };
    if let Some(reading) = &leading.reading {
        let others = match reading.descriptors > 1 {
            true => "those of the image",
            false => "those that the host trusts",
        };
        detail = format!(
            "{detail}; requests to hosts that its rules about them name are read, out of TLS too, for which programs \
             find a certificate beside {others}"
        );
    }
    if state == State::Partial {
        tracing::warn!("egress: {detail}");
    }
    Mechanism {
        mechanism: "egress".to_owned(),
        state,
        detail,
    }
}
