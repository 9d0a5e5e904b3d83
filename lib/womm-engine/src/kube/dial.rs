//! A byte stream into a pod: `womm-agent connect` by pods/exec, over a WebSocket.
//!
//! kube's own `AttachedProcess` is not used: it copies both directions in one loop, so that a full buffer one way stops
//! the other (two full ones for ever), and it ends stdout in the same way whether a Status came or the connection broke.
//! That difference is all that matters here: `kubectl exec` takes the break for success (kubernetes#124571).

use super::{Kube, objects};
use crate::{Error, Wire};
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use ::kube::Resource;
use ::kube::api::AttachParams;
use ::kube::core::{Request, Status};
use bytes::{Buf, Bytes};
use futures::{Sink, Stream};
use k8s_openapi::api::core::v1::Pod as KubePod;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use womm_wire::names;
use womm_wire::pod::Pod;
use womm_wire::record::Task;

/// How long it may take until the container runs the agent.
const DEADLINE: Duration = Duration::from_secs(10);
/// Between pings, which keep load balancers from closing a silent connection; two without any answer are a break.
const PING: Duration = Duration::from_secs(20);
/// The most of stdin in one message.
const MOST: usize = 64 << 10;
/// What is kept of the agent's stderr for the error.
const MOST_STDERR: usize = 4 << 10;

const WITHOUT_A_WORD: &str = "the connection ended without a word";

/// The first byte of each message. Source: kubernetes, `apimachinery/pkg/util/remotecommand/constants.go`.
mod channel {
    pub const STDIN: u8 = 0;
    pub const STDOUT: u8 = 1;
    pub const STDERR: u8 = 2;
    /// A `Status`, when the command has ended.
    pub const ERROR: u8 = 3;
    /// Protocol v5 only: the channel in the next byte has ended (KEP-4006).
    pub const CLOSE: u8 = 255;
}

/// See [`Kube::dial`].
pub(super) async fn dial(kube: &Kube, task: &Task, pod: &Pod) -> Result<Box<dyn Wire>, Error> {
    let agent = task.kube.as_ref().and_then(|kube| kube.agent.as_deref()).unwrap_or(names::AGENT_BAKED);
    let streams = AttachParams {
        container: Some(objects::CONTAINER.into()),
        stdin: true,
        stdout: true,
        stderr: true,
        ..AttachParams::default()
    };
    let url = KubePod::url_path(&(), Some(&kube.at.namespace));
    let deed = format!("exec into pod \"{}\"", pod.name);
    let request = Request::new(url).exec(&pod.name, [agent, "connect"], &streams);
    let request = request.map_err(|e| kube.explain(&deed, &::kube::Error::BuildRequest(e).into()))?;
    let connected = timeout(DEADLINE, kube.client.connect(request)).await;
    let connection = connected.map_err(|_| Error::Timeout { deed: deed.clone(), after: DEADLINE })?;
    let connection = connection.map_err(|e| match e {
        ::kube::Error::Api(status) if status.code == 404 && status.message.contains(&pod.name) => Error::Missing {
            what: format!("pod \"{}\"", pod.name),
            on: Some(format!("in namespace \"{}\" any more", kube.at.namespace)),
            help: "jobs that were on it are lost".into(),
        },
        error => kube.explain(&deed, &error.into()),
    })?;
    let closes = connection.supports_stream_close();
    Ok(Box::new(Exec::new(connection.into_stream(), pod.name.clone(), closes)))
}

/// The two directions of one exec.
pub(super) struct Exec<S> {
    socket: S,
    pod: String,
    /// The server knows [`channel::CLOSE`].
    closes: bool,
    /// What came and was not read yet.
    unread: Bytes,
    stderr: Vec<u8>,
    ended: Option<End>,
    closed_stdin: bool,
    pings: Interval,
    unanswered: u32,
    /// Who waits to write, so that a ping can flush without taking its place.
    writer: Option<Waker>,
}

/// How it ended, told to each read that follows.
#[derive(Debug, Clone)]
enum End {
    /// The agent's program ended well: it had nothing more to say.
    Clean,
    Broken(ErrorKind, String),
}

impl End {
    fn error(&self) -> io::Error {
        match self {
            Self::Clean => io::Error::new(ErrorKind::BrokenPipe, "the agent's end is closed"),
            Self::Broken(kind, words) => io::Error::new(*kind, words.clone()),
        }
    }
}

impl<S> Exec<S>
where
    S: Stream<Item = Result<Message, WsError>> + Sink<Message, Error = WsError> + Unpin,
{
    pub(super) fn new(socket: S, pod: String, closes: bool) -> Self {
        let mut pings = interval(PING);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        pings.reset();
        Self {
            socket,
            pod,
            closes,
            unread: Bytes::new(),
            stderr: Vec::new(),
            ended: None,
            closed_stdin: false,
            pings,
            unanswered: 0,
            writer: None,
        }
    }

    fn broken(&self, kind: ErrorKind, words: &str) -> End {
        let said = String::from_utf8_lossy(&self.stderr);
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        let said = if said.is_empty() { said } else { format!(": {said}") };
        End::Broken(kind, format!("exec into pod \"{}\": {words}{said}", self.pod))
    }

    fn message(&mut self, message: Message) {
        let mut bytes = match message {
            Message::Binary(bytes) => bytes,
            Message::Close(frame) => {
                let words = frame.map(|frame| frame.reason.to_string()).filter(|reason| !reason.is_empty());
                let words = words.unwrap_or_else(|| WITHOUT_A_WORD.into());
                self.ended = Some(self.broken(ErrorKind::ConnectionReset, &words));
                return;
            }
            // Ping and pong only show that somebody is there.
            _ => return,
        };
        if bytes.is_empty() {
            return;
        }
        match bytes.get_u8() {
            channel::STDOUT => self.unread = bytes,
            channel::STDERR => {
                let room = MOST_STDERR.saturating_sub(self.stderr.len());
                self.stderr.extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
            channel::ERROR if !bytes.is_empty() => self.ended = Some(self.status(&bytes)),
            // Each channel begins with an empty message; a closed stdout is followed by the Status.
            _ => {}
        }
    }

    fn status(&self, text: &[u8]) -> End {
        match serde_json::from_slice::<Status>(text) {
            Ok(status) if status.is_success() => End::Clean,
            Ok(status) => self.broken(ErrorKind::Other, status.message.trim()),
            Err(error) => self.broken(ErrorKind::InvalidData, &format!("the end can't be read: {error}")),
        }
    }

    /// Sends pings while nothing comes, and notices that nothing answers.
    fn keep_alive(&mut self, cx: &mut Context<'_>) -> Option<End> {
        while self.pings.poll_tick(cx).is_ready() {
            if self.unanswered >= 2 {
                let words = format!("no sign of life for {} s", PING.as_secs() * u64::from(self.unanswered));
                return Some(self.broken(ErrorKind::TimedOut, &words));
            }
            self.unanswered += 1;
            // The sink keeps one waker, which is the writer's: its place is kept for it.
            let waker = self.writer.clone().unwrap_or_else(|| Waker::noop().clone());
            let mut writer = Context::from_waker(&waker);
            if Pin::new(&mut self.socket).poll_ready(&mut writer).is_ready() {
                // An error here shows when reading, too.
                let _ = Pin::new(&mut self.socket).start_send(Message::Ping(Bytes::new()));
                let _ = Pin::new(&mut self.socket).poll_flush(&mut writer);
            }
        }
        None
    }

    fn waits<T>(&mut self, cx: &Context<'_>, poll: Poll<T>) -> Poll<T> {
        if poll.is_pending() {
            self.writer = Some(cx.waker().clone());
        }
        poll
    }

    fn write_error(&self, error: WsError) -> io::Error {
        self.broken(ErrorKind::ConnectionReset, &error.to_string()).error()
    }
}

impl<S> AsyncRead for Exec<S>
where
    S: Stream<Item = Result<Message, WsError>> + Sink<Message, Error = WsError> + Unpin,
{
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if !this.unread.is_empty() {
                let n = this.unread.len().min(buf.remaining());
                buf.put_slice(&this.unread.split_to(n));
                return Poll::Ready(Ok(()));
            }
            match &this.ended {
                Some(End::Clean) => return Poll::Ready(Ok(())),
                Some(end) => return Poll::Ready(Err(end.error())),
                None => {}
            }
            match Pin::new(&mut this.socket).poll_next(cx) {
                Poll::Ready(Some(Ok(message))) => {
                    this.unanswered = 0;
                    this.message(message);
                }
                Poll::Ready(Some(Err(error))) => {
                    this.ended = Some(this.broken(ErrorKind::ConnectionReset, &error.to_string()));
                }
                Poll::Ready(None) => {
                    this.ended = Some(this.broken(ErrorKind::ConnectionReset, WITHOUT_A_WORD));
                }
                Poll::Pending => match this.keep_alive(cx) {
                    Some(end) => this.ended = Some(end),
                    None => return Poll::Pending,
                },
            }
        }
    }
}

impl<S> AsyncWrite for Exec<S>
where
    S: Stream<Item = Result<Message, WsError>> + Sink<Message, Error = WsError> + Unpin,
{
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Some(end) = &this.ended {
            return Poll::Ready(Err(end.error()));
        }
        if this.closed_stdin {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        }
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let ready = Pin::new(&mut this.socket).poll_ready(cx);
        ready!(this.waits(cx, ready)).map_err(|e| this.write_error(e))?;
        let n = buf.len().min(MOST);
        let mut message = Vec::with_capacity(n + 1);
        message.push(channel::STDIN);
        message.extend_from_slice(&buf[..n]);
        let sent = Pin::new(&mut this.socket).start_send(Message::Binary(message.into()));
        sent.map_err(|e| this.write_error(e))?;
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(end) = &this.ended {
            return Poll::Ready(Err(end.error()));
        }
        let flushed = Pin::new(&mut this.socket).poll_flush(cx);
        this.waits(cx, flushed).map_err(|e| this.write_error(e))
    }

    /// Ends stdin. What the agent still says can be read.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ended.is_some() {
            return Poll::Ready(Ok(()));
        }
        if !this.closed_stdin {
            let ready = Pin::new(&mut this.socket).poll_ready(cx);
            ready!(this.waits(cx, ready)).map_err(|e| this.write_error(e))?;
            // Before v5 (Kubernetes 1.30) only the end of the whole connection says it.
            let message = match this.closes {
                true => Message::Binary(Bytes::from_static(&[channel::CLOSE, channel::STDIN])),
                false => Message::Close(None),
            };
            let sent = Pin::new(&mut this.socket).start_send(message);
            sent.map_err(|e| this.write_error(e))?;
            this.closed_stdin = true;
        }
        let flushed = Pin::new(&mut this.socket).poll_flush(cx);
        this.waits(cx, flushed).map_err(|e| this.write_error(e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{SinkExt, StreamExt};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::protocol::Role;

    type Socket = WebSocketStream<DuplexStream>;

    /// An exec and the API server's end of it.
    async fn pair(buffer: usize) -> (Exec<Socket>, Socket) {
        let (here, there) = duplex(buffer);
        let client = Socket::from_raw_socket(here, Role::Client, None).await;
        (Exec::new(client, "p".into(), true), Socket::from_raw_socket(there, Role::Server, None).await)
    }

    fn message(channel: u8, bytes: &[u8]) -> Message {
        Message::Binary([&[channel], bytes].concat().into())
    }

    #[tokio::test]
    async fn bytes_go_both_ways_and_a_status_ends_them() {
        let (mut exec, mut server) = pair(1 << 16).await;
        exec.write_all(b"ping").await.expect("open");
        exec.flush().await.expect("open");
        assert_eq!(server.next().await.expect("a message").expect("whole"), message(channel::STDIN, b"ping"));
        for (channel, bytes) in
            [(1, &b""[..]), (2, b""), (3, b""), (1, b"po"), (1, b"ng"), (3, br#"{"status":"Success"}"#)]
        {
            server.send(message(channel, bytes)).await.expect("open");
        }
        let mut text = String::new();
        exec.read_to_string(&mut text).await.expect("a clean end");
        assert_eq!(text, "pong");
        exec.shutdown().await.expect("nothing to do");
    }

    #[tokio::test]
    async fn an_end_without_a_status_is_never_clean() {
        let (mut exec, mut server) = pair(1 << 16).await;
        server.send(message(channel::STDOUT, b"part")).await.expect("open");
        server.close(None).await.expect("open");
        let mut text = Vec::new();
        let error = exec.read_to_end(&mut text).await.expect_err("a break");
        assert_eq!((text.as_slice(), error.kind()), (&b"part"[..], ErrorKind::ConnectionReset));
        assert_eq!(error.to_string(), "exec into pod \"p\": the connection ended without a word");
        assert!(exec.read(&mut [0]).await.is_err() && exec.write(b"x").await.is_err());

        let (mut exec, server) = pair(1 << 16).await;
        drop(server);
        assert_eq!(exec.read(&mut [0]).await.expect_err("a break").kind(), ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn a_failure_is_told_with_what_the_agent_said() {
        let (mut exec, mut server) = pair(1 << 16).await;
        server.send(message(channel::STDERR, b"womm-agent: no socket\n")).await.expect("open");
        let status = br#"{"status":"Failure","message":"command terminated with non-zero exit code: 3","reason":"NonZeroExitCode"}"#;
        server.send(message(channel::ERROR, status)).await.expect("open");
        let error = exec.read(&mut [0]).await.expect_err("a failure").to_string();
        assert_eq!(error, "exec into pod \"p\": command terminated with non-zero exit code: 3: womm-agent: no socket");
    }

    #[tokio::test]
    async fn shutdown_ends_stdin_only() {
        let (mut exec, mut server) = pair(1 << 16).await;
        exec.shutdown().await.expect("open");
        assert_eq!(server.next().await.expect("a message").expect("whole"), message(channel::CLOSE, &[channel::STDIN]));
        assert_eq!(exec.write(b"x").await.expect_err("closed").kind(), ErrorKind::BrokenPipe);
        server.send(message(channel::STDOUT, b"last")).await.expect("open");
        let mut text = [0; 4];
        exec.read_exact(&mut text).await.expect("still open");
        assert_eq!(&text, b"last");
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_a_break() {
        let (mut exec, mut server) = pair(1 << 16).await;
        // Pings are answered while somebody reads there.
        let answers = tokio::spawn(async move {
            let pings = async { while let Some(Ok(Message::Ping(_))) = server.next().await {} };
            let _ = timeout(PING * 5, pings).await;
            server
        });
        let read = timeout(PING * 5, exec.read(&mut [0])).await;
        assert!(read.is_err(), "{read:?}");
        let _silent = answers.await.expect("no panic");
        let error = timeout(PING * 5, exec.read(&mut [0])).await.expect("noticed").expect_err("a break");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_full_buffer_one_way_does_not_stop_the_other() {
        let (exec, server) = pair(4096).await;
        let (mut reader, mut writer) = tokio::io::split(exec);
        let (mut server_tx, mut server_rx) = server.split();
        let sent = tokio::spawn(async move {
            // Nobody reads this before all of the other direction is through.
            for _ in 0..64 {
                writer.write_all(&[7; 10_000]).await.expect("open");
            }
            writer.flush().await.expect("open");
        });
        let answered = tokio::spawn(async move {
            for _ in 0..64 {
                server_tx.send(message(channel::STDOUT, &[9; 10_000])).await.expect("open");
            }
            server_tx
        });
        let mut bytes = vec![0; 640_000];
        reader.read_exact(&mut bytes).await.expect("open");
        assert!(bytes.iter().all(|b| *b == 9));
        let mut got = 0;
        while got < 640_000 {
            if let Message::Binary(bytes) = server_rx.next().await.expect("a message").expect("whole") {
                got += bytes.len() - 1;
            }
        }
        sent.await.expect("no panic");
        let _open = answered.await.expect("no panic");
    }
}
