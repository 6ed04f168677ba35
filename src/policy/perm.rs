//! What can be done to a path: the file permissions of the language, and sets of them.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One thing that can be done to a path. The names are those of the language; all but
/// `WriteDir` are rights of Landlock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Perm {
    /// Open a file for reading.
    ReadFile,
    /// Open a file for writing, or truncate it.
    WriteFile,
    /// Run a file as a program.
    Execute,
    /// List a directory.
    ReadDir,
    /// Change a directory's entries: every `make_*` and `remove_*` but the devices.
    WriteDir,
    /// Remove or rename an empty directory.
    RemoveDir,
    /// Remove or rename anything that is not a directory.
    RemoveFile,
    /// Create a character device.
    MakeChar,
    /// Create or rename to a directory.
    MakeDir,
    /// Create, rename to or link to a regular file.
    MakeReg,
    /// Create a Unix socket.
    MakeSock,
    /// Create a named pipe.
    MakeFifo,
    /// Create a block device.
    MakeBlock,
    /// Create a symbolic link.
    MakeSym,
}

impl Perm {
    /// How many there are.
    pub const COUNT: usize = 14;

    /// Every permission, in the order of the language.
    pub const ALL: [Perm; Perm::COUNT] = [
        Perm::ReadFile,
        Perm::WriteFile,
        Perm::Execute,
        Perm::ReadDir,
        Perm::WriteDir,
        Perm::RemoveDir,
        Perm::RemoveFile,
        Perm::MakeChar,
        Perm::MakeDir,
        Perm::MakeReg,
        Perm::MakeSock,
        Perm::MakeFifo,
        Perm::MakeBlock,
        Perm::MakeSym,
    ];

    /// The name in a policy file.
    pub const fn name(self) -> &'static str {
        match self {
            Perm::ReadFile => "read_file",
            Perm::WriteFile => "write_file",
            Perm::Execute => "execute",
            Perm::ReadDir => "read_dir",
            Perm::WriteDir => "write_dir",
            Perm::RemoveDir => "remove_dir",
            Perm::RemoveFile => "remove_file",
            Perm::MakeChar => "make_char",
            Perm::MakeDir => "make_dir",
            Perm::MakeReg => "make_reg",
            Perm::MakeSock => "make_sock",
            Perm::MakeFifo => "make_fifo",
            Perm::MakeBlock => "make_block",
            Perm::MakeSym => "make_sym",
        }
    }

    /// The permission of that name.
    pub fn from_name(name: &str) -> Option<Perm> {
        Perm::ALL.into_iter().find(|perm| perm.name() == name)
    }
}

impl fmt::Display for Perm {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// A set of permissions. Serialises as the list of their names.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct PermSet(u16);

impl PermSet {
    /// Nothing.
    pub const NONE: PermSet = PermSet(0);
    /// Everything.
    pub const ALL: PermSet = PermSet((1 << Perm::COUNT) - 1);
    /// Reading files and listing directories: what `--allow-read` grants.
    pub const READ: PermSet = PermSet::of(&[Perm::ReadFile, Perm::ReadDir]);
    /// What `write_dir` stands for in a rule, itself included.
    pub const WRITE_DIR: PermSet = PermSet::of(&[
        Perm::WriteDir,
        Perm::RemoveDir,
        Perm::RemoveFile,
        Perm::MakeDir,
        Perm::MakeReg,
        Perm::MakeSock,
        Perm::MakeFifo,
        Perm::MakeSym,
    ]);
    /// What `--allow-write` grants: file contents and directory entries, without devices.
    pub const WRITE: PermSet = PermSet::WRITE_DIR.with(Perm::WriteFile);
    /// Everything that changes something, devices included: what a read-only mount takes away.
    pub const CHANGE: PermSet = PermSet::WRITE.with(Perm::MakeChar).with(Perm::MakeBlock);
    /// What is done to a name in a directory, and not to the file behind it.
    pub const ENTRIES: PermSet = PermSet::CHANGE
        .without(Perm::WriteFile)
        .without(Perm::WriteDir);
    /// The permissions that have a meaning for something that is not a directory.
    pub const FILE: PermSet = PermSet::of(&[Perm::ReadFile, Perm::WriteFile, Perm::Execute]);
    /// Reading and running one file.
    pub const PROGRAM: PermSet = PermSet::of(&[Perm::ReadFile, Perm::Execute]);
    /// What a Unix socket with a name may need: to connect to one is to write to it.
    pub const NAMED_SOCKETS: PermSet = PermSet::of(&[Perm::WriteFile, Perm::MakeSock]);

    /// The set of the given permissions.
    pub const fn of(perms: &[Perm]) -> PermSet {
        let mut bits = 0;
        let mut index = 0;
        while index < perms.len() {
            bits |= 1 << perms[index] as u16;
            index += 1;
        }
        PermSet(bits)
    }

    /// This set and one more.
    #[must_use]
    pub const fn with(self, perm: Perm) -> PermSet {
        PermSet(self.0 | 1 << perm as u16)
    }

    /// This set but for one.
    #[must_use]
    pub const fn without(self, perm: Perm) -> PermSet {
        PermSet(self.0 & !(1 << perm as u16))
    }

    /// What is in either.
    #[must_use]
    pub const fn union(self, other: PermSet) -> PermSet {
        PermSet(self.0 | other.0)
    }

    /// What is in both.
    #[must_use]
    pub const fn intersection(self, other: PermSet) -> PermSet {
        PermSet(self.0 & other.0)
    }

    /// What is in this set and not in the other.
    #[must_use]
    pub const fn difference(self, other: PermSet) -> PermSet {
        PermSet(self.0 & !other.0)
    }

    /// Whether the permission is in the set.
    pub const fn contains(self, perm: Perm) -> bool {
        self.0 & (1 << perm as u16) != 0
    }

    /// Whether everything in the other set is in this one.
    pub const fn is_superset(self, other: PermSet) -> bool {
        other.0 & !self.0 == 0
    }

    /// Whether the sets share something.
    pub const fn intersects(self, other: PermSet) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether there is nothing in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The permissions, in the order of the language.
    pub fn iter(self) -> impl Iterator<Item = Perm> {
        Perm::ALL
            .into_iter()
            .filter(move |perm| self.contains(*perm))
    }

    /// Their names, in the order of the language.
    pub fn names(self) -> Vec<&'static str> {
        self.iter().map(Perm::name).collect()
    }
}

impl FromIterator<Perm> for PermSet {
    fn from_iter<I: IntoIterator<Item = Perm>>(perms: I) -> PermSet {
        perms.into_iter().fold(PermSet::NONE, PermSet::with)
    }
}

impl fmt::Debug for PermSet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_set().entries(self.names()).finish()
    }
}

impl fmt::Display for PermSet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.names().join(","))
    }
}

impl Serialize for PermSet {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for PermSet {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<PermSet, D::Error> {
        Ok(Vec::<Perm>::deserialize(from)?.into_iter().collect())
    }
}

/// Permissions on a path and on everything below it. The bundle's allows are given so, and
/// the Landlock ruleset of a plan is a list of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Grant {
    /// An absolute path, without symbolic links.
    #[serde(serialize_with = "super::lossy::path")]
    pub path: PathBuf,
    /// What is granted there and below.
    pub perms: PermSet,
}

impl Grant {
    /// Reading and running exactly one program or library.
    pub fn program(path: impl Into<PathBuf>) -> Grant {
        Grant {
            path: path.into(),
            perms: PermSet::PROGRAM,
        }
    }
}
