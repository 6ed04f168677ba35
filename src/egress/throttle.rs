//! How much may leave and arrive in a second.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What may pass at once before anything waits, as a part of a second.
const BURST: Duration = Duration::from_millis(100);

/// So many bytes in a second, of all connections together. What has passed is paid for afterwards: whoever has
/// passed more than there was waits until that much has come in again.
#[derive(Debug)]
pub(super) struct Throttle {
    per_second: f64,
    account: Mutex<Account>,
}

#[derive(Debug)]
struct Account {
    bytes: f64,
    at: Instant,
}

impl Throttle {
    /// Of so many bytes in a second.
    pub(super) fn new(per_second: u64) -> Throttle {
        Throttle {
            per_second: per_second as f64,
            account: Mutex::new(Account {
                bytes: 0.0,
                at: Instant::now(),
            }),
        }
    }

    /// Takes these bytes, and gives for how long whoever has passed them waits now.
    pub(super) fn take(&self, bytes: usize) -> Option<Duration> {
        self.take_at(bytes, Instant::now())
    }

    fn take_at(&self, bytes: usize, now: Instant) -> Option<Duration> {
        let mut account = self.account.lock().unwrap_or_else(PoisonError::into_inner);
        let since = now.saturating_duration_since(account.at);
        let most = self.per_second * BURST.as_secs_f64();
        account.at = now;
        account.bytes = (account.bytes + since.as_secs_f64() * self.per_second).min(most);
        account.bytes -= bytes as f64;
        (account.bytes < 0.0).then(|| Duration::from_secs_f64(-account.bytes / self.per_second))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_much_passes_in_a_second_and_a_little_more_at_once() {
        let (throttle, from) = (Throttle::new(1000), Instant::now());
        let at = |seconds| from + Duration::from_secs(seconds);
        assert_eq!(throttle.take_at(100, at(60)), None);
        let wait = throttle.take_at(500, at(60));
        assert_eq!(wait, Some(Duration::from_millis(500)));
        // Of two that wait the second waits for both.
        let wait = throttle.take_at(500, at(60));
        assert_eq!(wait, Some(Duration::from_secs(1)));
        assert_eq!(throttle.take_at(0, at(61)), None);
    }
}
