//! The supervisor beside an OCI container that has a policy.
//!
//! `create` starts it in a process of its own and leaves it behind. It records the life of the
//! container, ends it when its time is over or a mask of it may be gone, and answers the verbs that
//! come later: what it cannot record is not done. A second, still smaller process watches it: when
//! the supervisor ends before the container does, that is ended too.
//!
//! It trusts who can enter the container's directory. Nothing of the container's reaches it but the
//! names in its mount namespace, which are resolved inside of that; the certificates of its image, which are
//! for its own programs alone; what is said over the channel
//! that its configuration may ask for, which are allegations, answered and recorded, and permit
//! nothing; and what it wants to have of other hosts, which the egress plane carries.

mod copies;
mod leaving;
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
use crate::audit::{Event, EventLog, LogError};
use crate::launch::beside::{self, Watcher};
use crate::launch::group::GroupError;
use crate::oci::container::supervised::{Answer, Beginning, Judging, Living, SOCKET};
use crate::policy::Layer;
use copies::Copies;
use leaving::Exit;
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
    let log = match &beginning.events {
        Some(path) => Some(open_log(path)?.of_container(&beginning.id)),
        None => None,
    };
    let layers = beginning.judging.as_ref();
    let layers = layers.map(|judging| judging.texts.layers()).transpose();
    let layers = layers.map_err(unread)?.unwrap_or_default();
    let mut records = match (log, &beginning.judging) {
        (log, Some(judging)) => Records::Gate(Box::new(gate(judging, layers.clone(), log)?)),
        (log, None) => Records::Log(log),
    };
    record_beginning(&mut records, beginning)?;
    let masks = masks::watch(&mut descriptors, &beginning.masks, &beginning.absent)?;
    let kills = match living.group().oom_events() {
        Ok(events) => Some(events),
        // Without a group that has the controller of memory there is nothing to tell.
        Err(GroupError::Unheld { .. }) => None,
        Err(error) => {
            let hear = RunError::io("hear of", "kills for memory");
            return Err(hear(io::Error::other(error.to_string())));
        }
    };
    let talk = beginning.channel.then(|| open_talk(&mut descriptors));
    let talk = talk.transpose()?;
    let exit = match (&beginning.way_out, &mut records) {
        (None, _) => None,
        (Some(leading), Records::Gate(gate)) => {
            Some(Exit::open(leading, &layers, gate, &mut descriptors)?)
        }
        _ => return Err(unread("there is none by which to decide what leaves")),
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
        records,
        talk,
        exit,
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

/// What is recorded, and by what it is decided where there is anything to decide.
enum Records {
    Log(Option<EventLog>),
    Gate(Box<Gate>),
}

impl Records {
    fn record(&mut self, event: &Event) -> Result<(), LogError> {
        match self {
            Records::Gate(gate) => gate.record(event),
            Records::Log(Some(log)) => log.append(event),
            Records::Log(None) => Ok(()),
        }
    }
}

fn unread(cause: impl ToString) -> RunError {
    RunError::io("read", "the container's policy")(io::Error::other(cause.to_string()))
}

fn gate(judging: &Judging, layers: Vec<Layer>, log: Option<EventLog>) -> Result<Gate, RunError> {
    let policy = judging.oracle.policy(layers);
    Ok(Gate::new(policy.map_err(unread)?, log, false))
}

/// Takes the first of the descriptors that came with the beginning, which are of `what`.
fn take(
    descriptors: &mut Vec<OwnedFd>,
    count: usize,
    what: &'static str,
) -> Result<Vec<OwnedFd>, RunError> {
    match count <= descriptors.len() {
        true => Ok(descriptors.drain(..count).collect()),
        false => Err(RunError::io("take over", what)(io::Error::other(
            "it did not come",
        ))),
    }
}

fn open_talk(descriptors: &mut Vec<OwnedFd>) -> Result<Talk, RunError> {
    const CHANNEL: &str = "the container's channel";
    let mut ends = take(descriptors, 2, CHANNEL)?.into_iter();
    let (Some(listener), Some(segment)) = (ends.next(), ends.next()) else {
        return Err(RunError::io("take over", CHANNEL)(
            io::ErrorKind::UnexpectedEof.into(),
        ));
    };
    rustix::io::ioctl_fionbio(&listener, true)
        .map_err(|errno| RunError::io("open", CHANNEL)(errno.into()))?;
    Ok(Talk::new(listener, segment.into()))
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

fn record_beginning(records: &mut Records, beginning: &Beginning) -> Result<(), RunError> {
    records.record(&Event::SessionStart {
        id: None,
        version: env!("CARGO_PKG_VERSION"),
        supervisor: std::process::id(),
        program: beginning.program.clone(),
        layers: beginning.layers.clone(),
    })?;
    let mechanisms = beginning.mechanisms.iter().map(mechanism).collect();
    records.record(&Event::LaunchEnforced {
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
