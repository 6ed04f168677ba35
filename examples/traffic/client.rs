//! The client: what each thing takes that is done by a way.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Instant;

use anyhow::{Result, bail, ensure};

use crate::way::{Way, first_line, head, is_good, length_of};
use crate::{ECHO, OWN, PIECE, PUSH, STREAM, WEB};

/// Bytes of a small response.
const SMALL: u64 = 64;

/// Connections before the first that counts.
const FIRST: u64 = 20;

/// Prints what it takes.
pub fn measure(way: &Way, what: &str, number: u64) -> Result<()> {
    let took = match what {
        "request" => median(way, number, request)?,
        "echo" => median(way, number, echo)?,
        "download" => timed(|| download(way, number))?,
        "upload" => timed(|| upload(way, number))?,
        "stream" => timed(|| stream(way, number))?,
        "push" => timed(|| push(way, number))?,
        "hold" => return hold(way, number),
        _ => bail!("nothing to do: {what}"),
    };
    println!("{took}");
    Ok(())
}

fn timed(done: impl FnOnce() -> Result<()>) -> Result<u128> {
    let start = Instant::now();
    done()?;
    Ok(start.elapsed().as_nanos())
}

/// The median of so many.
fn median(way: &Way, count: u64, one: fn(&Way) -> Result<()>) -> Result<u128> {
    let mut taken = Vec::new();
    for number in 0..FIRST + count {
        let took = timed(|| one(way))?;
        if number >= FIRST {
            taken.push(took);
        }
    }
    taken.sort_unstable();
    Ok(taken[taken.len() / 2])
}

/// One connection with one request, to its end.
fn request(way: &Way) -> Result<()> {
    let mut stream = way.open(WEB)?;
    ask(way, &mut stream, "GET", SMALL, "close")?;
    let mut answer = Vec::with_capacity(1024);
    stream.read_to_end(&mut answer)?;
    let (head, content) = head(&mut &answer[..])?;
    ensure!(is_good(&head), "no response: {}", first_line(&head));
    ensure!(content.len() as u64 == SMALL, "half a response");
    Ok(())
}

/// One connection with a byte each way, to its end.
fn echo(way: &Way) -> Result<()> {
    let mut stream = way.open(OWN)?;
    stream.write_all(&[ECHO, b'x'])?;
    let mut back = vec![0];
    stream.read_exact(&mut back)?;
    // There are proxies that do not hand on the end of one direction alone.
    stream.shutdown(Shutdown::Write)?;
    stream.read_to_end(&mut back)?;
    ensure!(back == b"x", "another byte came back");
    Ok(())
}

/// Sends the head of a request about this many bytes.
fn ask(way: &Way, stream: &mut TcpStream, method: &str, bytes: u64, after: &str) -> Result<()> {
    let (target, host) = (way.target(&format!("/{bytes}")), &way.host);
    let content = match method {
        "PUT" => format!("Content-Length: {bytes}\r\n"),
        _ => String::new(),
    };
    let text = format!(
        "{method} {target} HTTP/1.1\r\nHost: {host}\r\n{content}Connection: {after}\r\n\r\n"
    );
    Ok(stream.write_all(text.as_bytes())?)
}

fn download(way: &Way, bytes: u64) -> Result<()> {
    let mut stream = way.open(WEB)?;
    ask(way, &mut stream, "GET", bytes, "close")?;
    let (head, rest) = head(&mut stream)?;
    ensure!(is_good(&head), "no response: {}", first_line(&head));
    take(&mut stream, bytes - rest.len() as u64)
}

fn upload(way: &Way, bytes: u64) -> Result<()> {
    let mut stream = way.open(WEB)?;
    ask(way, &mut stream, "PUT", bytes, "close")?;
    give(&mut stream, bytes)?;
    let (head, mut content) = head(&mut stream)?;
    ensure!(is_good(&head), "no response: {}", first_line(&head));
    stream.read_to_end(&mut content)?;
    let said = String::from_utf8(content)?;
    ensure!(said == bytes.to_string(), "{said} bytes of {bytes} arrived");
    Ok(())
}

fn stream(way: &Way, bytes: u64) -> Result<()> {
    let mut stream = way.open(OWN)?;
    stream.write_all(&[&[STREAM][..], &bytes.to_be_bytes()].concat())?;
    take(&mut stream, bytes)
}

fn push(way: &Way, bytes: u64) -> Result<()> {
    let mut stream = way.open(OWN)?;
    stream.write_all(&[&[PUSH][..], &bytes.to_be_bytes()].concat())?;
    give(&mut stream, bytes)?;
    let mut arrived = [0; 8];
    stream.read_exact(&mut arrived)?;
    ensure!(u64::from_be_bytes(arrived) == bytes, "bytes are missing");
    Ok(())
}

fn take(stream: &mut TcpStream, mut left: u64) -> Result<()> {
    let mut piece = vec![0; PIECE];
    while left > 0 {
        let length = stream.read(&mut piece)? as u64;
        ensure!(length > 0, "{left} bytes are missing");
        left = left.saturating_sub(length);
    }
    Ok(())
}

fn give(stream: &mut TcpStream, mut left: u64) -> Result<()> {
    let piece = vec![b'.'; PIECE];
    while left > 0 {
        let some = left.min(PIECE as u64);
        stream.write_all(&piece[..some as usize])?;
        left -= some;
    }
    Ok(())
}

/// Holds connections until it is told to look at them again.
fn hold(way: &Way, count: u64) -> Result<()> {
    let mut held = Vec::new();
    for number in 0..count {
        let port = if way.is_for_requests() { WEB } else { OWN };
        let mut stream = way.open(port)?;
        if !way.is_for_requests() {
            stream.write_all(&[ECHO])?;
        }
        exchange(way, &mut stream)?;
        held.push(stream);
        if number == 0 {
            println!("first");
            std::io::stdin().read_line(&mut String::new())?;
        }
    }
    println!("held");
    std::io::stdin().read_line(&mut String::new())?;
    let lives = |stream: &mut TcpStream| exchange(way, stream).is_ok();
    let alive = held.iter_mut().map(lives).filter(|lives| *lives).count();
    println!("{alive}");
    Ok(())
}

/// A byte each way.
fn exchange(way: &Way, stream: &mut TcpStream) -> Result<()> {
    if way.is_for_requests() {
        ask(way, stream, "GET", 1, "keep-alive")?;
        let (head, mut content) = head(stream)?;
        ensure!(is_good(&head), "no response: {}", first_line(&head));
        ensure!(length_of(&head) == Some(1), "another response");
        if content.is_empty() {
            content.push(0);
            stream.read_exact(&mut content)?;
        }
        return Ok(());
    }
    stream.write_all(b"x")?;
    let mut back = [0];
    stream.read_exact(&mut back)?;
    ensure!(&back == b"x", "another byte came back");
    Ok(())
}
