//! Waiting: with a deadline that is generous on a slow machine, never for a measured time.

use std::fmt::Display;
use std::time::{Duration, Instant};

/// How long nothing of a run may be left after its end, however it ended. The one deadline that is a promise to users.
pub const SOON: Duration = Duration::from_secs(15);
/// For everything that just has to happen.
pub const LONG: Duration = Duration::from_secs(120);

/// How often it is looked.
pub const PAUSE: Duration = Duration::from_millis(50);

/// Waits until there is something.
///
/// # Panics
/// At the deadline, with `what` was waited for.
#[track_caller]
pub fn until<T>(deadline: Duration, what: impl Display, mut look: impl FnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(since.elapsed() < deadline, "waited {} s in vain for {what}", deadline.as_secs());
        std::thread::sleep(PAUSE);
    }
}
