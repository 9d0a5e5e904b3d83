//! The signals that ask a program to end.

use tokio::signal::unix::{SignalKind, signal};

/// The number of the first of INT, TERM and HUP that comes.
pub async fn signalled() -> u8 {
    let wait = |kind: SignalKind| async move {
        match signal(kind) {
            Ok(mut signals) => signals.recv().await,
            // Without a handler the signal's own effect stays, which is to end us.
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = wait(SignalKind::hangup()) => 1,
        _ = wait(SignalKind::interrupt()) => 2,
        _ = wait(SignalKind::terminate()) => 15,
    }
}
