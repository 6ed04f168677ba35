//! Watches the host's folders for what takes a mask away.
//!
//! A mask is a mount, and the kernel drops a mount when its place is removed or replaced from
//! another mount namespace: by an editor of the host that saves `.env`, say. What stands there
//! afterwards would be seen, so a run whose mask may be gone is ended. The kernel tells of it after
//! the fact; between the two the program may have looked. The same goes for a denied name at which
//! nothing is, or a link, where the host may put something.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::descriptor::register;
use super::error::RunError;
use crate::launch::{LaunchRequest, Piece};

/// A mask that may be gone, or something where nothing was to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lost {
    /// The path that was to stay hidden, as it is, or empty.
    pub path: PathBuf,
    /// The rule that asked for it.
    pub rule: String,
}

impl Lost {
    pub(super) fn of(path: &Path, rule: &str) -> Lost {
        Lost {
            path: path.to_owned(),
            rule: rule.to_owned(),
        }
    }
}

/// The folders above the masks of one launch. Its descriptor is registered with the runtime by
/// [`MaskWatch::listen`], once there is one.
#[derive(Debug)]
pub(super) struct MaskWatch {
    events: OwnedFd,
    entries: Entries,
}

impl MaskWatch {
    /// Watches every folder from a shown one down to each mask in it, and to each name at which nothing
    /// may come to be, whether a rule shows it or the bundle; `None` without any. To be called before the
    /// masks are made, so that no change goes unseen.
    ///
    /// # Errors
    /// A folder that cannot be watched: the limit of watches (inotify(7)) is reached, or it is gone.
    /// Something has come to be where nothing was.
    pub(super) fn over(request: &LaunchRequest) -> Result<Option<MaskWatch>, RunError> {
        let by_policy = request.plan.binds.iter();
        let by_policy = by_policy.map(|bind| (bind.path.as_path(), bind.path.as_path()));
        let by_bundle = request.pieces.iter().filter_map(|piece| match piece {
            Piece::Bind { source, path, .. } => Some((path.as_path(), source.as_path())),
            _ => None,
        });
        let shown: Vec<(&Path, &Path)> = by_policy.chain(by_bundle).collect();
        // Of folders that are shown within each other any can be replaced.
        let masks = request.plan.masks.iter();
        let masks = masks.map(|mask| (Lost::of(&mask.path, &mask.rule), true));
        let absent = request.plan.absent.iter();
        let all = masks.chain(absent.map(|absent| (Lost::of(&absent.path, &absent.rule), false)));
        let mut watch = None;
        for (lost, is_mask) in all {
            for shown in shown.iter().filter(|(path, _)| lost.path.starts_with(path)) {
                let watch = match &mut watch {
                    Some(watch) => watch,
                    none => none.insert(MaskWatch::empty()?),
                };
                watch.add(&lost, is_mask, *shown)?;
            }
        }
        Ok(watch)
    }

    /// Watches nothing yet.
    ///
    /// # Errors
    /// The limit of such descriptors (inotify(7)) is reached.
    pub(super) fn empty() -> Result<MaskWatch, RunError> {
        let events = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)
            .map_err(|errno| RunError::io("watch", "the host's folders")(errno.into()))?;
        Ok(MaskWatch {
            events,
            entries: HashMap::new(),
        })
    }

    /// Each folder from the one down that is shown, with the name in it that leads to what may be lost.
    /// `inside` is a path in the sandbox at which `host` is shown.
    fn add(
        &mut self,
        lost: &Lost,
        is_mask: bool,
        (inside, host): (&Path, &Path),
    ) -> Result<(), RunError> {
        let Ok(below) = lost.path.strip_prefix(inside) else {
            return Ok(());
        };
        let mut entries: Vec<&Path> = below.ancestors().collect();
        entries.reverse();
        for entry in entries {
            let (Some(parent), Some(name)) = (entry.parent(), entry.file_name()) else {
                continue;
            };
            self.watch(&host.join(parent), name, lost.clone())?;
            let found = host.join(entry).symlink_metadata();
            let is_real = found.is_ok_and(|found| !found.is_symlink());
            match (is_mask, is_real) {
                // Beyond a link, and beyond what is missing, there is nothing of it.
                (false, false) => return Ok(()),
                (false, true) if entry == below => {
                    let cause = "it has come to be just now, and is denied as what is not there";
                    let shown = lost.path.display().to_string();
                    return Err(RunError::io("keep away", shown)(io::Error::other(cause)));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Watches `folder` for changes of its entry `name`, which leads to a mask.
    ///
    /// # Errors
    /// It cannot be watched: the limit of watches (inotify(7)) is reached, or it is gone.
    pub(super) fn watch(
        &mut self,
        folder: &Path,
        name: &OsStr,
        lost: Lost,
    ) -> Result<(), RunError> {
        let changes = WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::ONLYDIR;
        let number = inotify::add_watch(&self.events, folder, changes)
            .map_err(|errno| RunError::io("watch", folder.display().to_string())(errno.into()))?;
        let entries = self.entries.entry(number).or_default();
        entries.push((name.to_owned(), lost));
        Ok(())
    }

    /// What is readable when something has changed.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }

    /// A mask that may be gone, if one may be.
    ///
    /// # Errors
    /// What the kernel says of the watch; an overflow of its queue among it, since nobody knows
    /// what was lost then.
    pub(super) fn lost_by_now(&self) -> io::Result<Option<Lost>> {
        match read(&self.events, &self.entries) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            other => other.map(Some),
        }
    }

    /// Registers with the runtime. Must be called inside it.
    ///
    /// # Errors
    /// When the descriptor cannot be registered.
    pub(super) fn listen(self) -> io::Result<Listening> {
        Ok(Listening {
            events: register(self.events, Interest::READABLE)?,
            entries: self.entries,
        })
    }
}

/// A [`MaskWatch`] inside the runtime.
#[derive(Debug)]
pub(super) struct Listening {
    events: AsyncFd<OwnedFd>,
    entries: Entries,
}

impl Listening {
    /// Waits until a mask may be gone. Safe to drop.
    ///
    /// # Errors
    /// What the kernel says of the watch; an overflow of its queue among it, since nobody knows
    /// what was lost then.
    pub(super) async fn lost(&self) -> io::Result<Lost> {
        loop {
            let mut ready = self.events.readable().await?;
            // When it would block, all that there was has been about other entries.
            if let Ok(read) = ready.try_io(|events| read(events.get_ref(), &self.entries)) {
                return read;
            }
        }
    }
}

/// By watch: which entries of the folder lead to which mask.
type Entries = HashMap<i32, Vec<(OsString, Lost)>>;

/// The next mask that may be gone; `WouldBlock` when all that there was has been about other
/// entries.
fn read(events: &OwnedFd, entries: &Entries) -> io::Result<Lost> {
    let mut space = [MaybeUninit::uninit(); 4096];
    let mut reader = inotify::Reader::new(events, &mut space);
    loop {
        let event = match reader.next() {
            Err(Errno::INTR) => continue,
            other => other?,
        };
        if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
            return Err(io::Error::other("more changes than its queue holds"));
        }
        let Some(name) = event.file_name() else {
            continue;
        };
        let listed = entries.get(&event.wd()).into_iter().flatten();
        let mut named = listed.filter(|(entry, _)| entry.as_bytes() == name.to_bytes());
        if let Some((_, lost)) = named.next() {
            return Ok(lost.clone());
        }
    }
}
