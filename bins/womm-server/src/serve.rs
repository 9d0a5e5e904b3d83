//! Opens what the options name, and serves it.

use crate::backend::Backend;
use crate::options::{Export, Serve};
use rustix::fs::{Access, access};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use womm_cli::Failure;
use womm_nfs::exports::{Owner, Terms, check_paths};
use womm_nfs::{BadPath, Config, FolderError, Server};
use womm_vfs::clock::SystemClock;
use womm_vfs_disk::{DiskVfs, OpenError};
use womm_vfs_tree::TreeVfs;

/// What is under way at the end gets so long; a disk that hangs does not keep us.
const TO_END: Duration = Duration::from_secs(5);

/// Serves until a signal.
///
/// # Errors
/// Usage (2) and outside (3): nothing is served then.
pub fn run(options: &Serve) -> Result<(), Failure> {
    womm_cli::raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::outside(format!("start: {error}")))?;
    let result = runtime.block_on(serve(options));
    runtime.shutdown_timeout(TO_END);
    result
}

async fn serve(options: &Serve) -> Result<(), Failure> {
    let places = places(options)?;
    // Before anything else has an effect: two servers at one port would be two at one folder.
    let listener = listen(options.listen).await?;
    let config = Config { lease: options.lease, most_memory: options.max_memory, clock: Arc::new(SystemClock) };
    let server = Server::open(&options.state, config).map_err(|error| state_failure(&error))?;
    for (export, place) in options.exports.iter().zip(places) {
        let owner = place.owner()?;
        let backend = place.open(export, &options.state, options.read_only)?;
        let terms = Terms { read_only: options.read_only, owner: options.owner.unwrap_or(owner) };
        let added = server.export(&export.path, backend, terms);
        added.map_err(|error| path_failure(&error))?;
    }
    let stop = CancellationToken::new();
    let serving = tokio::spawn({
        let (server, stop) = (server.clone(), stop.clone());
        let address = listener.local_addr().unwrap_or(options.listen);
        async move {
            // Whoever started us and went away does not need to know.
            let _ = writeln!(std::io::stdout(), "listening on {address}");
            server.serve(listener, stop).await;
        }
    });
    womm_cli::signalled().await;
    stop.cancel();
    let _ = serving.await;
    Ok(())
}

async fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        let failure = Failure::outside(format!("listen on {address}: {error}"));
        match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                failure.help("another server is there: end it, or choose another --listen")
            }
            std::io::ErrorKind::PermissionDenied => {
                failure.help("a port below 1024 is root's: choose another --listen")
            }
            _ => failure.help("choose an address of this machine"),
        }
    })
}

/// Where an export's content is.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Folder(PathBuf),
    Snapshot { lower: PathBuf, upper: PathBuf },
}

/// Looks at what the options say together, before anything is opened.
fn places(options: &Serve) -> Result<Vec<Place>, Failure> {
    let without = options.exports.iter().filter(|export| export.folder.is_none()).count();
    match (without, &options.snapshot) {
        (0, Some(_)) => {
            return Err(Failure::usage("--snapshot is for an export without a folder").help("as in --export /export"));
        }
        (2.., _) => return Err(Failure::usage("two exports have no folder").help("--snapshot is for one of them")),
        _ => {}
    }
    check_paths(options.exports.iter().map(|export| &export.path[..])).map_err(|error| path_failure(&error))?;
    options.exports.iter().map(|export| place(export, options)).collect()
}

fn place(export: &Export, options: &Serve) -> Result<Place, Failure> {
    match (&export.folder, &options.snapshot, &options.upper) {
        (Some(folder), ..) => Ok(Place::Folder(folder.clone())),
        (None, Some(lower), Some(upper)) => Ok(Place::Snapshot { lower: lower.clone(), upper: upper.clone() }),
        (None, ..) => {
            let missing = format!("export \"{}\" has no folder", export.path);
            Err(Failure::usage(missing).help("write PATH=FOLDER, or give --snapshot and --upper"))
        }
    }
}

impl Place {
    /// The folder's own.
    fn owner(&self) -> Result<Owner, Failure> {
        let (Self::Folder(folder) | Self::Snapshot { lower: folder, .. }) = self;
        let found = std::fs::metadata(folder);
        let found =
            found.map_err(|error| Failure::outside(format!("open the folder \"{}\": {error}", folder.display())))?;
        Ok(Owner { user: found.uid(), group: found.gid() })
    }

    fn open(self, export: &Export, state: &Path, read_only: bool) -> Result<Backend, Failure> {
        let opened = match &self {
            Self::Folder(folder) => {
                check_folder(folder, read_only)?;
                DiskVfs::open(folder, &state.join("exports").join(file_name(&export.path))).map(Backend::Disk)
            }
            Self::Snapshot { lower, upper } => {
                check_folder(lower, true)?;
                TreeVfs::open(lower, upper).map(Backend::Tree)
            }
        };
        opened.map_err(|error| open_failure(&export.path, &error))
    }
}

/// A folder in place that can't be written would be found out by the first client only.
fn check_folder(folder: &Path, read_only: bool) -> Result<(), Failure> {
    let shown = folder.display();
    let found = std::fs::metadata(folder);
    let found = found.map_err(|error| Failure::outside(format!("open the folder \"{shown}\": {error}")))?;
    if !found.is_dir() {
        return Err(Failure::outside(format!("\"{shown}\" is no folder")));
    }
    let reads = Access::READ_OK | Access::EXEC_OK;
    access(folder, reads).map_err(|error| Failure::outside(format!("read the folder \"{shown}\": {error}")))?;
    if read_only {
        return Ok(());
    }
    access(folder, reads | Access::WRITE_OK).map_err(|error| {
        Failure::outside(format!("write the folder \"{shown}\": {error}")).help("it can be served with --read-only")
    })
}

/// An export's path as the name of a file.
fn file_name(path: &str) -> String {
    path.trim_matches('/').replace('%', "%25").replace('/', "%2F")
}

fn state_failure(error: &FolderError) -> Failure {
    let failure = Failure::outside(error.to_string());
    match error {
        FolderError::Held(_) => failure.help("end it, or choose another --state"),
        FolderError::Broken(_) => failure.help("move it away: mounts of before it then go stale"),
        FolderError::Open(_) => failure.help("chmod 600 it, or move it away if somebody may have read it"),
        FolderError::Io { .. } => failure,
    }
}

fn path_failure(error: &BadPath) -> Failure {
    let failure = Failure::usage(format!("bad --export: {error}"));
    match error {
        BadPath::Form(_) => failure.help("as in /export or /shares/one"),
        BadPath::Taken(_) => failure.help("exports lie beside each other"),
    }
}

fn open_failure(path: &str, error: &OpenError) -> Failure {
    Failure::outside(format!("export \"{path}\": {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{Command, Options};
    use clap::Parser;

    fn parsed(words: &[&str]) -> Result<Vec<Place>, Failure> {
        let words = [&["womm-server", "serve", "--state", "/s"], words].concat();
        let Command::Serve(options) = Options::try_parse_from(words).expect("clap takes it").command;
        places(&options)
    }

    #[test]
    fn what_options_say_together() {
        assert_eq!(parsed(&["--export", "/a=/b"]), Ok(vec![Place::Folder("/b".into())]));
        let tree = parsed(&["--export", "/a", "--snapshot", "/l", "--upper", "/u", "--export", "/b=/c"]);
        assert_eq!(tree.map(|places| places.len()), Ok(2));
        assert!(parsed(&["--export", "/a"]).is_err());
        assert!(parsed(&["--export", "/a=/b", "--snapshot", "/l", "--upper", "/u"]).is_err());
        assert!(parsed(&["--export", "/a", "--export", "/b", "--snapshot", "/l", "--upper", "/u"]).is_err());
    }

    #[test]
    fn names_of_state_folders_differ() {
        assert_eq!(file_name("/a/b/"), "a%2Fb");
        assert_ne!(file_name("/a%2Fb"), file_name("/a/b"));
    }
}
