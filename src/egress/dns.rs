//! DNS inside the sandbox (RFC 1035).
//!
//! A name that no rule lets anybody connect to is refused, and nothing is asked of the host's
//! resolver about it: so a name carries nothing out. Of another name it is only said that it is there,
//! with the addresses that stand for it in this sandbox, and nothing else that the host's resolver
//! knows of it.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA};
use hickory_resolver::proto::rr::{DNSClass, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::accept::{self, Places, SCARCE};
use super::connection::bare;
use super::dial::Unresolved;
use super::{Asked, Ingress, Shared};

/// Queries of one sandbox that are worked on at the same time, at each socket of UDP; and connections.
const MOST: usize = 256;

/// For how long a program may keep an answer, in seconds. What stands for a name stays.
const KEEP: u32 = 60;

/// The largest query that is taken by UDP, in bytes.
const LARGEST: usize = 4096;

/// How long a program may take to send a query over a connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// Answers queries by UDP for ever.
pub(super) async fn serve(socket: UdpSocket, shared: Arc<Shared>) {
    let socket = Arc::new(socket);
    let mut queries = JoinSet::new();
    // Those that wait, the first of them in front.
    let mut waiting: VecDeque<AbortHandle> = VecDeque::new();
    let mut space = [0; LARGEST];
    loop {
        while queries.try_join_next().is_some() {}
        let (query, from) = match socket.recv_from(&mut space).await {
            Ok((length, from)) => (space[..length].to_vec(), from),
            Err(error) => {
                tracing::warn!(%error, "a query of the sandbox could not be taken");
                sleep(SCARCE).await;
                continue;
            }
        };
        let (socket, shared) = (Arc::clone(&socket), Arc::clone(&shared));
        // Nobody's resolver that is silent keeps others from theirs.
        if waiting.len() >= MOST {
            waiting.retain(|query| !query.is_finished());
        }
        if waiting.len() >= MOST
            && let Some(longest) = waiting.pop_front()
        {
            longest.abort();
        }
        waiting.push_back(queries.spawn(async move {
            answer_to(&socket, from, &query, &shared).await;
        }));
    }
}

async fn answer_to(socket: &UdpSocket, from: SocketAddr, query: &[u8], shared: &Shared) {
    if let Some(answer) = answer(query, shared).await
        && let Err(error) = socket.send_to(&answer, from).await
    {
        tracing::debug!(%error, "an answer reached nobody");
    }
}

/// Answers queries by TCP for ever.
pub(super) async fn serve_by_tcp(listener: TcpListener, shared: Arc<Shared>) {
    accept::each(listener, Places::new(MOST), |stream| {
        let shared = Arc::clone(&shared);
        async move { converse(stream, &shared).await }
    })
    .await;
}

/// One query after the other, each after its length in two bytes.
async fn converse(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    loop {
        let mut query = Vec::new();
        let read = async {
            let length = stream.read_u16().await?;
            query.resize(length.into(), 0);
            stream.read_exact(&mut query).await
        };
        match timeout(PATIENCE, read).await? {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            read => read?,
        };
        let Some(answer) = answer(&query, shared).await else {
            return Ok(());
        };
        let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
        let whole = [&length.to_be_bytes()[..], &answer].concat();
        timeout(PATIENCE, stream.write_all(&whole)).await??;
    }
}

/// The answer to a query; none to what is no query, lest two ends answer each other for ever.
async fn answer(bytes: &[u8], shared: &Shared) -> Option<Vec<u8>> {
    let Ok(query) = Message::from_vec(bytes) else {
        let id = u16::from_be_bytes(bytes.get(..2)?.try_into().ok()?);
        let is_query = bytes.get(2)? & 0x80 == 0;
        let malformed = Message::error_msg(id, OpCode::Query, ResponseCode::FormErr);
        return is_query.then(|| malformed.to_vec().ok()).flatten();
    };
    if query.metadata.message_type != MessageType::Query {
        return None;
    }
    let mut answer = Message::response(query.metadata.id, query.metadata.op_code);
    answer.metadata.recursion_desired = query.metadata.recursion_desired;
    answer.metadata.recursion_available = true;
    if query.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(LARGEST as u16);
        answer.set_edns(edns);
    }
    answer.add_queries(query.queries.iter().cloned());
    let records = match &query.queries[..] {
        _ if query.metadata.op_code != OpCode::Query => Err(ResponseCode::NotImp),
        [asked] => records(asked, shared).await,
        _ => Err(ResponseCode::FormErr),
    };
    match records {
        Ok(records) => drop(answer.add_answers(records)),
        Err(code) => answer.metadata.response_code = code,
    }
    answer.to_vec().ok()
}

async fn records(asked: &Query, shared: &Shared) -> Result<Vec<Record>, ResponseCode> {
    let name = &bare(&asked.name().to_ascii());
    let named = Asked::Name(name.clone(), Ingress::Dns);
    if asked.query_class() != DNSClass::IN {
        shared
            .deny(named, "it is no question about the Internet")
            .await;
        return Err(ResponseCode::Refused);
    }
    let permitted = shared.ask(named).await;
    permitted.map_err(|_| ResponseCode::Refused)?;
    let found = shared.resolve(name).await.map_err(|why| match why {
        Unresolved::Missing => ResponseCode::NXDomain,
        Unresolved::Failed => ResponseCode::ServFail,
    })?;
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let (v4, v6) = shared.names.addresses(name).ok_or(ResponseCode::ServFail)?;
    let data = match asked.query_type() {
        RecordType::A => RData::A(A(v4)),
        RecordType::AAAA => RData::AAAA(AAAA(v6)),
        _ => return Ok(Vec::new()),
    };
    Ok(vec![Record::from_rdata(asked.name().clone(), KEEP, data)])
}
