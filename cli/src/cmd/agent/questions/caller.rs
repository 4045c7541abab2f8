//! Who asks, and for which pods they may: the API server says both.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::clock;
use crate::cluster::proof::{self, REQUESTS};
use crate::cluster::{Api, Change, Error};

const REVIEWS: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";

/// Somebody, as the API server knows them.
#[derive(Debug)]
pub(super) struct Caller<'a> {
    api: &'a Api,
    /// User, uid, groups and extra.
    who: Value,
    /// What the API server has said, by namespace and pod; no pod: all of the namespace.
    said: BTreeMap<(String, Option<String>), bool>,
}

impl<'a> Caller<'a> {
    /// Whoever has made the request of that name; none where there is none that is good.
    pub(super) async fn of(api: &'a Api, request: &str) -> Result<Option<Self>, Error> {
        let request = api.get(&format!("{REQUESTS}/{request}")).await?;
        let request = request.filter(|request| proof::is_good(request, clock::now()));
        Ok(request.map(|request| {
            let of = |key: &str| request.get("spec")?.get(key).cloned();
            Self {
                api,
                who: json!({
                    "user": of("username"), "uid": of("uid"), "groups": of("groups"), "extra": of("extra"),
                }),
                said: BTreeMap::new(),
            }
        }))
    }

    pub(super) fn name(&self) -> &str {
        let user = self.who.get("user").and_then(Value::as_str);
        user.unwrap_or_default()
    }

    /// Whether they may get the pod.
    pub(super) async fn may_get(&mut self, namespace: &str, pod: &str) -> Result<bool, Error> {
        Ok(self.may(namespace, None).await? || self.may(namespace, Some(pod)).await?)
    }

    async fn may(&mut self, namespace: &str, pod: Option<&str>) -> Result<bool, Error> {
        let key = (namespace.to_owned(), pod.map(str::to_owned));
        if let Some(said) = self.said.get(&key) {
            return Ok(*said);
        }
        let mut spec = self.who.clone();
        let mut what =
            json!({"namespace": namespace, "verb": "get", "version": "v1", "resource": "pods"});
        if let (Some(pod), Some(what)) = (pod, what.as_object_mut()) {
            what.insert("name".to_owned(), pod.into());
        }
        if let Some(spec) = spec.as_object_mut() {
            spec.insert("resourceAttributes".to_owned(), what);
            spec.retain(|_, value| !value.is_null());
        }
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec,
        });
        let review = self.api.change(Change::Create, REVIEWS, &review).await?;
        let may = review.pointer("/status/allowed") == Some(&Value::Bool(true));
        self.said.insert(key, may);
        Ok(may)
    }
}
