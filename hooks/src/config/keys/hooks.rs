//! How a container's hooks and execs run: the shim's `Container` keeps these values as they are.

use crate::config::key::{Key, keys};
use crate::lifecycle::reader::{At, shown};
use crate::lifecycle::{FieldError, Output, Statuses, read_output};

keys! {
    /// How a container's hooks and execs run.
    #[derive(Copy)]
    HookKeys {
        exec: ExecEngine = Exec,
        output: Output = HookOutput,
        http_success: Statuses = HttpSuccess,
    }
}

/// What runs a process in a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ExecEngine {
    /// podhook's engine, the OCI runtime where it must.
    #[default]
    Native,
    /// Always the OCI runtime's `exec`.
    Runtime,
}

/// What runs exec hooks and the Exec RPC.
struct Exec;

impl Key for Exec {
    type Value = ExecEngine;

    const NAME: &'static str = "exec";
    const MEANING: &'static str = "`native`: exec hooks and the `Exec` RPC (probes, `kubectl exec`) by podhook's engine, \
        the runtime's own `exec` where that cannot do it (seccomp notify, time namespaces); `runtime`: always the runtime";
    const DEFAULT: &'static str = "`native`";

    fn read(at: At) -> Result<ExecEngine, FieldError> {
        at.choice(&[
            ("native", ExecEngine::Native),
            ("runtime", ExecEngine::Runtime),
        ])
    }
}

/// Where hook output goes, where the lifecycle does not say.
struct HookOutput;

impl Key for HookOutput {
    type Value = Output;

    const NAME: &'static str = "output";
    const MEANING: &'static str = "`capture` or `container`, where the lifecycle has no `output`";
    const DEFAULT: &'static str = "`capture`";

    fn read(at: At) -> Result<Output, FieldError> {
        read_output(&at)
    }
}

/// The statuses that are a success of `httpGet`.
struct HttpSuccess;

impl Key for HttpSuccess {
    type Value = Statuses;

    const NAME: &'static str = "http_success";
    const MEANING: &'static str =
        "the HTTP statuses that are a success of `httpGet`: a range, or `any` as for the kubelet";
    const DEFAULT: &'static str = "`200-399`";

    fn read(at: At) -> Result<Statuses, FieldError> {
        let text = at.string()?;
        Statuses::parse(text).ok_or_else(|| {
            at.error(format!(
                "{} must be any, or a range of statuses as 200-399",
                shown(text)
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{given, refused};

    #[test]
    fn exec_chooses_the_engine() {
        let exec = |text| given(text).hooks.exec;
        assert_eq!(exec(""), ExecEngine::Native);
        assert_eq!(exec("exec = 'native'"), ExecEngine::Native);
        assert_eq!(exec("exec = 'runtime'"), ExecEngine::Runtime);
        refused(
            "exec = 'fast'",
            "line 1: exec: \"fast\" must be native or runtime",
        );
    }

    #[test]
    fn output_goes_where_the_node_says() {
        let output = |text| given(text).hooks.output;
        assert_eq!(output(""), Output::Capture);
        assert_eq!(output("output = 'container'"), Output::Container);
        refused(
            "output = 'log'",
            "line 1: output: \"log\" must be capture or container",
        );
    }

    #[test]
    fn http_success_is_a_range_or_any() {
        let statuses = |text| given(text).hooks.http_success;
        assert_eq!(statuses("http_success = 'any'"), Statuses::ANY);
        assert!(!statuses("http_success = '204-204'").contain(200));
        refused(
            "http_success = '2xx'",
            "line 1: http_success: \"2xx\" must be any, or a range of statuses as 200-399",
        );
    }
}
