//! The API server's time, from the Date header of its answers: no workstation's clock goes into a Lease (DESIGN 6).

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use k8s_openapi::jiff::Timestamp;
use k8s_openapi::jiff::fmt::rfc2822::DateTimeParser;

/// What the server's clock said last, and when that was by ours.
#[derive(Debug, Default)]
pub(super) struct Clock(Mutex<Option<(Timestamp, Instant)>>);

impl Clock {
    /// Notes a Date header (RFC 9110, 5.6.7: `Sun, 06 Nov 1994 08:49:37 GMT`); one that can't be read is passed over.
    pub fn note(&self, date: &str) {
        if let Ok(now) = DateTimeParser::new().parse_timestamp(date) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, Instant::now()));
        }
    }

    /// The server's time to a second, unless this machine slept since; none before the first answer.
    pub fn now(&self) -> Option<Timestamp> {
        let (then, at) = (*self.0.lock().unwrap_or_else(PoisonError::into_inner))?;
        then.checked_add(at.elapsed()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_header_is_read() {
        let clock = Clock::default();
        clock.note("yesterday");
        assert_eq!(clock.now(), None);
        clock.note("Sun, 06 Nov 1994 08:49:37 GMT");
        let now = clock.now().expect("noted");
        assert!((784_111_777..784_111_780).contains(&now.as_second()), "{now}");
    }
}
