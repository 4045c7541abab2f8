//! `httpGet` hooks of real pods against a real nginx: statuses, headers, redirects, HTTPS.

use podhook_integration::suite::{Test, each_once};
use podhook_integration::trace::Trace;
use podhook_integration::wait::SOON;
use podhook_integration::{Node, Outcome, tests};
use serde_json::json;

use crate::web::{PORT, STATUSES, TLS, Web, asked, get, get_tls, get_with, listens, nginx, told};

pub fn tests() -> Vec<Test> {
    let all_targets = tests![http: nginx_is_asked_by_its_own_hook_through_a_named_port];
    let long = each_once(tests![http:
        a_status_from_200_to_399_is_success,
        the_request_is_the_kubelets,
        redirects_are_followed_on_the_same_host_only,
        every_certificate_is_accepted,
        https_and_http_are_not_mixed_up,
        an_answer_without_end_is_no_reason_to_wait,
    ]);
    [all_targets, long].concat()
}

fn nginx_is_asked_by_its_own_hook_through_a_named_port(node: &Node) -> Outcome {
    let conf = Trace::new(node)?;
    let pod = node.pod("drain").run()?;
    let hook = json!({"httpGet": {
        "path": "/echo?drain=now", "port": "web",
        "httpHeaders": [{"name": "X-Reason", "value": "pod stops"}],
    }});
    let ports =
        json!([{"name": "other", "containerPort": 81}, {"name": "web", "containerPort": PORT}]);
    let container = nginx(&pod, conf.dir())?
        .annotation("io.kubernetes.container.ports", &ports.to_string())
        .annotation(
            "podhook.dev/lifecycle",
            &json!({"preStop": hook}).to_string(),
        )
        .start()?;
    let ip = pod.ip()?;
    listens(&ip)?;
    let watch = container.watch_record();
    container.stop(60)?;
    let record = watch.wait("the end of preStop", SOON, |record| {
        record.hooks.iter().any(|hook| hook.result.is_some())
    })?;
    let hook = &record.hooks[0];
    assert_eq!(
        (hook.result(), hook.http_status),
        (Some("Succeeded"), Some(200)),
        "{hook:?}"
    );
    let agent = concat!("podhook/", env!("CARGO_PKG_VERSION"));
    let expected = format!(
        "host={ip}:{PORT} agent={agent} accept=*/* reason=pod stops scheme=http query=drain=now \
         authorization="
    );
    assert_eq!(hook.output.as_deref(), Some(expected.as_str()));
    // nginx saw it before its signal, and was not killed.
    container.wait_log("\"GET /echo?drain=now HTTP/1.1\" 200", SOON)?;
    assert_eq!(container.status()?.exit_code, 0);
    Ok(())
}

fn a_status_from_200_to_399_is_success(node: &Node) -> Outcome {
    let pod = node.pod("status").run()?;
    let web = Web::start(node, &pod)?;
    for status in STATUSES {
        let run = asked(&pod, &get(&format!("/status/{status}"), PORT))?;
        let (result, code, message) = told(&run);
        let wanted = if (200..400).contains(&status) {
            "Succeeded"
        } else {
            "Failed"
        };
        assert_eq!(
            (result, code),
            (wanted, Some(i64::from(status))),
            "{message}"
        );
        let url = format!(
            "GET http://{}:{PORT}/status/{status}: HTTP status {status}",
            web.ip
        );
        assert_eq!(message.starts_with(&url), wanted == "Failed", "{message}");
    }
    let run = asked(&pod, &get("/silent", PORT))?;
    let said = format!(
        "GET http://{}:{PORT}/silent: the server closed the connection without a response",
        web.ip
    );
    assert_eq!(told(&run), ("Failed", None, said.as_str()));
    Ok(())
}

fn the_request_is_the_kubelets(node: &Node) -> Outcome {
    let pod = node.pod("request").run()?;
    let web = Web::start(node, &pod)?;
    let headers = json!({"httpHeaders": [
        {"name": "host", "value": "shop.example"},
        {"name": "User-Agent", "value": "drain/1"},
        {"name": "Accept", "value": "text/plain"},
        {"name": "x-reason", "value": "stop"},
    ]});
    let run = asked(&pod, &get_with("/echo?a=b&c=%20d", PORT, headers))?;
    assert_eq!(told(&run), ("Succeeded", Some(200), ""));
    assert_eq!(
        run.text("/output"),
        "host=shop.example agent=drain/1 accept=text/plain reason=stop scheme=http \
         query=a=b&c=%20d authorization="
    );
    // An empty value takes the header away.
    let headers = json!({"httpHeaders": [{"name": "Accept", "value": ""}, {"name": "User-Agent", "value": ""}]});
    let run = asked(&pod, &get_with("/echo", PORT, headers))?;
    let expected = format!(
        "host={}:{PORT} agent= accept= reason= scheme=http query= authorization=",
        web.ip
    );
    assert_eq!(run.text("/output"), expected);
    Ok(())
}

fn redirects_are_followed_on_the_same_host_only(node: &Node) -> Outcome {
    let pod = node.pod("redirect").run()?;
    let web = Web::start(node, &pod)?;
    for path in ["/same", "/relative"] {
        let run = asked(&pod, &get(path, PORT))?;
        assert_eq!(told(&run), ("Succeeded", Some(200), ""), "{path}");
        assert_eq!(run.text("/output"), "the end");
    }
    let run = asked(&pod, &get("/other", PORT))?;
    assert_eq!(told(&run), ("Succeeded", Some(301), ""));
    // nginx redirects to the host it was asked for: with this header that is another one.
    let headers = json!({"httpHeaders": [{"name": "Host", "value": "shop.example"}]});
    let run = asked(&pod, &get_with("/same", PORT, headers))?;
    assert_eq!(told(&run), ("Succeeded", Some(302), ""));
    let run = asked(&pod, &get("/hop/1", PORT))?;
    assert_eq!(told(&run), ("Succeeded", Some(200), ""));
    assert_eq!(run.text("/output"), "the last");
    let url = format!("http://{}:{PORT}", web.ip);
    // nginx leaves port 80 out.
    let seen = format!("http://{}", web.ip);
    for (from, to) in [("/hop/0", "/hop/10"), ("/loop", "/loop")] {
        let said = format!("GET {url}{from}: redirected to {seen}{to}: stopped after 10 redirects");
        assert_eq!(
            told(&asked(&pod, &get(from, PORT))?),
            ("Failed", None, said.as_str())
        );
    }
    let said =
        format!("GET {url}/missing: redirected to {seen}/nowhere: HTTP status 404 Not Found");
    assert_eq!(
        told(&asked(&pod, &get("/missing", PORT))?),
        ("Failed", Some(404), said.as_str())
    );
    Ok(())
}

fn every_certificate_is_accepted(node: &Node) -> Outcome {
    // Self-signed, for another name, expired, not valid yet; TLS 1.2, TLS 1.3, a client certificate asked for.
    let pod = node.pod("tls").run()?;
    let web = Web::start(node, &pod)?;
    for tls in TLS {
        let run = asked(&pod, &get_tls("/echo", tls.port))?;
        assert_eq!(told(&run), ("Succeeded", Some(200), ""), "{}", tls.port);
        let start = format!("host={}:{} ", web.ip, tls.port);
        let output = run.text("/output");
        assert!(
            output.starts_with(&start) && output.contains(" scheme=https "),
            "{output}"
        );
    }
    let port = TLS[0].port;
    let run = asked(&pod, &get_tls("/same", port))?;
    assert_eq!(told(&run), ("Succeeded", Some(200), ""));
    let said = format!(
        "GET https://{}:{port}/status/503: HTTP status 503 Service Unavailable",
        web.ip
    );
    assert_eq!(
        told(&asked(&pod, &get_tls("/status/503", port))?),
        ("Failed", Some(503), said.as_str())
    );
    Ok(())
}

fn https_and_http_are_not_mixed_up(node: &Node) -> Outcome {
    let pod = node.pod("mixed").run()?;
    let web = Web::start(node, &pod)?;
    // As the kubelet: HTTPS that is answered in HTTP is asked for again in HTTP, without the secret.
    let fields =
        json!({"scheme": "HTTPS", "httpHeaders": [{"name": "Authorization", "value": "secret"}]});
    let run = asked(&pod, &get_with("/echo", PORT, fields))?;
    assert_eq!(told(&run), ("Succeeded", Some(200), ""));
    let output = run.text("/output");
    assert!(
        output.ends_with(" scheme=http query= authorization="),
        "{output}"
    );
    // The other way round nginx says so.
    let run = asked(&pod, &get("/echo", TLS[0].port))?;
    let said = format!(
        "GET http://{}:443/echo: HTTP status 400 Bad Request",
        web.ip
    );
    assert_eq!(told(&run), ("Failed", Some(400), said.as_str()));
    Ok(())
}

fn an_answer_without_end_is_no_reason_to_wait(node: &Node) -> Outcome {
    // 32 KiB at 8 KiB/s: after 10 KiB the status is known and enough of the body.
    let pod = node.pod("slow").run()?;
    let _web = Web::start(node, &pod)?;
    let run = asked(&pod, &get("/slow", PORT))?;
    assert_eq!(told(&run), ("Succeeded", Some(200), ""));
    assert_eq!(run.text("/output").len(), 4096);
    Ok(())
}
