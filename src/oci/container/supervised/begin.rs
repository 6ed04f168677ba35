//! The start of a supervisor.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use super::outputs::Outputs;
use super::send;
use super::words::{Answer, Beginning};
use crate::launch::container::{Ends, TrustEnds, WayOut};
use crate::oci::container::record::ProcessRecord;

/// The variables by which the caller names other certificates than the system's, for hosts to which requests are read.
const CERTIFICATES: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// Starts the supervisor of a container whose first process waits; gives what it is known by once
/// it has recorded that and watches the container.
///
/// # Errors
/// Why there is none; nothing of it is left then.
pub(in crate::oci::container) fn begin(
    beginning: &Beginning,
    ends: &Ends,
    outputs: Option<&Outputs>,
) -> io::Result<ProcessRecord> {
    let (ours, theirs) = UnixStream::pair()?;
    // This very file, also where it has been replaced meanwhile.
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("buntime")
        .args(["supervise", &beginning.id])
        .env_clear()
        .envs(
            CERTIFICATES
                .into_iter()
                .filter_map(|name| Some((name, std::env::var_os(name)?))),
        )
        .current_dir("/")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = command.spawn()?;
    // The command has a copy of its standard input, and the end of it is to be seen.
    drop(command);
    let root = ends.root.iter().map(AsFd::as_fd);
    let channel = ends.channel.iter();
    let channel = channel.flat_map(|ends| [ends.listener.as_fd(), ends.segment.as_fd()]);
    let way_out = ends.way_out.iter().flat_map(WayOut::to_carry);
    let trust = ends.trust.iter().flat_map(TrustEnds::to_carry);
    let reading = beginning.way_out.as_ref();
    let reading = reading.and_then(|way_out| way_out.reading.as_ref());
    let trust = trust.take(reading.map_or(0, |reading| reading.descriptors));
    let copied = outputs.map(Outputs::descriptors).unwrap_or_default();
    let descriptors: Vec<_> = root
        .chain(channel)
        .chain(way_out)
        .chain(trust)
        .chain(copied)
        .collect();
    match agree(ours, beginning, &descriptors, &child) {
        Ok(known) => Ok(known),
        Err(error) => {
            child.kill()?;
            child.wait()?;
            Err(error)
        }
    }
}

fn agree(
    mut stream: UnixStream,
    beginning: &Beginning,
    descriptors: &[BorrowedFd<'_>],
    child: &Child,
) -> io::Result<ProcessRecord> {
    send(&mut stream, beginning, descriptors)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    if answer.is_empty() {
        return Err(io::Error::other("it ended without a word"));
    }
    match serde_json::from_slice(&answer)? {
        Answer::Done => ProcessRecord::of(child.id().cast_signed()),
        Answer::Refused { cause } => Err(io::Error::other(cause)),
    }
}
