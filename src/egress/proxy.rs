//! The proxy for programs that like one (`HTTP_PROXY`): HTTP/1 with CONNECT, and SOCKS5, at one port.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;

use super::connection::{Connection, Refused};
use super::heads::Heads;
use super::http::{self, Driver, Slot, Switched, Upstream};
use super::message::{Body, Refusal, WEB, host_of};
use super::open::{By, Opened};
use super::{Ingress, Shared, accept, relay, socks};

/// Takes connections to the proxy for ever.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let places = Arc::clone(&shared.places);
    accept::each(listener, places, |stream| {
        let shared = Arc::clone(&shared);
        async move { carry(stream, &shared).await }
    })
    .await;
}

async fn carry(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut first = [0];
    stream.peek(&mut first).await?;
    match first {
        [socks::VERSION] => socks::carry(stream, shared).await,
        _ => requests(stream, shared).await,
    }
}

/// A connection that goes on as another.
struct Tunnel {
    here: OnUpgrade,
    there: Opened,
}

/// Where the last request went.
struct Kept {
    host: String,
    port: u16,
    upstream: Upstream,
    driver: Driver,
}

impl Kept {
    /// Nothing more is to be sent: whether its server had said so first is noted.
    fn end(mut self) {
        let by = match self.driver.try_join_next() {
            Some(_) => By::Host,
            None => By::Program,
        };
        self.upstream.open().over(by);
    }
}

async fn requests(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (tunnel, switched) = (Slot::default(), Slot::default());
    let kept = Mutex::<Option<Kept>>::default();
    let (stream, verdicts) = Heads::new(stream);
    let service = service_fn(async |request: Request<Incoming>| {
        let done = match (verdicts.of(&request), request.method()) {
            (Err(why), _) => Err(Refusal::malformed(why)),
            (Ok(_), &Method::CONNECT) => connect(request, &tunnel, shared).await,
            (Ok(may_switch), _) => {
                let to = (&mut *kept.lock().await, &switched);
                forward(request, may_switch, to, shared).await
            }
        };
        if let Err(refusal) = &done
            && refusal.status == StatusCode::BAD_REQUEST
        {
            Connection::malformed(refusal.why.clone(), shared).await;
        }
        Ok::<_, Infallible>(done.unwrap_or_else(Refusal::response))
    });
    let serving = http::builder().serve_connection(TokioIo::new(stream), service);
    let served = serving.with_upgrades().await;
    if let Some(why) = verdicts.refused(&served) {
        Connection::malformed(why.to_owned(), shared).await;
    }
    served.map_err(io::Error::other)?;
    if let Some(Tunnel { here, there }) = http::take(&tunnel) {
        let upgraded = here.await.map_err(io::Error::other)?;
        let parts = upgraded.downcast::<TokioIo<Heads<TcpStream>>>();
        let parts = parts.map_err(|_| io::Error::other("it is no connection of ours"))?;
        let (stream, unread) = parts.io.into_inner().into_parts();
        let said = [&parts.read_buf[..], &unread].concat();
        return relay::carry(stream, said, there, shared).await;
    }
    if let Some(switched) = http::take(&switched) {
        return Switched::carry(switched).await;
    }
    kept.into_inner().into_iter().for_each(Kept::end);
    Ok(())
}

/// Begins a tunnel (RFC 9110 section 9.3.6).
async fn connect(
    mut request: Request<Incoming>,
    tunnel: &Slot<Tunnel>,
    shared: &Shared,
) -> Result<Response<Body>, Refusal> {
    let target = request.uri().authority();
    let (host, port) = target
        .and_then(|target| Some((target.host(), target.port_u16()?)))
        .filter(|_| target.is_some_and(|target| !target.as_str().contains('@')))
        .ok_or_else(|| Refusal::malformed("CONNECT wants HOST:PORT"))?;
    let there = Connection::to(host, port, Ingress::Connect, shared)
        .await?
        .open(shared)
        .await?;
    let here = hyper::upgrade::on(&mut request);
    http::put(tunnel, Tunnel { here, there });
    Ok(Response::new(Either::Right(Full::default())))
}

/// Sends a request to the server that it names.
async fn forward(
    mut request: Request<Incoming>,
    may_switch: bool,
    (kept, switched): (&mut Option<Kept>, &Slot<Switched>),
    shared: &Shared,
) -> Result<Response<Body>, Refusal> {
    if request.uri().scheme_str() != Some("http") {
        return Err(Refusal::malformed(
            "this is a proxy: it takes http:// targets, CONNECT and SOCKS5",
        ));
    }
    let named = host_of(&request)?;
    let host = named.map(|named| named.host);
    let host = host.ok_or_else(|| Refusal::malformed("it does not say for which host it is"))?;
    let port = request.uri().port_u16().unwrap_or(WEB);
    let is_same = |kept: &Kept| (&kept.host, kept.port) == (&host, port);
    let mut ready = kept.take();
    let goes_on = match &mut ready {
        Some(kept) => is_same(kept) && kept.upstream.is_ready().await,
        None => false,
    };
    if !goes_on {
        ready.take().into_iter().for_each(Kept::end);
    }
    let ready = match ready {
        Some(kept) => kept,
        None => {
            let opened = Connection::to(&host, port, Ingress::Http, shared).await?;
            let opened = opened.open(shared).await?;
            let over = Upstream::plain(opened).await;
            let (upstream, driver) = over.map_err(Refused::Unreachable)?;
            Kept {
                host,
                port,
                upstream,
                driver,
            }
        }
    };
    let Kept { upstream, host, .. } = kept.insert(ready);
    let open = upstream.open();
    let how = (open, open.is_read(), false);
    http::admits(&mut request, how, host, shared).await?;
    let sent = upstream.send(request, may_switch, switched).await;
    sent.map_err(|error| Refusal {
        status: StatusCode::BAD_GATEWAY,
        error: "connection_terminated",
        why: format!("the server has not answered: {error}"),
    })
}
