//! `womm-agent which PATH NAME…`: where the container has programs, a line NAME TAB FILE for each that it has.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use womm_cli::Failure;

pub fn main(mut words: impl Iterator<Item = OsString>) -> Result<(), Failure> {
    let path = words.next().ok_or_else(|| Failure::usage("which takes PATH and names"))?;
    for name in words {
        if let Some(file) = find(&path, &name) {
            let mut line = [name.as_bytes(), b"\t", file.as_os_str().as_bytes()].concat();
            line.push(b'\n');
            std::io::Write::write_all(&mut std::io::stdout(), &line)
                .map_err(|e| Failure::outside(format!("write to stdout: {e}")))?;
        }
    }
    Ok(())
}

/// The first file of that name on a PATH that we may run.
pub fn find(path: &OsStr, name: &OsStr) -> Option<PathBuf> {
    let folders = std::env::split_paths(path).filter(|folder| folder.is_absolute());
    folders.map(|folder| folder.join(name)).find(|file| executable(file))
}

/// Whether it is a file that we may run.
pub fn executable(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_can_be_run_counts() {
        let found = find(OsStr::new("relative:/nowhere:/bin:/usr/bin"), OsStr::new("sh"));
        assert_eq!(found, Some("/bin/sh".into()));
        assert_eq!(find(OsStr::new("/etc"), OsStr::new("passwd")), None);
    }
}
