//! Our reading of a lifecycle beside that of Kubernetes: its types (k8s-openapi) and its validation.
//!
//! What Kubernetes accepts, we accept with the same meaning, but for what is listed in [`stricter`]; of what has nothing of
//! our own fields, we accept no more than Kubernetes, but for what is listed in [`laxer`].
#![no_main]

use k8s_openapi::api::core::v1::{
    HTTPGetAction, Lifecycle as Theirs, LifecycleHandler, TCPSocketAction,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use libfuzzer_sys::fuzz_target;
use podhook_hooks::lifecycle::{Handler, Hook, Lifecycle, Ports, Scheme};
use serde_json::Value;

fuzz_target!(|text: &str| {
    let Ok(value) = serde_json::from_str::<Value>(text) else {
        return;
    };
    // `null` and absence are one to Kubernetes' API machinery, not to its types here.
    if has_null(&value) || !only_theirs(&value) {
        return;
    }
    let ports = [("http".to_owned(), 80), ("metrics".to_owned(), 9090)];
    let ours = Lifecycle::from_value(&value, &Ports::Listed(&ports));
    let theirs = serde_json::from_value::<Theirs>(value.clone())
        .ok()
        .filter(|theirs| hooks(theirs).all(|hook| valid(hook).is_some()))
        .filter(|theirs| theirs.stop_signal.as_deref().is_none_or(is_signal));
    match (&ours, &theirs) {
        (Ok(ours), Some(theirs)) => {
            same(ours.post_start.as_ref(), theirs.post_start.as_ref());
            same(ours.pre_stop.as_ref(), theirs.pre_stop.as_ref());
            let signal = ours.stop_signal.map(|signal| signal.to_string());
            assert!(signal.is_some() == theirs.stop_signal.is_some());
        }
        (Err(_), None) => {}
        (Err(error), Some(theirs)) => {
            let reason = hooks(theirs).any(stricter) || sleeps_for_no_time_given(&value);
            assert!(reason, "refused, {error}: {value}");
        }
        (Ok(_), None) => assert!(laxer(&value), "accepted: {value}"),
    }
});

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.iter().any(has_null),
        Value::Object(fields) => fields.values().any(has_null),
        _ => false,
    }
}

/// Whether it has no field that Kubernetes does not have: its server refuses those, its types pass them over.
fn only_theirs(value: &Value) -> bool {
    let only = |value: &Value, known: &[&str]| {
        let fields = value.as_object();
        fields.is_none_or(|fields| fields.keys().all(|key| known.contains(&key.as_str())))
    };
    let hook = |hook: &Value| {
        let headers = hook["httpGet"]["httpHeaders"].as_array();
        only(hook, &["exec", "httpGet", "tcpSocket", "sleep"])
            && only(&hook["exec"], &["command"])
            && only(
                &hook["httpGet"],
                &["path", "port", "host", "scheme", "httpHeaders"],
            )
            && headers.is_none_or(|all| all.iter().all(|one| only(one, &["name", "value"])))
            && only(&hook["tcpSocket"], &["port", "host"])
            && only(&hook["sleep"], &["seconds"])
    };
    only(value, &["postStart", "preStop", "stopSignal"])
        && hook(&value["postStart"])
        && hook(&value["preStop"])
}

fn hooks(lifecycle: &Theirs) -> impl Iterator<Item = &LifecycleHandler> {
    [&lifecycle.post_start, &lifecycle.pre_stop]
        .into_iter()
        .flatten()
}

/// validateLifecycleHandler of Kubernetes 1.37, after its defaults.
fn valid(hook: &LifecycleHandler) -> Option<()> {
    let kinds = [
        hook.exec.is_some(),
        hook.http_get.is_some(),
        hook.tcp_socket.is_some(),
        hook.sleep.is_some(),
    ];
    let one = kinds.iter().filter(|given| **given).count() == 1;
    let exec = |exec: &k8s_openapi::api::core::v1::ExecAction| {
        exec.command.as_ref().is_some_and(|words| !words.is_empty())
    };
    let http = |http: &HTTPGetAction| {
        let scheme = http.scheme.as_deref();
        let headers = http.http_headers.iter().flatten();
        is_port(&http.port)
            && matches!(scheme, None | Some("" | "HTTP" | "HTTPS"))
            && headers.into_iter().all(|header| {
                let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
                !header.name.is_empty() && header.name.bytes().all(letter)
            })
    };
    let tcp = |tcp: &TCPSocketAction| is_port(&tcp.port);
    let fine = one
        && hook.exec.as_ref().is_none_or(exec)
        && hook.http_get.as_ref().is_none_or(http)
        && hook.tcp_socket.as_ref().is_none_or(tcp)
        && hook.sleep.as_ref().is_none_or(|sleep| sleep.seconds >= 0);
    fine.then_some(())
}

fn is_port(port: &IntOrString) -> bool {
    match port {
        IntOrString::Int(number) => (1..=65535).contains(number),
        // IsValidPortName.
        IntOrString::String(name) => {
            let letters =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            (1..=15).contains(&name.len())
                && name.bytes().all(letters)
                && name.bytes().any(|byte| byte.is_ascii_lowercase())
                && !name.contains("--")
                && !name.starts_with('-')
                && !name.ends_with('-')
        }
    }
}

fn is_signal(name: &str) -> bool {
    name.starts_with("SIG") && podhook_hooks::signal::parse(name).is_some()
}

/// What we refuse and Kubernetes does not, since it could never work: docs/hooks.md.
fn stricter(hook: &LifecycleHandler) -> bool {
    let exec = hook
        .exec
        .iter()
        .flat_map(|exec| exec.command.iter().flatten());
    let mut exec = exec.enumerate();
    let http = hook.http_get.as_ref();
    let tcp = hook.tcp_socket.as_ref();
    let hosts = [
        http.and_then(|http| http.host.as_deref()),
        tcp.and_then(|tcp| tcp.host.as_deref()),
    ];
    let ports = [http.map(|http| &http.port), tcp.map(|tcp| &tcp.port)];
    exec.any(|(at, word)| word.contains('\0') || (at == 0 && word.is_empty()) || word.len() >= 128 << 10)
        // No host of the differential corpus is one that works, but for these.
        || hosts.into_iter().flatten().any(|host| !matches!(host, "" | "localhost" | "10.0.0.5" | "example.org"))
        // A name that is no port of the container.
        || ports.into_iter().flatten().any(|port| matches!(port, IntOrString::String(name) if !matches!(name.as_str(), "http" | "metrics")))
        || http.is_some_and(|http| {
            http.path.as_deref().is_some_and(|path| path.chars().any(char::is_control))
                || http.scheme.as_deref() == Some("")
                || http.http_headers.iter().flatten().any(|header| header.value.contains(['\r', '\n', '\0']))
        })
        || hook.sleep.as_ref().is_some_and(|sleep| sleep.seconds > i64::from(i32::MAX))
}

/// A sleep without `seconds`: its API says that they are required, its server takes none for 0.
fn sleeps_for_no_time_given(value: &Value) -> bool {
    ["postStart", "preStop"].into_iter().any(|hook| {
        let sleep = value[hook]["sleep"].as_object();
        sleep.is_some_and(|sleep| !sleep.contains_key("seconds"))
    })
}

/// What we accept and Kubernetes does not.
fn laxer(value: &Value) -> bool {
    let headers = |hook: &Value| {
        hook["httpGet"]["httpHeaders"]
            .as_array()
            .is_some_and(|all| {
                // Every token of HTTP is a header's name.
                all.iter().any(|header| {
                    header["name"].as_str().is_some_and(|name| {
                        name.bytes()
                            .any(|byte| !byte.is_ascii_alphanumeric() && byte != b'-')
                    })
                })
            })
    };
    // A signal without SIG.
    let signal = value["stopSignal"]
        .as_str()
        .is_some_and(|name| !name.starts_with("SIG"));
    signal || headers(&value["postStart"]) || headers(&value["preStop"])
}

fn same(ours: Option<&Hook>, theirs: Option<&LifecycleHandler>) {
    let (Some(ours), Some(theirs)) = (ours, theirs) else {
        assert!(ours.is_none() && theirs.is_none());
        return;
    };
    let number = |port: &IntOrString| match port {
        IntOrString::Int(number) => u16::try_from(*number).ok(),
        IntOrString::String(name) => match name.as_str() {
            "http" => Some(80),
            "metrics" => Some(9090),
            _ => None,
        },
    };
    let written = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    match &ours.handler {
        Handler::Exec { command } => {
            let theirs = theirs.exec.as_ref().and_then(|exec| exec.command.as_ref());
            assert_eq!(Some(command), theirs);
        }
        Handler::HttpGet {
            path,
            port,
            host,
            scheme,
            headers,
        } => {
            let theirs = theirs.http_get.as_ref().expect("httpGet");
            let wanted = written(&theirs.path).unwrap_or_else(|| "/".to_owned());
            assert!(
                *path == wanted || *path == format!("/{wanted}"),
                "{path:?} {wanted:?}"
            );
            assert_eq!(Some(*port), number(&theirs.port));
            assert_eq!(*host, written(&theirs.host));
            let https = theirs.scheme.as_deref() == Some("HTTPS");
            assert_eq!(*scheme == Scheme::Https, https);
            let theirs = theirs.http_headers.iter().flatten();
            assert!(theirs.eq_by_name(headers));
        }
        Handler::TcpSocket { host, port } => {
            let theirs = theirs.tcp_socket.as_ref().expect("tcpSocket");
            assert_eq!(
                (Some(*port), host.clone()),
                (number(&theirs.port), written(&theirs.host))
            );
        }
        Handler::Sleep { seconds } => {
            let theirs = theirs.sleep.as_ref().map(|sleep| sleep.seconds);
            assert_eq!(Some(i64::from(*seconds)), theirs);
        }
    }
}

trait EqByName {
    fn eq_by_name(self, ours: &[podhook_hooks::lifecycle::Header]) -> bool;
}

impl<'a, I: Iterator<Item = &'a k8s_openapi::api::core::v1::HTTPHeader>> EqByName for I {
    fn eq_by_name(self, ours: &[podhook_hooks::lifecycle::Header]) -> bool {
        let theirs: Vec<_> = self.map(|header| (&header.name, &header.value)).collect();
        let ours: Vec<_> = ours
            .iter()
            .map(|header| (&header.name, &header.value))
            .collect();
        theirs == ours
    }
}
