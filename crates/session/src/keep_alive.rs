//! The keep-alive clock (MQTT5 3.1.2.10). It stands still while the broker itself does not read the socket.

use std::time::Duration;

/// Watches that the client is heard from within one and a half times its keep alive.
#[derive(Debug)]
pub(crate) struct KeepAlive {
    /// One and a half times the keep alive; `None`: turned off.
    grace: Option<Duration>,
    heard_at: Duration,
    standing: bool,
}

impl KeepAlive {
    pub(crate) fn new(keep_alive_s: u16, now: Duration) -> Self {
        let grace = (keep_alive_s > 0).then(|| Duration::from_millis(u64::from(keep_alive_s) * 1_500));
        Self { grace, heard_at: now, standing: false }
    }

    pub(crate) fn heard(&mut self, now: Duration) {
        self.heard_at = now;
        self.standing = false;
    }

    /// The socket is not being read: silence proves nothing until a whole grace period has been read again.
    pub(crate) fn stand_still(&mut self) {
        self.standing = true;
    }

    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.grace.map(|grace| self.heard_at + grace)
    }

    /// Whether the client has been silent for too long. Where the clock stood still, it starts anew instead.
    pub(crate) fn ran_out(&mut self, now: Duration) -> bool {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return false;
        }
        if self.standing {
            self.heard(now);
            return false;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn runs_out_after_one_and_a_half_times_the_keep_alive() {
        let mut clock = KeepAlive::new(10, SECOND);
        assert!(!clock.ran_out(15 * SECOND));
        assert!(clock.ran_out(16 * SECOND));
    }

    #[test]
    fn zero_turns_it_off() {
        let mut clock = KeepAlive::new(0, SECOND);
        assert_eq!(clock.deadline(), None);
        assert!(!clock.ran_out(1_000_000 * SECOND));
    }

    #[test]
    fn silence_while_the_socket_is_not_read_does_not_count() {
        let mut clock = KeepAlive::new(10, SECOND);
        clock.stand_still();
        assert!(!clock.ran_out(100 * SECOND));
        assert!(!clock.ran_out(114 * SECOND));
        assert!(clock.ran_out(115 * SECOND));
    }
}
