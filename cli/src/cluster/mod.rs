//! Kubernetes' API server, as a pod with an account of its own sees it.

#[cfg(test)]
pub(crate) mod fake;
mod kubeconfig;
pub(crate) mod proof;
pub(crate) mod question;

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Where a kubelet puts a pod's account.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// How long one request may take.
const LIMIT: Duration = Duration::from_secs(15);
/// More than any object has.
const MAX_BODY: usize = 4 << 20;

/// Why the API server did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "not in a pod with an account: {0} is not set (automountServiceAccountToken, or a projected token)"
    )]
    NoPod(&'static str),
    #[error("cannot read {}: {source}", path.display())]
    Account { path: PathBuf, source: io::Error },
    /// What it cannot be told by.
    #[error("{}: {reason}", path.display())]
    Kubeconfig { path: PathBuf, reason: String },
    #[error("no certificate of the API server's authority in {}: {reason}", path.display())]
    Authority { path: PathBuf, reason: String },
    #[error("the API server at {address}: {reason}")]
    Unreachable { address: String, reason: String },
    /// Its own words.
    #[error("the API server: {method} {path}: {message}")]
    Refused {
        method: Method,
        path: String,
        code: u16,
        message: String,
    },
}

impl Error {
    /// Whether somebody else was faster: to be tried again.
    #[must_use]
    pub const fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused { code: 409, .. })
    }
}

/// How the body of a change is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// A new object.
    Create,
    /// The whole object.
    Replace,
    /// RFC 7386.
    MergePatch,
    /// RFC 6902.
    JsonPatch,
    /// Kubernetes' own: lists are merged by their keys.
    StrategicMerge,
}

impl Change {
    fn method(self) -> Method {
        match self {
            Self::Create => Method::POST,
            Self::Replace => Method::PUT,
            Self::MergePatch | Self::JsonPatch | Self::StrategicMerge => Method::PATCH,
        }
    }

    const fn content_type(self) -> &'static str {
        match self {
            Self::Create | Self::Replace => "application/json",
            Self::MergePatch => "application/merge-patch+json",
            Self::JsonPatch => "application/json-patch+json",
            Self::StrategicMerge => "application/strategic-merge-patch+json",
        }
    }
}

/// The API server. A request is a connection: there are few.
#[derive(Debug, Clone)]
pub struct Api {
    host: String,
    port: u16,
    /// Before every path.
    prefix: String,
    account: Account,
}

/// Whom the API server is told one is, and whom one trusts.
#[derive(Debug, Clone)]
enum Account {
    /// A kubelet's folder, read each time: the kubelet renews it.
    Folder(PathBuf),
    /// A kubeconfig's.
    Given(Arc<kubeconfig::Given>),
}

impl Api {
    /// That of the pod this runs in.
    ///
    /// # Errors
    /// Outside of a pod.
    pub fn of_this_pod() -> Result<Self, Error> {
        let variable = |name| env::var(name).map_err(|_| Error::NoPod(name));
        let port = variable("KUBERNETES_SERVICE_PORT")?;
        Ok(Self {
            host: variable("KUBERNETES_SERVICE_HOST")?,
            port: port
                .parse()
                .map_err(|_| Error::NoPod("KUBERNETES_SERVICE_PORT"))?,
            prefix: String::new(),
            account: Account::Folder(ACCOUNT.into()),
        })
    }

    /// One elsewhere, with the files of an account in a folder.
    #[must_use]
    pub fn at(host: &str, port: u16, account: &Path) -> Self {
        Self {
            host: host.to_owned(),
            port,
            prefix: String::new(),
            account: Account::Folder(account.to_owned()),
        }
    }

    /// That of a kubeconfig's current context.
    ///
    /// # Errors
    /// Where it cannot be read, or has what is not known here: a program to be run for a token, no certificate of an authority.
    pub fn of_kubeconfig(path: &Path) -> Result<Self, Error> {
        kubeconfig::read(path)
    }

    /// An object; none where there is none.
    ///
    /// # Errors
    /// Where it cannot be had.
    pub async fn get(&self, path: &str) -> Result<Option<Value>, Error> {
        match self.ask(Method::GET, path, None).await {
            Err(Error::Refused { code: 404, .. }) => Ok(None),
            result => result.map(Some),
        }
    }

    /// Changes an object; what it is then.
    ///
    /// # Errors
    /// Where it is not changed.
    pub async fn change(&self, change: Change, path: &str, body: &Value) -> Result<Value, Error> {
        self.ask(change.method(), path, Some((change.content_type(), body)))
            .await
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<(&str, &Value)>,
    ) -> Result<Value, Error> {
        let asked = tokio::time::timeout(LIMIT, self.exchange(&method, path, body)).await;
        let late = |_| self.unreachable(format!("no answer within {} s", LIMIT.as_secs()));
        let (code, bytes) = asked.map_err(late)??;
        let answer = serde_json::from_slice::<Value>(&bytes);
        if (200..300).contains(&code) {
            return answer.map_err(|e| self.unreachable(format!("{path}: {e}")));
        }
        let answer = answer.unwrap_or_default();
        let message = answer.get("message").and_then(Value::as_str);
        Err(Error::Refused {
            method,
            path: path.to_owned(),
            code,
            message: message.map_or_else(|| format!("HTTP status {code}"), str::to_owned),
        })
    }

    async fn exchange(
        &self,
        method: &Method,
        path: &str,
        body: Option<(&str, &Value)>,
    ) -> Result<(u16, Bytes), Error> {
        let failed = |e: &dyn std::fmt::Display| self.unreachable(e.to_string());
        let token = self.token()?;
        let config = self.trusting()?;
        let name = ServerName::try_from(self.host.clone()).map_err(|e| failed(&e))?;
        let stream = TcpStream::connect((&*self.host, self.port)).await;
        let stream = stream.map_err(|e| failed(&e))?;
        let stream = TlsConnector::from(config).connect(name, stream).await;
        let stream = TokioIo::new(stream.map_err(|e| failed(&e))?);
        let (mut sender, connection) = http1::handshake(stream).await.map_err(|e| failed(&e))?;
        // It ends with the sender.
        tokio::spawn(connection);
        let host = match &self.account {
            Account::Folder(_) => "kubernetes.default.svc",
            Account::Given(_) => &self.host,
        };
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.prefix))
            .header(HOST, host)
            .header(ACCEPT, "application/json");
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {}", token.trim()));
        }
        let mut bytes = Bytes::new();
        if let Some((kind, body)) = body {
            request = request.header(CONTENT_TYPE, kind);
            bytes = body.to_string().into();
        }
        let request = request.body(Full::new(bytes)).map_err(|e| failed(&e))?;
        let response = sender.send_request(request).await.map_err(|e| failed(&e))?;
        let code = response.status().as_u16();
        let body = Limited::new(response.into_body(), MAX_BODY).collect().await;
        Ok((code, body.map_err(|e| failed(&e))?.to_bytes()))
    }

    fn token(&self) -> Result<Option<String>, Error> {
        let path = match &self.account {
            Account::Folder(folder) => folder.join("token"),
            Account::Given(given) => match &given.token {
                kubeconfig::Token::None => return Ok(None),
                kubeconfig::Token::Text(text) => return Ok(Some(text.clone())),
                kubeconfig::Token::File(path) => path.clone(),
            },
        };
        let token = read(&path)?;
        Ok(Some(String::from_utf8_lossy(&token).into_owned()))
    }

    /// Trusts the cluster's authority and no other.
    fn trusting(&self) -> Result<Arc<ClientConfig>, Error> {
        let (path, pem) = match &self.account {
            Account::Folder(folder) => {
                let path = folder.join("ca.crt");
                let pem = read(&path)?;
                (path, pem)
            }
            Account::Given(given) => (given.path.clone(), given.authority.clone()),
        };
        let refused = |reason: String| Error::Authority {
            path: path.clone(),
            reason,
        };
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|e| refused(e.to_string()))?;
            roots.add(certificate).map_err(|e| refused(e.to_string()))?;
        }
        if roots.is_empty() {
            return Err(refused("it is empty".to_owned()));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder
            .with_safe_default_protocol_versions()
            .map_err(|e| refused(e.to_string()))?;
        let builder = builder.with_root_certificates(roots);
        let Account::Given(given) = &self.account else {
            return Ok(Arc::new(builder.with_no_client_auth()));
        };
        Ok(Arc::new(given.certify(builder)?))
    }

    fn unreachable(&self, reason: String) -> Error {
        Error::Unreachable {
            address: format!("{}:{}", self.host, self.port),
            reason,
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::Account {
        path: path.to_owned(),
        source,
    })
}
