//! What must not stay when a verb fails or is interrupted: temporary containers, images that never got their name.

use bollard::Docker;
use bollard::errors::Error;
use bollard::models::ImageInspect;
use bollard::query_parameters::{
    RemoveContainerOptionsBuilder, RemoveImageOptionsBuilder, StopContainerOptionsBuilder,
};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use womm_cli::Failure;

/// How long Docker may take to remove one of them.
const REMOVE: Duration = Duration::from_secs(20);

/// How long a Docker that did not may take to show that it is there at all.
const ANSWER: Duration = Duration::from_secs(2);

/// The list of them. Clones are the same list.
#[derive(Default, Clone)]
pub struct Leftovers(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    things: Vec<(Docker, Thing)>,
    making: Vec<JoinHandle<()>>,
    /// What was changed for good, in words.
    changed: Option<&'static str>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Thing {
    /// A container, by name or id.
    Container(String),
    /// An image, by id, unless it has a name by then: builds with the same input end in the same image, so that
    /// another folder's may have this very id; and a base to which nothing had to be added is the user's, who may have
    /// pulled it by its digest alone. Layers under it go too, unless something else uses them.
    Image(String),
    /// The image whose name another has now, by id, unless it has one more name. That it was pushed once is none.
    Replaced(String),
    /// The name of an image, and the image if it has no other.
    Named(String),
    /// The container of the user's shell, by name: stopped, and kept.
    Shell(String),
    /// A name (repository, tag) that is to lead to this image again.
    Name(String, String, String),
}

impl Leftovers {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs what makes something to its end, even if the caller is interrupted meanwhile: Docker goes on with a request
    /// that nobody waits for any more, and what it makes after we looked would stay.
    ///
    /// # Errors
    /// Outside (3) if `work` panics, which is a bug.
    pub async fn make<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Result<T, Failure> {
        let (done_tx, done_rx) = oneshot::channel();
        let task = tokio::spawn(async move {
            // Nobody receives it if the caller was interrupted.
            let _ = done_tx.send(work.await);
        });
        self.inner().making.push(task);
        done_rx.await.map_err(|_| Failure::outside("a task of ours ended without a result"))
    }

    /// From here on this is so, whatever else happens.
    pub fn changed(&self, what: &'static str) {
        self.inner().changed = Some(what);
    }

    /// What was changed for good if it ends now, for whoever quits or interrupts.
    pub fn outcome(&self) -> &'static str {
        self.inner().changed.unwrap_or("nothing was changed")
    }

    /// Will be removed, unless [`Leftovers::keep`] is called.
    pub fn add(&self, docker: &Docker, thing: Thing) {
        self.inner().things.push((docker.clone(), thing));
    }

    /// Stays, or is gone already.
    pub fn keep(&self, thing: &Thing) {
        self.inner().things.retain(|(_, left)| left != thing);
    }

    /// Removes all, the last first; goes on when one can't be, and returns why each of those could not.
    pub async fn remove(&self) -> Vec<Failure> {
        let mut failures = Vec::new();
        let making = std::mem::take(&mut self.inner().making);
        for task in making {
            if timeout(REMOVE, task).await.is_err() {
                let late = format!("wait for what Docker was asked to do: nothing after {} s", REMOVE.as_secs());
                failures.push(Failure::timeout(late).help("it may have left something: see `docker ps -a`"));
            }
        }
        loop {
            let Some((docker, thing)) = self.inner().things.pop() else { return failures };
            if let Err(failure) = remove(&docker, &thing).await {
                failures.push(failure);
                if !timeout(ANSWER, docker.ping()).await.is_ok_and(|pong| pong.is_ok()) {
                    return failures; // of each of the others the same would be said
                }
            }
        }
    }

    /// Removes one beside what else is done.
    pub fn remove_later(&self, docker: &Docker, thing: Thing) {
        let (list, docker) = (self.clone(), docker.clone());
        let task = tokio::spawn(async move {
            // If it can't be, it is still on the list.
            let _ = list.remove_one(&docker, &thing).await;
        });
        self.inner().making.push(task);
    }

    /// Removes one now.
    ///
    /// # Errors
    /// Outside (3) or timeout (4) if Docker does not.
    pub async fn remove_one(&self, docker: &Docker, thing: &Thing) -> Result<(), Failure> {
        remove(docker, thing).await?;
        self.keep(thing);
        Ok(())
    }
}

async fn remove(docker: &Docker, thing: &Thing) -> Result<(), Failure> {
    let (deed, result) = match thing {
        Thing::Container(name) => {
            // With the volumes that the image's VOLUME lines made for it.
            let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
            let work = docker.remove_container(name, Some(options));
            (format!("remove the temporary container \"{name}\""), timeout(REMOVE, work).await)
        }
        Thing::Shell(name) => return keep_shell(docker, name).await,
        Thing::Image(id) | Thing::Named(id) | Thing::Replaced(id) => {
            if let Some(image) = crate::docker::inspect(docker, id).await? {
                if stays(thing, &image) {
                    return Ok(());
                }
                if let Thing::Replaced(_) = thing {
                    // Docker lists an image by these for as long as others stand on it, and refuses to remove it.
                    for digest in image.repo_digests.iter().flatten() {
                        let work =
                            docker.remove_image(digest, Some(RemoveImageOptionsBuilder::default().build()), None);
                        let _ = timeout(REMOVE, work).await; // its end is what counts, below
                    }
                }
            }
            let work = docker.remove_image(id, Some(RemoveImageOptionsBuilder::default().build()), None);
            (format!("remove image \"{id}\""), timeout(REMOVE, work).await.map(|r| r.map(drop)))
        }
        Thing::Name(repository, tag, id) => {
            let options =
                bollard::query_parameters::TagImageOptionsBuilder::default().repo(repository).tag(tag).build();
            let work = docker.tag_image(id, Some(options));
            (format!("give the name \"{repository}:{tag}\" back to the image that had it"), timeout(REMOVE, work).await)
        }
    };
    match result {
        Ok(Ok(())) | Ok(Err(Error::DockerResponseServerError { status_code: 404, .. })) => Ok(()),
        Ok(Err(e)) => Err(crate::docker::failed(deed, &e)),
        Err(_) => Err(Failure::timeout(format!("{deed}: nothing after {} s", REMOVE.as_secs()))),
    }
}

/// Whether an image is somebody's.
fn stays(thing: &Thing, image: &ImageInspect) -> bool {
    let some = |names: &Option<Vec<String>>| names.as_ref().is_some_and(|names| !names.is_empty());
    match thing {
        Thing::Image(_) => some(&image.repo_tags) || some(&image.repo_digests),
        Thing::Replaced(_) => some(&image.repo_tags),
        _ => false,
    }
}

/// Stops it; the line that says where it is.
async fn keep_shell(docker: &Docker, name: &str) -> Result<(), Failure> {
    let options = StopContainerOptionsBuilder::default().t(10).build();
    // One that is gone, or does not stop, can be taken up or removed by its name all the same.
    let _ = timeout(REMOVE, docker.stop_container(name, Some(options))).await;
    Err(Failure::no(format!("what you did in the shell is kept in the container \"{name}\""))
        .help("`womm setup --continue` goes on with it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_with_a_name_or_a_digest_is_somebody_s() {
        let image = |tags: &[&str], digests: &[&str]| ImageInspect {
            repo_tags: Some(tags.iter().map(|&tag| tag.into()).collect()),
            repo_digests: Some(digests.iter().map(|&digest| digest.into()).collect()),
            ..Default::default()
        };
        let (ours, replaced, named) =
            (Thing::Image("i".into()), Thing::Replaced("i".into()), Thing::Named("n:1".into()));
        let digest = image(&[], &["r.io/x@sha256:0"]);
        assert!(stays(&ours, &digest) && !stays(&replaced, &digest));
        assert!(stays(&ours, &image(&["x:1"], &[])) && stays(&replaced, &image(&["x:1"], &[])));
        assert!(!stays(&ours, &image(&[], &[])) && !stays(&ours, &ImageInspect::default()));
        assert!(!stays(&named, &image(&["n:1"], &[])));
    }
}
