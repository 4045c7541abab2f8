//! `podhook webhook`, and what else runs in a cluster.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `podhook webhook`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Webhook {
    #[command(subcommand)]
    pub command: Option<WebhookCommand>,
    /// The server.
    #[command(flatten)]
    pub serve: Option<ServeWebhook>,
}

/// What belongs to the server.
#[derive(Debug, Subcommand)]
pub enum WebhookCommand {
    /// Keep a certificate for the webhook in a Secret, and its authority in the webhook's configurations.
    ///
    /// Makes a certificate where there is none, or one that ends within 30 days, and tells the API server whom to trust.
    /// Runs beside the server, with its pod's account. Needs no cert-manager.
    Certificate(Certificate),
}

/// The server.
#[derive(Debug, Args)]
pub struct ServeWebhook {
    /// The certificate, with what it takes to its authority (PEM). Read again when it changes.
    #[arg(long, value_name = "FILE")]
    pub tls_cert: PathBuf,
    /// Its key (PEM).
    #[arg(long, value_name = "FILE")]
    pub tls_key: PathBuf,
    /// Where the API server asks: /mutate and /validate.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:8443")]
    pub listen: String,
    /// Plain HTTP for /healthz, /readyz and /metrics [default: none].
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub health_listen: Option<String>,
    /// A RuntimeClass whose pods are podhook's; may be given more than once. '' is that of pods without one.
    #[arg(long, value_name = "NAME", default_value = "podhook")]
    pub runtime_class: Vec<String>,
    /// The nodes' configuration, as /etc/podhook/config.toml: what it does not allow is refused.
    #[arg(long, value_name = "CONFIG")]
    pub config: Option<PathBuf>,
}

/// `podhook webhook certificate`.
#[derive(Debug, Args)]
pub struct Certificate {
    /// The webhook's Service: whom the certificate is for.
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = namespaced)]
    pub service: Namespaced,
    /// The Secret that has it.
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = namespaced)]
    pub secret: Namespaced,
    /// The name of the MutatingWebhookConfiguration and the ValidatingWebhookConfiguration that are told the authority.
    #[arg(long, value_name = "NAME")]
    pub configuration: String,
    /// Also write tls.crt and tls.key into this folder, for a server in the same pod.
    #[arg(long, value_name = "DIR")]
    pub directory: Option<PathBuf>,
    /// Look again every so many seconds, until SIGTERM [default: once].
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub every: Option<u64>,
}

/// `podhook node-label`.
#[derive(Debug, Args)]
pub struct NodeLabel {
    /// The node.
    pub node: String,
    /// The label.
    #[arg(long, value_name = "KEY", default_value = "podhook.dev/ready")]
    pub label: String,
    /// Take it away instead.
    #[arg(long)]
    pub remove: bool,
    /// Then wait for SIGTERM, which changes nothing.
    #[arg(long)]
    pub stay: bool,
}

/// An object's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespaced {
    pub namespace: String,
    pub name: String,
}

fn namespaced(text: &str) -> Result<Namespaced, String> {
    let is_name = |name: &str| {
        let plain =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
        !name.is_empty() && name.len() <= 253 && name.chars().all(plain)
    };
    match text.split_once('/') {
        Some((namespace, name)) if is_name(namespace) && is_name(name) => Ok(Namespaced {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }),
        _ => Err("want NAMESPACE/NAME".to_owned()),
    }
}

pub(super) const EXAMPLES: &str = "\
Examples:
  # In a cluster: deploy/ has the manifests
  kubectl apply -k deploy/kustomize/base

  # By hand, with a certificate of your own
  podhook webhook --tls-cert tls.crt --tls-key tls.key --health-listen 127.0.0.1:8081";

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    fn webhook(words: &[&str]) -> Result<Webhook, clap::Error> {
        let cli = Cli::try_parse_from([&["podhook", "webhook"], words].concat())?;
        match cli.command {
            Command::Webhook(webhook) => Ok(webhook),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn it_is_a_server_or_keeps_a_certificate() {
        let served = webhook(&["--tls-cert", "a", "--tls-key", "b"]).unwrap();
        assert!(served.command.is_none());
        let serve = served.serve.unwrap();
        assert_eq!(
            (serve.listen.as_str(), serve.runtime_class),
            ("0.0.0.0:8443", vec!["podhook".to_owned()])
        );
        let words = [
            "certificate",
            "--service",
            "a/b",
            "--secret",
            "a/c",
            "--configuration",
            "d",
        ];
        let kept = webhook(&words).unwrap();
        let Some(WebhookCommand::Certificate(certificate)) = kept.command else {
            panic!("no command");
        };
        let service = Namespaced {
            namespace: "a".to_owned(),
            name: "b".to_owned(),
        };
        assert_eq!((certificate.service, certificate.every), (service, None));
        for wrong in [
            &["--tls-cert", "a"][..],
            &["certificate", "--service", "a"],
            &["--tls-key", "b"],
        ] {
            assert!(webhook(wrong).is_err(), "{wrong:?}");
        }
    }
}
