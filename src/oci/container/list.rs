//! `state`, `list` and `ps`: what there is.

use super::record::{Found, Status};
use super::{Runtime, VerbError};
use crate::launch::group::Group;

/// One line of `list`.
#[derive(Debug)]
pub struct Listed {
    /// The container's id.
    pub id: String,
    /// Its first process, or 0.
    pub pid: i32,
    /// Its status.
    pub status: &'static str,
    /// Its bundle.
    pub bundle: String,
    /// When it was created.
    pub created: String,
    /// Who created it.
    pub owner: String,
    /// All of it, as one line of JSON.
    pub state: String,
}

impl Runtime {
    /// The state of the container `id` as JSON, its fields in the specification's order.
    ///
    /// # Errors
    /// There is no such container.
    pub fn state(&self, id: &str) -> Result<String, VerbError> {
        let found = self.seen(id)?;
        serde_json::to_string_pretty(&found.state()).map_err(unwritten)
    }

    /// Every container whose state can be read, in the order of their ids.
    ///
    /// # Errors
    /// The root directory cannot be read.
    pub fn list(&self) -> Result<Vec<Listed>, VerbError> {
        let mut listed = Vec::new();
        for id in self.store.ids()? {
            match self.seen(&id).and_then(|found| list_one(&found)) {
                Ok(one) => listed.push(one),
                // It is gone by now, or not yet there.
                Err(VerbError::NoSuchContainer(_)) => {}
                Err(error) => tracing::warn!(%error, "a container is left out"),
            }
        }
        Ok(listed)
    }

    /// The pids of every process of the container `id`.
    ///
    /// # Errors
    /// There is no such container, or it has no control group to look in.
    pub fn processes(&self, id: &str) -> Result<Vec<i32>, VerbError> {
        let found = self.seen(id)?;
        if found.record.group.is_empty() {
            return match &found.first {
                Some(first) => Ok(vec![first.pid]),
                None => Ok(Vec::new()),
            };
        }
        match found.status {
            Status::Stopped => Ok(Vec::new()),
            _ => Ok(Group::of(&found.record.group).processes()?),
        }
    }
}

fn unwritten(error: serde_json::Error) -> VerbError {
    VerbError::system("write", "the container's state")(error.into())
}

fn list_one(found: &Found) -> Result<Listed, VerbError> {
    let state = found.state();
    Ok(Listed {
        id: found.record.id.clone(),
        pid: found.first.as_ref().map_or(0, |first| first.pid),
        status: found.status.word(),
        bundle: found.record.bundle.display().to_string(),
        created: found.record.created.clone(),
        owner: state.owner().to_owned(),
        state: serde_json::to_string(&state).map_err(unwritten)?,
    })
}
