//! `womm-image show`: `.womm` as a record, with the image section.

use crate::cli;
use crate::docker;
use crate::project::{self, NO_PROJECT, key};
use crate::reference::Reference;
use serde_json::Value;
use womm_cli::{Failure, write_record};
use womm_wire::names;
use womm_wire::record::{EngineKind, Image, KIND, Project, Record, ShareKind};

/// Writes the record to stdout.
///
/// # Errors
/// Usage (2) if there is no `.womm` or it is wrong, outside (3) if Docker can't be reached or does not have the image.
pub async fn run(args: &cli::Show) -> Result<(), Failure> {
    let project = project::load(args.find.file.as_deref())?;
    let project = choose(project, args, project::here)?;
    let image = match project.engine {
        EngineKind::Docker => local(&project, args.image.is_some()).await?,
        EngineKind::Kube => of_cluster(&project, args.image.as_deref())?,
    };
    write_record(&Record { kind: KIND.to_owned(), project, image: Some(image), ..Default::default() })
}

/// The project that the command line makes of what was found.
fn choose(
    found: Option<Project>,
    args: &cli::Show,
    here: impl FnOnce() -> Result<String, Failure>,
) -> Result<Project, Failure> {
    let mut project = match (found, &args.image, args.engine) {
        (Some(project), ..) => project,
        // All that .womm would say follows from these two.
        (None, Some(_), Some(EngineKind::Docker)) => {
            let (engine, share_kind) = (EngineKind::Docker, ShareKind::Bind);
            Project { engine, share_kind, cwd: here()?, ..Default::default() }
        }
        (None, ..) => return Err(Failure::usage(NO_PROJECT)),
    };
    if let Some(engine) = args.engine.filter(|engine| *engine != project.engine) {
        // Another engine than setup chose: of the shares only those that it has.
        project.share_kind = match engine {
            EngineKind::Docker => ShareKind::Bind,
            EngineKind::Kube => ShareKind::None,
        };
        project.engine = engine;
    }
    if let Some(image) = &args.image {
        let name = Reference::parse(image)?.to_string();
        if Reference::parse(&project.image).ok().map(|r| r.to_string()) != Some(name) {
            for key in [key::IMAGE_AGENT, key::IMAGE_ARCH] {
                project.extra.remove(key); // they are about the other image
            }
        }
        project.image.clone_from(image);
    }
    check_share(project.engine, project.share_kind)?;
    Ok(project)
}

/// Whether an engine has a kind of share at all.
///
/// # Errors
/// Usage (2) if not.
pub fn check_share(engine: EngineKind, share: ShareKind) -> Result<(), Failure> {
    match (engine, share) {
        (EngineKind::Docker, ShareKind::Bind | ShareKind::None) => Ok(()),
        (EngineKind::Docker, _) => Err(Failure::usage(format!("engine docker has no share \"{}\"", name_of(share)))
            .help("on docker a folder is shared by \"bind\" or \"none\": run `womm setup` again")),
        (EngineKind::Kube, ShareKind::Bind) => Err(Failure::usage("engine kube has no share \"bind\"")
            .help("pods are on other machines; bind is for `womm setup --engine docker`")),
        (EngineKind::Kube, _) => Ok(()),
    }
}

/// A kind of share as `.womm` spells it.
pub fn name_of(share: ShareKind) -> String {
    serde_json::to_value(share).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

/// The image section for engine docker: the engine is asked.
async fn local(project: &Project, named: bool) -> Result<Image, Failure> {
    let name = &project.image;
    let docker = docker::connect().await?;
    let found = docker::inspect(&docker, name).await?.ok_or_else(|| missing(name, named))?;
    let label = found.config.and_then(|c| c.labels).and_then(|mut labels| labels.remove(names::IMAGE_LABEL_AGENT));
    Ok(Image { reference: name.clone(), id: found.id, agent: label, arch: found.architecture, ..Default::default() })
}

/// An image that the local engine does not have.
pub fn missing(name: &str, named: bool) -> Failure {
    let help =
        if named { format!("get it with `docker pull {name}`") } else { "run `womm setup` to make it again".into() };
    Failure::outside(format!("image \"{name}\" does not exist on the local Docker engine")).help(help)
}

/// The image section for engine kube, where the nodes pull the image: nobody is asked, setup wrote down what to know.
fn of_cluster(project: &Project, named: Option<&str>) -> Result<Image, Failure> {
    let text = |key: &str| project.extra.get(key).and_then(Value::as_str).map(str::to_owned);
    let (agent, arch) = (text(key::IMAGE_AGENT), text(key::IMAGE_ARCH));
    let mut agent_image = text(key::AGENT_IMAGE);
    if agent.is_none() && agent_image.is_none() {
        let prefix = match text(key::PREFIX) {
            Some(prefix) => Some(prefix),
            None => project::kept_prefix()?,
        };
        agent_image = prefix.map(|prefix| format!("{prefix}womm-agent:{}", names::VERSION));
        if agent_image.is_none() {
            return Err(Failure::usage(format!(
                "image \"{}\" was not made by `womm setup`, and it is not known where the cluster gets the agent",
                named.unwrap_or(&project.image)
            ))
            .help(
                "run `womm setup --prefix PREFIX`, or push an agent with `womm-image agent --prefix PREFIX --push`",
            ));
        }
    }
    Ok(Image { reference: project.image.clone(), agent, arch, agent_image, ..Default::default() })
}

/// The image that `push` and `check` are about.
///
/// # Errors
/// Usage (2) without a project and a name.
pub fn image_name(find: &cli::Find, named: Option<&str>) -> Result<String, Failure> {
    match named {
        Some(name) => Ok(Reference::parse(name)?.to_string()),
        None => project::load(find.file.as_deref())?.map(|p| p.image).ok_or_else(|| Failure::usage(NO_PROJECT)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(image: Option<&str>, engine: Option<EngineKind>) -> cli::Show {
        cli::Show { find: cli::Find::default(), image: image.map(str::to_owned), engine }
    }

    fn kube() -> Project {
        let mut project = Project { image: "r.io/i".into(), cwd: "/p".into(), ..Default::default() };
        for (key, value) in [(key::IMAGE_AGENT, "0.2.0"), (key::IMAGE_ARCH, "amd64"), (key::PREFIX, "r.io/")] {
            project.extra.insert(key.into(), value.into());
        }
        project
    }

    fn here() -> Result<String, Failure> {
        Ok("/here".to_owned())
    }

    #[test]
    fn without_a_file_only_docker_with_an_image_works() {
        let project = choose(None, &args(Some("x"), Some(EngineKind::Docker)), here).expect("enough is said");
        assert_eq!((project.cwd.as_str(), project.share_kind), ("/here", ShareKind::Bind));
        for args in [args(None, None), args(Some("x"), None), args(None, Some(EngineKind::Docker))] {
            assert_eq!(choose(None, &args, here).expect_err("too little is said").to_string(), NO_PROJECT);
        }
    }

    #[test]
    fn another_image_on_kube_takes_the_agent_s_own() {
        let project = choose(Some(kube()), &args(None, None), here).expect("valid");
        let image = of_cluster(&project, None).expect("known");
        assert_eq!((image.agent.as_deref(), image.agent_image), (Some("0.2.0"), None));
        let project = choose(Some(kube()), &args(Some("r.io/i:latest"), None), here).expect("valid");
        assert_eq!(of_cluster(&project, None).expect("known").agent.as_deref(), Some("0.2.0"));
        let project = choose(Some(kube()), &args(Some("other"), None), here).expect("valid");
        let image = of_cluster(&project, Some("other")).expect("the prefix is known");
        assert_eq!((image.reference.as_str(), image.agent, image.arch), ("other", None, None));
        assert_eq!(image.agent_image, Some(format!("r.io/womm-agent:{}", names::VERSION)));
    }

    #[test]
    fn the_other_engine_gets_a_share_that_it_has() {
        let project = choose(Some(kube()), &args(None, Some(EngineKind::Docker)), here).expect("valid");
        assert_eq!((project.engine, project.share_kind), (EngineKind::Docker, ShareKind::Bind));
        let wrong = Project { share_kind: ShareKind::Lazy, engine: EngineKind::Docker, ..kube() };
        assert!(choose(Some(wrong), &args(None, None), here).is_err());
        let wrong = Project { share_kind: ShareKind::Bind, ..kube() };
        assert!(choose(Some(wrong), &args(None, None), here).is_err());
    }
}
