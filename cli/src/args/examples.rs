//! What the help of each command shows: as it is typed, from the usual to the rare.

pub(super) const APPLY: &str = "\
Examples:
  # Run a pod, and wait until its postStart hook has ended
  podhook apply -f pod.yaml

  # All manifests of a directory, without waiting
  podhook apply -f pods/ --wait=false

  # From another program
  kustomize build . | podhook apply -f -";

pub(super) const GET: &str = "\
Examples:
  # The pods of all namespaces
  podhook get pods -A

  # One pod as it is
  podhook get pod web -o yaml

  # What changes, until Ctrl-C
  podhook get pods -l app=web -w";

pub(super) const DESCRIBE: &str = "\
Examples:
  # A pod with the results of its hooks
  podhook describe pod web

  # All pods with a label
  podhook describe pods -l app=web";

pub(super) const EXEC: &str = "\
Examples:
  # A command in the pod's first container
  podhook exec web -- cat /usr/share/message

  # A shell in one of several
  podhook exec -it web -c nginx -- sh";

pub(super) const LOGS: &str = "\
Examples:
  # The last lines, and what comes
  podhook logs -f --tail=20 web

  # One container of several, with times
  podhook logs web -c nginx --timestamps";

pub(super) const DELETE: &str = "\
Examples:
  # The preStop hooks first, then the signal
  podhook delete pod web

  # What a manifest describes
  podhook delete -f pod.yaml

  # At once, without hooks
  podhook delete pod web --force";

pub(super) const PS: &str = "\
Examples:
  # The hooks of all containers
  podhook ps

  # Those of one namespace of Kubernetes, or of docker's containers
  podhook ps -n shop
  podhook ps -n moby

  # What changes, until Ctrl-C
  podhook ps -w

  # Hooks that failed
  podhook ps -o json | jq '.items[] | select(.hooks[].result == \"Failed\")'";

pub(super) const INSPECT: &str = "\
Examples:
  # By the pod's name, with the container's where it has several
  podhook inspect web
  podhook inspect shop/web/nginx

  # By the beginning of the container's ID
  podhook inspect 4f1a";

pub(super) const METRICS: &str = "\
Examples:
  # Once, to stdout
  podhook metrics

  # For node_exporter's textfile collector, from a timer
  podhook metrics -o /var/lib/prometheus/node-exporter/podhook.prom

  # For Prometheus itself
  podhook metrics -l 127.0.0.1:9764";

pub(super) const CHECK: &str = "\
Exit status: 0 where nothing is wrong, warnings included; 1 for an error, with --strict for a
warning too; 2 for a command line that is wrong.

Examples:
  # The manifests of a directory
  podhook check -f deploy/

  # What a chart makes, in CI
  helm template shop ./chart | podhook check --strict -f -

  # The value of one annotation
  echo '{\"preStop\": {\"sleep\": {\"seconds\": 5}}}' | podhook check -";

pub(super) const CONVERT: &str = "\
Examples:
  # What would change
  podhook convert -f web.yaml | diff web.yaml -

  # All manifests of a directory, as files
  podhook convert -f deploy/ --in-place

  # What a chart makes
  helm template shop ./chart | podhook convert -f - | kubectl apply -f -

  # Back to the kubelet's hooks
  podhook convert --back -f web.yaml --in-place";

pub(super) const INSTALL: &str = "\
Examples:
  # What would change, as a diff
  podhook install --dry-run

  # Install, and restart containerd; containers go on
  podhook install --restart

  # podhook is the runtime of pods that name none
  podhook install --default

  # A second runtime, whose pods have no pause container
  podhook install --pauseless --restart

  # Some of what the node has
  podhook install --for k3s --for docker

  # A node whose root folder is mounted there
  podhook install --root /mnt/node";

pub(super) const UNINSTALL: &str = "\
Examples:
  # What would change, as a diff
  podhook uninstall --dry-run

  # Everything as before, and containerd restarted
  podhook uninstall --restart

  # Files that others have changed since are left alone
  podhook uninstall --changed keep";

pub(super) const DOCTOR: &str = "\
Exit status: 0 where podhook works, warnings included; 1 where a check fails.

Examples:
  # What is wrong, and what mends it
  podhook doctor

  # For a program
  podhook doctor -o json | jq '.checks[] | select(.status != \"ok\")'";

pub(super) const VERSION: &str = "\
Examples:
  # What is installed, what runs, and whether it fits together
  podhook version

  # For a program
  podhook version -o json | jq .skew";

pub(super) const BUG_REPORT: &str = "\
Examples:
  # A file in this folder
  podhook bug-report

  # Another file
  podhook bug-report -o /tmp/report.tar.gz

  # From another machine
  ssh node1 podhook bug-report -o - > node1.tar.gz";

pub(super) const COMPLETION: &str = "\
Examples:
  # This shell
  source <(podhook completion bash)

  # Every bash; packages have it
  podhook completion bash > /usr/share/bash-completion/completions/podhook

  # Every fish
  podhook completion fish > ~/.config/fish/completions/podhook.fish";

pub(super) const HISTORY: &str = "\
Examples:
  # What went wrong since yesterday
  podhook history --failed --since 24h

  # A pod that is gone
  podhook history web-0 -n shop -o wide

  # Everything from now on, for another program
  podhook history --since 0 --watch -o json";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use crate::args::Cli;

    /// The part of a line that is podhook's: what it is piped into, or comes from, is another program's.
    fn words(line: &str) -> Option<Vec<&str>> {
        let mut parts = line
            .split(" | ")
            .map(|part| part.trim_start_matches("source <(").trim_end_matches(')'));
        let part = parts.find_map(|part| part.find("podhook ").map(|at| &part[at..]))?;
        let part = part.split(" > ").next()?;
        Some(part.split_whitespace().collect())
    }

    #[test]
    fn every_command_has_examples_and_all_of_them_are_right() {
        let cli = Cli::command();
        for command in cli
            .get_subcommands()
            .filter(|command| !command.is_hide_set())
        {
            let name = command.get_name();
            let help = command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            let (_, examples) = help
                .split_once("Examples:\n")
                .unwrap_or_else(|| panic!("{name} has no examples"));
            // What brings it into a cluster is kubectl's.
            let lines = examples.lines().filter(|line| {
                !line.trim().is_empty()
                    && !line.starts_with("  #")
                    && !line.starts_with("  kubectl apply ")
            });
            for line in lines {
                let words = words(line).unwrap_or_else(|| panic!("{name}: {line}"));
                let parsed = Cli::command().try_get_matches_from(&words);
                let matches = parsed.unwrap_or_else(|e| panic!("{name}: {line}: {e}"));
                assert_eq!(matches.subcommand_name(), Some(name), "{line}");
            }
        }
    }
}
