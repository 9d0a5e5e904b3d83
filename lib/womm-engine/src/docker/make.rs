//! Making containers: what the image lacks is put into each between create and start.

use super::agent::{Archive, agent_binary, with_group, with_user};
use super::objects::{self, Facts};
use super::{ASK_DEADLINE, Docker, delete, trouble};
use crate::Error;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bollard::body_full;
use bollard::models::ImageInspect;
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, ContainerArchiveInfoOptionsBuilder, CreateContainerOptionsBuilder,
    DownloadFromContainerOptionsBuilder, UploadToContainerOptionsBuilder,
};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use tokio::sync::OnceCell;
use womm_wire::names;
use womm_wire::pod::Pod;
use womm_wire::record::{Image, Record, ShareKind, Task};

/// Containers made at once. Docker does a few side by side; more only wait inside of it.
pub(super) const AT_ONCE: usize = 16;
/// How long making or starting one container may take, on a machine that is busy making others.
const DEADLINE: Duration = Duration::from_secs(120);
/// How long a container on trial has to live to be called alive.
const TRIAL: Duration = Duration::from_secs(1);
/// How long after a container's last word the event of its death may come.
const EVENT_DELAY: Duration = Duration::from_millis(300);
/// The most that is kept of what a container on trial says.
const WORDS_BYTES: usize = 2 << 10;
/// The most that a file such as `/etc/passwd` may hold.
const FILE_BYTES: u64 = 16 << 20;

pub(super) async fn create(docker: &Docker, record: &mut Record) -> Result<(), Error> {
    let maker = Maker::new(docker, record).await?;
    let task = maker.task.clone();
    let image = record.image.get_or_insert_with(Image::default);
    if image.reference.is_empty() {
        image.reference.clone_from(&record.project.image);
    }
    image.id = image.id.take().or_else(|| Some(maker.image.id.clone()));
    image.agent = image.agent.take().or_else(|| maker.image.agent.clone());
    image.arch = image.arch.take().or_else(|| maker.image.arch.clone());
    objects::check(record, &task, &maker.facts)?;
    delete::reap(docker, &task).await?;

    // After a failure no more are begun, but those under way are waited for: Docker would make them all the same, and
    // perhaps only after everything was removed.
    let failed = AtomicBool::new(false);
    let make = |_| async {
        if failed.load(Ordering::Relaxed) {
            return Ok(());
        }
        let made = maker.make().await.map(drop);
        failed.fetch_or(made.is_err(), Ordering::Relaxed);
        made
    };
    let pods = futures::stream::iter(0..task.pods).map(make).buffer_unordered(AT_ONCE);
    let made = pods.fold(Ok(()), |all: Result<(), Error>, one| async { all.and(one) }).await;
    if made.is_err()
        && let Err(undo) = delete::delete(docker, &task.id).await
    {
        // The first error is the one to tell; what is left is named beside it.
        let _ = writeln!(io::stderr(), "womm: what was made of {} could not be removed: {undo}", task.name);
    }
    made
}

/// Makes the containers of one task.
pub(super) struct Maker {
    docker: Docker,
    record: Record,
    task: Task,
    image: ImageFacts,
    facts: Facts,
    /// What is put into every container; found out with the first one.
    furniture: OnceCell<Option<Bytes>>,
}

/// How a container on trial turned out.
pub(super) enum Trial {
    /// It lives.
    Alive(Pod),
    /// It ended at once; its last words, if it had any.
    Dead {
        /// The container.
        pod: Pod,
        /// From its stdout and stderr.
        words: String,
    },
}

/// What the local engine knows of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct ImageFacts {
    /// What containers are made of: the name, or the id if the name means another image by now.
    reference: String,
    id: String,
    agent: Option<String>,
    user: Option<String>,
    arch: Option<String>,
}

impl ImageFacts {
    fn new(reference: &str, inspected: ImageInspect) -> Self {
        let labels = inspected.config.and_then(|c| c.labels).unwrap_or_default();
        Self {
            reference: reference.into(),
            id: inspected.id.unwrap_or_default(),
            agent: labels.get(names::IMAGE_LABEL_AGENT).cloned(),
            user: labels.get(names::IMAGE_LABEL_USER).cloned(),
            arch: inspected.architecture.filter(|a| !a.is_empty()),
        }
    }
}

impl Maker {
    pub async fn new(docker: &Docker, record: &Record) -> Result<Self, Error> {
        let task = record.task()?.clone();
        let image = image(docker, record).await?;
        let info = docker.ask("ask Docker what it has", ASK_DEADLINE, docker.api.info()).await?;
        let number = |n: Option<i64>| n.and_then(|n| u64::try_from(n).ok()).unwrap_or(u64::MAX);
        let facts = Facts {
            cpus: number(info.ncpu),
            memory: number(info.mem_total),
            selinux: info.security_options.unwrap_or_default().iter().any(|o| o.starts_with("name=selinux")),
        };
        let docker = docker.clone();
        Ok(Self { docker, record: record.clone(), task, image, facts, furniture: OnceCell::new() })
    }

    /// Makes and starts one container.
    pub async fn make(&self) -> Result<Pod, Error> {
        let pod = self.prepare().await?;
        self.start(&pod).await?;
        Ok(pod)
    }

    /// Makes and starts one container and listens to it for a second: its words are gone when Docker removes it.
    pub async fn make_on_trial(&self) -> Result<Trial, Error> {
        let pod = self.prepare().await?;
        let options = AttachContainerOptionsBuilder::new().stream(true).logs(true).stdout(true).stderr(true).build();
        let attached = self.docker.api.attach_container(&pod.uid, Some(options));
        let attached = self.docker.ask("attach to a container", ASK_DEADLINE, attached).await;
        self.start(&pod).await?;
        let mut words = Vec::new();
        let listen = async {
            // Without words there is still the exit code; nobody to listen to is told from an end by waiting.
            let Ok(mut attached) = attached else { return std::future::pending().await };
            while let Some(Ok(frame)) = attached.output.next().await {
                words.extend_from_slice(frame.as_ref());
                words.drain(..words.len().saturating_sub(WORDS_BYTES));
            }
        };
        match tokio::time::timeout(TRIAL, listen).await {
            Err(_) => Ok(Trial::Alive(pod)),
            Ok(()) => {
                // Its exit code comes as an event, at about the same time.
                tokio::time::sleep(EVENT_DELAY).await;
                Ok(Trial::Dead { pod, words: String::from_utf8_lossy(&words).trim().to_owned() })
            }
        }
    }

    async fn prepare(&self) -> Result<Pod, Error> {
        let pod = self.create().await?;
        if let Err(error) = self.furnish(&pod).await {
            return Err(self.discard(&pod, error).await);
        }
        Ok(pod)
    }

    async fn create(&self) -> Result<Pod, Error> {
        let deed = "make a container";
        loop {
            let name = objects::pod_name(&self.task.name, random()?);
            let body = objects::container(&self.record, &self.task, &self.image.reference, &name, &self.facts);
            let options = CreateContainerOptionsBuilder::new().name(&name).build();
            let creation = self.docker.api.create_container(Some(options), body);
            match tokio::time::timeout(DEADLINE, creation).await {
                Err(_) => return Err(Error::Timeout { deed: deed.into(), after: DEADLINE }),
                Ok(Ok(made)) => return Ok(Pod { name, uid: made.id, node: None }),
                // Another container has this name: one of 14 million, so the next one is free.
                Ok(Err(e)) if trouble::status(&e) == Some(409) && trouble::words(&e).contains("already in use") => {}
                Ok(Err(e)) => {
                    return Err(trouble::explain_make(&self.docker.at, deed, &self.image.reference, &e));
                }
            }
        }
    }

    async fn start(&self, pod: &Pod) -> Result<(), Error> {
        let deed = format!("start container {}", pod.name);
        let error = match tokio::time::timeout(DEADLINE, self.docker.api.start_container(&pod.uid, None)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(e)) => trouble::explain_make(&self.docker.at, &deed, &self.image.reference, &e),
            Err(_) => Error::Timeout { deed, after: DEADLINE },
        };
        Err(self.discard(pod, error).await)
    }

    /// Docker removes by itself only what has run.
    async fn discard(&self, pod: &Pod, error: Error) -> Error {
        // If it can't be removed either, deleting the task tries again; the first error says more.
        let _ = delete::remove(&self.docker, &pod.uid).await;
        error
    }

    async fn furnish(&self, pod: &Pod) -> Result<(), Error> {
        let furniture = self.furniture.get_or_try_init(|| self.gather(pod)).await?;
        let Some(archive) = furniture.clone() else { return Ok(()) };
        let options = UploadToContainerOptionsBuilder::new().path("/").build();
        let upload = self.docker.api.upload_to_container(&pod.uid, Some(options), body_full(archive));
        self.docker.ask("put files into a container", DEADLINE, upload).await
    }

    /// Finds out what the image lacks, by looking into a container of it.
    async fn gather(&self, pod: &Pod) -> Result<Option<Bytes>, Error> {
        let user = &self.task.user;
        let has_agent = self.image.agent.as_deref() == Some(names::VERSION);
        let has_user = has_agent && self.image.user.as_deref() == Some(objects::owner(user).as_str());
        let unshared = self.record.project.share_kind == ShareKind::None;
        if has_user && !unshared {
            return Ok(None);
        }
        let bad = |e: io::Error| Error::Refused { deed: "pack files for a container".into(), reason: e.to_string() };
        let mut archive = Archive::default();
        if !has_agent {
            let program = agent_binary()?;
            let bytes = tokio::fs::read(&program).await.map_err(|e| Error::Refused {
                deed: format!("read the agent's program \"{}\"", program.display()),
                reason: e.to_string(),
            })?;
            archive.file(names::AGENT_BAKED, 0o755, &bytes).map_err(bad)?;
        }
        if !has_user {
            if let Some(text) = with_user(&self.read(pod, "/etc/passwd").await?, user) {
                archive.file("/etc/passwd", 0o644, &text).map_err(bad)?;
            }
            if let Some(text) = with_group(&self.read(pod, "/etc/group").await?, user) {
                archive.file("/etc/group", 0o644, &text).map_err(bad)?;
            }
            if self.may_change(&user.home) && (depth(&user.home) > 1 || self.mode(pod, &user.home).await?.is_none()) {
                archive.folder(&user.home, 0o755, user.uid, user.gid).map_err(bad)?;
            }
            // It may be there only because Docker made it for a mount below it, and then not everybody may write.
            if self.may_change("/tmp") && self.mode(pod, "/tmp").await?.is_none_or(|mode| mode & 0o7 != 0o7) {
                archive.folder("/tmp", 0o1777, 0, 0).map_err(bad)?;
            }
        }
        let cwd = &self.record.project.cwd;
        if unshared && cwd != "/" {
            // The image's own /tmp, /usr… stay as they are.
            let mode = self.mode(pod, cwd).await?;
            if mode.is_none_or(|mode| depth(cwd) > 1 && mode & 0o2 == 0) {
                archive.folder(cwd, 0o755, user.uid, user.gid).map_err(bad)?;
            }
        }
        archive.finish().map(|bytes| Some(bytes.into())).map_err(bad)
    }

    /// Whether a folder is the container's own: what is put into the bind-mounted folder is put into the user's, for
    /// Docker's archive API sees mounts.
    fn may_change(&self, folder: &str) -> bool {
        let folder = Path::new(folder);
        let mounted = self.record.project.share_kind == ShareKind::Bind && folder.starts_with(&self.record.project.cwd);
        folder.is_absolute() && folder != Path::new("/") && !mounted
    }

    /// Permission bits of what is at a path in the container; none if nothing is.
    async fn mode(&self, pod: &Pod, path: &str) -> Result<Option<u32>, Error> {
        Ok(self.stat(pod, path).await?.map(|(mode, _)| mode & 0o777))
    }

    /// Permission bits, and where a symbolic link leads to in the end.
    async fn stat(&self, pod: &Pod, path: &str) -> Result<Option<(u32, String)>, Error> {
        let options = ContainerArchiveInfoOptionsBuilder::new().path(path).build();
        let stat = async {
            match self.docker.api.get_container_archive_info(&pod.uid, Some(options)).await {
                Ok(stat) => Ok(Some((stat.file_mode, stat.link_target))),
                Err(e) if trouble::status(&e) == Some(404) => Ok(None),
                Err(e) => Err(e),
            }
        };
        self.docker.ask("look into a container", ASK_DEADLINE, stat).await
    }

    /// A small file of the container's; empty if it is missing.
    async fn read(&self, pod: &Pod, path: &str) -> Result<Vec<u8>, Error> {
        let target = match self.stat(pod, path).await? {
            None => return Ok(Vec::new()),
            Some((_, target)) if !target.is_empty() => target,
            Some(_) => path.to_owned(),
        };
        let options = DownloadFromContainerOptionsBuilder::new().path(&target).build();
        let download = self.docker.api.download_from_container(&pod.uid, Some(options));
        let deed = format!("read {path} of a container");
        let packed = download.try_fold(Vec::new(), |mut all, part| async move {
            all.extend_from_slice(&part);
            Ok(all)
        });
        let packed = self.docker.ask(&deed, ASK_DEADLINE, packed).await?;
        first_file(&packed).map_err(|e| Error::Refused { deed, reason: e.to_string() })
    }
}

fn first_file(packed: &[u8]) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    if let Some(entry) = tar::Archive::new(packed).entries()?.next() {
        entry?.take(FILE_BYTES).read_to_end(&mut text)?;
    }
    Ok(text)
}

/// How many names a path has.
fn depth(path: &str) -> usize {
    path.split('/').filter(|name| !name.is_empty()).count()
}

fn random() -> Result<[u8; 5], Error> {
    let mut bytes = [0; 5];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|e| Error::Refused { deed: "read /dev/urandom".into(), reason: e.to_string() })?;
    Ok(bytes)
}

/// Looks the record's image up on the local engine. If its name means another image since the task was made, or none,
/// the recorded one is used, so that all pods of a task are alike.
async fn image(docker: &Docker, record: &Record) -> Result<ImageFacts, Error> {
    let given = record.image.as_ref();
    let name = given.map(|i| i.reference.as_str()).filter(|r| !r.is_empty()).unwrap_or(&record.project.image);
    let id = given.and_then(|i| i.id.as_deref());
    if !objects::is_reference(name) {
        return Err(Error::Invalid {
            message: format!("\"{name}\" is not the name of an image"),
            help: "give one such as ubuntu:22.04".into(),
        });
    }
    match inspect(docker, name).await? {
        Some(found) if id.is_none_or(|id| id == found.id) => return Ok(found),
        Some(_) | None => {}
    }
    match id.filter(|id| objects::is_reference(id)) {
        Some(id) => inspect(docker, id).await?.ok_or_else(|| trouble::missing_image(name)),
        None => Err(trouble::missing_image(name)),
    }
}

async fn inspect(docker: &Docker, reference: &str) -> Result<Option<ImageFacts>, Error> {
    let inspection = async {
        match docker.api.inspect_image(reference).await {
            Ok(inspected) => Ok(Some(ImageFacts::new(reference, inspected))),
            Err(e) if trouble::status(&e) == Some(404) => Ok(None),
            Err(e) => Err(e),
        }
    };
    docker.ask(&format!("look up image \"{reference}\""), ASK_DEADLINE, inspection).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::models::ImageConfig;

    #[test]
    fn an_image_says_whether_setup_saw_it() {
        let labels = [("womm.agent", "0.2.0"), ("womm.uid", "1000:1000")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        let config = ImageConfig { labels: Some(labels.into()), ..Default::default() };
        let inspected = ImageInspect { id: Some("sha256:1".into()), config: Some(config), ..Default::default() };
        let facts = ImageFacts::new("a:1", inspected);
        assert_eq!((facts.agent.as_deref(), facts.user.as_deref()), (Some("0.2.0"), Some("1000:1000")));
        assert_eq!(ImageFacts::new("a:1", ImageInspect::default()).agent, None);
    }

    #[test]
    fn the_first_file_of_a_download() {
        let mut archive = Archive::default();
        archive.file("/passwd", 0o644, b"root").expect("a good path");
        assert_eq!(first_file(&archive.finish().expect("memory")).expect("a tar"), b"root");
        assert_eq!(first_file(&[0; 1024]).expect("an empty tar"), b"");
    }

    #[test]
    fn depth_counts_names() {
        assert_eq!((depth("/"), depth("/root"), depth("/home//ada/")), (0, 1, 2));
    }
}
