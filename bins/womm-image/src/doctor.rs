//! `womm doctor`: everything that has to be well before jobs run, in one look. It changes nothing.

use crate::checks;
use crate::cli;
use crate::docker;
use crate::kind;
use crate::project;
use crate::reference::{self, Reference};
use crate::{show, user};
use bollard::Docker;
use serde_json::{Value, json};
use std::io::Write;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;
use tokio::time::timeout;
use womm_cli::finding::{Answer, Checked, Finding, State, verdict};
use womm_cli::{Failure, table, write_line};
use womm_engine::{Place, kube};
use womm_wire::record::{EngineKind, Project};

/// Each check has an end of its own.
const DEADLINE: Duration = Duration::from_secs(15);
/// The oldest GNU parallel that is tested, its release's date.
const OLDEST_PARALLEL: u32 = 20_221_122;
/// From what setup starts unless it is told otherwise.
const BASE: &str = "ubuntu:22.04";

/// Writes a table, or JSON, to stdout.
///
/// # Errors
/// No (1) if something is wrong, usage (2) for options that make no sense.
pub async fn run(args: &cli::Doctor) -> Result<(), Failure> {
    let findings = look(args).await?;
    if args.json {
        write_line(&json!({"kind": "womm/doctor", "findings": findings}))?;
    } else {
        let rows = findings.iter().map(|f| {
            vec![f.check.as_str(), f.state.word(), f.detail.as_str(), f.remedy.as_deref().unwrap_or_default()]
        });
        // A reader that went away is no failure.
        let _ = write!(std::io::stdout(), "{}", table(&["CHECK", "STATE", "DETAIL", "REMEDY"], rows));
    }
    verdict(&findings)
}

async fn look(args: &cli::Doctor) -> Result<Vec<Finding>, Failure> {
    let base = args.base.as_deref().map(Reference::parse).transpose()?;
    let prefix = args.prefix.as_deref().map(reference::prefix).transpose()?;
    let loaded = project::load(None);
    let project = loaded.as_ref().ok().and_then(Clone::clone);
    let context = args.context.clone().or_else(|| project.as_ref()?.context.clone());
    let namespace = args.namespace.clone().or_else(|| project.as_ref()?.namespace.clone());
    let asked = args.context.is_some() || args.namespace.is_some();
    let place = Place { context, namespace };
    // Where nothing says it: as setup offers it.
    let engine = args.engine.or(project.as_ref().map(|p| p.engine)).unwrap_or_else(|| {
        if asked || kube::current_context().is_some() { EngineKind::Kube } else { EngineKind::Docker }
    });
    let patient = Patient { engine, project, place, base, prefix };
    let wants_cluster = engine == EngineKind::Kube || asked;
    let (parallel, docker, cluster) =
        tokio::join!(Finding::within("GNU parallel", DEADLINE, parallel()), patient.docker(), async {
            if wants_cluster { patient.cluster().await } else { vec![not_needed()] }
        },);
    let mut findings = vec![Finding::of(project::FILE, of_project(loaded, engine)), parallel];
    findings.extend(docker);
    findings.extend(cluster);
    Ok(findings)
}

fn not_needed() -> Finding {
    Finding::of("cluster", Ok(Answer::Unknown("not asked: pods run on engine docker; --context asks it".into())))
}

fn of_project(loaded: Result<Option<Project>, Failure>, engine: EngineKind) -> Checked {
    let engine = match engine {
        EngineKind::Kube => "kube",
        EngineKind::Docker => "docker",
    };
    Ok(match loaded? {
        Some(project) => Answer::Ok(format!("image {}, engine {engine}, in {}", project.image, project.cwd)),
        None => Answer::Unknown(format!("none here, engine {engine}: `womm setup` makes one")),
    })
}

/// GNU parallel on the PATH: found, the right one, and new enough.
async fn parallel() -> Checked {
    let help = "install the package \"parallel\"";
    let mut command = Command::new("parallel");
    command.arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.map_err(|e| Failure::no(format!("run parallel: {e}")).help(help))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let Some(version) = said.lines().next().and_then(|line| line.strip_prefix("GNU parallel ")) else {
        return Err(Failure::no("the parallel on the PATH is not GNU's").help(help));
    };
    if version.trim().parse::<u32>().is_ok_and(|version| version < OLDEST_PARALLEL) {
        return Err(Failure::no(format!("GNU parallel {version}: {OLDEST_PARALLEL} is the oldest that is tested"))
            .help("install a newer one"));
    }
    Ok(Answer::Ok(format!("version {}", version.trim())))
}

/// What is looked at.
struct Patient {
    engine: EngineKind,
    project: Option<Project>,
    place: Place,
    base: Option<Reference>,
    prefix: Option<String>,
}

impl Patient {
    async fn docker(&self) -> Vec<Finding> {
        let docker = match timeout(DEADLINE, docker::connect()).await {
            Ok(Ok(docker)) => docker,
            Ok(Err(failure)) => return vec![Finding::of("docker", Err(failure))],
            Err(_) => return vec![Finding::of("docker", Err(Failure::timeout("no answer")))],
        };
        let (version, disk, image, registry) = tokio::join!(
            Finding::within("docker", DEADLINE, checks::version(&docker)),
            Finding::within("docker's disk", DEADLINE, checks::disk(&docker)),
            self.images(&docker),
            self.registry(&docker),
        );
        let mut findings = vec![version, disk];
        findings.extend(image);
        findings.extend(registry);
        findings
    }

    /// The project's image; the base image, where there is no project yet or one is named.
    async fn images(&self, docker: &Docker) -> Vec<Finding> {
        let mut findings = Vec::new();
        if let (Some(project), EngineKind::Docker) = (&self.project, self.engine) {
            let check = async {
                let found = docker::inspect(docker, &project.image).await?;
                let found = found.ok_or_else(|| show::missing(&project.image, false))?;
                Ok(Answer::Ok(format!("\"{}\" is here, for {}", project.image, found.architecture.unwrap_or_default())))
            };
            findings.push(Finding::within("image", DEADLINE, check).await);
        }
        let base = self.base.clone().or_else(|| self.project.is_none().then(|| Reference::parse(BASE).ok()).flatten());
        if let Some(base) = base {
            findings.push(Finding::within("base image", DEADLINE, checks::base(docker, &base)).await);
        }
        findings
    }

    /// Whether the image of engine kube can go where the nodes get it.
    async fn registry(&self, docker: &Docker) -> Option<Finding> {
        if self.engine != EngineKind::Kube {
            return None;
        }
        let check = async {
            let cluster = kind::named(self.place.context.as_deref()).filter(|_| self.prefix.is_none());
            if let Some(name) = cluster {
                let kind = kind::find(docker, &name).await?;
                return Ok(Answer::Ok(format!("none is needed: images are loaded into {}", kind.nodes.join(", "))));
            }
            match self.image_name()? {
                Some(image) => checks::push(docker, &image).await,
                None => Ok(Answer::Unknown("no prefix is known yet: `womm setup` asks for it".into())),
            }
        };
        Some(Finding::within("registry", DEADLINE, check).await)
    }

    /// An image that is, or would be, pushed.
    fn image_name(&self) -> Result<Option<Reference>, Failure> {
        let kept = match (&self.prefix, &self.project) {
            (Some(prefix), _) => Some(prefix.clone()),
            (None, Some(project)) => return Reference::parse(&project.image).map(Some),
            (None, None) => project::kept_prefix()?,
        };
        kept.map(|prefix| Reference::parse(&format!("{prefix}womm-image"))).transpose()
    }

    async fn cluster(&self) -> Vec<Finding> {
        let wrong = |failure: Failure| vec![Finding::of("cluster", Err(failure))];
        let kube = match timeout(DEADLINE, kube::Kube::open(&self.place)).await {
            Ok(Ok(kube)) => kube,
            Ok(Err(error)) => return wrong(error.into()),
            Err(_) => return wrong(Failure::timeout("no credentials yet").help("log in; `kubectl version` must work")),
        };
        let cluster = Finding::within("cluster", DEADLINE, kube.check_cluster()).await;
        if cluster.state == State::Wrong {
            return vec![cluster]; // nobody is there to be asked more
        }
        let user = match user::current().await {
            Ok((user, _)) => user,
            Err(failure) => return vec![cluster, Finding::of("user", Err(failure))],
        };
        let arch = self.project.as_ref().and_then(|p| p.extra.get(project::key::IMAGE_ARCH)).and_then(Value::as_str);
        let arch = arch.map_or_else(|| checks::agent_arch().to_owned(), str::to_owned);
        let mut findings = vec![cluster];
        findings.extend(kube.examine(&kube::Subject { user, arch: Some(arch) }).await);
        findings
    }
}
