//! What stands before each call: a machine that is away, answers that tests ordered.

use crate::context::Context;
use crate::error::{Error, Result};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

#[derive(Debug, Default)]
pub(super) struct Gate {
    away: watch::Sender<bool>,
    refusals: Mutex<VecDeque<Error>>,
    losses: Mutex<VecDeque<Error>>,
    panics: AtomicBool,
}

impl Gate {
    /// Answers whether that is news.
    pub(super) fn away(&self, away: bool) -> bool {
        self.away.send_replace(away) != away
    }

    pub(super) fn refuse(&self, calls: usize, error: Error) {
        self.refusals().extend(std::iter::repeat_n(error, calls));
    }

    pub(super) fn lose(&self, calls: usize, error: Error) {
        self.losses.lock().unwrap_or_else(PoisonError::into_inner).extend(std::iter::repeat_n(error, calls));
    }

    /// Whether what was written is durable.
    pub(super) fn keep(&self) -> Result<()> {
        self.losses.lock().unwrap_or_else(PoisonError::into_inner).pop_front().map_or(Ok(()), Err)
    }

    pub(super) fn panic(&self) {
        self.panics.store(true, Ordering::Relaxed);
    }

    /// Waits while the machine is away, as long as the call may.
    pub(super) async fn pass(&self, cx: &Context) -> Result<()> {
        assert!(!self.panics.swap(false, Ordering::Relaxed), "as was ordered");
        if let Some(error) = self.refusals().pop_front() {
            return Err(error);
        }
        if cx.cancelled.is_cancelled() {
            return Err(Error::Again);
        }
        if !*self.away.borrow() {
            return Ok(());
        }
        let mut away = self.away.subscribe();
        tokio::select! {
            biased;
            () = cx.cancelled.cancelled() => Err(Error::Again),
            back = away.wait_for(|away| !away) => back.map(drop).map_err(|_| Error::Away),
            () = tokio::time::sleep_until(cx.deadline.into()) => Err(Error::Away),
        }
    }

    fn refusals(&self) -> MutexGuard<'_, VecDeque<Error>> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
