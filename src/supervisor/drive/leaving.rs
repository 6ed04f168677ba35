//! What leaves the sandbox: the plane carries it, and asks here before.

use super::*;
use crate::egress::{Denied, Sockets};
use crate::launch::Doors;

/// Opens the plane at the sandbox's ways out. Inside the runtime.
pub(super) fn open(doors: Doors) -> Result<Plane, RunError> {
    let redirected = std::iter::once((doors.redirected, false));
    let of_v6 = doors.redirected_v6.map(|socket| (socket, true));
    let sockets = Sockets {
        redirected: redirected.chain(of_v6).collect(),
        names: doors.names,
        names_by_tcp: doors.names_by_tcp,
        proxy: doors.proxy,
    };
    Plane::open(sockets).map_err(RunError::io("open", "the sandbox's way out"))
}

impl Drive {
    pub(super) fn take_leaving(&mut self, question: Question) {
        match self.gate.leaves(&question.asked) {
            Ok((answer, ruling)) => {
                question.answer(answer);
                self.obey(Ok(ruling));
            }
            Err(error) => {
                question.answer(Err(Denied {
                    reason: "the decision could not be recorded".into(),
                }));
                self.obey(Err(error));
            }
        }
    }

    /// Ends the connections that the policy which holds now does not permit.
    pub(super) fn close_denied(&self, policy: &crate::policy::Policy) {
        if let Some(plane) = &self.plane {
            plane.go_over(|connection, address| Gate::still_permits(policy, connection, address));
        }
    }
}
