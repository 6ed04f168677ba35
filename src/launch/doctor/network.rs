//! What a network namespace of its own can be given: a route that keeps everything inside, a
//! redirect of every connection to one listener, and one socket that takes every datagram.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

use super::Probe;
use super::namespaces::enter;
use super::place::Place;
use super::remedy::Remedy;
use super::stop::Stop;
use crate::sys::netfilter::{self, Family, Led, Ports};
use crate::sys::route::Route;
use crate::sys::{datagrams, interface, namespace};

/// A documentation address (RFC 5737), which no host has.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

const PATIENCE: Duration = Duration::from_secs(2);

pub(super) fn probes() -> Vec<Probe> {
    let probe = |name, needed_for, kernel, trial: fn(&Place) -> Result<(), Stop>| {
        let remedy = Remedy::new("unshare and socket", kernel)
            .namespaces("user.max_user_namespaces")
            .namespaces("user.max_net_namespaces");
        Probe::new("network", name, needed_for, remedy, trial)
    };
    vec![
        probe(
            "local default route",
            "rules that allow connections to hosts",
            "Linux",
            |_| kept_inside().map(drop),
        ),
        probe(
            "redirect (nftables)",
            "rules that allow connections to hosts",
            "Linux 4.18 or newer with CONFIG_NF_TABLES, CONFIG_NFT_NAT and CONFIG_NFT_REDIR (modprobe \
             nf_tables nft_redir nft_chain_nat)",
            |_| redirected(),
        ),
        probe(
            "datagrams (nftables)",
            "rules that allow UDP",
            "Linux 4.19 or newer with CONFIG_NF_TABLES, CONFIG_NFT_NAT, CONFIG_NFT_REDIR and CONFIG_NFT_TPROXY \
             (modprobe nf_tables nft_redir nft_chain_nat nft_tproxy)",
            |_| taken(),
        ),
        probe(
            "interface (veth)",
            "--network veth",
            "CONFIG_VETH (modprobe veth)",
            |_| linked(),
        ),
    ]
}

/// A network in which every address is its own, with a listener for all of them.
fn kept_inside() -> Result<TcpListener, Stop> {
    enter(libc::CLONE_NEWNET as u64)?;
    interface::loopback_up().map_err(Stop::refused("bringing the loopback up"))?;
    let listener =
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).map_err(Stop::unprepared("listening"))?;
    let port = listener
        .local_addr()
        .map_err(Stop::unprepared("listening"))?
        .port();
    let there = SocketAddr::from((ELSEWHERE, port));
    if TcpStream::connect_timeout(&there, PATIENCE).is_ok() {
        return Err(Stop::untried(
            "the new network leads outside before there is a route",
        ));
    }
    let mut route = Route::open().map_err(Stop::refused("opening rtnetlink"))?;
    let loopback = route
        .index("lo")
        .map_err(Stop::refused("finding the loopback"))?;
    route
        .keep_all_addresses(loopback, libc::AF_INET, false)
        .map_err(Stop::refused("adding a local default route"))?;
    TcpStream::connect_timeout(&there, PATIENCE)
        .map_err(Stop::refused("connecting to an address outside"))?;
    Ok(listener)
}

fn redirected() -> Result<(), Stop> {
    let listener = kept_inside()?;
    let port = listener
        .local_addr()
        .map_err(Stop::unprepared("listening"))?
        .port();
    let ports = Ports {
        connections: port,
        names: port,
        datagrams: None,
    };
    netfilter::redirect_all(Family::V4, Led::Leaving, ports)
        .map_err(Stop::refused("adding a redirect over nfnetlink"))?;
    let other = SocketAddr::from((ELSEWHERE, if port == 80 { 81 } else { 80 }));
    match TcpStream::connect_timeout(&other, PATIENCE) {
        Ok(_) => Ok(()),
        Err(error) => Err(Stop::NoEffect(format!(
            "a connection is not redirected: {error}"
        ))),
    }
}

fn taken() -> Result<(), Stop> {
    drop(kept_inside()?);
    let opening = "opening a socket for datagrams to others";
    let door = datagrams::door(Ipv4Addr::LOCALHOST.into()).map_err(Stop::refused(opening))?;
    datagrams::packets(false).map_err(Stop::refused("opening a socket for packets"))?;
    let port = door
        .local_addr()
        .map_err(Stop::unprepared("listening"))?
        .port();
    let ports = Ports {
        connections: port,
        names: port,
        datagrams: Some(port),
    };
    netfilter::redirect_all(Family::V4, Led::Leaving, ports)
        .map_err(Stop::refused("adding a rule for datagrams over nfnetlink"))?;
    let program =
        UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).map_err(Stop::unprepared("listening"))?;
    let there = SocketAddr::from((ELSEWHERE, 9));
    program
        .send_to(b"x", there)
        .map_err(Stop::refused("sending to an address outside"))?;
    // On the loopback it is there by now.
    match datagrams::take(door.as_fd(), &mut [0; 1]) {
        Ok(taken) if taken.to == there => Ok(()),
        Ok(taken) => Err(Stop::NoEffect(format!(
            "a datagram is taken for one to {}",
            taken.to
        ))),
        Err(error) => Err(Stop::NoEffect(format!("a datagram is not taken: {error}"))),
    }
}

fn linked() -> Result<(), Stop> {
    enter(libc::CLONE_NEWNET as u64)?;
    let socket =
        UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).map_err(Stop::unprepared("listening"))?;
    let own = namespace::of_socket(socket.as_fd())
        .map_err(Stop::unprepared("finding its own network namespace"))?;
    let mut route = Route::open().map_err(Stop::refused("opening rtnetlink"))?;
    route
        .add_pair("probe0", 1500, ("probe1", own.as_fd()))
        .map_err(Stop::refused("making a pair of interfaces"))?;
    match route.index("probe1") {
        Ok(_) => Ok(()),
        Err(error) => Err(Stop::NoEffect(format!(
            "its second end cannot be found: {error}"
        ))),
    }
}
