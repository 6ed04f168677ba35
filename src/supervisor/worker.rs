//! What the worker is told first: its configuration, and its code.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

use super::error::RunError;
use super::options::Program;
use super::start::Wanted;
use crate::ipc::{Channel, Config};

/// What the worker is told first.
pub(super) struct WorkerStart {
    config: Config,
    code: Option<Vec<u8>>,
}

impl WorkerStart {
    /// Opens the channel and leaves configuration and code in it, for the worker to
    /// find when it is there.
    pub(super) fn open(self, ends: Option<(OwnedFd, File)>) -> Result<Channel, RunError> {
        let (listener, segment) = ends.ok_or_else(|| RunError::Worker {
            reason: "the launch gave no channel".to_owned(),
        })?;
        let mut channel = Channel::new(listener, segment)?;
        channel.send_config(&self.config)?;
        if let Some(code) = self.code {
            channel.send_code(&code)?;
        }
        Ok(channel)
    }
}

pub(super) fn worker_start(wanted: &Wanted<'_>) -> Result<Option<WorkerStart>, RunError> {
    if wanted.session.is_some() {
        return Ok(Some(WorkerStart {
            config: Config::session(),
            code: None,
        }));
    }
    let start = match wanted.program {
        Program::Code { code, name, args } => {
            let argv = std::iter::once(name.clone())
                .chain(args.iter().cloned())
                .collect();
            WorkerStart {
                config: Config::once(argv, None),
                code: Some(code.clone()),
            }
        }
        Program::Script { path, args } => {
            let argv = std::iter::once(path.into())
                .chain(args.iter().cloned())
                .collect();
            let code = read_script(path)?;
            WorkerStart {
                config: Config::once(argv, Some(path.clone())),
                code: Some(code),
            }
        }
        Program::Command { .. } | Program::OfBundle => return Ok(None),
    };
    Ok(Some(start))
}

/// Bytes of the longest script: code is held in memory until the worker took it.
const LONGEST_SCRIPT: u64 = 64 * 1024 * 1024;

fn read_script(path: &Path) -> Result<Vec<u8>, RunError> {
    let file = File::open(path).map_err(unreadable(path))?;
    let mut code = Vec::new();
    let limit = LONGEST_SCRIPT + 1;
    file.take(limit)
        .read_to_end(&mut code)
        .map_err(unreadable(path))?;
    if code.len() as u64 > LONGEST_SCRIPT {
        return Err(unreadable(path)(io::ErrorKind::FileTooLarge.into()));
    }
    Ok(code)
}

pub(super) fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> RunError {
    let path = path.display().to_string();
    move |error| RunError::Script {
        path,
        missing: error.kind() == io::ErrorKind::NotFound,
        cause: match error.kind() {
            io::ErrorKind::IsADirectory => "it is a directory; name a file in it".to_owned(),
            io::ErrorKind::FileTooLarge => format!("it is longer than {LONGEST_SCRIPT} bytes"),
            _ => error.to_string(),
        },
    }
}
