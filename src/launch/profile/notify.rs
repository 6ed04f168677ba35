//! Handing the listener to the agent that answers for the container.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use oci_spec::runtime::State;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, sockopt,
};
use serde::Serialize;

use super::ProfileError;

/// How long the agent may keep the container from starting.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the agent is told of the container.
#[derive(Debug, Clone, Copy)]
pub struct ProcessState<'a> {
    /// The process that has the profile, as this process numbers it.
    pub pid: i32,
    /// The profile's `listenerMetadata`.
    pub metadata: Option<&'a str>,
    /// The state of the container.
    pub state: &'a State,
}

/// The container process state of the runtime specification (config-linux.md).
#[derive(Serialize)]
struct Message<'a> {
    #[serde(rename = "ociVersion")]
    version: &'a str,
    fds: [&'static str; 1],
    pid: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a str>,
    state: &'a State,
}

/// Sends `listener` and what it belongs to over a connection of its own to the stream socket at
/// `socket`, and closes the connection. A path that begins with `@` is an abstract name.
///
/// # Errors
/// Nobody listens there, or takes the message within ten seconds.
pub fn notify(
    listener: BorrowedFd<'_>,
    socket: &Path,
    process: &ProcessState<'_>,
) -> Result<(), ProfileError> {
    let failed = |operation| {
        move |source| ProfileError::Agent {
            operation,
            socket: socket.to_owned(),
            source,
        }
    };
    let message = Message {
        version: process.state.version(),
        fds: ["seccompFd"],
        pid: process.pid,
        metadata: process.metadata,
        state: process.state,
    };
    let text = serde_json::to_vec(&message)
        .map_err(|error| failed("write the state for the")(error.into()))?;
    let connection = connect(socket).map_err(failed("connect with"))?;
    send(&connection, &text, listener).map_err(failed("send the listener to the"))
}

fn connect(socket: &Path) -> io::Result<OwnedFd> {
    let path = socket.as_os_str().as_encoded_bytes();
    let address = match path.strip_prefix(b"@") {
        Some(name) => SocketAddrUnix::new_abstract_name(name)?,
        None => SocketAddrUnix::new(socket)?,
    };
    let connection = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    // It holds for connecting too, where an agent does not accept.
    sockopt::set_socket_timeout(&connection, sockopt::Timeout::Send, Some(PATIENCE))?;
    loop {
        match rustix::net::connect(&connection, &address) {
            Err(rustix::io::Errno::INTR) => {}
            connected => return connected.map(|()| connection).map_err(io::Error::from),
        }
    }
}

/// The descriptor goes with the first byte, and the rest may take several messages.
fn send(connection: &OwnedFd, text: &[u8], listener: BorrowedFd<'_>) -> io::Result<()> {
    let descriptors = [listener];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let mut left = text;
    while !left.is_empty() {
        let message = [IoSlice::new(left)];
        match rustix::net::sendmsg(connection, &message, &mut control, SendFlags::NOSIGNAL) {
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(sent) => {
                left = left.get(sent..).unwrap_or_default();
                control.clear();
            }
        }
    }
    Ok(())
}
