//! Logins for a registry that wants a token of another server.

use crate::logins::{configure, password, refused, taken};
use crate::picture::{Picture, shared};
use crate::token::{IDENTITY, TokenServer};
use harness::registry::{Config, PASSWORD};
use harness::{Project, Registry};
use serde_json::json;

#[test]
fn a_token_is_had_by_password_or_by_identity_token() {
    let project = Project::without_engine();
    let tokens = TokenServer::start(&project);
    let registry = Registry::start(&project, &Config { auth: Some(tokens.auth()), ..Config::default() });
    let image = Picture::new(&project, &shared(), &format!("{}/x:1", registry.name), 1_000);
    let login = format!("docker login {}", registry.name);
    refused(&project, &registry, &image, &[&format!("there is no login for {}: run `{login}`", registry.name)]);
    configure(&project, &password(&registry.name, "open barley"));
    refused(&project, &registry, &image, &["incorrect username or password", &login]);
    configure(&project, &password(&registry.name, PASSWORD));
    taken(&project, &registry, &image);
    configure(&project, &json!({"auths": {&registry.name: {"auth": "", "identitytoken": IDENTITY}}}));
    taken(&project, &registry, &image);
    configure(&project, &json!({"auths": {&registry.name: {"identitytoken": "an old one"}}}));
    refused(&project, &registry, &image, &["incorrect username or password", &login]);
}
