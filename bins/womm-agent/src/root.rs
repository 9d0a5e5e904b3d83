//! `womm-agent root`: runs one command of `sudo` (sudo.rs), as root, in a session of its own. Its stdin is the socket to
//! who asked: first the descriptors and what to run (spec.rs), then signals to pass on; back come how it went, at each stop
//! and at the end. When the socket closes, the command is hung up. What it left in the background stays: services do.

use crate::offspring;
use crate::pty;
use crate::spec::{self, Answer};
use crate::sudo::{STOPPED, TERMINAL};
use crate::supervisor::login_name;
use crate::which::find;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Gid, Uid};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process, kill_process_group, waitpid};
use rustix::termios::{isatty, tcsetpgrp};
use rustix::thread::{set_thread_gid, set_thread_groups, set_thread_uid};
use signal_hook::consts::SIGCHLD;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use womm_cli::{Failure, report};
use womm_wire::frame::Open;

/// `womm-agent foreground wait|go UID GID,GID… NAME PROGRAM ARGS…`: waits to be let go on, if told to, becomes that user
/// unless it is root, then PROGRAM, called NAME. Only exec'd code may do that between fork and exec without unsafe.
pub fn foreground(mut words: impl Iterator<Item = OsString>) -> ExitCode {
    let mut word = || words.next().unwrap_or_default();
    let (how, uid, gids, name, program) = (word(), word(), word(), word(), word());
    if how == "wait" {
        let _ = kill_process(getpid(), Signal::STOP);
    }
    let error = match become_user(&uid.to_string_lossy(), &gids.to_string_lossy()) {
        Ok(()) => Command::new(&program).arg0(&name).args(words).exec(),
        Err(e) => e,
    };
    report("sudo", &Failure::outside(format!("{}: {error}", program.to_string_lossy())));
    ExitCode::from(1)
}

fn become_user(uid: &str, gids: &str) -> io::Result<()> {
    let number = |text: &str| text.parse::<u32>().map_err(io::Error::other);
    let (uid, gids) = (number(uid)?, gids.split(',').map(number).collect::<io::Result<Vec<_>>>()?);
    if uid != 0 {
        let gids: Vec<_> = gids.into_iter().map(Gid::from_raw).collect();
        // This process has one thread, so what these change of a thread is changed of all of it.
        set_thread_groups(&gids)?;
        set_thread_gid(gids[0])?;
        set_thread_uid(Uid::from_raw(uid))?;
    }
    Ok(())
}

pub fn main() -> ExitCode {
    // Nobody is left to tell if this fails.
    let _ = run();
    ExitCode::SUCCESS
}

fn run() -> io::Result<()> {
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let children = offspring::signal_pipe(&[SIGCHLD])?;
    let (stdio, open) = spec::receive(&socket)?;
    let _ = rustix::process::setsid(); // a new process leads no group
    match start(&socket, stdio, &open) {
        Ok(command) => command.watch(&socket, &children),
        Err(why) => Answer::Refused(why).send(&socket),
    }
    Ok(())
}

/// A line of the container's passwd.
struct Account {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
    shell: String,
}

/// Groups of a user, their own first, by a group(5) file.
fn groups_of(file: &[u8], user: &str, gid: u32) -> Vec<u32> {
    let lines = file.split(|b| *b == b'\n').map(|line| line.split(|b| *b == b':').collect::<Vec<_>>());
    let with_user = lines.filter(|fields| {
        fields.get(3).is_some_and(|members| members.split(|b| *b == b',').any(|member| member == user.as_bytes()))
    });
    let others = with_user.filter_map(|fields| std::str::from_utf8(fields[2]).ok()?.parse().ok());
    std::iter::once(gid).chain(others.filter(|other| *other != gid)).collect()
}

impl Account {
    /// Of a name, or of `#UID`.
    fn find(name: &[u8]) -> Option<Self> {
        let name = if name.is_empty() { &b"root"[..] } else { name };
        let passwd = std::fs::read("/etc/passwd").unwrap_or_default();
        let lines = passwd.split(|b| *b == b'\n').map(|line| line.split(|b| *b == b':').collect::<Vec<_>>());
        let number = name.strip_prefix(b"#");
        let text = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
        let known = lines.filter(|line| line.len() >= 7).find(|line| match number {
            Some(number) => line[2] == number,
            None => line[0] == name,
        });
        match (known, number) {
            (Some(line), _) => Some(Self {
                name: text(line[0]),
                uid: text(line[2]).parse().ok()?,
                gid: text(line[3]).parse().ok()?,
                home: text(line[5]),
                shell: Some(text(line[6])).filter(|shell| Path::new(shell).is_file()).unwrap_or("/bin/sh".into()),
            }),
            (None, Some(number)) => {
                let uid = text(number).parse().ok()?;
                Some(Self { name: text(name), uid, gid: uid, home: "/".into(), shell: "/bin/sh".into() })
            }
            // An image need not have a passwd at all.
            (None, None) if name == b"root" => {
                Some(Self { name: "root".into(), uid: 0, gid: 0, home: "/root".into(), shell: "/bin/sh".into() })
            }
            (None, None) => None,
        }
    }
}

/// A command that runs.
struct Running {
    pid: Pid,
    /// Open as long as it runs: who reads our end would else be told of its end in between.
    _terminal: Option<OwnedFd>,
}

fn start(socket: &UnixStream, stdio: spec::Stdio, open: &Open) -> Result<Running, String> {
    let account = Account::find(&open.host);
    let account = account.ok_or_else(|| format!("no user \"{}\"", String::from_utf8_lossy(&open.host)))?;
    let terminal_wanted = open.terminal.is_some();
    let (program, mut command) = command(open, &account, terminal_wanted)?;
    let failed = |e: io::Error| format!("make a terminal: {e}");
    let mut terminal = None;
    let mut ends: Vec<OwnedFd> = stdio.into();
    if let Some((_, size)) = &open.terminal {
        let pty = pty::open(*size).map_err(failed)?;
        spec::send_descriptors(socket, TERMINAL, &[pty.master.as_fd()]).map_err(failed)?;
        for end in ends.iter_mut().filter(|end| isatty(end.as_fd())) {
            *end = pty.user.try_clone().map_err(failed)?;
        }
        rustix::process::ioctl_tiocsctty(&pty.user).map_err(|e| failed(e.into()))?;
        terminal = Some(pty.user);
    }
    let mut ends = ends.into_iter().map(Stdio::from);
    let mut next = || ends.next().unwrap_or_else(Stdio::null);
    command.stdin(next()).stdout(next()).stderr(next()).process_group(0);
    let child = command.spawn().map_err(|e| format!("{}: {e}", program.display()))?;
    let pid = Pid::from_child(&child);
    if let Some(terminal) = &terminal {
        // It stops itself first thing. Whatever fails here it would have failed at, too.
        let _ = waitpid(Some(pid), WaitOptions::UNTRACED);
        let _ = tcsetpgrp(terminal, pid);
        let _ = kill_process(pid, Signal::CONT);
    }
    Ok(Running { pid, _terminal: terminal })
}

/// What to run, where and with which variables; in a terminal and for others than root by way of [`foreground`].
fn command(open: &Open, account: &Account, in_terminal: bool) -> Result<(PathBuf, Command), String> {
    let how = open.subsystem.as_deref().unwrap_or_default();
    let [keep_home, login, shell] = [b'E', b'i', b's'].map(|letter| how.contains(&letter));
    let text = open.command.as_deref().unwrap_or_default();
    let words: Vec<&OsStr> = text.split(|b| *b == 0).map(OsStr::from_bytes).filter(|_| !text.is_empty()).collect();
    let (name, program, args) = if login || shell {
        let name = if login { login_name(account.shell.as_bytes()) } else { OsString::from(&account.shell) };
        let args = if words.is_empty() { Vec::new() } else { vec![OsString::from("-c"), quoted(&words)] };
        (name, PathBuf::from(&account.shell), args)
    } else {
        let (name, rest) = match words.as_slice() {
            [name, rest @ ..] if !name.is_empty() => ((*name).to_owned(), rest),
            _ => return Err("the command's name is empty".into()),
        };
        let value = |(k, v): &(Vec<u8>, Vec<u8>)| (k == b"PATH").then(|| OsStr::from_bytes(v).to_owned());
        let path = open.env.iter().find_map(value).unwrap_or_default();
        let program = if name.as_bytes().contains(&b'/') { Some(PathBuf::from(&name)) } else { find(&path, &name) };
        let program = program.ok_or_else(|| format!("{}: command not found", name.to_string_lossy()))?;
        (name, program, rest.iter().map(|word| (*word).to_owned()).collect())
    };
    let mut command;
    if in_terminal || account.uid != 0 {
        let groups = groups_of(&std::fs::read("/etc/group").unwrap_or_default(), &account.name, account.gid);
        let groups = groups.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
        command = Command::new("/proc/self/exe");
        command.arg("foreground").arg(if in_terminal { "wait" } else { "go" });
        command.args([account.uid.to_string(), groups]).arg(name).arg(&program);
    } else {
        command = Command::new(&program);
        command.arg0(name);
    }
    command.args(args);
    command.env_clear().envs(open.env.iter().map(|(k, v)| (OsStr::from_bytes(k), OsStr::from_bytes(v))));
    let value = |name: &[u8]| open.env.iter().find(|(k, _)| k == name).map(|(_, v)| OsStr::from_bytes(v));
    for (name, value) in [("SUDO_USER", value(b"USER")), ("SUDO_COMMAND", words.first().copied())] {
        command.envs(value.map(|value| (name, value)));
    }
    command.envs([("USER", &account.name), ("LOGNAME", &account.name), ("SHELL", &account.shell)]);
    if !keep_home || login {
        command.env("HOME", &account.home);
    }
    let cwd = open.cwd.as_deref().map(OsStr::from_bytes).filter(|_| !login).unwrap_or(OsStr::new(&account.home));
    // As root we may enter all folders; that of the login may not be there.
    if Path::new(cwd).is_dir() {
        command.current_dir(cwd);
    }
    Ok((program, command))
}

/// Words as a shell reads them again.
fn quoted(words: &[&OsStr]) -> OsString {
    let quote = |word: &&OsStr| {
        let text = word.as_bytes().split(|b| *b == b'\'').collect::<Vec<_>>().join(&b"'\\''"[..]);
        [b"'", &text[..], b"'"].concat()
    };
    let line = words.iter().map(quote).collect::<Vec<_>>().join(&b' ');
    OsStr::from_bytes(&line).into()
}

impl Running {
    fn watch(&self, mut socket: &UnixStream, children: &UnixStream) {
        loop {
            offspring::drain(children);
            let options = WaitOptions::NOHANG | WaitOptions::UNTRACED;
            if let Ok(Some((_, status))) = waitpid(Some(self.pid), options) {
                match answer(status) {
                    Some(answer) => {
                        answer.send(socket);
                        return;
                    }
                    None => socket
                        .write_all(&[STOPPED, status.stopping_signal().unwrap_or_default() as u8])
                        .unwrap_or_default(),
                }
                continue;
            }
            let mut fds = [PollFd::new(socket, PollFlags::IN), PollFd::new(children, PollFlags::IN)];
            if poll(&mut fds, None).is_err() || fds[0].revents().is_empty() {
                continue;
            }
            let mut signals = [0; 16];
            match socket.read(&mut signals) {
                Ok(n) if n > 0 => signals[..n].iter().for_each(|signal| self.signal(*signal)),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                _ => {
                    for signal in [Signal::HUP, Signal::TERM, Signal::CONT] {
                        let _ = kill_process_group(self.pid, signal);
                    }
                    return;
                }
            }
        }
    }

    fn signal(&self, number: u8) {
        if let Some(signal) = Signal::from_named_raw(number.into()) {
            let _ = kill_process_group(self.pid, signal); // it may have ended
        }
    }
}

fn answer(status: WaitStatus) -> Option<Answer> {
    match (status.terminating_signal(), status.exit_status()) {
        (Some(signal), _) => Some(Answer::Signalled(signal as u8)),
        (None, Some(code)) => Some(Answer::Exited(code as u8)),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_without_a_name_is_refused() {
        let root = Account::find(b"").expect("root");
        for words in [&b""[..], b"\0x"] {
            let open = Open { command: Some(words.to_vec()), ..Open::default() };
            assert_eq!(command(&open, &root, false).expect_err("no name"), "the command's name is empty");
        }
        let open = Open { command: Some(b"/bin/echo\0\0x".to_vec()), ..Open::default() };
        let (program, command) = command(&open, &root, false).expect("empty words may follow");
        assert_eq!((program, command.get_args().count()), (PathBuf::from("/bin/echo"), 2));
    }

    #[test]
    fn a_user_is_in_their_groups() {
        let file = b"root:x:0:\nwww:x:33:\nbroken\nssl:x:110:a,www,b\nwwwx:x:7:xwww\nown:x:33:www\nmail:x:8:www";
        assert_eq!(groups_of(file, "www", 33), [33, 110, 8]);
        assert_eq!(groups_of(b"", "www", 33), [33]);
        let account = Account::find(b"#4242").expect("a number");
        let open = Open { command: Some(b"/bin/echo\0x".to_vec()), ..Open::default() };
        let (_, command) = command(&open, &account, false).expect("a command");
        let words: Vec<_> = command.get_args().collect();
        assert_eq!(words, ["foreground", "go", "4242", "4242", "/bin/echo", "/bin/echo", "x"]);
        assert!(become_user("x", "0").is_err() && become_user("7", "").is_err());
    }

    #[test]
    fn words_are_quoted_and_root_is_always_known() {
        let words = [OsStr::new("echo"), OsStr::new("it's $HOME")];
        assert_eq!(quoted(&words), "'echo' 'it'\\''s $HOME'");
        assert_eq!(Account::find(b"").expect("root").uid, 0);
        assert_eq!(Account::find(b"#4242").expect("a number").uid, 4242);
        assert!(Account::find(b"no-such-user-here").is_none());
    }
}
