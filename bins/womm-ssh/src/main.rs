//! `womm-ssh`: an ssh for GNU parallel, rsync -e, scp -S and people. It only talks to the run's socket, because its
//! start is a cost of every job: no TLS, no async runtime, no JSON, no threads.

mod closing;
mod options;
mod relay;
mod run;
mod wrapper;

use options::Options;
use std::io::Write;
use std::process::ExitCode;

/// What ssh(1) exits with when it is ssh that failed, not the command.
const FAILED: u8 = 255;

const USAGE: &str = "\
Usage: womm-ssh [-tTnq] [-l USER] [-o OPTION] HOST [--] [COMMAND...]

Runs COMMAND, its words joined by spaces, in the pod that HOST stands for, with the shell of the image, in this
folder; without COMMAND, a login shell. HOST is w001, w002...: a pod of the run in $WOMM_RUN, else of this folder's
only task; or ID/w001.

  -t, -tt    with a terminal     -T  without one (default with COMMAND)
  -n         stdin from /dev/null     -s  COMMAND is a subsystem: sftp
  -l, -o, -p, -F, -i, -e, -x, -a, -q, -4, -6, -v, -C are taken as ssh takes them and have no effect.

Exit code: COMMAND's own, 128+N if signal N ended it; 255 if the job was lost or could not start, said on stderr.
";

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    match options::parse(words) {
        Ok(Options::Help) => {
            let _ = std::io::stdout().write_all(USAGE.as_bytes());
            ExitCode::SUCCESS
        }
        Ok(Options::Version) => {
            let _ = writeln!(std::io::stdout(), "womm-ssh {}", womm_wire::names::VERSION);
            ExitCode::SUCCESS
        }
        Ok(Options::Run(request)) => match run::socket(&request).and_then(|socket| relay::run(socket, &request)) {
            Ok(code) => ExitCode::from(code),
            Err(why) => {
                say(&why);
                ExitCode::from(FAILED)
            }
        },
        Err(why) => {
            say(&format!("{why}: see womm-ssh --help"));
            ExitCode::from(FAILED)
        }
    }
}

/// One line on stderr, at once and whole: GNU parallel mixes those of many.
fn say(line: &str) {
    let _ = std::io::stderr().write_all(format!("womm: {line}\n").as_bytes());
}
