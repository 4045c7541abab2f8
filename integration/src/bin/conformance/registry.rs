//! A registry on loopback with the images that critest pulls, made of ours.

use std::process::{Child, Command, Stdio};

use podhook_integration::registry::Registry;
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Containerd, Image};

use crate::{Error, layer};

/// In a network namespace of one's own every port is free.
const ADDRESS: &str = "127.0.0.1:5000";

/// A running registry, killed when dropped.
pub struct Server(Child);

impl Drop for Server {
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

/// Starts one, fills it, and has containerd take every image from it.
pub fn serve(containerd: &Containerd) -> Result<Server, Error> {
    let registry = Registry::at(ADDRESS.to_owned())?;
    let served = registry.server();
    let server = Server(
        Command::new("/usr/bin/setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(served.get_program())
            .args(served.get_args())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            // Every request.
            .stderr(Stdio::null())
            .spawn()?,
    );
    wait::until_true("the registry to listen", SOON, || registry.listens())?;
    let layers = containerd.dir().join("layers");
    for (image, name, layer) in [
        (Image::Nginx, NGINX, Some(layer::nginx(&layers)?)),
        (Image::Busybox, BUSYBOX, Some(layer::tools(&layers)?)),
        (Image::NoNewPrivs, "e2e-test-images/nonewprivs:1.3", None),
        (Image::Pause, "pause:3.9", None),
        // That of sandboxes: a case removes all images.
        (Image::Pause, "pause:latest", None),
    ] {
        registry.push(image, name)?;
        if let Some(layer) = layer {
            let at = registry.image(name);
            registry.crane(&[
                "append",
                "--base",
                &at,
                "--new_layer",
                &layer,
                "--new_tag",
                &at,
            ])?;
        }
    }
    let make = |name: &str, from: &str, changes: &[&str]| {
        let (from, to) = (registry.image(from), registry.image(name));
        registry.crane(&[&["mutate", &from, "--tag", &to], changes].concat())
    };
    for one in IMAGES {
        make(one.name, one.from, one.changes)?;
    }
    make(
        "k8s-staging-cri-tools/test-image-predefined-group:latest",
        BUSYBOX,
        &["--append", &layer::group(&layers)?, "--user", "1000"],
    )?;
    registry.serves(containerd)?;
    Ok(server)
}
