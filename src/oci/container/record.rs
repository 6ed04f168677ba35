//! What is kept of a container between two verbs, and what is true of it now.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use super::VerbError;
use super::policy::{PolicyRecord, Shown};
use super::store::Entry;
use crate::launch::container;
use crate::launch::group::{Group, GroupRecord};
use crate::launch::rootfs::RootMount;
use crate::sys::process;

/// See the module. Times are as RFC 3339 has them, in UTC.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Record {
    /// The container's id.
    pub id: String,
    /// The specification's version that the configuration names.
    pub oci_version: String,
    /// The bundle's absolute path.
    pub bundle: PathBuf,
    /// The root's absolute path.
    pub rootfs: PathBuf,
    /// When it was created.
    pub created: String,
    /// Who created it.
    pub owner: u32,
    /// The configuration's annotations.
    #[serde(default)]
    pub annotations: HashMap<String, String>,
    /// The first process, once there is one.
    pub first: Option<ProcessRecord>,
    /// The control group.
    pub group: GroupRecord,
    /// Its root, where that is a mount in the caller's own mount namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_mount: Option<RootMount>,
    /// Whether every other process ends with the first one: the pid namespace is the container's
    /// own.
    pub own_pids: bool,
    /// The policy, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyRecord>,
    /// Whether the creation was completed.
    pub complete: bool,
}

impl Record {
    /// Who stands beside the container, if somebody does.
    pub(super) fn supervisor(&self) -> Option<ProcessRecord> {
        self.policy.as_ref().and_then(|policy| policy.supervisor)
    }
}

/// A process of a container or beside it, told from a later one of the same number by the time of its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessRecord {
    /// Process id, as the runtime counts.
    pub pid: i32,
    /// Clock ticks between boot and its start (field 22 of proc_pid_stat(5)).
    pub start_time: u64,
}

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It is being made.
    Creating,
    /// Its first process waits for its start.
    Created,
    /// Its program runs.
    Running,
    /// Its processes are frozen.
    Paused,
    /// Its first process has ended.
    Stopped,
}

impl Status {
    /// The word that callers know it by.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        }
    }
}

/// A process that is held by its pidfd and was seen to be the one that is meant.
#[derive(Debug)]
pub struct Held {
    /// Its pid.
    pub pid: i32,
    pidfd: OwnedFd,
}

impl ProcessRecord {
    /// What the process `pid`, a child of ours or known to live, is known by.
    ///
    /// # Errors
    /// /proc does not show it.
    pub fn of(pid: i32) -> io::Result<ProcessRecord> {
        let (_, start_time) = stat(pid)?;
        Ok(ProcessRecord { pid, start_time })
    }

    /// Holds it; `None` when it has ended, were it only not waited for.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub fn hold(self) -> io::Result<Option<Held>> {
        let Some(pid) = Pid::from_raw(self.pid) else {
            return Ok(None);
        };
        let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            other => other?,
        };
        match stat(self.pid) {
            Ok((state, start_time)) => {
                let lives = start_time == self.start_time && !matches!(state, b'Z' | b'X' | b'x');
                Ok(lives.then_some(Held {
                    pid: self.pid,
                    pidfd,
                }))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Held {
    /// Its pidfd, readable when it ends.
    #[must_use]
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Sends it a signal by its number.
    ///
    /// # Errors
    /// `ESRCH` when it has ended meanwhile, `EINVAL` for no signal.
    pub fn signal(&self, number: i32) -> io::Result<()> {
        process::pidfd_signal(self.pidfd.as_fd(), number)
    }

    /// Whether it was sent SIGKILL and has not ended of it yet.
    ///
    /// # Errors
    /// /proc does not show what waits for it.
    pub fn is_being_killed(&self) -> io::Result<bool> {
        let path = format!("/proc/{}/status", self.pid);
        let text = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(false),
            other => other?,
        };
        // A mask in hexadecimal, from proc_pid_status(5). The kernel adds this signal to what waits
        // for each thread, the first one too.
        let mask = text.lines().find_map(|line| {
            let mask = line.strip_prefix("SigPnd:")?.trim();
            u64::from_str_radix(mask, 16).ok()
        });
        let wrong = || io::Error::new(io::ErrorKind::InvalidData, format!("{path} has no SigPnd"));
        Ok(mask.ok_or_else(wrong)? >> (libc::SIGKILL - 1) & 1 == 1)
    }
}

/// State letter and start time of a process, from proc_pid_stat(5).
fn stat(pid: i32) -> io::Result<(u8, u64)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is the program's name in brackets, with whatever it likes inside.
    let parsed = text.rfind(')').and_then(|end| {
        let mut fields = text.get(end + 2..)?.split(' ');
        let state = *fields.next()?.as_bytes().first()?;
        Some((state, fields.nth(18)?.parse().ok()?))
    });
    parsed.ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "/proc/PID/stat has another shape",
        )
    })
}

/// A container as it is now.
#[derive(Debug)]
pub struct Found {
    /// Its directory.
    pub entry: Entry,
    /// What was recorded.
    pub record: Record,
    /// Where it is in its life.
    pub status: Status,
    /// Its first process, if it lives.
    pub first: Option<Held>,
}

impl Found {
    /// Looks at the container of `entry`.
    ///
    /// # Errors
    /// Its state cannot be read.
    pub fn of(entry: Entry, record: Record) -> Result<Found, VerbError> {
        let first = match record.first {
            None => None,
            Some(first) => first.hold().map_err(VerbError::system(
                "look at",
                format!("process {}", first.pid),
            ))?,
        };
        let status = match (&first, record.complete) {
            (None, true) => Status::Stopped,
            (_, false) if entry.is_held_elsewhere()? => Status::Creating,
            // Whoever made it is gone.
            (_, false) => Status::Stopped,
            // One that waits for its start can be paused, too.
            (Some(_), true) if Group::of(&record.group).is_frozen()? => Status::Paused,
            (Some(_), true) => {
                let waits = container::is_closed(entry.dir())
                    .map_err(VerbError::system("look at", "the container's FIFO"))?;
                match waits {
                    true => Status::Created,
                    false => Status::Running,
                }
            }
        };
        Ok(Found {
            entry,
            record,
            status,
            first,
        })
    }

    /// The first process.
    ///
    /// # Errors
    /// It has ended; `verb` needs it.
    pub fn living(&self, verb: &'static str) -> Result<&Held, VerbError> {
        self.first
            .as_ref()
            .ok_or_else(|| self.wrong_state(verb, ""))
    }

    pub(super) fn wrong_state(&self, verb: &'static str, advice: &'static str) -> VerbError {
        VerbError::WrongState {
            verb,
            id: self.record.id.clone(),
            status: self.status.word(),
            advice,
        }
    }

    /// The state as the specification has it.
    #[must_use]
    pub fn state(&self) -> State<'_> {
        State::of(&self.record, self.status)
    }
}

/// The state as `state` and hooks show it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct State<'a> {
    oci_version: &'a str,
    id: &'a str,
    pid: i32,
    status: &'static str,
    bundle: &'a std::path::Path,
    rootfs: &'a std::path::Path,
    created: &'a str,
    #[serde(skip_serializing_if = "HashMap::is_empty")]
    annotations: &'a HashMap<String, String>,
    owner: String,
    buntime: Own,
}

/// What only this runtime tells.
#[derive(Debug, Serialize)]
struct Own {
    /// `null`: it is a plain OCI container.
    policy: Option<Shown>,
}

impl<'a> State<'a> {
    /// The account that created it, or nothing where this host has no name for it.
    #[must_use]
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// Of a record in `status`.
    #[must_use]
    pub fn of(record: &'a Record, status: Status) -> State<'a> {
        let lives = status != Status::Stopped;
        State {
            oci_version: &record.oci_version,
            id: &record.id,
            pid: record.first.filter(|_| lives).map_or(0, |first| first.pid),
            status: status.word(),
            bundle: &record.bundle,
            rootfs: &record.rootfs,
            created: &record.created,
            annotations: &record.annotations,
            owner: owner_name(record.owner),
            buntime: Own {
                policy: record.policy.as_ref().map(PolicyRecord::shown),
            },
        }
    }
}

/// The account's name, where this host's own files know it.
fn owner_name(uid: u32) -> String {
    let text = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse::<u32>().ok()? == uid).then(|| name.to_owned())
    });
    name.unwrap_or_default()
}
