//! One document, or the command line, with the place of each of its rules.

use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::limits::{Approval, Audit, Limits, OnViolation, Plugins};
use super::matching::PathPattern;
use super::net::{NetPattern, Target};
use super::perm::PermSet;
use super::read::{self, Source};
use super::request::{RuleRef, Verdict};
use super::scan::MAX_BYTES;
use super::secrets::Secret;
use super::{nearest, shipped};

/// What `~`, `$PWD` and `${WORKSPACE}` stand for. A policy that speaks of one that is not absolute
/// is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vars {
    /// `~`.
    pub home: PathBuf,
    /// `$PWD`.
    pub pwd: PathBuf,
    /// `${WORKSPACE}`.
    pub workspace: PathBuf,
}

impl Vars {
    /// Of a process that is in `pwd`. Without a home, a policy that speaks of it is refused: another
    /// place in its stead would leave what the policy denies open.
    #[must_use]
    pub fn of(pwd: PathBuf, home: Option<OsString>) -> Vars {
        Vars {
            home: home.map(PathBuf::from).unwrap_or_default(),
            workspace: pwd.clone(),
            pwd,
        }
    }
}

/// One thing that is wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// A document could not become a layer.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read the policy {}: {cause}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// It is too long to be a policy.
    #[error(
        "the policy {source_name} is longer than {MAX_BYTES} bytes; give fewer rules, or directories in the place of files"
    )]
    TooLong {
        /// The file, or the name of the text.
        source_name: String,
    },
    /// The text is no policy.
    #[error("{}", listed(source_name, problems))]
    Invalid {
        /// The file, or the name of the text.
        source_name: String,
        /// Everything that was found wrong, in the order of the text.
        problems: Vec<Problem>,
    },
    /// No policy of that name is shipped.
    #[error("there is no shipped policy {name:?}{} (there are: {})", nearest::suggestion(name, shipped::NAMES), shipped::NAMES.join(", "))]
    Unknown {
        /// The name.
        name: String,
    },
    /// A flag's value means nothing.
    #[error("{flag}: {message}")]
    Flag {
        /// The flag as it was given.
        flag: String,
        /// What is wrong with it.
        message: String,
    },
}

fn listed(source_name: &str, problems: &[Problem]) -> String {
    let lines: Vec<String> = problems
        .iter()
        .map(|problem| {
            format!(
                "{source_name}:{}:{}: {}",
                problem.line, problem.column, problem.message
            )
        })
        .collect();
    lines.join("\n")
}

/// What holds where no rule matches, for some of the permissions.
#[derive(Debug, Clone)]
pub(super) struct DefaultRule {
    pub perms: PermSet,
    pub verdict: Verdict,
    pub rule: RuleRef,
}

/// A rule about paths.
#[derive(Debug, Clone)]
pub(super) struct FsRule {
    pub action: Verdict,
    pub pattern: PathPattern,
    pub perms: PermSet,
    pub rule: RuleRef,
}

/// A rule about connections.
#[derive(Debug, Clone)]
pub(super) struct NetRule {
    pub action: Verdict,
    pub pattern: NetPattern,
    pub rule: RuleRef,
}

/// A rule about requests of HTTP.
#[derive(Debug, Clone)]
pub(super) struct HttpRule {
    pub action: Verdict,
    /// A name, or all names below one.
    pub host: Target,
    /// Any, where there is none.
    pub methods: Vec<Box<str>>,
    /// Every path, where there is none.
    pub path: Option<PathPattern>,
    pub rule: RuleRef,
}

/// A rule about programs.
#[derive(Debug, Clone)]
pub(super) struct ExecRule {
    pub action: Verdict,
    pub pattern: PathPattern,
    /// In lower-case hexadecimal.
    pub sha256: Option<Box<str>>,
    pub rule: RuleRef,
}

/// One document, or the flags, ready to be merged. Each can only narrow the others.
///
/// A section without a default denies what its rules do not allow. A section that neither
/// has a default nor allows anything says nothing beyond its denies.
#[derive(Debug, Clone)]
pub struct Layer {
    pub(super) name: String,
    pub(super) description: Option<String>,
    pub(super) plugins: Plugins,
    pub(super) plugins_rule: RuleRef,
    pub(super) fs_defaults: Vec<DefaultRule>,
    pub(super) net_default: Option<DefaultRule>,
    pub(super) exec_default: Option<DefaultRule>,
    pub(super) fs: Vec<FsRule>,
    pub(super) net: Vec<NetRule>,
    pub(super) exec: Vec<ExecRule>,
    pub(super) http: Vec<HttpRule>,
    /// What denies a request that none of them permits, to a host that one is about.
    pub(super) http_rule: RuleRef,
    pub(super) secrets: Vec<Secret>,
    pub(super) deny_syscalls: Vec<String>,
    pub(super) syscalls_rule: RuleRef,
    pub(super) audit: Audit,
    pub(super) audit_rule: RuleRef,
    pub(super) limits: Limits,
    pub(super) on_violation: OnViolation,
    pub(super) approval: Approval,
    /// Rules that only a classifier can carry out.
    pub(super) risk: Vec<RuleRef>,
    /// Whether these are flags over files, whose every allow must be within the files'.
    pub(super) narrows: bool,
    /// Whether what it lets through is there to be learned from.
    pub(super) learns: bool,
}

impl Layer {
    /// Reads a policy file of at most 1 MiB.
    pub fn load(path: &Path, vars: &Vars) -> Result<Layer, LoadError> {
        let read = |cause| LoadError::Read {
            path: path.to_owned(),
            cause,
        };
        let file = std::fs::File::open(path).map_err(read)?;
        if file.metadata().map_err(read)?.is_dir() {
            return Err(read(std::io::ErrorKind::IsADirectory.into()));
        }
        let mut text = Vec::new();
        // One byte more than is allowed tells a long file from one that just fits, and a device
        // that never ends from a file.
        file.take(MAX_BYTES as u64 + 1)
            .read_to_end(&mut text)
            .map_err(read)?;
        let source = Source {
            name: path.display().to_string(),
            file: Some(path.to_owned()),
        };
        read::layer(&text, source, vars)
    }

    /// Reads a policy from memory; `source` names it in messages.
    pub fn parse(text: &[u8], source: &str, vars: &Vars) -> Result<Layer, LoadError> {
        read::layer(
            text,
            Source {
                name: source.to_owned(),
                file: None,
            },
            vars,
        )
    }

    /// One of [`shipped_names`](super::shipped_names).
    pub fn shipped(name: &str, vars: &Vars) -> Result<Layer, LoadError> {
        let text = shipped::text(name).ok_or_else(|| LoadError::Unknown {
            name: name.to_owned(),
        })?;
        Layer::parse(text.as_bytes(), &format!("policies/{name}.json"), vars)
    }

    /// A shipped policy when the argument is the name of one, else a file. A file in the working
    /// directory that has the name of a shipped policy is meant by `./NAME`.
    pub fn named(argument: &Path, vars: &Vars) -> Result<Layer, LoadError> {
        match argument.to_str() {
            Some(name) if shipped::text(name).is_some() => Layer::shipped(name, vars),
            Some(name) if !name.contains(['/', '.']) && !argument.exists() => {
                Err(LoadError::Unknown {
                    name: name.to_owned(),
                })
            }
            _ => Layer::load(argument, vars),
        }
    }

    /// The name in messages: the path of the file, or `flags`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the document says about itself.
    pub fn description(&self) -> Option<&str> {
        self.description.as_deref()
    }

    /// Says something about the document.
    pub fn set_description(&mut self, description: &str) {
        self.description = Some(description.to_owned());
    }
}
