//! Where a run takes what is asked of it.

use std::io;
use std::os::unix::net::UnixListener as StdListener;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{sleep, timeout};

use super::{Answer, Asked, Listening};

/// Callers that are heard at one time; more are sent away.
const MOST_CALLERS: usize = 8;
/// How long a caller may take to say what it asks, and to take the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of what can be asked.
const LONGEST: u64 = 256 * 1024;
/// Between two tries to take a caller where the system has no descriptors left.
const PAUSE: Duration = Duration::from_millis(100);

/// Something asked, and whom to answer.
#[derive(Debug)]
pub(in crate::supervisor) struct Call {
    pub asked: Asked,
    answer: oneshot::Sender<Answer>,
}

impl Call {
    /// Answers. A caller that is gone hears nothing.
    pub(in crate::supervisor) fn answer(self, answer: Answer) {
        if self.answer.send(answer).is_err() {
            tracing::debug!("nobody waits for the answer any more");
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(in crate::supervisor) struct Door {
    listener: UnixListener,
    callers: Arc<Semaphore>,
    said: mpsc::Sender<Call>,
    heard: mpsc::Receiver<Call>,
    /// Takes the name away in the end.
    listening: Listening,
}

impl Door {
    /// # Errors
    /// When the socket cannot be registered. Must be called inside a tokio runtime.
    pub(in crate::supervisor) fn open(mut listening: Listening) -> io::Result<Door> {
        let socket = listening.socket.take();
        let socket = socket.ok_or(io::ErrorKind::NotConnected)?;
        let listener = UnixListener::from_std(StdListener::from(socket))?;
        let (said, heard) = mpsc::channel(MOST_CALLERS);
        Ok(Door {
            listener,
            callers: Arc::new(Semaphore::new(MOST_CALLERS)),
            said,
            heard,
            listening,
        })
    }

    /// The run's id.
    pub(in crate::supervisor) fn id(&self) -> &str {
        &self.listening.id
    }

    /// The next thing that is asked. Safe to drop.
    pub(in crate::supervisor) async fn next(&mut self) -> Call {
        loop {
            tokio::select! {
                Some(call) = self.heard.recv() => return call,
                accepted = self.listener.accept() => match accepted {
                    Ok((caller, _)) => self.hear(caller),
                    Err(error) => {
                        tracing::debug!(%error, "a caller was not taken");
                        sleep(PAUSE).await;
                    }
                },
            }
        }
    }

    fn hear(&self, caller: UnixStream) {
        if let Err(why) = may_ask(&caller) {
            tracing::warn!(why, "somebody who may not has asked for another policy");
            return;
        }
        let Ok(place) = Arc::clone(&self.callers).try_acquire_owned() else {
            tracing::warn!("too many ask for another policy at one time");
            return;
        };
        let said = self.said.clone();
        tokio::spawn(async move {
            if let Err(error) = serve(caller, said).await {
                tracing::debug!(%error, "a caller was not served");
            }
            drop(place);
        });
    }
}

/// The caller is the run's own user or root, and lives where we do: what runs in a sandbox has a
/// pid namespace of its own, below ours, also where its user is ours.
fn may_ask(caller: &UnixStream) -> Result<(), &'static str> {
    let peer = caller.peer_cred().map_err(|_| "it has no credentials")?;
    let own = rustix::process::geteuid().as_raw();
    if peer.uid() != own && peer.uid() != 0 {
        return Err("it is another user");
    }
    let pid = peer.pid().filter(|pid| *pid > 0);
    let pid = pid.ok_or("it is of another pid namespace")?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
    let status = status.map_err(|_| "it cannot be looked at")?;
    let mut lines = status.lines();
    let ids = lines.find_map(|line| line.strip_prefix("NSpid:"));
    // One number for each namespace from ours down.
    match ids.map(|ids| ids.split_whitespace().count()) {
        Some(1) => Ok(()),
        _ => Err("it is of another pid namespace"),
    }
}

async fn serve(mut caller: UnixStream, said: mpsc::Sender<Call>) -> io::Result<()> {
    let mut text = Vec::new();
    let mut whole = (&mut caller).take(LONGEST);
    timeout(PATIENCE, whole.read_to_end(&mut text)).await??;
    // Who only looks whether somebody is there says nothing.
    if text.is_empty() {
        return Ok(());
    }
    let (answer, answered) = oneshot::channel();
    let asked = serde_json::from_slice(&text)?;
    let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
    said.send(Call { asked, answer })
        .await
        .map_err(|_| gone())?;
    let answer = answered.await.map_err(|_| gone())?;
    let text = serde_json::to_vec(&answer)?;
    timeout(PATIENCE, caller.write_all(&text)).await?
}
