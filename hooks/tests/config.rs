//! The node's configuration. What is of one key is tested beside it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use podhook_hooks::config::{Config, ConfigError, DEFAULT_PATH, table};
use podhook_hooks::lifecycle::Lifecycle;
use podhook_hooks::sequence::Settings;

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(text, "config.toml").map_err(|error| error.to_string())
}

#[test]
fn an_empty_file_is_the_default() {
    let default = Config {
        path: "config.toml".to_owned(),
        ..Config::default()
    };
    assert_eq!(parse(""), Ok(default));
}

#[test]
fn mistakes_are_named_with_key_and_line() {
    let table = [
        ("x = 1", "line 1: x: unknown field"),
        (
            "\n\nexec = 'native'\nsystemd-cgroup = true",
            r#"line 4: systemd-cgroup: unknown field, did you mean "systemd_cgroup"?"#,
        ),
        ("z = 1\na = 1", "line 1: z: unknown field"),
    ];
    for (text, expected) in table {
        assert_eq!(
            parse(text),
            Err(format!("config.toml: {expected}")),
            "for {text:?}"
        );
    }
}

#[test]
fn what_is_no_toml_is_named_with_its_line() {
    for (text, line) in [
        ("exec = ", 1),
        ("\nexec = 'native'\nexec = 'native'", 3),
        ("[lifecycle", 1),
    ] {
        let error = parse(text).unwrap_err();
        assert!(
            error.starts_with(&format!("config.toml: line {line}: is not valid TOML: ")),
            "{error}"
        );
        assert!(error.len() < 200 && !error.contains('\n'), "{error:?}");
    }
    let deep = format!("runtime = {}", "[".repeat(100_000));
    assert!(parse(&deep).unwrap_err().len() < 300);
}

#[test]
fn only_the_default_file_may_be_missing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    let error = Config::load(&path).unwrap_err();
    assert!(matches!(error, ConfigError::Read { .. }));
    assert!(
        error.to_string().contains(path.to_str().unwrap()),
        "{error}"
    );
    if !Path::new(DEFAULT_PATH).exists() {
        assert_eq!(
            Config::load(Path::new(DEFAULT_PATH)).unwrap(),
            Config::default()
        );
    }
    fs::write(&path, "runtime = 'crun'").unwrap();
    assert_eq!(
        Config::load(&path).unwrap().oci.runtime.as_deref(),
        Some("crun")
    );
    fs::write(&path, "x = 1").unwrap();
    let error = Config::load(&path).unwrap_err().to_string();
    assert_eq!(
        error,
        format!("{}: line 1: x: unknown field", path.display())
    );
}

#[test]
fn lifecycle_annotations_and_node_make_the_settings_of_a_container() {
    let config = parse("stop_signals = ['SIGHUP']\ngrace_period = 7\n[lifecycle]\npostStart = {sleep = {seconds = 1}, onFailure = 'Ignore'}").unwrap();
    let none = BTreeMap::<String, String>::new();
    assert_eq!(
        Settings::new(None, &none, &config.sequence),
        Settings {
            lifecycle: None,
            cri: false
        }
    );
    let timing = Settings::new(
        config.lifecycles.lifecycle.as_ref(),
        &none,
        &config.sequence,
    )
    .lifecycle
    .unwrap();
    assert_eq!(
        (timing.grace, timing.grace_is_ours),
        (Duration::from_secs(7), false)
    );
    assert_eq!(timing.stop_signals, [libc::SIGHUP]);
    assert!(timing.post_start.unwrap().ignore_failure && timing.pre_stop.is_none());
    let cri = BTreeMap::from(
        [
            ("io.kubernetes.cri.container-type", "container"),
            ("io.kubernetes.pod.terminationGracePeriod", "45"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned())),
    );
    let settings = Settings::new(config.lifecycles.lifecycle.as_ref(), &cri, &config.sequence);
    assert!(settings.cri);
    assert_eq!(settings.lifecycle.unwrap().grace, Duration::from_secs(45));
}

#[test]
fn the_first_rule_for_a_container_decides_alone() {
    let config = parse(
        r#"
        [lifecycle]
        terminationGracePeriodSeconds = 1
        stopSignal = "SIGQUIT"
        [[rules]]
        namespace = "kube-*"
        [[rules]]
        namespace = "shop"
        image = ["*/nginx:*", "nginx"]
        lifecycle.terminationGracePeriodSeconds = 2
        [[rules]]
        pod = "web-?"
        lifecycle.terminationGracePeriodSeconds = 3
        "#,
    )
    .unwrap();
    let given = |pairs: &[(&str, &str)]| {
        let annotations: BTreeMap<_, _> = pairs
            .iter()
            .map(|(key, value)| (format!("io.kubernetes.cri.{key}"), (*value).to_owned()))
            .collect();
        let lifecycle = config.lifecycles.given_to(&annotations)?;
        let grace = lifecycle.termination_grace_period?.as_secs();
        Some((grace, lifecycle.stop_signal.is_some()))
    };
    assert_eq!(given(&[("sandbox-namespace", "kube-system")]), None);
    let shop = ("sandbox-namespace", "shop");
    let nginx = ("image-name", "docker.io/library/nginx:1");
    assert_eq!(given(&[shop, nginx]), Some((2, false)));
    assert_eq!(given(&[shop, ("image-name", "nginx")]), Some((2, false)));
    // Every selector of a rule must match, and what is not known matches nothing.
    assert_eq!(given(&[nginx]), Some((1, true)));
    assert_eq!(given(&[shop, ("sandbox-name", "web-0")]), Some((3, false)));
    assert_eq!(given(&[shop, ("sandbox-name", "web-10")]), Some((1, true)));
    assert_eq!(given(&[]), Some((1, true)));
}

#[test]
fn what_is_not_allowed_is_refused_with_its_path_and_the_file() {
    let config = parse("allowed_handlers = ['exec', 'tcpSocket']\nallowed_hosts = 'pod'").unwrap();
    let refused = |lifecycle: &str| {
        let annotations =
            BTreeMap::from([("podhook.dev/lifecycle".to_owned(), lifecycle.to_owned())]);
        Lifecycle::from_annotations(&annotations, None, &config.policy())
            .err()
            .map(|error| error.to_string())
    };
    assert_eq!(
        refused(r#"{"preStop": {"sleep": {"seconds": 1}}}"#).as_deref(),
        Some(
            "podhook: annotation podhook.dev/lifecycle: preStop.sleep: is not allowed on this node: \
             allowed_handlers of config.toml has exec, tcpSocket"
        )
    );
    for host in [
        "10.0.0.1",
        // Names, whatever they mean today: tomorrow the pod's DNS says something else.
        "db",
        "localhost.localdomain",
        "127.0.0.1.nip.io",
        "169.254.169.254",
        "::",
        "0.0.0.0",
        "fe80::1%eth0",
    ] {
        let lifecycle =
            format!(r#"{{"postStart": {{"tcpSocket": {{"port": 1, "host": "{host}"}}}}}}"#);
        let message = refused(&lifecycle).unwrap();
        assert!(
            message.contains("postStart.tcpSocket.host: must be absent, localhost"),
            "{message}"
        );
    }
    for host in [
        "",
        "localhost",
        "LOCALHOST.",
        "127.0.0.1",
        "127.9.9.9",
        "::1",
    ] {
        let lifecycle =
            format!(r#"{{"postStart": {{"tcpSocket": {{"port": 1, "host": "{host}"}}}}}}"#);
        assert_eq!(refused(&lifecycle), None, "{host}");
    }
    assert_eq!(
        refused(r#"{"preStop": {"exec": {"command": ["x"]}}}"#),
        None
    );
}

#[test]
fn a_file_that_is_none_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRUSR).unwrap();
    for path in [fifo.as_path(), dir.path()] {
        let error = Config::load(path).unwrap_err().to_string();
        assert!(error.ends_with("is not a regular file"), "{error}");
    }
}

/// The part of docs/configuration.md that is made of what the keys say of themselves.
const BEGIN: &str = "<!-- generated: make configuration -->\n";
const END: &str = "<!-- end -->\n";

/// `PODHOOK_WRITE_DOCS=1` writes it instead.
#[test]
fn the_documented_table_is_what_the_keys_say() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
    let text = fs::read_to_string(file).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("where the table begins");
    let (documented, after) = rest.split_once(END).expect("where the table ends");
    let generated = format!("\n{}\n", table());
    if std::env::var_os("PODHOOK_WRITE_DOCS").is_some() {
        fs::write(file, format!("{before}{BEGIN}{generated}{END}{after}")).unwrap();
        return;
    }
    assert_eq!(documented, generated, "out of step: run make configuration");
}
