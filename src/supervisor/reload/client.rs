//! Asking a run to go over to another policy.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::place::connected;
use super::{Answer, Asked, ReloadError, Reloaded, Source};
use crate::policy::Vars;
use crate::supervisor::layers::load_all;
use crate::supervisor::options::PolicySource;

/// How long the run may take. It compares the policies, and waits for its sandbox's init.
const PATIENCE: Duration = Duration::from_secs(60);

/// Has the run `id` go over to these policies, or to its own ones as they are in their files now,
/// where none are given. Paths are absolute.
///
/// # Errors
/// What is wrong with the policies, why there is no such run, and why it keeps the policy that it has.
pub fn reload(id: &str, policies: &[PolicySource], vars: &Vars) -> Result<Reloaded, ReloadError> {
    // Mistakes are found before anybody is asked.
    load_all(policies, vars)?;
    let asked = Asked {
        policies: policies.iter().map(Source::from).collect(),
    };
    let socket = UnixStream::from(connected(id)?);
    match said(socket, &asked) {
        Ok(Answer::Reloaded(reloaded)) => Ok(reloaded),
        Ok(Answer::Refused(why)) => Err(ReloadError::Refused {
            id: id.to_owned(),
            why,
        }),
        Err(cause) => Err(ReloadError::Silent {
            id: id.to_owned(),
            cause: match cause.kind() {
                io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => hung_up(),
                _ => cause,
            },
        }),
    }
}

fn said(mut socket: UnixStream, asked: &Asked) -> io::Result<Answer> {
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.write_all(&serde_json::to_vec(asked)?)?;
    socket.shutdown(Shutdown::Write)?;
    let mut text = Vec::new();
    socket.read_to_end(&mut text)?;
    if text.is_empty() {
        return Err(hung_up());
    }
    Ok(serde_json::from_slice(&text)?)
}

fn hung_up() -> io::Error {
    io::Error::other("it hung up: it has ended, or hears nobody from here")
}
