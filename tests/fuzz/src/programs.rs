//! Parsers of programs, which are no libraries: their files are read in here as they are.

use crate::input::{Input, pieces};
use crate::memory::at_most;
use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixStream;
use womm_wire::frame::{MOST_OPEN, Open};

#[allow(dead_code, missing_docs)]
#[path = "../../../bins/womm-ssh/src/options.rs"]
mod options;
#[allow(dead_code, missing_docs)]
#[path = "../../../bins/womm-image/src/reference.rs"]
mod reference;
#[allow(dead_code, missing_docs)]
#[path = "../../../bins/womm-agent/src/spec.rs"]
mod spec;

use options::Options;
use reference::Reference;
use spec::Answer;

/// What a supervisor reads from the agent.
pub fn agent_spec(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let with_stdio = input.byte() != 0;
    let bytes = input.take(64 << 10); // a socket holds as much
    let (near, far) = UnixStream::pair().expect("sockets");
    if with_stdio {
        let null = File::open("/dev/null").expect("it is there");
        spec::send_stdio(&near, [null.as_fd(); 3]).expect("room");
    }
    (&near).write_all(bytes).expect("room");
    drop(near);
    // The whole length is reserved before it comes, and a job takes more than its bytes, see `wire::open`.
    let received = at_most(2 * MOST_OPEN + 32 * bytes.len() + 4096, || spec::receive(&far));
    let expected = bytes.split_first_chunk::<4>().and_then(|(length, rest)| {
        let length = u32::from_be_bytes(*length) as usize;
        rest.get(..length).and_then(|open| Open::decode(open).ok())
    });
    match received {
        Ok((_, open)) => {
            assert!(with_stdio, "a job without descriptors");
            assert_eq!(Some(&open), expected.as_ref());
            assert_eq!(spec::encode(&open)[4..], open.encode());
        }
        Err(_) => assert!(!with_stdio || expected.is_none(), "refused a job"),
    }
}

/// As the agent reads an answer, from what has come by now.
fn answer<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Option<Answer> {
    let mut bytes = Vec::new();
    for piece in pieces {
        bytes.extend_from_slice(piece);
        if let Some(answer) = Answer::parse(&bytes) {
            return Some(answer);
        }
    }
    None
}

/// What a supervisor answers.
pub fn agent_answer(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let seed = input.number(2);
    let bytes = input.rest();
    let whole = at_most(32 * bytes.len() + 4096, || answer([bytes]));
    assert_eq!(whole, answer(pieces(bytes, seed)), "it depends on the pieces");
    assert_eq!(whole, answer(bytes.chunks(1)), "it depends on the pieces");

    // A reason is one line: how many the supervisor has to say is not known.
    let said = Answer::Refused(String::from_utf8_lossy(&bytes[..bytes.len().min(1000)]).into_owned());
    let (near, far) = UnixStream::pair().expect("sockets");
    said.send(&near);
    drop(near);
    let mut sent = Vec::new();
    std::io::Read::read_to_end(&mut &far, &mut sent).expect("whole");
    let Some(Answer::Refused(heard)) = answer(pieces(&sent, seed)) else { panic!("the answer is lost") };
    let Answer::Refused(said) = said else { unreachable!("made so") };
    assert_eq!(heard, said.replace('\n', " "));
}

/// Words as GNU parallel, rsync, scp and people give them.
pub fn ssh_options(bytes: &[u8]) {
    let words = |bytes: &[u8]| bytes.split(|b| *b == 0).map(|w| OsString::from_vec(w.to_vec())).collect::<Vec<_>>();
    let parsed = at_most(128 * bytes.len() + 4096, || options::parse(words(bytes)));
    match parsed {
        Ok(Options::Run(request)) => {
            assert!(!request.host.contains(&b'@'));
            assert!(bytes.windows(request.host.len().max(1)).any(|w| w == request.host) || request.host.is_empty());
            // All that follows a command's first word belongs to it.
            let Some(command) = request.command else { return };
            for more in ["-Z", "--", "x y"] {
                let mut longer = words(bytes);
                longer.push(more.into());
                let Ok(Options::Run(longer)) = options::parse(longer) else { panic!("\"{more}\" was no word") };
                assert_eq!(longer.host, request.host);
                assert_eq!(longer.command, Some([&command, &b" "[..], more.as_bytes()].concat()));
            }
        }
        Ok(Options::Help | Options::Version) => {}
        Err(why) => assert!(!why.chars().any(char::is_control), "{why:?}"),
    }
}

/// Names of images, and what they may begin with.
pub fn image_name(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match at_most(64 * text.len() + 4096, || Reference::parse(text)) {
        Ok(name) => {
            let written = name.to_string();
            assert!(written.starts_with(text), "\"{text}\" became \"{written}\"");
            assert_eq!(Reference::parse(&written).expect("what we wrote"), name);
            assert!(!written.contains(|c: char| c.is_whitespace() || c.is_control()));
            assert!(!name.registry().is_empty());
        }
        Err(failure) => assert!(!failure.to_string().is_empty()),
    }
    if let Ok(prefix) = reference::prefix(text) {
        assert!(Reference::parse(&format!("{prefix}womm-image")).is_ok());
        assert!(reference::prefix(&prefix).is_ok_and(|again| again == prefix));
    }
}
