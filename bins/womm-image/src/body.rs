//! The container of the setup shell and the image that is made of it, as Docker is told. Values, no I/O.

use crate::host::HOST;
use crate::plan::Plan;
use crate::shell::Person;
use bollard::models::{
    ContainerConfig, ContainerCreateBody, HealthConfig, HostConfig, ImageConfig, Mount, MountType, SystemInfo,
};
use std::collections::HashMap;
use womm_wire::names;
use womm_wire::record::User;

/// The container as Docker is told. Its own configuration becomes the image's where [`committed`] says nothing else, so
/// there is as little in it as can be: the shell's variables are told to the shell alone.
pub fn body(
    plan: &Plan,
    person: &Person<'_>,
    start: &str,
    config: &ImageConfig,
    caches: Vec<String>,
    engine: &SystemInfo,
    host: Vec<Mount>,
) -> ContainerCreateBody {
    let mut mounts = vec![Mount {
        typ: Some(MountType::BIND),
        source: Some(person.folder.to_owned()),
        target: Some(person.folder.to_owned()),
        ..Default::default()
    }];
    if person.folder != HOST {
        mounts.extend(host);
    }
    let mut security = vec!["no-new-privileges".to_owned()];
    let selinux = engine.security_options.iter().flatten().any(|option| option.contains("name=selinux"));
    security.extend(selinux.then(|| "label=disable".to_owned()));
    let own = "rw,nosuid,nodev,noexec,size=16m,mode=0755".to_owned();
    let tmpfs = HashMap::from([(names::SETUP_DIR.to_owned(), own)]);
    // Volumes without a name: on the disk, since much is downloaded; the container's as long as it is there, and no part of
    // an image.
    mounts.extend(caches.into_iter().map(|cache| Mount {
        typ: Some(MountType::VOLUME),
        target: Some(cache),
        ..Default::default()
    }));
    let User { uid, gid, .. } = person.user;
    ContainerCreateBody {
        hostname: Some("womm-setup".to_owned()),
        image: Some(start.to_owned()),
        entrypoint: Some(vec![names::AGENT_BAKED.to_owned(), "setup".to_owned(), uid.to_string(), gid.to_string()]),
        cmd: Some(Vec::new()),
        // An image without a user is root's, and its image is to be without one again.
        user: config.user.as_ref().filter(|user| !user.is_empty()).map(|_| "0:0".to_owned()),
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        open_stdin: Some(true),
        stdin_once: Some(true),
        // As for its user: only where the base says something else.
        stop_signal: config.stop_signal.as_ref().map(|_| "SIGTERM".to_owned()),
        healthcheck: config
            .healthcheck
            .as_ref()
            .map(|_| HealthConfig { test: Some(vec!["NONE".to_owned()]), ..Default::default() }),
        host_config: Some(HostConfig {
            init: Some(false),
            mounts: Some(mounts),
            network_mode: plan.network.clone(),
            security_opt: Some(security),
            tmpfs: Some(tmpfs),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// The configuration of the image that is made of the container. Lists are there even if they are empty: what is missing
/// Docker takes from the container. Source: moby, `daemon/commit.go`, `merge`.
pub fn committed(
    before: &ImageConfig,
    env: Vec<String>,
    labels: HashMap<String, String>,
    cwd: Option<String>,
) -> ContainerConfig {
    ContainerConfig {
        user: before.user.clone(),
        env: Some(env),
        labels: Some(labels),
        cmd: Some(before.cmd.clone().unwrap_or_default()),
        entrypoint: Some(before.entrypoint.clone().unwrap_or_default()),
        healthcheck: before.healthcheck.clone(),
        working_dir: cwd.or_else(|| before.working_dir.clone()),
        volumes: before.volumes.clone(),
        exposed_ports: before.exposed_ports.clone(),
        on_build: before.on_build.clone(),
        stop_signal: before.stop_signal.clone(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_downloaded_is_neither_in_memory_nor_in_a_volume_with_a_name() {
        let plan = crate::plan::tests::plan("--engine docker", None, None).expect("enough is said");
        let person = Person { user: &User::default(), groups: &[], folder: "/p" };
        let caches = vec!["/var/cache/apt".to_owned()];
        let body = body(&plan, &person, "i", &ImageConfig::default(), caches, &SystemInfo::default(), Vec::new());
        let host = body.host_config.expect("it is set");
        assert_eq!(host.tmpfs.expect("ours").into_keys().collect::<Vec<_>>(), [names::SETUP_DIR]);
        let cache = &host.mounts.expect("two")[1];
        assert_eq!((cache.typ, cache.target.as_deref()), (Some(MountType::VOLUME), Some("/var/cache/apt")));
        assert_eq!((&cache.source, cache.read_only), (&None, None));
    }

    #[test]
    fn nothing_of_the_container_is_in_the_image() {
        let before = ImageConfig { user: Some("www".into()), ..Default::default() };
        let image =
            serde_json::to_value(committed(&before, vec!["A=1".into()], HashMap::new(), None)).expect("plain data");
        assert_eq!((&image["User"], &image["Env"][0]), (&"www".into(), &"A=1".into()));
        for list in ["Cmd", "Entrypoint"] {
            assert_eq!(image[list], serde_json::json!([]), "{list}: else the container's");
        }
    }
}
