//! OCI bundles: the built-in one of Python, and others by directory.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;

use super::error::OciError;
use crate::launch::Piece;

/// The built-in bundle's configuration.
const PYTHON: &str = include_str!("../../bundles/python/config.json");

/// A bundle as far as a run uses it.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// Its configuration.
    pub spec: Spec,
    /// Its root, if it is a directory of its own.
    pub root: Option<PathBuf>,
}

impl Bundle {
    /// The built-in bundle of Python, whose root is assembled from the host.
    ///
    /// # Errors
    /// None in a released program: the configuration is part of it.
    pub fn python() -> Result<Bundle, OciError> {
        let spec = parse(Path::new("bundles/python/config.json"), PYTHON)?;
        Ok(Bundle { spec, root: None })
    }

    /// A bundle in a directory.
    ///
    /// # Errors
    /// The file, and what is wrong with it or cannot be carried.
    pub fn load(dir: &Path) -> Result<Bundle, OciError> {
        let file = dir.join("config.json");
        let text = read_configuration(&file).map_err(OciError::io("read", &file))?;
        let spec = parse(&file, &text)?;
        let refuse = |cause: &str| OciError::Bundle {
            path: file.clone(),
            cause: cause.to_owned(),
        };
        if spec.hooks().is_some() {
            return Err(refuse(
                "`run` carries no hooks; take `hooks` out of the configuration",
            ));
        }
        let root = spec
            .root()
            .as_ref()
            .ok_or_else(|| refuse("it names no root"))?
            .path();
        let root = std::path::absolute(dir.join(root)).map_err(OciError::io("resolve", root))?;
        if !root.is_dir() {
            return Err(refuse(&format!(
                "its root {} is no directory",
                root.display()
            )));
        }
        Ok(Bundle {
            spec,
            root: Some(root),
        })
    }

    /// The bundle's bind mounts that are not of the system part.
    pub(super) fn binds(&self) -> Vec<Piece> {
        let mounts = self.spec.mounts().iter().flatten();
        let binds = mounts.filter(|mount| {
            mount.typ().as_deref() == Some("bind")
                || mount
                    .options()
                    .iter()
                    .flatten()
                    .any(|option| option == "bind" || option == "rbind")
        });
        binds
            .filter_map(|mount| {
                let has = |wanted: &str| mount.options().iter().flatten().any(|o| o == wanted);
                let named = mount.source().clone()?;
                // One that is not there is refused by the launch, with its name.
                let source = named.canonicalize().unwrap_or(named);
                Some(Piece::Bind {
                    dir: source.is_dir(),
                    source,
                    path: mount.destination().clone(),
                    writable: has("rw"),
                    executable: !has("noexec"),
                    optional: false,
                })
            })
            .collect()
    }
}

/// More than any configuration needs, in bytes.
const LONGEST_CONFIGURATION: u64 = 8 << 20;

/// Reads a regular file: a bundle may bring a named pipe, which would make us wait for ever, or a
/// link to a device that never ends.
fn read_configuration(path: &Path) -> io::Result<String> {
    let refuse = |cause| io::Error::new(io::ErrorKind::InvalidInput, cause);
    let file = File::options()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(refuse("it is no regular file"));
    }
    let mut text = String::new();
    file.take(LONGEST_CONFIGURATION + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > LONGEST_CONFIGURATION {
        return Err(refuse("it is longer than 8 MiB"));
    }
    Ok(text)
}

fn parse(file: &Path, text: &str) -> Result<Spec, OciError> {
    serde_json::from_str(text).map_err(|error| OciError::Bundle {
        path: file.to_owned(),
        cause: format!("{error}; see the OCI runtime specification for its form"),
    })
}

/// Writes the built-in bundle of Python to `dir`, for any OCI runtime.
///
/// # Errors
/// `dir` exists and is not empty, or cannot be written.
pub fn write_python(dir: &Path) -> Result<(), OciError> {
    let occupied = std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some());
    if occupied {
        let cause = "it is not empty; name a new directory".to_owned();
        return Err(OciError::Bundle {
            path: dir.to_owned(),
            cause,
        });
    }
    let rootfs = dir.join("rootfs");
    for name in [
        "usr/bin",
        "usr/lib",
        "usr/lib64",
        "etc",
        "tmp",
        "proc",
        "dev",
    ] {
        let path = rootfs.join(name);
        std::fs::create_dir_all(&path).map_err(OciError::io("make", &path))?;
    }
    for (name, target) in [
        ("lib", "usr/lib"),
        ("lib64", "usr/lib64"),
        ("bin", "usr/bin"),
    ] {
        let path = rootfs.join(name);
        symlink(target, &path).map_err(OciError::io("link", &path))?;
    }
    let place = rootfs.join("usr/bin/python3");
    std::fs::write(&place, b"").map_err(OciError::io("write", &place))?;
    let file = dir.join("config.json");
    std::fs::write(&file, PYTHON).map_err(OciError::io("write", &file))
}
