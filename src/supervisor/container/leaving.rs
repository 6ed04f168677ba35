//! What leaves a container, as its supervisor carries it and decides about it.

use std::fs::File;
use std::future::pending;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFlags, epoll};
use rustix::time::Timespec;
use tokio::io::Interest;
use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, timeout, timeout_at};

use super::take;
use crate::audit::{Answer, LogError};
use crate::egress::{self, Authority, Ended, Heard, Plane, Question};
use crate::launch::container::{MOST_OF_IMAGE, TrustEnds, WayOut};
use crate::oci::container::supervised::{EgressFrom, Leading, Reading};
use crate::policy::Layer;
use crate::supervisor::descriptor::register;
use crate::supervisor::error::RunError;
use crate::supervisor::gate::{Gate, Leaves};
use crate::supervisor::{plane, secrets};

/// How many bytes may have been recorded while something leaves: what else the log takes is for what the verbs do.
const RECORDED: u64 = 192 << 20;

/// How soon is looked again where nothing can be waited for.
const SOON: Duration = Duration::from_millis(5);

/// How long what has arrived for the container may take to be handed on at its end.
pub(super) const LAST_WORDS: Duration = Duration::from_millis(200);

/// What nobody beside a container can be asked.
const NOBODY: &str = "nobody can be asked about it";

/// See the module.
pub(super) struct Exit {
    plane: Plane,
    /// Dropped last: it has the plane's sockets.
    runtime: Runtime,
}

/// What a container is to be ended for, in the words of [`Event::Exit`].
type Cause = &'static str;

impl Exit {
    /// Takes the way out from before the other descriptors, and moves the calling process to where its
    /// connections are made.
    pub(super) fn open(
        leading: &Leading,
        layers: &[Layer],
        gate: &mut Gate,
        descriptors: &mut Vec<OwnedFd>,
    ) -> Result<Exit, RunError> {
        const WAY_OUT: &str = "the container's way out";
        let failed = |cause| RunError::io("open", WAY_OUT)(cause);
        let carried = take(descriptors, leading.shape.descriptors(), WAY_OUT)?;
        let Some(way_out) = WayOut::from_carried(leading.shape, carried.into_iter()) else {
            return Err(failed(io::Error::other("it is not whole")));
        };
        let reading = leading.reading.as_ref();
        let reading = reading.map(|told| read_requests(told, layers, descriptors));
        let reading = reading.transpose()?;
        let outside = plane::host()?;
        let outside = match leading.from {
            EgressFrom::Container => {
                let resolvers = leading.resolvers.clone();
                let entered = outside.enter(way_out.outer.as_fd(), resolvers);
                entered.map_err(RunError::io(
                    "enter",
                    "the container's network (--egress host has connections made in the host's)",
                ))?
            }
            EgressFrom::Host => outside,
        };
        let mut sockets = plane::sockets(way_out.doors);
        for (udp, tcp) in way_out.resolvers {
            sockets.names.push(udp);
            sockets.names_by_tcp.push(tcp);
        }
        plane::take_descriptors();
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(failed)?;
        let entered = runtime.enter();
        let plane = plane::open(sockets, reading, outside, gate.limits())?;
        drop(entered);
        gate.has_plane();
        Ok(Exit { plane, runtime })
    }

    /// Waits until one of these descriptors is ready, or so long, while what leaves is carried; gives what is
    /// to be heard of that. What is ready is not said.
    pub(super) fn wait(
        &mut self,
        watched: &[(BorrowedFd<'_>, PollFlags)],
        patience: Option<Timespec>,
    ) -> io::Result<Option<Heard>> {
        let patience = patience.map(Duration::try_from).transpose();
        let patience = patience.map_err(io::Error::other)?;
        let Exit { plane, runtime } = self;
        runtime.block_on(async {
            let all = all_of(watched).and_then(|all| register(all, Interest::READABLE));
            let (ready, patience) = match all {
                Ok(all) => (Some(all), patience),
                // It is looked often enough instead.
                Err(error) if is_unwaited(&error) => {
                    (None, Some(patience.unwrap_or(SOON).min(SOON)))
                }
                Err(error) => return Err(error),
            };
            let first = async {
                let is_ready = async {
                    match &ready {
                        Some(ready) => ready.readable().await.map(drop),
                        None => pending().await,
                    }
                };
                tokio::select! {
                    heard = plane.next() => Ok(heard),
                    ready = is_ready => ready.map(|()| None),
                }
            };
            match patience {
                None => first.await,
                Some(patience) => timeout(patience, first).await.unwrap_or(Ok(None)),
            }
        })
    }

    /// Deals with what was heard; gives why the container is to be ended, if it is.
    pub(super) fn take(heard: Heard, gate: &mut Gate) -> Option<Cause> {
        match heard {
            Heard::Asked(question) => answer(question, gate),
            Heard::Ended(ended) => {
                // What has happened and cannot be recorded is not gone over.
                tell(&ended, gate).is_err().then_some("failure")
            }
        }
    }

    /// Ends what leaves, and records how each connection ended. What has been said by now may take so long as
    /// `patience` to arrive.
    pub(super) fn close(self, patience: Duration, gate: &mut Gate) -> Result<(), LogError> {
        let Exit { mut plane, runtime } = self;
        let until = Instant::now() + patience;
        let mut last = || runtime.block_on(async { timeout_at(until, plane.last()).await });
        while Instant::now() < until
            && let Ok(Some(heard)) = last()
        {
            // The container has ended, and is not ended for it.
            Exit::take(heard, gate);
        }
        let ended = runtime.block_on(plane.close(patience));
        let told = ended.iter().try_for_each(|ended| tell(ended, gate));
        // A name that is being resolved is waited for no longer.
        runtime.shutdown_background();
        told
    }
}

/// What it takes to read requests; the container's programs trust that from here on.
fn read_requests(
    told: &Reading,
    layers: &[Layer],
    descriptors: &mut Vec<OwnedFd>,
) -> Result<egress::Reading, RunError> {
    const CERTIFICATES: &str = "the container's certificates";
    let authority = Authority::new();
    let authority = authority.map_err(RunError::io("make", "the authority of this container"))?;
    let carried = take(descriptors, told.descriptors, CERTIFICATES)?;
    let Some(mut ends) = TrustEnds::from_carried(carried) else {
        return Err(RunError::io("take over", CERTIFICATES)(
            io::ErrorKind::UnexpectedEof.into(),
        ));
    };
    let of_image = ends.of_image.map(of_image).transpose();
    let of_image = of_image.map_err(RunError::io("read", "the image's certificates"))?;
    let trusted = authority.trusted_beside(&of_image.unwrap_or_default());
    let written = ends.file.write_all(trusted.as_bytes());
    written.map_err(RunError::io("write", CERTIFICATES))?;
    Ok(egress::Reading {
        authority,
        secrets: secrets::to_put(layers, told.credentials.clone())?,
    })
}

fn of_image(file: File) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    file.take(MOST_OF_IMAGE + 1).read_to_end(&mut text)?;
    match text.len() as u64 <= MOST_OF_IMAGE {
        true => Ok(text),
        false => Err(io::Error::other(format!(
            "they have more than {MOST_OF_IMAGE} bytes; name fewer by SSL_CERT_FILE of the configuration"
        ))),
    }
}

/// Whether so much is recorded that nothing may leave any more.
pub(super) fn is_spent(gate: &Gate) -> bool {
    gate.recorded() > RECORDED
}

fn answer(question: Question, gate: &mut Gate) -> Option<Cause> {
    let denied = question.denied.as_deref();
    let ruled = match gate.leaves(&question.asked, denied) {
        Ok(Leaves::Ask(_)) => gate.leaves(&question.asked, Some(NOBODY)),
        ruled => ruled,
    };
    let Ok(Leaves::Ruled(answer, ruling)) = ruled else {
        question.answer(Err(plane::unrecorded()));
        return None;
    };
    question.answer(answer);
    (ruling.answer == Answer::Killed).then_some("policy")
}

fn tell(ended: &Ended, gate: &mut Gate) -> Result<(), LogError> {
    let event = gate.ended(ended);
    gate.record(&event)
}

/// A descriptor that is readable when one of these is ready.
fn all_of(watched: &[(BorrowedFd<'_>, PollFlags)]) -> io::Result<OwnedFd> {
    let all = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    for (fd, flags) in watched {
        let wanted = epoll::EventFlags::from_bits_truncate(flags.bits().into());
        match epoll::add(&all, fd, epoll::EventData::new_u64(0), wanted) {
            // One that is watched for two things.
            Err(rustix::io::Errno::EXIST) => {}
            added => added?,
        }
    }
    Ok(all)
}

/// Whether the container's connections have all descriptors, which come back, or one of those that are waited
/// for is of a file, which is always ready.
fn is_unwaited(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOSPC | libc::EPERM)
    )
}
