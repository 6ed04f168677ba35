//! The listener of a filter that asks somebody: on its way to who asked for it.

use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use oci_spec::runtime::State;

use super::ContainerError;
use crate::launch::profile::{self, ProcessState, Profile};

/// Where a listener goes, and what goes with it.
#[derive(Debug, Default)]
pub(super) struct ListenerRoute(Option<(PathBuf, Option<String>)>);

impl ListenerRoute {
    pub(super) fn of(profile: Option<&Profile>) -> ListenerRoute {
        let asked = profile.and_then(Profile::listener);
        ListenerRoute(asked.map(|(path, more)| (path.to_owned(), more.map(str::to_owned))))
    }

    /// Sends it, with the container's state, which is JSON.
    pub(super) fn send(
        &self,
        listener: BorrowedFd<'_>,
        pid: i32,
        state: &[u8],
    ) -> Result<(), ContainerError> {
        let failed = |cause: &dyn ToString| ContainerError::Seccomp(cause.to_string());
        let Some((path, metadata)) = &self.0 else {
            return Err(failed(&"it has a listener, and nobody asked for it"));
        };
        let state: State = serde_json::from_slice(state).map_err(|error| failed(&error))?;
        let process = ProcessState {
            pid,
            metadata: metadata.as_deref(),
            state: &state,
        };
        profile::notify(listener, path, &process).map_err(|error| failed(&error))
    }
}
