//! Which pods a command is about.

use super::context::Context;
use super::{Error, PodView, Selector};

/// Which pods are asked for.
#[derive(Debug)]
pub struct Query {
    /// Empty: all.
    pub names: Vec<String>,
    /// Of their labels.
    pub selector: Selector,
    /// Not only those of the context's namespace.
    pub all_namespaces: bool,
}

impl Query {
    /// The pods, as they are now.
    ///
    /// # Errors
    /// When a named pod does not exist, or containerd does not answer.
    pub async fn find(&self, context: &Context) -> Result<Vec<PodView>, Error> {
        let (client, store) = (&context.client, &context.store);
        let mut views = Vec::new();
        for name in &self.names {
            views.push(super::get(client, store, context.namespace(), name).await?);
        }
        if self.names.is_empty() {
            let namespace = (!self.all_namespaces).then(|| context.namespace());
            views = super::list(client, store, namespace, None).await?;
        }
        views.retain(|v| self.selector.matches(&v.labels()));
        Ok(views)
    }
}
