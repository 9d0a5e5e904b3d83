//! The command line, as ssh(1) reads it: options may stand before and after the host, the command begins with the
//! first word after it.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// What was asked.
#[derive(Debug, PartialEq, Eq)]
pub enum Options {
    Help,
    Version,
    Run(Request),
}

/// A job.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// `w001`, or `ID/w001`.
    pub host: Vec<u8>,
    /// Words joined by spaces; `None`: a login shell.
    pub command: Option<Vec<u8>>,
    /// `Some`: -t or -T was given.
    pub terminal: Option<bool>,
    /// -n
    pub no_stdin: bool,
    /// -s
    pub subsystem: bool,
}

pub fn parse(words: Vec<OsString>) -> Result<Options, String> {
    let mut request = Request::default();
    let mut host = None;
    let mut words = words.into_iter();
    let mut command: Vec<Vec<u8>> = Vec::new();
    while let Some(word) = words.next() {
        let bytes = word.as_bytes();
        match bytes {
            b"--help" if host.is_none() => return Ok(Options::Help),
            b"-V" | b"--version" if host.is_none() => return Ok(Options::Version),
            b"--" => {
                if host.is_none() {
                    host = words.next();
                }
                // ssh takes a "--" before the command too; GNU parallel writes it.
                command.extend(words.by_ref().map(OsStringExt::into_vec));
                break;
            }
            [b'-', letters @ ..] if !letters.is_empty() => {
                for (at, letter) in letters.iter().enumerate() {
                    match letter {
                        b't' => request.terminal = Some(true),
                        b'T' => request.terminal = Some(false),
                        b'n' => request.no_stdin = true,
                        b's' => request.subsystem = true,
                        b'q' | b'x' | b'X' | b'Y' | b'a' | b'A' | b'4' | b'6' | b'v' | b'C' | b'k' | b'K' => {}
                        b'l' | b'o' | b'p' | b'F' | b'i' | b'e' | b'c' | b'm' | b'S' | b'E' | b'B' | b'b' | b'I' => {
                            // With its value in the same word, or the next.
                            if at + 1 == letters.len() {
                                words.next().ok_or_else(|| format!("option -{} needs a value", *letter as char))?;
                            }
                            break;
                        }
                        _ => return Err(format!("unknown option \"-{}\"", (*letter as char).escape_default())),
                    }
                }
            }
            _ if host.is_none() => host = Some(word),
            _ => {
                command.push(word.into_vec());
                command.extend(words.by_ref().map(OsStringExt::into_vec));
                break;
            }
        }
    }
    let host = host.ok_or("no HOST was given")?.into_vec();
    // user@host: the user is always the one who made the image
    request.host = match host.iter().rposition(|b| *b == b'@') {
        Some(at) => host[at + 1..].to_vec(),
        None => host,
    };
    request.command = (!command.is_empty()).then(|| command.join(&b' '));
    Ok(Options::Run(request))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(words: &[&str]) -> Request {
        match parse(words.iter().map(OsString::from).collect()) {
            Ok(Options::Run(request)) => request,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn as_gnu_parallel_calls_it() {
        let request = run(&["w001", "--", "exec perl -e '1' -- -x"]);
        assert_eq!(request.command.as_deref(), Some(&b"exec perl -e '1' -- -x"[..]));
        assert_eq!(request.host, b"w001");
        assert_eq!(run(&["-l", "me", "w002", "true"]).host, b"w002");
    }

    #[test]
    fn as_rsync_scp_and_sftp_call_it() {
        let rsync = run(&["-l", "u", "w001", "rsync", "--server", "-vl", ".", "x y"]);
        assert_eq!(rsync.command.as_deref(), Some(&b"rsync --server -vl . x y"[..]));
        let scp =
            run(&["-x", "-oPermitLocalCommand=no", "-oClearAllForwardings=yes", "-l", "u", "--", "w001", "scp -t ."]);
        assert_eq!((scp.host.as_slice(), scp.command.as_deref()), (&b"w001"[..], Some(&b"scp -t ."[..])));
        let sftp = run(&["-oForwardX11 no", "-s", "--", "u@w003", "sftp"]);
        assert!(sftp.subsystem);
        assert_eq!(sftp.host, b"w003");
    }

    #[test]
    fn options_end_with_the_command() {
        let request = run(&["-t", "w001", "-T", "ls", "-t", "--", "-l"]);
        assert_eq!(request.command.as_deref(), Some(&b"ls -t -- -l"[..]));
        assert_eq!(request.terminal, Some(false));
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert!(parse(vec!["-Z".into(), "w001".into()]).unwrap_err().contains("-Z"));
        assert!(parse(vec!["-l".into()]).unwrap_err().contains("-l"));
        assert!(parse(vec![]).unwrap_err().contains("HOST"));
    }
}
