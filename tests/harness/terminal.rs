//! A program in a terminal of its own: typed to, read from, resized, closed.

use crate::command::{Cmd, outputs, pty};
use crate::wait::LONG;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};
use rustix::termios::{Winsize, tcsetwinsize};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// A terminal and the leader of the session in it.
#[derive(Debug)]
pub struct Terminal {
    master: Option<OwnedFd>,
    child: Child,
    what: String,
    seen: Vec<u8>,
    /// How much of `seen` has been matched.
    matched: usize,
}

impl Terminal {
    /// Starts a program as the leader of a session that has a new terminal of this size.
    ///
    /// # Panics
    /// If it can't be started.
    #[track_caller]
    pub fn start(cmd: Cmd, rows: u16, columns: u16) -> Self {
        let what = cmd.describe();
        let (master, user) = pty();
        resize(&master, rows, columns);
        let end = || Stdio::from(user.try_clone().expect("a free descriptor"));
        let mut command = cmd.by("setsid", &["--ctty"]).env("TERM", "xterm").command();
        command.stdin(end()).stdout(end()).stderr(end());
        let child = command.spawn().unwrap_or_else(|e| panic!("{what}\ncan't be started: {e}"));
        Self { master: Some(master), child, what, seen: Vec::new(), matched: 0 }
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Types.
    ///
    /// # Panics
    /// If the terminal does not take it.
    #[track_caller]
    pub fn keys(&mut self, text: &str) {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            match rustix::io::write(self.terminal(), rest) {
                Ok(n) => rest = &rest[n..],
                Err(e) => self.fail(&format!("the terminal does not take {text:?}: {e}")),
            }
        }
    }

    fn terminal(&self) -> &OwnedFd {
        self.master.as_ref().expect("open until close() takes it away")
    }

    /// Waits until the program has written this, after what was waited for before; what came before it since.
    ///
    /// # Panics
    /// If the terminal is closed by the program before, or at the deadline.
    #[track_caller]
    pub fn until(&mut self, text: &str) -> String {
        self.until_any(&[text])
    }

    /// The same for one of several.
    ///
    /// # Panics
    /// As [`Terminal::until`].
    #[track_caller]
    pub fn until_any(&mut self, texts: &[&str]) -> String {
        let since = Instant::now();
        loop {
            let fresh = &self.seen[self.matched..];
            let find = |text: &&str| {
                let at = fresh.windows(text.len()).position(|window| window == text.as_bytes())?;
                Some((at, at + text.len()))
            };
            if let Some((begin, end)) = texts.iter().filter_map(find).min() {
                let before = String::from_utf8_lossy(&fresh[..begin]).into_owned();
                self.matched += end;
                return before;
            }
            if !self.read() {
                self.fail(&format!("ended before it wrote {texts:?}"));
            }
            if since.elapsed() > LONG {
                self.fail(&format!("waited {} s in vain for {texts:?}", LONG.as_secs()));
            }
        }
    }

    /// Waits for a question, and for the prompt under it, and answers.
    ///
    /// # Panics
    /// As [`Terminal::until`].
    #[track_caller]
    pub fn answer(&mut self, question: &str, keys: &str) {
        self.until(question);
        self.until("> ");
        self.keys(keys);
    }

    /// Waits for a shell's prompt, and types a line, whose echo is waited for.
    ///
    /// # Panics
    /// As [`Terminal::until`].
    #[track_caller]
    pub fn line(&mut self, prompt: &str, line: &str) {
        self.until(prompt);
        self.keys(&format!("{line}\n"));
        self.until("\r\n");
    }

    /// Reads what is there; false if there can't come more.
    fn read(&mut self) -> bool {
        let pause = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
        let ready = poll(&mut [PollFd::new(self.terminal(), PollFlags::IN)], Some(&pause));
        if !ready.is_ok_and(|n| n > 0) {
            return true;
        }
        let mut buffer = [0; 4096];
        match rustix::io::read(self.terminal(), &mut buffer) {
            Ok(n) if n > 0 => {
                self.seen.extend_from_slice(&buffer[..n]);
                true
            }
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => true,
            _ => false, // EIO: nobody has the other end (pty(7))
        }
    }

    /// All that was written.
    pub fn seen(&self) -> String {
        String::from_utf8_lossy(&self.seen).into_owned()
    }

    /// Gives it another size.
    pub fn resize(&self, rows: u16, columns: u16) {
        resize(self.terminal(), rows, columns);
    }

    /// Closes the terminal, as its window does.
    pub fn close(&mut self) {
        self.master = None;
    }

    /// Waits for the end of the program; the code as a shell has it in `$?`, and all that was written.
    ///
    /// # Panics
    /// At the deadline.
    #[track_caller]
    pub fn finish(mut self) -> (i32, String) {
        let since = Instant::now();
        let mut open = self.master.is_some();
        loop {
            open = open && self.read();
            if let Ok(Some(status)) = self.child.try_wait() {
                let deadline = Instant::now() + Duration::from_millis(500);
                while open && Instant::now() < deadline {
                    open = self.read(); // what it wrote last
                }
                let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(127));
                return (code, self.seen());
            }
            if since.elapsed() > LONG {
                self.fail(&format!("did not end within {} s", LONG.as_secs()));
            }
            if !open {
                std::thread::sleep(crate::wait::PAUSE);
            }
        }
    }

    /// Fails the test, with all that is known.
    ///
    /// # Panics
    /// Always.
    #[track_caller]
    pub fn fail(&self, why: &str) -> ! {
        panic!("{}\n{why}\n{}", self.what, outputs(&self.seen, "(on the terminal)"))
    }
}

fn resize(master: &OwnedFd, rows: u16, columns: u16) {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(master, size).expect("a terminal has a size");
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if !self.child.try_wait().is_ok_and(|status| status.is_some()) {
            let _ = kill_process(self.pid(), Signal::KILL); // the leader; the rest hears of the closed terminal
            let _ = self.child.wait();
        }
    }
}
