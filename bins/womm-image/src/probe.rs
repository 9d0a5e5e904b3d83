//! Looks into an image without running anything in it: a container that is made and never started, read through
//! Docker's archive API.

use crate::docker::failed;
use crate::leftovers::{Leftovers, Thing};
use bollard::Docker;
use bollard::errors::Error;
use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{
    ContainerArchiveInfoOptionsBuilder, CreateContainerOptionsBuilder, DownloadFromContainerOptionsBuilder,
};
use futures::StreamExt;
use std::io::Read;
use std::path::Path;
use womm_cli::Failure;

/// Go's `os.FileMode`, in which the archive API tells modes.
const GO_DIR: u32 = 1 << 31;
const GO_SYMLINK: u32 = 1 << 27;
const GO_DEVICE_PIPE_SOCKET: u32 = 1 << 26 | 1 << 25 | 1 << 24;
/// No passwd or group file is longer; bytes.
const MOST_FILE: u64 = 16 << 20;

/// What is at a path of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// Nothing, or a link that leads nowhere.
    Nothing,
    /// A folder.
    Folder,
    /// A file, and whether anybody may execute it.
    File {
        /// One of its x bits is set.
        executable: bool,
    },
    /// A device, a pipe or a socket.
    Other,
}

/// A file's content and how the image keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
    /// Its owner.
    pub uid: u64,
    /// Its group.
    pub gid: u64,
}

/// An image that is being looked into.
pub struct Probe<'a> {
    docker: &'a Docker,
    leftovers: &'a Leftovers,
    image: String,
    container: String,
}

impl<'a> Probe<'a> {
    /// Opens an image of the local engine.
    ///
    /// # Errors
    /// Outside (3) if Docker makes no container of it.
    pub async fn open(docker: &'a Docker, leftovers: &'a Leftovers, image: &str) -> Result<Self, Failure> {
        let container = format!("womm-probe-{}", crate::plan::letters(12)?);
        // On the list before it exists: an answer that is lost may still have made it.
        leftovers.add(docker, Thing::Container(container.clone()));
        let options = CreateContainerOptionsBuilder::default().name(&container).build();
        let body = ContainerCreateBody {
            image: Some(image.to_owned()),
            // Never run; Docker refuses a container without a command.
            entrypoint: Some(vec!["/never-run".to_owned()]),
            network_disabled: Some(true),
            host_config: Some(HostConfig { network_mode: Some("none".to_owned()), ..Default::default() }),
            ..Default::default()
        };
        let making = docker.clone();
        leftovers
            .make(async move { making.create_container(Some(options), body).await })
            .await?
            .map_err(|e| failed(format!("look into image \"{image}\""), &e))?;
        Ok(Self { docker, leftovers, image: image.to_owned(), container })
    }

    /// Ends the look.
    ///
    /// # Errors
    /// Outside (3) if the container can't be removed.
    pub async fn close(self) -> Result<(), Failure> {
        self.leftovers.remove_one(self.docker, &Thing::Container(self.container.clone())).await
    }

    /// Ends the look without waiting: what can't be removed now is tried again at the end.
    pub fn close_later(self) {
        self.leftovers.remove_later(self.docker, Thing::Container(self.container));
    }

    fn deed(&self, path: &str) -> String {
        format!("look at \"{path}\" in image \"{}\"", self.image)
    }

    /// Where a path leads, links followed, and what is there.
    async fn follow(&self, path: &str) -> Result<(String, At), Failure> {
        let mut path = path.to_owned();
        // Docker follows links in one step; a few more are for links to links in odd images.
        for _ in 0..8 {
            let options = ContainerArchiveInfoOptionsBuilder::default().path(&path).build();
            let stat = match self.docker.get_container_archive_info(&self.container, Some(options)).await {
                Ok(stat) => stat,
                Err(Error::DockerResponseServerError { status_code: 404, .. }) => return Ok((path, At::Nothing)),
                Err(e) => return Err(failed(self.deed(&path), &e)),
            };
            let at = match stat.file_mode {
                mode if mode & GO_SYMLINK != 0 => {
                    if stat.link_target.is_empty() || stat.link_target == path {
                        return Ok((path, At::Nothing));
                    }
                    path = stat.link_target;
                    continue;
                }
                mode if mode & GO_DIR != 0 => At::Folder,
                mode if mode & GO_DEVICE_PIPE_SOCKET != 0 => At::Other,
                mode => At::File { executable: mode & 0o111 != 0 },
            };
            return Ok((path, at));
        }
        Ok((path, At::Nothing))
    }

    /// What is at a path, links followed.
    ///
    /// # Errors
    /// Outside (3) if Docker can't say.
    pub async fn at(&self, path: &str) -> Result<At, Failure> {
        self.follow(path).await.map(|(_, at)| at)
    }

    /// Whether a file is there that can be run.
    ///
    /// # Errors
    /// Outside (3) if Docker can't say.
    pub async fn has_program(&self, path: &str) -> Result<bool, Failure> {
        Ok(self.at(path).await? == (At::File { executable: true }))
    }

    /// A file; `None` if there is none.
    ///
    /// # Errors
    /// Outside (3) if Docker does not hand it out, or it is larger than 16 MiB.
    pub async fn read(&self, path: &str) -> Result<Option<Content>, Failure> {
        let (path, At::File { .. }) = self.follow(path).await? else { return Ok(None) };
        let options = DownloadFromContainerOptionsBuilder::default().path(&path).build();
        let mut pieces = Box::pin(self.docker.download_from_container(&self.container, Some(options)));
        let mut archive = Vec::new();
        while let Some(piece) = crate::docker::next_line(&mut pieces, &self.deed(&path)).await? {
            archive.extend_from_slice(&piece.map_err(|e| failed(self.deed(&path), &e))?);
            if archive.len() as u64 > MOST_FILE {
                return Err(Failure::outside(format!("{}: larger than 16 MiB", self.deed(&path))));
            }
        }
        first_file(&archive).map_err(|e| Failure::outside(format!("{}: {e}", self.deed(&path))))
    }

    /// The first executable of that name on a PATH.
    ///
    /// # Errors
    /// Outside (3) if Docker can't say.
    pub async fn which(&self, name: &str, path: &str) -> Result<Option<String>, Failure> {
        let mut folders = futures::stream::iter(path.split(':').filter(|folder| folder.starts_with('/')));
        while let Some(folder) = folders.next().await {
            let file = format!("{}/{name}", folder.trim_end_matches('/'));
            if self.has_program(&file).await? {
                return Ok(Some(file));
            }
        }
        Ok(None)
    }

    /// The folders above a path that are missing, outermost first.
    ///
    /// # Errors
    /// Outside (3) if Docker can't say.
    pub async fn missing_above(&self, path: &str) -> Result<Vec<String>, Failure> {
        let mut missing = Vec::new();
        for folder in Path::new(path).ancestors().skip(1) {
            let Some(folder) = folder.to_str().filter(|f| !f.is_empty() && *f != "/") else { break };
            if self.at(folder).await? != At::Nothing {
                break;
            }
            missing.insert(0, folder.to_owned());
        }
        Ok(missing)
    }
}

/// The first file of an archive.
///
/// # Errors
/// If it is no archive.
pub fn first_file(archive: &[u8]) -> std::io::Result<Option<Content>> {
    for entry in tar::Archive::new(archive).entries()? {
        let mut entry = entry?;
        if entry.header().entry_type().is_file() {
            let (mode, uid, gid) = (entry.header().mode()? & 0o7777, entry.header().uid()?, entry.header().gid()?);
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            return Ok(Some(Content { bytes, mode, uid, gid }));
        }
    }
    Ok(None)
}
