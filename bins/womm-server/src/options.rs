//! The command line.

use clap::{Args, Parser, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use womm_nfs::exports::Owner;
use womm_wire::quantity;

/// Less memory than this can't hold the calls of a few clients, bytes.
const LEAST_MEMORY: u64 = 16 << 20;

/// Serves folders over NFSv4.1 and 4.2, as an ordinary user.
#[derive(Debug, Parser)]
#[command(
    name = "womm-server",
    version,
    after_help = "Exit codes: 0 ended by SIGTERM, SIGINT or SIGHUP, 2 usage, 3 the outside failed: the port is in use, a folder can't be used."
)]
pub struct Options {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve folders until SIGTERM; prints one line, "listening on ADDRESS", once clients are answered
    Serve(Serve),
}

/// What to serve.
#[derive(Debug, Args)]
pub struct Serve {
    /// Where to listen. Who can reach it and knows an export's path has all rights there: choose with care
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:20490", value_parser = address)]
    pub listen: SocketAddr,
    /// Export FOLDER, in place, under PATH; may be given again. Without FOLDER: --snapshot and --upper
    #[arg(long = "export", value_name = "PATH=FOLDER", required = true, value_parser = export)]
    pub exports: Vec<Export>,
    /// What the export without a FOLDER shows at first; never written
    #[arg(long, value_name = "FOLDER", requires = "upper")]
    pub snapshot: Option<PathBuf>,
    /// Where what is changed there is kept
    #[arg(long, value_name = "FOLDER", requires = "snapshot")]
    pub upper: Option<PathBuf>,
    /// What must outlive a restart: identity, key, who had state. Not for two servers at once, and not within an export
    #[arg(long, value_name = "FOLDER")]
    pub state: PathBuf,
    /// How long a client may be silent before others may take what it holds, seconds, 5 to 3600
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = lease)]
    pub lease: Duration,
    /// What clients can make the server keep, all of them together: calls, replies, sessions, opens, locks: Mi, Gi
    #[arg(long, value_name = "BYTES", default_value = "1Gi", value_parser = memory)]
    pub max_memory: usize,
    /// Who is shown as the owner of everything: all callers may do what he may. By default, each folder's own
    #[arg(long, value_name = "UID:GID", value_parser = owner)]
    pub owner: Option<Owner>,
    /// Refuse all changes
    #[arg(long)]
    pub read_only: bool,
}

/// An export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// Where clients find it.
    pub path: String,
    /// What it is, if it is a folder in place.
    pub folder: Option<PathBuf>,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "an address and a port, such as 127.0.0.1:20490 or [::]:2049".into())
}

fn export(text: &str) -> Result<Export, String> {
    let (path, folder) = match text.split_once('=') {
        Some((_, "")) => return Err("no folder after \"=\"".into()),
        Some((path, folder)) => (path, Some(PathBuf::from(folder))),
        None => (text, None),
    };
    if !path.starts_with('/') {
        return Err("the path begins with \"/\", as in /export=FOLDER".into());
    }
    Ok(Export { path: path.into(), folder })
}

fn owner(text: &str) -> Result<Owner, String> {
    let numbers = text.split_once(':').and_then(|(user, group)| Some((user.parse().ok()?, group.parse().ok()?)));
    // The highest number is nobody's: chown(2) takes it for "unchanged".
    let valid = numbers.filter(|(user, group)| *user != u32::MAX && *group != u32::MAX);
    valid.map(|(user, group)| Owner { user, group }).ok_or_else(|| "two numbers, as in 1000:1000".into())
}

fn lease(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (5..=3600).contains(seconds));
    seconds.map(Duration::from_secs).ok_or_else(|| "5 to 3600 seconds".into())
}

fn memory(text: &str) -> Result<usize, String> {
    let bytes = quantity::bytes(text).map_err(|error| error.to_string())?;
    if bytes < LEAST_MEMORY {
        return Err("at least 16Mi".into());
    }
    usize::try_from(bytes).map_err(|_| "more than this machine can address".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Options::command().debug_assert();
    }

    #[test]
    fn exports() {
        let folder = |text| export(text).map(|export| (export.path, export.folder));
        assert_eq!(folder("/a=/b=c"), Ok(("/a".into(), Some("/b=c".into()))));
        assert_eq!(folder("/a"), Ok(("/a".into(), None)));
        assert!(folder("a=/b").is_err() && folder("/a=").is_err());
    }

    #[test]
    fn values() {
        assert_eq!(owner("7:8"), Ok(Owner { user: 7, group: 8 }));
        assert!(owner("7").is_err() && owner("a:b").is_err() && owner("4294967295:0").is_err());
        assert_eq!(lease("60"), Ok(Duration::from_secs(60)));
        assert!(lease("4").is_err() && lease("1e9").is_err());
        assert_eq!(memory("1Gi"), Ok(1 << 30));
        assert!(memory("1Mi").is_err() && memory("x").is_err());
    }
}
