//! What each call needs, and how it is made in the caller's place.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, fstat, openat, statat};
use rustix::io::Errno;

use super::attributes;
use super::calls::Call;
use super::exec::{self, Execution};
use super::need::{Judge, Need, to_make, to_open, to_remove};
use super::resolve::{Place, unslashed};
use super::view::{Caller, Found, Spot, Target, View};
use crate::policy::Perm;

/// S_ISUID and S_ISGID: a file with another identity.
pub(super) const SET_ID: u32 = 0o6000;

/// The terminal of whoever opens it: major 5, minor 0.
const OWN_TERMINAL: u64 = 5 << 8;

/// How a call went.
pub(super) enum Done {
    /// It gives this.
    Value(i64),
    /// It gives a descriptor, with or without close-on-exec.
    Descriptor(OwnedFd, bool),
    /// It is to be executed.
    Execute(Execution),
    /// It waits for another process: somebody else has to wait, and to make it.
    Wait(Task),
    /// The same of something that no rule speaks of, and that must not be made twice; with what the call
    /// gives where nobody can wait, as a part of it is done.
    Send(Task, Option<i64>),
    /// Something came between, and it is to be looked at again.
    Again,
}

/// Makes a call that waits, in a process of its own, where it can ask whether the caller still waits.
pub(super) type Task =
    Box<dyn FnOnce(&View, &dyn Fn() -> bool) -> Result<Done, Errno> + Send + Sync>;

/// Makes the call.
pub(super) type Act = Box<dyn FnOnce(&View, Caller) -> Result<Done, Errno> + Send + Sync>;

/// A call that has been looked at.
pub(super) struct Prepared {
    pub needs: Vec<Need>,
    pub act: Act,
}

impl Prepared {
    pub fn new(
        needs: Vec<Need>,
        act: impl FnOnce(&View, Caller) -> Result<Done, Errno> + Send + Sync + 'static,
    ) -> Prepared {
        let act = Box::new(act);
        Prepared { needs, act }
    }
}

/// Looks at what the call speaks of.
pub(super) struct Looking<'l> {
    pub view: &'l View,
    pub judge: &'l Judge,
    pub caller: Caller,
}

impl Looking<'_> {
    pub fn prepare(&self, call: &Call) -> Result<Prepared, Errno> {
        match call {
            Call::Open {
                target,
                flags,
                mode,
            } => self.open(target, *flags, *mode),
            Call::Truncate { target, length } => self.truncate(target, *length),
            Call::MakeDir { target, mode } => self.make(target, FileType::Directory, *mode),
            Call::MakeNode { target, mode } => self.make_node(target, *mode),
            Call::MakeSymlink { text, target } => self.symlink(text, target),
            Call::Link { from, to, follow } => self.link(from, to, *follow),
            Call::Rename { from, to, flags } => self.rename(from, to, *flags),
            Call::Remove { target, flags } => self.remove(target, *flags),
            Call::Execute { target, follow } => {
                let (needs, execution) =
                    exec::look(self.view, self.judge, self.caller, target, *follow)?;
                Ok(Prepared::new(needs, move |_: &View, _| {
                    Ok(Done::Execute(execution))
                }))
            }
            Call::Change {
                target,
                follow,
                change,
            } => {
                let found = self.view.find(self.caller, target, *follow)?;
                let needs = self.judge.names(&found).cloned().map(Need::Change);
                let (needs, change) = (needs.collect(), change.clone());
                let act = move |view: &View, _| attributes::change(view, &found, &change);
                Ok(Prepared::new(needs, act))
            }
            Call::Bind(naming) => self.bind(naming),
            Call::Connect(naming) => self.connect(naming),
            Call::Send(message) => self.send(message),
            Call::Nothing => Ok(Prepared::new(Vec::new(), |_: &View, _| Ok(Done::Value(0)))),
        }
    }

    fn open(&self, target: &Target, flags: OFlags, mode: u32) -> Result<Prepared, Errno> {
        let makes = flags.intersects(OFlags::CREATE) || flags.contains(OFlags::TMPFILE);
        if makes && mode & SET_ID != 0 {
            return Err(Errno::PERM);
        }
        let follow = !flags.contains(OFlags::NOFOLLOW);
        if flags.contains(OFlags::TMPFILE) {
            let found = self.view.find(self.caller, target, follow)?;
            return Ok(self.open_nameless(found, flags, mode));
        }
        if !flags.contains(OFlags::CREATE) {
            let found = self.view.find(self.caller, target, follow)?;
            return self.open_found(found, flags);
        }
        // No file gets a name that ends like a directory's, whatever has it.
        if target.path.ends_with(b"/") {
            let spot = self.view.spot(self.caller, target)?;
            if spot.name.as_encoded_bytes().ends_with(b"/") {
                return Err(Errno::ISDIR);
            }
        }
        if flags.contains(OFlags::EXCL) {
            let spot = self.free_spot(target)?;
            return Ok(self.open_new(spot, flags, mode));
        }
        match self.view.place(self.caller, target, follow)? {
            Place::There(found) if found.kind() == FileType::Directory => Err(Errno::ISDIR),
            Place::There(found) => self.open_found(found, flags),
            Place::Free(spot) => Ok(self.open_new(spot, flags, mode)),
        }
    }

    /// The needs of opening an object, under each name that it has.
    fn open_needs(&self, found: &Found, perms: &[Perm]) -> Vec<Need> {
        let mut needs = Vec::new();
        for path in self.judge.names(found) {
            needs.extend(perms.iter().map(|perm| Need::Fs(*perm, path.clone())));
        }
        needs
    }

    fn open_found(&self, found: Found, flags: OFlags) -> Result<Prepared, Errno> {
        if found.kind() == FileType::Symlink {
            return Err(Errno::LOOP);
        }
        if self.view.is_memory_of_another(self.caller, &found)? {
            return Err(Errno::ACCESS);
        }
        let needs = self.open_needs(&found, &to_open(found.kind(), flags));
        let act = move |view: &View, caller| open_again(view, caller, found, flags);
        Ok(Prepared::new(needs, act))
    }

    fn open_nameless(&self, found: Found, flags: OFlags, mode: u32) -> Prepared {
        let needs = self.open_needs(&found, &to_open(FileType::RegularFile, flags));
        let closes = flags.contains(OFlags::CLOEXEC);
        let act = move |view: &View, caller| {
            take_mask(view, caller)?;
            // With it the file never gets a name.
            let flags = kept(flags) | flags.intersection(OFlags::EXCL);
            let opened = view.open_in(&found.object, flags, Mode::from_raw_mode(mode))?;
            Ok(Done::Descriptor(opened, closes))
        };
        Prepared::new(needs, act)
    }

    fn open_new(&self, spot: Spot, flags: OFlags, mode: u32) -> Prepared {
        let mut needs = vec![Need::Fs(Perm::MakeReg, spot.path.clone())];
        // There is nothing in it yet to be cut off.
        let flags = flags.difference(OFlags::TRUNC);
        let opening = to_open(FileType::RegularFile, flags).into_iter();
        needs.extend(opening.map(|perm| Need::Fs(perm, spot.path.clone())));
        let act = move |view: &View, caller| {
            if !view.is_still(&spot) {
                return Ok(Done::Again);
            }
            take_mask(view, caller)?;
            // Nothing is followed where something new is made; the rest is what fcntl(2) will show.
            let shown = flags.intersection(OFlags::NOFOLLOW);
            let opening = kept(flags) | shown | OFlags::CREATE | OFlags::EXCL;
            let mode = Mode::from_raw_mode(mode);
            match openat(&spot.parent, &*spot.name, opening, mode) {
                Ok(opened) => Ok(Done::Descriptor(opened, flags.contains(OFlags::CLOEXEC))),
                Err(Errno::EXIST) if !flags.contains(OFlags::EXCL) => Ok(Done::Again),
                Err(error) => Err(error),
            }
        };
        Prepared::new(needs, act)
    }

    fn truncate(&self, target: &Target, length: u64) -> Result<Prepared, Errno> {
        let found = self.view.find(self.caller, target, true)?;
        match found.kind() {
            FileType::RegularFile => {}
            FileType::Directory => return Err(Errno::ISDIR),
            _ => return Err(Errno::INVAL),
        }
        if i64::try_from(length).is_err() {
            return Err(Errno::INVAL);
        }
        let needs = self.open_needs(&found, &[Perm::WriteFile]);
        let act = move |view: &View, caller| {
            let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
            let opened = view.reopen(&found.object, flags)?;
            let grows = u64::try_from(fstat(&opened)?.st_size).is_ok_and(|size| size < length);
            if grows && view.longest_file(caller)? < length {
                return Err(Errno::FBIG);
            }
            rustix::fs::ftruncate(&opened, length)?;
            Ok(Done::Value(0))
        };
        Ok(Prepared::new(needs, act))
    }

    /// A place where nothing is, whatever slashes end its name.
    pub fn free_spot(&self, target: &Target) -> Result<Spot, Errno> {
        let spot = self.view.spot(self.caller, target)?;
        let name = unslashed(spot.name.as_encoded_bytes());
        match statat(&spot.parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Err(Errno::EXIST),
            Err(Errno::NOENT) => Ok(spot),
            Err(error) => Err(error),
        }
    }

    fn make_node(&self, target: &Target, mode: u32) -> Result<Prepared, Errno> {
        let kind = match FileType::from_raw_mode(mode) {
            FileType::Unknown if mode & libc::S_IFMT == 0 => FileType::RegularFile,
            kind @ (FileType::RegularFile | FileType::Fifo | FileType::Socket) => kind,
            _ => return Err(Errno::PERM),
        };
        self.make(target, kind, mode)
    }

    fn make(&self, target: &Target, kind: FileType, mode: u32) -> Result<Prepared, Errno> {
        let is_dir = kind == FileType::Directory;
        if !is_dir && mode & SET_ID != 0 {
            return Err(Errno::PERM);
        }
        let spot = self.free_spot(target)?;
        let needs = vec![Need::Fs(to_make(kind), spot.path.clone())];
        let act = move |view: &View, caller| {
            if !view.is_still(&spot) {
                return Ok(Done::Again);
            }
            take_mask(view, caller)?;
            let mode = Mode::from_raw_mode(mode);
            match is_dir {
                true => rustix::fs::mkdirat(&spot.parent, &*spot.name, mode)?,
                false => rustix::fs::mknodat(&spot.parent, &*spot.name, kind, mode, 0)?,
            }
            Ok(Done::Value(0))
        };
        Ok(Prepared::new(needs, act))
    }

    fn symlink(&self, text: &[u8], target: &Target) -> Result<Prepared, Errno> {
        let spot = self.free_spot(target)?;
        let needs = vec![Need::Fs(Perm::MakeSym, spot.path.clone())];
        let text = text.to_vec();
        let act = move |view: &View, _| {
            if !view.is_still(&spot) {
                return Ok(Done::Again);
            }
            rustix::fs::symlinkat(&*text, &spot.parent, &*spot.name)?;
            Ok(Done::Value(0))
        };
        Ok(Prepared::new(needs, act))
    }

    fn link(&self, from: &Target, to: &Target, follow: bool) -> Result<Prepared, Errno> {
        let found = self.view.find(self.caller, from, follow)?;
        let spot = self.free_spot(to)?;
        if found.kind() == FileType::Directory {
            return Err(Errno::PERM);
        }
        for path in &found.paths {
            self.carries(path, &spot, false)?;
        }
        let mut needs = vec![Need::Fs(to_make(found.kind()), spot.path.clone())];
        for path in &found.paths {
            self.asks_to_carry(path, false, &mut needs)?;
        }
        let act = move |view: &View, _| {
            if !view.is_still(&spot) {
                return Ok(Done::Again);
            }
            let (path, flags) = (view.path_of(&found.object), AtFlags::SYMLINK_FOLLOW);
            rustix::fs::linkat(rustix::fs::CWD, path, &spot.parent, &*spot.name, flags)?;
            Ok(Done::Value(0))
        };
        Ok(Prepared::new(needs, act))
    }

    /// What would be less restricted in its new place, or could not be made there, is answered as if that
    /// were another file system: whoever moves a file copies it then, and each step of that is decided by
    /// itself.
    fn carries(&self, from: &Path, to: &Spot, is_dir: bool) -> Result<(), Errno> {
        let carried = self.judge.policy().moves(from, &to.path, is_dir);
        carried.map_err(|_| Errno::XDEV)
    }

    /// What somebody is to answer before what is there gets another name.
    fn asks_to_carry(&self, from: &Path, is_dir: bool, needs: &mut Vec<Need>) -> Result<(), Errno> {
        let asked = self.judge.policy().asked_to_carry(from, is_dir);
        let asked = asked.map_err(|_| Errno::XDEV)?.iter();
        needs.extend(asked.map(|perm| Need::Fs(perm, from.to_owned())));
        Ok(())
    }

    fn rename(&self, from: &Target, to: &Target, flags: RenameFlags) -> Result<Prepared, Errno> {
        let from = self.searched(from)?;
        let to = self.searched(to)?;
        let kinds = (kind_at(&from)?.ok_or(Errno::NOENT)?, kind_at(&to)?);
        let (kind, replaced) = kinds;
        self.carries(&from.path, &to, kind == FileType::Directory)?;
        let mut needs = vec![
            Need::Fs(to_remove(kind), from.path.clone()),
            Need::Fs(to_make(kind), to.path.clone()),
        ];
        self.asks_to_carry(&from.path, kind == FileType::Directory, &mut needs)?;
        if let Some(replaced) = replaced {
            needs.push(Need::Fs(to_remove(replaced), to.path.clone()));
            if flags.contains(RenameFlags::EXCHANGE) {
                let is_dir = replaced == FileType::Directory;
                self.carries(&to.path, &from, is_dir)?;
                self.asks_to_carry(&to.path, is_dir, &mut needs)?;
                needs.push(Need::Fs(to_make(replaced), from.path.clone()));
            }
        }
        let act = move |view: &View, _| {
            if !view.is_still(&from) || !view.is_still(&to) {
                return Ok(Done::Again);
            }
            // Other kinds of objects need other permissions.
            if (kind_at(&from)?.ok_or(Errno::NOENT)?, kind_at(&to)?) != kinds {
                return Ok(Done::Again);
            }
            rustix::fs::renameat_with(&from.parent, &*from.name, &to.parent, &*to.name, flags)?;
            Ok(Done::Value(0))
        };
        Ok(Prepared::new(needs, act))
    }

    /// A place in a directory that may be searched: of two paths the kernel walks each to its end
    /// before it looks for either name.
    fn searched(&self, target: &Target) -> Result<Spot, Errno> {
        let spot = self.view.spot(self.caller, target)?;
        statat(&spot.parent, c".", AtFlags::empty())?;
        Ok(spot)
    }

    fn remove(&self, target: &Target, flags: AtFlags) -> Result<Prepared, Errno> {
        let spot = self.view.spot(self.caller, target)?;
        let kind = kind_at(&spot)?.ok_or(Errno::NOENT)?;
        let needs = vec![Need::Fs(to_remove(kind), spot.path.clone())];
        let act = move |view: &View, _| {
            if !view.is_still(&spot) || kind_at(&spot)? != Some(kind) {
                return Ok(Done::Again);
            }
            rustix::fs::unlinkat(&spot.parent, &*spot.name, flags)?;
            Ok(Done::Value(0))
        };
        Ok(Prepared::new(needs, act))
    }
}

/// What stands at the place now.
fn kind_at(spot: &Spot) -> Result<Option<FileType>, Errno> {
    match statat(&spot.parent, &*spot.name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The flags of the caller that also hold for our own descriptor. No terminal becomes ours.
pub(super) fn kept(flags: OFlags) -> OFlags {
    let done = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
    flags.difference(done) | OFlags::CLOEXEC | OFlags::NOCTTY
}

/// What the caller makes gets the mode that it would have made it with. Nothing else here makes
/// files.
pub(super) fn take_mask(view: &View, caller: Caller) -> Result<(), Errno> {
    let mask = view.status(caller)?.number("Umask:", 8)? as u32;
    rustix::process::umask(Mode::from_raw_mode(mask));
    Ok(())
}

fn open_again(view: &View, caller: Caller, found: Found, flags: OFlags) -> Result<Done, Errno> {
    let waits = !flags.intersects(OFlags::NONBLOCK | OFlags::RDWR);
    if found.kind() == FileType::Fifo && waits {
        return Ok(Done::Wait(Box::new(move |view: &View, _| {
            let opened = view.reopen_in_a_child(&found.object, kept(flags))?;
            Ok(Done::Descriptor(opened, flags.contains(OFlags::CLOEXEC)))
        })));
    }
    let object = match found.kind() {
        FileType::CharacterDevice if found.stat.st_rdev == OWN_TERMINAL => view.terminal(caller)?,
        _ => found.object,
    };
    let opened = view.reopen(&object, kept(flags))?;
    Ok(Done::Descriptor(opened, flags.contains(OFlags::CLOEXEC)))
}
