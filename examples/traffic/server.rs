//! The server: HTTP/1 at one port, and at another a protocol that no proxy knows.
//!
//! One thread with an event loop, so that it costs little and the same whoever asks.

use std::future::Future;
use std::io;
use std::net::IpAddr;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::way::{end_of_head, length_of};
use crate::{ECHO, OWN, PIECE, PUSH, STREAM, WEB};

/// Serves for ever, and says when it does.
pub async fn serve(address: IpAddr) -> Result<()> {
    let web = TcpListener::bind((address, WEB)).await;
    let own = TcpListener::bind((address, OWN)).await;
    let (web, own) = (web.context("listen")?, own.context("listen")?);
    println!("ready");
    tokio::select! {
        never = each(web, answer) => never,
        never = each(own, speak) => never,
    }
}

/// Serves each connection in a task of its own.
async fn each<S>(listener: TcpListener, serve: fn(TcpStream) -> S) -> Result<()>
where
    S: Future<Output = io::Result<()>> + Send + 'static,
{
    loop {
        let (stream, _) = listener.accept().await.context("accept")?;
        stream.set_nodelay(true)?;
        let served = serve(stream);
        tokio::spawn(async move {
            if let Err(error) = served.await {
                eprintln!("a connection has ended: {error}");
            }
        });
    }
}

/// `GET /N` is answered with N bytes, and whatever has content with the number of its bytes.
async fn answer(mut stream: TcpStream) -> io::Result<()> {
    let mut read = Vec::with_capacity(4096);
    loop {
        let end = loop {
            if let Some(end) = end_of_head(&read) {
                break end;
            }
            if stream.read_buf(&mut read).await? == 0 {
                return Ok(());
            }
        };
        let head = String::from_utf8_lossy(&read[..end]).into_owned();
        let rest = read.split_off(end);
        let length = length_of(&head).unwrap_or(0);
        let came = (rest.len() as u64).min(length);
        take(&mut stream, length - came).await?;
        read = rest[came as usize..].to_vec();
        if head.starts_with("GET ") {
            let path = head.split(' ').nth(1).unwrap_or_default();
            let asked = path.rsplit('/').next().and_then(|text| text.parse().ok());
            let asked = asked.unwrap_or(0);
            say(&mut stream, asked, &[]).await?;
            give(&mut stream, asked).await?;
        } else {
            let text = length.to_string();
            say(&mut stream, text.len() as u64, text.as_bytes()).await?;
        }
        let closes = head
            .to_ascii_lowercase()
            .contains("\r\nconnection: close\r\n");
        if closes {
            return stream.shutdown().await;
        }
    }
}

/// The head of a response, with the content if that is short.
async fn say(stream: &mut TcpStream, length: u64, content: &[u8]) -> io::Result<()> {
    // A small response is one piece on the wire.
    let short = match content.is_empty() && length <= 1024 {
        true => vec![b'.'; length as usize],
        false => content.to_vec(),
    };
    let head =
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(&[head.as_bytes(), &short].concat()).await
}

/// The content that was not short.
async fn give(stream: &mut TcpStream, length: u64) -> io::Result<()> {
    if length <= 1024 {
        return Ok(());
    }
    bytes(stream, length).await
}

async fn bytes(stream: &mut TcpStream, mut left: u64) -> io::Result<()> {
    let piece = vec![b'.'; PIECE];
    while left > 0 {
        let some = left.min(PIECE as u64);
        stream.write_all(&piece[..some as usize]).await?;
        left -= some;
    }
    Ok(())
}

/// Reads that many bytes.
async fn take(stream: &mut TcpStream, mut left: u64) -> io::Result<()> {
    if left == 0 {
        return Ok(());
    }
    let mut piece = vec![0; PIECE];
    while left > 0 {
        let most = left.min(PIECE as u64) as usize;
        let length = stream.read(&mut piece[..most]).await?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        left -= length as u64;
    }
    Ok(())
}

/// The protocol that no proxy knows.
async fn speak(mut stream: TcpStream) -> io::Result<()> {
    match stream.read_u8().await? {
        ECHO => {
            let mut byte = [0];
            while stream.read(&mut byte).await? > 0 {
                stream.write_all(&byte).await?;
            }
            stream.shutdown().await
        }
        STREAM => {
            let length = stream.read_u64().await?;
            bytes(&mut stream, length).await?;
            stream.shutdown().await
        }
        PUSH => {
            let length = stream.read_u64().await?;
            take(&mut stream, length).await?;
            stream.write_u64(length).await
        }
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}
