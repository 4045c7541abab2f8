//! A registry on loopback with the images that critest pulls, made of ours.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use podhook_integration::generation::upstream;
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Image, command};

use crate::Error;
use crate::layer;

/// In a network namespace of one's own every port is free.
const ADDRESS: &str = "127.0.0.1:5000";

/// A running registry, killed when dropped.
pub struct Registry(Child);

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An image that critest names, by its name below the host: from which of ours, and what is different.
struct Made {
    name: &'static str,
    from: &'static str,
    changes: &'static [&'static str],
}

const fn made(name: &'static str, from: &'static str, changes: &'static [&'static str]) -> Made {
    Made {
        name,
        from,
        changes,
    }
}

const NGINX: &str = "e2e-test-images/nginx:1.14-2";
const BUSYBOX: &str = "e2e-test-images/busybox:1.29-2";

/// What its sources name: pkg/framework/util.go and pkg/validate of cri-tools.
const IMAGES: &[Made] = &[
    // It has httpd's name in its log.
    made(
        "e2e-test-images/httpd:2.4.39-4",
        NGINX,
        &["--cmd", "sh,-c,echo httpd; exec nginx -g 'daemon off;'"],
    ),
    made(
        "k8s-staging-cri-tools/hostnet-nginx-amd64:latest",
        NGINX,
        &[
            "--cmd",
            "sh,-c,sed 's/listen 80/listen 12003/' /etc/nginx/nginx.conf > /tmp/nginx.conf; exec nginx -c /tmp/nginx.conf -g 'daemon off;'",
        ],
    ),
    made(
        "k8s-staging-cri-tools/test-image-user-uid:latest",
        BUSYBOX,
        &["--user", "1002"],
    ),
    made(
        "k8s-staging-cri-tools/test-image-user-username:latest",
        BUSYBOX,
        &["--user", "www-data"],
    ),
    made(
        "k8s-staging-cri-tools/test-image-user-uid-group:latest",
        BUSYBOX,
        &["--user", "1003:1004"],
    ),
    made(
        "k8s-staging-cri-tools/test-image-user-username-group:latest",
        BUSYBOX,
        &["--user", "www-data:1004"],
    ),
    made(
        "k8s-staging-cri-tools/test-image-latest:latest",
        BUSYBOX,
        &["--label", "test=latest"],
    ),
    made(
        "k8s-staging-cri-tools/test-image-tag:test",
        BUSYBOX,
        &["--label", "test=tag"],
    ),
    made(
        "k8s-staging-cri-tools/test-image-tag:all",
        BUSYBOX,
        &["--label", "test=all"],
    ),
    made(
        "k8s-staging-cri-tools/test-image-1:latest",
        BUSYBOX,
        &["--label", "test=1"],
    ),
    made(
        "k8s-staging-cri-tools/test-image-2:latest",
        BUSYBOX,
        &["--label", "test=2"],
    ),
    made(
        "k8s-staging-cri-tools/test-image-3:latest",
        BUSYBOX,
        &["--label", "test=3"],
    ),
    made(
        "k8s-staging-cri-tools/test-image-tags:1",
        BUSYBOX,
        &["--label", "test=same"],
    ),
    made(
        "k8s-staging-cri-tools/test-image-tags:2",
        BUSYBOX,
        &["--label", "test=same"],
    ),
    made(
        "k8s-staging-cri-tools/test-image-tags:3",
        BUSYBOX,
        &["--label", "test=same"],
    ),
];

/// Starts one, fills it, and tells containerd by `hosts`, a folder as its `config_path` names, to take every image from it.
pub fn serve(hosts: &Path) -> Result<Registry, Error> {
    let crane = upstream("crane", "crane")?;
    let registry = Registry(
        Command::new("/usr/bin/setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(&crane)
            .args(["registry", "serve", "--address", ADDRESS])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            // Every request.
            .stderr(Stdio::null())
            .spawn()?,
    );
    wait::until_true("the registry to listen", SOON, || {
        TcpStream::connect(ADDRESS).is_ok()
    })?;
    let run = |words: &[&str]| -> Result<(), Error> {
        command::run(
            Command::new(&crane).args(words),
            None,
            Duration::from_secs(60),
        )?
        .success()?;
        Ok(())
    };
    let at = |name: &str| format!("{ADDRESS}/{name}");
    let layers = hosts.join("layers");
    for (image, name, layer) in [
        (Image::Nginx, NGINX, Some(layer::nginx(&layers)?)),
        (Image::Busybox, BUSYBOX, Some(layer::tools(&layers)?)),
        (Image::NoNewPrivs, "e2e-test-images/nonewprivs:1.3", None),
        (Image::Pause, "pause:3.9", None),
        // That of sandboxes: a case removes all images.
        (Image::Pause, "pause:latest", None),
    ] {
        run(&["push", &image.archive()?.to_string_lossy(), &at(name)])?;
        if let Some(layer) = layer {
            run(&[
                "append",
                "--base",
                &at(name),
                "--new_layer",
                &layer,
                "--new_tag",
                &at(name),
            ])?;
        }
    }
    for Made {
        name,
        from,
        changes,
    } in IMAGES
    {
        let (from, to) = (at(from), at(name));
        run(&[&["mutate", &from, "--tag", &to], *changes].concat())?;
    }
    run(&[
        "mutate",
        &at(BUSYBOX),
        "--append",
        &layer::group(&layers)?,
        "--user",
        "1000",
        "--tag",
        &at("k8s-staging-cri-tools/test-image-predefined-group:latest"),
    ])?;
    let folder = hosts.join("_default");
    fs::create_dir_all(&folder)?;
    fs::write(
        folder.join("hosts.toml"),
        format!("[host.\"http://{ADDRESS}\"]\ncapabilities = [\"pull\", \"resolve\"]\n"),
    )?;
    Ok(registry)
}
