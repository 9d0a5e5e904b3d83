//! Clusters whose own rules refuse our objects: an admission policy, a webhook that refuses or does not answer.

use crate::cluster::{
    LITTLE, NEVER_STARTED, Namespace, SAID, apply, engine, gone, is_clean, job, kubectl, no_pod, open, project,
    refused, says,
};
use crate::webhook::Webhook;
use harness::{LONG, Project, kubectl_command, until};
use serde_json::{Value, json};

/// A rule of a namespace, for as long as this lives.
struct Rule {
    namespace: Namespace,
    kinds: &'static str,
}

impl Rule {
    /// Refuses to make objects of a kind, in these words.
    fn policy(project: &Project, group: &str, resource: &str) -> Self {
        let namespace = Namespace::new("policy");
        let name = &namespace.0;
        let rule =
            json!({"apiGroups": [group], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": [resource]});
        let policy = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": name}, "spec": {"matchConstraints": {"resourceRules": [rule]},
            "validations": [{"expression": "false", "message": "not on Fridays"}]}});
        let here = json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}});
        let binding = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": name}, "spec": {"policyName": name, "validationActions": ["Deny"], "matchResources": here}});
        apply(project, &policy);
        apply(project, &binding);
        Self { namespace, kinds: "validatingadmissionpolicybinding,validatingadmissionpolicy" }
    }

    /// Asks somebody.
    fn webhook(project: &Project, whom: &Value, group: &str, resource: &str) -> Self {
        let namespace = Namespace::new("webhook");
        let name = &namespace.0;
        let rule =
            json!({"apiGroups": [group], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": [resource]});
        let webhook = json!({"name": "no.example.org", "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "clientConfig": whom, "failurePolicy": "Fail", "rules": [rule],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}});
        let webhook = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": name}, "webhooks": [webhook]});
        apply(project, &webhook);
        Self { namespace, kinds: "validatingwebhookconfiguration" }
    }

    /// Waits until the API server knows it.
    fn holds(&self, make: &str) {
        let make = format!("{make} -n {} --image=x --dry-run=server", self.namespace.0);
        until(LONG, "the rule", || {
            let output = kubectl_command(&make.split_whitespace().collect::<Vec<_>>()).output();
            (!output.unwrap().status.success()).then_some(())
        });
    }
}

impl Drop for Rule {
    fn drop(&mut self) {
        let words = format!("delete {} {} --wait=false", self.kinds, self.namespace.0);
        let _ = std::panic::catch_unwind(|| kubectl(&words)); // it may be dropped by a panic
    }
}

fn run(project: &Project, rule: &Rule) -> harness::Cmd {
    project.parallel(1).args(["--namespace", &rule.namespace.0]).words(LITTLE).words("-- echo ran ::: 1")
}

#[test]
fn no_deployments_by_policy() {
    let project = project();
    let rule = Rule::policy(&project, "apps", "deployments");
    rule.holds("create deployment x");
    refused(&project, run(&project, &rule), NEVER_STARTED, &["create the Deployment", "not on Fridays"]);
}

#[test]
fn no_pods_by_policy() {
    let project = project();
    let rule = Rule::policy(&project, "", "pods");
    rule.holds("run x");
    let out = run(&project, &rule).deadline(SAID).run();
    no_pod(&out, &["the cluster refuses the pods", "not on Fridays"]);
}

#[test]
fn a_webhook_that_does_not_answer() {
    let project = project();
    let rule = Rule::webhook(&project, &json!({"url": "https://127.0.0.1:1/"}), "apps", "deployments");
    rule.holds("create deployment x");
    refused(&project, run(&project, &rule), NEVER_STARTED, &["create the Deployment", "no.example.org"]);
}

/// Words that need care on their way to the user.
const NO: &str = "team \"blue\" has spent its budget: 100 % is forbidden: see C:\\costs";

#[test]
fn a_webhook_that_refuses_the_deployment() {
    let project = project();
    let webhook = Webhook::new(&project, NO);
    let rule = Rule::webhook(&project, &webhook.client_config(&project), "apps", "deployments");
    webhook.refuse();
    rule.holds("create deployment x");
    let words = ["create the Deployment", "webhook \"no.example.org\" denied the request", NO];
    refused(&project, run(&project, &rule).deadline(SAID), NEVER_STARTED, &words);
    let shell = project.womm().args(["shell", "--namespace", &rule.namespace.0]);
    refused(&project, shell, NEVER_STARTED, &words);
}

#[test]
fn a_webhook_that_refuses_the_pods() {
    let project = project();
    let webhook = Webhook::new(&project, NO);
    let rule = Rule::webhook(&project, &webhook.client_config(&project), "", "pods");
    webhook.refuse();
    rule.holds("run x");
    let out = run(&project, &rule).deadline(SAID).run();
    no_pod(&out, &["the cluster refuses the pods", "webhook \"no.example.org\" denied the request", NO]);
    is_clean(&project);
}

/// The pods that are there go on.
#[test]
fn a_webhook_that_refuses_a_pod_in_the_place_of_a_lost_one() {
    let project = project();
    let webhook = Webhook::new(&project, NO);
    let rule = Rule::webhook(&project, &webhook.client_config(&project), "", "pods");
    let (mut run, task) = open(project.parallel(2).args(["--namespace", &rule.namespace.0]));
    until(LONG, "two pods", || (engine().pods(&task).len() == 2).then_some(()));
    webhook.refuse();
    rule.holds("run x");
    engine().remove_by_force(&engine().pods(&task)[0]);
    says(&mut run, &["1 of 2 pods are up", "no.example.org", NO]);
    job(&mut run, "second");
    run.finish().succeeds().writes("first\nsecond\n").task();
    gone(&task);
}
