//! What is asked of an agent, and how it is written.

use serde::{Deserialize, Serialize};

/// Where agents answer, in their pods.
pub(crate) const PORT: u16 = 9766;

/// Which containers' hooks are to be told of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Question {
    /// The pods' namespace; none: all.
    pub(crate) namespace: Option<String>,
    /// One pod's.
    pub(crate) pod: Option<String>,
    /// Of containers that are gone, too.
    #[serde(default)]
    pub(crate) all: bool,
}

impl Question {
    pub(crate) fn is_about(&self, (namespace, pod): (Option<&str>, Option<&str>)) -> bool {
        let is = |wanted: &Option<String>, name: Option<&str>| {
            name.is_some() && wanted.as_deref().is_none_or(|wanted| Some(wanted) == name)
        };
        is(&self.namespace, namespace) && is(&self.pod, pod)
    }
}

/// A question that is signed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Asked {
    /// The public key.
    pub(crate) key: String,
    /// Its signature.
    pub(crate) proof: String,
    /// The [`Question`] as it was signed.
    pub(crate) question: String,
}
