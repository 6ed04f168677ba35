//! The host's side: what a name's addresses are, and connections to them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hickory_resolver::net::NetError;
use hickory_resolver::proto::rr::Name;
use hickory_resolver::{TokioResolver, lookup_ip::LookupIp};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::policy::HOST_NAME;
use crate::sys::interface::Addresses;

/// How long one address may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The most addresses of one name that are tried.
const MOST_ADDRESSES: usize = 16;

/// Resolves and connects as the host does.
#[derive(Debug)]
pub(super) struct Dialler {
    resolver: TokioResolver,
    of_host: Mutex<Addresses>,
}

/// Why there are no addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unresolved {
    /// There is no such name.
    Missing,
    /// Nobody could say.
    Failed,
}

impl Dialler {
    /// With the resolvers and the hosts file of this host.
    ///
    /// # Errors
    /// Its `/etc/resolv.conf` cannot be read, or it does not say which addresses it has.
    pub(super) fn of_host() -> io::Result<Dialler> {
        let failed = |error: NetError| io::Error::other(format!("read /etc/resolv.conf: {error}"));
        let mut builder = TokioResolver::builder_tokio().map_err(failed)?;
        builder.options_mut().ip_strategy = hickory_resolver::config::LookupIpStrategy::Ipv4AndIpv6;
        let resolver = builder.build().map_err(failed)?;
        let of_host = Mutex::new(Addresses::watch()?);
        Ok(Dialler { resolver, of_host })
    }

    /// The addresses of a name, each once; none where it exists without any.
    ///
    /// # Errors
    /// See [`Unresolved`].
    pub(super) async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, Unresolved> {
        if name == HOST_NAME {
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        // With its last dot: no suffix of the host's is tried.
        let fqdn = Name::from_ascii(format!("{name}.")).map_err(|_| Unresolved::Missing)?;
        match self.resolver.lookup_ip(fqdn).await {
            Ok(found) => Ok(each_once(&found)),
            Err(error) if error.is_nx_domain() => Err(Unresolved::Missing),
            Err(error) if error.is_no_records_found() => Ok(Vec::new()),
            Err(error) => {
                tracing::debug!(%error, name, "a name could not be resolved");
                Err(Unresolved::Failed)
            }
        }
    }

    /// Which of these addresses are the host's own.
    ///
    /// # Errors
    /// The kernel does not say.
    pub(super) fn own(&self, addresses: &[IpAddr]) -> io::Result<Vec<IpAddr>> {
        let mut of_host = self.of_host.lock().unwrap_or_else(PoisonError::into_inner);
        let own = of_host.now()?;
        let is_own = |address: &IpAddr| {
            let canonical = address.to_canonical();
            // What is bound to no address answers on these too.
            canonical.is_loopback() || canonical.is_unspecified() || own.contains(&canonical)
        };
        Ok(addresses.iter().copied().filter(is_own).collect())
    }

    /// Connects to the first of these addresses that answers.
    ///
    /// # Errors
    /// What the last one said.
    pub(super) async fn connect(
        &self,
        addresses: &[IpAddr],
        port: u16,
    ) -> io::Result<(TcpStream, IpAddr)> {
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in addresses {
            match timeout(
                PATIENCE,
                TcpStream::connect(SocketAddr::new(*address, port)),
            )
            .await
            {
                Ok(Ok(stream)) => return Ok((stream, *address)),
                Ok(Err(error)) => last = error,
                Err(_) => last = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(last)
    }

    /// A socket that sends datagrams to the first of these addresses to which there is a way, and hears
    /// nobody else.
    ///
    /// # Errors
    /// What the host says of the last one.
    pub(super) async fn open_flow(
        &self,
        addresses: &[IpAddr],
        port: u16,
    ) -> io::Result<(UdpSocket, IpAddr)> {
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in addresses {
            let canonical = address.to_canonical();
            let any: IpAddr = match canonical {
                IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            };
            let socket = UdpSocket::bind((any, 0)).await?;
            match socket.connect((canonical, port)).await {
                Ok(()) => {
                    // Until then it heard everybody, and there is nothing yet that is an answer.
                    while socket.try_recv(&mut [0; 1]).is_ok() {}
                    return Ok((socket, *address));
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

fn each_once(found: &LookupIp) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    for address in found.iter() {
        if !addresses.contains(&address) && addresses.len() < MOST_ADDRESSES {
            addresses.push(address);
        }
    }
    addresses
}
