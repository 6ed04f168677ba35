//! What a live decision needs of a policy, as a value that another process of ours can be given.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::index::Index;
use super::limits::Audit;
use super::merge::{ExecMode, Policy};
use super::plan::Intercept;

/// The part of a policy by which calls are decided as they are made, and the files that it knows
/// under every name.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LiveRules {
    fs: Index,
    exec: Index,
    mode: ExecMode,
    audit: Audit,
    /// Paths as bytes, which JSON has no text for.
    linked: Vec<Vec<u8>>,
}

impl LiveRules {
    /// The files that are known under every name.
    #[must_use]
    pub fn linked(&self) -> Vec<PathBuf> {
        let paths = self.linked.iter().cloned();
        paths.map(|path| OsString::from_vec(path).into()).collect()
    }
}

impl Policy {
    /// What decides calls under this policy, where `intercept` is the interceptor's part of it.
    #[must_use]
    pub fn live_rules(&self, intercept: &Intercept) -> LiveRules {
        let linked = intercept.linked.iter();
        LiveRules {
            fs: self.fs.clone(),
            exec: self.exec.clone(),
            mode: self.mode,
            audit: self.audit().clone(),
            linked: linked
                .map(|path| path.as_os_str().as_bytes().to_vec())
                .collect(),
        }
    }

    /// The same policy with other rules about files and programs, which are what is decided live.
    #[must_use]
    pub fn with_live_rules(&self, rules: LiveRules) -> Policy {
        let (fs, exec) = (rules.fs.finish(), rules.exec.finish());
        self.clone()
            .deciding_by(fs, exec, (rules.mode, rules.audit))
    }
}
