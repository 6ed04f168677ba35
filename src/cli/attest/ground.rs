//! The files and processes that an attack is made on, and whether they are as they were.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;

/// Files that everybody may read and change by their modes, so that these are no fence: what is outside,
/// and what lies in the folder that policies grant.
const CANARIES: &[&str] = &[
    "outside/secret",
    "outside/planted.py",
    "home/.bashrc",
    "home/.ssh/authorized_keys",
    "granted/denied",
    "granted/keep",
    "granted/sub/denied",
    "granted/.git/config",
    "granted/.git/hooks/post-commit",
    "granted/.env",
    "linked/denied",
];
/// The same, of which there may be nothing afterwards.
const ABSENT: &[&str] = &[
    "granted/.git/hooks/pre-commit",
    "granted/absent",
    "home/.profile",
    "home/.config/autostart",
];
/// How long what was killed may take to end.
const PATIENCE: Duration = Duration::from_secs(10);
/// Processes that wait to be hit, one for each way of doing so.
const VICTIMS: usize = 10;

/// A folder of this program's own, which nobody else may enter.
#[derive(Debug)]
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn new(below: &Path) -> anyhow::Result<Scratch> {
        let below = below.canonicalize().with_context(|| {
            format!(
                "find {}; name another folder with --scratch",
                below.display()
            )
        })?;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let name = format!("buntime-attest-{}-{:x}", std::process::id(), now.as_nanos());
        let path = below.join(name);
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| {
                format!(
                    "make {}; name another folder with --scratch",
                    path.display()
                )
            })?;
        Ok(Scratch(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Its last name, which nothing else has.
    pub(super) fn name(&self) -> String {
        let name = self.0.file_name().unwrap_or_default();
        name.display().to_string()
    }

    /// Takes it away, and says so where that fails. What was killed may still make a file for a moment.
    pub(super) fn remove(self) -> anyhow::Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            match fs::remove_dir_all(&self.0) {
                Err(error)
                    if error.kind() == ErrorKind::DirectoryNotEmpty && Instant::now() < end => {}
                other => {
                    return other.with_context(|| format!("remove {}", self.0.display()));
                }
            }
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.0.exists()
            && let Err(error) = fs::remove_dir_all(&self.0)
        {
            tracing::warn!(%error, path = %self.0.display(), "an attack's files stay behind");
        }
    }
}

/// What is made for one run of one attack.
#[derive(Debug)]
pub(super) struct Ground {
    path: PathBuf,
    /// Stands in every secret, and nowhere else.
    mark: String,
    victims: Vec<Child>,
    before: BTreeMap<PathBuf, Seen>,
}

/// A canary's look: content, mode, owner, names and the time of the last change.
type Seen = (Vec<u8>, u32, u32, u64, i64, i64);

impl Ground {
    pub(super) fn new(path: PathBuf, with_victims: bool, python: &Path) -> anyhow::Result<Ground> {
        let mark = format!("canary-{}", path.file_name().unwrap_or_default().display());
        let mut ground = Ground {
            path,
            mark,
            victims: Vec::new(),
            before: BTreeMap::new(),
        };
        ground
            .fill()
            .with_context(|| format!("make files in {}", ground.path.display()))?;
        if with_victims {
            for _ in 0..VICTIMS {
                ground.victims.push(victim(python, &ground.mark)?);
            }
        }
        for name in CANARIES {
            let path = ground.path.join(name);
            let seen = look(&path).with_context(|| format!("look at {}", path.display()))?;
            ground.before.insert(path, seen);
        }
        Ok(ground)
    }

    fn fill(&self) -> std::io::Result<()> {
        for name in CANARIES {
            let path = self.path.join(name);
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            let text = match *name {
                "outside/planted.py" => "LOADED = True\n".to_owned(),
                name => format!("{} {name}\n", self.mark),
            };
            fs::write(&path, text)?;
            fs::set_permissions(&path, Permissions::from_mode(0o666))?;
        }
        for name in ["granted/ok", "granted/other/denied", "granted/empty/.keep"] {
            let path = self.path.join(name);
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            fs::write(&path, b"harmless\n")?;
        }
        fs::write(self.path.join("granted/sub").join(not_text()), &self.mark)?;
        fs::hard_link(
            self.path.join("linked/denied"),
            self.path.join("linked/alias"),
        )?;
        fs::create_dir_all(self.path.join("tmp"))?;
        fs::write(self.path.join("regular.json"), self.regular_files_only())?;
        open_to_all(&self.path)
    }

    /// A policy that lets regular files be made, and nothing else.
    fn regular_files_only(&self) -> String {
        let path = self.path.join("granted");
        serde_json::json!({"version": 1, "fs": {"rules": [{"action": "allow", "path": path, "perms":
            ["read_file", "write_file", "read_dir", "make_reg", "remove_file"]}]}})
        .to_string()
    }

    /// The places of an attack's program and of its flags, filled in.
    pub(super) fn fill_in(&self, text: &str) -> String {
        let pids: Vec<String> = self
            .victims
            .iter()
            .map(|one| one.id().to_string())
            .collect();
        let (head, tail) = self.mark.split_at(6);
        text.replace("@GROUND@", &self.path.display().to_string())
            .replace("@MARK@", &self.mark)
            .replace("@MARK_HEAD@", head)
            .replace("@MARK_TAIL@", tail)
            .replace("@PIDS@", &pids.join(", "))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What is not as it was; empty when everything is.
    pub(super) fn changed(&mut self) -> Vec<String> {
        let mut changed = Vec::new();
        for (path, before) in &self.before {
            if look(path).ok().as_ref() != Some(before) {
                changed.push(format!("{} was changed", path.display()));
            }
        }
        for name in ABSENT {
            let found = self.path.join(name).symlink_metadata();
            let is_missing = |error: &std::io::Error| error.kind() == ErrorKind::NotFound;
            if !found.err().as_ref().is_some_and(is_missing) {
                changed.push(format!("{name} was made"));
            }
        }
        for victim in &mut self.victims {
            if !matches!(victim.try_wait(), Ok(None)) {
                changed.push(format!("process {} was ended", victim.id()));
            }
        }
        changed
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        for victim in &mut self.victims {
            // One that an attack has ended already is waited for all the same.
            if let Err(error) = victim.kill().and_then(|()| victim.wait().map(drop)) {
                tracing::warn!(%error, pid = victim.id(), "a process for attacks stays behind");
            }
        }
    }
}

/// A name that is no UTF-8, so that no policy can say it.
fn not_text() -> &'static std::ffi::OsStr {
    std::os::unix::ffi::OsStrExt::from_bytes(b"\xff\xfe")
}

/// Every folder can be entered and changed by everybody: only the scratch folder around it is closed.
fn open_to_all(folder: &Path) -> std::io::Result<()> {
    fs::set_permissions(folder, Permissions::from_mode(0o777))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_to_all(&entry.path())?;
        }
    }
    Ok(())
}

fn look(path: &Path) -> std::io::Result<Seen> {
    let found = path.symlink_metadata()?;
    let content = fs::read(path)?;
    let (changed, nanos) = (found.mtime(), found.mtime_nsec());
    Ok((
        content,
        found.mode(),
        found.uid(),
        found.nlink(),
        changed,
        nanos,
    ))
}

/// A process that waits until this one ends, with the mark among its words.
fn victim(python: &Path, mark: &str) -> anyhow::Result<Child> {
    Command::new(python)
        .args(["-I", "-c", "import sys; sys.stdin.read()", mark])
        // A signal to its group must reach nobody else.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("start {}", python.display()))
}
