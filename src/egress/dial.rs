//! The host's side: what a name's addresses are, and connections to them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::LookupIpStrategy;
use hickory_resolver::lookup_ip::LookupIp;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::Name;
use hickory_resolver::system_conf::parse_resolv_conf;
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::policy::HOST_NAME;
use crate::sys::interface::Addresses;
use crate::sys::namespace::{self, CLONE_NEWNET};

/// How long one address may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The most addresses of one name that are tried.
const MOST_ADDRESSES: usize = 16;

/// The network in which connections are made.
#[derive(Debug)]
pub struct Outside {
    /// Of the host, and of the network where that is another.
    own: Vec<Addresses>,
    /// The text of a resolv.conf(5); by itself the host's.
    resolvers: Option<String>,
    /// Whether the host's loopback is there.
    is_of_host: bool,
}

impl Outside {
    /// The calling thread's network, with the host's resolvers.
    ///
    /// # Errors
    /// The kernel does not say which addresses the host has.
    pub fn of_host() -> io::Result<Outside> {
        Ok(Outside {
            own: vec![Addresses::watch()?],
            resolvers: None,
            is_of_host: true,
        })
    }

    /// Moves the calling thread to another network namespace, with these resolvers. What is the host's own stays
    /// so. The host's network is itself.
    ///
    /// # Errors
    /// `EPERM` without CAP_SYS_ADMIN over it; the kernel does not say which addresses it has.
    pub fn enter(
        mut self,
        network: BorrowedFd<'_>,
        resolvers: Option<String>,
    ) -> io::Result<Outside> {
        let there = rustix::fs::fstat(network)?;
        let here = rustix::fs::stat("/proc/self/ns/net")?;
        if (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino) {
            return Ok(self);
        }
        namespace::enter(network, CLONE_NEWNET)?;
        self.own.push(Addresses::watch()?);
        Ok(Outside {
            resolvers,
            is_of_host: false,
            ..self
        })
    }
}

/// Resolves and connects there.
#[derive(Debug)]
pub(super) struct Dialler {
    resolver: TokioResolver,
    own: Mutex<Vec<Addresses>>,
    is_of_host: bool,
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
    /// Inside the runtime.
    ///
    /// # Errors
    /// Its resolvers cannot be made out.
    pub(super) fn new(outside: Outside) -> io::Result<Dialler> {
        let failed = |error: NetError| io::Error::other(format!("read resolv.conf: {error}"));
        let mut builder = match &outside.resolvers {
            None => TokioResolver::builder_tokio().map_err(failed)?,
            Some(text) => {
                let parsed = parse_resolv_conf(text).map_err(failed)?;
                let (config, options) = parsed;
                let provider = TokioRuntimeProvider::default();
                TokioResolver::builder_with_config(config, provider).with_options(options)
            }
        };
        builder.options_mut().ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        Ok(Dialler {
            resolver: builder.build().map_err(failed)?,
            own: Mutex::new(outside.own),
            is_of_host: outside.is_of_host,
        })
    }

    /// The addresses of a name, each once; none where it exists without any.
    ///
    /// # Errors
    /// See [`Unresolved`].
    pub(super) async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, Unresolved> {
        if name == HOST_NAME && !self.is_of_host {
            return Err(Unresolved::Missing);
        }
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
        let mut networks = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        let mut own = Vec::new();
        for network in networks.iter_mut() {
            let there = network.now()?;
            let is_own = |address: &IpAddr| {
                let canonical = address.to_canonical();
                // What is bound to no address answers on these too.
                canonical.is_loopback() || canonical.is_unspecified() || there.contains(&canonical)
            };
            own.extend(addresses.iter().copied().filter(is_own));
        }
        Ok(own)
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
