//! `womm-agent install FILE`: how an init container hands the agent to a pod whose image has none.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use womm_cli::Failure;

pub fn main(mut words: impl Iterator<Item = OsString>) -> Result<(), Failure> {
    let (Some(to), None) = (words.next(), words.next()) else {
        return Err(Failure::usage("install takes one FILE"));
    };
    let to = PathBuf::from(to);
    let failed = |e: std::io::Error| Failure::outside(format!("install \"{}\": {e}", to.display()));
    // Beside it first: a pod whose init container runs again must not find half a program.
    let mut half = to.clone().into_os_string();
    half.push(".new");
    let own = std::env::current_exe().map_err(failed)?;
    fs::copy(own, &half).map_err(failed)?;
    fs::set_permissions(&half, fs::Permissions::from_mode(0o755)).map_err(failed)?;
    fs::rename(&half, &to).map_err(failed)
}
