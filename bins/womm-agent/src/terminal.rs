//! `womm-agent terminal SHELL [-c COMMAND]`: becomes the leader of a session whose terminal is stdin, then SHELL.
//! A process of its own, because only exec'd code may do that between fork and exec without unsafe.

use crate::supervisor::login_name;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

pub fn main(mut words: impl Iterator<Item = OsString>) -> ExitCode {
    let shell = words.next().unwrap_or_default();
    let rest: Vec<_> = words.collect();
    let failed = rustix::process::setsid()
        .and_then(|_| rustix::process::ioctl_tiocsctty(std::io::stdin()))
        .map_err(std::io::Error::from)
        .and_then(|()| {
            let mut command = Command::new(&shell);
            if rest.is_empty() {
                command.arg0(login_name(shell.as_bytes()));
            }
            Err::<(), _>(command.args(&rest).exec())
        });
    if let Err(e) = failed {
        womm_cli::report("womm", &womm_cli::Failure::outside(format!("start {}: {e}", shell.to_string_lossy())));
    }
    ExitCode::from(126)
}
