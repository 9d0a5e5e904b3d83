//! `sudo` in the setup shell: this program under that name. Nothing of it is setuid: root's process of the container
//! (setup.rs) runs the command, with the descriptors that it is sent.
//!
//! If both stdin and stdout are a terminal, the command gets one of its own, as from sudo with `use_pty`: it is the
//! foreground job there, ^C and ^Z mean it, and when it is stopped so are we. Else it has our own descriptors, and signals
//! are passed on.

use crate::offspring;
use crate::pty::{self, Master, Output};
use crate::spec::{self, Answer};
use crate::which::{executable, find};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, getpid, kill_process};
use rustix::termios::isatty;
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};
use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use womm_tty::{Raw, size};
use womm_wire::frame::{Open, Size};
use womm_wire::names;

const USAGE: &str = "\
Usage: sudo [-u USER] [NAME=VALUE…] [--] COMMAND [ARGS…]
       sudo [-u USER] -i | -s [COMMAND [ARGS…]]
       sudo -l [COMMAND]

Runs COMMAND as root, or as USER (a name, or #UID), in the container of `womm setup`; no password is asked for. -i is a login
shell, -s a shell, -l says where COMMAND is. The environment is passed on but for HOME, USER, LOGNAME and SHELL; -E keeps
HOME too. -A -H -k -K -n -P -S -v are taken, and need nothing done.

Exit status is COMMAND's; 1 if it can't be run.
";
/// What the answer begins with when the command was stopped by a signal; the signal follows. More answers come.
pub const STOPPED: u8 = b'z';
/// What the byte says with which a terminal is sent.
pub const TERMINAL: u8 = b't';
/// sudo's own status for its own failures.
const FAILED: u8 = 1;
/// What a root's programs are on.
const ROOT_PATH: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// What the command line asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Request {
    user: Option<OsString>,
    variables: Vec<(OsString, OsString)>,
    keep_home: bool,
    login: bool,
    shell: bool,
    command: Vec<OsString>,
}

pub fn main(words: impl Iterator<Item = OsString>) -> ExitCode {
    let done = |text: &str| {
        let _ = io::stdout().write_all(text.as_bytes());
        ExitCode::SUCCESS
    };
    let request = match parse(words) {
        Ok(Parsed::Run(request)) => request,
        Ok(Parsed::Nothing) => return ExitCode::SUCCESS,
        Ok(Parsed::List(command)) => return list(&command),
        Ok(Parsed::Help) => return done(USAGE),
        Ok(Parsed::Version) => return done(&format!("sudo of womm {}\n", names::VERSION)),
        Err(why) => return failed(&why),
    };
    match run(request) {
        Ok(code) => ExitCode::from(code),
        Err(why) => failed(&why),
    }
}

/// `-l COMMAND`: everything may be run, if it is there.
fn list(command: &[OsString]) -> ExitCode {
    let (name, path) = (&command[0], root_path(&std::env::var_os("PATH").unwrap_or_default()));
    let found = match name.as_bytes().contains(&b'/') {
        true => Some(PathBuf::from(name)).filter(|path| executable(path)),
        false => find(&path, name),
    };
    let Some(found) = found else { return failed(&format!("{}: command not found", name.to_string_lossy())) };
    let mut line = found.into_os_string();
    for word in &command[1..] {
        line.push(" ");
        line.push(word);
    }
    line.push("\n");
    let _ = io::stdout().write_all(line.as_bytes());
    ExitCode::SUCCESS
}

fn failed(why: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "sudo: {why}");
    ExitCode::from(FAILED)
}

enum Parsed {
    Run(Request),
    List(Vec<OsString>),
    Nothing,
    Help,
    Version,
}

fn parse(words: impl Iterator<Item = OsString>) -> Result<Parsed, String> {
    let mut request = Request::default();
    let mut words = words.peekable();
    let (mut nothing, mut list) = (false, false);
    while let Some(word) = words.next_if(|word| word.as_bytes().starts_with(b"-") && word.len() > 1) {
        let text = word.to_string_lossy().into_owned();
        match text.as_str() {
            "--" => break,
            "--help" => return Ok(Parsed::Help),
            "--version" => return Ok(Parsed::Version),
            "--login" => request.login = true,
            "--shell" => request.shell = true,
            "--preserve-env" => request.keep_home = true,
            "--user" => request.user = Some(words.next().ok_or("--user needs a name")?),
            _ if text.starts_with("--user=") => request.user = Some(text["--user=".len()..].into()),
            _ if text.starts_with("--preserve-env=") => {}
            "--askpass" | "--set-home" | "--reset-timestamp" | "--non-interactive" | "--stdin"
            | "--preserve-groups" => {}
            "--remove-timestamp" | "--validate" => nothing = true,
            "--list" => list = true,
            _ if text.starts_with("--") => return Err(format!("{text} is no option here: see sudo --help")),
            _ => {
                let letters: Vec<char> = text.chars().skip(1).collect();
                for (at, letter) in letters.iter().enumerate() {
                    match letter {
                        'A' | 'H' | 'k' | 'n' | 'P' | 'S' => {}
                        'K' | 'v' => nothing = true,
                        'l' => list = true,
                        'E' => request.keep_home = true,
                        'i' => request.login = true,
                        's' => request.shell = true,
                        'h' => return Ok(Parsed::Help),
                        'V' => return Ok(Parsed::Version),
                        'u' => {
                            let rest: String = letters[at + 1..].iter().collect();
                            let rest = Some(OsString::from(rest)).filter(|rest| !rest.is_empty());
                            request.user = Some(rest.or_else(|| words.next()).ok_or("-u needs a name")?);
                            break;
                        }
                        _ => return Err(format!("-{letter} is no option here: see sudo --help")),
                    }
                }
            }
        }
    }
    while let Some(word) = words.next_if(|word| variable(word).is_some()) {
        request.variables.extend(variable(&word));
    }
    request.command = words.collect();
    match request.command.is_empty() && !request.login && !request.shell {
        true if nothing || list => Ok(Parsed::Nothing),
        true => Err("which COMMAND? See sudo --help".into()),
        false if nothing => Err("-K and -v take no COMMAND: see sudo --help".into()),
        false if list && (request.login || request.shell) => Err("-l takes neither -i nor -s: see sudo --help".into()),
        false if list => Ok(Parsed::List(request.command)),
        false => Ok(Parsed::Run(request)),
    }
}

/// A PATH with what a root's programs are on.
fn root_path(path: &OsStr) -> OsString {
    let mut path = path.to_owned();
    for folder in ROOT_PATH {
        if !path.as_bytes().split(|b| *b == b':').any(|known| known == folder.as_bytes()) {
            path.push(":");
            path.push(folder);
        }
    }
    path
}

/// `NAME=VALUE`.
fn variable(word: &OsStr) -> Option<(OsString, OsString)> {
    let equals = word.as_bytes().iter().position(|b| *b == b'=')?;
    let (name, value) = (&word.as_bytes()[..equals], &word.as_bytes()[equals + 1..]);
    let fit = name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_') && !name.is_empty();
    fit.then(|| (OsStr::from_bytes(name).into(), OsStr::from_bytes(value).into()))
}

impl Request {
    /// As root's process is told it: the user as the host, the words with NUL between them.
    fn open(self, terminal: Option<Size>) -> Open {
        let mut env: Vec<(OsString, OsString)> = std::env::vars_os().filter(|(name, _)| name != "ENV").collect();
        env.retain(|(name, _)| !self.variables.iter().any(|(own, _)| own == name));
        env.extend(self.variables);
        let path = env.iter_mut().find(|(name, _)| name == "PATH");
        if let Some((_, path)) = path {
            *path = root_path(path);
        }
        let term = std::env::var_os("TERM").unwrap_or_else(|| "dumb".into()).into_vec();
        let how = [self.keep_home.then_some("E"), self.login.then_some("i"), self.shell.then_some("s")];
        Open {
            host: self.user.unwrap_or_default().into_vec(),
            subsystem: Some(how.into_iter().flatten().collect::<String>().into_bytes()),
            command: Some(self.command.join(OsStr::new("\0")).into_vec()),
            cwd: std::env::current_dir().ok().map(|cwd| cwd.into_os_string().into_vec()),
            env: env.into_iter().map(|(name, value)| (name.into_vec(), value.into_vec())).collect(),
            terminal: terminal.map(|size| (term, size)),
            ..Open::default()
        }
    }
}

fn run(request: Request) -> Result<u8, String> {
    let terminal = (isatty(io::stdin()) && isatty(io::stdout())).then(|| size(io::stdin()));
    let lost = |e: io::Error| format!("talk to root's process of the container: {e}");
    let socket = UnixStream::connect(names::SETUP_SUDO)
        .map_err(|e| format!("reach {}: {e}; it works in the shell of `womm setup` only", names::SETUP_SUDO))?;
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    // Before the command runs: a signal from then on is the command's.
    let signals = offspring::signal_pipe(&[SIGWINCH]).map_err(lost)?;
    let passed: Vec<(i32, UnixStream)> = [SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2]
        .into_iter()
        .map(|signal| offspring::signal_pipe(&[signal]).map(|pipe| (signal, pipe)))
        .collect::<io::Result<_>>()
        .map_err(lost)?;
    spec::send_stdio(&socket, [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()]).map_err(lost)?;
    (&socket).write_all(&spec::encode(&request.open(terminal))).map_err(lost)?;
    let mut master = None;
    let mut early = Vec::new();
    if terminal.is_some() {
        match spec::receive_descriptors(&socket).map_err(lost)? {
            (Some(TERMINAL), fds) => {
                master = fds.into_iter().next().map(Master::new).transpose().map_err(lost)?;
            }
            (byte, _) => early.extend(byte), // refused
        }
    }
    let raw = master.is_some().then(|| Raw::enter(io::stdin()));
    let mut relay = Relay { socket, master, raw, signals, passed, said: early };
    let answer = relay.run().map_err(lost)?;
    drop(relay); // the terminal is as it was
    match answer {
        Some(Answer::Exited(code)) => Ok(code),
        Some(Answer::Signalled(signal)) => {
            // As the command ended; the code is for a signal that does not end us.
            let _ = signal_hook::low_level::emulate_default_handler(signal.into());
            Ok(128 + signal)
        }
        Some(Answer::Refused(why)) => Err(why),
        None => Err("root's process of the container is gone".into()),
    }
}

struct Relay {
    socket: UnixStream,
    master: Option<Master>,
    raw: Option<Raw<io::Stdin>>,
    signals: UnixStream,
    passed: Vec<(i32, UnixStream)>,
    /// Of root's process' answers, what has come.
    said: Vec<u8>,
}

impl Relay {
    /// Until the command has ended; none if root's process has gone.
    fn run(&mut self) -> io::Result<Option<Answer>> {
        let stdin = io::stdin();
        let mut open = true;
        loop {
            match self.said.as_slice() {
                [STOPPED, _, rest @ ..] => {
                    self.said = rest.to_vec();
                    self.stop();
                }
                said => {
                    if let Some(answer) = Answer::parse(said) {
                        pty::rest(|| self.show());
                        return Ok(Some(answer));
                    }
                }
            }
            let taking = open && self.master.as_ref().is_some_and(Master::wants_keys);
            let mut fds = vec![PollFd::new(&self.socket, PollFlags::IN), PollFd::new(&self.signals, PollFlags::IN)];
            fds.extend(self.passed.iter().map(|(_, pipe)| PollFd::new(pipe, PollFlags::IN)));
            let own = fds.len();
            fds.extend(self.master.as_ref().map(|m| PollFd::from_borrowed_fd(m.terminal(), m.events())));
            fds.extend(taking.then(|| PollFd::new(&stdin, PollFlags::IN)));
            let _ = poll(&mut fds, None); // EINTR: a signal, which has a pipe
            let ready: Vec<_> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            if ready[1] {
                offspring::drain(&self.signals);
                self.resize();
            }
            for (signal, pipe) in self.passed.iter().zip(&ready[2..own]).filter(|(_, ready)| **ready).map(|(p, _)| p) {
                offspring::drain(pipe);
                (&self.socket).write_all(&[*signal as u8])?;
            }
            if ready.get(own) == Some(&true) {
                self.master.iter_mut().for_each(Master::push);
                if self.show() == 0 {
                    // Closed by the command: only its end is left to come.
                    let pause = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
                    let _ = poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&pause));
                }
            }
            if ready.get(own + 1) == Some(&true) {
                let mut keys = [0; 4096];
                match rustix::io::read(&stdin, &mut keys) {
                    Ok(n) if n > 0 => self.master.iter_mut().for_each(|master| master.keys(&keys[..n])),
                    Err(rustix::io::Errno::INTR) => {}
                    _ => open = false,
                }
            }
            if ready[0] {
                let mut bytes = [0; 1024];
                match (&self.socket).read(&mut bytes) {
                    Ok(n) if n > 0 => self.said.extend_from_slice(&bytes[..n]),
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    _ => return Ok(None),
                }
            }
        }
    }

    /// Shows what the command wrote; how many bytes that were.
    fn show(&mut self) -> usize {
        let mut buffer = [0; 16 << 10];
        let Some(Output::Bytes(n)) = self.master.as_mut().map(|master| master.read(&mut buffer)) else { return 0 };
        let mut stdout = io::stdout().lock();
        let shown = stdout.write_all(&buffer[..n]).and_then(|()| stdout.flush());
        shown.map_or(0, |()| n)
    }

    fn resize(&self) {
        if let Some(master) = &self.master {
            pty::resize(master.terminal(), size(io::stdin()));
        }
    }

    /// The command was stopped: so are we, until somebody lets us go on.
    fn stop(&mut self) {
        pty::rest(|| self.show());
        self.raw = None;
        let _ = kill_process(getpid(), Signal::STOP);
        self.raw = self.master.is_some().then(|| Raw::enter(io::stdin()));
        self.resize();
        let _ = (&self.socket).write_all(&[SIGCONT as u8]); // if it is gone, so is its socket
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(line: &str) -> Result<Request, String> {
        match parse(line.split_whitespace().map(OsString::from))? {
            Parsed::Run(request) => Ok(request),
            _ => Err("nothing to run".into()),
        }
    }

    #[test]
    fn the_command_line_is_sudo_s() {
        let plain = request("apt-get install -y perl").expect("a command");
        assert_eq!(plain.command, ["apt-get", "install", "-y", "perl"]);
        let full = request("-nEu postgres A=b=c -- X=1 psql -l").expect("a command");
        assert_eq!((full.user, full.keep_home), (Some("postgres".into()), true));
        assert_eq!(full.command[0], "--", "as sudo takes it: options end before variables");
        let full = request("-n -u#7 -- A=b=c psql -l").expect("a command");
        assert_eq!((full.user, full.variables), (Some("#7".into()), vec![("A".into(), "b=c".into())]));
        assert_eq!(full.command, ["psql", "-l"]);
        assert!(request("-i").expect("a shell").login);
        assert!(request("-v").is_err() && request("").is_err());
        // What would be done otherwise than by sudo is not done at all.
        for refused in ["-b sleep 1", "--background sleep 1", "-v ls", "-K ls", "-l -s ls"] {
            let why = request(refused).expect_err(refused);
            assert!(why.contains("see sudo --help"), "{why}");
        }
        let list = parse(["-l", "ls", "-a"].map(OsString::from).into_iter()).expect("a command");
        assert!(matches!(list, Parsed::List(words) if words == ["ls", "-a"]));
        assert_eq!(root_path(OsStr::new("/sbin:/bin")), "/sbin:/bin:/usr/local/sbin:/usr/sbin");
        assert!(request("--chroot=/x ls").expect_err("unknown").contains("--chroot"));
        assert!(request("-u").expect_err("no name").contains("-u"));
    }
}
