//! womm-engine alone, without the programs around it, against the real cluster of WOMM_TEST_KUBECONFIG.
//!
//! Touches: the cluster of that kubeconfig's current context, where it makes and deletes namespaces
//! `womm-engine-test-…`; the registry `WOMM_TEST_REGISTRY` (localhost:5000), which must have `tiny:1` as tests/cluster
//! makes it, and where it pushes `womm-engine-test:1` with the local Docker engine.
//!
//! The agent is a stand-in here, a shell script, for this is about the engine: `serve` waits, `connect` echoes.

use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Pod as KubePod, ResourceQuota, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{Api, AttachParams, DeleteParams, ListParams, PostParams};
use kube::config::Kubeconfig;
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::timeout;
use womm_engine::{Engine, Error, Extras};
use womm_wire::names;
use womm_wire::pod::{Line, Pod};
use womm_wire::record::{self, EngineKind, Image, Project, Record, Task, User};

/// The stand-in. It ends at once when it is told to, as the agent does; `WOMM_STUBBORN` makes it not.
const AGENT: &str = r#"#!/bin/sh
case $1 in
serve) [ -n "$WOMM_STUBBORN" ] || trap "exit 0" TERM; trap "exit 9" USR1
	[ -z "$WOMM_CRASH" ] || exit 7
	while :; do sleep 0.1; done ;;
connect) echo hello >&2; exec cat ;;
esac
"#;

fn kubeconfig() -> String {
    std::env::var("WOMM_TEST_KUBECONFIG").expect("WOMM_TEST_KUBECONFIG names the kubeconfig of a cluster for tests")
}

fn registry() -> String {
    std::env::var("WOMM_TEST_REGISTRY").unwrap_or_else(|_| "localhost:5000".into())
}

/// An image with the stand-in where setup bakes the agent; made once a run.
fn image() -> &'static str {
    static IMAGE: OnceLock<String> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let image = format!("{}/womm-engine-test:1", registry());
        let dir = std::env::temp_dir().join(format!("womm-engine-test-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a folder in /tmp");
        std::fs::write(dir.join("agent"), AGENT).expect("a file in /tmp");
        let agent = names::AGENT_BAKED;
        let text = format!("FROM {}/tiny:1\nCOPY agent {agent}\nRUN chmod 755 {agent}\n", registry());
        std::fs::write(dir.join("Dockerfile"), text).expect("a file in /tmp");
        let docker = |args: &[&str]| {
            let out = Command::new("docker").args(args).output().expect("docker is installed");
            assert!(out.status.success(), "docker {args:?}: {}", String::from_utf8_lossy(&out.stderr));
        };
        docker(&["build", "-q", "-t", &image, dir.to_str().expect("UTF-8")]);
        docker(&["push", "-q", &image]);
        std::fs::remove_dir_all(&dir).expect("made above");
        image
    })
}

/// A namespace of a test's own, and a way to its cluster. Deleted at the end, unless the test fails.
struct Place {
    client: Client,
    namespace: String,
    /// A kubeconfig with the context `admin`, and perhaps others.
    file: std::path::PathBuf,
    server: String,
}

impl Place {
    async fn new(name: &str, labels: Value) -> Self {
        let mut config = Kubeconfig::read_from(kubeconfig()).expect("a kubeconfig");
        let current = config.current_context.clone();
        for context in config.contexts.iter_mut().filter(|c| Some(&c.name) == current.as_ref()) {
            context.name = "admin".into();
        }
        config.current_context = Some("admin".into());
        let namespace = format!("womm-engine-test-{name}-{}", std::process::id());
        let file = std::env::temp_dir().join(format!("{namespace}.conf"));
        std::fs::write(&file, serde_json::to_vec(&config).expect("plain data")).expect("a file in /tmp");
        let config = Config::from_custom_kubeconfig(config, &Default::default()).await.expect("usable");
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let client = Client::try_from(config).expect("usable");
        let object = json!({"metadata": {"name": namespace, "labels": labels}});
        let object: Namespace = serde_json::from_value(object).expect("a namespace");
        Api::all(client.clone()).create(&PostParams::default(), &object).await.expect("an admin");
        let place = Self { client, namespace, file, server };
        let begun = Instant::now();
        while place.api::<ServiceAccount>().get_opt("default").await.expect("an admin").is_none() {
            assert!(begun.elapsed() < Duration::from_secs(30), "no service account");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        place
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// A context of somebody who may do in this namespace what WOMM needs, and nothing else.
    async fn member(&self) {
        let make = PostParams::default();
        let account: ServiceAccount = serde_json::from_value(json!({"metadata": {"name": "member"}})).expect("valid");
        self.api().create(&make, &account).await.expect("an admin");
        let role: Role = serde_json::from_value(json!({"metadata": {"name": "member"}, "rules": [
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch", "delete"]},
            {"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["get", "create"]},
            {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "create", "patch", "delete"]},
            {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "patch", "delete"]}]}))
        .expect("valid");
        self.api().create(&make, &role).await.expect("an admin");
        let binding: RoleBinding = serde_json::from_value(json!({"metadata": {"name": "member"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "member"},
            "subjects": [{"kind": "ServiceAccount", "name": "member", "namespace": self.namespace}]}))
        .expect("valid");
        self.api().create(&make, &binding).await.expect("an admin");
        let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {"audiences": [], "expirationSeconds": 3600}});
        let token: Value = self
            .api::<ServiceAccount>()
            .create_subresource("token", "member", &make, &request)
            .await
            .expect("an admin");
        let mut config = Kubeconfig::read_from(&self.file).expect("written above");
        let mut value = serde_json::to_value(&config).expect("plain data");
        let admin =
            value["contexts"].as_array().expect("a list").iter().find(|c| c["name"] == "admin").expect("made").clone();
        let mut member = admin;
        member["name"] = json!("member");
        member["context"]["user"] = json!("member");
        value["contexts"].as_array_mut().expect("a list").push(member);
        let user = json!({"name": "member", "user": {"token": token["status"]["token"]}});
        value["users"].as_array_mut().expect("a list").push(user);
        config = serde_json::from_value(value).expect("a kubeconfig");
        std::fs::write(&self.file, serde_json::to_vec(&config).expect("plain data")).expect("a file in /tmp");
    }

    fn task(&self, context: &str, pods: u32) -> Record {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let letter = |n: u32| char::from(b'a' + (n % 26) as u8);
        let id: String = "wommtt".chars().chain([letter(count / 26), letter(count)]).collect();
        let task = Task {
            name: names::task_name(&id),
            id,
            engine: EngineKind::Kube,
            created: "2024-05-06T07:08:09Z".into(),
            pods,
            procs_per_pod: 1,
            cpu_milli: 50,
            mem_bytes: 32 << 20,
            user: User { name: "ada".into(), uid: 1000, gid: 1001, home: "/home/ada".into(), ..User::default() },
            host: "desk".into(),
            pwd: "/home/ada/p".into(),
            command: "true".into(),
            kube: Some(record::Kube {
                kubeconfig: self.file.to_str().map(str::to_owned),
                context: Some(context.into()),
                server: self.server.clone(),
                namespace: self.namespace.clone(),
                ..Default::default()
            }),
            ..Default::default()
        };
        Record {
            kind: record::KIND.into(),
            project: Project { cwd: "/home/ada/p".into(), ..Default::default() },
            image: Some(Image { reference: image().into(), agent: Some(names::VERSION.into()), ..Default::default() }),
            task: Some(task),
            ..Default::default()
        }
    }

    async fn end(self) {
        Api::<Namespace>::all(self.client).delete(&self.namespace, &DeleteParams::default()).await.expect("an admin");
        std::fs::remove_file(self.file).expect("written above");
    }
}

/// A task that is watched.
struct Run {
    engine: Engine,
    record: Record,
    lines_rx: mpsc::Receiver<Line>,
    begun: Instant,
}

impl Run {
    async fn new(record: Record, patch: Option<Value>) -> Result<Self, Error> {
        let mut record = record;
        let begun = Instant::now();
        let engine = Engine::for_task(record.task.as_ref().expect("set")).await?;
        engine.create(&mut record, &Extras { patch }).await?;
        let (lines_tx, lines_rx) = mpsc::channel(64);
        let (watching, watched) = (engine.clone(), record.clone());
        tokio::spawn(async move { watching.watch(&watched, lines_tx).await.expect("pods may be watched") });
        Ok(Self { engine, record, lines_rx, begun })
    }

    fn task(&self) -> &Task {
        self.record.task.as_ref().expect("set")
    }

    async fn line(&mut self, within_s: u64) -> Line {
        let line = timeout(Duration::from_secs(within_s), self.lines_rx.recv()).await;
        let line = line.unwrap_or_else(|_| panic!("no line within {within_s} s")).expect("the watch goes on");
        eprintln!(
            "{:6.2} s  {}",
            self.begun.elapsed().as_secs_f64(),
            serde_json::to_string(&line).expect("plain data")
        );
        line
    }

    async fn ready(&mut self) -> Pod {
        loop {
            match self.line(60).await {
                Line::Ready(pod) => return pod,
                Line::Waiting { .. } | Line::Gone { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    async fn gone(&mut self) -> (Pod, String) {
        loop {
            match self.line(150).await {
                Line::Gone { pod, reason } => return (pod, reason),
                Line::Waiting { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Waits for the words, within the 15 s that are promised.
    async fn waits_for(&mut self, words: &str) {
        loop {
            match self.line(15).await {
                Line::Waiting { reason } if reason.contains(words) => return,
                Line::Waiting { .. } | Line::Ready(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    async fn fails_with(&mut self, words: &str, within_s: u64) -> String {
        loop {
            match self.line(within_s).await {
                Line::Failed { reason } => {
                    assert!(reason.contains(words), "{reason}");
                    return reason;
                }
                Line::Waiting { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Deletes it, and proves that nothing is left.
    async fn end(self, place: &Place) -> Duration {
        let begun = Instant::now();
        assert!(self.engine.delete(self.task()).await.expect("deletable"));
        let took = begun.elapsed();
        eprintln!("deleted in {took:?}");
        let all = ListParams::default();
        assert_eq!(place.api::<KubePod>().list(&all).await.expect("an admin").items, []);
        assert_eq!(place.api::<Deployment>().list(&all).await.expect("an admin").items, []);
        assert_eq!(place.api::<Lease>().list(&all).await.expect("an admin").items, []);
        assert!(!self.engine.delete(self.task()).await.expect("idempotent"));
        took
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_come_are_reached_are_replaced_and_go() {
    let place = Place::new("life", json!({"pod-security.kubernetes.io/enforce": "restricted"})).await;
    place.member().await;
    let mut run = Run::new(place.task("member", 3), None).await.expect("made");
    let first = run.ready().await;
    let second = run.ready().await;
    run.ready().await;

    // Reached, by one who may do no more than that.
    let mut wire = run.engine.dial(run.task(), &first).await.expect("reached");
    wire.write_all(b"some bytes \xff\0\n").await.expect("open");
    wire.flush().await.expect("open");
    let mut back = [0; 14];
    wire.read_exact(&mut back).await.expect("open");
    wire.shutdown().await.expect("open");
    assert_eq!(wire.read(&mut back).await.expect("a clean end"), 0);

    // As the pod is from inside.
    let pod = place.api::<KubePod>().get(&first.name).await.expect("an admin").spec.expect("set");
    assert_eq!(pod.automount_service_account_token, Some(false));
    let volumes = pod.volumes.expect("set");
    assert!(volumes.iter().all(|volume| volume.empty_dir.is_some()), "{volumes:?}");

    // One is removed by force: it is replaced, and the break is no clean end.
    let mut wire = run.engine.dial(run.task(), &first).await.expect("reached");
    let force = DeleteParams::default().grace_period(0);
    place.api::<KubePod>().delete(&first.name, &force).await.expect("an admin");
    let (pod, reason) = run.gone().await;
    assert_eq!((pod, reason.as_str()), (first.clone(), "deleted"));
    let fourth = run.ready().await;
    assert_ne!(fourth.uid, first.uid);
    let end = timeout(Duration::from_secs(20), wire.read(&mut back)).await.expect("noticed");
    eprintln!("the wire says: {end:?}");
    end.expect_err("a break");
    let error = run.engine.dial(run.task(), &first).await.err().expect("gone");
    assert!(matches!(error, Error::Missing { .. }), "{error}");

    // Its container is started again: another pod, as far as jobs are concerned.
    let params = AttachParams::default().container("job").stderr(false);
    let kill = place.api::<KubePod>().exec(&second.name, ["kill", "-USR1", "1"], &params).await.expect("an admin");
    // Its own end may be cut short by the container's.
    let _ = kill.join().await;
    let (pod, reason) = run.gone().await;
    assert_eq!((pod, reason.as_str()), (second.clone(), "its agent ended with exit code 9"));
    let again = run.ready().await;
    assert!(again.name == second.name && again.uid != second.uid, "{again:?}");

    // The Lease is renewed by the server's clock.
    let renewed = |lease: Lease| lease.spec.and_then(|spec| spec.renew_time).expect("set").0;
    let name = run.task().name.clone();
    let before = renewed(place.api::<Lease>().get(&name).await.expect("there"));
    tokio::time::sleep(Duration::from_secs(11)).await;
    let after = renewed(place.api::<Lease>().get(&name).await.expect("there"));
    assert!((9..=13).contains(&(after.as_second() - before.as_second())), "{before} {after}");

    let took = run.end(&place).await;
    assert!(took < Duration::from_secs(8), "{took:?}");
    place.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_megabytes_both_ways() {
    const SIZE: usize = 100 << 20;
    let place = Place::new("bytes", json!({})).await;
    let mut run = Run::new(place.task("admin", 1), None).await.expect("made");
    let pod = run.ready().await;
    let wire = run.engine.dial(run.task(), &pod).await.expect("reached");
    let (mut reader, mut writer) = tokio::io::split(wire);
    let begun = Instant::now();
    let sent = tokio::spawn(async move {
        let block: Vec<u8> = (0..1 << 20).map(|i: u32| (i % 251) as u8).collect();
        for _ in 0..SIZE >> 20 {
            writer.write_all(&block).await.expect("open");
        }
        writer.shutdown().await.expect("open");
    });
    let mut got = Vec::with_capacity(SIZE);
    let mut block = vec![0; 1 << 16];
    loop {
        match reader.read(&mut block).await.expect("whole") {
            0 => break,
            n => got.extend_from_slice(&block[..n]),
        }
    }
    sent.await.expect("no panic");
    let seconds = begun.elapsed().as_secs_f64();
    eprintln!("100 MiB there and back in {seconds:.2} s: {:.0} MB/s each way", SIZE as f64 / 1e6 / seconds);
    assert_eq!(got.len(), SIZE);
    assert!(got.iter().enumerate().all(|(i, b)| *b == ((i % (1 << 20)) % 251) as u8));
    run.end(&place).await;
    place.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stubborn_agent_does_not_hold_up_the_end() {
    let place = Place::new("stubborn", json!({})).await;
    let patch = json!({"spec": {"template": {"spec": {"containers": [
        {"name": "job", "env": [{"name": "WOMM_STUBBORN", "value": "1"}]}]}}}});
    let mut run = Run::new(place.task("admin", 2), Some(patch)).await.expect("made");
    run.ready().await;
    run.ready().await;
    let took = run.end(&place).await;
    assert!(took < Duration::from_secs(10), "{took:?}");
    place.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_pods_away_is_said_and_ends_the_run() {
    let place = Place::new("wait", json!({})).await;
    place.member().await;

    let mut record = place.task("admin", 2);
    record.image.as_mut().expect("set").reference = format!("{}/no-such-image:1", registry());
    let mut run = Run::new(record, None).await.expect("made");
    run.fails_with("no-such-image:1\" can't be pulled: not found", 15).await;
    assert!(run.begun.elapsed() < Duration::from_secs(20));
    run.end(&place).await;

    // One who may read nodes is told more, and is not kept waiting.
    let mut record = place.task("admin", 1);
    record.task.as_mut().expect("set").cpu_milli = 1_000_000;
    let mut run = Run::new(record, None).await.expect("made");
    run.waits_for("no node has 1000 free cpus: the largest has ").await;
    run.fails_with("use --kube-cpu", 15).await;
    run.end(&place).await;
    let mut record = place.task("member", 1);
    record.task.as_mut().expect("set").cpu_milli = 1_000_000;
    let mut run = Run::new(record, None).await.expect("made");
    run.waits_for("no node has room for 1000 cpus and 32Mi: 0/").await;
    run.end(&place).await;

    // The agent is not where it should be: an image that setup never saw.
    let mut record = place.task("member", 1);
    record.image.as_mut().expect("set").reference = format!("{}/tiny:1", registry());
    let mut run = Run::new(record, None).await.expect("made");
    run.fails_with("the image has no agent", 20).await;
    run.end(&place).await;

    // It ends again and again.
    let patch = json!({"spec": {"template": {"spec": {"containers": [
        {"name": "job", "env": [{"name": "WOMM_CRASH", "value": "1"}]}]}}}});
    let mut run = Run::new(place.task("member", 1), Some(patch)).await.expect("made");
    loop {
        match run.line(120).await {
            Line::Failed { reason } => {
                assert!(reason.contains("exit code 7, 4 times by now"), "{reason}");
                break;
            }
            Line::Waiting { reason } => assert!(reason.contains("exit code 7"), "{reason}"),
            Line::Ready(_) | Line::Gone { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    run.end(&place).await;
    place.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_and_pod_security_are_told() {
    let place = Place::new("quota", json!({"pod-security.kubernetes.io/enforce": "restricted"})).await;
    place.member().await;
    let quota: ResourceQuota = serde_json::from_value(
        json!({"metadata": {"name": "few"}, "spec": {"hard": {"pods": "2", "limits.memory": "1Gi"}}}),
    )
    .expect("valid");
    place.api().create(&PostParams::default(), &quota).await.expect("an admin");
    tokio::time::sleep(Duration::from_secs(2)).await;

    // Some pods: goes on with fewer.
    let mut run = Run::new(place.task("member", 4), None).await.expect("made");
    run.ready().await;
    run.waits_for("quota \"few\" is used up: ").await;
    run.end(&place).await;

    let mut record = place.task("member", 1);
    record.task.as_mut().expect("set").mem_bytes = 2 << 30;
    let mut run = Run::new(record, None).await.expect("made");
    run.fails_with("quota \"few\" allows no such pod: limits.memory is 2Gi a pod, of 1Gi in all", 15).await;
    run.end(&place).await;

    let mut record = place.task("member", 1);
    record.task.as_mut().expect("set").user =
        User { name: "root".into(), home: "/root".into(), uid: 0, gid: 0, ..User::default() };
    let mut run = Run::new(record, None).await.expect("made");
    run.fails_with("PodSecurity \"restricted:latest\" of the namespace refuses the pods", 15).await;
    run.end(&place).await;
    place.end().await;

    let place = Place::new("baseline", json!({"pod-security.kubernetes.io/enforce": "baseline"})).await;
    let mut record = place.task("admin", 1);
    record.task.as_mut().expect("set").user =
        User { name: "root".into(), home: "/root".into(), uid: 0, gid: 0, ..User::default() };
    let mut run = Run::new(record, None).await.expect("made");
    run.ready().await;
    run.end(&place).await;
    place.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_is_applied_or_refused_whole() {
    let place = Place::new("patch", json!({})).await;
    let patch = json!({"spec": {"template": {"metadata": {"labels": {"more": "1"}}}}});
    let mut run = Run::new(place.task("admin", 1), Some(patch)).await.expect("made");
    let pod = run.ready().await;
    let labels = place.api::<KubePod>().get(&pod.name).await.expect("there").metadata.labels.expect("set");
    assert_eq!(labels.get("more").map(String::as_str), Some("1"));
    run.end(&place).await;

    for (patch, words) in [
        (json!({"spec": {"replicas": 3}}), "--kube-pods"),
        (json!({"metadata": {"name": "x"}}), "the cluster refuses --kube-patch: "),
        (json!({"spec": {"template": {"spec": {"nodeSelectr": {}}}}}), "nodeSelectr"),
        (json!({"spec": {"template": {"spec": {"containers": [{"name": "job", "command": ["sh"]}]}}}}), "command"),
        (json!({"spec": {"selector": {"matchLabels": {"x": "y"}}}}), "selector"),
        (json!([]), "is not an object"),
    ] {
        let error = Run::new(place.task("admin", 1), Some(patch.clone())).await.err().expect("refused");
        eprintln!("{patch}: {error}");
        assert!(matches!(error, Error::Invalid { .. }) && error.to_string().contains(words), "{error}");
    }
    let left = place.api::<Lease>().list(&ListParams::default()).await.expect("an admin");
    assert_eq!(left.items, [], "each Lease went again");
    place.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_namespaces_and_other_hands() {
    let place = Place::new("rights", json!({})).await;
    place.member().await;

    let mut record = place.task("member", 1);
    record.task.as_mut().and_then(|task| task.kube.as_mut()).expect("set").namespace = "default".into();
    let error = Run::new(record, None).await.err().expect("refused");
    assert!(
        matches!(&error, Error::Forbidden { deed, .. } if deed == "create leases in namespace \"default\""),
        "{error}"
    );

    let mut record = place.task("admin", 1);
    record.task.as_mut().and_then(|task| task.kube.as_mut()).expect("set").namespace = "no-such-namespace".into();
    let error = Run::new(record, None).await.err().expect("refused");
    assert!(matches!(&error, Error::Missing { what, .. } if what == "namespace \"no-such-namespace\""), "{error}");

    // Somebody else finishes the task.
    let mut run = Run::new(place.task("member", 1), None).await.expect("made");
    run.ready().await;
    place.api::<Lease>().delete(&run.task().name, &DeleteParams::default()).await.expect("an admin");
    run.fails_with_any("was finished elsewhere").await;
    let engine = run.engine.clone();
    engine.delete(run.task()).await.expect("nothing is left of it, or soon");
    place.end().await;
}

impl Run {
    async fn fails_with_any(&mut self, words: &str) {
        loop {
            if let Line::Failed { reason } = self.line(20).await {
                assert!(reason.contains(words), "{reason}");
                return;
            }
        }
    }
}
