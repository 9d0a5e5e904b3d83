//! Reaching into a container: `womm-agent connect` by docker exec, its stdio as one byte stream.

use super::{Docker, trouble};
use crate::{Error, Wire};
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::errors::Error as Api;
use bollard::exec::{StartExecOptions, StartExecResults};
use bollard::models::ExecConfig;
use bytes::{Buf, Bytes};
use futures::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use womm_wire::names;
use womm_wire::pod::Pod;

/// How long making and starting an exec may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// Bytes read at once. Docker's own frames are up to 32 KiB.
const READ_BYTES: usize = 64 << 10;
/// The most that is kept of what the agent says on stderr.
const STDERR_BYTES: usize = 4 << 10;
/// How Docker 20.10 begins when it could not start the program: it says so on the stream, as if the program had.
const NOT_STARTED: &[u8] = b"OCI runtime exec failed";

pub(super) async fn dial(docker: &Docker, pod: &Pod) -> Result<Box<dyn Wire>, Error> {
    let deed = format!("reach the agent in {}", pod.name);
    let exec = ExecConfig {
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        cmd: Some(vec![names::AGENT_BAKED.into(), "connect".into()]),
        ..Default::default()
    };
    let options = StartExecOptions { detach: false, tty: false, output_capacity: Some(READ_BYTES) };
    let start = async {
        let exec = docker.api.create_exec(&pod.uid, exec).await?;
        docker.api.start_exec(&exec.id, Some(options)).await
    };
    let started = match tokio::time::timeout(DEADLINE, start).await {
        Ok(started) => started,
        Err(_) => return Err(Error::Timeout { deed, after: DEADLINE }),
    };
    match started {
        Ok(StartExecResults::Attached { output, input }) => Ok(Box::new(ExecWire::new(output, input))),
        Ok(StartExecResults::Detached) => Err(Error::Refused { deed, reason: "Docker did not attach".into() }),
        // Source: moby, `daemon/exec.go`, `errExecPaused`: "container … is paused, unpause the container before exec".
        Err(e) if trouble::status(&e) == Some(409) && trouble::words(&e).contains("is paused") => {
            Err(Error::Refused { deed, reason: "it is paused".into() })
        }
        // 404: no such container; 409: it is not running.
        Err(e) if matches!(trouble::status(&e), Some(404 | 409)) => Err(Error::Missing {
            what: format!("pod {}", pod.name),
            on: Some("any more".into()),
            help: "another one takes its place".into(),
        }),
        Err(e) => Err(trouble::explain(&docker.at, &deed, &e)),
    }
}

pub(super) type Output = Pin<Box<dyn Stream<Item = Result<LogOutput, Api>> + Send>>;

/// stdin and stdout of an exec. What comes on stderr is kept, and becomes the error with which the stream ends.
pub(super) struct ExecWire {
    output: Output,
    input: Pin<Box<dyn AsyncWrite + Send>>,
    /// Of the last frame, what was not read yet.
    rest: Bytes,
    stderr: Vec<u8>,
    begun: bool,
    ended: bool,
}

impl ExecWire {
    pub(super) fn new(output: Output, input: Pin<Box<dyn AsyncWrite + Send>>) -> Self {
        Self { output, input, rest: Bytes::new(), stderr: Vec::new(), begun: false, ended: false }
    }

    fn said(&mut self, words: &[u8]) {
        let room = STDERR_BYTES.saturating_sub(self.stderr.len());
        self.stderr.extend_from_slice(&words[..words.len().min(room)]);
    }

    /// The end: with words an error, without them an end of file, which to a wire is a break as well.
    fn end(&self) -> io::Result<()> {
        let words = String::from_utf8_lossy(&self.stderr);
        let words = words.trim();
        if words.is_empty() { Ok(()) } else { Err(io::Error::new(ErrorKind::UnexpectedEof, words.to_owned())) }
    }
}

impl AsyncRead for ExecWire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        while this.rest.is_empty() {
            if this.ended {
                return Poll::Ready(this.end());
            }
            match ready!(this.output.as_mut().poll_next(cx)) {
                Some(Ok(LogOutput::StdOut { message })) => {
                    if !this.begun && message.starts_with(NOT_STARTED) {
                        this.said(&message);
                        this.ended = true;
                    } else {
                        this.begun |= !message.is_empty();
                        this.rest = message;
                    }
                }
                // Console: what has no frame around it can only be words of Docker's own.
                Some(Ok(LogOutput::StdErr { message } | LogOutput::Console { message })) => this.said(&message),
                Some(Ok(LogOutput::StdIn { .. })) => {}
                Some(Err(e)) => {
                    this.ended = true;
                    this.said(trouble::words(&e).as_bytes());
                }
                None => this.ended = true,
            }
        }
        let length = this.rest.len().min(buf.remaining());
        buf.put_slice(&this.rest[..length]);
        this.rest.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ExecWire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.input.as_mut().poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.input.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.input.as_mut().poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    fn wire(frames: Vec<Result<LogOutput, Api>>) -> ExecWire {
        ExecWire::new(Box::pin(futures::stream::iter(frames)), Box::pin(tokio::io::sink()))
    }

    fn out(bytes: &'static [u8]) -> Result<LogOutput, Api> {
        Ok(LogOutput::StdOut { message: Bytes::from_static(bytes) })
    }

    fn err(bytes: &'static [u8]) -> Result<LogOutput, Api> {
        Ok(LogOutput::StdErr { message: Bytes::from_static(bytes) })
    }

    #[tokio::test]
    async fn frames_become_one_stream_and_stderr_its_end() {
        let mut read = Vec::new();
        let mut quiet = wire(vec![out(b"ab"), out(b""), out(b"cde")]);
        assert_eq!(quiet.read_to_end(&mut read).await.expect("a quiet end"), 5);
        assert_eq!(read, b"abcde");

        let mut read = Vec::new();
        let mut loud = wire(vec![out(b"ab"), err(b"no agent"), err(b" here\n")]);
        let error = loud.read_to_end(&mut read).await.expect_err("it said something");
        assert_eq!(
            (read.as_slice(), error.kind(), error.to_string().as_str()),
            (&b"ab"[..], ErrorKind::UnexpectedEof, "no agent here")
        );
        // And it stays ended.
        assert!(loud.read_u8().await.is_err());
    }

    #[tokio::test]
    async fn a_program_that_could_not_be_started_is_no_output() {
        let mut wire = wire(vec![out(b"OCI runtime exec failed: exec: \"/x\": no such file\r\n")]);
        let error = wire.read_u8().await.expect_err("not started");
        assert!(error.to_string().ends_with("no such file"), "{error}");
    }
}
