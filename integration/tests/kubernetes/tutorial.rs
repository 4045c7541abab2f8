//! The three pods of the Kubernetes tutorial, as it has them but for `runtimeClassName`: with their own `lifecycle`,
//! with podhook's annotations instead, and with podhook as the runtime of pods that name none.

use std::fs;
use std::os::unix::fs::MetadataExt;

use podhook_integration::kubernetes::suite::{Test, on_every_side};
use podhook_integration::kubernetes::{Namespace, annotated};
use podhook_integration::shim::podhook_shim;
use podhook_integration::wait;
use podhook_integration::{Outcome, kubernetes_tests};
use serde_json::Value;

use crate::steps::{Error, trace};

pub fn tests() -> Vec<Test> {
    let all = on_every_side(kubernetes_tests![tutorial:
        the_post_start_message_is_there,
        nginx_quits_gracefully,
        the_pre_stop_message_is_on_the_node,
    ]);
    let own = kubernetes_tests![tutorial: the_default_runtime_needs_no_class];
    [all, own].concat()
}

const POST_START: &str = "lifecycle-demo-poststart";
const GRACEFUL: &str = "lifecycle-demo-prestop";
const MESSAGE: &str = "lifecycle-demo2-prestop";

/// An example as it stands, with its `lifecycle` in podhook's annotation where podhook runs the hooks.
fn manifest(kube: &Namespace<'_>, name: &str) -> Result<Value, Error> {
    let pod = kube.read(&kube.example(name)?)?;
    Ok(if kube.side().is_podhook() {
        annotated(pod)
    } else {
        pod
    })
}

fn the_post_start_message_is_there(kube: &Namespace<'_>) -> Outcome {
    let applied = kube.apply(&manifest(kube, POST_START)?.to_string())?;
    assert_eq!(applied, format!("pod/{POST_START} created\n"));
    kube.ready(POST_START)?;
    let table = kube.ok(&["get", "pod", POST_START])?;
    let line = table.lines().nth(1).unwrap_or_default();
    let words: Vec<_> = line.split_whitespace().collect();
    assert_eq!(words[..4], [POST_START, "1/1", "Running", "0"], "{table}");
    has_message(kube)?;
    let described = kube.ok(&["describe", "pod", POST_START])?;
    for text in ["State:          Running", "Started "] {
        assert!(described.contains(text), "{described}");
    }
    deleted(kube, POST_START)
}

fn has_message(kube: &Namespace<'_>) -> Outcome {
    let message = kube.ok(&["exec", POST_START, "--", "cat", "/usr/share/message"])?;
    assert_eq!(message, "Hello from the postStart handler\n");
    Ok(())
}

fn nginx_quits_gracefully(kube: &Namespace<'_>) -> Outcome {
    kube.apply(&manifest(kube, GRACEFUL)?.to_string())?;
    let pod = kube.ready(GRACEFUL)?;
    let id = &pod["status"]["containerStatuses"][0]["containerID"];
    let id = id.as_str().unwrap_or_default();
    let id = id.trim_start_matches("containerd://").to_owned();
    let ip = pod["status"]["podIP"].as_str().unwrap_or_default();
    // Before that there is no nginx that could be told to quit.
    wait::until_listening(ip, 80)?;
    let watch = kube.watch(GRACEFUL)?;
    deleted(kube, GRACEFUL)?;
    let ended = |pod: &Value| {
        pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"].as_i64()
    };
    let pod = watch.wait("the container's end", |pod| ended(pod).is_some())?;
    assert_eq!(ended(&pod), Some(0), "{pod}");
    let hook = |line: &String| line.contains("hook=preStop");
    // The kubelet runs its own, and podhook does not run it again.
    assert_eq!(
        kube.log(&id).iter().any(hook),
        kube.side().is_podhook(),
        "{:#?}",
        kube.log(&id)
    );
    Ok(())
}

fn the_pre_stop_message_is_on_the_node(kube: &Namespace<'_>) -> Outcome {
    let folder = trace(kube)?;
    let mut pod = manifest(kube, MESSAGE)?;
    assert_eq!(pod["spec"]["volumes"][0]["hostPath"]["path"], "/tmp");
    pod["spec"]["volumes"][0]["hostPath"]["path"] = folder.dir().to_string_lossy().into();
    kube.apply(&pod.to_string())?;
    kube.ready(MESSAGE)?;
    let message = folder.dir().join("message");
    assert!(!message.exists());
    deleted(kube, MESSAGE)?;
    assert_eq!(
        fs::read_to_string(message)?,
        "Hello from the preStop Handler\n"
    );
    Ok(())
}

fn the_default_runtime_needs_no_class(kube: &Namespace<'_>) -> Outcome {
    let mut pod = manifest(kube, POST_START)?;
    let spec = pod["spec"].as_object_mut().ok_or("no spec")?;
    assert!(spec.remove("runtimeClassName").is_some());
    kube.apply(&pod.to_string())?;
    kube.ready(POST_START)?;
    let shim = kube.shim_of(POST_START)?.ok_or("no shim")?;
    let file = |path: &str| fs::metadata(path).map(|file| (file.dev(), file.ino()));
    assert_eq!(
        file(&format!("/proc/{}/exe", shim.pid))?,
        file(&podhook_shim()?.to_string_lossy())?
    );
    has_message(kube)?;
    deleted(kube, POST_START)
}

/// `kubectl delete` says so, and the pod is gone when it returns.
fn deleted(kube: &Namespace<'_>, pod: &str) -> Outcome {
    let said = kube.ok(&["delete", "pod", pod])?;
    assert!(
        said.starts_with(&format!("pod \"{pod}\" deleted")),
        "{said}"
    );
    let got = kube.run(&["get", "pod", pod])?;
    assert!(got.stderr.contains("NotFound"), "{got:?}");
    Ok(())
}
