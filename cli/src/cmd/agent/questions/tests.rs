//! The agent as who asks sees it, with an API server that knows some.

use std::fs;

use serde_json::{Value, json};

use super::super::tests::Stage;
use super::*;
use crate::clock;
use crate::cluster::proof::{Key, REQUESTS};

/// An agent, and somebody who asks.
struct Asker {
    stage: Stage,
    desk: Desk,
    key: Key,
}

impl Asker {
    /// With a container of each of three pods, and one of no pod.
    async fn new(user: &str, allowed: &[&str]) -> Self {
        let stage = Stage::new().await;
        for (id, pod) in [
            ("1", Some(("shop", "web-0"))),
            ("2", Some(("shop", "web-1"))),
            ("3", Some(("bank", "web-0"))),
            ("4", None),
        ] {
            stage.record(id, pod);
        }
        let key = Key::new().unwrap();
        let this = Self {
            desk: Desk {
                agent: Arc::new(stage.agent()),
                api: stage.api.clone(),
                journal: stage.journal(),
            },
            stage,
            key,
        };
        this.introduce(user, &[]);
        let mut server = this.stage.server.lock().unwrap();
        server.allowed = allowed.iter().map(|right| (*right).to_owned()).collect();
        drop(server);
        this
    }

    /// As the API server writes it.
    fn introduce(&self, user: &str, other: &[(&str, Value)]) {
        let mut request = self.key.request();
        request["spec"]["username"] = user.into();
        request["spec"]["groups"] = json!(["system:authenticated"]);
        request["metadata"]["creationTimestamp"] = clock::now().to_string().into();
        for (pointer, value) in other {
            *request.pointer_mut(pointer).unwrap() = value.clone();
        }
        let path = format!(
            "{REQUESTS}/{}",
            request["metadata"]["name"].as_str().unwrap()
        );
        let mut server = self.stage.server.lock().unwrap();
        server.objects.insert(path, request);
    }

    async fn say(
        &self,
        challenge: &Challenge,
        method: &str,
        path: &str,
        body: String,
    ) -> (u16, String) {
        let request = Request::builder().method(method).uri(path);
        let request = request.body(Full::new(Bytes::from(body))).unwrap();
        let response = self.desk.answer(challenge, request).await;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    /// Asks, and signs for that node.
    async fn ask_for(&self, node: &str, question: &Question) -> (u16, String) {
        let connection = Challenge::default();
        let (_, there) = self
            .say(&connection, "GET", "/challenge", String::new())
            .await;
        let there: Value = serde_json::from_str(&there).unwrap();
        let body = self.signed(node, there["challenge"].as_str().unwrap(), question);
        let answer = self.say(&connection, "POST", "/hooks", body.clone()).await;
        // Whatever came of it, it is good for nothing any more.
        let (status, why) = self.say(&connection, "POST", "/hooks", body).await;
        assert_eq!(status, 401, "{why}");
        answer
    }

    fn signed(&self, node: &str, challenge: &str, question: &Question) -> String {
        let question = serde_json::to_string(question).unwrap();
        let asked = Asked {
            key: self.key.public(),
            proof: self.key.sign(node, challenge, &question).unwrap(),
            question,
        };
        serde_json::to_string(&asked).unwrap()
    }

    /// The pods of the answer.
    async fn pods(&self, question: &Question) -> Vec<String> {
        let (status, answer) = self.ask_for("node-1", question).await;
        assert_eq!(status, 200, "{answer}");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let items = answer["items"].as_array().unwrap();
        let name = |item: &Value| {
            let pod = &item["pod"];
            format!(
                "{}/{}",
                pod["namespace"].as_str().unwrap(),
                pod["name"].as_str().unwrap()
            )
        };
        items.iter().map(name).collect()
    }
}

fn about(namespace: Option<&str>, pod: Option<&str>) -> Question {
    Question {
        namespace: namespace.map(str::to_owned),
        pod: pod.map(str::to_owned),
        all: false,
    }
}

#[tokio::test(flavor = "current_thread")]
async fn everybody_is_told_of_the_pods_that_they_may_get() {
    let anything = about(None, None);
    for (right, all, web0) in [
        (
            "ann shop",
            &["shop/web-0", "shop/web-1"][..],
            &["shop/web-0"][..],
        ),
        ("ann shop/web-1", &["shop/web-1"], &[]),
        ("ann bank", &["bank/web-0"], &[]),
        ("bob shop", &[], &[]),
    ] {
        let asker = Asker::new("ann", &[right]).await;
        assert_eq!(asker.pods(&anything).await, all, "{right}");
        let one = about(Some("shop"), Some("web-0"));
        assert_eq!(asker.pods(&one).await, web0, "{right}");
    }
    // What is in no pod is nobody's.
    let asker = Asker::new("root", &["root shop", "root bank", "root k8s.io"]).await;
    assert_eq!(asker.pods(&anything).await.len(), 3);
}

#[tokio::test(flavor = "current_thread")]
async fn of_containers_that_are_gone_the_journal_tells() {
    let asker = Asker::new("ann", &["ann shop"]).await;
    asker.stage.write(&super::super::tests::failed("9"));
    let mut gone = about(None, Some("web-9"));
    assert!(asker.pods(&gone).await.is_empty());
    gone.all = true;
    assert_eq!(asker.pods(&gone).await, ["shop/web-9"]);
    asker.stage.server.lock().unwrap().allowed.clear();
    assert!(asker.pods(&gone).await.is_empty());
}

#[tokio::test(flavor = "current_thread")]
async fn who_has_not_proved_who_they_are_is_told_nothing() {
    let asker = Asker::new("ann", &["ann shop"]).await;
    let question = about(None, None);
    let refused = async |node: &str, why: &str| {
        let (status, said) = asker.ask_for(node, &question).await;
        assert!(status == 401 && said.contains(why), "{status} {said}");
    };
    // What was signed for another node is no use on this one.
    refused("node-2", "not the key's signature").await;
    let connection = Challenge::default();
    let body = asker.signed("node-1", "", &question);
    let (status, said) = asker.say(&connection, "POST", "/hooks", body).await;
    assert!(status == 401 && said.contains("no challenge"), "{said}");
    let missing = "no new CertificateSigningRequest podhook-";
    for (pointer, value) in [
        ("/metadata/creationTimestamp", json!("2026-01-01T00:00:00Z")),
        (
            "/spec/signerName",
            json!("kubernetes.io/kube-apiserver-client"),
        ),
    ] {
        asker.introduce("ann", &[(pointer, value)]);
        refused("node-1", missing).await;
    }
    asker.stage.server.lock().unwrap().objects.clear();
    refused("node-1", missing).await;
}

#[tokio::test(flavor = "current_thread")]
async fn what_is_no_question_is_refused() {
    let asker = Asker::new("ann", &["ann shop"]).await;
    for (method, path, body, want) in [
        ("GET", "/", String::new(), 404),
        ("GET", "/hooks", String::new(), 404),
        ("POST", "/hooks", "{".to_owned(), 400),
        ("POST", "/hooks", "x".repeat(MAX_QUESTION + 1), 400),
    ] {
        let (status, said) = asker.say(&Challenge::default(), method, path, body).await;
        assert_eq!(status, want, "{said}");
    }
    // An API server that fails is not one that says no.
    asker.stage.server.lock().unwrap().broken = Some("subjectaccessreviews".to_owned());
    let (status, said) = asker.ask_for("node-1", &about(None, None)).await;
    assert!(status == 503 && said.contains("the API server"), "{said}");
    fs::remove_file(asker.stage.folder().join("token")).unwrap();
    let (status, said) = asker.ask_for("node-1", &about(None, None)).await;
    assert!(status == 503 && !said.contains("secret"), "{said}");
}

#[tokio::test(flavor = "current_thread")]
async fn it_listens_on_loopback_only() {
    bind("127.0.0.1:0").await.unwrap();
    for address in ["0.0.0.0:0", ":0"] {
        let error = bind(address).await.unwrap_err().to_string();
        assert!(error.contains("not a loopback address"), "{error}");
    }
}
