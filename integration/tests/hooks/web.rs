//! A real nginx in a pod, with HTTP and several kinds of HTTPS, and hooks that ask it.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use podhook_integration::image::Image;
use podhook_integration::node::{Pod, PodContainer, PodContainerBuilder};
use podhook_integration::trace::Trace;
use podhook_integration::wait;
use podhook_integration::{Node, Outcome, command};
use serde_json::{Value, json};

use crate::recorded::{Record, Recorded};
use crate::script::{Error, with};

/// Plain HTTP.
pub const PORT: u16 = 80;

/// An HTTPS server of the nginx.
pub struct Tls {
    pub port: u16,
    /// The kind of its key, as `openssl req -newkey` takes it.
    key: [&'static str; 3],
    /// When its certificate is valid, as `openssl ca` takes it.
    valid: [&'static str; 2],
    /// More of its configuration.
    more: &'static str,
}

const EC: [&str; 3] = ["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];
const RSA: [&str; 3] = ["rsa:2048", "-pkeyopt", "rsa_keygen_bits:2048"];
const NOW: [&str; 2] = ["20200101000000Z", "21200101000000Z"];

/// All of them. Every certificate is self-signed and for another name.
pub const TLS: [Tls; 6] = [
    tls(443, RSA, NOW, ""),
    tls(4431, EC, ["20200101000000Z", "20210101000000Z"], ""),
    tls(4432, EC, ["21000101000000Z", "21200101000000Z"], ""),
    tls(4433, RSA, NOW, "ssl_protocols TLSv1.2;"),
    tls(4434, EC, NOW, "ssl_protocols TLSv1.3;"),
    tls(4435, EC, NOW, "ssl_verify_client optional_no_ca;"),
];

const fn tls(
    port: u16,
    key: [&'static str; 3],
    valid: [&'static str; 2],
    more: &'static str,
) -> Tls {
    Tls {
        port,
        key,
        valid,
        more,
    }
}

/// The statuses that `/status/N` has.
pub const STATUSES: [u16; 14] = [
    200, 201, 204, 206, 300, 304, 399, 400, 401, 404, 429, 500, 503, 599,
];

/// The container, ready to be started; `folder` is for its configuration.
pub fn nginx<'a>(pod: &'a Pod<'_>, folder: &Path) -> Result<PodContainerBuilder<'a>, Error> {
    let mut servers = format!("server {{ listen {PORT}; {} }}\n", locations());
    for Tls {
        port,
        key,
        valid,
        more,
    } in TLS
    {
        certify(folder, port, key, valid)?;
        servers += &format!(
            "server {{ listen {port} ssl; ssl_certificate /conf/{port}.crt; \
             ssl_certificate_key /conf/{port}.key; {more} {} }}\n",
            locations()
        );
    }
    let text = format!(
        "user www-data; worker_processes 1; pid /run/nginx.pid;\n\
         error_log /var/log/nginx/error.log notice;\n\
         events {{ worker_connections 128; }}\n\
         http {{ default_type text/plain; access_log /var/log/nginx/access.log;\n{servers}}}\n"
    );
    fs::write(folder.join("nginx.conf"), text)?;
    let command = ["nginx", "-c", "/conf/nginx.conf", "-g", "daemon off;"];
    Ok(pod
        .container("web")
        .image(Image::Nginx)
        .command(&command)
        .host_path(folder, "/conf"))
}

fn locations() -> String {
    let echo = "host=$http_host agent=$http_user_agent accept=$http_accept reason=$http_x_reason \
                scheme=$scheme query=$args authorization=$http_authorization";
    let mut text = format!("location = /echo {{ return 200 '{echo}'; }}\n");
    for status in STATUSES {
        text += &format!("location = /status/{status} {{ return {status}; }}\n");
    }
    // 444 is nginx's own: it closes the connection without an answer.
    text += "location = /silent { return 444; }\n\
             location = /end { return 200 'the end'; }\n\
             location = /same { return 302 /end; }\n\
             location = /relative { absolute_redirect off; return 307 /end; }\n\
             location = /missing { return 302 /nowhere; }\n\
             location = /nowhere { return 404; }\n\
             location = /other { return 301 http://192.0.2.1/; }\n\
             location = /loop { return 302 /loop; }\n\
             location = /slow { alias /var/www/html/slow.bin; limit_rate 8k; }\n\
             location = /hop/11 { return 200 'the last'; }\n";
    for hop in 0..11 {
        text += &format!("location = /hop/{hop} {{ return 303 /hop/{}; }}\n", hop + 1);
    }
    text
}

/// Makes `PORT.key` and a self-signed `PORT.crt` for another name.
fn certify(folder: &Path, port: u16, key: [&str; 3], valid: [&str; 2]) -> Outcome {
    let path = |name: &str| folder.join(format!("{port}{name}")).display().to_string();
    let [kind, option, value] = key;
    let [from, to] = valid;
    let (secret, request, config) = (path(".key"), path(".csr"), path(".cnf"));
    fs::write(path(".index"), "")?;
    fs::write(path(".serial"), "01\n")?;
    let text = format!(
        "[ca]\ndefault_ca = own\n[own]\ndatabase = {}\nserial = {}\nnew_certs_dir = {}\npolicy = any\n\
         default_md = sha256\n[any]\ncommonName = supplied\n",
        path(".index"),
        path(".serial"),
        folder.display()
    );
    fs::write(&config, text)?;
    let subject = "/CN=other.example";
    let words = format!(
        "req -new -newkey {kind} {option} {value} -nodes -keyout {secret} -out {request} -subj {subject}"
    );
    openssl(&words)?;
    openssl(&format!(
        "ca -config {config} -selfsign -batch -notext -keyfile {secret} -in {request} -out {} \
         -startdate {from} -enddate {to}",
        path(".crt")
    ))
}

fn openssl(words: &str) -> Outcome {
    command::stdout_of("openssl", &words.split_whitespace().collect::<Vec<_>>())?;
    Ok(())
}

/// A running nginx.
pub struct Web<'a> {
    /// Goes with the pod.
    _container: PodContainer<'a>,
    /// The pod's address.
    pub ip: String,
}

impl<'a> Web<'a> {
    /// Starts nginx in the pod and waits until it listens.
    pub fn start(node: &Node, pod: &'a Pod<'_>) -> Result<Self, Error> {
        let conf = Trace::new(node)?;
        let container = nginx(pod, conf.dir())?.start()?;
        listens(&pod.ip()?)?;
        Ok(Self {
            _container: container,
            ip: pod.ip()?,
        })
    }
}

/// Waits until the nginx on this address listens.
pub fn listens(ip: &str) -> Outcome {
    wait::until_listening(ip, PORT)?;
    Ok(())
}

/// An httpGet handler.
pub fn get(path: &str, port: u16) -> Value {
    json!({"httpGet": {"path": path, "port": port}})
}

/// The same over HTTPS.
pub fn get_tls(path: &str, port: u16) -> Value {
    json!({"httpGet": {"path": path, "port": port, "scheme": "HTTPS"}})
}

/// An httpGet handler with more fields.
pub fn get_with(path: &str, port: u16, fields: Value) -> Value {
    json!({"httpGet": with(json!({"path": path, "port": port}), fields)})
}

/// What a hook comes to: a new container of the pod has it as its postStart.
pub fn asked(pod: &Pod<'_>, hook: &Value) -> Result<Record, Error> {
    static COUNT: AtomicU32 = AtomicU32::new(1);
    let name = format!("asks-{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let hook = with(hook.clone(), json!({"onFailure": "Ignore"}));
    let container = pod
        .container(&name)
        .annotation(
            "podhook.dev/lifecycle",
            &json!({"postStart": hook}).to_string(),
        )
        .command(&["sleep", "600"])
        .start()?;
    // One that times out is recorded a moment after it is given up.
    let run = container.wait_hook("postStart")?.hook("postStart")?;
    container.remove()?;
    Ok(run)
}

/// Result, HTTP status and message of a run.
pub fn told(run: &Record) -> (&str, Option<i64>, &str) {
    (
        run.text("/result"),
        run.number("/httpStatus"),
        run.text("/message"),
    )
}
