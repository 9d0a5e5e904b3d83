//! What panics in a call is a fault of ours, and ends that call alone. What the fault was is on stderr: the panic says it.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::Poll;

/// It panicked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a fault of the server")]
pub struct Fault;

/// What the work comes to. It is not gone on with after a fault: whoever calls drops what it was changing, or can do with it half
/// changed. It stays where it is pinned: to move it in here would take twice its memory for each call.
///
/// # Errors
/// It panicked.
pub async fn caught<T>(mut work: Pin<&mut impl Future<Output = T>>) -> Result<T, Fault> {
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
        Ok(polled) => polled.map(Ok),
        Err(_) => Poll::Ready(Err(Fault)),
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;

    #[tokio::test]
    async fn a_panic_is_an_error_whenever_it_comes() {
        assert_eq!(caught(pin!(async { 7 })).await, Ok(7));
        assert_eq!(caught(pin!(async { panic!("at once") })).await, Err::<(), _>(Fault));
        let later = async {
            tokio::task::yield_now().await;
            panic!("after a while")
        };
        assert_eq!(caught(pin!(later)).await, Err::<(), _>(Fault));
    }
}
