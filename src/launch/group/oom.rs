//! Being told that the kernel killed a process of the group for memory.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::inotify;

use super::GroupError;
use super::files::{is_absent, text, write};
use super::record::GroupRecord;

/// What was heard since the last time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Heard {
    /// A process was killed, or stands still because it may not be.
    pub killed: bool,
    /// The group is gone or, on v2, has no processes any more: nothing follows.
    pub ended: bool,
}

/// A subscription to one group.
#[derive(Debug)]
pub struct OomEvents {
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// An eventfd that the kernel counts up, for as long as the file is open.
    V1 {
        counter: OwnedFd,
        directory: PathBuf,
        _watched: File,
    },
    /// An inotify of memory.events and cgroup.events.
    V2 {
        notices: OwnedFd,
        directory: PathBuf,
        killed: u64,
    },
}

impl OomEvents {
    /// Begins to listen.
    pub(super) fn of(group: &GroupRecord) -> Result<OomEvents, GroupError> {
        let source = match (group.v2(), group.v1("memory")) {
            (Some(dir), _) => listen_v2(dir)?,
            (None, Some(dir)) => listen_v1(dir)?,
            (None, None) => {
                return Err(GroupError::Unheld {
                    controller: "memory",
                    field: "a notice of killed processes".to_owned(),
                    why: "the container has no control group of the memory controller".to_owned(),
                });
            }
        };
        Ok(OomEvents { source })
    }

    /// Becomes readable when there is something to hear.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        match &self.source {
            Source::V1 { counter, .. } => counter.as_fd(),
            Source::V2 { notices, .. } => notices.as_fd(),
        }
    }

    /// What was heard since the last time: once [`OomEvents::descriptor`] is readable, without
    /// waiting.
    ///
    /// # Errors
    /// The kernel's files could not be read.
    pub fn heard(&mut self) -> io::Result<Heard> {
        match &mut self.source {
            Source::V1 {
                counter, directory, ..
            } => {
                let mut count = [0; 8];
                let counted = is_read(rustix::io::read(&*counter, &mut count))?;
                // The removal of a group counts up too.
                let there = directory.join("cgroup.event_control").exists();
                Ok(Heard {
                    killed: counted && there,
                    ended: !there,
                })
            }
            Source::V2 {
                notices,
                directory,
                killed,
            } => {
                drain(notices)?;
                // In this order: who is killed leaves afterwards.
                let populated = is_populated(directory)?;
                let now = killed_in(directory)?;
                let before = std::mem::replace(killed, now.unwrap_or(*killed));
                Ok(Heard {
                    killed: *killed > before,
                    ended: !populated || now.is_none(),
                })
            }
        }
    }
}

fn drain(notices: &OwnedFd) -> io::Result<()> {
    let mut space = [MaybeUninit::<u8>::uninit(); 4096];
    let mut reader = inotify::Reader::new(notices, &mut space);
    loop {
        match reader.next() {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

fn is_read(answer: Result<usize, rustix::io::Errno>) -> io::Result<bool> {
    match answer {
        Ok(_) => Ok(true),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn listen_v1(dir: &Path) -> Result<Source, GroupError> {
    let path = dir.join("memory.oom_control");
    let opening = GroupError::io("opening", &path);
    let watched = File::open(&path).map_err(opening)?;
    let counter = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
        .map_err(|error| GroupError::io("making an eventfd for", &path)(error.into()))?;
    let order = format!("{} {}", counter.as_raw_fd(), watched.as_raw_fd());
    write(dir, "cgroup.event_control", &order)?;
    Ok(Source::V1 {
        counter,
        directory: dir.to_owned(),
        _watched: watched,
    })
}

fn listen_v2(dir: &Path) -> Result<Source, GroupError> {
    let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
    let watching = |error: rustix::io::Errno| GroupError::io("watching", dir)(error.into());
    let notices = inotify::init(flags).map_err(watching)?;
    for file in ["memory.events", "cgroup.events"] {
        let path = dir.join(file);
        inotify::add_watch(&notices, &path, inotify::WatchFlags::MODIFY)
            .map_err(|error| GroupError::io("watching", &path)(error.into()))?;
    }
    let killed = killed_in(dir).map_err(GroupError::io("reading memory.events of", dir))?;
    Ok(Source::V2 {
        notices,
        directory: dir.to_owned(),
        killed: killed.unwrap_or(0),
    })
}

/// How many processes were killed; `None` when the group is gone.
fn killed_in(dir: &Path) -> io::Result<Option<u64>> {
    Ok(read(dir, "memory.events")?.map(|text| value(&text, "oom_kill")))
}

fn is_populated(dir: &Path) -> io::Result<bool> {
    Ok(read(dir, "cgroup.events")?.is_some_and(|text| value(&text, "populated") > 0))
}

fn read(dir: &Path, file: &str) -> io::Result<Option<String>> {
    match text(dir, file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn value(text: &str, name: &str) -> u64 {
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    let found = lines.into_iter().find(|(key, _)| *key == name);
    found
        .and_then(|(_, number)| number.parse().ok())
        .unwrap_or(0)
}
