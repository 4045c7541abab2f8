//! `podhook webhook certificate`: a certificate in a Secret, renewed in time, and its authority in the webhook's
//! configurations. The authority's key is thrown away: the next certificate has an authority of its own, and both are
//! trusted for a while.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::jiff::Timestamp;
use k8s_openapi::jiff::ToSpan;
use k8s_openapi::jiff::tz::TimeZone;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Map, Value, json};

use super::expiry;
use crate::args::{self, Namespaced};
use crate::clock;
use crate::cluster::{self, Api, Change};
use crate::cmd::error::Error as CommandError;
use crate::cmd::interrupt::Interrupts;
use crate::output::{pem, print};

/// How long a certificate is good.
const DAYS: i64 = 365;
/// It is renewed when it has less left.
const SPARE_DAYS: i64 = 30;
/// After something went wrong.
const AGAIN: Duration = Duration::from_secs(5);
/// How often a lost race is run again.
const TRIES: usize = 5;
/// On the Secret: whom its certificate is for.
const SERVICE: &str = "podhook.dev/webhook-service";
const CONFIGURATIONS: [&str; 2] = [
    "mutatingwebhookconfigurations",
    "validatingwebhookconfigurations",
];

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Api(#[from] cluster::Error),
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error(
        "the Secret {namespace}/{name} has a certificate that podhook has not made: give it to podhook webhook by --tls-cert \
         and --tls-key, or name another Secret"
    )]
    Foreign { namespace: String, name: String },
    #[error(
        "neither a MutatingWebhookConfiguration nor a ValidatingWebhookConfiguration is named {0}"
    )]
    NoConfiguration(String),
}

impl From<Error> for CommandError {
    fn from(error: Error) -> Self {
        Self::Refused(error.to_string())
    }
}

/// Runs the command.
pub(super) async fn run(args: &args::Certificate) -> Result<(), CommandError> {
    let mut interrupts = Interrupts::new()?;
    let api = Api::of_this_pod()?;
    let Some(every) = args.every else {
        let kept = async { Ok(keep(&api, args).await?) };
        return Ok(print(&interrupts.stop(kept).await?)?);
    };
    let forever = async {
        let mut said = String::new();
        loop {
            let (line, pause) = match keep(&api, args).await {
                Ok(text) => (text, Duration::from_secs(every)),
                Err(e) => (format!("error: {e}\n"), AGAIN),
            };
            if line != said {
                eprintln!("{}", line.trim_end());
                said = line;
            }
            tokio::time::sleep(pause).await;
        }
    };
    match interrupts.stop(forever).await {
        Err(CommandError::Interrupted) => Ok(()),
        other => other,
    }
}

/// Sees to it that all is as it is to be; what there is to say.
pub(super) async fn keep(api: &Api, args: &args::Certificate) -> Result<String, Error> {
    let mut tries = 1..=TRIES;
    let pems = loop {
        match secret(api, &args.secret, &args.service).await {
            Err(Error::Api(e)) if e.is_conflict() && tries.next().is_some() => {}
            result => break result?,
        }
    };
    // First the API server is told whom to trust, then the certificate is shown.
    let mut found = 0_usize;
    for resource in CONFIGURATIONS {
        let told = tell(api, resource, &args.configuration, &pems.authorities).await?;
        found = found.saturating_add(usize::from(told));
    }
    if found == 0 {
        return Err(Error::NoConfiguration(args.configuration.clone()));
    }
    if let Some(folder) = &args.directory {
        write(&folder.join("tls.key"), &pems.key)?;
        write(&folder.join("tls.crt"), &pems.certificate)?;
    }
    let Namespaced { namespace, name } = &args.service;
    Ok(format!(
        "{name}.{namespace}.svc has a certificate until {}\n",
        pems.expires
    ))
}

/// What the Secret has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pems {
    pub(super) authorities: String,
    pub(super) certificate: String,
    pub(super) key: String,
    pub(super) expires: Timestamp,
}

/// What the Secret has, made anew where that is needed.
async fn secret(api: &Api, at: &Namespaced, service: &Namespaced) -> Result<Pems, Error> {
    let Namespaced { namespace, name } = at;
    let all = format!("/api/v1/namespaces/{namespace}/secrets");
    let path = format!("{all}/{name}");
    let there = api.get(&path).await?;
    let now = clock::now();
    let known = format!("{}/{}", service.namespace, service.name);
    let before = there.as_ref().and_then(read);
    let of = there.as_ref().and_then(|secret| {
        let annotations = secret.get("metadata")?.get("annotations")?;
        annotations.get(SERVICE)?.as_str()
    });
    match before {
        Some(_) if of.is_none() => Err(Error::Foreign {
            namespace: namespace.clone(),
            name: name.clone(),
        }),
        Some(pems) if of == Some(&known) && pems.expires > after(now, SPARE_DAYS) => Ok(pems),
        before => {
            let pems = make(service, before.as_ref(), now)?;
            let mut new = object(service, at, &pems);
            match there {
                Some(there) => {
                    // With its resourceVersion: whoever else has just done the same wins.
                    keep_metadata(&mut new, &there);
                    api.change(Change::Replace, &path, &new).await?;
                }
                None => drop(api.change(Change::Create, &all, &new).await?),
            }
            Ok(pems)
        }
    }
}

/// The Secret of a certificate.
pub(super) fn object(service: &Namespaced, at: &Namespaced, pems: &Pems) -> Value {
    let encoded = |text: &str| Value::from(STANDARD.encode(text));
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": at.name,
            "namespace": at.namespace,
            "annotations": {SERVICE: format!("{}/{}", service.namespace, service.name)},
        },
        "data": {
            "ca.crt": encoded(&pems.authorities),
            "tls.crt": encoded(&pems.certificate),
            "tls.key": encoded(&pems.key),
        },
    })
}

/// What is written on an object stays there.
fn keep_metadata(new: &mut Value, there: &Value) {
    let Some(Value::Object(kept)) = there.get("metadata") else {
        return;
    };
    let Some(Value::Object(metadata)) = new.get_mut("metadata") else {
        return;
    };
    let mut merged = kept.clone();
    for (key, value) in std::mem::take(metadata) {
        match (merged.get_mut(&key), value) {
            (Some(Value::Object(there)), Value::Object(new)) => there.extend(new),
            (_, value) => drop(merged.insert(key, value)),
        }
    }
    *metadata = merged;
}

fn after(now: Timestamp, days: i64) -> Timestamp {
    let hours = days.saturating_mul(24).hours();
    now.checked_add(hours).unwrap_or(Timestamp::MAX)
}

/// What a Secret has, if that is a certificate.
pub(super) fn read(secret: &Value) -> Option<Pems> {
    let text = |key: &str| {
        let encoded = secret.get("data")?.get(key)?.as_str()?;
        String::from_utf8(STANDARD.decode(encoded).ok()?).ok()
    };
    let certificate = text("tls.crt")?;
    let first = CertificateDer::from_pem_slice(certificate.as_bytes()).ok()?;
    Some(Pems {
        authorities: text("ca.crt")?,
        key: text("tls.key")?,
        expires: expiry::of(&first)?,
        certificate,
    })
}

/// An authority and a certificate of it. What was trusted before is trusted on until it ends.
pub(super) fn make(
    service: &Namespaced,
    before: Option<&Pems>,
    now: Timestamp,
) -> Result<Pems, rcgen::Error> {
    let day = |days: i64| {
        let date = after(now, days).to_zoned(TimeZone::UTC).date();
        let part = |number: i8| u8::try_from(number).unwrap_or(1);
        date_time_ymd(i32::from(date.year()), part(date.month()), part(date.day()))
    };
    let Namespaced { namespace, name } = service;
    let host = format!("{name}.{namespace}.svc");
    let mut authority = CertificateParams::default();
    authority.not_before = day(-1);
    authority.not_after = day(DAYS);
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let title = format!("podhook webhook, authority {}", now.as_millisecond());
    authority.distinguished_name.push(DnType::CommonName, title);
    let key = KeyPair::generate()?;
    let own = authority.self_signed(&key)?;
    let issuer = Issuer::new(authority, key);

    let mut leaf = CertificateParams::new(vec![host])?;
    leaf.not_before = day(-1);
    leaf.not_after = day(DAYS);
    leaf.distinguished_name
        .push(DnType::CommonName, "podhook webhook");
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = leaf.signed_by(&key, &issuer)?;

    let mut authorities = pem::encode("CERTIFICATE", own.der());
    let old = before.map_or("", |before| &before.authorities);
    let old = CertificateDer::pem_slice_iter(old.as_bytes()).filter_map(Result::ok);
    for old in old.filter(|old| expiry::of(old).is_some_and(|end| end > now)) {
        authorities.push_str(&pem::encode("CERTIFICATE", &old));
    }
    Ok(Pems {
        authorities,
        expires: expiry::of(certificate.der()).unwrap_or(now),
        certificate: pem::encode("CERTIFICATE", certificate.der()),
        key: pem::encode("PRIVATE KEY", &key.serialize_der()),
    })
}

/// Tells a configuration's webhooks whom to trust. Whether there is one.
async fn tell(api: &Api, resource: &str, name: &str, authorities: &str) -> Result<bool, Error> {
    let path = format!("/apis/admissionregistration.k8s.io/v1/{resource}/{name}");
    let Some(configuration) = api.get(&path).await? else {
        return Ok(false);
    };
    let patch = patch(&configuration, &STANDARD.encode(authorities));
    if !patch.is_empty() {
        api.change(Change::JsonPatch, &path, &patch.into()).await?;
    }
    Ok(true)
}

/// The changes by which all webhooks of a configuration that are Services trust these.
fn patch(configuration: &Value, bundle: &str) -> Vec<Value> {
    let webhooks = configuration.get("webhooks").and_then(Value::as_array);
    let mut patch = Vec::new();
    for (i, webhook) in webhooks.into_iter().flatten().enumerate() {
        let none = Map::new();
        let client = webhook.get("clientConfig").and_then(Value::as_object);
        let client = client.unwrap_or(&none);
        let is_told = client.get("caBundle").and_then(Value::as_str) == Some(bundle);
        if is_told || !client.contains_key("service") {
            continue;
        }
        // Somebody may have changed their order meanwhile.
        patch.push(json!({"op": "test", "path": format!("/webhooks/{i}/name"), "value": webhook.get("name")}));
        let path = format!("/webhooks/{i}/clientConfig/caBundle");
        patch.push(json!({"op": "add", "path": path, "value": bundle}));
    }
    patch
}

/// Replaces a file as a whole; leaves one alone that is as it is to be.
fn write(path: &Path, text: &str) -> Result<(), Error> {
    if fs::read_to_string(path).is_ok_and(|there| there == text) {
        return Ok(());
    }
    let failed = |source| Error::Write {
        path: path.to_owned(),
        source,
    };
    let new = path.with_extension("new");
    let file = fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&new);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(failed)?;
    fs::rename(&new, path).map_err(failed)
}
