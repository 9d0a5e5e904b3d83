//! `womm doctor` of a real cluster: whoever asks, and whatever is wrong with the namespace.

use crate::cluster::{LITTLE, Namespace, User, apply, beside, copied, edit, engine, gone, kubectl, project};
use harness::{Cmd, Project, Proxy};
use serde_json::{Value, json};

/// The findings, whose exit status has to agree with them.
#[track_caller]
fn findings(cmd: Cmd) -> Vec<Value> {
    let out = cmd.run();
    let all = out.json()["findings"].as_array().unwrap().clone();
    let wrong: Vec<_> = all.iter().filter(|finding| finding["state"] == "wrong").collect();
    out.exits(i32::from(!wrong.is_empty()));
    for finding in wrong {
        let has_remedy = finding["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty());
        out.holds(&format!("what is wrong has a remedy: {finding}"), has_remedy);
    }
    all
}

#[track_caller]
fn of<'a>(findings: &'a [Value], check: &str) -> &'a Value {
    let found = findings.iter().find(|finding| finding["check"] == check);
    found.unwrap_or_else(|| panic!("no finding \"{check}\" in {findings:#?}"))
}

#[track_caller]
fn is(findings: &[Value], check: &str, state: &str, words: &[&str]) {
    let found = of(findings, check);
    assert_eq!(found["state"], state, "{found}");
    for word in words {
        assert!(found.to_string().contains(word), "{word} is in {found}");
    }
}

fn doctor(project: &Project) -> Cmd {
    project.womm().words("doctor --json")
}

fn rights(findings: &[Value]) -> Vec<&Value> {
    findings.iter().filter(|finding| finding["check"].as_str().unwrap().starts_with("right to ")).collect()
}

#[test]
fn the_admin_s() {
    let project = project();
    let out = project.womm().arg("doctor").run();
    out.succeeds().holds("the table has a row for the nodes", out.text().contains("take pods: "));
    let all = findings(doctor(&project));
    assert!(all.iter().all(|finding| finding["state"] == "ok"), "{all:#?}");
    assert!(rights(&all).len() > 10 && rights(&all).iter().all(|right| right["detail"] == "yes"), "{all:#?}");
    is(&all, "cluster", "ok", &["Kubernetes v1.", "context \\\"womm\\\""]);
    is(&all, "registry", "ok", &["may be pushed"]);
    is(&all, "pod security", "ok", &["is let in"]);
    // An image that none of the nodes runs.
    project.configure("image_arch", "s390x");
    is(&findings(doctor(&project)), "nodes", "wrong", &["s390x", "amd64", "womm setup --base"]);
}

/// What the user may not see is said, and is no failure.
#[test]
fn a_team_user_s() {
    let project = project();
    let all = findings(doctor(&project).env("KUBECONFIG", beside("team.conf")));
    is(&all, "namespace", "ok", &["team"]);
    is(&all, "nodes", "unknown", &["may not be listed"]);
    is(&all, "quota", "unknown", &["may not be read"]);
    is(&all, "pod security", "ok", &["is let in"]);
    is(&all, "right to list nodes", "ok", &["not needed"]);
    assert!(all.iter().all(|finding| finding["state"] != "wrong"), "{all:#?}");
}

#[test]
fn one_who_may_do_nothing() {
    let project = project();
    let all = findings(doctor(&project).env("KUBECONFIG", beside("bare.conf")));
    is(&all, "cluster", "ok", &[]);
    is(&all, "namespace", "unknown", &["default"]);
    is(&all, "right to create deployments.apps", "wrong", &["apiGroups: [\\\"apps\\\"]", "verbs: [create]", "-n"]);
    is(&all, "right to create pods/exec", "wrong", &["resources: [pods/exec]"]);
    is(&all, "pod security", "unknown", &[]);
}

#[test]
fn namespaces_that_do_not_do() {
    let project = project();
    let of_namespace = |name: &str| findings(doctor(&project).args(["-n", name]));
    is(&of_namespace("no-such-namespace"), "namespace", "wrong", &["no-such-namespace", "kubectl create namespace"]);
    // The tests' user is root, whom `restricted` refuses.
    is(&of_namespace("restricted"), "pod security", "wrong", &["restricted:latest", "another user than root"]);
    is(&of_namespace("baseline"), "pod security", "ok", &["level \\\"baseline\\\""]);
    is(&of_namespace("quota"), "quota", "ok", &["pods: ", " of 3 used"]);
    let own = Namespace::new("doctor");
    let hard = json!({"pods": "0", "requests.cpu": "2"});
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none", "namespace": own.0}, "spec": {"hard": hard}});
    apply(&project, &quota);
    harness::until(harness::LONG, "the quota's status", || {
        let used = kubectl(&format!("get quota none -n {} -o jsonpath={{.status.hard}}", own.0));
        used.contains("pods").then_some(())
    });
    let all = of_namespace(&own.0);
    is(&all, "quota", "wrong", &["pods: 0 of 0 used", "-n"]);
    is(&all, "pod security", "wrong", &["quota"]);
}

#[test]
fn a_cluster_that_is_not_reached() {
    let project = project();
    let kubeconfig = copied(&project);
    let server = kubectl("config view --minify -o jsonpath={.clusters[0].cluster.server}");
    edit(&kubeconfig, &server, "https://127.0.0.1:1");
    let all = findings(doctor(&project).env("KUBECONFIG", &kubeconfig));
    is(&all, "cluster", "wrong", &["https://127.0.0.1:1", "Connection refused", "kubectl"]);
    assert!(rights(&all).is_empty(), "nobody is there to be asked more");
    // One that takes the connection and says nothing.
    let (proxy, (name, value)): (Proxy, _) = engine().through_proxy(project.root());
    proxy.hold();
    is(&findings(doctor(&project).env(name, value)), "cluster", "wrong", &["can't be reached"]);
    let all = findings(doctor(&project).words("--context nowhere"));
    is(&all, "cluster", "wrong", &["context \\\"nowhere\\\" does not exist"]);
}

/// The rules that doctor tells a user to ask for who has no right so far.
#[track_caller]
pub fn needed(project: &Project, user: &User) -> Vec<String> {
    let all = findings(user.runs(doctor(project)));
    let needed: Vec<String> = rights(&all)
        .into_iter()
        .filter(|right| right["state"] == "wrong")
        .map(|right| {
            let remedy = right["remedy"].as_str().unwrap();
            let (begin, end) = (remedy.find('{').unwrap(), remedy.rfind('}').unwrap());
            remedy[begin..=end].to_owned()
        })
        .collect();
    assert!(needed.len() > 8 && needed.len() < rights(&all).len(), "{all:#?}");
    needed
}

/// A user who has the rights that are said to be needed, and no other, runs jobs; without any one of them, doctor says which.
#[test]
fn the_rights_that_are_needed_are_enough() {
    let project = project();
    let user = User::new(&project, "rights");
    user.may(&project, &needed(&project, &user));
    let all = findings(user.runs(doctor(&project)));
    assert!(all.iter().all(|finding| finding["state"] != "wrong"), "{all:#?}");
    is(&all, "namespace", "ok", &[&user.namespace.0]);
    let run = user.runs(project.parallel(2)).words(LITTLE).words("-k -- echo").arg("{}").words("::: 1 2 3").run();
    gone(&run.succeeds().writes("1\n2\n3\n").task());
}
