//! Users who may not, credentials that are refused, clusters that don't answer: said at once, and nothing is made.

use crate::cluster::{NEVER_STARTED, User, beside, copied, echo, edit, gone, kubectl, project, refused, says};
use crate::doctor;
use harness::{Project, tool};
use std::net::TcpListener;
use std::path::Path;

fn runs_by(project: &Project, kubeconfig: &Path, words: &[&str]) {
    let run = echo(project.parallel(1)).env("KUBECONFIG", kubeconfig);
    refused(project, run, NEVER_STARTED, words);
    let shell = project.womm().arg("shell").env("KUBECONFIG", kubeconfig);
    refused(project, shell, NEVER_STARTED, words);
}

#[test]
fn a_user_who_may_do_nothing() {
    let project = project();
    runs_by(&project, &beside("bare.conf"), &["create leases in namespace \"default\" is forbidden", "\"bare\""]);
}

#[test]
fn a_user_in_a_namespace_of_others() {
    let project = project();
    let run = echo(project.parallel(1).words("--namespace second")).env("KUBECONFIG", beside("team.conf"));
    refused(&project, run, NEVER_STARTED, &["create leases in namespace \"second\" is forbidden", "\"team\""]);
}

/// Pods can be made, and not be reached.
#[test]
fn a_user_who_may_not_exec() {
    let project = project();
    let user = User::new(&project, "exec");
    let rules = doctor::needed(&project, &user);
    let (exec, others): (Vec<_>, Vec<_>) = rules.into_iter().partition(|rule| rule.contains("pods/exec"));
    assert!(!exec.is_empty(), "it is among those that are needed");
    user.may(&project, &others);
    let mut run = echo(user.runs(project.parallel(2))).start();
    run.task();
    says(&mut run, &["get pods/exec", "is forbidden"]);
    let out = run.finish();
    out.writes("").holds("it did not succeed", out.code() != 0);
    gone(&out.task());
}

#[test]
fn a_token_that_is_refused() {
    let project = project();
    let kubeconfig = project.home().join("kubeconfig");
    std::fs::copy(beside("bare.conf"), &kubeconfig).unwrap();
    edit(&kubeconfig, "bare-token", "expired-token");
    runs_by(&project, &kubeconfig, &["does not accept the credentials", "log in again"]);
}

#[test]
fn a_credential_plugin_that_fails() {
    let project = project();
    let kubeconfig = project.home().join("kubeconfig");
    std::fs::copy(beside("bare.conf"), &kubeconfig).unwrap();
    let login = project.tool("login", "#!/bin/sh\necho 'the session has expired' >&2\nexit 1\n");
    let exec = format!(
        "exec: {{apiVersion: client.authentication.k8s.io/v1, command: {}, interactiveMode: IfAvailable}}",
        login.display()
    );
    edit(&kubeconfig, "token: bare-token", &exec);
    runs_by(&project, &kubeconfig, &["the credentials", "the session has expired"]);
}

/// Made by the cluster's own authority, for the admin: it lacks nothing but time.
#[test]
fn a_certificate_that_has_expired() {
    let project = project();
    let folder = project.home().join("late");
    std::fs::create_dir(&folder).unwrap();
    let at = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let config = format!(
        "[ca]\ndefault_ca = late\n[late]\ndatabase = {}\nnew_certs_dir = {}\nrand_serial = yes\ndefault_md = sha256\n\
         policy = any\nx509_extensions = client\n[any]\norganizationName = supplied\ncommonName = supplied\n\
         [client]\nbasicConstraints = critical,CA:FALSE\nextendedKeyUsage = clientAuth\n\
         [req]\ndistinguished_name = dn\n[dn]\n",
        at("index"),
        folder.display()
    );
    std::fs::write(folder.join("index"), "").unwrap();
    std::fs::write(folder.join("config"), config).unwrap();
    let openssl = |words: &str, paths: &[&str]| {
        let config = at("config");
        tool("openssl", words.split(' ').chain(["-config", &config]).chain(paths.iter().copied()));
    };
    let request = "req -new -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256 -subj /O=system:masters/CN=late";
    openssl(request, &["-keyout", &at("key"), "-out", &at("request")]);
    let (ca, key) = (beside("pki/ca.crt"), beside("pki/ca.key"));
    let signed = ["-cert", ca.to_str().unwrap(), "-keyfile", key.to_str().unwrap(), "-in", &at("request")];
    let days = "ca -batch -notext -startdate 20200101000000Z -enddate 20200102000000Z";
    openssl(days, &[&signed[..], &["-out", &at("certificate")]].concat());

    let kubeconfig = project.home().join("kubeconfig");
    std::fs::copy(beside("bare.conf"), &kubeconfig).unwrap();
    let user = format!("client-certificate: {}, client-key: {}", at("certificate"), at("key"));
    edit(&kubeconfig, "token: bare-token", &user);
    let words = ["does not accept the credentials", "certificate", "expired on 2020-01-02", "get a new one"];
    runs_by(&project, &kubeconfig, &words);
}

/// A server in the place of the cluster's.
fn server_at(project: &Project, url: &str, words: &[&str]) {
    let kubeconfig = copied(project);
    let server = kubectl("config view --minify -o jsonpath={.clusters[0].cluster.server}");
    edit(&kubeconfig, &server, url);
    runs_by(project, &kubeconfig, &[words, &[url]].concat());
}

#[test]
fn nobody_at_the_address() {
    server_at(&project(), "https://127.0.0.1:1", &["can't be reached", "Connection refused"]);
}

#[test]
fn no_such_name() {
    server_at(&project(), "https://no-such-cluster.invalid:6443", &["can't be reached"]);
}

#[test]
fn somebody_who_never_answers() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    server_at(&project(), &url, &["can't be reached"]);
}

#[test]
fn another_certificate() {
    let project = project();
    let kubeconfig = copied(&project);
    let authority = kubectl("config view --raw --minify -o jsonpath={.clusters[0].cluster.certificate-authority-data}");
    // The kubelet's address is as good as any for a server that this authority has not signed: here none has.
    edit(&kubeconfig, &format!("certificate-authority-data: {authority}"), "tls-server-name: another.invalid");
    runs_by(&project, &kubeconfig, &["certificate"]);
}
