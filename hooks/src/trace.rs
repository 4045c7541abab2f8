//! The trace context of the request that something is done for (W3C Trace Context and Baggage): what it starts gets it
//! too, so that a hook's spans are below those of the client that has asked.
//!
//! As OpenTelemetry's conventions have it: in requests by lower-case names, to programs in the environment
//! (<https://opentelemetry.io/docs/specs/otel/context/env-carriers/>).

use std::collections::HashMap;
use std::future::Future;
use std::hash::BuildHasher;

/// Each value's name in a request, and in the environment.
const NAMES: [(&str, &str); 3] = [
    ("traceparent", "TRACEPARENT"),
    ("tracestate", "TRACESTATE"),
    ("baggage", "BAGGAGE"),
];

/// The longest value that is passed on: more than the standards ask everyone to keep, less than what fills an
/// environment.
const MAX_VALUE: usize = 8192;

/// What a request said of its trace; nothing where it said nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TraceContext([Option<String>; 3]);

impl TraceContext {
    /// That of a request's metadata. A parent that is none takes its state along; what no header and no environment
    /// can hold is left out.
    pub fn of<S: BuildHasher>(metadata: &HashMap<String, Vec<String>, S>) -> Self {
        if metadata.is_empty() {
            return Self::default();
        }
        let value = |name: &str| {
            let value = metadata.get(name)?.join(",");
            let good = !value.is_empty() && value.len() <= MAX_VALUE;
            let plain = value.bytes().all(|byte| matches!(byte, b' '..=b'~'));
            (good && plain).then_some(value)
        };
        let mut values = NAMES.map(|(name, _)| value(name));
        if !values[0].as_deref().is_some_and(is_parent) {
            values[0] = None;
            values[1] = None;
        }
        Self(values)
    }

    fn values(
        &self,
        of: impl Fn(&(&'static str, &'static str)) -> &'static str,
    ) -> Vec<(&'static str, &str)> {
        let values = NAMES.iter().zip(&self.0);
        values
            .filter_map(|(names, value)| Some((of(names), value.as_deref()?)))
            .collect()
    }

    /// As variables of an environment.
    pub fn variables(&self) -> Vec<(&'static str, &str)> {
        self.values(|(_, variable)| variable)
    }

    /// As headers of a request.
    pub fn headers(&self) -> Vec<(&'static str, &str)> {
        self.values(|(header, _)| header)
    }
}

/// `00-TRACE-SPAN-FLAGS` in lower-case hexadecimal digits, neither id zero. Later versions may say more behind it.
fn is_parent(text: &str) -> bool {
    let hex = |part: &str, length| {
        part.len() == length
            && part
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let id = |part: &str, length| hex(part, length) && part.bytes().any(|byte| byte != b'0');
    let parts: Vec<&str> = text.split('-').collect();
    match parts.as_slice() {
        [version, trace, span, flags, more @ ..] => {
            hex(version, 2)
                && *version != "ff"
                && id(trace, 32)
                && id(span, 16)
                && hex(flags, 2)
                && (more.is_empty() || *version != "00")
        }
        _ => false,
    }
}

tokio::task_local! {
    static CURRENT: TraceContext;
}

/// Does `work` for a request with this context.
pub async fn scope<F: Future>(context: TraceContext, work: F) -> F::Output {
    CURRENT.scope(context, work).await
}

/// The context of what is done here.
pub fn current() -> TraceContext {
    CURRENT.try_with(Clone::clone).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn of(entries: &[(&str, &[&str])]) -> TraceContext {
        let owned = |values: &[&str]| values.iter().map(|&value| value.to_owned()).collect();
        let entries = entries.iter();
        let metadata: HashMap<String, Vec<String>> = entries
            .map(|(name, values)| ((*name).to_owned(), owned(values)))
            .collect();
        TraceContext::of(&metadata)
    }

    #[test]
    fn a_requests_context_becomes_variables_and_headers() {
        let context = of(&[
            ("traceparent", &[PARENT]),
            ("tracestate", &["a=1", "b=2"]),
            ("baggage", &["pod.name=nginx"]),
            ("containerd-namespace-ttrpc", &["k8s.io"]),
        ]);
        assert_eq!(
            context.variables(),
            [
                ("TRACEPARENT", PARENT),
                ("TRACESTATE", "a=1,b=2"),
                ("BAGGAGE", "pod.name=nginx"),
            ]
        );
        assert_eq!(context.headers()[0], ("traceparent", PARENT));
    }

    #[test]
    fn what_is_no_context_is_left_out() {
        assert_eq!(of(&[]), TraceContext::default());
        for bad in [
            "",
            "x",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            let context = of(&[("traceparent", &[bad]), ("tracestate", &["a=1"])]);
            assert_eq!(context, TraceContext::default(), "{bad}");
        }
        for value in ["a\0b", "a\nb", "é", &"a".repeat(8193)] {
            assert_eq!(of(&[("baggage", &[value])]), TraceContext::default());
        }
        let later = format!("01{}-more", &PARENT[2..]);
        assert_eq!(of(&[("traceparent", &[&later])]).variables().len(), 1);
    }

    #[tokio::test]
    async fn it_is_that_of_the_work_alone() {
        assert_eq!(current(), TraceContext::default());
        let context = of(&[("traceparent", &[PARENT])]);
        let seen = scope(context.clone(), async { current() }).await;
        assert_eq!(seen, context);
        assert_eq!(current(), TraceContext::default());
    }
}
