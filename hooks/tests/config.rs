//! The node's configuration and containerd's options.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::LevelFilter;
use podhook_hooks::config::{Config, ConfigError, DEFAULT_PATH, ExecEngine, RuntimeOptions};
use podhook_hooks::lifecycle::{Handler, Lifecycle, Output};
use podhook_hooks::sequence::Settings;

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(text, "config.toml").map_err(|error| error.to_string())
}

#[test]
fn an_empty_file_is_the_default() {
    let mut default = Config {
        path: "config.toml".to_owned(),
        ..Config::default()
    };
    default.policy.source = "config.toml".to_owned();
    assert_eq!(parse(""), Ok(default));
    assert_eq!(
        Config::default().post_start_timeout,
        Duration::from_secs(110)
    );
    assert_eq!(Config::default().grace_period, Duration::from_secs(30));
}

#[test]
fn every_key_is_read() {
    let config = parse(
        r#"
        runtime = "crun"
        root = "/run/podhook/crun"
        systemd_cgroup = true
        exec = "runtime"
        post_start_timeout = 60
        grace_period = 10
        stop_signals = ["SIGHUP", "RTMIN+4"]
        output = "container"
        log_level = "debug"

        [lifecycle]
        stopSignal = "SIGQUIT"
        [lifecycle.preStop]
        sleep = { seconds = 5 }
        timeoutSeconds = 0x0a
        "#,
    )
    .unwrap();
    assert_eq!(config.runtime.as_deref(), Some("crun"));
    assert_eq!(config.root, Some(PathBuf::from("/run/podhook/crun")));
    assert_eq!(config.systemd_cgroup, Some(true));
    assert_eq!(config.exec, ExecEngine::Runtime);
    assert_eq!(config.post_start_timeout, Duration::from_secs(60));
    assert_eq!(config.grace_period, Duration::from_secs(10));
    assert_eq!(
        config
            .stop_signals
            .iter()
            .map(|signal| signal.number())
            .collect::<Vec<_>>(),
        [1, 38]
    );
    assert_eq!(config.output, Output::Container);
    assert_eq!(config.log_level, Some(LevelFilter::Debug));
    let lifecycle = config.lifecycle.unwrap();
    let hook = lifecycle.pre_stop.unwrap();
    assert_eq!(
        (hook.handler, hook.timeout),
        (Handler::Sleep { seconds: 5 }, Some(Duration::from_secs(10)))
    );
    assert_eq!(
        lifecycle.stop_signal.map(|signal| signal.number()),
        Some(libc::SIGQUIT)
    );
}

#[test]
fn mistakes_are_named_with_key_and_line() {
    let table = [
        ("x = 1", "line 1: x: unknown field"),
        (
            "\n\nexec = 'native'\nsystemd-cgroup = true",
            "line 4: systemd-cgroup: unknown field",
        ),
        ("z = 1\na = 1", "line 1: z: unknown field"),
        (
            "exec = 'fast'",
            "line 1: exec: \"fast\" must be native or runtime",
        ),
        ("runtime = ''", "line 1: runtime: must not be empty"),
        ("root = 'run'", "line 1: root: must be an absolute path"),
        (
            "systemd_cgroup = 1",
            "line 1: systemd_cgroup: must be true or false",
        ),
        (
            "post_start_timeout = 0",
            "line 1: post_start_timeout: must be between 1 and 86400, inclusive",
        ),
        (
            "post_start_timeout = 1.5",
            "line 1: post_start_timeout: must be an integer",
        ),
        (
            "grace_period = 1979-05-27",
            "line 1: grace_period: must be an integer",
        ),
        (
            "grace_period = 99999999999999999999",
            "line 1: grace_period: must be an integer",
        ),
        (
            "stop_signals = [\n'SIGHUP',\n'SIGHUB']",
            "line 3: stop_signals[1]: \"SIGHUB\" is not a signal name",
        ),
        (
            "stop_signals = ['SIGKILL']",
            "line 1: stop_signals[0]: SIGKILL is always delivered at once",
        ),
        (
            "log_level = 'loud'",
            "line 1: log_level: \"loud\" must be error, warn, info, debug or trace",
        ),
        ("lifecycle = 1", "line 1: lifecycle: must be an object"),
        (
            "http_success = '2xx'",
            "line 1: http_success: \"2xx\" must be any, or a range of statuses as 200-399",
        ),
        (
            "allowed_handlers = ['exec', 'grpc']",
            "line 1: allowed_handlers[1]: \"grpc\" must be exec, httpGet, tcpSocket or sleep",
        ),
        (
            "allowed_handlers = 'exec'",
            "line 1: allowed_handlers: must be an array",
        ),
        (
            "allowed_hosts = 'own'",
            "line 1: allowed_hosts: \"own\" must be any or pod",
        ),
        ("rules = {}", "line 1: rules: must be an array"),
        (
            "[[rules]]\nlifecycle = {}",
            "line 1: rules[0]: must have namespace, pod, container or image ([lifecycle] is for all others)",
        ),
        (
            "[[rules]]\npod = 1",
            "line 2: rules[0].pod: must be a pattern or an array of patterns",
        ),
        (
            "[[rules]]\npod = []",
            "line 2: rules[0].pod: must not be empty",
        ),
        (
            "[[rules]]\npod = ['a', '']",
            "line 2: rules[0].pod[1]: must not be empty",
        ),
        (
            "[[rules]]\npod = 'a'\n[rules.lifecycle]\npreStop.exec.command = ['a', 1]",
            "line 4: rules[0].lifecycle.preStop.exec.command[1]: must be a string",
        ),
        (
            "[lifecycle.preStop]\nexec = { command = [] }",
            "line 2: lifecycle.preStop.exec.command: must not be empty",
        ),
        (
            "[lifecycle]\npreStop = { exec = { comand = [] } }",
            "line 2: lifecycle.preStop.exec.comand: unknown field",
        ),
        (
            "[lifecycle.preStop.httpGet]\nport = 'http'",
            "line 2: lifecycle.preStop.httpGet.port: port name \"http\" cannot be used here, give a number",
        ),
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
    std::fs::write(&path, "runtime = 'crun'").unwrap();
    assert_eq!(
        Config::load(&path).unwrap().runtime.as_deref(),
        Some("crun")
    );
    std::fs::write(&path, "x = 1").unwrap();
    let error = Config::load(&path).unwrap_err().to_string();
    assert_eq!(
        error,
        format!("{}: line 1: x: unknown field", path.display())
    );
}

#[test]
fn containerds_own_default_section_is_accepted() {
    // As `containerd config default` of 1.x prints it.
    let text = r#"
        BinaryName = ""
        CriuImagePath = ""
        CriuPath = ""
        CriuWorkPath = ""
        IoGid = 0
        IoUid = 0
        NoNewKeyring = false
        NoPivotRoot = false
        Root = ""
        ShimCgroup = ""
        SystemdCgroup = false
    "#;
    let expected = RuntimeOptions {
        systemd_cgroup: Some(false),
        ..RuntimeOptions::default()
    };
    assert_eq!(RuntimeOptions::from_toml(text).unwrap(), expected);
    assert_eq!(
        RuntimeOptions::from_toml("").unwrap(),
        RuntimeOptions::default()
    );
}

#[test]
fn every_runtime_option_is_read() {
    let text = r#"
        BinaryName = "/usr/bin/crun"
        Root = "/run/crun"
        SystemdCgroup = true
        NoPivotRoot = true
        NoNewKeyring = true
        ShimCgroup = "/podhook"
        IoUid = 4294967295
        IoGid = 1000
        CriuImagePath = "/i"
        CriuWorkPath = "/w"
        PodhookConfig = "/etc/podhook/other.toml"
    "#;
    let expected = RuntimeOptions {
        binary_name: Some("/usr/bin/crun".to_owned()),
        root: Some(PathBuf::from("/run/crun")),
        systemd_cgroup: Some(true),
        no_pivot_root: true,
        no_new_keyring: true,
        shim_cgroup: Some("/podhook".to_owned()),
        io_uid: u32::MAX,
        io_gid: 1000,
        criu_image_path: Some(PathBuf::from("/i")),
        criu_work_path: Some(PathBuf::from("/w")),
        podhook_config: Some(PathBuf::from("/etc/podhook/other.toml")),
    };
    assert_eq!(RuntimeOptions::from_toml(text).unwrap(), expected);
}

#[test]
fn mistakes_in_the_runtime_options_are_named() {
    let table = [
        ("Binaryname = 'x'", "line 1: Binaryname: unknown field"),
        (
            "IoUid = -1",
            "line 1: IoUid: must be between 0 and 4294967295, inclusive",
        ),
        (
            "SystemdCgroup = 'true'",
            "line 1: SystemdCgroup: must be true or false",
        ),
        ("BinaryName = 1", "line 1: BinaryName: must be a string"),
    ];
    for (text, expected) in table {
        let error = RuntimeOptions::from_toml(text).unwrap_err().to_string();
        assert_eq!(error, format!("containerd runtime options: {expected}"));
    }
}

#[test]
fn lifecycle_annotations_and_node_make_the_settings_of_a_container() {
    let config = parse("stop_signals = ['SIGHUP']\ngrace_period = 7\n[lifecycle]\npostStart = {sleep = {seconds = 1}, onFailure = 'Ignore'}").unwrap();
    let none = BTreeMap::<String, String>::new();
    assert_eq!(
        Settings::new(None, &none, &config),
        Settings {
            lifecycle: None,
            cri: false
        }
    );
    let timing = Settings::new(config.lifecycle.as_ref(), &none, &config)
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
    let settings = Settings::new(config.lifecycle.as_ref(), &cri, &config);
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
        let lifecycle = config.lifecycle_for(&annotations)?;
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
        Lifecycle::from_annotations(&annotations, None, &config.policy)
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
