//! `womm-image agent`: an image that holds nothing but the agent, from which an init container copies it into pods of
//! images that setup never saw.

use crate::cli;
use crate::docker;
use crate::layer::{Entry, Recipe, labels};
use crate::leftovers::{Leftovers, Thing};
use crate::project;
use crate::reference::{self, Reference};
use std::io::Write;
use womm_cli::Failure;
use womm_engine::docker::agent::agent_binary;
use womm_wire::names;

/// Where that image has the agent.
const IN_IMAGE: &str = "/womm-agent";

/// Makes the image, pushes it if asked to, and writes its name to stdout.
///
/// # Errors
/// Usage (2) for a bad prefix, outside (3) if Docker or the registry fail.
pub async fn run(args: &cli::Agent, leftovers: &Leftovers) -> Result<(), Failure> {
    let prefix = match &args.prefix {
        Some(prefix) => reference::prefix(prefix)?,
        None => project::kept_prefix()?.unwrap_or_default(),
    };
    if args.push && prefix.is_empty() {
        return Err(Failure::usage("--push needs a prefix that says where to").help("give --prefix docker.io/me/"));
    }
    let name = Reference::parse(&format!("{prefix}womm-agent:{}", names::VERSION))?;
    let docker = docker::connect().await?;
    let recipe = Recipe {
        base: "scratch".to_owned(),
        run: None,
        entries: vec![Entry::file(IN_IMAGE, read_agent()?, 0o755)],
        labels: labels(None),
        env: Vec::new(),
        entrypoint: Some(IN_IMAGE.to_owned()),
    };
    let before = docker::inspect(&docker, &name.to_string()).await?.and_then(|image| image.id);
    let id = build(&docker, leftovers, &recipe).await?;
    docker::tag(&docker, &id, &name).await?;
    leftovers.keep(&Thing::Image(id.clone()));
    if let Some(before) = before.filter(|before| *before != id) {
        // The one of an earlier build; somebody's container may still use it, then it stays.
        let _ = leftovers.remove_one(&docker, &Thing::Replaced(before)).await;
    }
    if args.push {
        crate::push::push(&docker, &name).await?;
    }
    writeln!(std::io::stdout(), "{name}").map_err(|e| Failure::outside(format!("write to stdout: {e}")))
}

/// The agent's program.
///
/// # Errors
/// Outside (3) if it isn't where it should be.
pub fn read_agent() -> Result<Vec<u8>, Failure> {
    let path = agent_binary()?;
    std::fs::read(&path).map_err(|e| Failure::outside(format!("read the agent \"{}\": {e}", path.display())))
}

/// Builds an image that has no name yet and goes again unless it is kept.
///
/// # Errors
/// Outside (3) if Docker refuses.
pub async fn build(docker: &bollard::Docker, leftovers: &Leftovers, recipe: &Recipe) -> Result<String, Failure> {
    let (context, arguments) =
        recipe.context().map_err(|e| Failure::outside(format!("put the image's files together: {e}")))?;
    let (docker, list) = (docker.clone(), leftovers.clone());
    let network = recipe.run.as_ref().and_then(|run| run.network.clone());
    let work = async move {
        let id = docker::build(&docker, context, &arguments, network.as_deref()).await?;
        list.add(&docker, Thing::Image(id.clone()));
        Ok(id)
    };
    leftovers.make(work).await?
}
