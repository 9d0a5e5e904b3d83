//! `womm-server`: folders over NFSv4.1 and 4.2. Here womm-nfs meets the file systems: options, wiring, signals; no protocol.

mod backend;
mod options;
mod serve;

use options::Command;
use std::process::ExitCode;
use womm_cli::run_main;

fn main() -> ExitCode {
    let Command::Serve(options) = womm_cli::parse::<options::Options>().command;
    run_main("womm-server", || serve::run(&options))
}
