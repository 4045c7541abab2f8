//! The server with a real TLS client, and the certificate with an API server of a few objects.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use k8s_openapi::jiff::{Timestamp, ToSpan};
use podhook_hooks::lifecycle::Policy;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::answer::Reviewer;
use super::certificate::{self, Pems};
use super::counters::Counters;
use super::serve::Server;
use crate::args::{self, Namespaced};
use crate::clock;
use crate::cluster::fake;
use crate::cmd::listen;
use crate::manifest::review::Rules;

const HOST: &str = "hooks.podhook.svc";

fn service() -> Namespaced {
    Namespaced {
        namespace: "podhook".to_owned(),
        name: "hooks".to_owned(),
    }
}

fn pems(now: Timestamp) -> Pems {
    certificate::make(&service(), None, now).unwrap()
}

fn rules() -> Rules {
    Rules {
        classes: vec!["podhook".to_owned()],
        policy: Policy::default(),
    }
}

/// A review of a pod with a hook.
fn review() -> String {
    let pod = json!({
        "metadata": {},
        "spec": {
            "runtimeClassName": "podhook",
            "containers": [{"name": "web", "lifecycle": {"preStop": {"sleep": {"seconds": 5}}}}],
        },
    });
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {"uid": "u1", "operation": "CREATE", "kind": {"kind": "Pod"}, "object": pod},
    })
    .to_string()
}

/// A folder as a kubelet mounts a Secret: its files are links into a folder that is replaced as a whole.
fn mount(folder: &Path, version: &str, pems: &Pems) {
    let data = folder.join(version);
    fs::create_dir(&data).unwrap();
    fs::write(data.join("tls.crt"), &pems.certificate).unwrap();
    fs::write(data.join("tls.key"), &pems.key).unwrap();
    symlink(version, folder.join("..new")).unwrap();
    fs::rename(folder.join("..new"), folder.join("..data")).unwrap();
    for file in ["tls.crt", "tls.key"] {
        let _ = symlink(format!("..data/{file}"), folder.join(file));
    }
}

struct Running {
    server: Arc<Server>,
    at: SocketAddr,
    end: watch::Sender<bool>,
    serving: tokio::task::JoinHandle<()>,
    said: String,
}

impl Running {
    async fn start(folder: &Path) -> Self {
        let server = Arc::new(Server::new(
            rules(),
            &folder.join("tls.crt"),
            &folder.join("tls.key"),
        ));
        let mut said = String::new();
        server.look(&mut said);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let (end, ending) = watch::channel(false);
        let serving = Arc::clone(&server).reviews(listener, ending).unwrap();
        Self {
            server,
            at,
            end,
            serving: tokio::spawn(serving),
            said,
        }
    }

    fn look(&mut self) -> &str {
        self.server.look(&mut self.said);
        &self.said
    }

    /// What a probe is answered.
    async fn probe(&self, path: &str) -> (StatusCode, String) {
        let request = Request::get(path).body(Full::new(Bytes::new())).unwrap();
        let response = self.server.probe(&request, *self.end.borrow());
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    async fn connect(&self, trusted: &Pems) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(trusted.authorities.as_bytes()) {
            roots.add(root.unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(self.at).await?;
        let name = ServerName::try_from(HOST).unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
    }

    async fn client(&self, trusted: &Pems) -> std::io::Result<SendRequest<Full<Bytes>>> {
        let stream = TokioIo::new(self.connect(trusted).await?);
        let (sender, connection) = http1::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        Ok(sender)
    }
}

async fn mutate(client: &mut SendRequest<Full<Bytes>>) -> Value {
    client.ready().await.unwrap();
    let request = Request::post("/mutate?timeout=5s")
        .header("host", HOST)
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(review())))
        .unwrap();
    let response = client.send_request(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&body).unwrap()
}

#[tokio::test(flavor = "current_thread")]
async fn a_new_certificate_is_shown_and_connections_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (pems(clock::now()), pems(clock::now()));
    mount(folder.path(), "1", &old);
    let mut running = Running::start(folder.path()).await;
    let mut before = running.client(&old).await.unwrap();
    assert_eq!(
        mutate(&mut before).await["response"]["patchType"],
        "JSONPatch"
    );
    assert!(running.look().is_empty());
    mount(folder.path(), "2", &new);
    assert!(
        running
            .look()
            .starts_with("the certificate is good until 20")
    );
    assert!(running.client(&old).await.is_err());
    let mut after = running.client(&new).await.unwrap();
    for client in [&mut before, &mut after] {
        assert_eq!(mutate(client).await["response"]["allowed"], true);
    }
    let (_, page) = running.probe("/metrics").await;
    for line in [
        "podhook_webhook_requests_total{path=\"/mutate\",result=\"changed\"} 3",
        "podhook_webhook_request_duration_seconds_bucket{path=\"/mutate\",le=\"+Inf\"} 3",
        "podhook_webhook_request_duration_seconds_count{path=\"/mutate\"} 3",
        "podhook_webhook_certificate_reads_total{result=\"read\"} 2",
        "podhook_webhook_certificate_expiry_timestamp_seconds 1",
    ] {
        assert!(page.contains(&format!("\n{line}")), "{line}\n{page}");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_certificate_that_is_no_good_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let (old, other) = (pems(clock::now()), pems(clock::now()));
    mount(folder.path(), "1", &old);
    let mut running = Running::start(folder.path()).await;
    let mixed = Pems {
        key: other.key.clone(),
        ..old.clone()
    };
    let broken = Pems {
        certificate: "-----BEGIN".to_owned(),
        ..old.clone()
    };
    for (version, pems) in [("2", &mixed), ("3", &broken)] {
        mount(folder.path(), version, pems);
        let said = running.look();
        assert!(
            said.starts_with("warning: the new certificate is not used: "),
            "{said}"
        );
        assert_eq!(running.probe("/readyz").await.0, StatusCode::OK);
        running.client(&old).await.unwrap();
    }
}

#[tokio::test(flavor = "current_thread")]
async fn it_is_ready_with_a_certificate_that_has_not_ended_and_until_it_is_to_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut running = Running::start(folder.path()).await;
    assert!(
        running.said.starts_with("waiting for a certificate: "),
        "{}",
        running.said
    );
    assert!(running.client(&pems(clock::now())).await.is_err());
    assert_eq!(
        running.probe("/readyz").await.0,
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(running.probe("/healthz").await.0, StatusCode::OK);
    let long_ago = clock::now().checked_sub((24 * 400).hours()).unwrap();
    mount(folder.path(), "1", &pems(long_ago));
    running.look();
    let (status, why) = running.probe("/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(why.starts_with("the certificate has ended: "), "{why}");
    mount(folder.path(), "2", &pems(clock::now()));
    running.look();
    assert_eq!(running.probe("/readyz").await.0, StatusCode::OK);
    running.end.send(true).unwrap();
    assert_eq!(
        running.probe("/readyz").await.0,
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(running.probe("/x").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "current_thread")]
async fn a_request_that_is_there_is_answered_before_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let pems = pems(clock::now());
    mount(folder.path(), "1", &pems);
    let running = Running::start(folder.path()).await;
    let mut stream = running.connect(&pems).await.unwrap();
    let body = review();
    let head = format!(
        "POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // The server says so when it reads the body.
    let mut begun = [0; 25];
    stream.read_exact(&mut begun).await.unwrap();
    assert_eq!(&begun, b"HTTP/1.1 100 Continue\r\n\r\n");
    // An idle one ends at once.
    let mut idle = running.connect(&pems).await.unwrap();
    running.end.send(true).unwrap();
    let mut nothing = Vec::new();
    let _ = idle.read_to_end(&mut nothing).await;
    assert!(nothing.is_empty());
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(
        answer.starts_with("HTTP/1.1 200 OK") && answer.contains("JSONPatch"),
        "{answer}"
    );
    // No connection is tried: the port is free now, and may be another test's.
    running.serving.await.unwrap();
}

#[tokio::test(flavor = "current_thread")]
async fn without_an_address_it_listens_on_all() {
    let everywhere = listen::bind("--listen", ":0").await.unwrap();
    let port = everywhere.local_addr().unwrap().port();
    TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let one = listen::bind("--listen", "127.0.0.1:0").await.unwrap();
    assert!(one.local_addr().unwrap().ip().is_loopback());
    for wrong in ["8443", ":x", "127.0.0.1"] {
        let error = listen::bind("--listen", wrong)
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(wrong) && error.contains("want [ADDRESS]:PORT"),
            "{error}"
        );
    }
}

#[tokio::test(flavor = "current_thread")]
async fn so_many_connections_are_served_at_once_and_others_wait() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let (_end, ending) = watch::channel(false);
    tokio::spawn(listen::accept(
        listener,
        1,
        ending,
        |mut stream| async move {
            let mut byte = [0];
            while stream.read_exact(&mut byte).await.is_ok() {
                stream.write_all(&byte).await.unwrap();
            }
        },
    ));
    let mut first = TcpStream::connect(at).await.unwrap();
    let mut second = TcpStream::connect(at).await.unwrap();
    let mut byte = [0];
    first.write_all(b"1").await.unwrap();
    first.read_exact(&mut byte).await.unwrap();
    second.write_all(b"2").await.unwrap();
    let answered =
        tokio::time::timeout(Duration::from_millis(100), second.read_exact(&mut byte)).await;
    assert!(answered.is_err());
    drop(first);
    second.read_exact(&mut byte).await.unwrap();
    assert_eq!(&byte, b"2");
}

#[tokio::test(flavor = "current_thread")]
async fn what_is_no_review_is_told_why() {
    let (reviewer, counters) = (Reviewer::new(rules()), Counters::default());
    let post = || Request::post("/validate");
    let kind = ("content-type", "application/json; charset=utf-8");
    let json = || post().header(kind.0, kind.1);
    let large = " ".repeat(5 << 20);
    for (request, body, status, says) in [
        (Request::post("/"), "", 404, "want /mutate or /validate"),
        (Request::get("/mutate"), "", 405, "want POST"),
        (post(), "", 415, "application/json"),
        (json(), "{", 400, "EOF while parsing"),
        (json(), "{\"kind\": \"Pod\"}", 400, "not an AdmissionReview"),
        (json(), &large, 413, "more than 4194304 bytes"),
    ] {
        let request = request
            .body(Full::new(Bytes::from(body.to_owned())))
            .unwrap();
        let response = reviewer.answer(request, &counters).await;
        assert_eq!(response.status().as_u16(), status, "{says}");
        let text = response.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8_lossy(&text);
        assert!(text.contains(says), "{text}");
    }
    let page = counters.page(None);
    assert!(
        page.contains("{path=\"/validate\",result=\"bad_request\"} 4\n"),
        "{page}"
    );
}

const SECRET: &str = "/api/v1/namespaces/podhook/secrets/tls";
const MUTATING: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/hooks";
const VALIDATING: &str =
    "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/hooks";

fn asked(folder: &Path) -> args::Certificate {
    args::Certificate {
        service: service(),
        secret: Namespaced {
            namespace: "podhook".to_owned(),
            name: "tls".to_owned(),
        },
        configuration: "hooks".to_owned(),
        directory: Some(folder.to_owned()),
        every: None,
    }
}

fn configuration() -> Value {
    let by_url = json!({"name": "b", "clientConfig": {"url": "https://elsewhere"}});
    json!({"webhooks": [{"name": "a", "clientConfig": {"service": {"name": "hooks"}}}, by_url]})
}

fn bundle(object: &Value) -> &str {
    object["webhooks"][0]["clientConfig"]["caBundle"]
        .as_str()
        .unwrap_or_default()
}

#[tokio::test(flavor = "current_thread")]
async fn a_certificate_is_made_once_and_the_api_server_trusts_it() {
    let (account, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (api, fake) = fake::start(account.path()).await;
    let args = asked(folder.path());
    let refused = certificate::keep(&api, &args)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("ValidatingWebhookConfiguration is named hooks"),
        "{refused}"
    );
    {
        let mut fake = fake.lock().unwrap();
        for path in [MUTATING, VALIDATING] {
            fake.objects.insert(path.to_owned(), configuration());
        }
        // As the manifests have it, with what somebody has written on it.
        let empty =
            json!({"metadata": {"name": "tls", "resourceVersion": "7", "annotations": {"a": "b"}}});
        fake.objects.insert(SECRET.to_owned(), empty);
        fake.changes.clear();
        fake.conflicts = 2;
    }
    let said = certificate::keep(&api, &args).await.unwrap();
    assert!(
        said.starts_with("hooks.podhook.svc has a certificate until 20"),
        "{said}"
    );
    let count = {
        let fake = fake.lock().unwrap();
        let secret = &fake.objects[SECRET];
        assert_eq!(secret["metadata"]["resourceVersion"], "7");
        let annotations = json!({"a": "b", "podhook.dev/webhook-service": "podhook/hooks"});
        assert_eq!(secret["metadata"]["annotations"], annotations);
        for path in [MUTATING, VALIDATING] {
            assert_eq!(
                bundle(&fake.objects[path]),
                secret["data"]["ca.crt"].as_str().unwrap()
            );
            assert!(fake.objects[path]["webhooks"][1]["clientConfig"]["caBundle"].is_null());
        }
        fake.changes.len()
    };
    let key = fs::metadata(folder.path().join("tls.key")).unwrap();
    assert_eq!(key.mode() & 0o777, 0o600);
    certificate::keep(&api, &args).await.unwrap();
    assert_eq!(fake.lock().unwrap().changes.len(), count);
    assert_eq!(
        fs::metadata(folder.path().join("tls.key")).unwrap().ino(),
        key.ino()
    );
    // A server shows it to who trusts what the API server was told.
    let running = Running::start(folder.path()).await;
    let trusted = certificate::read(&fake.lock().unwrap().objects[SECRET]).unwrap();
    running.client(&trusted).await.unwrap();
}

#[tokio::test(flavor = "current_thread")]
async fn it_is_renewed_in_time_and_the_old_one_is_trusted_on() {
    let (account, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (api, fake) = fake::start(account.path()).await;
    for path in [MUTATING, VALIDATING] {
        fake.lock()
            .unwrap()
            .objects
            .insert(path.to_owned(), configuration());
    }
    let old = pems(clock::now().checked_sub((24 * 340).hours()).unwrap());
    let object = certificate::object(&service(), &asked(folder.path()).secret, &old);
    fake.lock()
        .unwrap()
        .objects
        .insert(SECRET.to_owned(), object);
    mount(folder.path(), "1", &old);
    let before = Running::start(folder.path()).await;
    certificate::keep(&api, &asked(folder.path()))
        .await
        .unwrap();
    let new = certificate::read(&fake.lock().unwrap().objects[SECRET]).unwrap();
    assert_ne!(new.certificate, old.certificate);
    assert_eq!(new.authorities.matches("BEGIN CERTIFICATE").count(), 2);
    let after = Running::start(folder.path()).await;
    for running in [before, after] {
        running.client(&new).await.unwrap();
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_certificate_of_somebody_else_is_left_alone() {
    let (account, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (api, fake) = fake::start(account.path()).await;
    let mut object = certificate::object(
        &service(),
        &asked(folder.path()).secret,
        &pems(clock::now()),
    );
    object["metadata"]
        .as_object_mut()
        .unwrap()
        .remove("annotations");
    fake.lock()
        .unwrap()
        .objects
        .insert(SECRET.to_owned(), object);
    let refused = certificate::keep(&api, &asked(folder.path()))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("podhook/tls has a certificate that podhook has not made"),
        "{refused}"
    );
    assert!(fake.lock().unwrap().changes.is_empty());
}
