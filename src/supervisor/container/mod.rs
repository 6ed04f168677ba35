//! The supervisor beside an OCI container that has a policy.
//!
//! `create` starts it in a process of its own and leaves it behind. It records the life of the
//! container, ends it when its time is over or a mask of it may be gone, and answers the verbs that
//! come later: what it cannot record is not done. A second, still smaller process watches it: when
//! the supervisor ends before the container does, that is ended too.
//!
//! It trusts who can enter the container's directory. Nothing of the container's reaches it but the
//! names in its mount namespace, which are resolved inside of that, and what is said over the channel
//! that its configuration may ask for: allegations, which are answered and recorded and permit
//! nothing.

mod copies;
mod life;
mod masks;
mod talk;

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use serde::de::DeserializeOwned;

use super::error::RunError;
use super::gate::Gate;
use super::start::{mechanism, session_name};
use crate::audit::{Event, EventLog};
use crate::launch::beside::{self, Watcher};
use crate::launch::group::GroupError;
use crate::oci::container::supervised::{Answer, Beginning, Judging, Living, SOCKET};
use copies::Copies;
use life::Life;
use talk::Talk;

/// Bytes of a beginning or a request. The arguments of a program are what is long in them.
const LONGEST: u64 = 16 << 20;

/// How long a verb may take to say what it is about.
const PATIENCE: Duration = Duration::from_secs(2);

/// Supervises the container that `create` tells of on the standard input, until it has ended.
///
/// # Errors
/// Nothing was told there, or the container could not be taken on, which `create` has heard then; or
/// its life could not be followed to its end, and it was ended.
pub fn supervise() -> Result<(), RunError> {
    let input = beside::detach().map_err(RunError::io("detach from", "the caller"))?;
    let mut stream = UnixStream::from(input);
    let unheard = RunError::io(
        "hear from",
        "the runtime; it starts this verb, and nobody else",
    );
    let (beginning, descriptors): (Beginning, _) = hear(&mut stream).map_err(unheard)?;
    let life = match begin(&beginning, descriptors) {
        Ok(life) => life,
        Err(error) => {
            let cause = error.to_string();
            tell(&mut stream, &Answer::Refused { cause })
                .map_err(RunError::io("answer", "the runtime"))?;
            return Err(error);
        }
    };
    tell(&mut stream, &Answer::Done).map_err(RunError::io("answer", "the runtime"))?;
    drop(stream);
    life.follow()
}

fn begin(beginning: &Beginning, mut descriptors: Vec<OwnedFd>) -> Result<Life, RunError> {
    let gone = || RunError::io("follow", "the container")(io::Error::other("it has ended"));
    let pid = beginning.first.pid;
    let living = Living::of(beginning.first, beginning.group.clone())
        .map_err(RunError::io("look at", format!("process {pid}")))?
        .ok_or_else(gone)?;
    let watcher = Watcher::start(living.first().pidfd(), || living.kill())
        .map_err(RunError::io("start", "the supervisor's watcher"))?;
    let mut log = match &beginning.events {
        Some(path) => Some(open_log(path)?.of_container(&beginning.id)),
        None => None,
    };
    if let Some(log) = &mut log {
        record_beginning(log, beginning)?;
    }
    let masks = masks::watch(&living, &beginning.masks, &beginning.absent)?;
    let kills = match living.group().oom_events() {
        Ok(events) => Some(events),
        // Without a group that has the controller of memory there is nothing to tell.
        Err(GroupError::Unheld { .. }) => None,
        Err(error) => {
            let hear = RunError::io("hear of", "kills for memory");
            return Err(hear(io::Error::other(error.to_string())));
        }
    };
    let talk = match &beginning.judging {
        Some(judging) => Some(open_talk(judging, &mut log, &mut descriptors)?),
        None => None,
    };
    let mut copies = Copies::new(beginning.output);
    copies
        .add(descriptors)
        .map_err(RunError::io("copy", "the container's output"))?;
    let listener = listen(&beginning.dir).map_err(RunError::io(
        "listen in",
        beginning.dir.display().to_string(),
    ))?;
    beside::drop_rights().map_err(RunError::io("give up", "rights"))?;
    Ok(Life {
        living,
        log,
        talk,
        listener,
        watcher,
        masks,
        kills,
        copies,
        wall: beginning.wall,
        deadline: None,
        began: Instant::now(),
        cause: None,
    })
}

/// Takes the channel's ends from before the other descriptors, and the log.
fn open_talk(
    judging: &Judging,
    log: &mut Option<EventLog>,
    descriptors: &mut Vec<OwnedFd>,
) -> Result<Talk, RunError> {
    let open = || RunError::io("open", "the container's channel");
    let mut ends = descriptors.drain(..descriptors.len().min(2));
    let (Some(listener), Some(segment)) = (ends.next(), ends.next()) else {
        return Err(open()(io::Error::other("it did not come")));
    };
    rustix::io::ioctl_fionbio(&listener, true).map_err(|errno| open()(errno.into()))?;
    let layers = judging.texts.layers();
    let layers = layers.map_err(|error| open()(io::Error::other(error.to_string())))?;
    let policy = judging.oracle.policy(layers);
    let policy = policy.map_err(|error| open()(io::Error::other(error.to_string())))?;
    let on_violation = policy.on_violation();
    let gate = Gate::new(policy, log.take(), false);
    Ok(Talk::new(gate, on_violation, listener, segment.into()))
}

fn open_log(path: &Path) -> Result<EventLog, RunError> {
    if let Some(folder) = path.parent() {
        let made = std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder);
        made.map_err(RunError::io("make", folder.display().to_string()))?;
    }
    Ok(EventLog::open(path, &session_name()?)?)
}

fn record_beginning(log: &mut EventLog, beginning: &Beginning) -> Result<(), RunError> {
    log.append(&Event::SessionStart {
        id: None,
        version: env!("CARGO_PKG_VERSION"),
        supervisor: std::process::id(),
        program: beginning.program.clone(),
        layers: beginning.layers.clone(),
    })?;
    let mechanisms = beginning.mechanisms.iter().map(mechanism).collect();
    log.append(&Event::LaunchEnforced {
        init: beginning.first.pid,
        mechanisms,
    })?;
    Ok(())
}

/// The socket that later verbs find in the container's directory.
fn listen(dir: &Path) -> io::Result<UnixListener> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir: OwnedFd = rustix::fs::open(dir, flags, Mode::empty())?;
    // The socket's path can be longer than an address has room for.
    let path = format!("/proc/self/fd/{}/{SOCKET}", dir.as_raw_fd());
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Descriptors and one JSON text, up to the end of what the other side sends.
fn hear<T: DeserializeOwned>(stream: &mut UnixStream) -> io::Result<(T, Vec<OwnedFd>)> {
    let descriptors = beside::receive_descriptors(stream.as_fd())?;
    let mut text = Vec::new();
    stream.take(LONGEST).read_to_end(&mut text)?;
    Ok((serde_json::from_slice(&text)?, descriptors))
}

fn tell(stream: &mut UnixStream, answer: &Answer) -> io::Result<()> {
    stream.write_all(&serde_json::to_vec(answer)?)?;
    stream.shutdown(Shutdown::Both)
}
