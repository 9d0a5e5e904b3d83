//! The time, which tests move.

use std::fmt::Debug;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

/// Where the time comes from.
pub trait Clock: Debug + Send + Sync {
    /// The time of day, for time stamps.
    fn now(&self) -> SystemTime;
    /// The time since some moment, never going back: for leases and graces. Suspended time counts.
    fn elapsed(&self) -> Duration;
}

/// The machine's.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn elapsed(&self) -> Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
    }
}

/// One that stands still until it is moved.
#[derive(Debug)]
pub struct ManualClock {
    began: SystemTime,
    elapsed: Mutex<Duration>,
}

impl ManualClock {
    /// Stands at this time.
    pub fn new(began: SystemTime) -> Self {
        Self { began, elapsed: Mutex::default() }
    }

    /// Moves it on.
    pub fn advance(&self, by: Duration) {
        *self.lock() += by;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Duration> {
        self.elapsed.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn now(&self) -> SystemTime {
        self.began + *self.lock()
    }

    fn elapsed(&self) -> Duration {
        *self.lock()
    }
}
