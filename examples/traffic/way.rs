//! A connection to the server, by one way or another.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};

use anyhow::{Context, Result, bail, ensure};

use crate::WEB;

/// A way to a host.
pub struct Way {
    by: By,
    /// As it was said.
    pub host: String,
    /// Where to connect to for port 80: the host's address, or the proxy's.
    there: SocketAddr,
}

enum By {
    Direct,
    /// Requests with whole targets.
    Http,
    Connect,
    Socks,
}

impl Way {
    /// Looks up whatever has a name, once.
    pub fn of(word: &str, host: &str) -> Result<Way> {
        let (by, there) = match word.split_once('=') {
            None if word == "direct" => (By::Direct, resolved((host, WEB))?),
            Some(("http", proxy)) => (By::Http, resolved(proxy)?),
            Some(("connect", proxy)) => (By::Connect, resolved(proxy)?),
            Some(("socks", proxy)) => (By::Socks, resolved(proxy)?),
            _ => bail!("no way: {word}"),
        };
        let host = host.to_owned();
        Ok(Way { by, host, there })
    }

    /// Whether it carries requests of HTTP and nothing else.
    pub fn is_for_requests(&self) -> bool {
        matches!(self.by, By::Http)
    }

    /// A connection that leads to this port of the host.
    pub fn open(&self, port: u16) -> Result<TcpStream> {
        let there = match self.by {
            By::Direct => SocketAddr::new(self.there.ip(), port),
            _ => self.there,
        };
        let mut stream = TcpStream::connect(there).context("connect")?;
        stream.set_nodelay(true)?;
        match self.by {
            By::Direct | By::Http => {}
            By::Connect => self.connect(&mut stream, port)?,
            By::Socks => self.greet(&mut stream, port)?,
        }
        Ok(stream)
    }

    /// The target of a request for this path.
    pub fn target(&self, path: &str) -> String {
        match self.by {
            By::Http => format!("http://{}{path}", self.host),
            _ => path.to_owned(),
        }
    }

    fn connect(&self, stream: &mut TcpStream, port: u16) -> Result<()> {
        let host = &self.host;
        let asked = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n");
        stream.write_all(asked.as_bytes())?;
        let (head, rest) = head(stream)?;
        ensure!(is_good(&head), "no tunnel: {}", first_line(&head));
        ensure!(rest.is_empty(), "the tunnel says something of its own");
        Ok(())
    }

    /// SOCKS5 (RFC 1928), without a password.
    fn greet(&self, stream: &mut TcpStream, port: u16) -> Result<()> {
        stream.write_all(&[5, 1, 0])?;
        let mut method = [0; 2];
        stream.read_exact(&mut method)?;
        ensure!(method == [5, 0], "it wants a password");
        let mut asked = vec![5, 1, 0];
        match self.host.parse() {
            Ok(IpAddr::V4(address)) => asked.extend([&[1][..], &address.octets()].concat()),
            Ok(IpAddr::V6(address)) => asked.extend([&[4][..], &address.octets()].concat()),
            Err(_) => {
                asked.extend([3, u8::try_from(self.host.len())?]);
                asked.extend(self.host.as_bytes());
            }
        }
        asked.extend(port.to_be_bytes());
        stream.write_all(&asked)?;
        let mut reply = [0; 10];
        stream.read_exact(&mut reply)?;
        ensure!(reply[1] == 0, "no tunnel: SOCKS5 says {}", reply[1]);
        Ok(())
    }
}

fn resolved(name: impl ToSocketAddrs) -> Result<SocketAddr> {
    let mut found = name.to_socket_addrs().context("look up the host")?;
    found.next().context("the host has no address")
}

/// Reads the head of a message, and whatever came with it.
pub fn head(stream: &mut impl Read) -> Result<(String, Vec<u8>)> {
    let mut read = Vec::with_capacity(4096);
    loop {
        if let Some(end) = end_of_head(&read) {
            let rest = read.split_off(end);
            return Ok((String::from_utf8(read)?, rest));
        }
        let mut space = [0; 4096];
        let length = stream.read(&mut space).context("read the head")?;
        ensure!(length > 0, "it ends before its head does");
        read.extend(&space[..length]);
    }
}

/// Where the content begins.
pub fn end_of_head(read: &[u8]) -> Option<usize> {
    let mut at = read.windows(4);
    at.position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

/// Whether it is the head of a response that says 200.
pub fn is_good(head: &str) -> bool {
    head.split(' ').nth(1) == Some("200")
}

/// What it says of itself.
pub fn first_line(head: &str) -> &str {
    head.lines().next().unwrap_or_default()
}

/// How long the content of a message is.
pub fn length_of(head: &str) -> Option<u64> {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    let field = lines.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    field.and_then(|(_, value)| value.trim().parse().ok())
}
