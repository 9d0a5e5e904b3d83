//! A registry that speaks TLS only.

use harness::registry::Config;
use harness::{Project, Registry, tool};

#[test]
fn a_registry_with_a_certificate_that_nobody_signed() {
    let project = Project::without_engine();
    let (key, certificate) = (project.home().join("tls.key"), project.home().join("tls.crt"));
    let new = "req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256 -days 2 -subj /CN=localhost \
               -addext subjectAltName=DNS:localhost";
    let paths = ["-keyout", key.to_str().unwrap(), "-out", certificate.to_str().unwrap()];
    tool("openssl", new.split_whitespace().chain(paths));
    let http = format!(", tls: {{certificate: {}, key: {}}}", certificate.display(), key.display());
    let registry = Registry::start(&project, &Config { http, ..Config::default() });
    // Docker takes this machine's registries as they are; so does the check, and by TLS.
    let words = format!("doctor --engine kube --json --prefix {}/", registry.name);
    let findings = crate::doctor::findings(project.cmd("womm-image").words(&words));
    let found = crate::doctor::of(&findings, "registry");
    assert_eq!(found["state"], "ok", "{found}");
    assert_eq!(registry.uploads("womm-image"), 0, "it was called off");
}
