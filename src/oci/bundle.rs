//! OCI bundles: the built-in one of Python, and others by directory.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Linux, Mount, Process, Spec};
use serde::de::DeserializeOwned;

use super::error::OciError;
use super::mounts::{self, Mounted};
use super::network::{self, Network};
use super::program::Place;
use super::{requests, root, settings};
use crate::launch::rlimits::AskedLimit;
use crate::launch::{Mechanism, State};
use crate::policy::Limits;

/// The built-in bundle's configuration.
pub(super) const PYTHON: &str = include_str!("../../bundles/python/config.json");

/// A bundle as far as a run uses it.
#[derive(Debug, Default)]
pub(super) struct Bundle {
    /// Its own directory, without symbolic links.
    pub dir: PathBuf,
    /// Its root, if it is a directory of its own.
    pub root: Option<PathBuf>,
    /// What it runs by itself.
    pub process: Option<OwnProcess>,
    /// Its mounts.
    pub mounts: Vec<Mount>,
    /// The host name inside.
    pub hostname: Option<String>,
    /// Paths to cover.
    pub masked: Vec<String>,
    /// Paths to make read-only.
    pub readonly: Vec<String>,
    /// Limits beside the policy's.
    pub limits: Limits,
    /// Resource limits of each process.
    pub rlimits: Vec<AskedLimit>,
    /// System calls that fail with EPERM, beside the policy's.
    pub deny_syscalls: Vec<String>,
    /// The interfaces that it chooses.
    pub network: Option<Network>,
    /// What is carried more narrowly than it asks.
    pub remarks: Vec<Mechanism>,
}

/// The process of a bundle.
#[derive(Debug, Clone)]
pub(super) struct OwnProcess {
    /// The program and its arguments.
    pub args: Vec<OsString>,
    /// Its whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// Its working directory.
    pub cwd: PathBuf,
    /// Its file mode creation mask.
    pub umask: Option<u32>,
}

impl Bundle {
    /// The built-in bundle of Python, whose root is assembled from the host.
    ///
    /// # Errors
    /// None in a released program: the configuration is part of it.
    pub(super) fn python() -> Result<Bundle, OciError> {
        let file = Path::new("bundles/python/config.json");
        let spec: Spec = parse(file, PYTHON)?;
        let linux = spec.linux().as_ref();
        let paths = |list: fn(&Linux) -> &Option<Vec<String>>| {
            linux
                .and_then(|linux| list(linux).clone())
                .unwrap_or_default()
        };
        Ok(Bundle {
            masked: paths(Linux::masked_paths),
            readonly: paths(Linux::readonly_paths),
            hostname: spec.hostname().clone(),
            ..Bundle::default()
        })
    }

    /// A bundle in a directory.
    ///
    /// # Errors
    /// The file, and what is wrong with it or cannot be carried.
    pub(super) fn load(dir: &Path) -> Result<Bundle, OciError> {
        let file = dir.join("config.json");
        let text = read_configuration(&file).map_err(OciError::io("read", &file))?;
        let refuse = |cause: String| OciError::Bundle {
            path: file.clone(),
            cause,
        };
        let value: serde_json::Value = parse(&file, &text)?;
        let remarks = settings::sort(&value).map_err(&refuse)?;
        let spec: Spec = parse(&file, &text)?;
        let dir = dir.canonicalize().map_err(OciError::io("find", dir))?;
        let mut bundle = Bundle {
            dir,
            remarks,
            ..Bundle::python()?
        };
        bundle.take(&spec).map_err(refuse)?;
        Ok(bundle)
    }

    /// Its mounts, which are also put into `place`.
    ///
    /// # Errors
    /// The mount that cannot be carried.
    pub(super) fn mounted(
        &self,
        place: &mut Place,
        may_read: &dyn Fn(&Path) -> bool,
    ) -> Result<Mounted, OciError> {
        let shows = |path: &Path| self.may_show(path, may_read);
        mounts::take(&self.mounts, &self.dir, place, &shows).map_err(|cause| self.refused(cause))
    }

    /// Its root, without symbolic links.
    ///
    /// # Errors
    /// A root that is not there, or that it may not show.
    pub(super) fn real_root(
        &self,
        may_read: &dyn Fn(&Path) -> bool,
    ) -> Result<Option<PathBuf>, OciError> {
        let Some(named) = &self.root else {
            return Ok(None);
        };
        let root = named
            .canonicalize()
            .map_err(OciError::io("open the root", named))?;
        if self.may_show(&root, may_read) {
            return Ok(Some(root));
        }
        let path = root.display();
        Err(self.refused(format!(
            "its root is {path}, outside of the bundle; allow it: --allow-read={path}, or --rootfs {path}"
        )))
    }

    /// A bundle is somebody's file and no policy: of the host it shows what lies in it, the
    /// system's own folders, and what the person's rules allow to be read.
    fn may_show(&self, path: &Path, may_read: &dyn Fn(&Path) -> bool) -> bool {
        let own = self.dir.canonicalize();
        own.is_ok_and(|own| path.starts_with(own)) || root::is_of_the_system(path) || may_read(path)
    }

    fn refused(&self, cause: String) -> OciError {
        OciError::Bundle {
            path: self.dir.join("config.json"),
            cause,
        }
    }

    fn take(&mut self, spec: &Spec) -> Result<(), String> {
        if !spec.version().starts_with("1.") {
            return Err(format!(
                "its ociVersion is {:?}; version 1 of the specification is understood",
                spec.version()
            ));
        }
        let root = spec.root().as_ref().ok_or("it names no root")?;
        let path = self.dir.join(root.path());
        self.root = Some(
            path.canonicalize()
                .ok()
                .filter(|path| path.is_dir())
                .ok_or_else(|| format!("its root {} is no directory", path.display()))?,
        );
        if root.readonly() != Some(true) {
            let how = "read-only; a policy's rule or --out gives what may be written";
            self.remarks
                .push(settings::remark("root.readonly", State::Partial, how));
        }
        self.mounts = spec.mounts().clone().unwrap_or_default();
        self.network = network::chosen(spec.annotations().as_ref())?;
        if spec.hostname().is_some() {
            self.hostname = spec.hostname().clone();
        }
        if let Some(process) = spec.process() {
            self.process = Some(own_process(process)?);
            let (limits, remarks) = requests::of_process(process)?;
            self.rlimits = limits;
            self.remarks.extend(remarks);
        }
        if let Some(linux) = spec.linux() {
            self.masked
                .extend(linux.masked_paths().iter().flatten().cloned());
            self.readonly
                .extend(linux.readonly_paths().iter().flatten().cloned());
            let asked = requests::of_linux(linux)?;
            self.limits = asked.limits;
            self.deny_syscalls = asked.deny_syscalls;
            self.remarks.extend(asked.remarks);
        }
        Ok(())
    }
}

fn own_process(process: &Process) -> Result<OwnProcess, String> {
    let variable = |text: &String| match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.into(), value.into())),
        _ => Err(format!("process.env has {text:?}; write NAME=VALUE")),
    };
    if !process.cwd().is_absolute() {
        let cwd = process.cwd().display();
        return Err(format!("process.cwd is {cwd:?}, which is no absolute path"));
    }
    Ok(OwnProcess {
        args: process
            .args()
            .iter()
            .flatten()
            .map(OsString::from)
            .collect(),
        env: process
            .env()
            .iter()
            .flatten()
            .map(variable)
            .collect::<Result<_, _>>()?,
        cwd: process.cwd().clone(),
        umask: process.user().umask(),
    })
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

fn parse<T: DeserializeOwned>(file: &Path, text: &str) -> Result<T, OciError> {
    serde_json::from_str(text).map_err(|error| OciError::Bundle {
        path: file.to_owned(),
        cause: format!("{error}; see the OCI runtime specification for its form"),
    })
}
