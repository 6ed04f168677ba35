//! The command line as a layer.

use std::path::PathBuf;

use super::limits::Limits;

/// What the person said on the command line. Of each list: `None` when the flag was not
/// given, an empty list when it was given without one and so means everything.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `--allow-read`: read files and list directories.
    pub allow_read: Option<Vec<PathBuf>>,
    /// `--deny-read`.
    pub deny_read: Option<Vec<PathBuf>>,
    /// `--allow-write`: change files and directories.
    pub allow_write: Option<Vec<PathBuf>>,
    /// `--deny-write`.
    pub deny_write: Option<Vec<PathBuf>>,
    /// `--allow-net`: `HOST`, `HOST:PORT`, `ADDRESS[/BITS]`, `[V6]:PORT`, `:PORT`.
    pub allow_net: Option<Vec<String>>,
    /// `--deny-net`.
    pub deny_net: Option<Vec<String>>,
    /// `--allow-run`: programs, already looked up.
    pub allow_run: Option<Vec<PathBuf>>,
    /// `--deny-run`.
    pub deny_run: Option<Vec<PathBuf>>,
    /// The limits that were given.
    pub limits: Limits,
    /// Whether `--policy` files are there too. Then the flags can only narrow them; otherwise
    /// the flags are the policy, over the shipped `default`.
    pub over_policy: bool,
}
