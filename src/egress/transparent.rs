//! Redirected connections: what a program connected to without knowing of any proxy.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use tokio::net::{TcpListener, TcpStream};

use super::connection::Connection;
use super::{Ingress, Shared, accept, relay};
use crate::sys::redirected::original_destination;

/// Takes redirected connections for ever.
pub(super) async fn serve(listener: TcpListener, is_v6: bool, shared: Arc<Shared>) {
    let places = Arc::clone(&shared.places);
    accept::each(listener, places, |stream| {
        let shared = Arc::clone(&shared);
        async move { carry(stream, is_v6, &shared).await }
    })
    .await;
}

/// Carries one connection. One that is not made is reset, so that its program fails at once.
async fn carry(stream: TcpStream, is_v6: bool, shared: &Shared) -> io::Result<()> {
    set_socket_linger(&stream, Some(Duration::ZERO))?;
    let there = original_destination(stream.as_fd(), is_v6)?;
    let by = Ingress::Transparent;
    let connection = Connection::to_address(there.ip(), there.port(), by, shared).await?;
    let opened = connection.open(shared).await?;
    relay::carry(stream, Vec::new(), opened, shared).await
}
