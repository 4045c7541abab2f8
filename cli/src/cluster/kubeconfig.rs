//! kubectl's configuration, as far as a program on a node needs it: the current context, with a token or a certificate.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::Uri;
use rustls::client::WantsClientCert;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ConfigBuilder};
use serde_json::Value;

use super::{Account, Api, Error, read as read_file};

/// What a kubeconfig says of its user and of the API server's authority.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) path: PathBuf,
    pub(super) authority: Vec<u8>,
    pub(super) token: Token,
    client: Option<(Vec<u8>, Vec<u8>)>,
}

#[derive(Debug)]
pub(super) enum Token {
    None,
    Text(String),
    /// Read each time.
    File(PathBuf),
}

pub(super) fn read(path: &Path) -> Result<Api, Error> {
    let text = String::from_utf8_lossy(&read_file(path)?).into_owned();
    let file = File { path, text: &text };
    let config: Value = serde_saphyr::from_str(file.text).map_err(|e| file.wrong(e.to_string()))?;
    let current = file.text_of(&config, "current-context")?;
    let context = file.named(&config, "context", &current)?;
    let cluster = file.named(&config, "cluster", &file.text_of(context, "cluster")?)?;
    let user = file.named(&config, "user", &file.text_of(context, "user")?)?;
    for unknown in ["exec", "auth-provider", "username"] {
        if !user[unknown].is_null() {
            let reason = format!(
                "its user has {unknown}, which podhook does not know; want a token or a certificate"
            );
            return Err(file.wrong(reason));
        }
    }
    let authority = file.bytes(cluster, "certificate-authority")?;
    let certificate = file.bytes(user, "client-certificate")?;
    let client = certificate.zip(file.bytes(user, "client-key")?);
    let token = match (user["token"].as_str(), user["tokenFile"].as_str()) {
        (_, Some(path)) => Token::File(file.beside(path)),
        (Some(text), None) => Token::Text(text.to_owned()),
        (None, None) => Token::None,
    };
    let server = file.text_of(cluster, "server")?;
    let uri: Uri = server.parse().map_err(|_| file.no_server(&server))?;
    let (Some("https"), Some(host)) = (uri.scheme_str(), uri.host()) else {
        return Err(file.no_server(&server));
    };
    Ok(Api {
        host: host.trim_matches(['[', ']']).to_owned(),
        port: uri.port_u16().unwrap_or(443),
        prefix: uri.path().trim_end_matches('/').to_owned(),
        account: Account::Given(Arc::new(Given {
            path: path.to_owned(),
            authority: authority
                .ok_or_else(|| file.wrong("its cluster has no certificate-authority".to_owned()))?,
            token,
            client,
        })),
    })
}

impl Given {
    /// Adds the user's certificate, if it has one.
    pub(super) fn certify(
        &self,
        builder: ConfigBuilder<ClientConfig, WantsClientCert>,
    ) -> Result<ClientConfig, Error> {
        let Some((certificate, key)) = &self.client else {
            return Ok(builder.with_no_client_auth());
        };
        let wrong = |reason: String| Error::Kubeconfig {
            path: self.path.clone(),
            reason: format!("the client's certificate and key: {reason}"),
        };
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate).collect();
        let chain = chain.map_err(|e| wrong(e.to_string()))?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|e| wrong(e.to_string()))?;
        let config = builder.with_client_auth_cert(chain, key);
        config.map_err(|e| wrong(e.to_string()))
    }
}

struct File<'a> {
    path: &'a Path,
    text: &'a str,
}

impl File<'_> {
    fn wrong(&self, reason: String) -> Error {
        Error::Kubeconfig {
            path: self.path.to_owned(),
            reason,
        }
    }

    fn no_server(&self, server: &str) -> Error {
        self.wrong(format!("server {server:?}: want https://HOST[:PORT]"))
    }

    fn text_of(&self, object: &Value, key: &str) -> Result<String, Error> {
        let text = object[key].as_str().filter(|text| !text.is_empty());
        let text = text.ok_or_else(|| self.wrong(format!("no {key}")))?;
        Ok(text.to_owned())
    }

    /// The context, cluster or user with this name.
    fn named<'v>(&self, config: &'v Value, kind: &str, name: &str) -> Result<&'v Value, Error> {
        let all = config[format!("{kind}s")].as_array().into_iter().flatten();
        let found = all.clone().find(|one| one["name"] == name);
        let found = found.ok_or_else(|| self.wrong(format!("no {kind} {name:?}")))?;
        Ok(&found[kind])
    }

    /// A file's bytes, from the file or from `KEY-data`.
    fn bytes(&self, object: &Value, key: &str) -> Result<Option<Vec<u8>>, Error> {
        if let Some(data) = object[format!("{key}-data")].as_str() {
            let bytes = STANDARD.decode(data);
            return bytes
                .map(Some)
                .map_err(|e| self.wrong(format!("{key}-data: {e}")));
        }
        match object[key].as_str() {
            Some(path) => read_file(&self.beside(path)).map(Some),
            None => Ok(None),
        }
    }

    /// A path is relative to the file's folder.
    fn beside(&self, path: &str) -> PathBuf {
        let folder = self.path.parent().unwrap_or(Path::new(""));
        folder.join(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(user: &str, server: &str) -> String {
        format!(
            "current-context: here\ncontexts: [{{name: here, context: {{cluster: c, user: u}}}}]\n\
             clusters: [{{name: c, cluster: {{server: '{server}', certificate-authority: ca.crt}}}}]\n\
             users: [{{name: u, user: {{{user}}}}}]\n"
        )
    }

    fn read_text(text: &str) -> Result<Api, Error> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.crt"), "authority").unwrap();
        let path = folder.path().join("config");
        std::fs::write(&path, text).unwrap();
        read(&path)
    }

    #[test]
    fn the_current_context_says_where_and_as_whom() {
        let api = read_text(&config("token: secret", "https://[::1]:6443/k8s/c1/")).unwrap();
        assert_eq!(
            (&*api.host, api.port, &*api.prefix),
            ("::1", 6443, "/k8s/c1")
        );
        let Account::Given(given) = &api.account else {
            panic!("no kubeconfig");
        };
        assert_eq!(given.authority, b"authority");
        assert_eq!(api.token().unwrap().as_deref(), Some("secret"));
        let plain = read_text(&config("", "https://api")).unwrap();
        assert_eq!((plain.port, &*plain.prefix), (443, ""));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (text, want) in [
            (config("exec: {command: aws}", "https://api"), "has exec"),
            (config("", "http://api"), "want https://HOST"),
            (
                config("", "https://api").replace("here\n", "there\n"),
                "no context \"there\"",
            ),
            (
                config("", "https://api").replace("ca.crt", "none"),
                "cannot read",
            ),
            ("[]".to_owned(), "no current-context"),
        ] {
            let error = read_text(&text).unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        }
    }
}
