//! What a session waits for and may not have: without it, nothing of it ever happens.

use super::*;

pub(super) async fn next_message(worker: &mut Option<Worker>) -> Result<Message, ChannelError> {
    match worker {
        Some(worker) => worker.channel.next().await,
        None => pending().await,
    }
}

pub(super) async fn next_lost(masks: &Option<Listening>) -> io::Result<Lost> {
    match masks {
        Some(masks) => masks.lost().await,
        None => pending().await,
    }
}

pub(super) async fn next_signal(signals: &mut Option<Signals>) -> Incoming {
    match signals {
        Some(signals) => signals.next().await,
        None => pending().await,
    }
}

pub(super) async fn next_command(
    commands: &mut Option<mpsc::Receiver<Command>>,
) -> Option<Command> {
    match commands {
        Some(commands) => commands.recv().await,
        None => pending().await,
    }
}

pub(super) async fn next_call(reloads: &mut Option<Reloads>) -> Call {
    match reloads {
        Some(reloads) => reloads.next().await,
        None => pending().await,
    }
}

pub(super) async fn next_leaving(plane: &mut Option<Plane>) -> Heard {
    match plane {
        // Its tasks can ask for as long as it is there.
        Some(plane) => match plane.next().await {
            Some(heard) => heard,
            None => pending().await,
        },
        None => pending().await,
    }
}

pub(super) async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}
