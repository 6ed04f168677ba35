//! A session of the library: one isolated Python worker that takes one piece of code
//! after another, and says everything that happens as events.
//!
//! ```text
//! cargo run --example session
//! ```
//!
//! The process has one thread, because a process with threads must not clone itself:
//! hence the `current_thread` runtime. The project's tests run this program too, and
//! fail when one of its expectations does not hold.

use anyhow::{Context, Result, ensure};
use buntime::supervisor::{Config, SessionEvent, State, Supervisor};
use serde_json::Value;
use tokio::sync::mpsc::Receiver;

fn main() -> Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the event loop")?
        .block_on(session())
}

async fn session() -> Result<()> {
    let mut supervisor = Supervisor::new(Config::default());
    let mut events = supervisor.events();
    supervisor.start().await?;
    ensure!(supervisor.state() == State::Ready);

    // Every piece of code runs in the same module; the value of a last expression
    // comes with its end.
    supervisor
        .send_code("answer = 6 * 7\nprint('working')\nanswer")
        .await?;
    let first = Piece::heard(&mut events).await?;
    println!("output: {:?}, value: {}", first.output, first.value);
    ensure!(first.output == "working\n");
    ensure!(first.value == "42");

    supervisor.send_code("open('/etc/shadow').read()").await?;
    let second = Piece::heard(&mut events).await?;
    let error = second
        .error
        .context("the kernel lets nobody read /etc/shadow")?;
    println!("exception: {error}");

    supervisor.send_code("answer + 1").await?;
    let third = Piece::heard(&mut events).await?;
    ensure!(third.value == "43", "the module survives an exception");

    let outcome = supervisor.stop().await?;
    ensure!(supervisor.state() == State::Stopped);
    println!("stopped after {:.3} s", outcome.resources.wall_seconds);
    Ok(())
}

/// What one piece of code led to.
#[derive(Default)]
struct Piece {
    output: String,
    value: String,
    error: Option<String>,
}

impl Piece {
    /// Listens until the worker is done with a piece of code.
    async fn heard(events: &mut Receiver<SessionEvent>) -> Result<Piece> {
        let mut piece = Piece::default();
        while let Some(event) = events.recv().await {
            match event {
                SessionEvent::Output { bytes, .. } => {
                    piece.output.push_str(&String::from_utf8_lossy(&bytes));
                }
                SessionEvent::Worker { event, data } if event == "exception" => {
                    piece.error = Some(text(&data["error"]));
                }
                SessionEvent::Worker { event, data } if event == "exec_end" => {
                    piece.value = text(&data["value"]);
                    return Ok(piece);
                }
                SessionEvent::Remark(remark) => println!("remark: {remark:?}"),
                _ => {}
            }
        }
        anyhow::bail!("the session ended in the middle")
    }
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}
