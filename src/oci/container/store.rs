//! The containers of one root directory: a directory each, with a state that is replaced whole,
//! a copy of the configuration, and a lock that one verb at a time holds.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use oci_spec::runtime::Hooks;
use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};
use rustix::io::Errno;

use super::VerbError;
use super::record::Record;

const STATE: &str = "state.json";
const CONFIG: &str = "config.json";
const POLICY: &str = "policy.json";
const NEW: &str = ".state.json.new";

/// See the module.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

/// One container's directory, locked for as long as this lives.
#[derive(Debug)]
pub struct Entry {
    path: PathBuf,
    /// The directory itself carries the lock: a verb that waits for it sees by the inode whether
    /// the container is still the one that it was called for.
    dir: File,
    is_locked: bool,
}

/// Whether `id` can name a directory and a control group.
///
/// # Errors
/// Says why not.
pub fn check_id(id: &str) -> Result<(), VerbError> {
    let bad = |cause| {
        Err(VerbError::BadId {
            id: id.to_owned(),
            cause,
        })
    };
    if id.is_empty() {
        return bad("it is empty");
    }
    if id.len() > 1024 {
        return bad("it is too long");
    }
    if id == "." || id == ".." {
        return bad("it names a directory of its own");
    }
    let permitted = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
    match id.chars().all(permitted) {
        true => Ok(()),
        false => bad("it has other characters"),
    }
}

impl Store {
    /// The containers below `root`, which need not exist yet.
    #[must_use]
    pub fn at(root: &Path) -> Store {
        Store {
            root: root.to_owned(),
        }
    }

    /// Makes the directory of a new container.
    ///
    /// # Errors
    /// `Exists` when there is one of this id.
    pub fn make(&self, id: &str) -> Result<Entry, VerbError> {
        check_id(id)?;
        let mut builder = fs::DirBuilder::new();
        builder.mode(0o711);
        let made = builder.recursive(true).create(&self.root);
        made.map_err(VerbError::system("make", self.root.display().to_string()))?;
        self.check_owner()?;
        let path = self.root.join(id);
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(VerbError::Exists(id.to_owned()));
            }
            Err(error) => return Err(VerbError::system("make", path.display().to_string())(error)),
        }
        let mut entry =
            Entry::open(path)?.ok_or_else(|| VerbError::NoSuchContainer(id.to_owned()))?;
        entry.lock()?;
        Ok(entry)
    }

    /// Whoever owns the root could put a state of their own in the place of ours.
    fn check_owner(&self) -> Result<(), VerbError> {
        let refused = |error| VerbError::system("trust", self.root.display().to_string())(error);
        let found = fs::metadata(&self.root).map_err(refused)?;
        let own = rustix::process::geteuid().as_raw();
        let open_to_all = found.mode() & 0o002 != 0;
        if (found.uid() != own && found.uid() != 0) || open_to_all {
            let cause = "it is another user's, or open to all; name another directory by --root";
            return Err(refused(io::Error::other(cause)));
        }
        Ok(())
    }

    /// The directory of a container, once no other verb holds it.
    ///
    /// # Errors
    /// `NoSuchContainer` when there is none, or none any more.
    pub fn lock(&self, id: &str) -> Result<Entry, VerbError> {
        let mut entry = self.look_at(id)?;
        entry.lock()?;
        // Whoever held it may have deleted the container, and another may be there by now.
        let same = |found: &fs::Metadata| {
            entry
                .dir
                .metadata()
                .is_ok_and(|ours| (ours.dev(), ours.ino()) == (found.dev(), found.ino()))
        };
        match fs::symlink_metadata(&entry.path) {
            Ok(found) if same(&found) => Ok(entry),
            _ => Err(VerbError::NoSuchContainer(id.to_owned())),
        }
    }

    /// The directory of a container, to be read beside whatever holds it.
    ///
    /// # Errors
    /// `NoSuchContainer` when there is none.
    pub fn look_at(&self, id: &str) -> Result<Entry, VerbError> {
        check_id(id)?;
        let known = self.root.try_exists();
        if !known.map_err(VerbError::system(
            "look at",
            self.root.display().to_string(),
        ))? {
            return Err(VerbError::NoSuchContainer(id.to_owned()));
        }
        self.check_owner()?;
        let found = Entry::open(self.root.join(id))?;
        found.ok_or_else(|| VerbError::NoSuchContainer(id.to_owned()))
    }

    /// The ids of all containers, in order. A root that does not exist has none.
    ///
    /// # Errors
    /// The root cannot be read.
    pub fn ids(&self) -> Result<Vec<String>, VerbError> {
        let unread = |error| VerbError::system("list", self.root.display().to_string())(error);
        let entries = match fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(unread(error)),
        };
        let mut ids = Vec::new();
        for entry in entries {
            let entry = entry.map_err(unread)?;
            let name: OsString = entry.file_name();
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if let (true, Some(id)) = (is_dir, name.to_str())
                && check_id(id).is_ok()
            {
                ids.push(id.to_owned());
            }
        }
        ids.sort();
        Ok(ids)
    }
}

impl Entry {
    fn open(path: PathBuf) -> Result<Option<Entry>, VerbError> {
        let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
        match fs::OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(&path)
        {
            Ok(dir) => Ok(Some(Entry {
                path,
                dir,
                is_locked: false,
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(VerbError::system("open", path.display().to_string())(error)),
        }
    }

    fn lock(&mut self) -> Result<(), VerbError> {
        loop {
            match flock(&self.dir, FlockOperation::LockExclusive) {
                Err(Errno::INTR) => {}
                Err(error) => {
                    let object = self.path.display().to_string();
                    return Err(VerbError::system("lock", object)(error.into()));
                }
                Ok(()) => {
                    self.is_locked = true;
                    return Ok(());
                }
            }
        }
    }

    /// Whether another verb holds the container.
    ///
    /// # Errors
    /// The lock cannot be asked.
    pub fn is_held_elsewhere(&self) -> Result<bool, VerbError> {
        if self.is_locked {
            return Ok(false);
        }
        let failed = |error: rustix::io::Errno| {
            VerbError::system("lock", self.path.display().to_string())(error.into())
        };
        match flock(&self.dir, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => flock(&self.dir, FlockOperation::Unlock)
                .map(|()| false)
                .map_err(failed),
            Err(Errno::WOULDBLOCK) => Ok(true),
            Err(error) => Err(failed(error)),
        }
    }

    /// Where the directory is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> std::os::fd::BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Replaces the state: whoever reads sees the old one or the new one.
    ///
    /// # Errors
    /// It cannot be written; the old one stays.
    pub fn write_state(&self, record: &Record) -> Result<(), VerbError> {
        let path = self.path.join(STATE);
        let failed = |error| VerbError::system("write", path.display().to_string())(error);
        let text = serde_json::to_vec(record).map_err(|error| failed(error.into()))?;
        let new = self.path.join(NEW);
        write_private(&new, &text)
            .and_then(|()| replace(&new, &path))
            .map_err(failed)
    }

    /// The state; `None` when the creation was cut short before there was one, or the machine before
    /// it was on the disk.
    ///
    /// # Errors
    /// It is not what this runtime wrote.
    pub fn state(&self) -> Result<Option<Record>, VerbError> {
        let path = self.path.join(STATE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(VerbError::system("read", path.display().to_string())(error)),
        };
        if bytes.is_empty() {
            return Ok(None);
        }
        let record =
            super::config::parse_as("state", &bytes).map_err(|error| VerbError::Record {
                path,
                cause: error.to_string(),
            })?;
        Ok(Some(record))
    }

    /// Keeps the configuration as it was at the creation.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_config(&self, bytes: &[u8]) -> Result<(), VerbError> {
        let path = self.path.join(CONFIG);
        write_private(&path, bytes).map_err(VerbError::system("write", path.display().to_string()))
    }

    /// Keeps the policy's documents as they were at the creation.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_policy(&self, bytes: &[u8]) -> Result<(), VerbError> {
        let path = self.path.join(POLICY);
        write_private(&path, bytes).map_err(VerbError::system("write", path.display().to_string()))
    }

    /// The hooks of the creation's configuration, without the rest of it.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn hooks(&self) -> Result<Hooks, VerbError> {
        Ok(super::config::read_hooks(&self.path.join(CONFIG))?)
    }

    /// The configuration of the creation.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn config(&self) -> Result<oci_spec::runtime::Spec, VerbError> {
        Ok(super::config::read(&self.path.join(CONFIG))?.1)
    }

    /// Removes the directory and what is in it.
    ///
    /// # Errors
    /// Something cannot be removed.
    pub fn remove(&self) -> Result<(), VerbError> {
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(VerbError::system("remove", self.path.display().to_string())(error))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Entry {
    /// By itself the lock would last until every copy of the descriptor is closed, and a child
    /// that is on its way has one.
    fn drop(&mut self) {
        if self.is_locked
            && let Err(error) = flock(&self.dir, FlockOperation::Unlock)
        {
            tracing::warn!(%error, "the container's lock lasts until its holders end");
        }
    }
}

/// Puts the file `new` in the place of `path` at once. For a rename(2) onto another file some file
/// systems write to the disk first; two names are exchanged without that.
fn replace(new: &Path, path: &Path) -> io::Result<()> {
    match renameat_with(CWD, new, CWD, path, RenameFlags::EXCHANGE) {
        Ok(()) => fs::remove_file(new),
        // There was none before, or there is no exchange here.
        Err(_) => fs::rename(new, path),
    }
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path)?.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            id: "one".to_owned(),
            oci_version: "1.0.2".to_owned(),
            bundle: PathBuf::from("/bundle"),
            rootfs: PathBuf::from("/bundle/rootfs"),
            created: String::new(),
            owner: 0,
            annotations: Default::default(),
            first: None,
            group: Default::default(),
            root_mount: None,
            own_pids: true,
            policy: None,
            complete: false,
        }
    }

    fn with_entry(name: &str, test: impl FnOnce(&Entry)) {
        let root = std::env::temp_dir().join(format!("store-{}-{name}", std::process::id()));
        test(&Store::at(&root).make("one").unwrap());
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_state_takes_the_place_of_the_one_before_and_leaves_nothing() {
        with_entry("replaced", |entry| {
            assert!(entry.state().unwrap().is_none(), "there is none yet");
            for complete in [false, true, false] {
                let record = Record {
                    complete,
                    ..record()
                };
                entry.write_state(&record).unwrap();
                assert_eq!(entry.state().unwrap().unwrap().complete, complete);
                let files = fs::read_dir(entry.path()).unwrap();
                let names: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
                assert_eq!(names, [STATE]);
            }
        });
    }

    #[test]
    fn a_state_that_never_came_to_the_disk_is_none() {
        with_entry("empty", |entry| {
            fs::write(entry.path().join(STATE), "").unwrap();
            assert!(entry.state().unwrap().is_none());
            fs::write(entry.path().join(STATE), "{").unwrap();
            assert!(entry.state().is_err(), "half of one is no state");
        });
    }

    #[test]
    fn hooks_are_read_without_the_rest() {
        with_entry("hooks", |entry| {
            assert!(entry.hooks().is_err(), "there is no configuration");
            let hooks = |text: &str| {
                entry.write_config(text.as_bytes()).unwrap();
                entry.hooks()
            };
            for none in [
                r#"{"process": 1}"#,
                r#"{"hooks": null}"#,
                r#"{"hooks": {}}"#,
            ] {
                assert_eq!(hooks(none).unwrap(), Hooks::default(), "{none}");
            }
            let one = r#"{"ociVersion": "1.0.2", "hooks": {"poststart": [{"path": "/bin/one"}]}}"#;
            let poststart = hooks(one).unwrap().poststart().clone().unwrap();
            assert_eq!(poststart[0].path(), Path::new("/bin/one"));
            let wrong = hooks(r#"{"hooks": {"poststop": 1}}"#)
                .unwrap_err()
                .to_string();
            assert!(wrong.contains("hooks.poststop"), "{wrong}");
            assert!(hooks(r#"{"hooks": {}"#).is_err(), "the rest is no JSON");
        });
    }
}
