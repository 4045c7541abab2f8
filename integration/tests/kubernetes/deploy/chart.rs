//! The chart and the kustomize base are the same objects: what the cluster's tests show of the one holds for the other.

use podhook_integration::Outcome;
use podhook_integration::command::{self, Output};
use podhook_integration::generation::{repository, upstream};
use podhook_integration::kubernetes::{LONG, Namespace};
use serde_json::Value;

use super::stage::{NAMESPACE, objects};
use crate::steps::{Error, trace};

pub fn the_chart_has_what_the_kustomize_base_has(kube: &Namespace<'_>) -> Outcome {
    let linted = helm_chart(kube, &["lint", "--strict"], &[])?.success()?;
    assert!(linted.stdout.contains("0 chart(s) failed"), "{linted:?}");
    for (folder, value) in [
        ("base", "installer.mode=install"),
        ("uninstall", "installer.mode=uninstall"),
        ("pauseless", "pauseless.enabled=true"),
        ("all", "agent.enabled=true"),
    ] {
        let of_chart = rendered(kube, &["--set", "namespace.create=true", "--set", value])?;
        let folder = repository().join("deploy/kustomize").join(folder);
        let of_base = objects(kube, &["-k", &folder.to_string_lossy()])?;
        let names = |objects: &[Value]| objects.iter().map(name).collect::<Vec<_>>();
        assert_eq!(names(&of_chart), names(&of_base));
        for (chart, base) in of_chart.iter().zip(&of_base) {
            assert_eq!(chart, base, "{}", name(chart));
        }
    }
    Ok(())
}

pub fn the_chart_does_what_its_values_say(kube: &Namespace<'_>) -> Outcome {
    for wrong in [
        "installer.mode=remove",
        "webhook.replica=1",
        "webhook.replicas=0",
    ] {
        let said = helm_chart(kube, &["template", "podhook"], &["--set", wrong])?;
        let key = wrong.split(['.', '=']).nth(1).unwrap_or_default();
        assert!(said.status != 0 && said.stderr.contains(key), "{said:?}");
    }
    let kinds = |values: &[&str]| -> Result<Vec<String>, Error> {
        let mut words = Vec::new();
        for value in values {
            words.extend(["--set", *value]);
        }
        Ok(rendered(kube, &words)?.iter().map(name).collect())
    };
    let off = [
        "installer.enabled=false",
        "webhook.enabled=false",
        "policy.enabled=false",
    ];
    assert_eq!(kinds(&off)?, ["RuntimeClass podhook"]);
    let classes = [
        "--set",
        "runtimeClass.name=hooked",
        "--set",
        "webhook.runtimeClasses={other}",
        "--set",
        "pauseless.enabled=true",
    ];
    let text = Value::from(rendered(kube, &classes)?).to_string();
    for part in [
        "\"handler\":\"hooked\"",
        "\"handler\":\"hooked-pauseless\"",
        "\"--runtime=hooked\",\"--pauseless\"",
        "\"--runtime-class=hooked\",\"--runtime-class=hooked-pauseless\",\"--runtime-class=other\"",
        "runtimeClassName in ['hooked', 'hooked-pauseless', 'other']",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    Ok(())
}

/// What the chart makes with these values.
pub fn rendered(kube: &Namespace<'_>, values: &[&str]) -> Result<Vec<Value>, Error> {
    let version = format!("--kube-version={}.0", kube.cluster().version());
    let text = helm_chart(kube, &["template", "podhook", &version], values)?
        .success()?
        .stdout;
    let file = trace(kube)?.dir().join("chart.yaml");
    std::fs::write(&file, text)?;
    objects(kube, &["-f", &file.to_string_lossy()])
}

/// A name to sort by, and to tell.
fn name(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    format!(
        "{} {}",
        text(&object["kind"]),
        text(&object["metadata"]["name"])
    )
}

/// helm with these words, and the chart with these values.
pub fn helm_chart(kube: &Namespace<'_>, words: &[&str], values: &[&str]) -> Result<Output, Error> {
    let chart = repository().join("deploy/charts/podhook");
    let chart = chart.to_string_lossy();
    helm(kube, &[words, &[&chart], values].concat())
}

pub fn helm(kube: &Namespace<'_>, words: &[&str]) -> Result<Output, Error> {
    let mut command = std::process::Command::new(upstream("helm", "helm")?);
    command
        .args(words)
        .args(["--namespace", NAMESPACE])
        .env("KUBECONFIG", kube.cluster().kubectl().kubeconfig());
    Ok(command::run(&mut command, None, LONG)?)
}
