//! The egress plane at a launch's ways out.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::error::RunError;
use crate::egress::{Denied, Outside, Plane, Reading, Sockets};
use crate::launch::Doors;
use crate::policy::Limits;

/// What a plane listens to at these doors.
pub(super) fn sockets(doors: Doors) -> Sockets {
    let mut sockets = Sockets {
        redirected: Vec::new(),
        names: vec![doors.names],
        names_by_tcp: vec![doors.names_by_tcp],
        proxy: doors.proxy,
        datagrams: Vec::new(),
    };
    let of_v6 = doors.elsewhere_v6.map(|elsewhere| (elsewhere, true));
    for (elsewhere, is_v6) in [(doors.elsewhere, false)].into_iter().chain(of_v6) {
        sockets.redirected.push((elsewhere.redirected, is_v6));
        sockets.names.push(elsewhere.names);
        let datagrams = elsewhere.datagrams.into_iter();
        let datagrams = datagrams.map(|both| (both.out, both.back));
        sockets.datagrams.extend(datagrams);
    }
    sockets
}

/// Opens the plane, whose connections are made outside. Inside the runtime.
pub(super) fn open(
    sockets: Sockets,
    reading: Option<Reading>,
    outside: Outside,
    limits: &Limits,
) -> Result<Plane, RunError> {
    Plane::open(sockets, reading, outside, limits)
        .map_err(RunError::io("open", "the sandbox's way out"))
}

/// The host's network, as the calling thread has it.
pub(super) fn host() -> Result<Outside, RunError> {
    Outside::of_host().map_err(RunError::io("look at", "the host's addresses"))
}

/// Takes as many descriptors as this process may have: each connection of the program needs some here.
/// The program itself was launched with what the caller has.
pub(super) fn take_descriptors() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: maximum,
        maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, all) {
        tracing::debug!(%error, "there are as many connections as there are descriptors");
    }
}

/// What is not in the log is not done.
pub(super) fn unrecorded() -> Denied {
    Denied {
        reason: "the decision could not be recorded".into(),
    }
}
