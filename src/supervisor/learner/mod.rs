//! What a run is learned from: the calls that its broker let through, and those that found nothing.
//!
//! It trusts the broker, which is told nothing in return: nothing is allowed because it was learned before
//! the run is over.

mod file;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

pub use file::LearnError;
pub(super) use file::{LearnedFile, real};

use super::gate::wanted;
use super::printable::printable;
use super::remark::Remark;
use crate::audit::Operation;
use crate::intercept::{Asked, Outcome};
use crate::launch::{LaunchRequest, Piece};
use crate::policy::{Learned, Observation, PROGRAM_FOLDERS, Perm, Policy, Request, Vars, Verdict};

/// Things of one kind that are told apart; more of them are only counted.
const MOST: usize = 1 << 14;

/// Where the host is looked at: programs try many names there that no host has. Elsewhere a look could
/// wait for ever, or make the host mount something.
const SYSTEM: [&str; 2] = ["/usr", "/etc"];

/// What interpreters and the C library try by themselves, and do without.
const BY_ITSELF: [&str; 2] = ["/__pycache__", "/usr/share/locale/"];

/// Of what stays out of the policy so much is said one by one.
const SAID: usize = 20;

/// Learns from one run.
#[derive(Debug)]
pub(super) struct Learner {
    file: LearnedFile,
    policy: Policy,
    learned: Learned,
    /// What of the host is shown: a rule about anything else would show more.
    shown: Vec<PathBuf>,
    /// Where it is the worker's own to put things.
    private: Vec<PathBuf>,
    /// What was seen already.
    seen: BTreeSet<Seen>,
    /// What was wanted and is not learned, and why.
    left: BTreeMap<(Operation, String), Left>,
    /// What was neither kept nor looked at.
    unseen: u64,
}

/// One thing, as it is learned from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Seen {
    Fs(Vec<u8>, Perm),
    Change(Vec<u8>),
    Exec(Vec<u8>),
    Moved(Vec<u8>, Vec<u8>),
}

/// Why something is not learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// It is not there for the program, and may be on the host.
    Hidden,
    /// The file's own permissions, or its file system, stand against it.
    Forbidden,
    /// No rule can say it without saying too much.
    Wide,
}

impl Learner {
    /// Learns into the file from a run under this policy, as it is launched.
    pub fn new(
        file: LearnedFile,
        vars: &Vars,
        policy: &Policy,
        request: &LaunchRequest,
    ) -> Learner {
        let limits = request.plan.limits;
        let binds = request.plan.binds.iter().map(|bind| bind.path.clone());
        let pieces = request.pieces.iter().filter_map(|piece| match piece {
            Piece::Bind { path, .. } => Some(path.clone()),
            _ => None,
        });
        let private = request.pieces.iter().filter_map(|piece| match piece {
            Piece::Tmpfs { path, .. } => Some(path.as_path()),
            _ => None,
        });
        Learner {
            file,
            learned: Learned::new(Some(&vars.home), limits, policy.required()),
            shown: binds.chain(pieces).collect(),
            private: private.map(Path::to_owned).collect(),
            policy: policy.clone(),
            seen: BTreeSet::new(),
            left: BTreeMap::new(),
            unseen: 0,
        }
    }

    /// Hears what came of a call.
    pub fn hear(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Moved { from, to } => self.see(Seen::Moved(from, to), None),
            Outcome::Used {
                asked,
                named,
                errno: None,
            } => self.used(&asked, named),
            Outcome::Used {
                asked,
                errno: Some(errno),
                ..
            } => self.failed(&asked, Errno::from_raw_os_error(errno)),
        }
    }

    fn used(&mut self, asked: &Asked, named: Vec<Vec<u8>>) {
        let (operation, _, path) = wanted(asked);
        let of = |path: Vec<u8>| match asked {
            Asked::Fs {
                perm: Perm::Execute,
                ..
            }
            | Asked::Exec { .. }
            | Asked::Load { .. } => Seen::Exec(path),
            Asked::Fs { perm, .. } => Seen::Fs(path, *perm),
            Asked::Change { .. } => Seen::Change(path),
        };
        let runs_own = operation == Operation::Run && is_below(path, &self.private);
        if !is_below(path, &self.shown) && !runs_own {
            // What is the worker's own it has in every run, and a rule would show the host's.
            if !is_below(path, &self.private) {
                self.leave(operation, path, Left::Wide);
            }
            return;
        }
        self.see(of(path.to_vec()), Some(operation));
        for name in named {
            // The processes' files lead to others' from everywhere.
            if name != path && !name.starts_with(b"/proc/") && !name.starts_with(b"/dev/") {
                self.see(of(name), None);
            }
        }
    }

    fn see(&mut self, seen: Seen, operation: Option<Operation>) {
        if self.seen.contains(&seen) {
            return;
        }
        if self.seen.len() >= MOST {
            self.unseen += 1;
            return;
        }
        let as_path = |bytes| Path::new(OsStr::from_bytes(bytes));
        let observation = match &seen {
            Seen::Fs(path, perm) => Observation::Fs {
                path: as_path(path),
                perm: *perm,
            },
            Seen::Change(path) => Observation::Change {
                path: as_path(path),
            },
            Seen::Exec(path) => Observation::Exec {
                path: as_path(path),
                made: is_below(path, &self.private) && !is_below(path, &self.shown),
            },
            Seen::Moved(from, to) => Observation::Moved {
                from: as_path(from),
                to: as_path(to),
            },
        };
        let noted = self.learned.note(&observation);
        if let (Err(_), Some(operation)) = (noted, operation) {
            let path = match &seen {
                Seen::Fs(path, _) | Seen::Change(path) | Seen::Exec(path) => path.clone(),
                Seen::Moved(from, _) => from.clone(),
            };
            self.leave(operation, &path, Left::Wide);
        }
        self.seen.insert(seen);
    }

    fn failed(&mut self, asked: &Asked, errno: Errno) {
        let (operation, perm, path) = wanted(asked);
        let why = match errno {
            Errno::NOENT | Errno::NOTDIR if self.is_hidden(path, perm) => Left::Hidden,
            Errno::ACCESS | Errno::PERM | Errno::ROFS => Left::Forbidden,
            // That would be so without Buntime, too.
            _ => return,
        };
        self.leave(operation, path, why);
    }

    /// Whether something may be there that is not shown, because nobody allowed it.
    fn is_hidden(&self, path: &[u8], perm: Option<Perm>) -> bool {
        let path = Path::new(OsStr::from_bytes(path));
        let own = PROGRAM_FOLDERS.iter().map(Path::new);
        if own
            .chain(self.shown.iter().map(PathBuf::as_path))
            .any(|shown| path.starts_with(shown))
        {
            return false;
        }
        let perm = perm.unwrap_or(Perm::ReadFile);
        let may_be_there = !SYSTEM.iter().any(|top| is_absent(top, path));
        let decision = self.policy.decide(&Request::Fs { path, perm });
        may_be_there && decision.verdict == Verdict::Deny && decision.rule.what == "defaults.fs"
    }

    fn leave(&mut self, operation: Operation, path: &[u8], why: Left) {
        let text = printable(path);
        if BY_ITSELF.iter().any(|part| text.contains(part)) {
            return;
        }
        if self.left.len() >= MOST {
            self.unseen += 1;
            return;
        }
        self.left.entry((operation, text)).or_insert(why);
    }

    /// Writes what was learned, with what the file has by now; gives what is to be said of it, but for
    /// the denials that were said already.
    ///
    /// # Errors
    /// It cannot be written. What was there before is as it was.
    pub fn finish(
        mut self,
        is_said: impl Fn(Operation, &str) -> bool,
    ) -> Result<Vec<Remark>, LearnError> {
        let known = self.file.read()?;
        let is_new = known.is_none();
        let before = known.as_ref().map_or(0, Learned::rules);
        let learned = match known {
            Some(known) => known.merged(self.learned),
            None => self.learned,
        };
        self.file.write(&learned)?;
        let mut remarks = Vec::new();
        self.left
            .retain(|(operation, target), _| !is_said(*operation, target));
        let more = self.left.len().saturating_sub(SAID) as u64 + self.unseen;
        for ((operation, target), why) in self.left.into_iter().take(SAID) {
            remarks.push(Remark::Unlearned {
                operation,
                target,
                why,
            });
        }
        if more > 0 {
            remarks.push(Remark::MoreUnlearned { count: more });
        }
        remarks.push(Remark::Learned {
            path: printable(self.file.name.as_bytes()),
            rules: learned.rules(),
            before: (!is_new).then_some(before),
        });
        Ok(remarks)
    }
}

fn is_below(path: &[u8], places: &[PathBuf]) -> bool {
    let path = Path::new(OsStr::from_bytes(path));
    places.iter().any(|place| path.starts_with(place))
}

/// Whether the host surely has nothing at the path, which lies below `top`.
fn is_absent(top: &str, path: &Path) -> bool {
    let Ok(below) = path.strip_prefix(top) else {
        return false;
    };
    let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let resolve = ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
    let top = rustix::fs::open(top, flags | OFlags::DIRECTORY, Mode::empty());
    let found = top.and_then(|top| openat2(top, below, flags, Mode::empty(), resolve));
    matches!(found, Err(Errno::NOENT | Errno::NOTDIR))
}
