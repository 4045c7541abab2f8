//! Which lifecycle the node gives a container.

use crate::config::Rule;
use crate::config::key::{Key, keys};
use crate::lifecycle::reader::At;
use crate::lifecycle::{Annotations, FieldError, Lifecycle, Ports, read_lifecycle};

keys! {
    /// Which lifecycle the node gives a container.
    LifecycleKeys {
        rules: Vec<Rule> = Rules,
        lifecycle: Option<Lifecycle> = ForAllOthers,
    }
}

impl LifecycleKeys {
    /// What the container with these annotations gets: what the first rule for it says, else `[lifecycle]`.
    pub fn given_to(&self, annotations: &impl Annotations) -> Option<&Lifecycle> {
        match self.rules.iter().find(|rule| rule.applies(annotations)) {
            Some(rule) => rule.lifecycle.as_ref(),
            None => self.lifecycle.as_ref(),
        }
    }
}

/// The rules, in order.
struct Rules;

impl Key for Rules {
    type Value = Vec<Rule>;

    const NAME: &'static str = "rules";
    const SHOWN: &'static str = "[[rules]]";
    const MEANING: &'static str = "lifecycles for some containers, see below";
    const DEFAULT: &'static str = "none";

    fn read(at: At) -> Result<Vec<Rule>, FieldError> {
        at.array()?.into_iter().map(Rule::read).collect()
    }
}

/// For containers that no rule is for.
struct ForAllOthers;

impl Key for ForAllOthers {
    type Value = Option<Lifecycle>;

    const NAME: &'static str = "lifecycle";
    const SHOWN: &'static str = "[lifecycle]";
    const MEANING: &'static str = "a lifecycle for every container that no rule is for";
    const DEFAULT: &'static str = "none";

    fn read(at: At) -> Result<Option<Lifecycle>, FieldError> {
        read_lifecycle(at, &Ports::Unknown).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::config::tests::{given, refused};
    use crate::lifecycle::Handler;

    #[test]
    fn a_lifecycle_is_written_as_in_an_annotation() {
        let text = "[lifecycle]\nstopSignal = 'SIGQUIT'\n[lifecycle.preStop]\nsleep = { seconds = 5 }\ntimeoutSeconds = 0x0a";
        let lifecycle = given(text).lifecycles.lifecycle.unwrap();
        let hook = lifecycle.pre_stop.unwrap();
        assert_eq!(
            (hook.handler, hook.timeout),
            (Handler::Sleep { seconds: 5 }, Some(Duration::from_secs(10)))
        );
        let signal = lifecycle.stop_signal.map(|signal| signal.number());
        assert_eq!(signal, Some(libc::SIGQUIT));
        refused("lifecycle = 1", "line 1: lifecycle: must be an object");
        for (text, reason) in [
            (
                "[lifecycle.preStop]\nexec = { command = [] }",
                "line 2: lifecycle.preStop.exec.command: must not be empty",
            ),
            (
                "[lifecycle]\npreStop = { exec = { comand = [] } }",
                r#"line 2: lifecycle.preStop.exec.comand: unknown field, did you mean "command"?"#,
            ),
            (
                "[lifecycle.preStop.httpGet]\nport = 'http'",
                "line 2: lifecycle.preStop.httpGet.port: port name \"http\" cannot be used here, give a number",
            ),
        ] {
            refused(text, reason);
        }
    }

    #[test]
    fn a_mistake_in_a_rule_is_named_with_its_place() {
        for (text, reason) in [
            ("rules = {}", "line 1: rules: must be an array"),
            (
                "[[rules]]\nlifecycle = {}",
                "line 1: rules[0]: must have namespace, pod, container or image ([lifecycle] is for all others)",
            ),
            (
                "[[rules]]\npod = 1",
                "line 2: rules[0].pod: must be a pattern or an array of patterns",
            ),
            (
                "[[rules]]\npod = []",
                "line 2: rules[0].pod: must not be empty",
            ),
            (
                "[[rules]]\npod = ['a', '']",
                "line 2: rules[0].pod[1]: must not be empty",
            ),
            (
                "[[rules]]\npod = 'a'\n[rules.lifecycle]\npreStop.exec.command = ['a', 1]",
                "line 4: rules[0].lifecycle.preStop.exec.command[1]: must be a string",
            ),
        ] {
            refused(text, reason);
        }
    }
}
