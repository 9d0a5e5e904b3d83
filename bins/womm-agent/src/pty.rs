//! Terminals of our own (pty(7)): made, resized, and the bytes that go through them.

use rustix::event::PollFlags;
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use womm_wire::frame::Size;

/// More than a terminal holds of what was written to it (Linux, `drivers/tty/pty.c`: 8 KiB, and those of its line), bytes.
const MOST_HELD: usize = 256 << 10;

/// Both ends of a new terminal.
pub struct Pty {
    /// Ours.
    pub master: OwnedFd,
    /// The program's.
    pub user: OwnedFd,
}

/// Makes a terminal of this size.
pub fn open(size: Size) -> io::Result<Pty> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    resize(&master, size);
    let user = ioctl_tiocgptpeer(&master, flags)?;
    Ok(Pty { master, user })
}

/// Gives a terminal another size.
pub fn resize(terminal: impl AsFd, size: Size) {
    let size = Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    let _ = tcsetwinsize(terminal, size); // a terminal that is gone needs no size
}

/// Shows what a terminal still holds once its program has ended or was stopped. `show` shows a piece, and says how many bytes
/// it had. Another program may write to it for ever, so there is an end.
pub fn rest(mut show: impl FnMut() -> usize) {
    let mut shown = 0;
    while shown < MOST_HELD {
        match show() {
            0 => return,
            bytes => shown += bytes,
        }
    }
}

/// Our end, with the keys that the program has not taken yet. It never blocks.
pub struct Master {
    terminal: OwnedFd,
    keys: Vec<u8>,
}

/// What came of reading.
pub enum Output {
    /// Bytes that the program wrote.
    Bytes(usize),
    /// Nothing now.
    Nothing,
    /// Nobody has the other end any more.
    Closed,
}

impl Master {
    /// Takes it.
    pub fn new(terminal: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&terminal, true)?;
        Ok(Self { terminal, keys: Vec::new() })
    }

    /// To wait for and to resize.
    pub fn terminal(&self) -> BorrowedFd<'_> {
        self.terminal.as_fd()
    }

    /// What to wait for at it.
    pub fn events(&self) -> PollFlags {
        if self.wants_keys() { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT }
    }

    /// Whether the program took all keys so far.
    pub fn wants_keys(&self) -> bool {
        self.keys.is_empty()
    }

    /// Types.
    pub fn keys(&mut self, keys: &[u8]) {
        self.keys.extend_from_slice(keys);
        self.push();
    }

    /// Types what could not be typed before.
    pub fn push(&mut self) {
        while !self.keys.is_empty() {
            match rustix::io::write(&self.terminal, &self.keys) {
                Ok(taken) => _ = self.keys.drain(..taken),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return,
                Err(_) => self.keys.clear(), // nobody reads them
            }
        }
    }

    /// Reads what the program wrote.
    pub fn read(&mut self, buffer: &mut [u8]) -> Output {
        match rustix::io::read(&self.terminal, buffer) {
            Ok(0) => Output::Closed,
            Ok(n) => Output::Bytes(n),
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => Output::Nothing,
            Err(_) => Output::Closed, // EIO
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_for_ever_is_not_shown_for_ever() {
        let pty = open(Size { rows: 10, columns: 20 }).expect("a terminal");
        let mut master = Master::new(pty.master).expect("ours");
        let flood = std::thread::spawn(move || while rustix::io::write(&pty.user, b"yes\n").is_ok() {});
        let (mut buffer, mut shown) = ([0; 4096], 0);
        rest(|| {
            loop {
                match master.read(&mut buffer) {
                    Output::Bytes(n) => {
                        shown += n;
                        return n;
                    }
                    Output::Nothing => std::thread::yield_now(), // it is never done
                    Output::Closed => return 0,
                }
            }
        });
        assert!((MOST_HELD..MOST_HELD + 4096).contains(&shown), "{shown}");
        drop(master);
        flood.join().expect("it ends with the terminal");
    }

    #[test]
    fn keys_that_nobody_takes_wait_and_output_is_read() {
        let pty = open(Size { rows: 10, columns: 20 }).expect("a terminal");
        let size = rustix::termios::tcgetwinsize(&pty.user).expect("a size");
        assert_eq!((size.ws_row, size.ws_col), (10, 20));
        let mut master = Master::new(pty.master).expect("ours");
        let mut buffer = [0; 64];
        assert!(matches!(master.read(&mut buffer), Output::Nothing));
        rustix::io::write(&pty.user, b"hello").expect("room");
        assert!(matches!(master.read(&mut buffer), Output::Bytes(5)));
        let mut raw = rustix::termios::tcgetattr(&pty.user).expect("a terminal");
        raw.make_raw();
        rustix::termios::tcsetattr(&pty.user, rustix::termios::OptionalActions::Now, &raw).expect("ours");
        master.keys(&[b'x'; 1 << 20]);
        assert!(!master.wants_keys(), "a terminal holds less than that");
        drop(pty.user);
        while let Output::Bytes(_) = master.read(&mut buffer) {}
        assert!(matches!(master.read(&mut buffer), Output::Closed));
    }
}
