//! `womm-agent left`: what the setup shell calls when it ends. A child of the shell inherits exactly what is exported,
//! and stands where the shell stood: both are written down, for the image and for the shell after it.
//!
//! The file is the folder, then `NAME=VALUE` for each variable, each ended by NUL: none of them can hold one.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use womm_cli::Failure;
use womm_wire::names;

/// What a shell left.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Where it stood.
    pub cwd: PathBuf,
    /// What it exported.
    pub variables: Vec<(OsString, OsString)>,
}

/// Where it is written down.
pub fn file() -> PathBuf {
    Path::new(names::SETUP_KEPT).join("left")
}

pub fn main() -> Result<(), Failure> {
    let cwd = std::env::current_dir().unwrap_or_else(|_| "/".into());
    let left = Left { cwd, variables: std::env::vars_os().collect() };
    let path = file();
    // At once or not at all: the container may end right now.
    let half = path.with_extension("new");
    let written = fs::write(&half, left.encode()).and_then(|()| fs::rename(&half, &path));
    written.map_err(|e| Failure::outside(format!("write down what is exported: {e}")))
}

impl Left {
    /// What was written down; none if nothing was.
    pub fn read() -> io::Result<Option<Self>> {
        match fs::read(file()) {
            Ok(bytes) => Ok(Self::decode(&bytes)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// As the file has it.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.cwd.as_os_str().as_bytes().to_vec();
        bytes.push(0);
        for (name, value) in &self.variables {
            bytes.extend_from_slice(name.as_bytes());
            bytes.push(b'=');
            bytes.extend_from_slice(value.as_bytes());
            bytes.push(0);
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut parts = bytes.split(|b| *b == 0);
        let cwd = parts.next().filter(|cwd| !cwd.is_empty())?;
        let cwd = PathBuf::from(OsString::from_vec(cwd.to_vec()));
        let variables = parts.filter_map(|part| {
            // As the kernel's: a name may begin with "=".
            let equals = part.iter().skip(1).position(|b| *b == b'=')? + 1;
            Some((OsStr::from_bytes(&part[..equals]).into(), OsStr::from_bytes(&part[equals + 1..]).into()))
        });
        Some(Self { cwd, variables: variables.collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_come_back() {
        let name = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
        let variables = vec![(name(b"A"), name(b"b=c\nd\xff")), (name(b"EMPTY"), name(b"")), (name(b"=x"), name(b"y"))];
        let left = Left { cwd: "/a b/\u{fe}".into(), variables };
        assert_eq!(Left::decode(&left.encode()), Some(left));
        assert_eq!(Left::decode(b""), None);
    }
}
