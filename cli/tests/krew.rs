//! deploy/krew/podhook.yaml: krew can read it, and what it tells people to type there is.

use std::ffi::OsStr;
use std::path::Path;

use podhook::args::plugin;
use serde_json::Value;

fn manifest() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/krew/podhook.yaml");
    let text = std::fs::read_to_string(path).expect("the manifest");
    serde_saphyr::from_str(&text).expect("YAML")
}

#[test]
fn it_is_what_krew_installs() {
    let manifest = manifest();
    assert_eq!(
        manifest["apiVersion"],
        "krew.googlecontainertools.github.com/v1alpha2"
    );
    assert_eq!(manifest["kind"], "Plugin");
    // krew links kubectl-NAME to the program.
    let name = manifest["metadata"]["name"].as_str().expect("a name");
    assert_eq!(format!("kubectl-{name}"), plugin::PLUGIN);
    let spec = &manifest["spec"];
    assert_eq!(spec["version"], concat!("v", env!("CARGO_PKG_VERSION")));
    let short = spec["shortDescription"].as_str().expect("a description");
    assert!(short.len() <= 50 && !short.ends_with('.'), "{short}");
    let platforms = spec["platforms"].as_array().expect("platforms");
    let architectures: Vec<_> = platforms
        .iter()
        .map(|p| &p["selector"]["matchLabels"]["arch"])
        .collect();
    assert_eq!(architectures, ["amd64", "arm64"]);
    for platform in platforms {
        let labels = &platform["selector"]["matchLabels"];
        assert_eq!(labels["os"], "linux");
        let uri = platform["uri"].as_str().expect("an address");
        // As .ci/release names it, and the folder in it.
        let end = format!(
            "/podhook-{}-linux-{}.tar.gz",
            env!("CARGO_PKG_VERSION"),
            labels["arch"].as_str().unwrap_or_default()
        );
        assert!(uri.starts_with("https://") && uri.ends_with(&end), "{uri}");
        assert!(
            uri.contains(concat!("/v", env!("CARGO_PKG_VERSION"), "/")),
            "{uri}"
        );
        let hash = platform["sha256"].as_str().expect("a hash");
        assert!(
            hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()),
            "{hash}"
        );
        let files = platform["files"].as_array().expect("files");
        let bin = platform["bin"].as_str().expect("a program");
        let from = format!("podhook-*/{bin}");
        assert!(
            files
                .iter()
                .any(|file| file["from"] == *from && file["to"] == "."),
            "{files:?}"
        );
    }
}

#[test]
fn what_it_tells_people_to_type_is_taken() {
    let manifest = manifest();
    let texts = ["description", "caveats"]
        .map(|field| manifest["spec"][field].as_str().unwrap_or_default());
    let lines: Vec<&str> = texts
        .iter()
        .flat_map(|text| text.lines())
        .map(str::trim)
        .filter(|line| line.starts_with("kubectl "))
        .collect();
    for command in plugin::PLUGIN_COMMANDS {
        let prefix = format!("kubectl podhook {command} ");
        assert!(
            lines.iter().any(|line| line.starts_with(&prefix)),
            "{command}: {lines:?}"
        );
    }
    for line in lines {
        let words = line
            .strip_prefix("kubectl podhook ")
            .expect(line)
            .split(' ');
        let words = std::iter::once(plugin::PLUGIN).chain(words);
        let taken = plugin::command(Some(OsStr::new(plugin::PLUGIN))).try_get_matches_from(words);
        assert!(taken.is_ok(), "{line}: {}", taken.unwrap_err());
    }
}
