//! Which cluster: kubeconfig, context, namespace and proxy, as kubectl would take them. The record then remembers.
//!
//! Source of the rules: kubernetes.io, "Organizing Cluster Access Using kubeconfig Files".

use super::clock::Clock;
use super::trouble::{self, Trouble};
use super::{At, Kube, certificate};
use crate::Error;
use std::env;
use std::io::IsTerminal;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ::kube::config::{Config, ExecInteractiveMode, KubeConfigOptions, Kubeconfig};
use ::kube::{Client, Error as Api};
use tokio::sync::oneshot;
use tokio::time::timeout;
use womm_wire::record::Task;

/// How long connecting may take, and the first answer.
pub(super) const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// How long a credential plugin may take: somebody may have to log in with a browser.
const PLUGIN_DEADLINE: Duration = Duration::from_secs(120);
/// Set in every pod. Source: kubernetes.io, "Accessing the Kubernetes API from a Pod".
const ENV_IN_CLUSTER: &str = "KUBERNETES_SERVICE_HOST";

/// Where the kubeconfig is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Files {
    /// As KUBECONFIG names them, made absolute; none for the default file.
    named: Option<String>,
    /// All of them.
    paths: Vec<PathBuf>,
}

impl Files {
    /// What `KUBECONFIG` names, else `~/.kube/config`.
    ///
    /// # Errors
    /// If a name is not UTF-8: the record could not keep it.
    pub fn of_environment() -> Result<Self, Error> {
        let named = env::var_os("KUBECONFIG").map(|names| {
            let paths = env::split_paths(&names).filter(|path| !path.as_os_str().is_empty());
            // Later commands stand in other folders.
            paths.map(|path| std::path::absolute(&path).unwrap_or(path)).collect::<Vec<_>>()
        });
        match named {
            Some(paths) if !paths.is_empty() => {
                let named = env::join_paths(&paths).ok().and_then(|names| names.into_string().ok());
                let named = named.ok_or_else(|| Error::Invalid {
                    message: "KUBECONFIG names a file whose path is not UTF-8".into(),
                    help: "move the file".into(),
                })?;
                Ok(Self { named: Some(named), paths })
            }
            _ => Ok(Self::recorded(None)),
        }
    }

    /// What [`Files::of_environment`] recorded.
    pub fn recorded(named: Option<&str>) -> Self {
        let default = || {
            let home = env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
            home.into_iter().map(|home| home.join(".kube/config")).collect()
        };
        let paths = named.map_or_else(default, |names| env::split_paths(names).collect());
        Self { named: named.map(str::to_owned), paths }
    }

    /// Reads and merges those that are there; none if none is.
    ///
    /// # Errors
    /// If one can't be read or isn't a kubeconfig.
    fn read(&self) -> Result<Option<Kubeconfig>, Error> {
        let mut merged: Option<Kubeconfig> = None;
        // kubectl passes over files that are not there.
        for path in self.paths.iter().filter(|path| path.exists()) {
            let broken = |e: &dyn std::fmt::Display| Error::Invalid {
                message: format!("read the kubeconfig \"{}\": {e}", path.display()),
                help: "correct it, or name another in KUBECONFIG".into(),
            };
            let next = Kubeconfig::read_from(path).map_err(|e| broken(&trouble::innermost(&e)))?;
            merged = Some(match merged {
                Some(first) => first.merge(next).map_err(|e| broken(&e))?,
                None => next,
            });
        }
        Ok(merged)
    }

    /// "~/.kube/config", "/a and /b": where something is missing.
    fn names(&self) -> String {
        let names: Vec<_> = self.paths.iter().map(|path| format!("\"{}\"", path.display())).collect();
        names.join(" and ")
    }
}

/// The context that the kubeconfig selects; none if it selects none, is not there or can't be read: whoever opens a
/// connection by it says so.
pub fn current_context() -> Option<String> {
    let kubeconfig = Files::of_environment().ok()?.read().ok()??;
    kubeconfig.current_context.filter(|name| !name.is_empty())
}

/// Opens a connection by a kubeconfig's context, or as a pod of the cluster if there is no kubeconfig at all.
///
/// # Errors
/// If there is no such context, or its credentials can't be had. Whether anybody answers is not asked.
pub(super) async fn open(files: &Files, context: Option<&str>, namespace: Option<&str>) -> Result<Kube, Error> {
    let (mut config, context) = match files.read()? {
        Some(kubeconfig) => of_kubeconfig(kubeconfig, files, context).await?,
        None if context.is_none() && env::var_os(ENV_IN_CLUSTER).is_some() => (in_cluster()?, None),
        None => {
            return Err(Error::Missing {
                what: format!("the kubeconfig {}", files.names()),
                on: None,
                help: "name yours in KUBECONFIG, or run on the local Docker engine: `womm setup --engine docker`"
                    .into(),
            });
        }
    };
    config.connect_timeout = Some(CONNECT_DEADLINE);
    // An exec or a watch is silent for as long as it likes; requests have a deadline each.
    config.read_timeout = None;
    let namespace = namespace.filter(|n| !n.is_empty()).unwrap_or(&config.default_namespace).to_owned();
    check_namespace(&namespace)?;
    let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
    let certificate_ends = certificate::ends(&config.auth_info);
    let at = Arc::new(At { server, context, namespace, certificate_ends });
    let client = client(config).await.map_err(|e| trouble::explain(&at, "get credentials", &e))?;
    Ok(Kube { client, at, kubeconfig: files.named.clone(), clock: Arc::new(Clock::default()) })
}

/// Opens a connection to where a task is, by what was recorded.
///
/// # Errors
/// As [`open`], and if the context leads to another server now.
pub(super) async fn reopen(task: &Task) -> Result<Kube, Error> {
    let recorded = task.kube.as_ref().ok_or_else(|| Error::Invalid {
        message: format!("the record of task \"{}\" does not say on which cluster it is", task.id),
        help: "`womm-pods create` records it".into(),
    })?;
    let kube = match &recorded.context {
        Some(context) => {
            let files = Files::recorded(recorded.kubeconfig.as_deref());
            open(&files, Some(context), Some(&recorded.namespace)).await?
        }
        None => open(&Files { named: None, paths: Vec::new() }, None, Some(&recorded.namespace)).await?,
    };
    if kube.at.server != recorded.server {
        return Err(Error::Invalid {
            message: format!(
                "the task \"{}\" is on the cluster at {}, but{} leads to {} now",
                task.name,
                recorded.server,
                kube.at.context.as_ref().map_or_else(|| " this pod".into(), |name| format!(" context \"{name}\"")),
                kube.at.server
            ),
            help: "make the context lead there again; it was changed since the task was made".into(),
        });
    }
    Ok(kube)
}

/// Whether it is said which cluster is meant: by a kubeconfig with a current context, or by running in a pod. A kubeconfig
/// that can't be read says so, too: what is wrong with it comes to light when it is used.
pub fn has_context() -> bool {
    let selected = |config: Kubeconfig| config.current_context.is_some_and(|name| !name.is_empty());
    let found = Files::of_environment().and_then(|files| files.read());
    env::var_os(ENV_IN_CLUSTER).is_some() || found.map_or(true, |config| config.is_some_and(selected))
}

async fn of_kubeconfig(
    mut kubeconfig: Kubeconfig,
    files: &Files,
    context: Option<&str>,
) -> Result<(Config, Option<String>), Error> {
    let there: Vec<_> = kubeconfig.contexts.iter().map(|named| named.name.clone()).collect();
    let list = || match there.as_slice() {
        [] => "it has none; is it the right file?".to_owned(),
        names => format!("there are: {}", names.join(", ")),
    };
    let current = kubeconfig.current_context.clone().filter(|name| !name.is_empty());
    let name = context.map(str::to_owned).or(current).ok_or_else(|| Error::Invalid {
        message: format!("no context is selected in {}", files.names()),
        help: format!("choose one with --context; {}", list()),
    })?;
    let found = kubeconfig.contexts.iter().find(|named| named.name == name).and_then(|named| named.context.as_ref());
    let Some(found) = found else {
        return Err(Error::Missing {
            what: format!("context \"{name}\""),
            on: Some(format!("in {}", files.names())),
            help: list(),
        });
    };
    let (cluster, user) = (found.cluster.clone(), found.user.clone());
    let cluster = kubeconfig.clusters.iter_mut().find(|named| named.name == cluster).and_then(|c| c.cluster.as_mut());
    // Taken out, because kube would ask NO_PROXY about the proxy's own address.
    let proxy = cluster.and_then(|cluster| cluster.proxy_url.take()).filter(|url| !url.is_empty());
    if !std::io::stdin().is_terminal() {
        // As client-go does: a plugin that would like to ask must not, and must not read a record from stdin.
        let users = kubeconfig.auth_infos.iter_mut().filter(|named| Some(&named.name) == user.as_ref());
        for exec in users.filter_map(|named| named.auth_info.as_mut()?.exec.as_mut()) {
            exec.interactive_mode = Some(ExecInteractiveMode::Never);
        }
    }
    let options = KubeConfigOptions { context: Some(name.clone()), ..KubeConfigOptions::default() };
    let broken = |reason: String| Error::Invalid {
        message: format!("context \"{name}\" in {} can't be used: {reason}", files.names()),
        help: "correct the kubeconfig, or choose another context with --context".into(),
    };
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
    let mut config = config.map_err(|e| broken(e.to_string()))?;
    let host = config.cluster_url.host().unwrap_or_default().to_owned();
    let secure = config.cluster_url.scheme_str() != Some("http");
    let proxy = proxy.or_else(|| environment_proxy(&host, secure, |name| env::var(name).ok()));
    let proxy = proxy.map(|url| url.parse().map_err(|e| broken(format!("proxy \"{url}\": {e}")))).transpose()?;
    config.proxy_url = proxy;
    Ok((config, Some(name)))
}

fn in_cluster() -> Result<Config, Error> {
    Config::incluster().map_err(|e| Error::Invalid {
        message: format!("this pod's service account can't be used: {e}"),
        help: "give the pod a service account whose token is mounted".into(),
    })
}

/// Makes the client, in a thread of its own: that runs credential plugins, which block and may hang.
async fn client(config: Config) -> Result<Client, Trouble> {
    let (client_tx, client_rx) = oneshot::channel();
    let runtime = tokio::runtime::Handle::current();
    std::thread::spawn(move || {
        let _inside = runtime.enter();
        // Nobody waits any more: the deadline passed.
        let _ = client_tx.send(super::client::client(config));
    });
    let client = timeout(PLUGIN_DEADLINE, client_rx).await.map_err(|_| Trouble::Late(PLUGIN_DEADLINE))?;
    let gone = |_| Api::Service("the thread that makes the connection is gone".into());
    Ok(client.map_err(gone)??)
}

/// RFC 1123 label, which it has to be to stand in a URL. Source: kubernetes.io, "Object Names and IDs".
fn check_namespace(name: &str) -> Result<(), Error> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if name.len() <= 63 && name.bytes().all(inner) && !name.starts_with('-') && !name.ends_with('-') && !name.is_empty()
    {
        return Ok(());
    }
    Err(Error::Invalid {
        message: format!("\"{name}\" is no name for a namespace"),
        help: "those are up to 63 lower-case letters, digits and inner hyphens".into(),
    })
}

/// The proxy for a host that the environment names. Source: Go's `net/http` and `golang.org/x/net/http/httpproxy`, whose
/// rules kubectl follows: lower case second, NO_PROXY with hosts, domains, addresses and networks, never for loopback.
fn environment_proxy(host: &str, secure: bool, var: impl Fn(&str) -> Option<String>) -> Option<String> {
    let either = |upper: &str| {
        let value = var(upper).filter(|v| !v.is_empty()).or_else(|| var(&upper.to_lowercase()));
        value.filter(|v| !v.is_empty())
    };
    let proxy = either(if secure { "HTTPS_PROXY" } else { "HTTP_PROXY" })?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_lowercase();
    let address = host.parse::<IpAddr>().ok();
    if host == "localhost" || address.is_some_and(|a| a.is_loopback()) {
        return None;
    }
    let except = either("NO_PROXY").unwrap_or_default();
    let excepted =
        except.split(',').map(|entry| entry.trim().to_lowercase()).any(|entry| matches(&entry, &host, address));
    (!excepted).then(|| if proxy.contains("://") { proxy } else { format!("http://{proxy}") })
}

/// Whether one entry of NO_PROXY means this host.
fn matches(entry: &str, host: &str, address: Option<IpAddr>) -> bool {
    match (entry, address) {
        ("", _) => false,
        ("*", _) => true,
        (_, Some(address)) => match entry.split_once('/') {
            Some((network, bits)) => within(network, bits, address),
            None => entry.trim_start_matches('[').trim_end_matches(']').parse() == Ok(address),
        },
        (_, None) => {
            let entry = entry.strip_prefix('*').unwrap_or(entry);
            let domain = entry.strip_prefix('.').unwrap_or(entry);
            (host == domain && domain == entry) || host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
        }
    }
}

/// Whether an address is in a network that is written as `10.0.0.0/8`.
pub fn is_within(network: &str, address: IpAddr) -> bool {
    network.split_once('/').is_some_and(|(network, bits)| within(network, bits, address))
}

fn within(network: &str, bits: &str, address: IpAddr) -> bool {
    let (Ok(network), Ok(bits)) = (network.parse::<IpAddr>(), bits.parse::<u32>()) else { return false };
    match (network, address) {
        (IpAddr::V4(n), IpAddr::V4(a)) if bits <= 32 => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            u32::from(n) & mask == u32::from(a) & mask
        }
        (IpAddr::V6(n), IpAddr::V6(a)) if bits <= 128 => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            u128::from(n) & mask == u128::from(a) & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::path::Path;

    fn kubeconfig(dir: &Path, name: &str, text: &str) -> PathBuf {
        let path = dir.join(name);
        std::fs::write(&path, text).expect("a file in /tmp");
        path
    }

    const TWO: &str = r#"{"apiVersion": "v1", "kind": "Config", "current-context": "a",
        "clusters": [{"name": "c", "cluster": {"server": "https://10.9.9.9:6443"}}, {"name": "d", "cluster": {"server": "http://10.9.9.8/k/"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "a", "context": {"cluster": "c", "user": "u", "namespace": "mine"}},
                     {"name": "b", "context": {"cluster": "d", "user": "u"}}]}"#;

    fn files(path: &Path) -> Files {
        Files::recorded(path.to_str())
    }

    #[tokio::test]
    async fn the_context_decides_and_is_remembered() {
        let dir = tempdir("context");
        let path = kubeconfig(&dir, "k", TWO);
        let kube = open(&files(&path), None, None).await.expect("a context is selected");
        assert_eq!(
            *kube.at,
            At {
                server: "https://10.9.9.9:6443".into(),
                context: Some("a".into()),
                namespace: "mine".into(),
                certificate_ends: None
            }
        );
        let kube = open(&files(&path), Some("b"), Some("x")).await.expect("it is there");
        assert_eq!((kube.at.server.as_str(), kube.at.namespace.as_str()), ("http://10.9.9.8/k", "x"));
        let kube = open(&files(&path), Some("b"), None).await.expect("it is there");
        assert_eq!(kube.at.namespace, "default");
        std::fs::remove_dir_all(&dir).expect("made above");
    }

    #[tokio::test]
    async fn a_task_stays_where_it_is() {
        let dir = tempdir("task");
        let path = kubeconfig(&dir, "k", TWO);
        let mut recorded = womm_wire::record::Kube {
            kubeconfig: path.to_str().map(str::to_owned),
            context: Some("a".into()),
            server: "https://10.9.9.9:6443".into(),
            namespace: "then".into(),
            ..Default::default()
        };
        let task = |kube: &womm_wire::record::Kube| Task {
            name: "womm-task-x".into(),
            kube: Some(kube.clone()),
            ..Task::default()
        };
        // Another context is selected meanwhile.
        kubeconfig(&dir, "k", &TWO.replace("\"current-context\": \"a\"", "\"current-context\": \"b\""));
        let kube = reopen(&task(&recorded)).await.expect("recorded");
        assert_eq!((kube.at.server.as_str(), kube.at.namespace.as_str()), ("https://10.9.9.9:6443", "then"));
        recorded.server = "https://10.1.1.1".into();
        let said = reopen(&task(&recorded)).await.err().expect("elsewhere").to_string();
        assert_eq!(
            said,
            "the task \"womm-task-x\" is on the cluster at https://10.1.1.1, but context \"a\" leads to \
             https://10.9.9.9:6443 now"
        );
        std::fs::remove_dir_all(&dir).expect("made above");
    }

    #[tokio::test]
    async fn what_is_missing_is_named() {
        let dir = tempdir("missing");
        let said = |error: Option<Error>| womm_cli::Failure::from(error.expect("refused")).to_string();
        let path = kubeconfig(&dir, "k", TWO);
        let text = said(open(&files(&path), Some("z"), None).await.err());
        assert_eq!(text, format!("context \"z\" does not exist in \"{}\": there are: a, b", path.display()));
        let text = said(open(&files(&path), None, Some("A/b")).await.err());
        assert!(text.starts_with("\"A/b\" is no name for a namespace"), "{text}");
        let path = kubeconfig(&dir, "k", &TWO.replace("\"current-context\": \"a\",", ""));
        let text = said(open(&files(&path), None, None).await.err());
        assert!(text.contains("no context is selected") && text.ends_with("there are: a, b"), "{text}");
        let path = kubeconfig(&dir, "k", "{");
        let text = said(open(&files(&path), None, None).await.err());
        assert!(text.starts_with(&format!("read the kubeconfig \"{}\"", path.display())), "{text}");
        let text = said(open(&files(&dir.join("none")), None, None).await.err());
        assert!(text.contains("none\" does not exist: name yours in KUBECONFIG"), "{text}");
        std::fs::remove_dir_all(&dir).expect("made above");
    }

    #[tokio::test]
    async fn a_plugin_that_fails_is_told() {
        let dir = tempdir("plugin");
        let exec = r#"{"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "interactiveMode": "Never",
            "args": ["-c", "echo please log in >&2; exit 3"]}}"#;
        let path = kubeconfig(&dir, "k", &TWO.replace("{\"token\": \"t\"}", exec));
        let text =
            womm_cli::Failure::from(open(&files(&path), None, None).await.err().expect("no credentials")).to_string();
        assert!(text.starts_with("the cluster at https://10.9.9.9:6443 does not accept the credentials"), "{text}");
        assert!(text.contains("exit status: 3): please log in"), "{text}");
        let path =
            kubeconfig(&dir, "k", &TWO.replace("{\"token\": \"t\"}", &exec.replace("\"sh\"", "\"no-such-plugin\"")));
        let text =
            womm_cli::Failure::from(open(&files(&path), None, None).await.err().expect("no credentials")).to_string();
        assert!(text.contains("can't be run: No such file"), "{text}");
        std::fs::remove_dir_all(&dir).expect("made above");
    }

    #[test]
    fn proxies_are_those_of_kubectl() {
        let with = |no: &'static str| {
            move |name: &str| match name {
                "HTTPS_PROXY" => Some("proxy:3128".to_owned()),
                "no_proxy" => Some(no.to_owned()),
                _ => None,
            }
        };
        let host = |host: &str, no: &'static str| environment_proxy(host, true, with(no)).is_none();
        assert_eq!(environment_proxy("k.example.org", true, with("")).as_deref(), Some("http://proxy:3128"));
        assert_eq!(environment_proxy("k.example.org", false, with("")), None);
        for (name, no) in [
            ("localhost", ""),
            ("127.0.0.1", ""),
            ("[::1]", ""),
            ("10.207.0.1", "a, 10.0.0.0/8"),
            ("10.207.0.1", "10.207.0.1"),
            ("k.example.org", ".example.org"),
            ("k.example.org", "EXAMPLE.org"),
            ("k.example.org", "*.example.org"),
            ("k.example.org", "*"),
            ("fd00::1", "fd00::/8"),
        ] {
            assert!(host(name, no), "{name} {no}");
        }
        for (name, no) in [
            ("10.207.0.1", "192.168.0.0/16"),
            ("example.org", ".example.org"),
            ("kexample.org", "example.org"),
            ("10.207.0.1", "10.207.0.1/99"),
            ("10.207.0.1", "fd00::/8"),
        ] {
            assert!(!host(name, no), "{name} {no}");
        }
    }

    fn tempdir(name: &str) -> PathBuf {
        let path = env::temp_dir().join(format!("womm-kubeconfig-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder in /tmp");
        path
    }
}
