//! What an execution needs, read slowly from the documents and from nothing of the code under test,
//! and what the oracle says of that.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use buntime::policy::{Bind, Mask, MaskKind, Perm, PermSet, Policy, Request, Verdict};
use sha2::{Digest, Sha256};

use super::super::world::{Kind, kind_of, leads};
use super::{Execution, How};

/// The oracle, and what the plan makes of the tree.
pub struct Oracle<'o> {
    pub policy: &'o Policy,
    pub root: &'o Path,
    pub live: PermSet,
    /// Nothing runs but the command.
    pub once: bool,
    /// Files that a rule named at the start, by their inodes, and the paths it named.
    pub linked: Vec<(u64, PathBuf)>,
    pub binds: &'o [Bind],
    pub masks: &'o [Mask],
    /// Of the files of the tree, which nobody changes.
    pub digests: &'o BTreeMap<PathBuf, String>,
}

impl Oracle<'_> {
    /// The most severe answer to what the execution needs; `None` where nothing is there to be run.
    pub fn verdict(&self, call: &Execution) -> Option<Verdict> {
        let follow = call.how != How::Nofollow;
        let path = leads(self.root, call.path, follow)?;
        if kind_of(&path)? != Kind::File {
            return None;
        }
        let of_program = self.of_file(&path, 0)?;
        Some(match call.how {
            // It reads what it loads.
            How::Loader => of_program.max(self.of_loader()).max(self.of_reading(&path)),
            _ => of_program,
        })
    }

    /// Where executions are decided one by one, nothing runs by the loader's hand. Elsewhere it is the
    /// bundle's, and loads only what may run.
    fn of_loader(&self) -> Verdict {
        match self.once || self.live.contains(Perm::Execute) {
            true => Verdict::Deny,
            false => Verdict::Allow,
        }
    }

    fn of_reading(&self, path: &Path) -> Verdict {
        let of_name = |path: &PathBuf| {
            let perm = Perm::ReadFile;
            self.policy.decide(&Request::Fs { path, perm }).verdict
        };
        let names = self.names(path);
        names.iter().map(of_name).max().unwrap_or(Verdict::Deny)
    }

    fn of_file(&self, path: &Path, depth: usize) -> Option<Verdict> {
        let bytes = fs::read(path).expect("a file");
        let sha256 = &self.digests[path];
        let names = self.names(path);
        let own = names.iter().map(|name| self.of_name(name, sha256)).max();
        let own = own.unwrap_or(Verdict::Deny);
        let Some(interpreter) = interpreter(&bytes) else {
            // It can be read in its memory. That is no reading of its own.
            let reading = self.of_reading(path);
            let counts = self.live.contains(Perm::Execute) && !reading.permits();
            return Some(if counts { own.max(reading) } else { own });
        };
        let compared = names
            .iter()
            .any(|name| self.policy.compares_digest_of(name));
        if depth > 4 || (compared && self.is_writable(path)) {
            return Some(Verdict::Deny);
        }
        // Without an interpreter it fails in any case.
        let given = self.root.join(interpreter).canonicalize().ok()?;
        // An interpreter reads it, but where that is a script: that one is read then.
        let is_read = !fs::read(&given).is_ok_and(|bytes| bytes.starts_with(b"#!"));
        let own = match is_read {
            true => own.max(self.of_reading(path)),
            false => own,
        };
        Some(own.max(self.of_file(&given, depth + 1)?))
    }

    fn of_name(&self, path: &Path, sha256: &str) -> Verdict {
        let perm = |perm| self.policy.decide(&Request::Fs { path, perm }).verdict;
        let program = Request::Exec {
            path,
            sha256: Some(sha256),
        };
        let program = self.policy.decide(&program).verdict;
        program.max(perm(Perm::Execute))
    }

    fn names(&self, path: &Path) -> Vec<PathBuf> {
        let inode = path.symlink_metadata().expect("it is there").ino();
        let linked = self.linked.iter().filter(|(known, _)| *known == inode);
        let mut names = vec![path.to_owned()];
        names.extend(linked.map(|(_, path)| path.clone()));
        names
    }

    fn is_writable(&self, path: &Path) -> bool {
        let covers = |mask: &Mask| mask.kind == MaskKind::ReadOnly && path.starts_with(&mask.path);
        if self.masks.iter().any(covers) {
            return false;
        }
        let around = self
            .binds
            .iter()
            .filter(|bind| path.starts_with(&bind.path));
        around
            .max_by_key(|bind| bind.path.components().count())
            .is_some_and(|bind| bind.writable)
    }
}

pub fn digest(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the first line of a script names.
fn interpreter(bytes: &[u8]) -> Option<&Path> {
    let line = bytes.strip_prefix(b"#!")?.split(|byte| *byte == b'\n');
    let line = std::str::from_utf8(line.into_iter().next()?).ok()?;
    line.split_whitespace().next().map(Path::new)
}
