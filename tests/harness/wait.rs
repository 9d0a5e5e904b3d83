//! Waiting: with a deadline that is generous on a slow machine, never for a measured time.

use std::fmt::Display;
use std::time::{Duration, Instant};

/// How long nothing of a run may be left after its end, however it ended. The one deadline that is a promise to users.
pub const SOON: Duration = Duration::from_secs(15);
/// For everything that just has to happen.
pub const LONG: Duration = Duration::from_secs(120);

/// How often it is looked.
pub const PAUSE: Duration = Duration::from_millis(50);

/// Waits until there is something; `None` at the deadline.
pub fn by<T>(deadline: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let since = Instant::now();
    loop {
        let found = look();
        if found.is_some() || since.elapsed() >= deadline {
            return found;
        }
        std::thread::sleep(PAUSE);
    }
}

/// The same.
///
/// # Panics
/// At the deadline, with `what` was waited for.
#[track_caller]
pub fn until<T>(deadline: Duration, what: impl Display, look: impl FnMut() -> Option<T>) -> T {
    let Some(found) = by(deadline, look) else { panic!("waited {} s in vain for {what}", deadline.as_secs()) };
    found
}
