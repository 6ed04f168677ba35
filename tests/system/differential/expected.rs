//! What a call needs, read slowly from the documents and from nothing of the code under test, and
//! what the oracle says of that.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use buntime::policy::{Decision, Perm, PermSet, Policy, Request, Verdict};
use serde_json::{Value, json};

use super::world::{Kind, kind_of, leads, same_file};

/// One call of a worker.
#[derive(Debug, Clone)]
pub struct Call {
    pub name: &'static str,
    pub path: String,
    pub to: String,
    pub flags: i32,
    pub mode: u32,
    pub how: u8,
}

impl Call {
    pub fn line(&self) -> String {
        let call: Value = json!({"call": self.name, "path": self.path, "to": self.to,
            "flags": self.flags, "mode": self.mode, "how": self.how});
        format!("{call}\n")
    }

    /// Whether it is made as creat(2), which never reads.
    pub fn is_creat(&self) -> bool {
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC;
        self.name == "open" && self.flags == flags && !matches!(self.how, 2 | 3)
    }

    /// The call that makes an empty file where this one would open one.
    pub fn node(&self, path: &Path) -> Call {
        Call {
            name: "node",
            path: path.display().to_string(),
            ..self.clone()
        }
    }
}

/// What must be allowed for a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    Perm(Perm, PathBuf),
    Change(PathBuf),
    /// What was at the first path must not gain anything at the second.
    Carried(PathBuf, PathBuf, bool),
}

/// The needs of a call in the tree as it is; `None` where it fails before it needs anything.
pub fn needs(root: &Path, call: &Call) -> Option<Vec<Need>> {
    let perm = |perm, path: &Path| Need::Perm(perm, path.to_owned());
    let at = |follow| leads(root, &call.path, follow);
    match call.name {
        "open" => opening(root, call),
        "truncate" => {
            let path = at(true)?;
            (kind_of(&path)? == Kind::File).then(|| vec![perm(Perm::WriteFile, &path)])
        }
        "mkdir" => made(&at(false)?, Perm::MakeDir),
        "symlink" => made(&at(false)?, Perm::MakeSym),
        "fifo" => made(&at(false)?, Perm::MakeFifo),
        "node" => made(&at(false)?, Perm::MakeReg),
        "rmdir" | "unlink" => {
            let path = at(false)?;
            let kind = kind_of(&path)?;
            let is_right = (kind == Kind::Dir) == (call.name == "rmdir");
            is_right.then(|| vec![perm(removing(kind), &path)])
        }
        "chmod" | "chown" | "times" | "attribute" => {
            let path = at(call.flags & libc::AT_SYMLINK_NOFOLLOW == 0)?;
            kind_of(&path)?;
            Some(vec![Need::Change(path)])
        }
        "link" => {
            let follow = call.flags & libc::AT_SYMLINK_FOLLOW != 0;
            let (from, to) = (at(follow)?, leads(root, &call.to, false)?);
            let kind = kind_of(&from).filter(|kind| *kind != Kind::Dir)?;
            let mut needs = made(&to, making(kind))?;
            needs.push(Need::Carried(from, to, false));
            Some(needs)
        }
        "bind" => made(&at(false)?, Perm::MakeSock),
        "connect" => {
            let path = at(true)?;
            (kind_of(&path)? == Kind::Socket).then(|| vec![perm(Perm::WriteFile, &path)])
        }
        "rename" => renaming(root, call),
        other => panic!("no call {other}"),
    }
}

fn opening(root: &Path, call: &Call) -> Option<Vec<Need>> {
    let has = |flag: i32| call.flags & flag != 0;
    let exclusive = has(libc::O_CREAT) && has(libc::O_EXCL);
    let follow = !exclusive && !has(libc::O_NOFOLLOW);
    let path = leads(root, &call.path, follow)?;
    let kind = kind_of(&path);
    let mut needs = Vec::new();
    let is_nameless = has(libc::O_TMPFILE & !libc::O_DIRECTORY);
    match kind {
        // A file without a name is made in a directory, and is asked about as that is.
        _ if is_nameless && kind != Some(Kind::Dir) => return None,
        _ if is_nameless && call.flags & libc::O_ACCMODE == libc::O_RDONLY => return None,
        _ if is_nameless => {}
        None if has(libc::O_CREAT) => needs.push(Need::Perm(Perm::MakeReg, path.clone())),
        None => return None,
        Some(Kind::Link) => return None,
        Some(_) if exclusive => return None,
        Some(Kind::Dir) if has(libc::O_CREAT) => return None,
        Some(_) => {}
    }
    let mode = call.flags & libc::O_ACCMODE;
    if mode != libc::O_WRONLY {
        let reads = if kind == Some(Kind::Dir) && !is_nameless {
            Perm::ReadDir
        } else {
            Perm::ReadFile
        };
        needs.push(Need::Perm(reads, path.clone()));
    }
    let cuts = has(libc::O_TRUNC) && kind == Some(Kind::File);
    if mode != libc::O_RDONLY || cuts {
        needs.push(Need::Perm(Perm::WriteFile, path));
    }
    Some(needs)
}

fn made(path: &Path, perm: Perm) -> Option<Vec<Need>> {
    kind_of(path)
        .is_none()
        .then(|| vec![Need::Perm(perm, path.to_owned())])
}

fn renaming(root: &Path, call: &Call) -> Option<Vec<Need>> {
    let (from, to) = (
        leads(root, &call.path, false)?,
        leads(root, &call.to, false)?,
    );
    let kind = kind_of(&from)?;
    let is_dir = kind == Kind::Dir;
    let has = |flag: u32| call.flags as u32 & flag != 0;
    let there = kind_of(&to);
    let exchanges = has(libc::RENAME_EXCHANGE);
    if (there.is_some() && has(libc::RENAME_NOREPLACE)) || (there.is_none() && exchanges) {
        return None;
    }
    let mut needs = vec![
        Need::Perm(removing(kind), from.clone()),
        Need::Perm(making(kind), to.clone()),
        Need::Carried(from.clone(), to.clone(), is_dir),
    ];
    if let Some(replaced) = there {
        needs.push(Need::Perm(removing(replaced), to.clone()));
        if exchanges {
            needs.push(Need::Perm(making(replaced), from.clone()));
            needs.push(Need::Carried(to, from, replaced == Kind::Dir));
        }
    }
    Some(needs)
}

fn making(kind: Kind) -> Perm {
    match kind {
        Kind::File => Perm::MakeReg,
        Kind::Dir => Perm::MakeDir,
        Kind::Link => Perm::MakeSym,
        Kind::Fifo => Perm::MakeFifo,
        Kind::Socket => Perm::MakeSock,
    }
}

fn removing(kind: Kind) -> Perm {
    match kind {
        Kind::Dir => Perm::RemoveDir,
        _ => Perm::RemoveFile,
    }
}

/// The tree as the policy speaks of it, and the oracle.
pub struct Oracle<'o> {
    pub policy: &'o Policy,
    /// Where the tree is that is looked at.
    pub here: &'o Path,
    /// Where the worker has its own.
    pub there: &'o Path,
    /// Files that a rule named at the start, by their inodes here, and the paths it named.
    pub linked: Vec<(u64, PathBuf)>,
}

impl Oracle<'_> {
    /// The most severe answer to any of the needs.
    pub fn verdict(&self, needs: &[Need]) -> Verdict {
        let verdicts = needs.iter().map(|need| self.one(need));
        verdicts.max().unwrap_or(Verdict::Allow)
    }

    /// The file that an open has made although it is denied: the kernel makes it first, and asks then
    /// whether it may be opened.
    pub fn made<'n>(&self, needs: &'n [Need]) -> Option<&'n Path> {
        let opens = needs.len() > 1 && !needs.iter().any(|need| matches!(need, Need::Carried(..)));
        let made = needs
            .first()
            .filter(|need| opens && self.one(need).permits());
        match made {
            Some(Need::Perm(Perm::MakeReg, path)) => path.strip_prefix(self.here).ok(),
            _ => None,
        }
    }

    /// Whether another name of the same file gives what is needed of it: Landlock knows the file.
    pub fn permits_by_another_name(&self, needs: &[Need]) -> bool {
        needs.iter().all(|need| match need {
            Need::Perm(perm, path) if PermSet::FILE.contains(*perm) => {
                let mut names = same_file(self.here, path).into_iter();
                names.any(|path| self.decide(&self.inside(&path), *perm).verdict.permits())
            }
            _ => self.one(need).permits(),
        })
    }

    /// Whether all is permitted but that a directory carries rules with it, which the oracle takes for lost
    /// also where others stand for them.
    pub fn permits_but_for_carrying(&self, needs: &[Need]) -> bool {
        let mut others = needs
            .iter()
            .filter(|need| !matches!(need, Need::Carried(..)));
        others.all(|need| self.one(need).permits())
    }

    fn one(&self, need: &Need) -> Verdict {
        match need {
            Need::Perm(perm, path) => {
                let names = self.names(path, PermSet::FILE.contains(*perm));
                let request = |path| Request::Fs { path, perm: *perm };
                let verdicts = names
                    .iter()
                    .map(|path| self.policy.operation(&request(path)));
                let verdicts = verdicts.map(|decision| decision.verdict);
                verdicts.max().unwrap_or(Verdict::Deny)
            }
            Need::Change(path) => {
                let of_name = |path: &PathBuf| {
                    let verdicts = PermSet::CHANGE
                        .iter()
                        .map(|perm| self.decide(path, perm).verdict);
                    verdicts.min().unwrap_or(Verdict::Deny)
                };
                let names = self.names(path, true);
                names.iter().map(of_name).max().unwrap_or(Verdict::Deny)
            }
            Need::Carried(from, to, is_dir) => {
                let (from, to) = (self.inside(from), self.inside(to));
                let asked = self.policy.asked_to_carry(&from, *is_dir);
                match (self.policy.moves(&from, &to, *is_dir), asked) {
                    (Ok(()), Ok(PermSet::NONE)) => Verdict::Allow,
                    (Ok(()), Ok(_)) => Verdict::Ask,
                    (Err(_), _) | (_, Err(_)) => Verdict::Deny,
                }
            }
        }
    }

    /// The path inside and, of the file itself, the paths by which rules know it.
    fn names(&self, path: &Path, of_file: bool) -> Vec<PathBuf> {
        let mut names = vec![self.inside(path)];
        let inode = path.symlink_metadata().map(|found| found.ino()).ok();
        if let (true, Some(inode)) = (of_file, inode) {
            let linked = self.linked.iter().filter(|(known, _)| *known == inode);
            names.extend(linked.map(|(_, path)| path.clone()));
        }
        names
    }

    fn decide(&self, path: &Path, perm: Perm) -> Decision {
        self.policy.decide(&Request::Fs { path, perm })
    }

    fn inside(&self, path: &Path) -> PathBuf {
        match path.strip_prefix(self.here) {
            Ok(below) => self.there.join(below),
            Err(_) => path.to_owned(),
        }
    }
}
