//! TLS to hosts to whom requests are read: it ends here, and another one begins.
//!
//! What the program says is decrypted, read and decided about request by request, and said to the host
//! over TLS of our own. The host has to prove with a certificate that this host trusts that it is who it is;
//! to the program it is shown by one of the run's [`Authority`](super::authority::Authority).

use std::io::{self, Cursor};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, join};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::counted::Counted;
use super::http;
use super::message::Refusal;
use super::open::Opened;
use super::relay::whole;
use super::{Denied, Shared};

/// How long a greeting may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Carries requests to `host`, with whom the program began to speak TLS: `said` is what it has said of that.
pub(super) async fn carry(
    stream: TcpStream,
    said: Vec<u8>,
    (upstream, open): Opened,
    host: &str,
    shared: &Shared,
) -> io::Result<()> {
    let Some(authority) = &shared.authority else {
        let reason = "its requests are to be read, and this run trusts no authority for that; start it again";
        return Err(Denied::because(reason).into());
    };
    let ends = [&stream, &upstream].map(|end| end.as_fd().try_clone_to_owned());
    let (reader, writer) = stream.into_split();
    let inside = join(Cursor::new(said).chain(reader), writer);
    let acceptor = TlsAcceptor::from(authority.as_host(host)?);
    let inside = timeout(PATIENCE, acceptor.accept(inside)).await??;
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let connector = TlsConnector::from(authority.to_hosts());
    let outside = Counted::new((upstream, Arc::clone(&open)));
    let greeted = timeout(PATIENCE, connector.connect(name, outside)).await;
    match greeted.unwrap_or_else(|late| Err(late.into())) {
        Ok(outside) => http::carry(inside, outside, (open, Some(host)), shared).await?,
        Err(error) => {
            open.failed(&error);
            http::refuse(inside, unproven(&error)).await?;
        }
    }
    let [inside, upstream] = ends;
    whole([&inside?, &upstream?])
}

/// What a program hears of a host that is not shown to be who it is.
fn unproven(error: &io::Error) -> Refusal {
    Refusal {
        status: StatusCode::BAD_GATEWAY,
        error: "tls_certificate_error",
        why: format!("no TLS with the host: {error}"),
    }
}
