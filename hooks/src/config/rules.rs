//! `[[rules]]`: which containers get which lifecycle.

use super::glob;
use crate::lifecycle::reader::At;
use crate::lifecycle::{Annotations, FieldError, Lifecycle, Pod, Ports, image, read_lifecycle};

/// One rule: every selector that it has must match.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    namespace: Option<Vec<String>>,
    pod: Option<Vec<String>>,
    container: Option<Vec<String>>,
    image: Option<Vec<String>>,
    /// What the containers get; none to get nothing.
    pub lifecycle: Option<Lifecycle>,
}

impl Rule {
    /// Whether it is for the container with these annotations. What CRI does not say matches nothing.
    pub fn applies(&self, annotations: &impl Annotations) -> bool {
        let pod = Pod::from_annotations(annotations).unwrap_or_default();
        let image = image(annotations).map(str::to_owned);
        let selectors = [
            (&self.namespace, pod.namespace),
            (&self.pod, pod.name),
            (&self.container, pod.container),
            (&self.image, image),
        ];
        selectors.into_iter().all(|(patterns, value)| {
            patterns.as_ref().is_none_or(|patterns| {
                value.is_some_and(|value| patterns.iter().any(|p| glob::matches(p, &value)))
            })
        })
    }

    pub(super) fn read(at: At) -> Result<Rule, FieldError> {
        let mut fields = at.object(&["namespace", "pod", "container", "image", "lifecycle"])?;
        let mut selector = |key| fields.take(key).map(patterns).transpose();
        let rule = Rule {
            namespace: selector("namespace")?,
            pod: selector("pod")?,
            container: selector("container")?,
            image: selector("image")?,
            lifecycle: fields
                .take("lifecycle")
                .map(|at| read_lifecycle(at, &Ports::Unknown))
                .transpose()?,
        };
        let selects = [&rule.namespace, &rule.pod, &rule.container, &rule.image];
        if selects.iter().all(|patterns| patterns.is_none()) {
            return Err(fields.error(
                "must have namespace, pod, container or image ([lifecycle] is for all others)",
            ));
        }
        Ok(rule)
    }
}

/// One pattern, or several of which one must match.
fn patterns(at: At) -> Result<Vec<String>, FieldError> {
    let pattern = |at: &At| match at.string()? {
        "" => Err(at.error("must not be empty")),
        text => Ok(text.to_owned()),
    };
    if at.is_string() {
        return Ok(vec![pattern(&at)?]);
    }
    if !at.is_array() {
        return Err(at.error("must be a pattern or an array of patterns"));
    }
    let empty = at.error("must not be empty");
    let all: Vec<_> = at.array()?.iter().map(pattern).collect::<Result<_, _>>()?;
    if all.is_empty() { Err(empty) } else { Ok(all) }
}
