//! One loaded document with the place of each of its rules.

use std::path::{Path, PathBuf};

use super::flags::Flags;

/// What `~`, `$PWD` and `${WORKSPACE}` stand for. All absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vars {
    /// `~`.
    pub home: PathBuf,
    /// `$PWD`.
    pub pwd: PathBuf,
    /// `${WORKSPACE}`.
    pub workspace: PathBuf,
}

/// A document could not become a layer.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct LoadError(String);

/// One document, or the flags, ready to be merged.
#[derive(Debug, Clone)]
pub struct Layer {}

impl Layer {
    /// Reads a policy file.
    pub fn load(_path: &Path, _vars: &Vars) -> Result<Layer, LoadError> {
        Err(LoadError("not written yet".into()))
    }

    /// Reads a policy from memory; `source` names it in messages.
    pub fn parse(_text: &[u8], _source: &str, _vars: &Vars) -> Result<Layer, LoadError> {
        Err(LoadError("not written yet".into()))
    }

    /// One of [`shipped_names`].
    pub fn shipped(_name: &str, _vars: &Vars) -> Result<Layer, LoadError> {
        Ok(Layer {})
    }

    /// The command line.
    pub fn from_flags(_flags: &Flags, _vars: &Vars) -> Result<Layer, LoadError> {
        Ok(Layer {})
    }
}

/// The policies inside the program.
pub fn shipped_names() -> &'static [&'static str] {
    &["default"]
}
