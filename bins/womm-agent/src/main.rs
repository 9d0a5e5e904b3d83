//! `womm-agent`: in a pod it takes jobs from the workstation and runs them; on the workstation it runs GNU parallel.
//! In both places it sees to it that no process of theirs stays behind.
//!
//! Static, small, without configuration files: it travels in every image. Words of its own command line are few and
//! written by our own programs, so they are read by hand.

mod connect;
mod descriptors;
mod environment;
mod install;
mod job;
mod left;
mod offspring;
mod orphans;
mod pty;
mod root;
mod serve;
mod setup;
mod shell;
mod spec;
mod sudo;
mod supervise;
mod supervisor;
mod terminal;
mod which;

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;
use womm_cli::{Failure, run_main};

const USAGE: &str = "\
Usage: womm-agent serve                  take and run jobs; the command of a pod's container
       womm-agent connect                bridge stdin and stdout to the agent of this pod
       womm-agent install FILE           copy this program to FILE, in an init container
       womm-agent supervise --parent PID --life FD -- COMMAND...
                                         run COMMAND, and end all it started with it or with PID
       womm-agent setup | shell | left | which   the container and the shell of `womm setup`; as \"sudo\" in it, see sudo --help

Exit codes: 0 done, 2 usage, 3 the outside failed; supervise: COMMAND's own, 128+N after signal N.
Variables of `serve`: WOMM_CWD WOMM_MAKE_CWD WOMM_USER WOMM_HOME WOMM_TMPDIR WOMM_HOSTNAME WOMM_ORPHAN_S (docs/wire.md).
";

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let name = words.next().unwrap_or_default();
    if Path::new(&name).file_name() == Some(OsStr::new("sudo")) {
        return sudo::main(words);
    }
    let verb = words.next().unwrap_or_default();
    match verb.to_str() {
        Some("serve") => run_main("womm-agent", serve::main),
        Some("connect") => run_main("womm-agent", connect::main),
        Some("install") => run_main("womm-agent", || install::main(words)),
        Some("supervise") => supervise::main(words),
        Some("setup") => run_main("womm-agent", || setup::main(words)),
        Some("shell") => shell::main(words),
        Some("left") => run_main("womm-agent", left::main),
        Some("which") => run_main("womm-agent", || which::main(words)),
        Some("root") => root::main(),
        Some("foreground") => root::foreground(words),
        Some("job") => supervisor::main(words),
        Some("terminal") => terminal::main(words),
        Some("--version") => {
            let _ = write_out(&format!("womm-agent {}\n", womm_wire::names::VERSION));
            ExitCode::SUCCESS
        }
        Some("--help" | "help" | "-h") => {
            let _ = write_out(USAGE);
            ExitCode::SUCCESS
        }
        _ => run_main("womm-agent", || {
            Err(Failure::usage(format!("no verb \"{}\"", verb.to_string_lossy())).help("see womm-agent --help"))
        }),
    }
}

fn write_out(text: &str) -> std::io::Result<()> {
    use std::io::Write;
    std::io::stdout().write_all(text.as_bytes())
}
