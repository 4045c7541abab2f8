//! How somebody shows an agent who they are, and gives it nothing that it could use elsewhere.
//!
//! A token that an agent is shown is a node's to keep: whoever breaks into one node would have the rights of everybody who asked
//! there. So none is shown. Who asks makes a key and a CertificateSigningRequest whose name is the key's hash. The API server
//! writes into every such request who made it, however they have proved it (a certificate, a token, a cloud's program). The
//! agent looks there, and at the key's signature of its challenge. No certificate is ever issued: that signer does not exist.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::jiff::Timestamp;
use rcgen::{CertificateParams, KeyPair, PKCS_ED25519, PublicKeyData, SigningKey};
use ring::digest;
use ring::signature::{ED25519, UnparsedPublicKey};
use serde_json::{Value, json};

use crate::output::pem;

/// Whose the requests are: nobody's.
const SIGNER: &str = "podhook.dev/caller";
/// Where requests are.
pub(crate) const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
/// How long a request shows who made it, s. Clocks may differ by as much.
const AGE: i64 = 600;

/// A key that is used once, and never stored.
#[derive(Debug)]
pub(crate) struct Key {
    pair: KeyPair,
    request: Vec<u8>,
}

impl Key {
    pub(crate) fn new() -> Result<Self, rcgen::Error> {
        let pair = KeyPair::generate_for(&PKCS_ED25519)?;
        let request = CertificateParams::default().serialize_request(&pair)?;
        let request = request.der().to_vec();
        Ok(Self { pair, request })
    }

    /// As [`verified`] takes it.
    pub(crate) fn public(&self) -> String {
        STANDARD.encode(self.pair.der_bytes())
    }

    /// The CertificateSigningRequest.
    pub(crate) fn request(&self) -> Value {
        let pem = pem::encode("CERTIFICATE REQUEST", &self.request);
        json!({
            "apiVersion": "certificates.k8s.io/v1",
            "kind": "CertificateSigningRequest",
            "metadata": {"name": name(self.pair.der_bytes())},
            "spec": {
                "request": STANDARD.encode(pem), "signerName": SIGNER, "usages": ["client auth"],
                "expirationSeconds": AGE,
            },
        })
    }

    /// For one node's agent, its challenge and this question, and no other.
    pub(crate) fn sign(
        &self,
        node: &str,
        challenge: &str,
        question: &str,
    ) -> Result<String, rcgen::Error> {
        let signature = self.pair.sign(&message(node, challenge, question))?;
        Ok(STANDARD.encode(signature))
    }
}

/// The name of the request of the key that has signed this; none where it has not.
pub(crate) fn verified(
    public: &str,
    signature: &str,
    (node, challenge, question): (&str, &str, &str),
) -> Option<String> {
    let public = STANDARD.decode(public).ok()?;
    let signature = STANDARD.decode(signature).ok()?;
    let key = UnparsedPublicKey::new(&ED25519, &public);
    let message = message(node, challenge, question);
    key.verify(&message, &signature).ok()?;
    Some(name(&public))
}

/// Whether a request is one of these, and new.
pub(crate) fn is_good(request: &Value, now: Timestamp) -> bool {
    let text = |pointer| request.pointer(pointer).and_then(Value::as_str);
    let made = text("/metadata/creationTimestamp").and_then(|made| made.parse::<Timestamp>().ok());
    let age = made.map(|made| now.as_second().saturating_sub(made.as_second()));
    text("/spec/signerName") == Some(SIGNER) && age.is_some_and(|age| (-AGE..=AGE).contains(&age))
}

fn message(node: &str, challenge: &str, question: &str) -> Vec<u8> {
    // JSON keeps the parts apart, whatever is in them.
    json!(["podhook agent", node, challenge, question])
        .to_string()
        .into_bytes()
}

/// The hash binds the request to the key: a name never changes, and what is in the object's metadata could.
fn name(public: &[u8]) -> String {
    let hash = digest::digest(&digest::SHA256, public);
    let hash = hash.as_ref().iter().map(|byte| format!("{byte:02x}"));
    format!("podhook-{}", hash.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_good_for_one_node_challenge_and_question() {
        let key = Key::new().unwrap();
        let signature = key.sign("n1", "c", "q").unwrap();
        let of = |what| verified(&key.public(), &signature, what);
        assert_eq!(
            of(("n1", "c", "q")).as_deref(),
            key.request()["metadata"]["name"].as_str()
        );
        for other in [("n2", "c", "q"), ("n1", "d", "q"), ("n1", "c", "r")] {
            assert_eq!(of(other), None);
        }
        let other = Key::new().unwrap();
        assert_eq!(
            verified(&other.public(), &signature, ("n1", "c", "q")),
            None
        );
        assert_eq!(verified("", "no base64", ("n1", "c", "q")), None);
    }

    #[test]
    fn a_request_is_good_for_ten_minutes_and_of_that_signer_only() {
        let mut request = Key::new().unwrap().request();
        request["metadata"]["creationTimestamp"] = "2026-11-28T12:00:00Z".into();
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        for (now, good) in [
            ("2026-11-28T11:59:00Z", true),
            ("2026-11-28T12:10:00Z", true),
            ("2026-11-28T12:10:01Z", false),
        ] {
            assert_eq!(is_good(&request, at(now)), good, "{now}");
        }
        let now = at("2026-11-28T12:00:00Z");
        request["spec"]["signerName"] = "kubernetes.io/kube-apiserver-client".into();
        assert!(!is_good(&request, now));
        assert!(!is_good(&json!({}), now));
    }
}
