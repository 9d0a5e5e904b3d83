//! What can be known of a cluster before anything is made in it: for `womm doctor`, and what setup wants to know of it.
//! Nothing is changed: what is asked for as if it were to be made is a dry run (kubernetes.io, "Dry-run").

use super::rights::{RIGHTS, Right};
use super::trouble::Trouble;
use super::{Kube, connect, create, objects, reasons};
use crate::{Error, Place};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ::kube::Api;
use ::kube::api::{ListParams, PostParams};
use futures::future::join_all;
use k8s_openapi::api::authorization::v1::{SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, ResourceQuota};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use tokio::join;
use womm_cli::Failure;
use womm_cli::finding::{Answer, Checked, Finding};
use womm_wire::quantity;
use womm_wire::record::{Image, Project, Record, Task, User};

/// How long one of the checks may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// In whose name a namespace says what it enforces. Source: kubernetes.io, "Pod Security Admission".
const ENFORCE: &str = "pod-security.kubernetes.io/enforce";
/// How objects that are never made are called.
const DRY: &str = "womm-doctor-";
/// What `womm parallel` asks for unless it is told otherwise.
const CPU_MILLI: u64 = 1000;
const MEM_BYTES: u64 = 512 << 20;

/// Whose pods the cluster is asked about.
#[derive(Debug, Clone, Default)]
pub struct Subject {
    /// Whose jobs they are to run.
    pub user: User,
    /// The image's architecture, if it is known.
    pub arch: Option<String>,
}

impl Kube {
    /// Opens a connection to the place; nobody is asked yet.
    ///
    /// # Errors
    /// If there is no such context, or its credentials can't be had.
    pub async fn open(place: &Place) -> Result<Self, Error> {
        connect::open(&connect::Files::of_environment()?, place.context.as_deref(), place.namespace.as_deref()).await
    }

    /// Its version and where it is, which shows that it answers.
    ///
    /// # Errors
    /// If it can't be reached within 10 s, or refuses the credentials.
    pub async fn check_cluster(&self) -> Checked {
        let version = self.version(connect::CONNECT_DEADLINE).await;
        let version = version.map_err(|e| self.explain("ask for its version", &e))?;
        let version =
            version.map_or_else(|| "a version that it does not tell".to_owned(), |v| format!("Kubernetes {v}"));
        Ok(Answer::Ok(format!("{version} at {}{}", self.at.server, self.at.by_context())))
    }

    /// All that has to be well in the namespace before pods come, each within 10 s.
    pub async fn examine(&self, subject: &Subject) -> Vec<Finding> {
        let within = |check: &str, work| Finding::within(check.to_owned(), DEADLINE, work);
        let rights = RIGHTS
            .iter()
            .map(|right| Finding::within(format!("right to {}", right.words()), DEADLINE, self.check_right(right)));
        let (namespace, rights, security, quota, nodes) = join!(
            Finding::within("namespace", DEADLINE, self.check_namespace()),
            join_all(rights),
            Finding::within("pod security", DEADLINE, self.check_pod(subject)),
            Finding::within("quota", DEADLINE, self.check_quota()),
            within("nodes", self.check_nodes(subject.arch.as_deref())),
        );
        let mut findings = vec![namespace];
        findings.extend(rights);
        findings.extend([security, quota, nodes]);
        findings
    }

    /// The architectures of the nodes that take pods; none if they may not be listed.
    ///
    /// # Errors
    /// If the cluster can't be reached or refuses.
    pub async fn architectures(&self) -> Result<Option<BTreeSet<String>>, Error> {
        let nodes = self.ask(Api::<Node>::all(self.client.clone()).list(&ListParams::default())).await;
        match nodes {
            Ok(nodes) => Ok(Some(nodes.items.iter().filter(|node| takes_pods(node)).filter_map(arch).collect())),
            Err(trouble) if trouble.code() == 403 => Ok(None),
            Err(trouble) => Err(self.explain("list nodes", &trouble)),
        }
    }

    async fn check_right(&self, right: &Right) -> Checked {
        let spec = SelfSubjectAccessReviewSpec {
            resource_attributes: Some(right.attributes(&self.at.namespace)),
            ..Default::default()
        };
        let review = SelfSubjectAccessReview { spec, ..Default::default() };
        let api = Api::<SelfSubjectAccessReview>::all(self.client.clone());
        let answer = self.ask(api.create(&PostParams::default(), &review)).await;
        let answer = answer.map_err(|e| self.explain("ask what is allowed", &e))?;
        let allowed = answer.status.is_some_and(|status| status.allowed);
        match (allowed, right.optional) {
            (true, _) => Ok(Answer::Ok("yes".into())),
            (false, Some(without)) => Ok(Answer::Ok(format!("no, and not needed: {without}"))),
            (false, None) => Err(Failure::no(format!("no, not in namespace \"{}\"", self.at.namespace)).help(format!(
                "ask whoever runs the cluster for a Role with {}, or choose another namespace with -n",
                right.rule()
            ))),
        }
    }

    async fn check_namespace(&self) -> Checked {
        let name = &self.at.namespace;
        match self.namespace().await? {
            Some(namespace) if namespace.metadata.deletion_timestamp.is_some() => {
                Err(Failure::no(format!("\"{name}\" is being deleted")).help("choose another with -n"))
            }
            Some(_) => Ok(Answer::Ok(format!("\"{name}\""))),
            // It may not be read, so it is asked to take something.
            None => {
                let metadata = ObjectMeta { generate_name: Some(DRY.into()), ..Default::default() };
                let lease = Lease { metadata, spec: None };
                match self.ask(self.api::<Lease>().create(&dry_run(), &lease)).await {
                    Ok(_) => Ok(Answer::Ok(format!("\"{name}\""))),
                    Err(trouble) => match self.explain("create a Lease", &trouble) {
                        Error::Forbidden { .. } => {
                            Ok(Answer::Unknown(format!("whether \"{name}\" exists may not be read")))
                        }
                        error => Err(error.into()),
                    },
                }
            }
        }
    }

    /// The namespace; none if it may not be read.
    async fn namespace(&self) -> Result<Option<Namespace>, Error> {
        match self.ask(Api::<Namespace>::all(self.client.clone()).get(&self.at.namespace)).await {
            Ok(namespace) => Ok(Some(namespace)),
            Err(trouble) if trouble.code() == 403 => Ok(None),
            Err(trouble) => Err(self.explain("read the namespace", &trouble)),
        }
    }

    /// Whether a pod as WOMM makes it is let in: by the Pod Security Standard, by quotas, by webhooks.
    async fn check_pod(&self, subject: &Subject) -> Checked {
        let level = self.namespace().await?.and_then(|namespace| namespace.metadata.labels?.remove(ENFORCE));
        let level = level.map(|level| format!("level \"{level}\": ")).unwrap_or_default();
        match self.ask(self.api::<Pod>().create(&dry_run(), &pod(subject))).await {
            Ok(_) => Ok(Answer::Ok(format!("{level}a pod of uid {} is let in", subject.user.uid))),
            Err(trouble) => match self.explain("create a pod", &trouble) {
                Error::Forbidden { .. } if level.is_empty() => {
                    Ok(Answer::Unknown("the namespace's level may not be read, nor a pod be tried".into()))
                }
                Error::Forbidden { .. } => Ok(Answer::Unknown(format!("{level}a pod may not be tried"))),
                Error::Refused { .. } => Err(refused(&trouble)),
                error => Err(error.into()),
            },
        }
    }

    async fn check_quota(&self) -> Checked {
        let quotas = match self.ask(self.api::<ResourceQuota>().list(&ListParams::default())).await {
            Ok(quotas) => quotas.items,
            Err(trouble) if trouble.code() == 403 => return Ok(Answer::Unknown("quotas may not be read".into())),
            Err(trouble) => return Err(self.explain("list quotas", &trouble).into()),
        };
        let mut left = Vec::new();
        let mut spent = Vec::new();
        for quota in &quotas {
            let status = quota.status.clone().unwrap_or_default();
            let used = status.used.unwrap_or_default();
            for (key, hard) in status.hard.unwrap_or_default() {
                let used = used.get(&key).map_or("0", |used| used.0.as_str());
                left.push(format!("{key}: {used} of {} used", hard.0));
                let full =
                    matches!((quantity::milli(used), quantity::milli(&hard.0)), (Ok(used), Ok(hard)) if used >= hard);
                if full && is_of_pods(&key) {
                    spent.push(key);
                }
            }
        }
        match (left.is_empty(), spent.is_empty()) {
            (true, _) => Ok(Answer::Ok("none in this namespace".into())),
            (false, true) => Ok(Answer::Ok(left.join(", "))),
            (false, false) => Err(Failure::no(format!("nothing left of {}: {}", spent.join(", "), left.join(", ")))
                .help("end something there, or choose another namespace with -n")),
        }
    }

    async fn check_nodes(&self, wanted: Option<&str>) -> Checked {
        let nodes = match self.ask(Api::<Node>::all(self.client.clone()).list(&ListParams::default())).await {
            Ok(nodes) => nodes.items,
            Err(trouble) if trouble.code() == 403 => return Ok(Answer::Unknown("nodes may not be listed".into())),
            Err(trouble) => return Err(self.explain("list nodes", &trouble).into()),
        };
        let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
        for node in nodes.iter().filter(|node| takes_pods(node)) {
            *kinds.entry(arch(node).unwrap_or_else(|| "?".into())).or_default() += 1;
        }
        let words: Vec<_> = kinds.iter().map(|(arch, count)| format!("{count} {arch}")).collect();
        let all = format!("{} of {} take pods: {}", kinds.values().sum::<usize>(), nodes.len(), words.join(", "));
        match wanted {
            _ if kinds.is_empty() => {
                Err(Failure::no(format!("none of {} takes pods", nodes.len())).help("see `kubectl get nodes`"))
            }
            Some(wanted) if !kinds.contains_key(wanted) => Err(unfit(wanted, &kinds.into_keys().collect())),
            _ => Ok(Answer::Ok(all)),
        }
    }
}

/// No node can run the image.
pub fn unfit(arch: &str, nodes: &BTreeSet<String>) -> Failure {
    let there: Vec<_> = nodes.iter().map(String::as_str).collect();
    Failure::no(format!("the image is for {arch}, and the nodes are {}", there.join(", ")))
        .help(format!("start from a base image for {}: `womm setup --base IMAGE`", there.join(" or ")))
}

fn refused(trouble: &Trouble) -> Failure {
    let words = reasons::refused_by_admission(&trouble.words());
    // The remedy stands behind the last colon of those that have one.
    match words.rsplit_once(": ").filter(|(_, remedy)| remedy.starts_with("run ") || remedy.starts_with("use ")) {
        Some((what, remedy)) => Failure::no(what).help(remedy),
        None => Failure::no(words),
    }
}

fn dry_run() -> PostParams {
    PostParams { dry_run: true, field_manager: Some(create::FIELD_MANAGER.into()) }
}

/// A pod as a task of this user would have it.
fn pod(subject: &Subject) -> Pod {
    let image = Image {
        reference: "womm-doctor".into(),
        agent: Some(womm_wire::names::VERSION.into()),
        arch: subject.arch.clone(),
        ..Default::default()
    };
    let project = Project { cwd: "/womm-doctor".into(), ..Default::default() };
    let record = Record { project, image: Some(image.clone()), ..Default::default() };
    let task = Task {
        pods: 1,
        procs_per_pod: 1,
        cpu_milli: CPU_MILLI,
        mem_bytes: MEM_BYTES,
        user: subject.user.clone(),
        ..Default::default()
    };
    let template = objects::deployment(&record, &task, &image, "").spec.map(|spec| spec.template).unwrap_or_default();
    let metadata = ObjectMeta { generate_name: Some(DRY.into()), ..Default::default() };
    Pod { metadata, spec: template.spec, status: None }
}

fn is_of_pods(key: &str) -> bool {
    let key = key.trim_start_matches("requests.").trim_start_matches("limits.");
    matches!(
        key,
        "pods" | "count/pods" | "cpu" | "memory" | "count/deployments.apps" | "count/leases.coordination.k8s.io"
    )
}

fn arch(node: &Node) -> Option<String> {
    Some(node.status.as_ref()?.node_info.as_ref()?.architecture.clone())
}

fn takes_pods(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let ready = conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True");
    ready && node.spec.as_ref().is_none_or(|spec| spec.unschedulable != Some(true))
}
