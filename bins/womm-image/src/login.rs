//! Credentials for a registry, from where `docker login` put them: the Docker config and its credential helpers.
//!
//! Source: github.com/docker/cli, `cli/config/configfile/file.go`, and docker/docker-credential-helpers, README.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bollard::auth::DockerCredentials;
use serde_json::Value;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;
use womm_cli::Failure;

/// Under which name Docker Hub's login is kept, for historic reasons.
const HUB_KEY: &str = "https://index.docker.io/v1/";
/// A helper may ask the user to unlock a keyring.
const HELPER: Duration = Duration::from_secs(60);

/// The login for a registry; `None` if there is none.
///
/// # Errors
/// Usage (2) if the config is no JSON, outside (3) or timeout (4) if a credential helper fails.
pub async fn find(registry: &str) -> Result<Option<DockerCredentials>, Failure> {
    let Some(path) = config_folder().map(|folder| folder.join("config.json")) else { return Ok(None) };
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Failure::usage(format!("read \"{}\": {e}", path.display()))),
    };
    let config: Value = serde_json::from_slice(&text)
        .map_err(|e| Failure::usage(format!("{} is no JSON: {e}", path.display())).help("correct it"))?;
    let key = if registry == crate::reference::DOCKER_HUB { HUB_KEY } else { registry };
    let helper = config["credHelpers"][registry].as_str().or_else(|| config["credHelpers"][key].as_str());
    match helper.or_else(|| config["credsStore"].as_str()).filter(|h| !h.is_empty()) {
        Some(helper) => match ask(helper, key).await? {
            None => Ok(in_config(&config, registry)),
            found => Ok(found),
        },
        None => Ok(in_config(&config, registry)),
    }
}

/// The folder of the Docker config; `None` without HOME.
fn config_folder() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    set("DOCKER_CONFIG").or_else(|| set("HOME").map(|home| home.join(".docker")))
}

/// The login that the config itself holds.
fn in_config(config: &Value, registry: &str) -> Option<DockerCredentials> {
    let (_, entry) = config["auths"].as_object()?.iter().find(|(key, _)| host_of(key) == registry)?;
    let text = |key: &str| entry[key].as_str().filter(|t| !t.is_empty()).map(str::to_owned);
    let pair = text("auth").and_then(|auth| STANDARD.decode(auth).ok()).and_then(|pair| String::from_utf8(pair).ok());
    let pair = pair.and_then(|p| p.split_once(':').map(|(u, p)| (u.to_owned(), p.trim_end_matches('\0').to_owned())));
    let (username, password) = match pair {
        Some((username, password)) => (Some(username), Some(password)),
        None => (text("username"), text("password")),
    };
    let login = DockerCredentials {
        username,
        password,
        identitytoken: text("identitytoken"),
        registrytoken: text("registrytoken"),
        serveraddress: Some(registry.to_owned()),
        ..Default::default()
    };
    // `docker login` with a helper leaves an empty entry here.
    let some = login.username.is_some() || login.identitytoken.is_some() || login.registrytoken.is_some();
    some.then_some(login)
}

/// The registry that a key of "auths" means: old configs have URLs there.
fn host_of(key: &str) -> &str {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    match key.split('/').next().unwrap_or(key) {
        "index.docker.io" | "registry-1.docker.io" => crate::reference::DOCKER_HUB,
        host => host,
    }
}

/// Asks `docker-credential-HELPER`.
async fn ask(helper: &str, key: &str) -> Result<Option<DockerCredentials>, Failure> {
    let program = format!("docker-credential-{helper}");
    let deed = format!("ask {program} for the login at {key}");
    let mut command = Command::new(&program);
    command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|e| {
        Failure::outside(format!("{deed}: {e}")).help("install it, or take it out of the Docker config")
    })?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that ends before it reads says why on its output.
        let _ = stdin.write_all(key.as_bytes()).await;
    }
    let output = timeout(HELPER, child.wait_with_output())
        .await
        .map_err(|_| Failure::timeout(format!("{deed}: no answer within {} s", HELPER.as_secs())))?
        .map_err(|e| Failure::outside(format!("{deed}: {e}")))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        // The protocol's words for "no login kept"; they come on stdout.
        if said.contains("credentials not found") {
            return Ok(None);
        }
        let why = if said.trim().is_empty() { String::from_utf8_lossy(&output.stderr).into_owned() } else { said };
        return Err(Failure::outside(format!("{deed}: {}", why.trim())));
    }
    answer(&said, key).map(Some).ok_or_else(|| Failure::outside(format!("{deed}: its answer is not understood")))
}

fn answer(text: &str, key: &str) -> Option<DockerCredentials> {
    let value: Value = serde_json::from_str(text).ok()?;
    let (username, secret) = (value["Username"].as_str()?.to_owned(), value["Secret"].as_str()?.to_owned());
    let mut login = DockerCredentials { serveraddress: Some(host_of(key).to_owned()), ..Default::default() };
    if username == "<token>" {
        login.identitytoken = Some(secret);
    } else {
        login.username = Some(username);
        login.password = Some(secret);
    }
    Some(login)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_are_found_under_all_their_names() {
        let config = serde_json::json!({"auths": {
            "https://index.docker.io/v1/": {"auth": STANDARD.encode("me:a:b")},
            "localhost:5000": {"auth": STANDARD.encode("u:p>?~")},
            "empty.io": {}, "token.io": {"auth": "", "identitytoken": "t"}
        }});
        let found = |host: &str| in_config(&config, host).map(|l| (l.username, l.password, l.identitytoken));
        assert_eq!(found("docker.io"), Some((Some("me".into()), Some("a:b".into()), None)));
        assert_eq!(found("localhost:5000"), Some((Some("u".into()), Some("p>?~".into()), None)));
        assert_eq!(found("token.io"), Some((None, None, Some("t".into()))));
        assert_eq!(found("empty.io"), None);
        assert_eq!(found("other.io"), None);
    }

    #[test]
    fn a_helper_may_answer_with_a_token() {
        let login = answer(r#"{"ServerURL":"x","Username":"<token>","Secret":"s"}"#, "x").expect("an answer");
        assert_eq!((login.identitytoken.as_deref(), login.username), (Some("s"), None));
        assert!(answer("{}", "x").is_none());
    }
}
