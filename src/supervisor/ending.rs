//! Whether this program has been asked to end, for work that looks at moments of its own.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use super::signals::{Incoming, Signals, stop_ourselves};

/// Takes the signals that end a program, and keeps the first of them.
#[derive(Debug, Clone)]
pub struct Ending(Arc<AtomicI32>);

impl Ending {
    /// Takes them from now on, in a thread that lives as long as the process. What was ignored stays so.
    ///
    /// # Errors
    /// A handler, or the thread, cannot be had.
    pub fn listen() -> io::Result<Ending> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let mut signals = {
            let _inside = runtime.enter();
            Signals::listen()?
        };
        let ending = Ending(Arc::default());
        let told = ending.clone();
        let listens = async move {
            loop {
                match signals.next().await {
                    Incoming::End(number) => told.tell(number),
                    Incoming::Suspend => {
                        if let Err(error) = stop_ourselves() {
                            tracing::warn!(%error, "this program is not suspended");
                        }
                    }
                    Incoming::Forward(_) | Incoming::Window => {}
                }
            }
        };
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || runtime.block_on(listens))?;
        Ok(ending)
    }

    fn tell(&self, number: i32) {
        if self.asked().is_none() {
            self.0.store(number, Ordering::Relaxed);
        }
    }

    /// The signal that has asked for it, by its number.
    #[must_use]
    pub fn asked(&self) -> Option<i32> {
        Some(self.0.load(Ordering::Relaxed)).filter(|number| *number != 0)
    }
}
