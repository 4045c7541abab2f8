//! URLs.

use super::path::{QUERY, escape};
use super::*;

fn base() -> Url {
    Url::new(Scheme::Http, Some("10.0.0.5"), 8080, "/a/b?c=d")
}

/// The URL a redirect leads to, `elsewhere`, or the error.
fn led(location: &str) -> String {
    match base().redirect(location) {
        Ok(Redirect::Elsewhere) => "elsewhere".to_owned(),
        Ok(Redirect::Same { url, .. }) => format!("{url} {}", url.port),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_path_goes_out_as_it_is_written() {
    for path in [
        "/",
        "/drain?a=b&c=%20d",
        "/a%2Fb",
        "/x//../y",
        "/a?q=[1]|{2}",
        "/[1]",
    ] {
        assert_eq!(target(path), path);
    }
}

#[test]
fn what_would_break_the_request_line_is_escaped() {
    assert_eq!(target("/a b HTTP/1.1"), "/a%20b%20HTTP/1.1");
    assert_eq!(target("/a?b c\"<>é#d"), "/a?b%20c%22%3C%3E%C3%A9");
    assert_eq!(target("/a\r\nX: y"), "/a%0D%0AX:%20y");
    assert_eq!(target("drain"), "/drain");
}

#[test]
fn what_is_no_url_is_a_path_as_for_the_kubelet() {
    assert_eq!(target("/100%?a#b"), "/100%25%3Fa%23b");
    assert_eq!(target("/a?b=100%"), "/a?b=100%");
}

#[test]
fn a_url_without_host_gets_the_address_that_answered() {
    let mut url = Url::new(Scheme::Https, None, 443, "/x");
    assert_eq!(url.to_string(), "https://:443/x");
    url.settle("fd00::5".parse().unwrap());
    assert_eq!(url.to_string(), "https://[fd00::5]:443/x");
    url.settle("10.0.0.5".parse().unwrap());
    assert_eq!(url.host, "fd00::5");
}

#[test]
fn a_zone_stays_at_home() {
    let url = Url::new(Scheme::Http, Some("fe80::1%eth0"), 80, "/");
    assert_eq!(
        (url.host.as_str(), url.authority.as_str()),
        ("fe80::1%eth0", "[fe80::1]:80")
    );
}

#[test]
fn a_relative_redirect_stays_on_the_host() {
    for (location, leads_to) in [
        ("/x", "/x"),
        ("x", "/a/x"),
        ("./x?y", "/a/x?y"),
        ("../x", "/x"),
        ("../../../x/", "/x/"),
        ("/x/./y/..", "/x/"),
        ("?z", "/a/b?z"),
        ("", "/a/b?c=d"),
        ("#top", "/a/b?c=d"),
        ("/a b", "/a%20b"),
        ("x:y/../z", "elsewhere"),
        ("/x?next=http://other/", "/x?next=http://other/"),
    ] {
        let expected = match leads_to {
            "elsewhere" => leads_to.to_owned(),
            path => format!("http://10.0.0.5:8080{path} 8080"),
        };
        assert_eq!(led(location), expected, "{location}");
    }
}

#[test]
fn an_absolute_redirect_to_the_same_host_may_change_port_and_scheme() {
    for (location, leads_to) in [
        ("http://10.0.0.5/x", "http://10.0.0.5/x 80"),
        ("HTTPS://10.0.0.5", "https://10.0.0.5/ 443"),
        ("http://10.0.0.5:81?q", "http://10.0.0.5:81/?q 81"),
        ("//10.0.0.5:82/../x", "http://10.0.0.5:82/x 82"),
        ("http://user:secret@10.0.0.5/x", "http://10.0.0.5/x 80"),
    ] {
        assert_eq!(led(location), leads_to, "{location}");
    }
}

#[test]
fn a_redirect_to_another_host_is_not_ours() {
    for location in [
        "http://10.0.0.6:8080/",
        "//10.0.0.50/",
        "http://localhost/",
        "http://10.0.0.5@evil/",
        "http://10.0.0.5.evil/",
        "ftp://other/",
        "mailto:x@10.0.0.5",
        "http:///x",
    ] {
        assert_eq!(led(location), "elsewhere", "{location}");
    }
}

#[test]
fn a_redirect_nobody_can_follow_is_an_error() {
    assert_eq!(
        led("ftp://10.0.0.5/"),
        r#"bad redirect to "ftp://10.0.0.5/""#
    );
    for location in [
        "http://10.0.0.5:99999/",
        "http://10.0.0.5:0/",
        "http://10.0.0.5:x/",
    ] {
        assert!(led(location).starts_with("bad redirect to"), "{location}");
    }
}

#[test]
fn the_same_ipv6_address_is_the_same_host() {
    let base = Url::new(Scheme::Http, Some("[fd00::5]"), 8080, "/");
    let Ok(Redirect::Same { url, named }) = base.redirect("http://[fd00:0::5]:81/x") else {
        panic!("not the same host");
    };
    assert_eq!((url.port, url.target.as_str(), named), (81, "/x", true));
}

#[test]
fn a_message_cannot_be_flooded_or_forged_by_a_url() {
    let url = Url::new(Scheme::Http, None, 80, &"/x".repeat(100_000));
    assert!(url.to_string().len() < 300);
    let error = led(&format!(
        "ftp://10.0.0.5/permission denied\n{}",
        "x".repeat(9999)
    ));
    assert!(
        error.len() < 320 && !error.contains("permission denied"),
        "{error}"
    );
    assert!(!error.contains('\n'));
}

/// A table of `fuzz/go`: a text, and what Go makes of it.
fn table(lines: &str) -> Vec<(String, Option<Vec<String>>)> {
    let row = |line: &str| {
        let mut row: serde_json::Value = serde_json::from_str(line).unwrap();
        let results = serde_json::from_value(row["results"].take()).unwrap();
        (row["text"].as_str().unwrap().to_owned(), results)
    };
    lines.lines().map(row).collect()
}

/// Of a query, we send nothing that breaks the request line.
fn fit(theirs: &str) -> String {
    let (path, query) = split_query(theirs);
    let mut fit = path.to_owned();
    escape(&mut fit, query.as_bytes(), QUERY);
    fit
}

#[test]
fn paths_go_out_as_gos_url_writes_them() {
    let mut others = Vec::new();
    for (text, theirs) in table(include_str!("../../../../../fuzz/go/targets.jsonl")) {
        let ours = target(&text);
        let theirs = fit(&theirs.unwrap().remove(0));
        if ours != theirs {
            others.push(format!("{text:?}: ours {ours:?}, Go's {theirs:?}"));
        }
    }
    assert!(others.is_empty(), "{}: {others:#?}", others.len());
}

/// Whether Go knows the URL and cannot go there: neither HTTP nor HTTPS, or a port that is none.
fn fails(led: &[String]) -> bool {
    let [scheme, authority, _] = led else {
        return false;
    };
    let (_, port) = split_port(authority);
    let is_port = port.is_empty() || port.parse::<u16>().is_ok_and(|port| port > 0);
    !matches!(scheme.as_str(), "http" | "https") || !is_port
}

#[test]
fn redirects_lead_where_gos_url_leads() {
    let mut others = Vec::new();
    for (text, theirs) in table(include_str!("../../../../../fuzz/go/locations.jsonl")) {
        let ours = match base().redirect(&text) {
            Ok(Redirect::Elsewhere) => Some(vec!["elsewhere".to_owned()]),
            Ok(Redirect::Same { url, .. }) => Some(vec![
                match url.scheme {
                    Scheme::Http => "http".to_owned(),
                    Scheme::Https => "https".to_owned(),
                },
                url.authority,
                url.target,
            ]),
            Err(_) => None,
        };
        let theirs = theirs.map(|mut theirs| {
            let target = theirs.pop().unwrap_or_default();
            theirs.push(fit(&target));
            theirs
        });
        if ours != theirs && !(ours.is_none() && theirs.is_some_and(|led| fails(&led))) {
            others.push(format!("{text:?}: ours {ours:?}"));
        }
    }
    assert!(others.is_empty(), "{}: {others:#?}", others.len());
}
