//! Executions: no answer performs one, so it goes on in the kernel and is looked at once more when
//! the program is there and none of its instructions has run.
//!
//! What is decided is the object that the path means now. Another thread can rewrite the path, or
//! put another file there, before the kernel reads it: then another program than the one that was
//! decided about stands there, and is killed.
//!
//! An ELF file names an interpreter, which the kernel puts beside it and starts in its place. A loader
//! of the system is none of the worker's choice; anything else there is a program that runs.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, StatVfsMountFlags, fstat, fstatvfs, openat};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::elf;
use super::image;
use super::need::{Id, Judge, Need};
use super::view::{Caller, Found, Target, View};
use crate::policy::{LOADERS, Perm};
use crate::sys::trace::{self, Stop};

/// Interpreters of scripts that are scripts, as the kernel counts them.
const SCRIPTS: usize = 5;

/// The largest program whose contents are compared, in bytes: while they are read nobody else is heard.
const LARGEST: u64 = 256 << 20;

/// Bytes of a script's first line that the kernel reads (`BINPRM_BUF_SIZE`).
const FIRST_LINE: usize = 256;

/// A program that may be executed.
#[derive(Debug)]
pub(super) struct Execution {
    /// What the kernel will run, open for reading: of a script its interpreter.
    program: OwnedFd,
    /// The interpreter that an ELF file names.
    loader: Option<OwnedFd>,
    /// The SHA-256 that its contents were decided with.
    sha256: Option<String>,
    /// What scripts call their interpreters on the way.
    pub interpreters: Vec<PathBuf>,
}

/// An execution that is under way.
#[derive(Debug)]
struct Followed {
    /// The process of the thread that makes it.
    process: u32,
    execution: Execution,
}

/// The executions that are under way, by thread.
#[derive(Debug, Default)]
pub(super) struct Executions(HashMap<u32, Followed>);

/// What is known when a thread that was followed has stopped.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Nothing that matters.
    Nothing,
    /// It has executed what nobody had decided about, and is killed.
    Another(PathBuf),
}

/// Looks at what a path would execute, and gives what that needs.
pub(super) fn look(
    view: &View,
    judge: &Judge,
    caller: Caller,
    target: &Target,
    follow: bool,
) -> Result<(Vec<Need>, Execution), Errno> {
    let mut found = view.find(caller, target, follow)?;
    let mut needs = Vec::new();
    let mut interpreters = Vec::new();
    for _ in 0..SCRIPTS {
        match found.kind() {
            FileType::RegularFile => {}
            FileType::Symlink => return Err(Errno::LOOP),
            _ => return Err(Errno::ACCESS),
        }
        // No rule speaks of what has no name.
        if found.paths.is_empty() {
            return Err(Errno::ACCESS);
        }
        let file = opened(view, &found)?;
        if elf::is_shared_object(&file)? {
            needs.extend(judge.names(&found).cloned().map(Need::Load));
        }
        let sha256 = to_run((judge, &found), &file, &mut needs)?;
        let Some(interpreter) = interpreter(&file)? else {
            needs.extend(unreadable(judge, &found));
            let loader = match elf::interpreter(&file)? {
                Some(path) => Some(loader((view, judge), caller, path, &mut needs)?),
                None => None,
            };
            // What somebody says yes to is also what runs.
            let sha256 = match sha256 {
                None if judge.asks_about(&found) => Some(digest(&file).map_err(|_| Errno::ACCESS)?),
                known => known,
            };
            let execution = Execution {
                program: file,
                loader,
                sha256,
                interpreters,
            };
            return Ok((needs, execution));
        };
        // A script is read again by its interpreter. So where it can be changed its digest says nothing of
        // what will run, and neither does an answer.
        if sha256.is_some() && !is_read_only(&file)? {
            return Err(Errno::ACCESS);
        }
        interpreters.push(PathBuf::from(OsString::from_vec(interpreter.clone())));
        found = named(view, caller, interpreter)?;
    }
    Err(Errno::LOOP)
}

/// What the kernel finds by a path that a program names.
fn named(view: &View, caller: Caller, path: Vec<u8>) -> Result<Found, Errno> {
    let base = (path.first() != Some(&b'/'))
        .then(|| view.base(caller, libc::AT_FDCWD))
        .transpose()?;
    view.find(caller, &Target { base, path }, true)
}

/// The interpreter of an ELF file. One that is no loader of the system is a program like any other.
fn loader(
    (view, judge): (&View, &Judge),
    caller: Caller,
    path: Vec<u8>,
    needs: &mut Vec<Need>,
) -> Result<OwnedFd, Errno> {
    let found = named(view, caller, path)?;
    if found.kind() != FileType::RegularFile || found.paths.is_empty() {
        return Err(Errno::ACCESS);
    }
    let file = opened(view, &found)?;
    if judge.is_loader((found.stat.st_dev, found.stat.st_ino)) {
        return Ok(file);
    }
    // Nobody keeps it from being written to while it runs, or while somebody is asked about it.
    let counts = judge.compares_digest_of(&found) || judge.asks_about(&found);
    if counts && !is_read_only(&file)? {
        return Err(Errno::ACCESS);
    }
    to_run((judge, &found), &file, needs)?;
    needs.extend(unreadable(judge, &found));
    Ok(file)
}

/// Adds what it needs to run a file, and gives the digest with which that is decided, where one counts.
fn to_run(
    (judge, found): (&Judge, &Found),
    file: &OwnedFd,
    needs: &mut Vec<Need>,
) -> Result<Option<String>, Errno> {
    // An answer about what can be changed, or moved to another name, is about what it contains.
    let is_asked = judge.asks_about(found) && !is_read_only(file)?;
    let sha256 = match judge.compares_digest_of(found) || is_asked {
        true => Some(digest(file).map_err(|_| Errno::ACCESS)?),
        false => None,
    };
    // The kernel lets run what may be allowed by either section, so that both are asked here.
    for path in judge.names(found) {
        needs.push(Need::Fs(Perm::Execute, path.clone()));
        needs.push(Need::Exec(path.clone(), sha256.clone()));
    }
    Ok(sha256)
}

/// What keeps a program from being read, and so from being run: whoever runs it has it in memory.
fn unreadable<'n>(judge: &'n Judge, found: &'n Found) -> impl Iterator<Item = Need> + 'n {
    let reading = judge
        .names(found)
        .map(|path| Need::Fs(Perm::ReadFile, path.clone()));
    reading.filter(|need| !judge.permits(need))
}

/// The loaders that the worker's root has, and those that its first program is known to need. A file
/// that the worker could write to is none of them.
pub(super) fn loaders(of_program: &[PathBuf]) -> Vec<Id> {
    let usual = LOADERS.iter().map(Path::new);
    let paths = usual.chain(of_program.iter().map(PathBuf::as_path));
    let mut ids = Vec::new();
    for path in paths {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        // Most of them are not there.
        let Ok(file) = rustix::fs::open(path, flags, Mode::empty()) else {
            continue;
        };
        let is_one = elf::is_shared_object(&file) == Ok(true) && is_read_only(&file) == Ok(true);
        if let (true, Ok(stat)) = (is_one, fstat(&file)) {
            ids.push((stat.st_dev, stat.st_ino));
        }
    }
    ids
}

/// Opened for its contents. What may not be read is no script, and has no digest.
fn opened(view: &View, found: &Found) -> Result<OwnedFd, Errno> {
    view.reopen(
        &found.object,
        OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK,
    )
}

fn is_read_only(file: &OwnedFd) -> Result<bool, Errno> {
    Ok(fstatvfs(file)?.f_flag.contains(StatVfsMountFlags::RDONLY))
}

fn digest(file: &OwnedFd) -> io::Result<String> {
    let file = File::from(file.try_clone()?);
    if file.metadata()?.len() > LARGEST {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut hasher = Sha256::new();
    // It can grow meanwhile.
    if io::copy(&mut file.take(LARGEST + 1), &mut hasher)? > LARGEST {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

/// What the first line of a script names; `None` for what is no script.
fn interpreter(file: &OwnedFd) -> Result<Option<Vec<u8>>, Errno> {
    let mut bytes = [0; FIRST_LINE];
    let read = rustix::io::pread(file, &mut bytes, 0)?;
    let Some(line) = bytes[..read].strip_prefix(b"#!") else {
        return Ok(None);
    };
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let mut words = line.split(is_space).filter(|word| !word.is_empty());
    // Without a name the kernel does not execute it either.
    let name = words.next().ok_or(Errno::NOEXEC)?;
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    Ok(Some(name.to_vec()))
}

impl Executions {
    /// Whether another thread of the caller's process is followed. One of its threads ends all others
    /// when it executes, and waits for that in a state in which nobody can follow any of them.
    pub fn has_another(&mut self, view: &View, caller: Caller, process: u32) -> bool {
        // The first thread of a process has ended without a word where others go on. Of any other it is
        // heard; and once it executes, its former number is for a moment that of the first, which is dead.
        if caller.tid != process && self.0.contains_key(&process) && !lives(view, process) {
            self.0.remove(&process);
        }
        let mut followed = self.0.iter();
        followed.any(|(thread, followed)| *thread != caller.tid && followed.process == process)
    }

    /// Follows the caller, a thread of a process of which no other is followed, to its execution, which
    /// is about to be let go on. Its former one is over, and it may not have stopped for that yet.
    pub fn follow(
        &mut self,
        view: &View,
        (caller, process): (Caller, u32),
        execution: Execution,
    ) -> Result<(), Errno> {
        let is_followed = trace::seize(caller.tid).is_ok()
            || (self.0.contains_key(&caller.tid) && is_ours(view, caller));
        if !is_followed {
            return Err(Errno::ACCESS);
        }
        let followed = Followed { process, execution };
        self.0.insert(caller.tid, followed);
        Ok(())
    }

    /// Has the caller stop when its call is over, whether it has executed something or not.
    pub fn expect(&self, caller: Caller) -> io::Result<()> {
        match trace::interrupt(caller.tid) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            other => other,
        }
    }

    /// Hears that a thread has stopped.
    ///
    /// # Errors
    /// It cannot be gone on with, and is not known to be gone.
    pub fn stopped(&mut self, view: &View, thread: u32, stop: Stop) -> io::Result<Seen> {
        let done = match stop {
            Stop::Executed => return self.executed(view, thread),
            Stop::Asked => {
                self.0.remove(&thread);
                trace::let_go(thread)
            }
            Stop::Signal(signal) => trace::go_on(thread, signal),
        };
        gone_is_fine(done).map(|()| Seen::Nothing)
    }

    fn executed(&mut self, view: &View, thread: u32) -> io::Result<Seen> {
        let former = trace::former_thread(thread).unwrap_or(thread);
        // The first thread of a process is gone where another one has executed.
        let of_first = self.0.remove(&thread);
        let expected = match former == thread {
            true => of_first,
            false => self.0.remove(&former),
        };
        let program = running(view, thread);
        let is_expected = match (&program, &expected) {
            (Ok(running), Some(Followed { execution, .. })) => {
                is_the_same((view, thread), running, execution)
            }
            _ => false,
        };
        if is_expected {
            gone_is_fine(trace::let_go(thread))?;
            return Ok(Seen::Nothing);
        }
        gone_is_fine(crate::sys::process::kill(thread as i32, libc::SIGKILL))?;
        let path = openat(
            &view.processes,
            format!("{thread}/exe"),
            PATH,
            Mode::empty(),
        )
        .and_then(|object| view.found(object))
        .ok()
        .and_then(|found| found.paths.into_iter().next());
        Ok(Seen::Another(path.unwrap_or_else(|| "?".into())))
    }

    /// Hears that a thread has ended.
    pub fn ended(&mut self, thread: u32) {
        self.0.remove(&thread);
    }
}

/// Of one whose number is gone it is still to be heard, as when it has executed something.
fn lives(view: &View, thread: u32) -> bool {
    let status = view.status(Caller { tid: thread });
    status.map_or(true, |status| !status.has_ended())
}

/// Whether it is this process that follows the caller.
fn is_ours(view: &View, caller: Caller) -> bool {
    let status = view.status(caller);
    let tracer = status.and_then(|status| status.number("TracerPid:", 10));
    tracer == Ok(u64::from(std::process::id()))
}

const PATH: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

/// What the thread runs, opened for its contents: nobody can write to it while it runs.
fn running(view: &View, thread: u32) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    openat(
        &view.processes,
        format!("{thread}/exe"),
        flags,
        Mode::empty(),
    )
}

fn is_the_same((view, thread): (&View, u32), running: &OwnedFd, expected: &Execution) -> bool {
    let id = |file: &OwnedFd| fstat(file).map(|stat| (stat.st_dev, stat.st_ino));
    let has_digest = match &expected.sha256 {
        None => true,
        Some(sha256) => digest(running).is_ok_and(|digest| digest == *sha256),
    };
    let made_of: Vec<&OwnedFd> = expected.loader.iter().chain([&expected.program]).collect();
    // It could have been written to since it was looked at.
    id(running).is_ok_and(|running| id(&expected.program) == Ok(running))
        && has_digest
        && (expected.sha256.is_none() || stays(view, thread))
        && elf::is_shared_object(running) == Ok(false)
        && image::is_made_of(view, thread, &made_of)
}

/// Whether nobody writes to what the thread runs as long as it does: there are kernels that let it be
/// (Linux 6.11 and 6.12). We may write to what the worker may write to.
fn stays(view: &View, thread: u32) -> bool {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let opened = openat(
        &view.processes,
        format!("{thread}/exe"),
        flags,
        Mode::empty(),
    );
    // Anything else says nothing of it.
    matches!(
        opened,
        Err(Errno::TXTBSY | Errno::ROFS | Errno::ACCESS | Errno::PERM)
    )
}

fn gone_is_fine(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        other => other,
    }
}
