//! Frames: how a job's bytes travel between `womm-ssh`, `womm-sshlogins` and `womm-agent`.
//!
//! A job is one byte stream each way (a unix socket on the workstation, a stream of the multiplexer to the pod), cut
//! into frames: kind (1 byte), length (4 bytes, big endian), payload. The same frames on both legs, so that
//! `womm-sshlogins` passes them on as they are. `docs/wire.md` has the order in which they may come.

/// Bytes of a frame's header.
pub const HEADER: usize = 5;
/// The most payload of any frame but [`Kind::Open`], bytes.
pub const MOST_DATA: usize = 64 << 10;
/// The most payload of [`Kind::Open`], bytes: Linux's whole argument and environment space at its default stack limit.
pub const MOST_OPEN: usize = 2 << 20;

/// The most bytes of stdin frames, headers included, that are under way: sent and not yet [`Kind::StdinTaken`]. Both
/// relays can hold them, so a job that does not read its stdin never keeps an end or a signal from being noticed.
/// As large as OpenSSH's: a block of `parallel --pipe` (1 MB) that its job does not read is taken all the same, or GNU
/// parallel's feeder would die of SIGPIPE and the job count as failed (measured, 20221122).
pub const STDIN_WINDOW: usize = 2 << 20;

/// What a frame says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// To the pod, first and once: the job. Payload: [`Open`].
    Open = 1,
    /// To the pod: bytes for the job's stdin.
    Stdin = 2,
    /// To the pod: stdin ends.
    StdinEof = 3,
    /// To the pod, with a terminal: its new size. Payload: [`Size`].
    Resize = 4,
    /// To the pod: send the job a signal. Payload: the signal's number, one byte.
    Signal = 5,
    /// To the workstation: bytes of the job's stdout.
    Stdout = 16,
    /// To the workstation: bytes of the job's stderr.
    Stderr = 17,
    /// To the workstation: nobody reads the job's stdin any more, as EPIPE says of a pipe.
    StdinClosed = 18,
    /// To the workstation: a line for the user's stderr that is ours, not the job's. UTF-8, no newline.
    Note = 19,
    /// To the workstation, last and once: how it ended. Payload: [`End`].
    End = 20,
    /// To the workstation: so many bytes of stdin frames, headers included, were taken. Payload: 4 bytes, big endian. 0 is the
    /// first that comes: the job was taken.
    StdinTaken = 21,
}

impl Kind {
    /// The kind of that number.
    pub fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Open,
            2 => Self::Stdin,
            3 => Self::StdinEof,
            4 => Self::Resize,
            5 => Self::Signal,
            16 => Self::Stdout,
            17 => Self::Stderr,
            18 => Self::StdinClosed,
            19 => Self::Note,
            20 => Self::End,
            21 => Self::StdinTaken,
            _ => return None,
        })
    }
}

/// What no well-behaved peer sends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Not a [`Kind`].
    #[error("frame of unknown kind {0}")]
    Kind(u8),
    /// More payload than the kind may have.
    #[error("frame {kind:?} of {length} bytes, the most is {most}")]
    Long {
        /// The frame's kind.
        kind: Kind,
        /// Its length, bytes.
        length: usize,
        /// The bound, bytes.
        most: usize,
    },
    /// A payload that is not what its kind has.
    #[error("frame {0:?} with an unreadable payload")]
    Payload(Kind),
}

/// A frame's header: kind and length of the payload, bytes.
///
/// # Errors
/// If the kind is unknown or the payload too long.
pub fn header(bytes: [u8; HEADER]) -> Result<(Kind, usize), Malformed> {
    let kind = Kind::from_byte(bytes[0]).ok_or(Malformed::Kind(bytes[0]))?;
    let length = u32::from_be_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]) as usize;
    let most = if kind == Kind::Open { MOST_OPEN } else { MOST_DATA };
    if length > most { Err(Malformed::Long { kind, length, most }) } else { Ok((kind, length)) }
}

/// The header of a frame; the payload follows it.
///
/// # Panics
/// If the payload is longer than a frame of that kind may be: the caller cuts data into pieces.
pub fn header_of(kind: Kind, length: usize) -> [u8; HEADER] {
    assert!(length <= if kind == Kind::Open { MOST_OPEN } else { MOST_DATA }, "payload of {length} bytes");
    let l = (length as u32).to_be_bytes();
    [kind as u8, l[0], l[1], l[2], l[3]]
}

/// The payload of [`Kind::StdinTaken`]: so many bytes of stdin frames, headers included.
pub fn taken(count: usize) -> [u8; 4] {
    (count as u32).to_be_bytes()
}

/// Reads the payload of [`Kind::StdinTaken`].
///
/// # Errors
/// If it has not four bytes.
pub fn taken_of(payload: &[u8]) -> Result<usize, Malformed> {
    let bytes = payload.try_into().map_err(|_| Malformed::Payload(Kind::StdinTaken))?;
    Ok(u32::from_be_bytes(bytes) as usize)
}

/// A whole frame.
///
/// # Panics
/// As [`header_of`].
pub fn encode(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEADER + payload.len());
    frame.extend_from_slice(&header_of(kind, payload.len()));
    frame.extend_from_slice(payload);
    frame
}

/// Cuts bytes that arrive in any pieces into frames.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
    start: usize,
}

impl Decoder {
    /// Takes what arrived.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame, if there is one.
    ///
    /// # Errors
    /// If what arrived is no frame; nothing after it can be read either.
    pub fn next_frame(&mut self) -> Result<Option<(Kind, &[u8])>, Malformed> {
        let rest = &self.bytes[self.start..];
        let Some(head) = rest.first_chunk::<HEADER>() else { return Ok(None) };
        let (kind, length) = header(*head)?;
        if rest.len() < HEADER + length {
            return Ok(None);
        }
        let payload = self.start + HEADER;
        self.start = payload + length;
        Ok(Some((kind, &self.bytes[payload..self.start])))
    }
}

/// A terminal's size, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Lines.
    pub rows: u16,
    /// Columns.
    pub columns: u16,
}

impl Size {
    /// As the payload of [`Kind::Resize`].
    pub fn encode(self) -> [u8; 4] {
        let (r, c) = (self.rows.to_be_bytes(), self.columns.to_be_bytes());
        [r[0], r[1], c[0], c[1]]
    }

    /// The payload of [`Kind::Resize`].
    ///
    /// # Errors
    /// If it has not four bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        match bytes {
            [a, b, c, d] => Ok(Self { rows: u16::from_be_bytes([*a, *b]), columns: u16::from_be_bytes([*c, *d]) }),
            _ => Err(Malformed::Payload(Kind::Resize)),
        }
    }
}

/// A job. All strings are bytes: names on Linux need not be UTF-8.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Open {
    /// The host it was sent to, `w001`. The agent does not need it.
    pub host: Vec<u8>,
    /// For the shell's `-c`; `None`: a login shell.
    pub command: Option<Vec<u8>>,
    /// Its cwd; `None`: the task's.
    pub cwd: Option<Vec<u8>>,
    /// Variables beyond those that the pod has.
    pub env: Vec<(Vec<u8>, Vec<u8>)>,
    /// With a terminal: TERM and the size.
    pub terminal: Option<(Vec<u8>, Size)>,
    /// A subsystem in ssh's sense instead of a command: `sftp`.
    pub subsystem: Option<Vec<u8>>,
    /// It belongs to the run (GNU parallel sent it), so it takes one of a pod's slots. What people start from another
    /// terminal does not.
    pub of_run: bool,
    /// Which try of which of GNU parallel's jobs it belongs to: programs with the same one, not empty, use the same files.
    pub attempt: Vec<u8>,
}

// Fields: tag (1 byte), length (4 bytes, big endian), value. Unknown tags are passed over.
const HOST: u8 = b'h';
const COMMAND: u8 = b'c';
const CWD: u8 = b'd';
const ENV: u8 = b'e';
const TERMINAL: u8 = b't';
const SUBSYSTEM: u8 = b's';
const OF_RUN: u8 = b'r';
const ATTEMPT: u8 = b'a';

impl Open {
    /// As the payload of [`Kind::Open`].
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut field = |tag: u8, parts: &[&[u8]]| {
            out.push(tag);
            out.extend_from_slice(&(parts.iter().map(|p| p.len()).sum::<usize>() as u32).to_be_bytes());
            parts.iter().for_each(|p| out.extend_from_slice(p));
        };
        field(HOST, &[&self.host]);
        for (tag, value) in [(COMMAND, &self.command), (CWD, &self.cwd), (SUBSYSTEM, &self.subsystem)] {
            if let Some(value) = value {
                field(tag, &[value]);
            }
        }
        if self.of_run {
            field(OF_RUN, &[]);
        }
        if !self.attempt.is_empty() {
            field(ATTEMPT, &[&self.attempt]);
        }
        for (name, value) in &self.env {
            field(ENV, &[name, b"=", value]);
        }
        if let Some((term, size)) = &self.terminal {
            field(TERMINAL, &[&size.encode(), term]);
        }
        out
    }

    /// The payload of [`Kind::Open`].
    ///
    /// # Errors
    /// If lengths lie, or a variable has no `=`.
    pub fn decode(mut bytes: &[u8]) -> Result<Self, Malformed> {
        let bad = Malformed::Payload(Kind::Open);
        let mut open = Self::default();
        while let Some((head, rest)) = bytes.split_first_chunk::<5>() {
            let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
            let (value, rest) = rest.split_at_checked(length).ok_or(bad.clone())?;
            bytes = rest;
            match head[0] {
                HOST => open.host = value.to_vec(),
                COMMAND => open.command = Some(value.to_vec()),
                CWD => open.cwd = Some(value.to_vec()),
                SUBSYSTEM => open.subsystem = Some(value.to_vec()),
                OF_RUN => open.of_run = true,
                ATTEMPT => open.attempt = value.to_vec(),
                ENV => {
                    let equals = value.iter().position(|b| *b == b'=').ok_or(bad.clone())?;
                    open.env.push((value[..equals].to_vec(), value[equals + 1..].to_vec()));
                }
                TERMINAL => {
                    let (size, term) = value.split_at_checked(4).ok_or(bad.clone())?;
                    open.terminal = Some((term.to_vec(), Size::decode(size)?));
                }
                _ => {}
            }
        }
        if bytes.is_empty() { Ok(open) } else { Err(bad) }
    }
}

/// The last of Linux's signals, SIGRTMAX (signal(7)).
pub const MOST_SIGNAL: u8 = 64;

/// How a job ended: exactly one of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum How {
    /// With this exit code.
    Exited(u8),
    /// By this signal.
    Signalled(u8),
    /// It was never started.
    Refused,
    /// It was never started, and may be elsewhere: this pod is about to end.
    Denied,
    /// Nobody knows: pod or agent are gone. It may have run.
    Lost,
}

/// The last frame of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Which way.
    pub how: How,
    /// Bytes of stdout that were sent before.
    pub stdout_bytes: u64,
    /// Bytes of stderr that were sent before.
    pub stderr_bytes: u64,
    /// Why, for refused and lost, or what to know ("out of memory"); may be empty. One line of UTF-8.
    pub reason: String,
}

impl End {
    /// An end without output: refused or lost.
    pub fn without_output(how: How, reason: impl Into<String>) -> Self {
        Self { how, stdout_bytes: 0, stderr_bytes: 0, reason: reason.into() }
    }

    /// As the payload of [`Kind::End`].
    pub fn encode(&self) -> Vec<u8> {
        let (way, number) = match self.how {
            How::Exited(code) => (b'e', code),
            How::Signalled(signal) => (b's', signal),
            How::Refused => (b'r', 0),
            How::Denied => (b'd', 0),
            How::Lost => (b'l', 0),
        };
        let mut out = vec![way, number];
        out.extend_from_slice(&self.stdout_bytes.to_be_bytes());
        out.extend_from_slice(&self.stderr_bytes.to_be_bytes());
        let mut most = self.reason.len().min(4096); // far below a frame's bound
        while !self.reason.is_char_boundary(most) {
            most -= 1;
        }
        out.extend_from_slice(&self.reason.as_bytes()[..most]);
        out
    }

    /// The payload of [`Kind::End`].
    ///
    /// # Errors
    /// If it is too short or of an unknown way.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let bad = Malformed::Payload(Kind::End);
        let (head, reason) = bytes.split_first_chunk::<18>().ok_or(bad.clone())?;
        let number = |at: usize| head[at..at + 8].iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
        Ok(Self {
            how: match (head[0], head[1]) {
                (b'e', code) => How::Exited(code),
                (b's', signal @ 1..=MOST_SIGNAL) => How::Signalled(signal),
                (b'r', _) => How::Refused,
                (b'd', _) => How::Denied,
                (b'l', _) => How::Lost,
                _ => return Err(bad),
            },
            stdout_bytes: number(2),
            stderr_bytes: number(10),
            reason: String::from_utf8_lossy(reason).into_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_survives_the_wire() {
        let open = Open {
            host: b"w001".to_vec(),
            command: Some(b"echo \xff\n\\".to_vec()),
            cwd: Some(b"/tmp/a b\xfe".to_vec()),
            env: vec![(b"A".to_vec(), b"b=c\n".to_vec()), (b"E".to_vec(), vec![])],
            terminal: Some((b"xterm".to_vec(), Size { rows: 24, columns: 80 })),
            subsystem: None,
            of_run: true,
            attempt: b"12.3456".to_vec(),
        };
        assert_eq!(Open::decode(&open.encode()), Ok(open));
    }

    #[test]
    fn fields_of_a_later_version_are_passed_over() {
        let mut bytes = Open { command: Some(b"true".to_vec()), ..Open::default() }.encode();
        bytes.extend_from_slice(&[b'~', 0, 0, 0, 2, 1, 2]);
        assert_eq!(Open::decode(&bytes).map(|o| o.command), Ok(Some(b"true".to_vec())));
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        assert!(Open::decode(&[b'c', 0, 0, 0, 9, 1]).is_err());
        assert!(Open::decode(b"c").is_err());
        assert!(Open::decode(&[b'e', 0, 0, 0, 1, b'A']).is_err());
        assert!(header([Kind::Stdout as u8, 0, 1, 0, 1]).is_err());
        assert!(header([99, 0, 0, 0, 0]).is_err());
        assert!(End::decode(b"e").is_err());
        assert!(Size::decode(&[0; 5]).is_err());
        assert!(taken_of(&[0; 3]).is_err() && taken_of(&[0; 5]).is_err());
    }

    #[test]
    fn what_was_taken_survives_the_wire() {
        assert_eq!(taken_of(&taken(STDIN_WINDOW)), Ok(STDIN_WINDOW));
    }

    #[test]
    fn ends_survive_the_wire() {
        for how in [How::Exited(255), How::Signalled(9), How::Refused, How::Denied, How::Lost] {
            let end = End { how, stdout_bytes: u64::MAX, stderr_bytes: 3, reason: "ünd".into() };
            assert_eq!(End::decode(&end.encode()), Ok(end));
        }
    }

    #[test]
    fn frames_come_out_whole_whatever_the_pieces() {
        let stream = [encode(Kind::Stdout, b"abc"), encode(Kind::StdinClosed, b""), encode(Kind::Stderr, &[7; 9000])];
        let stream = stream.concat();
        for piece in [1, 2, 3, 5, 4096, stream.len()] {
            let (mut decoder, mut got) = (Decoder::default(), Vec::new());
            for bytes in stream.chunks(piece) {
                decoder.feed(bytes);
                while let Some((kind, payload)) = decoder.next_frame().expect("well formed") {
                    got.push((kind, payload.len()));
                }
            }
            assert_eq!(got, [(Kind::Stdout, 3), (Kind::StdinClosed, 0), (Kind::Stderr, 9000)]);
        }
    }
}
