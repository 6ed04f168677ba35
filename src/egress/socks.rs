//! SOCKS version 5 (RFC 1928), of which CONNECT without a password is spoken.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::connection::{Connection, Refused};
use super::dial::Unresolved;
use super::open::Opened;
use super::{Ingress, Shared, relay};

pub(super) const VERSION: u8 = 5;

/// How long a program may take to say where it wants to go.
const PATIENCE: Duration = Duration::from_secs(10);

const NO_PASSWORD: u8 = 0;
const NO_METHOD: u8 = 0xff;
const CONNECT: u8 = 1;

/// What a reply says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reply {
    Succeeded = 0,
    Failed = 1,
    Denied = 2,
    HostUnreachable = 4,
    Refused = 5,
    Expired = 6,
    NoCommand = 7,
    NoAddress = 8,
}

/// What a request says, or the reply to one that cannot be carried.
type Asked = Result<(String, u16), Reply>;

/// Carries one connection to its end.
pub(super) async fn carry(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    let asked = timeout(PATIENCE, greet(&mut stream)).await??;
    let opened = match asked {
        Err(reply) => Err(reply),
        Ok((host, port)) => open(&host, port, shared).await,
    };
    let reply = opened
        .as_ref()
        .map_or_else(|reply| *reply, |_| Reply::Succeeded);
    // The address that is left by is nobody's business.
    let said = [VERSION, reply as u8, 0, 1, 0, 0, 0, 0, 0, 0];
    stream.write_all(&said).await?;
    match opened {
        Ok(opened) => relay::carry(stream, Vec::new(), opened, shared).await,
        Err(_) => stream.shutdown().await,
    }
}

async fn open(host: &str, port: u16, shared: &Shared) -> Result<Opened, Reply> {
    let connection = Connection::to(host, port, Ingress::Socks, shared).await;
    let opened = match connection {
        Ok(connection) => connection.open(shared).await,
        Err(refused) => Err(refused),
    };
    opened.map_err(|refused| reply_to(&refused))
}

fn reply_to(refused: &Refused) -> Reply {
    match refused {
        Refused::Denied(_) => Reply::Denied,
        Refused::Unresolved(Unresolved::Missing) => Reply::HostUnreachable,
        Refused::Unresolved(Unresolved::Failed) => Reply::Failed,
        Refused::Unreachable(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused => Reply::Refused,
            io::ErrorKind::TimedOut => Reply::Expired,
            _ => Reply::HostUnreachable,
        },
    }
}

/// Agrees on how to go on, and reads the request.
async fn greet<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> io::Result<Asked> {
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "it does not speak SOCKS5");
    let [VERSION, methods] = read(stream).await? else {
        return Err(malformed());
    };
    let mut offered = vec![0; methods.into()];
    stream.read_exact(&mut offered).await?;
    let method = match offered.contains(&NO_PASSWORD) {
        true => NO_PASSWORD,
        false => NO_METHOD,
    };
    stream.write_all(&[VERSION, method]).await?;
    if method == NO_METHOD {
        return Err(malformed());
    }
    let [VERSION, command, 0, kind] = read(stream).await? else {
        return Err(malformed());
    };
    let host = match kind {
        1 => IpAddr::from(Ipv4Addr::from(read::<_, 4>(stream).await?)).to_string(),
        4 => IpAddr::from(Ipv6Addr::from(read::<_, 16>(stream).await?)).to_string(),
        3 => {
            let [length] = read(stream).await?;
            let mut name = vec![0; length.into()];
            stream.read_exact(&mut name).await?;
            String::from_utf8(name).map_err(|_| malformed())?
        }
        _ => return Ok(Err(Reply::NoAddress)),
    };
    let port = u16::from_be_bytes(read(stream).await?);
    match command {
        CONNECT => Ok(Ok((host, port))),
        _ => Ok(Err(Reply::NoCommand)),
    }
}

async fn read<S: AsyncRead + Unpin, const N: usize>(stream: &mut S) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a stream asks for, and what is left of it behind that.
    fn asked(said: &[u8]) -> (io::Result<Asked>, Vec<u8>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let (mut near, mut far) = tokio::io::duplex(4096);
            near.write_all(said).await.expect("there is room");
            near.shutdown().await.expect("it can end");
            let asked = greet(&mut far).await;
            let mut left = Vec::new();
            far.read_to_end(&mut left).await.expect("there is an end");
            (asked, left)
        })
    }

    fn request(command: u8, name: &str) -> Vec<u8> {
        let head = [VERSION, 2, 9, NO_PASSWORD, VERSION, command, 0, 3];
        let name = [&[name.len() as u8][..], name.as_bytes()].concat();
        [&head[..], &name, &443_u16.to_be_bytes()].concat()
    }

    #[test]
    fn a_request_is_read_to_its_end() {
        let said = [request(CONNECT, "a.example"), b"tail".to_vec()].concat();
        let (found, left) = asked(&said);
        assert_eq!(found.expect("a request"), Ok(("a.example".to_owned(), 443)));
        assert_eq!(left, b"tail");
        let (found, _) = asked(&request(2, "a.example"));
        assert_eq!(found.expect("a request"), Err(Reply::NoCommand));
        for end in 0..request(CONNECT, "a.example").len() {
            assert!(asked(&said[..end]).0.is_err(), "{end}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_stop_it(bytes: Vec<u8>, at in 0_usize..24) {
            let _any = asked(&bytes);
            let mut said = request(CONNECT, "a.example");
            let at = at.min(said.len());
            said.splice(at.., bytes.iter().copied());
            let (found, left) = asked(&said);
            if found.is_ok_and(|found| found.is_ok()) {
                assert!(said.ends_with(&left));
            }
        }
    }
}
