//! What is asked of a policy, and what it answers.

use std::fmt;
use std::net::IpAddr;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::perm::Perm;

/// The answer of a rule. Ordered by severity: the greater wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It may happen.
    Allow,
    /// It may happen and is recorded.
    Warn,
    /// A person decides; no answer is deny.
    Ask,
    /// It must not happen.
    Deny,
}

impl Verdict {
    /// Whether the operation may happen without anybody being asked.
    pub const fn permits(self) -> bool {
        matches!(self, Verdict::Allow | Verdict::Warn)
    }

    /// The name in a policy file.
    pub const fn name(self) -> &'static str {
        match self {
            Verdict::Allow => "allow",
            Verdict::Warn => "warn",
            Verdict::Ask => "ask",
            Verdict::Deny => "deny",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// The transport of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Proto {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// One operation that a worker wants to do.
///
/// Paths are absolute and free of symbolic links: resolving them is the caller's work,
/// because a policy is pure and does not look at a file system. `.`, `..` and `//` are
/// resolved here, by their letters.
#[derive(Debug, Clone, Copy)]
pub enum Request<'a> {
    /// An operation on a path.
    Fs {
        /// The absolute path.
        path: &'a Path,
        /// The operation.
        perm: Perm,
    },
    /// A connection, or a datagram, to an address.
    Net {
        /// The transport.
        proto: Proto,
        /// The name that the worker asked for, when it is known.
        host: Option<&'a str>,
        /// The address that would be dialled, when it is known.
        addr: Option<IpAddr>,
        /// The port.
        port: u16,
    },
    /// A program to run.
    Exec {
        /// The absolute path.
        path: &'a Path,
        /// The SHA-256 of its contents in lower-case hexadecimal, when it is known.
        sha256: Option<&'a str>,
    },
}

impl Request<'_> {
    /// The command-line flag that would allow this, when no policy file is given.
    pub fn flag(&self) -> String {
        match self {
            Request::Fs {
                path,
                perm: Perm::ReadFile | Perm::ReadDir,
            } => {
                format!("--allow-read={}", path.display())
            }
            Request::Fs {
                path,
                perm: Perm::Execute,
            }
            | Request::Exec { path, .. } => {
                format!("--allow-run={}", path.display())
            }
            Request::Fs { path, .. } => format!("--allow-write={}", path.display()),
            Request::Net {
                host: Some(host),
                port,
                ..
            } => format!("--allow-net={host}:{port}"),
            Request::Net {
                addr: Some(IpAddr::V6(addr)),
                port,
                ..
            } => {
                format!("--allow-net=[{addr}]:{port}")
            }
            Request::Net {
                addr: Some(addr),
                port,
                ..
            } => format!("--allow-net={addr}:{port}"),
            Request::Net { port, .. } => format!("--allow-net=:{port}"),
        }
    }
}

/// A verdict and the rule that gave it.
#[must_use]
#[derive(Debug, Clone, Serialize)]
pub struct Decision {
    /// The answer.
    pub verdict: Verdict,
    /// Where the answer comes from.
    pub rule: RuleRef,
}

/// Where a rule was written.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RuleOrigin {
    /// The layer: the name of its file, `flags` or `bundle`.
    pub layer: String,
    /// The rule inside its layer: `fs[2]`, `defaults.fs`, `--deny-read=/x`; `bundle` for the bundle.
    pub what: String,
    /// The file, when the layer is one.
    #[serde(serialize_with = "super::lossy::optional")]
    pub file: Option<PathBuf>,
    /// The line in that file, from 1.
    pub line: Option<u32>,
}

/// A shared reference to a rule's origin: cheap to clone, shown as `fs[2] of default.json`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleRef(Arc<RuleOrigin>);

impl RuleRef {
    /// A reference to this origin.
    pub fn new(origin: RuleOrigin) -> RuleRef {
        RuleRef(Arc::new(origin))
    }

    /// The layer that every bundle's own allows belong to.
    pub fn bundle() -> RuleRef {
        RuleRef::named("bundle", "bundle")
    }

    /// A rule that stands in no file.
    pub(super) fn named(layer: &str, what: impl Into<String>) -> RuleRef {
        RuleRef::new(RuleOrigin {
            layer: layer.to_owned(),
            what: what.into(),
            file: None,
            line: None,
        })
    }

    /// `FILE:LINE`, or the layer when the rule stands in no file.
    pub fn location(&self) -> String {
        match (&self.file, self.line) {
            (Some(file), Some(line)) => format!("{}:{line}", file.display()),
            (None, Some(line)) => format!("{}:{line}", self.layer),
            _ => self.layer.clone(),
        }
    }
}

impl Deref for RuleRef {
    type Target = RuleOrigin;

    fn deref(&self) -> &RuleOrigin {
        &self.0
    }
}

impl fmt::Display for RuleRef {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.what == self.layer || self.what.starts_with("--") {
            return out.write_str(&self.what);
        }
        write!(out, "{} of {}", self.what, self.layer)
    }
}

impl Serialize for RuleRef {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(out)
    }
}

impl<'de> Deserialize<'de> for RuleRef {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<RuleRef, D::Error> {
        RuleOrigin::deserialize(from).map(RuleRef::new)
    }
}
