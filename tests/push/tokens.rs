//! Logins for a registry that wants a token of another server.

use crate::logins::{Pusher, configure, password};
use crate::token::{IDENTITY, TokenServer};
use harness::registry::{Config, PASSWORD};
use harness::{Project, Registry};
use serde_json::json;

#[test]
fn a_token_is_had_by_password_or_by_identity_token() {
    let project = Project::without_engine();
    let tokens = TokenServer::start(&project);
    let registry = Registry::start(&project, &Config { auth: Some(tokens.auth()), ..Config::default() });
    let pusher = Pusher::new(&project, &registry);
    let login = format!("docker login {}", registry.name);
    pusher.is_refused(&[&format!("there is no login for {}: run `{login}`", registry.name)]);
    configure(&project, &password(&registry.name, "open barley"));
    pusher.is_refused(&["incorrect username or password", &login]);
    configure(&project, &password(&registry.name, PASSWORD));
    pusher.is_taken();
    configure(&project, &json!({"auths": {&registry.name: {"auth": "", "identitytoken": IDENTITY}}}));
    pusher.is_taken();
    configure(&project, &json!({"auths": {&registry.name: {"identitytoken": "an old one"}}}));
    pusher.is_refused(&["incorrect username or password", &login]);
}
