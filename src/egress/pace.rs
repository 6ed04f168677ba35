//! So many things in so much time.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Some at once, and then so many a second.
#[derive(Debug)]
pub(super) struct Pace {
    most: f64,
    per_second: f64,
    left: Mutex<(f64, Instant)>,
}

impl Pace {
    /// Inside the runtime.
    pub(super) fn new(most: u32, per_second: u32) -> Pace {
        Pace {
            most: most.into(),
            per_second: per_second.into(),
            left: Mutex::new((most.into(), Instant::now())),
        }
    }

    /// Waits until it is the turn of one more. Safe to drop.
    pub(super) async fn turn(&self) {
        while let Some(wait) = self.wait() {
            sleep(wait).await;
        }
    }

    /// Whether it is the turn of one more, without waiting.
    pub(super) fn is_turn(&self) -> bool {
        self.wait().is_none()
    }

    /// For how long to wait at least; nothing once one was taken.
    fn wait(&self) -> Option<Duration> {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let (before, since) = *left;
        let now = Instant::now();
        let grown = now.duration_since(since).as_secs_f64() * self.per_second;
        let there = (before + grown).min(self.most);
        let is_turn = there >= 1.0;
        *left = (if is_turn { there - 1.0 } else { there }, now);
        (!is_turn).then(|| Duration::from_secs_f64((1.0 - there) / self.per_second))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_come_at_once_and_others_in_their_time() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let pace = Pace::new(3, 100);
            let began = Instant::now();
            for _ in 0..3 {
                pace.turn().await;
            }
            let at_once = began.elapsed();
            for _ in 0..10 {
                pace.turn().await;
            }
            assert!(began.elapsed() - at_once >= Duration::from_millis(90));
        });
    }
}
