//! The listener of a filter that asks somebody: on its way to who asked for it.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use super::ContainerError;
use crate::launch::profile::Profile;

/// Where a listener goes, and what goes with it.
#[derive(Debug, Default)]
pub(super) struct ListenerRoute(Option<(PathBuf, Option<String>)>);

impl ListenerRoute {
    pub(super) fn of(profile: Option<&Profile>) -> ListenerRoute {
        let asked = profile.and_then(Profile::listener);
        ListenerRoute(asked.map(|(path, more)| (path.to_owned(), more.map(str::to_owned))))
    }

    /// Sends it, with the container's state.
    pub(super) fn send(
        &self,
        listener: Option<OwnedFd>,
        _pid: i32,
        _state: &[u8],
    ) -> Result<(), ContainerError> {
        match (&self.0, listener) {
            (None, None) => Ok(()),
            _ => Err(ContainerError::Seccomp(
                "SCMP_ACT_NOTIFY is not carried out yet; use another action".to_owned(),
            )),
        }
    }
}
