//! Label selectors: `key=value`, `key==value`, `key!=value`, `key`, `!key`, separated by commas.

use std::collections::BTreeMap;

use super::Error;

/// What the labels of a pod must be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    terms: Vec<Term>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Term {
    Is(String, String),
    IsNot(String, String),
    Has(String),
    HasNot(String),
}

impl Selector {
    /// Reads a selector; `None` selects everything.
    ///
    /// # Errors
    /// A selector of another form (`in (…)`).
    pub fn parse(text: Option<&str>) -> Result<Self, Error> {
        let terms = text.into_iter().flat_map(|t| t.split(',')).map(|term| {
            let term = term.trim();
            let pair = |key: &str, value: &str| (key.trim().to_owned(), value.trim().to_owned());
            if term.is_empty() || term.contains(['(', ')', ' ']) {
                Err(Error::Arguments(format!(
                    "unable to parse requirement: {term:?}"
                )))
            } else if let Some((key, value)) = term.split_once("!=") {
                let (key, value) = pair(key, value);
                Ok(Term::IsNot(key, value))
            } else if let Some((key, value)) =
                term.split_once("==").or_else(|| term.split_once('='))
            {
                let (key, value) = pair(key, value);
                Ok(Term::Is(key, value))
            } else if let Some(key) = term.strip_prefix('!') {
                Ok(Term::HasNot(key.to_owned()))
            } else {
                Ok(Term::Has(term.to_owned()))
            }
        });
        Ok(Self {
            terms: terms.collect::<Result<_, _>>()?,
        })
    }

    /// Whether these labels are selected.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.terms.iter().all(|term| match term {
            Term::Is(key, value) => labels.get(key) == Some(value),
            // As in Kubernetes, also when there is no such label.
            Term::IsNot(key, value) => labels.get(key) != Some(value),
            Term::Has(key) => labels.contains_key(key),
            Term::HasNot(key) => !labels.contains_key(key),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_conjunctions() {
        let labels = BTreeMap::from([("app".to_owned(), "web".to_owned())]);
        for (text, selected) in [
            ("app=web", true),
            ("app==web", true),
            ("app!=web", false),
            ("tier!=db", true),
            ("app", true),
            ("!app", false),
            ("app=web,tier", false),
            ("app=web,!tier", true),
        ] {
            assert_eq!(
                Selector::parse(Some(text)).unwrap().matches(&labels),
                selected,
                "{text}"
            );
        }
        assert!(Selector::parse(None).unwrap().matches(&labels));
        assert!(Selector::parse(Some("app in (web)")).is_err());
    }
}
