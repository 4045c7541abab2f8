//! An API server of a few objects, for tests.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::Api;

/// What it has, and what it was asked.
#[derive(Debug, Default)]
pub(crate) struct Fake {
    pub(crate) objects: BTreeMap<String, Value>,
    /// Every change, as `PUT /path`.
    pub(crate) changes: Vec<String>,
    /// The answer to so many changes to come.
    pub(crate) conflicts: usize,
    /// Whose changes fail, as by a webhook.
    pub(crate) broken: Option<String>,
    /// Who may get pods, as `USER NAMESPACE`, or one, as `USER NAMESPACE/POD`.
    pub(crate) allowed: Vec<String>,
}

/// Starts one; the files of an account are in the folder then.
pub(crate) async fn start(account: &Path) -> (Api, Arc<Mutex<Fake>>) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let text = crate::output::pem::encode("CERTIFICATE", made.cert.der());
    std::fs::write(account.join("ca.crt"), text).unwrap();
    std::fs::write(account.join("token"), "secret\n").unwrap();
    let listener = TcpListener::bind("localhost:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let fake = Arc::new(Mutex::new(Fake::default()));
    let state = Arc::clone(&fake);
    tokio::spawn(async move {
        let acceptor = TlsAcceptor::from(Arc::new(config));
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(stream) = acceptor.accept(stream).await else {
                continue;
            };
            let state = Arc::clone(&state);
            let service = service_fn(move |request| answer(request, Arc::clone(&state)));
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        }
    });
    (Api::at("localhost", port, account), fake)
}

async fn answer(
    request: Request<Incoming>,
    state: Arc<Mutex<Fake>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let (code, body) = if head
        .headers
        .get(AUTHORIZATION)
        .is_none_or(|token| token != "Bearer secret")
    {
        (401, json!({"message": "Unauthorized"}))
    } else {
        let kind = head
            .headers
            .get(CONTENT_TYPE)
            .map(|kind| kind.to_str().unwrap().to_owned());
        let body = serde_json::from_slice(&body).unwrap_or_default();
        state
            .lock()
            .unwrap()
            .ask(&head.method, head.uri.path(), kind.as_deref(), &body)
    };
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = code.try_into().unwrap();
    Ok(response)
}

impl Fake {
    fn ask(
        &mut self,
        method: &Method,
        path: &str,
        kind: Option<&str>,
        body: &Value,
    ) -> (u16, Value) {
        if *method == Method::GET {
            return match self.objects.get(path) {
                Some(object) => (200, object.clone()),
                None => (404, json!({"message": "not found"})),
            };
        }
        self.changes.push(format!("{method} {path}"));
        if self.conflicts > 0 {
            self.conflicts -= 1;
            return (409, json!({"message": "the object has been modified"}));
        }
        let is_broken = |broken: &String| path.contains(broken.as_str());
        if self.broken.as_ref().is_some_and(is_broken) {
            return (500, json!({"message": "failed calling webhook"}));
        }
        if path.ends_with("/subjectaccessreviews") {
            return (201, self.reviewed(body));
        }
        let object = match kind {
            Some("application/json") if *method == Method::POST => {
                let name = body["metadata"]["name"].as_str().unwrap();
                let path = format!("{path}/{name}");
                if self.objects.contains_key(&path) {
                    return (409, json!({"message": "already exists"}));
                }
                self.objects.insert(path.clone(), body.clone());
                &self.objects[&path]
            }
            Some("application/json") => {
                self.objects.insert(path.to_owned(), body.clone());
                body
            }
            // Of a pod's status, the conditions are what was sent last.
            Some("application/merge-patch+json" | "application/strategic-merge-patch+json") => {
                let Some(object) = self.objects.get_mut(path) else {
                    return (404, json!({"message": "not found"}));
                };
                merge(object, body);
                object
            }
            Some("application/json-patch+json") => {
                let object = self.objects.get_mut(path).unwrap();
                for op in body.as_array().unwrap() {
                    let at = op["path"].as_str().unwrap();
                    if op["op"] == "test" {
                        assert_eq!(object.pointer(at), Some(&op["value"]));
                        continue;
                    }
                    let (parent, key) = at.rsplit_once('/').unwrap();
                    object.pointer_mut(parent).unwrap()[key] = op["value"].clone();
                }
                object
            }
            other => return (415, json!({"message": format!("{other:?}")})),
        };
        (200, object.clone())
    }
}

impl Fake {
    fn reviewed(&self, review: &Value) -> Value {
        let spec = &review["spec"];
        let what = &spec["resourceAttributes"];
        assert_eq!(
            (&what["verb"], &what["resource"]),
            (&"get".into(), &"pods".into())
        );
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let mut right = format!("{} {}", text(&spec["user"]), text(&what["namespace"]));
        if let Some(pod) = what["name"].as_str() {
            right += &format!("/{pod}");
        }
        let mut review = review.clone();
        review["status"] = json!({"allowed": self.allowed.contains(&right)});
        review
    }
}

/// RFC 7386.
fn merge(object: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *object = patch.clone();
        return;
    };
    for (key, value) in patch {
        match value {
            Value::Null => drop(object.as_object_mut().unwrap().remove(key)),
            value => merge(&mut object[key], value),
        }
    }
}
