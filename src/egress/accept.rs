//! Connections from inside, so many at a time.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// A wait before the next try where something has run out, as descriptors.
pub(super) const SCARCE: Duration = Duration::from_millis(50);

/// Serves each connection in a task of its own for ever, `most` at a time.
pub(super) async fn each<S>(listener: TcpListener, most: usize, serve: impl Fn(TcpStream) -> S)
where
    S: Future<Output = io::Result<()>> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(most));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection of the sandbox could not be taken");
                sleep(SCARCE).await;
                continue;
            }
        };
        let served = serve(stream);
        connections.spawn(async move {
            if let Err(error) = served.await {
                tracing::debug!(%error, "a connection of the sandbox has ended");
            }
            drop(place);
        });
    }
}
