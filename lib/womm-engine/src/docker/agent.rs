//! Where the agent's program is on the workstation. `womm-image` bakes it into images; [`super`] puts it into
//! containers of images without it.

use crate::Error;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Names the agent's program, if it is not beside the program that needs it.
pub const ENV_AGENT: &str = "WOMM_AGENT";
const PROGRAM: &str = "womm-agent";

/// The agent's program on the workstation: what `WOMM_AGENT` names, else `womm-agent` beside the running program.
///
/// # Errors
/// [`Error::Missing`] if it isn't a file there; says where it was looked for.
pub fn agent_binary() -> Result<PathBuf, Error> {
    find(std::env::var_os(ENV_AGENT), std::env::current_exe().ok().as_deref())
}

fn find(named: Option<OsString>, program: Option<&Path>) -> Result<PathBuf, Error> {
    let (path, help) = match (named.filter(|n| !n.is_empty()), program) {
        (Some(named), _) => (PathBuf::from(named), "WOMM_AGENT names it: correct or unset it".to_owned()),
        (None, Some(program)) => {
            let help = "build it with `bins/build`, or name it in WOMM_AGENT".to_owned();
            (program.with_file_name(PROGRAM), help)
        }
        (None, None) => (PathBuf::from(PROGRAM), "name its path in WOMM_AGENT".to_owned()),
    };
    if path.is_file() {
        return Ok(path);
    }
    Err(Error::Missing { what: format!("the agent's program \"{}\"", path.display()), on: None, help })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_wins_and_an_error_names_the_path() {
        let here = std::env::current_exe().expect("a test has a program");
        assert_eq!(find(Some(here.clone().into()), None).expect("a file"), here);
        let error = find(Some("/nowhere/a".into()), Some(&here)).expect_err("no such file").to_string();
        assert_eq!(error, "the agent's program \"/nowhere/a\" does not exist");
        let error = find(None, Some(Path::new("/nowhere/womm-pods"))).expect_err("no such file").to_string();
        assert_eq!(error, "the agent's program \"/nowhere/womm-agent\" does not exist");
    }
}
