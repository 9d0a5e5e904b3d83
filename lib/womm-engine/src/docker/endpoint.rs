//! Where the local Docker engine is, as Docker's own command line would find it.

use std::path::{Path, PathBuf};

/// Where a Docker that was installed by a package listens.
const DEFAULT_SOCKET: &str = "unix:///var/run/docker.sock";

/// Where Docker answers, and who said so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// `unix:///var/run/docker.sock`, `tcp://127.0.0.1:2375`.
    pub url: String,
    /// What named it, if it is not the default: `DOCKER_HOST`, `the Docker context "rootless"`.
    pub named_by: Option<String>,
}

/// `DOCKER_HOST`, else the endpoint of `DOCKER_CONTEXT` or of the current context, else the default socket. The order
/// is that of docker/cli, `cli/command/cli.go`, `resolveContextName`.
pub fn find() -> Endpoint {
    let var = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if let Some(url) = var("DOCKER_HOST") {
        return Endpoint { url, named_by: Some("DOCKER_HOST".into()) };
    }
    let config = var("DOCKER_CONFIG").map(PathBuf::from).or_else(|| Some(Path::new(&var("HOME")?).join(".docker")));
    let context = config.and_then(|config| context(&config, var("DOCKER_CONTEXT")));
    context.unwrap_or(Endpoint { url: DEFAULT_SOCKET.into(), named_by: None })
}

/// The named context's endpoint, or the current one's; none for the context "default" and for one that isn't there.
fn context(config: &Path, named: Option<String>) -> Option<Endpoint> {
    let json = |path: &Path| serde_json::from_slice::<serde_json::Value>(&std::fs::read(path).ok()?).ok();
    let current = || Some(json(&config.join("config.json"))?.get("currentContext")?.as_str()?.to_owned());
    let name = named.or_else(current).filter(|name| !name.is_empty() && name != "default")?;
    // A context's folder is named by a hash of its name; there are few, and each says its name inside.
    for entry in std::fs::read_dir(config.join("contexts/meta")).ok()?.flatten() {
        let Some(meta) = json(&entry.path().join("meta.json")) else { continue };
        if meta["Name"].as_str() == Some(&name) {
            let url = meta["Endpoints"]["docker"]["Host"].as_str()?.to_owned();
            return Some(Endpoint { url, named_by: Some(format!("the Docker context \"{name}\"")) });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_leads_to_its_endpoint() {
        let config = std::env::temp_dir().join(format!("womm-endpoint-{}", std::process::id()));
        let meta = config.join("contexts/meta/0a1b");
        std::fs::create_dir_all(&meta).expect("a folder in /tmp");
        let write = |path: PathBuf, text: &str| std::fs::write(path, text).expect("a file in /tmp");
        write(config.join("config.json"), r#"{"currentContext":"rootless","auths":{}}"#);
        write(
            meta.join("meta.json"),
            r#"{"Name":"rootless","Metadata":{},"Endpoints":{"docker":{"Host":"unix:///run/user/7/docker.sock"}}}"#,
        );
        let found = context(&config, None).expect("the current one");
        assert_eq!(found.url, "unix:///run/user/7/docker.sock");
        assert_eq!(found.named_by.as_deref(), Some("the Docker context \"rootless\""));
        assert_eq!(context(&config, Some("default".into())), None);
        assert_eq!(context(&config, Some("other".into())), None);
        assert_eq!(context(Path::new("/nowhere"), None), None);
        std::fs::remove_dir_all(&config).expect("made above");
    }
}
