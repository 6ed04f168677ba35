//! What the interceptor asks the supervisor about a call that waits.

use serde::{Deserialize, Serialize};

use crate::policy::Perm;

/// One call that must be recorded before it is answered, or that a person decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// What the answer must name; each question of a sandbox has its own, from 1.
    pub number: u64,
    /// The caller's process id inside the sandbox.
    pub pid: u32,
    /// What the call wants.
    pub asked: Asked,
}

/// What a call wants, as the policy is asked about it. Paths are absolute, resolved in the worker's
/// root, and bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Asked {
    /// An operation on a path. Of several permissions that a call needs this is the one with the
    /// most severe verdict.
    Fs {
        /// The path.
        path: Vec<u8>,
        /// The permission.
        perm: Perm,
    },
    /// A change of mode, owner, times or attributes.
    Change {
        /// The path.
        path: Vec<u8>,
    },
    /// A shared object that is run as a program, as the dynamic loader can be, to load others: no rule
    /// permits that where executions are decided.
    Load {
        /// The path.
        path: Vec<u8>,
    },
    /// A program to run.
    Exec {
        /// The path.
        path: Vec<u8>,
        /// The SHA-256 of its contents in lower-case hexadecimal, where a rule asks for it.
        sha256: Option<String>,
    },
}
