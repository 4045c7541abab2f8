//! One container of the page.

use std::collections::BTreeMap;

use k8s_cri::v1::ContainerStatus as CriStatus;
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateTerminated, ContainerStatus, EnvVar,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::output::age::rfc1123;
use crate::output::page::Page;

/// Describes `container`; `status` is what the runtime says of it, `guessed` what CRI knows of one whose manifest is not there.
pub(crate) fn describe(
    page: &mut Page,
    container: &Container,
    status: Option<&ContainerStatus>,
    guessed: Option<&CriStatus>,
) {
    page.line(1, format!("{}:", container.name), "");
    let text = |value: Option<&String>| value.cloned().unwrap_or_default();
    page.line(
        2,
        "Container ID:",
        text(status.and_then(|s| s.container_id.as_ref())),
    );
    page.line(2, "Image:", text(container.image.as_ref()));
    page.line(2, "Image ID:", text(status.map(|s| &s.image_id)));
    if guessed.is_none() || container.ports.is_some() {
        ports(page, container);
    }
    for (label, list) in [("Command:", &container.command), ("Args:", &container.args)] {
        if let Some(list) = list {
            page.list(2, label, list.clone());
        }
    }
    if let Some(state) = status.and_then(|s| s.state.as_ref()) {
        self::state(page, state);
    }
    let ready = status.is_some_and(|s| s.ready);
    page.line(2, "Ready:", if ready { "True" } else { "False" });
    page.line(
        2,
        "Restart Count:",
        status.map_or(0, |s| s.restart_count).to_string(),
    );
    if let Some(resources) = &container.resources {
        quantities(page, "Limits:", resources.limits.as_ref());
        quantities(page, "Requests:", resources.requests.as_ref());
    }
    if let Some(cri) = guessed {
        let mounts = cri.mounts.iter().map(|m| {
            let mode = if m.readonly { "ro" } else { "rw" };
            format!("{} from {} ({mode})", m.container_path, m.host_path)
        });
        if mounts.len() > 0 {
            page.list(2, "Mounts:", mounts);
        }
        return;
    }
    environment(page, container.env.as_deref().unwrap_or_default());
    let mounts = container.volume_mounts.iter().flatten().map(|m| {
        let mode = if m.read_only == Some(true) {
            "ro"
        } else {
            "rw"
        };
        format!("{} from {} ({mode})", m.mount_path, m.name)
    });
    page.list(2, "Mounts:", mounts);
}

fn ports(page: &mut Page, container: &Container) {
    let ports = container.ports.as_deref().unwrap_or_default();
    let label = |name: &str| {
        if ports.len() > 1 {
            format!("{name}s:")
        } else {
            format!("{name}:")
        }
    };
    let join = |number: &dyn Fn(&k8s_openapi::api::core::v1::ContainerPort) -> String| {
        let all: Vec<String> = ports.iter().map(number).collect();
        if all.is_empty() {
            "<none>".to_owned()
        } else {
            all.join(", ")
        }
    };
    let protocol = |p: &Option<String>| p.clone().unwrap_or_else(|| "TCP".to_owned());
    page.line(
        2,
        label("Port"),
        join(&|p| {
            let name = p
                .name
                .as_ref()
                .map(|n| format!(" ({n})"))
                .unwrap_or_default();
            format!("{}/{}{name}", p.container_port, protocol(&p.protocol))
        }),
    );
    page.line(
        2,
        label("Host Port"),
        join(&|p| format!("{}/{}", p.host_port.unwrap_or(0), protocol(&p.protocol))),
    );
}

fn state(page: &mut Page, state: &ContainerState) {
    if let Some(running) = &state.running {
        page.line(2, "State:", "Running");
        time(page, "Started:", running.started_at.as_ref());
    } else if let Some(terminated) = &state.terminated {
        page.line(2, "State:", "Terminated");
        self::terminated(page, terminated);
    } else {
        page.line(2, "State:", "Waiting");
        let reason = state.waiting.as_ref().and_then(|w| w.reason.clone());
        page.line(3, "Reason:", reason.unwrap_or_default());
    }
}

fn terminated(page: &mut Page, terminated: &ContainerStateTerminated) {
    page.line(3, "Reason:", terminated.reason.clone().unwrap_or_default());
    if let Some(message) = &terminated.message {
        page.line(3, "Message:", message.trim_end());
    }
    page.line(3, "Exit Code:", terminated.exit_code.to_string());
    time(page, "Started:", terminated.started_at.as_ref());
    time(page, "Finished:", terminated.finished_at.as_ref());
}

fn time(page: &mut Page, label: &str, time: Option<&Time>) {
    if let Some(time) = time {
        page.line(3, label, rfc1123(time.0));
    }
}

fn quantities(page: &mut Page, label: &str, quantities: Option<&BTreeMap<String, Quantity>>) {
    let Some(quantities) = quantities.filter(|q| !q.is_empty()) else {
        return;
    };
    page.line(2, label, "");
    for (name, quantity) in quantities {
        page.line(3, format!("{name}:"), &quantity.0);
    }
}

fn environment(page: &mut Page, variables: &[EnvVar]) {
    page.line(
        2,
        "Environment:",
        if variables.is_empty() { "<none>" } else { "" },
    );
    for variable in variables {
        let field = variable
            .value_from
            .as_ref()
            .and_then(|s| s.field_ref.as_ref());
        let value = match field {
            Some(field) => format!("(v1:{})", field.field_path),
            None => variable.value.clone().unwrap_or_default(),
        };
        page.line(3, format!("{}:", variable.name), value);
    }
}
