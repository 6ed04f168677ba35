//! What a call needs, and what the policy says of it.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, OFlags, Stat};

use super::question::Asked;
use super::view::Found;
use crate::policy::{Perm, Policy, Request, Verdict};
use crate::sys::names;

/// What a file is known by: its device and its inode.
pub(super) type Id = (u64, u64);

/// A name by which a file is known wherever it is found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Known {
    pub name: PathBuf,
    /// When the file came into being, where that is told: when all its names have gone, another file
    /// can have its inode.
    pub born: Option<(i64, u32)>,
}

/// One thing that must be allowed for a call to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Need {
    /// A permission on a path.
    Fs(Perm, PathBuf),
    /// A change of what is known of a path: mode, owner, times, attributes.
    Change(PathBuf),
    /// To run a shared object as a program: nobody may.
    Load(PathBuf),
    /// A program with this SHA-256, where rules compare it.
    Exec(PathBuf, Option<String>),
}

impl Need {
    pub fn question(&self) -> Asked {
        let bytes = |path: &Path| path.as_os_str().as_bytes().to_vec();
        match self {
            Need::Fs(perm, path) => Asked::Fs {
                path: bytes(path),
                perm: *perm,
            },
            Need::Change(path) => Asked::Change { path: bytes(path) },
            Need::Load(path) => Asked::Load { path: bytes(path) },
            Need::Exec(path, sha256) => Asked::Exec {
                path: bytes(path),
                sha256: sha256.clone(),
            },
        }
    }
}

/// The permissions for opening something of this kind with these flags.
pub(super) fn to_open(kind: FileType, flags: OFlags) -> Vec<Perm> {
    let mode = flags & OFlags::ACCMODE;
    let mut perms = Vec::new();
    if mode != OFlags::WRONLY {
        perms.push(match kind {
            FileType::Directory if !flags.contains(OFlags::TMPFILE) => Perm::ReadDir,
            _ => Perm::ReadFile,
        });
    }
    // Of nothing else there is something to cut.
    let cuts = kind == FileType::RegularFile && flags.contains(OFlags::TRUNC);
    // What neither reads nor writes by its mode is open for both.
    if mode != OFlags::RDONLY || cuts {
        perms.push(Perm::WriteFile);
    }
    perms
}

/// What it takes to make something of this kind.
pub(super) fn to_make(kind: FileType) -> Perm {
    match kind {
        FileType::Directory => Perm::MakeDir,
        FileType::Symlink => Perm::MakeSym,
        FileType::Fifo => Perm::MakeFifo,
        FileType::Socket => Perm::MakeSock,
        FileType::CharacterDevice => Perm::MakeChar,
        FileType::BlockDevice => Perm::MakeBlock,
        FileType::RegularFile | FileType::Unknown => Perm::MakeReg,
    }
}

/// What it takes to remove something of this kind.
pub(super) fn to_remove(kind: FileType) -> Perm {
    match kind {
        FileType::Directory => Perm::RemoveDir,
        _ => Perm::RemoveFile,
    }
}

/// The policy, and the files that it knows under every name.
#[derive(Debug)]
pub(super) struct Judge {
    policy: Policy,
    /// Names of files with several, by device and inode.
    linked: HashMap<Id, Vec<Known>>,
    /// Whether operations on files are recorded also where they are allowed.
    records_files: bool,
    /// The same of executions.
    records_executions: bool,
    /// The dynamic loaders of the system.
    loaders: Vec<Id>,
}

impl Judge {
    pub fn new(policy: Policy, linked: HashMap<Id, Vec<Known>>, loaders: Vec<Id>) -> Judge {
        let audit = policy.audit();
        let named = |name: &str| audit.events.iter().any(|event| event == name);
        Judge {
            records_files: audit.enabled && named("fs"),
            records_executions: audit.enabled && named("exec"),
            linked,
            loaders,
            policy,
        }
    }

    /// The same judge by other rules. What a file was known by stays known: it can have got other names
    /// since, and another file its own.
    pub fn go_over(&mut self, policy: Policy, linked: HashMap<Id, Vec<Known>>) {
        let mut known = std::mem::take(&mut self.linked);
        for (id, names) in linked {
            let of_file = known.entry(id).or_default();
            of_file.extend(names);
            of_file.sort_unstable();
            of_file.dedup();
        }
        *self = Judge::new(policy, known, std::mem::take(&mut self.loaders));
    }

    /// Whether it is a dynamic loader of the system.
    pub fn is_loader(&self, file: Id) -> bool {
        self.loaders.contains(&file)
    }

    /// Whether what a program contains matters to some rule about one of these names.
    pub fn compares_digest_of(&self, found: &Found) -> bool {
        self.names(found)
            .any(|path| self.policy.compares_digest_of(path))
    }

    /// Whether somebody is asked before it runs under one of these names, by either section.
    pub fn asks_about(&self, found: &Found) -> bool {
        let asks = |path: &PathBuf| {
            let program = Request::Exec { path, sha256: None };
            let perm = Perm::Execute;
            let file = Request::Fs { path, perm };
            let verdicts = [self.policy.decide(&program), self.policy.operation(&file)];
            verdicts.iter().any(|said| said.verdict == Verdict::Ask)
        };
        self.names(found).any(asks)
    }

    /// Whether what happens is learned from.
    pub fn learns(&self) -> bool {
        self.policy.learns()
    }

    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The names under which rules may speak of an object: where it was found, and those by which it
    /// is known wherever it is found.
    pub fn names<'n>(&'n self, found: &'n Found) -> impl Iterator<Item = &'n PathBuf> {
        let id = (found.stat.st_dev, found.stat.st_ino);
        let linked = self.linked.get(&id).map_or(&[][..], |linked| linked);
        let born = match linked.is_empty() {
            true => None,
            false => names::birth(&found.object),
        };
        let is_of_it =
            move |known: &&Known| known.born.is_none() || born.is_none() || known.born == born;
        let linked = linked.iter().filter(is_of_it);
        found.paths.iter().chain(linked.map(|known| &known.name))
    }

    /// What must be recorded or asked before a call with these needs is made: only the denial where
    /// there is one.
    pub fn open_questions(&self, needs: Vec<Need>) -> Vec<Need> {
        let mut open: Vec<Need> = Vec::new();
        for need in needs {
            let verdict = self.verdict(&need);
            if verdict == Verdict::Deny {
                return vec![need];
            }
            let is_recorded = match need {
                Need::Exec(..) | Need::Load(_) => self.records_executions,
                Need::Fs(..) | Need::Change(_) => self.records_files,
            };
            if (verdict != Verdict::Allow || is_recorded) && !open.contains(&need) {
                open.push(need);
            }
        }
        open
    }

    /// Whether a path may be used without anything being recorded or asked.
    pub fn lets_pass(&self, perm: Perm, path: &Path) -> bool {
        let request = Request::Fs { path, perm };
        !self.records_files && self.policy.operation(&request).verdict == Verdict::Allow
    }

    /// Whether rules may speak of an object under names that it has beside the one where it was found.
    pub fn has_other_names(&self, stat: &Stat) -> bool {
        self.linked.contains_key(&(stat.st_dev, stat.st_ino))
    }

    /// Whether a program that was chosen on the command line may not start for this. A loader that was
    /// chosen there may.
    pub fn denies_start(&self, need: &Need) -> bool {
        !matches!(need, Need::Load(_)) && self.verdict(need) == Verdict::Deny
    }

    /// Whether nothing is in its way.
    pub fn permits(&self, need: &Need) -> bool {
        self.verdict(need).permits()
    }

    fn verdict(&self, need: &Need) -> Verdict {
        match need {
            Need::Fs(perm, path) => {
                let request = Request::Fs { path, perm: *perm };
                self.policy.operation(&request).verdict
            }
            Need::Change(path) => self.policy.change(path).verdict,
            Need::Load(_) => Verdict::Deny,
            Need::Exec(path, sha256) => {
                let sha256 = sha256.as_deref();
                let request = Request::Exec { path, sha256 };
                self.policy.decide(&request).verdict
            }
        }
    }
}
