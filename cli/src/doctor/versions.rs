//! The versions of everything that has a part in a hook: what is installed, and what runs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use k8s_cri::v1::VersionRequest;
use podhook_hooks::build::Build;
use serde::Serialize;

use super::{PATIENCE, configuration, places, programs, running};
use crate::args::{self, NodeKind};
use crate::cri::Client;
use crate::node::bundles;
use crate::node::shims::{self, ShimReply};
use crate::output::escape;
use crate::output::table::Table;
use crate::setup::root::Root;
use crate::setup::version::{self, Version};

/// Everything that has a version.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Versions {
    /// This program.
    pub podhook: Build,
    /// The shim that the node starts containers with; none where there is none.
    pub shim: Option<Installed>,
    /// The shims that run, by what they were built of.
    pub running_shims: Vec<Running>,
    pub containerd: Vec<Containerd>,
    pub oci_runtime: Option<Installed>,
    /// What does not fit together, and what to do.
    pub skew: Vec<String>,
}

/// A program that is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Installed {
    pub path: PathBuf,
    #[serde(flatten)]
    pub build: Build,
}

/// Shims of one build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Running {
    #[serde(flatten)]
    pub build: Build,
    pub count: usize,
}

/// What runs containers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Containerd {
    /// As --for takes it.
    pub kind: &'static str,
    pub path: Option<PathBuf>,
    /// That of the program.
    pub version: Option<String>,
    /// That of the one that answers on the socket.
    pub running: Option<String>,
    /// Its program, where that is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running_path: Option<PathBuf>,
}

/// Asks everything for its version.
pub async fn all(root: &Root, global: &args::Global, node: &args::NodeRoot) -> Versions {
    let said = node.containerd_version.as_deref().and_then(Version::parse);
    let places = places(root, node);
    let states = super::states(global, &places).await;
    let mut used = None;
    let mut containerd = Vec::new();
    for place in &places {
        let running = match root.is_host() {
            // What answers there is the containerd below docker and nerdctl.
            true if !matches!(place.kind, NodeKind::Docker | NodeKind::Nerdctl) => {
                ask(&place.socket(root, &global.address)).await
            }
            _ => None,
        };
        let program = place.program.as_ref();
        let other = match (&running, program) {
            (Some(_), Some(program)) => {
                let socket = place.socket(root, &global.address);
                other_program(&socket, &program.path).await
            }
            _ => None,
        };
        containerd.push(Containerd {
            kind: place.kind.name(),
            path: program.map(|program| program.path.clone()),
            version: said.or(place.version()).map(|version| version.to_string()),
            running,
            running_path: other,
        });
        if used.is_none() {
            let name = super::runtime(root, None);
            used = configuration::check(root, place, &name, said).0;
        }
    }
    let used = used.unwrap_or_default();
    let path = programs::shim(root, &used);
    let shim = version::says(root, &path, "-v").map(|text| Installed {
        build: Build::parse(&text),
        path: path.clone(),
    });
    let oci = programs::oci_program(root, &used);
    let mut versions = Versions {
        podhook: Build::own(),
        running_shims: if root.is_host() {
            running(states).await
        } else {
            Vec::new()
        },
        shim,
        containerd,
        oci_runtime: oci.map(|program| Installed {
            path: program.path,
            build: Build {
                version: program.version.map(|version| version.to_string()),
                commit: None,
            },
        }),
        skew: Vec::new(),
    };
    versions.skew = skew(&versions);
    versions
}

/// The version that a containerd says it has, if it answers.
async fn ask(socket: &Path) -> Option<String> {
    let ask = async {
        let mut client = Client::connect(socket).await.ok()?;
        let version = VersionRequest::default();
        let answer = client.runtime.version(version).await.ok()?;
        Some(answer.into_inner().runtime_version)
    };
    let answer = tokio::time::timeout(PATIENCE, ask).await.ok().flatten()?;
    Some(answer.trim_start_matches('v').to_owned()).filter(|version| !version.is_empty())
}

/// The program of what listens on a socket, where it is not the one at `path`, nor one that stood there before.
async fn other_program(socket: &Path, path: &Path) -> Option<PathBuf> {
    let pid = running::listener(socket).await?;
    let link = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    other(link, path)
}

fn other(link: PathBuf, path: &Path) -> Option<PathBuf> {
    let text = link.to_str()?;
    let program = PathBuf::from(text.strip_suffix(" (deleted)").unwrap_or(text));
    let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    // With a socket of systemd's it is systemd that listens.
    let is_same_kind = program.file_name() == path.file_name();
    (is_same_kind && program != real && program != path).then_some(program)
}

/// podhook's shims that answer, by what they were built of.
async fn running(states: BTreeSet<PathBuf>) -> Vec<Running> {
    let bundles = states.iter().filter_map(|state| bundles::list(state).ok());
    let addresses = bundles
        .flatten()
        .filter_map(|bundle| shims::address(&bundle));
    let mut builds: BTreeMap<Build, usize> = BTreeMap::new();
    for reply in shims::ask_all(addresses.collect(), PATIENCE)
        .await
        .into_values()
    {
        if let ShimReply::Counters(answer) = reply {
            let count = builds.entry(answer.build).or_default();
            *count = count.saturating_add(1);
        }
    }
    let running = |(build, count)| Running { build, count };
    builds.into_iter().map(running).collect()
}

/// What does not fit together.
fn skew(versions: &Versions) -> Vec<String> {
    let mut skew = Vec::new();
    if let Some(shim) = &versions.shim
        && shim.build.differs(&versions.podhook)
    {
        skew.push(format!(
            "the shim is {}, this podhook is {}: install both from one release (podhook install)",
            shim.build, versions.podhook
        ));
    }
    for running in versions
        .running_shims
        .iter()
        .filter(|running| !versions.is_installed(running))
    {
        let now = match &versions.shim {
            Some(shim) => format!("the shim that is installed is {}", shim.build),
            None => format!("this podhook is {}", versions.podhook),
        };
        skew.push(format!(
            "{} of the shims that run {} {}, {now}: they go on with it, and end with their pods",
            running.count,
            if running.count == 1 { "is" } else { "are" },
            running.build
        ));
    }
    for containerd in &versions.containerd {
        let parse = |text: &Option<String>| text.as_deref().and_then(Version::parse);
        if let (Some(there), Some(running)) =
            (parse(&containerd.version), parse(&containerd.running))
            && there != running
            && containerd.running_path.is_none()
        {
            let restart = match there > running {
                true => "restart it to have the new one",
                false => "a restart brings the older one",
            };
            skew.push(format!(
                "{} is {there}, but {running} runs: {restart}",
                containerd.kind
            ));
        }
    }
    skew
}

impl Versions {
    /// Whether shims are of the build that is installed.
    fn is_installed(&self, running: &Running) -> bool {
        let installed = self.shim.as_ref().map_or(&self.podhook, |shim| &shim.build);
        !running.build.differs(installed)
    }

    /// For people.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = Table::default();
        table.row(["COMPONENT", "VERSION", "COMMIT", "RUNNING", "PROGRAM"]);
        let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "<unknown>".to_owned());
        let none = || String::from("-");
        let commit = |build: &Build| build.commit.clone().unwrap_or_else(none);
        let mut row = |name: &str, build: &Build, running: String, program: String| {
            table.row([
                name,
                &*text(&build.version),
                &*commit(build),
                &*running,
                &*program,
            ]);
        };
        let own =
            std::env::current_exe().map_or_else(|_| none(), |path| path.display().to_string());
        row("podhook", &self.podhook, none(), own);
        if let Some(shim) = &self.shim {
            let running = self.running_shims.iter();
            let same = running.filter(|running| self.is_installed(running));
            let count: usize = same.map(|running| running.count).sum();
            let path = shim.path.display().to_string();
            row("shim", &shim.build, count.to_string(), path);
        }
        for running in &self.running_shims {
            if !self.is_installed(running) {
                row("shim", &running.build, running.count.to_string(), none());
            }
        }
        for containerd in &self.containerd {
            let build = Build {
                version: containerd.version.clone(),
                commit: None,
            };
            let running = containerd.running.clone().unwrap_or_else(none);
            let path = containerd.path.as_ref();
            let other = containerd.running_path.as_ref();
            let running = other.map_or(running.clone(), |other| {
                format!("{running} ({})", other.display())
            });
            let path = path.map_or_else(none, |path| path.display().to_string());
            row(containerd.kind, &build, running, path);
        }
        if let Some(oci) = &self.oci_runtime {
            let name = oci.path.file_name().unwrap_or_default().to_string_lossy();
            row(&name, &oci.build, none(), oci.path.display().to_string());
        }
        let mut text = table.take();
        if self.shim.is_none() {
            text.push_str("\nno shim is installed: podhook install\n");
        }
        if !self.skew.is_empty() {
            text.push_str("\nWhat does not fit together:\n");
        }
        for one in &self.skew {
            text.push_str(&format!("  {}\n", escape::visible(one)));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(version: &str) -> Build {
        Build {
            version: Some(version.to_owned()),
            commit: None,
        }
    }

    #[test]
    fn what_does_not_fit_together_is_said() {
        let mut versions = Versions {
            podhook: build("0.2.0"),
            shim: Some(Installed {
                path: "/usr/bin/containerd-shim-podhook-v1".into(),
                build: build("0.2.0"),
            }),
            running_shims: vec![Running {
                build: build("0.2.0"),
                count: 3,
            }],
            containerd: vec![Containerd {
                kind: "containerd",
                path: Some("/usr/bin/containerd".into()),
                version: Some("2.1.9".to_owned()),
                running: Some("2.1.9~ds1".to_owned()),
                running_path: None,
            }],
            oci_runtime: None,
            skew: Vec::new(),
        };
        assert!(skew(&versions).is_empty());
        versions.running_shims.push(Running {
            build: Build::default(),
            count: 1,
        });
        versions.containerd[0].running = Some("1.7.24".to_owned());
        versions.podhook = build("0.3.0");
        versions.skew = skew(&versions);
        let text = versions.table();
        for line in [
            "  the shim is 0.2.0, this podhook is 0.3.0: install both from one release (podhook install)\n",
            "  1 of the shims that run is of an unknown version, the shim that is installed is 0.2.0: they go on with it, and end with their pods\n",
            "  containerd is 2.1.9, but 1.7.24 runs: restart it to have the new one\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
        // An older program on the disk is no new one, and another containerd's program is not this one's.
        versions.containerd[0].running = Some("2.4.2".to_owned());
        let said = skew(&versions).join("\n");
        assert!(
            said.contains("2.4.2 runs: a restart brings the older one"),
            "{said}"
        );
        versions.containerd[0].running_path = Some("/opt/bin/containerd".into());
        let said = skew(&versions).join("\n");
        assert!(!said.contains("containerd is"), "{said}");
        // Without a shim that is installed this podhook says what is right.
        versions.shim = None;
        versions.running_shims = vec![Running {
            build: build("0.3.0"),
            count: 10,
        }];
        assert_eq!(skew(&versions), [""; 0]);
        versions.running_shims[0].build.commit = Some("abc".to_owned());
        versions.podhook.commit = Some("def".to_owned());
        let said = skew(&versions);
        assert!(
            said[0].contains("are 0.3.0 (abc), this podhook is 0.3.0 (def)"),
            "{said:?}"
        );
    }

    #[test]
    fn a_containerd_of_another_path_is_another_and_a_replaced_one_is_not() {
        let path = Path::new("/nowhere/bin/containerd");
        assert_eq!(other(path.into(), path), None);
        assert_eq!(
            other("/nowhere/bin/containerd (deleted)".into(), path),
            None
        );
        assert_eq!(other("/usr/lib/systemd/systemd".into(), path), None);
        let another = PathBuf::from("/opt/x/containerd");
        assert_eq!(other(another.clone(), path), Some(another));
    }
}
