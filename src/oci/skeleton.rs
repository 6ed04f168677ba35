//! The built-in bundle as files, for any OCI runtime: the same root that a run is given, as a
//! directory of mount points and a configuration that mounts on them.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::bundle::PYTHON;
use super::container::CHANNEL_ANNOTATION;
use super::error::OciError;
use super::interpreter::Interpreter;
use super::prepare::{HOSTNAME, WorkerFiles};
use super::program::Place;
use super::root;
use crate::launch::Piece;
use crate::launch::container::{CHANNEL_SEGMENT, CHANNEL_SOCKET};
use crate::policy::CHANNEL;

/// The worker's ids in the written configuration.
const WORKER: u32 = 1000;

/// Where the worker is, and how it begins.
const WORKER_FOLDER: &str = "opt/buntime";
const START: &str = "start.py";

/// Directories that a root has in any case: mount points, and where the links lead.
const DIRECTORIES: [&str; 8] = [
    "usr/bin",
    "usr/sbin",
    "etc",
    "tmp",
    "proc",
    "dev",
    "run/buntime",
    WORKER_FOLDER,
];

/// Writes the built-in bundle of Python to `dir`, for any OCI runtime, with the `worker`.
///
/// It takes its program from the standard input. Where its runtime is this one and there is a policy
/// it has a channel to the supervisor; any other leaves the annotation that asks for one alone.
///
/// # Errors
/// `dir` exists and is not empty, or cannot be written; there is no interpreter.
pub fn write_python(dir: &Path, worker: &WorkerFiles) -> Result<(), OciError> {
    let refuse = |cause: &str| OciError::Bundle {
        path: dir.to_owned(),
        cause: cause.to_owned(),
    };
    if std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(refuse("it is not empty; name a new directory"));
    }
    let new = !dir.exists();
    let place = Place::host();
    let python = Interpreter::find(&place, None, None)?;
    let mut pieces = root::of_host(WORKER, WORKER, HOSTNAME);
    root::interpreter_pieces(&python, &place, &mut pieces);

    let rootfs = dir.join("rootfs");
    for name in DIRECTORIES {
        directory(&rootfs.join(name))?;
    }
    let start = (START, worker.bootstrap.as_bytes());
    let files = worker.files.iter();
    for (name, content) in files
        .map(|(name, content)| (&**name, &**content))
        .chain([start])
    {
        let path = rootfs.join(WORKER_FOLDER).join(name);
        std::fs::write(&path, content).map_err(OciError::io("write", &path))?;
    }
    let mut mounts = Vec::new();
    for piece in &pieces {
        write(&rootfs, piece)?;
        mounts.extend(mount(piece).map_err(refuse)?);
    }
    let program = python.path.to_str().ok_or_else(|| refuse(NOT_TEXT))?;
    let mut configuration: Value =
        serde_json::from_str(PYTHON).map_err(|error| refuse(&error.to_string()))?;
    let channel = |name: &str| format!("{CHANNEL}/{name}");
    configuration["process"]["args"] = json!([
        program,
        "-I",
        format!("/{WORKER_FOLDER}/{START}"),
        channel(CHANNEL_SOCKET),
        channel(CHANNEL_SEGMENT),
        "stdin",
    ]);
    configuration["annotations"] = json!({CHANNEL_ANNOTATION: "true"});
    if let Some(own) = configuration["mounts"].as_array_mut() {
        own.extend(mounts);
    }
    let text =
        serde_json::to_string_pretty(&configuration).map_err(|error| refuse(&error.to_string()))?;
    let file = dir.join("config.json");
    std::fs::write(&file, text + "\n").map_err(OciError::io("write", &file))?;
    // What was there before is its owner's to open.
    open_to_all(if new { dir } else { &rootfs })?;
    // runc gives a file system in memory the mode of what it is mounted on.
    let tmp = rootfs.join("tmp");
    std::fs::set_permissions(&tmp, Permissions::from_mode(0o1777))
        .map_err(OciError::io("set the mode of", &tmp))
}

const NOT_TEXT: &str = "a path of the interpreter is no UTF-8, and a configuration is";

fn directory(path: &Path) -> Result<(), OciError> {
    std::fs::create_dir_all(path).map_err(OciError::io("make", path))
}

/// The user inside is nobody of this host, so a mask of ours must not keep it out.
fn open_to_all(path: &Path) -> Result<(), OciError> {
    let found = path
        .symlink_metadata()
        .map_err(OciError::io("look at", path))?;
    if found.is_symlink() {
        return Ok(());
    }
    let mode = if found.is_dir() { 0o755 } else { 0o644 };
    std::fs::set_permissions(path, Permissions::from_mode(mode))
        .map_err(OciError::io("set the mode of", path))?;
    if found.is_dir() {
        for entry in std::fs::read_dir(path).map_err(OciError::io("list", path))? {
            open_to_all(&entry.map_err(OciError::io("list", path))?.path())?;
        }
    }
    Ok(())
}

/// Makes a piece, or the point on which it is mounted.
fn write(rootfs: &Path, piece: &Piece) -> Result<(), OciError> {
    let within = |path: &PathBuf| rootfs.join(path.strip_prefix("/").unwrap_or(path));
    let parent = |path: &Path| path.parent().map_or(Ok(()), directory);
    match piece {
        Piece::Dir { path } => directory(&within(path)),
        Piece::Bind {
            path, dir: true, ..
        } => directory(&within(path)),
        Piece::Bind { path, .. } => {
            let path = within(path);
            parent(&path)?;
            std::fs::write(&path, b"").map_err(OciError::io("write", &path))
        }
        Piece::File { path, bytes } => {
            let path = within(path);
            parent(&path)?;
            std::fs::write(&path, bytes).map_err(OciError::io("write", &path))
        }
        Piece::Link { path, target } => {
            let path = within(path);
            parent(&path)?;
            symlink(target, &path).map_err(OciError::io("link", &path))
        }
        // These the configuration has already.
        Piece::Tmpfs { .. } | Piece::Proc { .. } | Piece::Dev { .. } | Piece::Mqueue { .. } => {
            Ok(())
        }
    }
}

fn mount(piece: &Piece) -> Result<Option<Value>, &'static str> {
    let Piece::Bind {
        source,
        path,
        executable,
        ..
    } = piece
    else {
        return Ok(None);
    };
    let text = |path: &Path| path.to_str().map(str::to_owned).ok_or(NOT_TEXT);
    let mut options = vec!["rbind", "ro", "nosuid", "nodev"];
    if !executable {
        options.push("noexec");
    }
    Ok(Some(json!({
        "destination": text(path)?,
        "type": "bind",
        "source": text(source)?,
        "options": options,
    })))
}
