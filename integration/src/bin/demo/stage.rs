//! What the scenes play on: the containerd, the command line, what is shown and what is proved.

use std::sync::Arc;
use std::time::{Duration, Instant};

use podhook_integration::podhook::Podhook;
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Containerd, Image, Outcome};

use crate::observer::Observer;
use crate::timeline::Timeline;

/// Any error, with its message for the user.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug)]
pub struct Stage {
    pub containerd: Arc<Containerd>,
    podhook: Podhook,
    proofs: Vec<String>,
    timelines: Vec<Timeline>,
}

impl Stage {
    /// A containerd that knows the image nginx.
    pub fn new(containerd: Arc<Containerd>) -> Result<Self, Error> {
        containerd.import("k8s.io", Image::Nginx)?;
        let cri = containerd.cri()?;
        wait::until_true("CRI to know the image", SOON, || {
            cri.has_image(Image::Nginx.reference()).unwrap_or(false)
        })?;
        let podhook = Podhook::new(&containerd);
        Ok(Self {
            containerd,
            podhook,
            proofs: Vec::new(),
            timelines: Vec::new(),
        })
    }

    /// The headline of a scene.
    pub fn scene(&self, title: &str) {
        println!("\n{title}\n{}", "-".repeat(title.chars().count()));
    }

    /// A line of the narrator's.
    pub fn say(&self, text: &str) {
        println!("# {text}");
    }

    /// Shows a command and its output as the user's terminal would; it must succeed.
    pub fn podhook(&self, args: &[&str]) -> Result<String, Error> {
        self.podhook_with_input(args, "")
    }

    /// The same with something on standard input.
    pub fn podhook_with_input(&self, args: &[&str], input: &str) -> Result<String, Error> {
        println!("$ podhook {}", args.join(" "));
        let start = Instant::now();
        let output = self.podhook.run_with_input(args, input)?;
        print!("{output}");
        if start.elapsed() > Duration::from_secs(1) {
            self.say(&format!("({:.1} s)", start.elapsed().as_secs_f64()));
        }
        Ok(output)
    }

    /// The command line behind [`Self::podhook`], for a thread of its own.
    pub fn command(&self) -> Podhook {
        self.podhook.clone()
    }

    /// One value of the pod's status.
    pub fn pod_ip(&self, pod: &str) -> Result<String, Error> {
        let json: serde_json::Value =
            serde_json::from_str(&self.podhook.run(&["get", "pod", pod, "-o", "json"])?)?;
        let ip = json["status"]["podIP"]
            .as_str()
            .ok_or(format!("{pod} has no address"))?;
        Ok(ip.to_owned())
    }

    /// Follows a pod from before it is applied.
    pub fn observe(&self, pod: &str) -> Result<Observer, Error> {
        Observer::start(Arc::clone(&self.containerd), pod)
    }

    /// A fact that must hold; it is told at the end.
    pub fn prove(&mut self, fact: &str, holds: bool) -> Outcome {
        if !holds {
            return Err(format!("this should hold and does not: {fact}").into());
        }
        println!("  ok: {fact}");
        self.proofs.push(fact.to_owned());
        Ok(())
    }

    /// A container's timeline, for the end.
    pub fn keep(&mut self, timeline: Timeline) {
        self.timelines.push(timeline);
    }

    /// Prints the timelines and what was proved, and checks that no container left anything behind.
    pub fn finish(mut self) -> Outcome {
        self.scene("Timelines (milliseconds from the pod's first event)");
        for timeline in &self.timelines {
            print!("{timeline}");
        }
        self.scene("Proved");
        let containerd = Arc::clone(&self.containerd);
        containerd.close()?;
        self.proofs.push(
            "no shim, process, mount, cgroup, socket or state of any container is left".to_owned(),
        );
        for (n, proof) in self.proofs.iter().enumerate() {
            println!("{:3}. {proof}", n + 1);
        }
        println!();
        Ok(())
    }
}
