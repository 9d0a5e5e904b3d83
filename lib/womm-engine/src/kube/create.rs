//! Makes a task: first the Lease, which owns the rest, then the Deployment.

use super::trouble::{self, Trouble};
use super::{ASK_DEADLINE, Kube, delete, objects};
use crate::{Error, Extras};

use ::kube::api::{Patch, PatchParams, PostParams, ValidationDirective};
use ::kube::core::Request;
use ::kube::{Resource, ResourceExt};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use serde_json::{Value, json};
use tokio::time::timeout;
use womm_wire::record::{Image, Record, Task};

/// Who changed an object, for `kubectl get --show-managed-fields`.
pub(super) const FIELD_MANAGER: &str = "womm";

/// See [`Kube::create`].
pub(super) async fn create(kube: &Kube, record: &mut Record, extras: &Extras) -> Result<(), Error> {
    let task = record.task()?.clone();
    objects::check(record, &task)?;
    let image = record.image.clone().unwrap_or_default();
    let lease = match make_lease(kube, &task).await {
        Ok(lease) => lease,
        Err(error) => {
            if matches!(error, Error::Unreachable { .. } | Error::Timeout { .. }) {
                // Nobody said that it was not made.
                let _ = timeout(ASK_DEADLINE, delete::delete(kube, &task)).await;
            }
            return Err(error);
        }
    };
    let lease_uid = lease.uid().unwrap_or_default();
    if let Err(error) = make_deployment(kube, record, &task, &image, &lease_uid, extras).await {
        // The first error is the one to tell; a Lease that stays behind is an orphan, and is cleared away as one.
        let _ = delete::delete(kube, &task).await;
        return Err(error);
    }
    if let Some(task) = record.task.as_mut() {
        kube.locate(task);
        if let Some(place) = task.kube.as_mut() {
            place.lease_uid = Some(lease_uid);
            place.agent = Some(objects::agent_path(&image).to_owned());
        }
    }
    Ok(())
}

async fn make_lease(kube: &Kube, task: &Task) -> Result<Lease, Error> {
    let url = Lease::url_path(&(), Some(&kube.at.namespace));
    if kube.clock.now().is_none() {
        // Opened by for_task, which asks nothing.
        kube.version(ASK_DEADLINE).await.map_err(|e| kube.explain("ask for its version", &e))?;
    }
    let now = kube.clock.now().ok_or_else(|| Error::Refused {
        deed: format!("learn the time of {}", kube.at.cluster()),
        reason: "its answers have no Date".into(),
    })?;
    let body = serde_json::to_vec(&objects::lease(task, now)).map_err(::kube::Error::SerdeError);
    let request = body.map(|body| Request::new(url).create(&post_params(), body));
    let made = match request {
        Ok(request) => kube.send(request, ASK_DEADLINE).await,
        Err(error) => Err(Trouble::Api(error)),
    };
    made.map_err(|e| kube.explain(&format!("create the Lease \"{}\"", task.name), &e))
}

fn post_params() -> PostParams {
    PostParams { dry_run: false, field_manager: Some(FIELD_MANAGER.into()) }
}

async fn make_deployment(
    kube: &Kube,
    record: &Record,
    task: &Task,
    image: &Image,
    lease_uid: &str,
    extras: &Extras,
) -> Result<(), Error> {
    let mut deployment = objects::deployment(record, task, image, lease_uid);
    // Paused, the controller makes no pods of it: those would be made of the template before the patch.
    let paused = extras.patch.is_some().then_some(true);
    if let Some(spec) = deployment.spec.as_mut() {
        spec.paused = paused;
    }
    let api = kube.api::<Deployment>();
    let deed = format!("create the Deployment \"{}\"", task.name);
    kube.ask(api.create(&post_params(), &deployment)).await.map_err(|e| kube.explain(&deed, &e))?;
    let Some(patch) = &extras.patch else { return Ok(()) };

    let strict = PatchParams { field_validation: Some(ValidationDirective::Strict), ..patch_params() };
    let patched = kube.ask(api.patch(&task.name, &strict, &Patch::Strategic(with_pause(patch)?))).await;
    let patched = patched.map_err(|e| refused_patch(kube, &e))?;
    if let Some(why) = objects::spoiled(&patched, task, lease_uid) {
        return Err(Error::Invalid {
            message: format!("--kube-patch can't be: {why}"),
            help: "leave that out of the patch".into(),
        });
    }
    let go = json!({"spec": {"paused": null}});
    kube.ask(api.patch(&task.name, &patch_params(), &Patch::Strategic(go)))
        .await
        .map_err(|e| kube.explain(&deed, &e))?;
    Ok(())
}

pub(super) fn patch_params() -> PatchParams {
    PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() }
}

/// The user's patch, which may not let pods be made yet.
fn with_pause(patch: &Value) -> Result<Value, Error> {
    let invalid = |message: &str| Error::Invalid {
        message: format!("--kube-patch {message}"),
        help: "it is a strategic merge patch for a Deployment, such as \
               {\"spec\": {\"template\": {\"spec\": {\"priorityClassName\": \"low\"}}}}"
            .into(),
    };
    let mut patch = patch.as_object().cloned().ok_or_else(|| invalid("is not an object"))?;
    let spec = patch.entry("spec").or_insert_with(|| json!({}));
    let spec = spec.as_object_mut().ok_or_else(|| invalid("has a \"spec\" that is not an object"))?;
    if spec.contains_key("$patch") {
        return Err(invalid("replaces the whole \"spec\""));
    }
    spec.insert("paused".into(), json!(true));
    Ok(Value::Object(patch))
}

/// A patch that the API server can't apply is the user's mistake, unless it is a matter of rights or of the network.
fn refused_patch(kube: &Kube, trouble: &Trouble) -> Error {
    match trouble.status() {
        Some(status) if matches!(status.code, 400 | 409 | 415 | 422) => Error::Invalid {
            message: format!("the cluster refuses --kube-patch: {}", patch_words(&status.message)),
            help: "correct the patch; it is a strategic merge patch for the Deployment".into(),
        },
        _ => kube.explain("patch the Deployment as --kube-patch says", trouble),
    }
}

/// Without the patch itself, which is repeated before the point: `… strict decoding error: unknown field "spec.x"`.
fn patch_words(message: &str) -> String {
    let tail = message.rsplit_once("strict decoding error: ").map_or(message, |(_, tail)| tail);
    trouble::refusal(tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_is_an_object_and_makes_no_pods_yet() {
        let patch = json!({"spec": {"paused": false, "template": {"spec": {"priorityClassName": "low"}}}});
        let paused = with_pause(&patch).expect("valid");
        assert_eq!(paused["spec"]["paused"], true);
        assert_eq!(paused["spec"]["template"], patch["spec"]["template"]);
        assert_eq!(with_pause(&json!({"metadata": {}})).expect("valid")["spec"]["paused"], true);
        for bad in [json!([]), json!("x"), json!({"spec": 1}), json!({"spec": {"$patch": "replace"}})] {
            assert!(with_pause(&bad).is_err(), "{bad}");
        }
    }
}
