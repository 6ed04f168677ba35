//! Requests over one connection: each names the host for which it is, and that is decided about before
//! any of it is sent.

use std::convert::Infallible;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use http_body_util::Either;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self as client, SendRequest};
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy, split};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::connection::{Refused, bare};
use super::counted::Counted;
use super::guarded::{Guarded, told};
use super::heads::Heads;
use super::message::{Body, Refusal, has_one_length, host_of, last, to_program, to_server};
use super::open::{By, Open, Opened};
use super::secrets::Kept;
use super::{Denied, RequestLine, Shared};

/// A connection to a server of HTTP.
#[derive(Debug)]
pub(super) struct Upstream {
    sender: SendRequest<Body>,
    open: Arc<Open>,
    kept: Option<Arc<Kept>>,
}

/// What keeps such a connection going; there is nothing in it once that has ended. Dropped it ends it.
pub(super) type Driver = JoinSet<()>;

/// The most that is read at a time, in bytes. Some of these are held where a program does not take what it asked for.
const PIECE: usize = 1 << 18;

/// What comes after the last response of a connection.
#[derive(Debug)]
pub(super) struct Switched {
    here: OnUpgrade,
    there: OnUpgrade,
    open: Arc<Open>,
}

/// Where it is kept until then.
pub(super) type Slot<T> = Mutex<Option<T>>;

impl Upstream {
    /// Over a connection as it is.
    pub(super) async fn plain(opened: Opened) -> io::Result<(Upstream, Driver)> {
        let open = Arc::clone(&opened.1);
        Upstream::over(Counted::new(opened), open, None).await
    }

    /// `kept`: what must not be handed on of what the host says.
    async fn over<S>(
        stream: S,
        open: Arc<Open>,
        kept: Option<Arc<Kept>>,
    ) -> io::Result<(Upstream, Driver)>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = client::Builder::new();
        builder.preserve_header_case(true).max_buf_size(PIECE);
        let shaken = builder.handshake(TokioIo::new(stream)).await;
        let (sender, connection) = shaken.map_err(io::Error::other)?;
        let mut driver = Driver::new();
        let of_driver = Arc::clone(&open);
        driver.spawn(async move {
            tokio::select! {
                done = connection.with_upgrades() => if let Err(error) = done {
                    of_driver.failed(&io::Error::other(error));
                },
                _denied = of_driver.ended() => of_driver.over(By::Policy),
            }
        });
        Ok((Upstream { sender, open, kept }, driver))
    }

    /// Whether another request can be sent.
    pub(super) async fn is_ready(&mut self) -> bool {
        self.sender.ready().await.is_ok()
    }

    pub(super) fn open(&self) -> &Open {
        &self.open
    }

    /// Sends a request that is decided about. `may_switch`: what comes behind it is no request, so that it
    /// goes on as something else or is the last.
    pub(super) async fn send(
        &mut self,
        mut request: Request<Incoming>,
        may_switch: bool,
        switched: &Slot<Switched>,
    ) -> io::Result<Response<Body>> {
        let here = hyper::upgrade::on(&mut request);
        let wants = to_server(&mut request);
        if self.kept.is_some() {
            Kept::asks_plainly(&mut request);
        }
        let flood = Arc::new(Notify::new());
        count_interim(&mut request, Arc::clone(&flood));
        let request = request.map(|content| Either::Left(Guarded::open(content)));
        let mut response = tokio::select! {
            sent = self.sender.send_request(request) => sent.map_err(io::Error::other)?,
            () = flood.notified() => return Ok(self.misled("the host says what comes before an answer for ever")),
        };
        if let Err(why) = has_one_length(&mut response) {
            return Ok(self.misled(why));
        }
        if self
            .kept
            .as_ref()
            .is_some_and(|kept| !kept.passes(&mut response))
        {
            let why = told();
            self.open.failed(&why);
            return Ok(protocol_error(why.to_string()));
        }
        let goes_on_as = to_program(&mut response);
        match (response.status(), may_switch && wants) {
            (StatusCode::SWITCHING_PROTOCOLS, true) if goes_on_as => {
                let there = hyper::upgrade::on(&mut response);
                let open = Arc::clone(&self.open);
                put(switched, Switched { here, there, open });
            }
            (StatusCode::SWITCHING_PROTOCOLS, _) => {
                return Ok(self.misled("the host goes on as nobody asked"));
            }
            _ if may_switch => last(response.headers_mut()),
            _ => {}
        }
        Ok(response.map(|content| Either::Left(Guarded::keeping(content, self.kept.clone()))))
    }

    /// The response where a host answers so that it could be read in two ways. Nothing more comes of it.
    fn misled(&self, why: &'static str) -> Response<Body> {
        self.open
            .failed(&io::Error::new(io::ErrorKind::InvalidData, why));
        protocol_error(why.to_owned())
    }
}

fn protocol_error(why: String) -> Response<Body> {
    let refusal = Refusal {
        status: StatusCode::BAD_GATEWAY,
        error: "http_protocol_error",
        why,
    };
    refusal.response()
}

/// Responses that come before the one to a request (RFC 9110 section 15.2), of which nothing is handed on.
const MOST_INTERIM: usize = 64;

fn count_interim<B>(request: &mut Request<B>, flood: Arc<Notify>) {
    let count = AtomicUsize::new(0);
    hyper::ext::on_informational(request, move |_| {
        if count.fetch_add(1, Ordering::Relaxed) >= MOST_INTERIM {
            flood.notify_one();
        }
    });
}

pub(super) fn put<T>(slot: &Slot<T>, what: T) {
    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(what);
}

pub(super) fn take<T>(slot: &Slot<T>) -> Option<T> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).take()
}

impl Switched {
    /// Carries bytes both ways until both have had their end.
    pub(super) async fn carry(self) -> io::Result<()> {
        let both = tokio::try_join!(self.here, self.there);
        let (here, there) = both.map_err(io::Error::other)?;
        let (mut from_here, mut to_here) = split(TokioIo::new(here));
        let (mut from_there, mut to_there) = split(TokioIo::new(there));
        let out = async {
            copy(&mut from_here, &mut to_there).await?;
            self.open.over(By::Program);
            to_there.shutdown().await
        };
        let back = async {
            copy(&mut from_there, &mut to_here).await?;
            self.open.over(By::Host);
            to_here.shutdown().await
        };
        let done = tokio::select! {
            done = async { tokio::try_join!(out, back) } => done.map(drop),
            denied = self.open.ended() => Err(denied.into()),
        };
        if let Err(error) = &done {
            self.open.failed(error);
        }
        done
    }
}

/// Reads requests that [`Heads`] has looked at. Each is written anew.
pub(super) fn builder() -> server::Builder {
    let mut builder = server::Builder::new();
    // A program may keep its connection as long as it likes, and end what it sends before it hears. How long the head of a
    // request may be is seen to before.
    builder
        .preserve_header_case(true)
        .half_close(true)
        .max_buf_size(PIECE)
        .header_read_timeout(None);
    builder
}

/// Carries the requests on a connection that was made to one host, over `outside`, which is all of it.
/// `proven`: the host, where that has proved by TLS to be who it is.
pub(super) async fn carry<I, S>(
    inside: I,
    outside: S,
    (open, proven): (Arc<Open>, Option<&str>),
    shared: &Shared,
) -> io::Result<()>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let kept = proven.and_then(|host| shared.secrets.kept_from(host));
    let (upstream, mut driver) = Upstream::over(outside, Arc::clone(&open), kept).await?;
    let mut first = By::Program;
    let upstream = tokio::sync::Mutex::new(upstream);
    let switched = Slot::default();
    let (inside, verdicts) = Heads::new(inside);
    let service = service_fn(async |mut request: Request<Incoming>| {
        let mut upstream = upstream.lock().await;
        let may_switch = match verdicts.of(&request) {
            Ok(may_switch) => may_switch,
            Err(why) => {
                upstream.open().denied(why.to_owned(), shared).await;
                return Ok(Refusal::malformed(why).response());
            }
        };
        let agreed = agrees(&mut request, (upstream.open(), proven), shared).await;
        match agreed {
            Ok(()) => upstream.send(request, may_switch, &switched).await,
            Err(refusal) => Ok(refusal.response()),
        }
    });
    let serving = builder().serve_connection(TokioIo::new(inside), service);
    let serving = serving.with_upgrades();
    let mut serving = std::pin::pin!(serving);
    let served = loop {
        tokio::select! {
            served = &mut serving => break served,
            // Its last response is still to be handed on.
            Some(_) = driver.join_next() => {
                first = By::Host;
                serving.as_mut().graceful_shutdown();
            }
        }
    };
    if let Some(why) = verdicts.refused(&served) {
        open.denied(why.to_owned(), shared).await;
    }
    served.map_err(io::Error::other)?;
    match take(&switched) {
        Some(switched) => switched.carry().await,
        None => {
            open.over(first);
            Ok(())
        }
    }
}

/// Answers each request so.
pub(super) async fn refuse<I>(inside: I, refusal: Refusal) -> io::Result<()>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service =
        service_fn(async |_: Request<Incoming>| Ok::<_, Infallible>(refusal.clone().response()));
    let serving = builder().serve_connection(TokioIo::new(inside), service);
    serving.await.map_err(io::Error::other)
}

/// Whether a request is for the host that its connection was made to, and one of those that it may make;
/// it has the secrets then that it may have.
async fn agrees(
    request: &mut Request<Incoming>,
    (open, proven): (&Open, Option<&str>),
    shared: &Shared,
) -> Result<(), Refusal> {
    let is_proven = |host: &str| proven.is_none_or(|proven| bare(host) == proven);
    let why = match host_of(request) {
        _ if request.method() == Method::CONNECT => Refusal::malformed("this is no proxy"),
        Ok(Some(named)) if named.port.is_some_and(|port| !open.is_at(port)) => {
            Refusal::malformed("it names another port than its connection was made to")
        }
        Ok(Some(named)) if is_proven(&named.host) => {
            let is_read = open.speaks_to(&named.host, shared).await? || proven.is_some();
            let how = (open, is_read, proven.is_some());
            return admits(request, how, &named.host, shared).await;
        }
        // It is not for the host to whom its TLS is.
        Ok(Some(named)) => {
            let why = format!(
                "it was made for another host than it names, which is {}",
                bare(&named.host)
            );
            return Err(open.denied(why, shared).await.into());
        }
        Ok(None) if open.has_no_name() && proven.is_none() => {
            return admits(request, (open, false, false), "", shared).await;
        }
        Ok(None) => Refusal::malformed("it does not say for which host it is"),
        Err(why) => why,
    };
    open.denied(why.why.clone(), shared).await;
    Err(why)
}

/// Whether a request may be made to this host, where requests to it are read or something in it stands for a
/// secret; it has that secret then.
///
/// # Errors
/// It may not.
pub(super) async fn admits(
    request: &mut Request<Incoming>,
    (open, is_read, is_secure): (&Open, bool, bool),
    host: &str,
    shared: &Shared,
) -> Result<(), Refusal> {
    let words = shared.secrets.words_in(request);
    if !is_read && words.names.is_empty() {
        return Ok(());
    }
    let target = request.uri().path_and_query();
    let line = RequestLine {
        method: request.method().to_string(),
        target: target.map_or_else(String::new, ToString::to_string),
        secrets: words.names.clone(),
        misplaced: words.misplaced,
        is_secure,
    };
    open.asks(line, host, shared).await?;
    let put = shared.secrets.put(request, &words.names);
    put.ok_or_else(|| Refusal::malformed("it cannot be said with the secret in it"))
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Refusal {
        Refusal {
            status: StatusCode::FORBIDDEN,
            error: "http_request_denied",
            why: denied.to_string(),
        }
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Refusal {
        let why = refused.to_string();
        let of = |status, error| Refusal { status, error, why };
        match refused {
            Refused::Denied(denied) => denied.into(),
            Refused::Unresolved(_) => of(StatusCode::BAD_GATEWAY, "dns_error"),
            Refused::Unreachable(error) => match error.kind() {
                io::ErrorKind::TimedOut => of(StatusCode::GATEWAY_TIMEOUT, "connection_timeout"),
                io::ErrorKind::ConnectionRefused => {
                    of(StatusCode::BAD_GATEWAY, "connection_refused")
                }
                _ => of(StatusCode::BAD_GATEWAY, "destination_unavailable"),
            },
        }
    }
}
