//! The three pods of the Kubernetes tutorial, through `podhook` as a user types it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::{fs, thread};

use podhook_integration::command::Output;
use podhook_integration::generation::repository;
use podhook_integration::podhook::Podhook;
use podhook_integration::suite::Test;
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Image, Node, Outcome, tests};
use serde_json::Value;

use crate::script::Error;

pub fn tests() -> Vec<Test> {
    tests![tutorial:
        the_post_start_message_is_there_when_the_pod_runs,
        nginx_quits_gracefully_with_a_request_in_flight,
        the_pre_stop_message_is_on_the_node_after_the_pod,
        a_pod_whose_post_start_fails_says_why,
    ]
}

/// `podhook` in a namespace of its own, on the node's containerd.
struct Kube<'a> {
    node: &'a Node,
    podhook: Podhook,
    namespace: String,
    dir: PathBuf,
}

impl<'a> Kube<'a> {
    fn new(node: &'a Node, test: &str) -> Result<Self, Error> {
        node.containerd().import("k8s.io", Image::Nginx)?;
        // Other tests have pods of the same name.
        let namespace = format!("{test}-{}", node.shim());
        let dir = node.containerd().dir().join("manifests").join(&namespace);
        fs::create_dir_all(&dir)?;
        Ok(Self {
            node,
            podhook: Podhook::new(node.containerd()),
            namespace,
            dir,
        })
    }

    fn run(&self, words: &[&str]) -> Result<Output, Error> {
        let namespace = ["--namespace", &self.namespace];
        Ok(self.podhook.try_run(&[&namespace[..], words].concat())?)
    }

    /// What it prints when it succeeds.
    fn ok(&self, words: &[&str]) -> Result<String, Error> {
        Ok(self.run(words)?.success()?.stdout)
    }

    /// An example's manifest, for the shim under test, after `change`.
    fn manifest(&self, name: &str, change: impl FnOnce(String) -> String) -> Result<String, Error> {
        let text = fs::read_to_string(repository().join("examples").join(name))?;
        let handler = format!("runtimeClassName: {}", self.node.shim());
        let text = change(text.replace("runtimeClassName: podhook", &handler));
        let path = self.dir.join(name);
        fs::write(&path, text)?;
        Ok(path.display().to_string())
    }

    fn pod(&self, name: &str) -> Result<Value, Error> {
        Ok(serde_json::from_str(
            &self.ok(&["get", "pod", name, "-o", "json"])?,
        )?)
    }

    /// The id of the pod's first container.
    fn container(&self, name: &str) -> Result<String, Error> {
        let pod = self.pod(name)?;
        let id = pod["status"]["containerStatuses"][0]["containerID"].as_str();
        let id = id.and_then(|id| id.strip_prefix("containerd://"));
        Ok(id.ok_or(format!("no container id in {pod}"))?.to_owned())
    }

    /// A connection to the pod's nginx.
    fn connect(&self, name: &str) -> Result<TcpStream, Error> {
        let pod = self.pod(name)?;
        let ip = pod["status"]["podIP"].as_str();
        let ip = ip.ok_or(format!("no podIP in {pod}"))?;
        Ok(wait::until_listening(ip, 80)?)
    }

    /// What the shim logged of a container.
    fn log(&self, id: &str) -> Vec<String> {
        let log = self.node.containerd().log();
        let of = format!(" id={id}");
        let lines = log.lines().filter(|line| line.contains(&of));
        lines.map(str::to_owned).collect()
    }

    /// The line of `podhook get pods` for a pod, by words.
    fn line(&self, name: &str) -> Result<Vec<String>, Error> {
        let table = self.ok(&["get", "pods"])?;
        let line = table.lines().find(|line| line.starts_with(name));
        let line = line.ok_or(format!("no {name} in {table}"))?;
        Ok(line.split_whitespace().map(str::to_owned).collect())
    }
}

impl Drop for Kube<'_> {
    fn drop(&mut self) {
        let _ = self.run(&["delete", "pods", "--all", "--force"]);
    }
}

fn the_post_start_message_is_there_when_the_pod_runs(node: &Node) -> Outcome {
    let kube = Kube::new(node, "post-start")?;
    let name = "lifecycle-demo-poststart";
    let manifest = kube.manifest(&format!("{name}.yaml"), |text| text)?;
    kube.ok(&["apply", "-f", &manifest])?;
    assert_eq!(kube.line(name)?[1..3], ["1/1", "Running"]);
    let message = kube.ok(&["exec", name, "--", "cat", "/usr/share/message"])?;
    assert_eq!(message, "Hello from the postStart handler\n");
    let id = kube.container(name)?;
    kube.connect(name)?;
    kube.ok(&["delete", "pod", name])?;
    let exit = node.events().wait(&id, "exit", SOON)?;
    // The image's SIGQUIT: nginx ends by itself.
    assert_eq!(exit.exit_status(), 0);
    assert!(
        kube.run(&["get", "pod", name])?
            .stderr
            .contains("not found")
    );
    Ok(())
}

fn nginx_quits_gracefully_with_a_request_in_flight(node: &Node) -> Outcome {
    let kube = Kube::new(node, "graceful")?;
    let name = "lifecycle-demo-prestop";
    let manifest = kube.manifest(&format!("{name}.yaml"), |text| {
        // Time for a slow machine: what is in flight takes its time.
        let grace = "spec:\n  terminationGracePeriodSeconds: 300";
        text.replacen("spec:", grace, 1)
    })?;
    kube.ok(&["apply", "-f", &manifest])?;
    let id = kube.container(name)?;
    let mut server = kube.connect(name)?;
    let address = server.peer_addr()?;
    server.set_read_timeout(Some(wait::scaled(SOON)))?;
    // Half a request, for which nginx waits: it is over when this side wants it. The kernel has it at once, and nginx
    // long before the pod's hook.
    server.write_all(b"GET /slow HTTP/1.1\r\nHost: demo\r\n")?;
    let answer = thread::scope(|scope| -> Result<_, Error> {
        let deleting = scope.spawn(|| kube.ok(&["delete", "pod", name]).map(|_| ()));
        wait::until_true("nginx to take no more connections", SOON, || {
            TcpStream::connect(address).is_err()
        })?;
        // An answer of 32 KiB that nginx sends in about four seconds.
        server.write_all(b"Connection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        let read = server.read_to_end(&mut answer);
        read.map_err(|e| format!("after {} bytes: {e}\n{:#?}", answer.len(), kube.log(&id)))?;
        // nginx waits for the client to have everything.
        drop(server);
        deleting.join().map_err(|_| "podhook panicked")??;
        Ok(answer)
    })?;
    let text = String::from_utf8_lossy(&answer);
    let (head, body) = text
        .split_once("\r\n\r\n")
        .ok_or(format!("no answer: {text}"))?;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(body.len(), 32768);
    let exit = node.events().wait(&id, "exit", SOON)?;
    assert_eq!(exit.exit_status(), 0);
    let ours = kube.log(&id);
    assert!(
        ours.iter().any(|line| line.contains("hook=preStop")),
        "{ours:#?}"
    );
    // It was the hook that ended nginx: the stop signal came too late for anything.
    assert!(
        !ours
            .iter()
            .any(|line| line.contains("grace period is over")),
        "{ours:#?}"
    );
    Ok(())
}

fn the_pre_stop_message_is_on_the_node_after_the_pod(node: &Node) -> Outcome {
    let kube = Kube::new(node, "message")?;
    let name = "lifecycle-demo2-prestop";
    let folder = kube.dir.join("node");
    fs::create_dir(&folder)?;
    let manifest = kube.manifest(&format!("{name}.yaml"), |text| {
        text.replace("path: /tmp", &format!("path: {}", folder.display()))
    })?;
    kube.ok(&["apply", "-f", &manifest])?;
    assert_eq!(kube.line(name)?[1..3], ["1/1", "Running"]);
    let message = folder.join("message");
    assert!(!message.exists());
    let id = kube.container(name)?;
    kube.connect(name)?;
    kube.ok(&["delete", "pod", name])?;
    assert_eq!(
        fs::read_to_string(message)?,
        "Hello from the preStop Handler\n"
    );
    assert_eq!(node.events().wait(&id, "exit", SOON)?.exit_status(), 0);
    Ok(())
}

fn a_pod_whose_post_start_fails_says_why(node: &Node) -> Outcome {
    let kube = Kube::new(node, "failing")?;
    let name = "lifecycle-demo-poststart";
    let manifest = kube.manifest(&format!("{name}.yaml"), |text| {
        text.replace(
            "echo Hello from the postStart handler > /usr/share/message",
            "echo no luck; exit 3",
        )
    })?;
    let applied = kube.run(&["apply", "-f", &manifest])?;
    assert_ne!(applied.status, 0);
    let message = r#"FailedPostStartHook: exec ["/bin/sh" "-c" "echo no luck; exit 3"]: exited with status 3: no luck"#;
    assert!(applied.stderr.contains(message), "{}", applied.stderr);
    let described = kube.ok(&["describe", "pod", name])?;
    assert!(described.contains("exited with status 3"), "{described}");
    assert_eq!(kube.line(name)?[1], "0/1");
    Ok(())
}
