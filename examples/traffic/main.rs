//! A server, and a client that says what it costs to reach it, by whatever way that is told.
//!
//! ```text
//! traffic serve ADDRESS
//! traffic WAY HOST request|echo COUNT
//! traffic WAY HOST download|upload|stream|push BYTES
//! traffic WAY HOST hold COUNT
//! ```
//!
//! `request` prints the median nanoseconds of one connection with one small request of HTTP, from
//! before it is made until its end, and `echo` of one with a byte each way. The others but `hold` print those of one transfer: `download` and
//! `upload` by HTTP, `stream` and `push` by a protocol that no proxy knows. `hold` opens a connection and
//! says `first`; a line later it opens the others and says `held`; another line later it prints how many
//! of them still carry a byte each way. A `http` way holds connections of HTTP, and the others those of
//! the protocol that no proxy knows.
//!
//! A way is `direct`, or that of a proxy: `http=PROXY`, `connect=PROXY` or `socks=PROXY`.

mod client;
mod server;
mod way;

use std::net::IpAddr;

use anyhow::{Context, Result, bail};

use way::Way;

/// Where the server answers HTTP, and where it speaks a protocol of its own.
const WEB: u16 = 80;
const OWN: u16 = 7;

/// What the first byte of its own protocol asks for: each byte back, or as many bytes as the next
/// eight say, from the server or to it. None of these begins HTTP or TLS.
const ECHO: u8 = 0;
const STREAM: u8 = 1;
const PUSH: u8 = 2;

/// The bytes that one call reads or writes of a transfer.
const PIECE: usize = 256 << 10;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["serve", address] => {
            let address: IpAddr = address.parse().context("read the address")?;
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .context("start the event loop")?
                .block_on(server::serve(address))
        }
        [way, host, what, number] => {
            let way = Way::of(way, host)?;
            let number = number.parse().context("read the number")?;
            client::measure(&way, what, number)
        }
        _ => bail!("usage: traffic serve ADDRESS, or traffic WAY HOST WHAT NUMBER"),
    }
}
