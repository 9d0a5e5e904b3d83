//! Doors for `tests/fuzz` into what reads what a cluster sends. Built with the feature `fuzz` only.

use super::dial::Exec;
use super::objects;
use super::reasons::{self, Missing, Phase, Size, Verdict};
use crate::Wire;
use futures::{Sink, Stream};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

/// One message of an API server.
#[derive(Debug, Clone)]
pub enum Sent {
    /// A channel's number and what it says.
    Binary(Vec<u8>),
    /// What no API server sends.
    Text(String),
    /// Is somebody there?
    Ping(Vec<u8>),
    /// Yes.
    Pong(Vec<u8>),
    /// The end, and why.
    Close(Option<String>),
    /// The connection breaks.
    Broken,
}

struct Fed(std::vec::IntoIter<Result<Message, WsError>>);

impl Stream for Fed {
    type Item = Result<Message, WsError>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.next())
    }
}

impl Sink<Message> for Fed {
    type Error = WsError;

    fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), WsError>> {
        Poll::Ready(Ok(()))
    }

    fn start_send(self: Pin<&mut Self>, _: Message) -> Result<(), WsError> {
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), WsError>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), WsError>> {
        Poll::Ready(Ok(()))
    }
}

/// An exec that gives these, then ends. In a runtime with time.
pub fn exec(sent: Vec<Sent>) -> Box<dyn Wire> {
    let messages = sent.into_iter().map(|item| {
        Ok(match item {
            Sent::Binary(bytes) => Message::Binary(bytes.into()),
            Sent::Text(text) => Message::Text(text.into()),
            Sent::Ping(bytes) => Message::Ping(bytes.into()),
            Sent::Pong(bytes) => Message::Pong(bytes.into()),
            Sent::Close(words) => {
                Message::Close(words.map(|words| CloseFrame { code: 1000.into(), reason: words.into() }))
            }
            Sent::Broken => return Err(WsError::ConnectionClosed),
        })
    });
    Box::new(Exec::new(Fed(messages.collect::<Vec<_>>().into_iter()), "p".into(), true))
}

/// An exec over the bytes of a WebSocket that is open. In a runtime with time.
pub async fn socket<T>(bytes: T) -> Box<dyn Wire>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    Box::new(Exec::new(WebSocketStream::from_raw_socket(bytes, Role::Client, None).await, "p".into(), true))
}

/// All that would be said of a cluster's objects: `pod`, `nodes`, `events`, `deployment`, and the `seconds` for which
/// they have been so. What can't be read is taken for missing.
pub fn reasons(given: &Value) -> Vec<String> {
    fn read<T: DeserializeOwned>(value: &Value) -> Option<T> {
        serde_json::from_value(value.clone()).ok()
    }
    let list = |name: &str| given[name].as_array().into_iter().flatten();
    let nodes: Vec<Size> = list("nodes").filter_map(read::<Node>).filter_map(|node| Size::of(&node)).collect();
    let events: Vec<Event> = list("events").filter_map(read).collect();
    let since = Duration::from_secs(given["seconds"].as_u64().unwrap_or(0));
    let mut said = Vec::new();
    let mut missing = Missing { wanted: 1, ..Missing::default() };
    if let Some(pod) = read::<Pod>(&given["pod"]) {
        said.push(reasons::gone(&pod));
        for known in [None, Some(nodes.as_slice())] {
            match reasons::phase(&pod, known) {
                Phase::Over(words) => said.push(words),
                Phase::Coming(why) => {
                    let why = reasons::better(why, &pod, &events);
                    said.push(why.words.clone());
                    missing.coming.push((why, since));
                }
                Phase::Up(_) => missing.up += 1,
            }
        }
    }
    if let Some(why) = read::<Deployment>(&given["deployment"]).and_then(|deployment| reasons::refused(&deployment)) {
        said.push(why.words.clone());
        missing.refused = Some((why, since));
    }
    for up in [0, missing.up] {
        missing.up = up;
        said.push(missing.count());
        match reasons::verdict(&missing) {
            Verdict::Fine => {}
            Verdict::Wait(words) | Verdict::Fail(words) => said.push(words),
        }
    }
    said
}

/// Bytes as we write them.
pub fn quantity(bytes: u64) -> String {
    objects::quantity(bytes)
}

/// Thousandths of CPUs as we write them.
pub fn cpus(milli: u64) -> String {
    objects::cpus(milli)
}
