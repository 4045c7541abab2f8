//! What a lifecycle may say, and where it comes from.

use std::collections::BTreeMap;
use std::time::Duration;

use podhook_hooks::lifecycle::{
    Handler, Header, Lifecycle, LifecycleError, OnFailure, Output, Policy, Ports, Scheme,
};
use podhook_hooks::signal::Signal;

const OWN: &str = "podhook.dev/lifecycle";
const POD: &str = "lifecycle.podhook.dev/web";
const NAME: (&str, &str) = ("io.kubernetes.cri.container-name", "web");

fn read(
    pairs: &[(&str, &str)],
    default: Option<&Lifecycle>,
) -> Result<Option<Lifecycle>, LifecycleError> {
    let annotations: BTreeMap<_, _> = pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    Lifecycle::from_annotations(&annotations, default, &Policy::default())
}

fn own(value: &str) -> Lifecycle {
    read(&[(OWN, value)], None).unwrap().unwrap()
}

fn pre_stop(value: &str) -> Handler {
    own(&format!(r#"{{"preStop": {value}}}"#))
        .pre_stop
        .unwrap()
        .handler
}

fn sleeping(seconds: u32) -> Handler {
    Handler::Sleep { seconds }
}

#[test]
fn the_example_of_the_contract() {
    let value = r#"{
      "postStart": {"exec": {"command": ["/bin/sh", "-c", "echo hello > /usr/share/message"]},
                    "timeoutSeconds": 30, "onFailure": "Kill"},
      "preStop":   {"httpGet": {"path": "/drain", "port": "http", "scheme": "HTTP",
                                "httpHeaders": [{"name": "X-Reason", "value": "stop"}]},
                    "timeoutSeconds": 20},
      "stopSignal": "SIGQUIT",
      "terminationGracePeriodSeconds": 60,
      "output": "container"
    }"#;
    let ports = r#"[{"name":"http","containerPort":8080,"protocol":"TCP"}]"#;
    let lifecycle = read(
        &[(OWN, value), ("io.kubernetes.container.ports", ports)],
        None,
    )
    .unwrap()
    .unwrap();
    let post_start = lifecycle.post_start.unwrap();
    let command = ["/bin/sh", "-c", "echo hello > /usr/share/message"]
        .map(str::to_owned)
        .to_vec();
    assert_eq!(post_start.handler, Handler::Exec { command });
    assert_eq!(post_start.timeout, Some(Duration::from_secs(30)));
    assert_eq!(post_start.on_failure, OnFailure::Kill);
    let pre_stop = lifecycle.pre_stop.unwrap();
    let get = Handler::HttpGet {
        path: "/drain".to_owned(),
        port: 8080,
        host: None,
        scheme: Scheme::Http,
        headers: vec![Header {
            name: "X-Reason".to_owned(),
            value: "stop".to_owned(),
        }],
    };
    assert_eq!(
        (pre_stop.handler, pre_stop.timeout),
        (get, Some(Duration::from_secs(20)))
    );
    assert_eq!(lifecycle.stop_signal, Signal::from_name("SIGQUIT"));
    assert_eq!(
        lifecycle.termination_grace_period,
        Some(Duration::from_secs(60))
    );
    assert_eq!(lifecycle.output, Some(Output::Container));
}

#[test]
fn kubernetes_defaults_apply() {
    let expected = |path: &str| Handler::HttpGet {
        path: path.to_owned(),
        port: 80,
        host: None,
        scheme: Scheme::Http,
        headers: Vec::new(),
    };
    assert_eq!(pre_stop(r#"{"httpGet": {"port": 80}}"#), expected("/"));
    let nulls = r#"{"httpGet": {"port": 80, "path": null, "host": null, "scheme": null, "httpHeaders": null}}"#;
    assert_eq!(pre_stop(nulls), expected("/"));
    assert_eq!(
        pre_stop(r#"{"httpGet": {"port": 80, "path": "", "host": ""}}"#),
        expected("/")
    );
    assert_eq!(
        pre_stop(r#"{"httpGet": {"port": 80, "path": "drain?a=b"}}"#),
        expected("/drain?a=b")
    );
}

#[test]
fn the_edges_that_kubernetes_allows() {
    assert_eq!(pre_stop(r#"{"sleep": {"seconds": 0}}"#), sleeping(0));
    assert_eq!(
        pre_stop(r#"{"tcpSocket": {"port": 65535, "host": "fe80::1%eth0"}}"#),
        Handler::TcpSocket {
            host: Some("fe80::1%eth0".to_owned()),
            port: 65535,
        }
    );
    assert_eq!(
        pre_stop(r#"{"exec": {"command": ["a", "", "\ud83d\ude00\n"]}}"#),
        Handler::Exec {
            command: vec!["a".to_owned(), String::new(), "😀\n".to_owned()],
        }
    );
    let headers = r#"{"httpGet": {"port": 1, "httpHeaders": [{"name": "X-!#$%&'*+-.^_`|~1"}, {"name": "a", "value": "\t é"}]}}"#;
    assert!(
        matches!(pre_stop(headers), Handler::HttpGet { headers, .. } if headers[0].value.is_empty())
    );
    assert_eq!(
        own(r#"{"terminationGracePeriodSeconds": 0}"#).termination_grace_period,
        Some(Duration::ZERO)
    );
    for (name, number) in [
        ("SIGKILL", 9),
        ("STOP", 19),
        ("RTMIN+3", 37),
        ("SIGRTMAX-2", 62),
    ] {
        let signal = own(&format!(r#"{{"stopSignal": "{name}"}}"#))
            .stop_signal
            .unwrap();
        assert_eq!(signal.number(), number);
    }
}

#[test]
fn a_sleep_may_be_longer_than_the_grace_period() {
    let lifecycle = own(
        r#"{"preStop": {"sleep": {"seconds": 2147483647}}, "terminationGracePeriodSeconds": 1}"#,
    );
    let handler = lifecycle.pre_stop.map(|hook| hook.handler);
    assert_eq!(handler, Some(sleeping(2_147_483_647)));
}

#[test]
fn null_is_absent_and_an_empty_lifecycle_is_none() {
    for value in [
        "{}",
        r#"{"postStart": null, "preStop": null, "stopSignal": null, "output": null}"#,
    ] {
        assert_eq!(read(&[(OWN, value)], None), Ok(None));
    }
    let hook = own(
        r#"{"preStop": {"exec": null, "sleep": {"seconds": 1}, "timeoutSeconds": null, "onFailure": null}}"#,
    );
    assert_eq!(hook.pre_stop.unwrap().timeout, None);
    assert_eq!(read(&[], None), Ok(None));
}

/// KEP-4929.
#[test]
fn the_timeout_may_stand_in_the_exec_as_kubernetes_will_have_it() {
    for (inner, outer) in [("5", "null"), ("5", "5"), ("null", "5")] {
        let hook = own(&format!(
            r#"{{"preStop": {{"exec": {{"command": ["a"], "timeoutSeconds": {inner}}}, "timeoutSeconds": {outer}}}}}"#
        ));
        let timeout = hook.pre_stop.unwrap().timeout;
        assert_eq!(timeout, Some(Duration::from_secs(5)), "{inner} {outer}");
    }
}

#[test]
fn a_host_may_be_a_name() {
    for host in ["db", "db.shop.svc.cluster.local.", "a_b-c.d"] {
        assert_eq!(
            pre_stop(&format!(
                r#"{{"tcpSocket": {{"port": 1, "host": "{host}"}}}}"#
            )),
            Handler::TcpSocket {
                host: Some(host.to_owned()),
                port: 1,
            }
        );
    }
}

#[test]
fn fields_are_merged_the_containers_own_first() {
    let default = own(
        r#"{"postStart": {"sleep": {"seconds": 3}}, "preStop": {"sleep": {"seconds": 3}}, "output": "container"}"#,
    );
    let pod = r#"{"preStop": {"sleep": {"seconds": 2}, "timeoutSeconds": 9}, "terminationGracePeriodSeconds": 2}"#;
    let own = r#"{"preStop": {"sleep": {"seconds": 1}}, "stopSignal": null}"#;
    let all = read(&[NAME, (OWN, own), (POD, pod)], Some(&default))
        .unwrap()
        .unwrap();
    let hook = all.pre_stop.unwrap();
    assert_eq!(
        (hook.handler, hook.timeout),
        (sleeping(1), None),
        "a hook is taken whole"
    );
    assert_eq!(all.post_start.unwrap().handler, sleeping(3));
    assert_eq!(all.termination_grace_period, Some(Duration::from_secs(2)));
    assert_eq!(all.output, Some(Output::Container));
    let without_own = read(&[NAME, (POD, pod)], Some(&default)).unwrap().unwrap();
    assert_eq!(without_own.pre_stop.unwrap().handler, sleeping(2));
    assert_eq!(read(&[NAME], Some(&default)), Ok(Some(default)));
}

#[test]
fn every_field_comes_from_the_highest_that_has_it() {
    let of = |seconds: u32, signal: &str, output: &str| {
        let hook = format!(r#"{{"sleep": {{"seconds": {seconds}}}}}"#);
        format!(
            r#"{{"postStart": {hook}, "preStop": {hook}, "stopSignal": "{signal}",
                "terminationGracePeriodSeconds": {seconds}, "output": "{output}"}}"#
        )
    };
    let (high, low) = (of(1, "SIGINT", "container"), of(2, "SIGHUP", "capture"));
    let read = |pairs: &[(&str, &str)], default: Option<&Lifecycle>| {
        read(&[&[NAME], pairs].concat(), default).unwrap()
    };
    let lowest = own(&of(3, "SIGQUIT", "capture"));
    assert_eq!(
        read(&[(OWN, &high), (POD, &low)], Some(&lowest)),
        Some(own(&high))
    );
    assert_eq!(
        read(&[(OWN, "{}"), (POD, &low)], Some(&lowest)),
        Some(own(&low))
    );
    assert_eq!(
        read(&[(OWN, "{}"), (POD, "{}")], Some(&lowest)),
        Some(lowest.clone())
    );
}

#[test]
fn the_pods_annotation_is_for_the_container_of_that_name() {
    let pod = r#"{"preStop": {"sleep": {"seconds": 2}}}"#;
    assert_eq!(read(&[(POD, pod)], None), Ok(None));
    assert_eq!(
        read(
            &[
                ("io.kubernetes.cri.container-name", "other"),
                (POD, "not even JSON")
            ],
            None
        ),
        Ok(None)
    );
    assert_eq!(
        read(
            &[
                ("io.kubernetes.cri.container-name", ""),
                ("lifecycle.podhook.dev/", "x")
            ],
            None
        ),
        Ok(None)
    );
    let error = read(&[NAME, (POD, "[]")], None).unwrap_err().to_string();
    assert_eq!(
        error,
        "podhook: annotation lifecycle.podhook.dev/web: must be an object"
    );
}

#[test]
fn what_a_higher_level_hides_is_still_checked() {
    let own = r#"{"preStop": {"sleep": {"seconds": 1}}}"#;
    assert!(read(&[NAME, (OWN, own), (POD, r#"{"preStop": {}}"#)], None).is_err());
}

#[test]
fn a_sandbox_never_has_a_lifecycle() {
    let default = own(r#"{"preStop": {"sleep": {"seconds": 3}}}"#);
    let sandbox = ("io.kubernetes.cri.container-type", "sandbox");
    assert_eq!(
        read(&[sandbox, NAME, (OWN, "bad"), (POD, "bad")], Some(&default)),
        Ok(None)
    );
}

#[test]
fn the_kubelets_own_pre_stop_is_not_ours() {
    let kubelets = (
        "io.kubernetes.container.preStopHandler",
        r#"{"exec":{"command":["x"]}}"#,
    );
    assert_eq!(read(&[NAME, kubelets], None), Ok(None));
}

#[test]
fn a_manifests_lifecycle_is_checked_by_the_same_rules() {
    let ports = [("web".to_owned(), 8080)];
    let value = serde_json::json!({"preStop": {"httpGet": {"port": "web"}}});
    let lifecycle = Lifecycle::from_value(&value, &Ports::Listed(&ports)).unwrap();
    assert!(matches!(
        lifecycle.pre_stop.unwrap().handler,
        Handler::HttpGet { port: 8080, .. }
    ));
    let error = Lifecycle::from_value(&value, &Ports::Listed(&[]))
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        r#"preStop.httpGet.port: port name "web" is not a port of the container"#
    );
    let error = Lifecycle::from_value(&serde_json::json!({"x": 1}), &Ports::Unknown)
        .unwrap_err()
        .to_string();
    assert_eq!(error, "x: unknown field");
}
