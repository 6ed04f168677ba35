//! Bytes of a connection to the host that was decided about, once what is said first agrees with that.

use std::io::{self, Cursor};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use tokio::io::{AsyncReadExt, join};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::connection::bare;
use super::counted::Counted;
use super::open::{By, Open, Opened};
use super::peek::{self, Later, Said};
use super::tunnel::End;
use super::{Denied, Shared, http, opened, tls, tunnel};

/// How long the first bytes may take, once there is one, until they say what they begin.
const PATIENCE: Duration = Duration::from_secs(10);

/// Both ways at once: some protocols begin with the server. What the program says first is looked at
/// before any of it is sent; `said` is what is read of it already. Whatever ends the connection before
/// its own end resets it, so that its program fails at once.
pub(super) async fn carry(
    stream: TcpStream,
    said: Vec<u8>,
    opened: Opened,
    shared: &Shared,
) -> io::Result<()> {
    let open = Arc::clone(&opened.1);
    let done = until_its_end(stream, said, opened, shared).await;
    if let Err(error) = &done {
        open.failed(error);
    }
    done
}

async fn until_its_end(
    stream: TcpStream,
    said: Vec<u8>,
    (upstream, open): Opened,
    shared: &Shared,
) -> io::Result<()> {
    for end in [&stream, &upstream] {
        set_socket_linger(end, Some(Duration::ZERO))?;
    }
    stream.set_nodelay(true)?;
    let turned = tokio::select! {
        turned = both_ways(&stream, said, (&upstream, &open), shared) => turned?,
        denied = open.ended() => return Err(denied.into()),
    };
    match turned {
        Turned::Over => whole([&stream, &upstream]),
        Turned::Requests(said) => {
            // Whoever carries requests closes both: these are closed after that.
            let ends = (
                stream.as_fd().try_clone_to_owned()?,
                upstream.as_fd().try_clone_to_owned()?,
            );
            let (reader, writer) = stream.into_split();
            let inside = join(Cursor::new(said).chain(reader), writer);
            let outside = Counted::new((upstream, Arc::clone(&open)));
            // In a place of its own: a connection that says something else does not keep room for it.
            Box::pin(http::carry(inside, outside, (open, None), shared)).await?;
            whole([&ends.0, &ends.1])
        }
        Turned::Hello(said, host) => {
            Box::pin(opened::carry(stream, said, (upstream, open), &host, shared)).await
        }
    }
}

/// Both have had their own end, and need not be reset.
pub(super) fn whole<E: AsFd>(ends: [&E; 2]) -> io::Result<()> {
    for end in ends {
        set_socket_linger(end, None)?;
    }
    Ok(())
}

/// How it went on.
enum Turned {
    /// Both directions had their end.
    Over,
    /// Nothing has been sent of what was said, which is HTTP.
    Requests(Vec<u8>),
    /// Nothing has been sent of what was said, which is TLS to this host, to whom requests are read.
    Hello(Vec<u8>, String),
}

/// Why one direction ends both.
enum Halt {
    Turned(Turned),
    Failed(io::Error),
}

impl<E: Into<io::Error>> From<E> for Halt {
    fn from(error: E) -> Halt {
        Halt::Failed(error.into())
    }
}

async fn both_ways(
    stream: &TcpStream,
    said: Vec<u8>,
    (upstream, open): (&TcpStream, &Open),
    shared: &Shared,
) -> io::Result<Turned> {
    let has_spoken = AtomicBool::new(false);
    let out = async {
        let first = first_bytes(stream, said, &has_spoken).await?;
        match first.says {
            Said::Requests => return Err(Halt::Turned(Turned::Requests(first.bytes))),
            Said::Host(host) if open.speaks_to(&host, shared).await? => {
                return Err(Halt::Turned(Turned::Hello(first.bytes, bare(&host))));
            }
            ref says => agrees(says, open, shared).await?,
        }
        let is_other = first.says == Said::Other;
        let to = End(upstream, Some(open.sent()));
        tunnel::write_all(&first.bytes, to).await?;
        if is_other {
            rest_of_line(stream, first.bytes, (upstream, open), shared).await?;
        }
        tunnel::one_way(End(stream, None), to).await?;
        open.over(By::Program);
        Ok(())
    };
    let back = async {
        upstream.peek(&mut [0]).await?;
        has_spoken.store(true, Ordering::Relaxed);
        let from = End(upstream, Some(open.received()));
        tunnel::one_way(from, End(stream, None)).await?;
        open.over(By::Host);
        Ok(())
    };
    match tokio::try_join!(out, back) {
        Ok(_) => Ok(Turned::Over),
        Err(Halt::Turned(turned)) => Ok(turned),
        Err(Halt::Failed(error)) => Err(error),
    }
}

/// What a program says first.
struct First {
    bytes: Vec<u8>,
    says: Said,
}

/// The first bytes, as many as it takes to know what they begin; all there are when it ends before. For
/// the first of them it waits as long as the connection lives. `has_spoken`: the host has said something.
async fn first_bytes(
    from: &TcpStream,
    mut bytes: Vec<u8>,
    has_spoken: &AtomicBool,
) -> io::Result<First> {
    let mut is_end = bytes.is_empty() && tunnel::read_more(from, &mut bytes).await? == 0;
    let read = async {
        loop {
            let says = match (is_end, has_spoken.load(Ordering::Relaxed)) {
                (true, _) => peek::said_at_end(&bytes),
                (false, true) => peek::said_in_answer(&bytes),
                (false, false) => peek::said(&bytes),
            };
            if is_end || says != Said::Partial {
                return Ok(First { bytes, says });
            }
            if bytes.len() > tls::LONGEST {
                let says = Said::Ambiguous;
                return Ok(First { bytes, says });
            }
            is_end = tunnel::read_more(from, &mut bytes).await? == 0;
        }
    };
    timeout(PATIENCE, read).await?
}

/// Hands on the rest of a first line, `said` being what it has of that, where it is no request's.
async fn rest_of_line(
    from: &TcpStream,
    mut said: Vec<u8>,
    (upstream, open): (&TcpStream, &Open),
    shared: &Shared,
) -> io::Result<()> {
    while peek::later(&said) == Later::Unknown {
        let before = said.len();
        if tunnel::read_more(from, &mut said).await? == 0 {
            return Ok(());
        }
        if peek::later(&said) == Later::Request {
            let reason = "it is a request that does not begin as one";
            return Err(open.denied(reason.to_owned(), shared).await.into());
        }
        let to = End(upstream, Some(open.sent()));
        tunnel::write_all(&said[before..], to).await?;
    }
    Ok(())
}

/// Whether the host that the first bytes name is the one that was decided about.
async fn agrees(says: &Said, open: &Open, shared: &Shared) -> Result<(), Denied> {
    match says {
        Said::Host(_) => Ok(()),
        Said::Other | Said::Unnamed if open.is_read() => {
            let reason = "requests to this host are read, and it is none";
            Err(open.denied(reason.to_owned(), shared).await)
        }
        Said::Other => Ok(()),
        Said::Unnamed if open.has_no_name() => Ok(()),
        Said::Partial | Said::Unnamed | Said::Ambiguous | Said::Requests => {
            let reason = "it does not say for which host it is";
            Err(open.denied(reason.to_owned(), shared).await)
        }
    }
}
