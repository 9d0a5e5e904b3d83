//! How the agent tells a supervisor what to run: over a socket that is the supervisor's stdin. First one byte with
//! the job's three descriptors (unix(7), SCM_RIGHTS), then length and [`Open`] with everything decided: the whole
//! environment, SHELL in it, and the cwd. Back come how the job ended, or why it did not start.
//!
//! Later the agent sends signals' numbers; the end of the socket, however it comes, ends the job.

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use womm_wire::frame::{MOST_OPEN, Open};

/// stdin, stdout, stderr of a job.
pub type Stdio = [OwnedFd; 3];

/// Sends the descriptors; the socket has room for that at once.
pub fn send_stdio(socket: &UnixStream, stdio: [BorrowedFd<'_>; 3]) -> io::Result<()> {
    send_descriptors(socket, 0, &stdio)
}

/// Sends a byte and, with it, at most three descriptors.
pub fn send_descriptors(socket: &UnixStream, byte: u8, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(fds));
    rustix::net::sendmsg(socket.as_fd(), &[IoSlice::new(&[byte])], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives such a byte with its descriptors; no byte at the end of the socket.
pub fn receive_descriptors(socket: &UnixStream) -> io::Result<(Option<u8>, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let got = rustix::net::recvmsg(socket.as_fd(), &mut [IoSliceMut::new(&mut byte)], &mut ancillary, flags)?;
    let fds = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    let fds = fds.flatten().collect();
    Ok(((got.bytes == 1).then_some(byte[0]), fds))
}

/// The bytes that follow the descriptors.
pub fn encode(open: &Open) -> Vec<u8> {
    let bytes = open.encode();
    let mut out = (bytes.len() as u32).to_be_bytes().to_vec();
    out.extend_from_slice(&bytes);
    out
}

/// The supervisor's side of both.
pub fn receive(socket: &UnixStream) -> io::Result<(Stdio, Open)> {
    let (byte, fds) = receive_descriptors(socket)?;
    let stdio = Stdio::try_from(fds).map_err(|_| io::Error::other("the agent sent no descriptors"))?;
    let mut length = [0; 4];
    let mut socket = socket;
    socket.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    // An agent's own additions make it somewhat longer than what it was sent.
    if byte.is_none() || length > 2 * MOST_OPEN {
        return Err(io::Error::other("the agent sent no job"));
    }
    let mut bytes = vec![0; length];
    socket.read_exact(&mut bytes)?;
    Ok((stdio, Open::decode(&bytes).map_err(io::Error::other)?))
}

/// What a supervisor answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It exited with this code.
    Exited(u8),
    /// A signal ended it.
    Signalled(u8),
    /// It did not start.
    Refused(String),
}

impl Answer {
    /// Writes it; an agent that is gone does not care.
    pub fn send(&self, mut socket: &UnixStream) {
        let bytes = match self {
            Self::Exited(code) => vec![b'e', *code],
            Self::Signalled(signal) => vec![b's', *signal],
            // The first newline is its end.
            Self::Refused(why) => [b"r", why.replace('\n', " ").as_bytes(), b"\n"].concat(),
        };
        let _ = socket.write_all(&bytes);
    }

    /// Reads one from its first bytes; `None` if more are needed.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [b'e', code, ..] => Some(Self::Exited(*code)),
            [b's', signal, ..] => Some(Self::Signalled(*signal)),
            [b'r', text @ ..] => {
                let end = text.iter().position(|byte| *byte == b'\n')?;
                Some(Self::Refused(String::from_utf8_lossy(&text[..end]).into_owned()))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn a_job_and_its_descriptors_arrive() {
        let (near, far) = UnixStream::pair().expect("sockets");
        let null = File::open("/dev/null").expect("there");
        let open = Open { command: Some(b"x\xff".to_vec()), ..Open::default() };
        send_stdio(&near, [null.as_fd(); 3]).expect("room");
        (&near).write_all(&encode(&open)).expect("room");
        let (stdio, got) = receive(&far).expect("whole");
        assert_eq!(got, open);
        assert_eq!(stdio.len(), 3);
    }

    #[test]
    fn an_answer_is_the_same_in_pieces() {
        assert_eq!(Answer::parse(b"rno shell"), None);
        assert_eq!(Answer::parse(b"rno\nshell\n"), Some(Answer::Refused("no".into())));
    }

    #[test]
    fn answers_arrive() {
        for answer in [Answer::Exited(7), Answer::Signalled(9), Answer::Refused("no shell".into())] {
            let (near, mut far) = UnixStream::pair().expect("sockets");
            answer.send(&near);
            drop(near);
            let mut bytes = Vec::new();
            far.read_to_end(&mut bytes).expect("whole");
            assert_eq!(Answer::parse(&bytes), Some(answer));
        }
    }
}
