//! What must not stay when a verb fails or is interrupted: temporary containers, images that never got their name.

use bollard::Docker;
use bollard::errors::Error;
use bollard::query_parameters::{RemoveContainerOptionsBuilder, RemoveImageOptionsBuilder};
use std::cell::RefCell;
use std::time::Duration;
use tokio::time::timeout;
use womm_cli::Failure;

/// How long Docker may take to remove one of them.
const REMOVE: Duration = Duration::from_secs(20);

/// The list of them.
#[derive(Default)]
pub struct Leftovers(RefCell<Vec<(Docker, Thing)>>);

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Thing {
    /// A container, by name or id.
    Container(String),
    /// An image, by id, unless it has a name by then: builds with the same input end in the same image, so that
    /// another folder's may have this very id. Layers under it go too, unless something else uses them.
    Image(String),
    /// The name of an image, and the image if it has no other.
    Named(String),
    /// A name (repository, tag) that is to lead to this image again.
    Name(String, String, String),
}

impl Leftovers {
    /// Will be removed, unless [`Leftovers::keep`] is called.
    pub fn add(&self, docker: &Docker, thing: Thing) {
        self.0.borrow_mut().push((docker.clone(), thing));
    }

    /// Stays, or is gone already.
    pub fn keep(&self, thing: &Thing) {
        self.0.borrow_mut().retain(|(_, left)| left != thing);
    }

    /// Removes all, the last first; goes on when one can't be, and returns why each of those could not.
    pub async fn remove(&self) -> Vec<Failure> {
        let mut failures = Vec::new();
        loop {
            let Some((docker, thing)) = self.0.borrow_mut().pop() else { return failures };
            failures.extend(remove(&docker, &thing).await.err());
        }
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
        Thing::Image(id) | Thing::Named(id) => {
            if matches!(thing, Thing::Image(_)) {
                let names = crate::docker::inspect(docker, id).await?.and_then(|image| image.repo_tags);
                if names.is_some_and(|names| !names.is_empty()) {
                    return Ok(());
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
