//! What is looked at before the user invests time: by setup, which goes no further if something is wrong, and by
//! `womm doctor`, which shows it. Each check is written once, and changes nothing.

use crate::docker;
use crate::kind::Kind;
use crate::login;
use crate::reference::Reference;
use crate::registry::{self, Verdict};
use bollard::Docker;
use bollard::models::SystemInfo;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::timeout;
use womm_cli::Failure;
use womm_cli::finding::{Answer, Checked};
use womm_engine::{Place, kube};
use womm_wire::record::EngineKind;

/// The oldest API of Docker's that we speak: that of Docker 20.10.
const OLDEST_API: (u32, u32) = (1, 41);
/// So much has to be free where Docker keeps images, in bytes: what is installed on top of the base image goes there.
const LEAST_FREE: u64 = 256 << 20;
/// How long setup asks one of them; what does not answer in time is found out later.
const PATIENCE: Duration = Duration::from_secs(20);
/// The same for the cluster, which setup does not need.
const CLUSTER: Duration = Duration::from_secs(5);

/// Docker's version, and that of its API.
pub async fn version(docker: &Docker) -> Checked {
    let version = docker.version().await.map_err(|e| docker::failed("ask Docker for its version", &e))?;
    let (name, api) = (version.version.unwrap_or_default(), version.api_version.unwrap_or_default());
    let words = format!("Docker {name}, API {api}");
    if api_of(&api).is_none_or(|api| api < OLDEST_API) {
        let (major, minor) = OLDEST_API;
        return Err(Failure::outside(format!(
            "{words} is too old: API {major}.{minor} is the oldest that WOMM speaks"
        ))
        .help("install Docker 20.10 or newer"));
    }
    Ok(Answer::Ok(words))
}

fn api_of(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Whether there is room where Docker keeps images.
pub async fn disk(docker: &Docker) -> Checked {
    let Some(root) = info(docker).await?.docker_root_dir.filter(|root| !root.is_empty()) else {
        return Ok(Answer::Unknown("Docker does not say where it keeps images".into()));
    };
    let Ok(disk) = rustix::fs::statvfs(root.as_str()) else {
        return Ok(Answer::Unknown(format!("\"{root}\" can't be looked at from here")));
    };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let words = format!("{} free in \"{root}\"", indicatif::DecimalBytes(free));
    if free < LEAST_FREE {
        let least = indicatif::DecimalBytes(LEAST_FREE);
        return Err(Failure::outside(format!("{words}, where Docker keeps images: {least} are the least"))
            .help("free some space there: `docker system df` says what takes it, `docker system prune` frees it"));
    }
    Ok(Answer::Ok(words))
}

async fn info(docker: &Docker) -> Result<SystemInfo, Failure> {
    docker.info().await.map_err(|e| docker::failed("ask Docker about itself", &e))
}

/// What the agent is built for, as Docker and Kubernetes name it.
pub fn agent_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Whether the agent runs in an image.
///
/// # Errors
/// Outside (3) if not.
pub fn fits_agent(image: &Reference, os: Option<&str>, arch: Option<&str>) -> Result<(), Failure> {
    let (os, arch, agent) = (os.unwrap_or("linux"), arch.unwrap_or_default(), agent_arch());
    if os == "linux" && (arch.is_empty() || arch == agent) {
        return Ok(());
    }
    Err(Failure::outside(format!("image \"{image}\" is for {os}/{arch}, the agent for linux/{agent}"))
        .help(format!("get the other one with `docker pull --platform linux/{agent} {image}`")))
}

/// Whether there is a base image of this name, here or in its registry, and for which architecture.
pub async fn base(docker: &Docker, image: &Reference) -> Checked {
    if let Some(found) = docker::inspect(docker, &image.to_string()).await? {
        fits_agent(image, found.os.as_deref(), found.architecture.as_deref())?;
        let arch = found.architecture.unwrap_or_default();
        return Ok(Answer::Ok(format!("\"{image}\" is here, for {arch}")));
    }
    let login = login::find(image.registry()).await?;
    let found = docker.inspect_registry_image(&image.to_string(), login).await;
    let found = found.map_err(|e| docker::not_pulled(format!("find image \"{image}\""), &e))?;
    let agent = agent_arch();
    let archs: BTreeSet<_> = found.platforms.iter().filter_map(|platform| platform.architecture.clone()).collect();
    if !archs.is_empty() && !archs.contains(agent) {
        let there = archs.into_iter().collect::<Vec<_>>().join(", ");
        return Err(Failure::outside(format!("image \"{image}\" is for {there}, the agent for {agent}"))
            .help("choose another base image: `womm setup --base IMAGE`"));
    }
    Ok(Answer::Ok(format!(
        "\"{image}\" is in {}, for {}",
        image.registry(),
        archs.into_iter().collect::<Vec<_>>().join(", ")
    )))
}

/// Whether an image of this name may be pushed.
pub async fn push(docker: &Docker, image: &Reference) -> Checked {
    let registry = image.registry();
    let login = login::find(registry).await?;
    let whose = if login.is_some() { "with the login of the Docker config" } else { "without a login" };
    let secure = is_secure(&info(docker).await?, registry);
    match registry::takes(image, login.as_ref(), secure).await? {
        Verdict::Takes => Ok(Answer::Ok(format!("\"{}\" may be pushed, {whose}", image.repository))),
        Verdict::Unknown(why) => {
            // Docker reaches registries in its own way; what it can't reach it can't push to.
            let probe = format!("{}:womm-doctor", image.repository);
            match docker.inspect_registry_image(&probe, login).await {
                Err(e) if docker::is_unreachable(&e) => {
                    Err(crate::push::refused(&format!("reach {registry}"), image, true, &docker::words(&e)))
                }
                _ => Ok(Answer::Unknown(format!("{registry} can't be asked from here: {why}"))),
            }
        }
    }
}

/// Whether Docker insists on TLS with a registry. Source: moby, `registry/config.go`, `isSecureIndex`. Names in the DNS are not
/// resolved here, as Docker does, to see whether they lead into a network that it was told to trust.
fn is_secure(info: &SystemInfo, registry: &str) -> bool {
    let config = info.registry_config.as_ref();
    let named = config.and_then(|c| c.index_configs.as_ref()?.get(registry)?.secure);
    let networks = config.and_then(|c| c.insecure_registry_cidrs.clone()).unwrap_or_default();
    let host = registry::host(registry);
    let host = if host == "localhost" { "127.0.0.1" } else { host };
    let within = host.parse().is_ok_and(|host| networks.iter().any(|network| kube::is_within(network, host)));
    named.unwrap_or(!within)
}

/// What setup is about to do.
pub struct Intent<'a> {
    /// Where pods will run.
    pub engine: EngineKind,
    /// What the image will be called.
    pub name: &'a Reference,
    /// Where the image is loaded, if it is not pushed.
    pub kind: Option<&'a Kind>,
}

/// All that can be known before a base image is there: Docker's version, its disk, the registry.
///
/// # Errors
/// As the first check that finds something wrong.
pub async fn before_setup(docker: &Docker, intent: &Intent<'_>) -> Result<(), Failure> {
    let pushed = intent.engine == EngineKind::Kube && intent.kind.is_none();
    let push = async {
        match pushed {
            true => Some(timeout(PATIENCE, push(docker, intent.name)).await.ok()),
            false => None,
        }
    };
    // At once, and said in their order.
    let (version, disk, push) = tokio::join!(timeout(PATIENCE, version(docker)), timeout(PATIENCE, disk(docker)), push);
    passed("ask Docker for its version", version.ok())?;
    passed("look at Docker's disk", disk.ok())?;
    match push {
        Some(push) => passed(&format!("ask {} whether it takes a push", intent.name.registry()), push),
        None => Ok(()),
    }
}

/// No answer is no obstacle: whoever needs it later has a deadline of its own.
fn passed(deed: &str, checked: Option<Checked>) -> Result<(), Failure> {
    if let Some(why) = doubt(deed, checked)? {
        crate::progress::say(&format!("warning: {why}"));
    }
    Ok(())
}

/// What could not be found out; `None` is a check that did not end in time.
fn doubt(deed: &str, checked: Option<Checked>) -> Result<Option<String>, Failure> {
    match checked.transpose()? {
        None => Ok(Some(format!("{deed}: no answer within {} s", PATIENCE.as_secs()))),
        Some(Answer::Unknown(why)) => Ok(Some(why)),
        Some(_) => Ok(None),
    }
}

/// The architectures of the cluster's nodes. Setup needs no cluster: one that does not answer is no obstacle.
pub async fn nodes(engine: EngineKind, place: &Place) -> Option<BTreeSet<String>> {
    if engine != EngineKind::Kube {
        return None;
    }
    let asked = async { kube::Kube::open(place).await?.architectures().await };
    timeout(CLUSTER, asked).await.ok()?.ok()?
}

/// Whether one of them can run the image.
///
/// # Errors
/// Outside (3) if there are nodes and none of them can.
pub fn fits_nodes(arch: &str, nodes: Option<&BTreeSet<String>>) -> Result<(), Failure> {
    match nodes {
        Some(nodes) if !arch.is_empty() && !nodes.is_empty() && !nodes.contains(arch) => {
            let failure = kube::unfit(arch, nodes);
            Err(Failure { code: womm_cli::Code::Outside, ..failure })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::models::{IndexInfo, RegistryServiceConfig};

    #[test]
    fn what_could_not_be_found_out_is_said() {
        let doubt = |checked| doubt("ask r.io", checked);
        assert_eq!(doubt(None), Ok(Some("ask r.io: no answer within 20 s".into())));
        assert_eq!(doubt(Some(Ok(Answer::Unknown("it is away".into())))), Ok(Some("it is away".into())));
        assert_eq!(doubt(Some(Ok(Answer::Ok("fine".into())))), Ok(None));
        assert!(doubt(Some(Err(Failure::outside("no")))).is_err());
    }

    #[test]
    fn versions_are_numbers() {
        assert!(
            api_of("1.9") < Some(OLDEST_API) && api_of("1.41") >= Some(OLDEST_API) && api_of("2.0") > Some(OLDEST_API)
        );
        assert_eq!(api_of("new"), None);
    }

    #[test]
    fn a_node_must_fit_if_there_are_nodes() {
        let nodes = BTreeSet::from(["arm64".to_owned()]);
        assert!(fits_nodes("arm64", Some(&nodes)).is_ok() && fits_nodes("", Some(&nodes)).is_ok());
        assert!(fits_nodes("amd64", None).is_ok() && fits_nodes("amd64", Some(&BTreeSet::new())).is_ok());
        assert_eq!(fits_nodes("amd64", Some(&nodes)).expect_err("none").code, womm_cli::Code::Outside);
    }

    #[test]
    fn docker_s_config_says_where_tls_is_a_must() {
        let index = |secure| IndexInfo { secure: Some(secure), ..Default::default() };
        let config = RegistryServiceConfig {
            insecure_registry_cidrs: Some(vec!["127.0.0.0/8".into(), "10.0.0.0/8".into()]),
            index_configs: Some(
                [("r.example.org:5000".to_owned(), index(false)), ("docker.io".to_owned(), index(true))].into(),
            ),
            ..Default::default()
        };
        let info = SystemInfo { registry_config: Some(config), ..Default::default() };
        for registry in ["localhost:5000", "127.0.0.1", "10.1.2.3:443", "r.example.org:5000"] {
            assert!(!is_secure(&info, registry), "{registry}");
        }
        for registry in ["docker.io", "r.example.org", "192.168.0.1:5000"] {
            assert!(is_secure(&info, registry), "{registry}");
        }
    }

    #[test]
    fn an_image_for_another_machine_is_refused() {
        let image = Reference::parse("x:1").expect("valid");
        assert!(
            fits_agent(&image, Some("linux"), Some(agent_arch())).is_ok() && fits_agent(&image, None, None).is_ok()
        );
        assert!(fits_agent(&image, Some("windows"), Some(agent_arch())).is_err());
        let said = fits_agent(&image, Some("linux"), Some("s390x")).expect_err("another").to_string();
        assert!(said.contains("linux/s390x") && said.contains("docker pull --platform"), "{said}");
    }
}
