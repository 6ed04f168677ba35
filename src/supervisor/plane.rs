//! The egress plane at a launch's ways out.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::error::RunError;
use crate::egress::{Denied, Limits, Outside, Plane, Reading, Sockets};
use crate::launch::Doors;
use crate::policy;

/// What a plane listens to at these doors.
pub(super) fn sockets(doors: Doors) -> Sockets {
    let redirected = std::iter::once((doors.redirected, false));
    let of_v6 = doors.redirected_v6.map(|socket| (socket, true));
    Sockets {
        redirected: redirected.chain(of_v6).collect(),
        names: [doors.names, doors.names_elsewhere]
            .into_iter()
            .chain(doors.names_elsewhere_v6)
            .collect(),
        names_by_tcp: vec![doors.names_by_tcp],
        proxy: doors.proxy,
    }
}

/// Opens the plane, whose connections are made outside. Inside the runtime.
pub(super) fn open(
    sockets: Sockets,
    reading: Option<Reading>,
    outside: Outside,
    limits: policy::Limits,
) -> Result<Plane, RunError> {
    let limits = Limits {
        connections: limits
            .connections
            .map(|most| usize::try_from(most).unwrap_or(usize::MAX)),
        bandwidth: limits.bandwidth,
    };
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
