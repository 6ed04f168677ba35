//! Where the connections of a container are made that its policy lets out.

use std::io::Read;
use std::path::Path;

use oci_spec::runtime::Spec;
use serde::{Deserialize, Serialize};

use crate::launch::container::{RESOLV_CONF, WayOutShape};
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
    resolvers: Option<String>,
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

    pub(in crate::oci::container) fn leading(
        self,
        shape: WayOutShape,
        reading: Option<Reading>,
    ) -> Leading {
        Leading {
            shape,
            reading,
            from: self.from,
            resolvers: self.resolvers,
        }
    }
}

/// The file that its engine gives the container, if the container cannot have written to it in a life
/// before: who answers for a name decides where its connections go. An image's own is nobody's word.
fn resolvers(spec: &Spec, policy: &Policy) -> Option<String> {
    let path = Path::new(RESOLV_CONF);
    let mounts = spec.mounts().iter().flatten();
    let given = mounts.rev().find(|mount| mount.destination() == path)?;
    let perms = [Perm::WriteFile, Perm::RemoveFile];
    let is_writable = perms.into_iter().any(|perm| {
        let write = Request::Fs { path, perm };
        policy.decide(&write).verdict.permits()
    });
    let source = given.source().as_ref()?;
    if is_writable || !source.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = String::new();
    let file = std::fs::File::open(source).ok()?;
    file.take(LARGEST).read_to_string(&mut text).ok()?;
    let is_named = |line: &str| line.split_ascii_whitespace().next() == Some("nameserver");
    text.lines().any(is_named).then_some(text)
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
    if leading.reading.is_some() {
        detail.push_str(
            "; requests to hosts that its rules about them name are read, out of TLS too",
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
