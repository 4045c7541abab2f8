//! The OCI seccomp profile to a BPF program, as runc makes it.

pub mod bpf;
pub mod enosys;
mod filter;

use std::fs::File;
use std::io::{Read, Seek};

use libseccomp::{
    ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall,
};
use rustix::fs::{MemfdFlags, memfd_create};
use serde::Deserialize;

use super::Error;

pub(super) use filter::Filter;

/// The kernel's BPF_MAXINSNS.
const MAX_INSTRUCTIONS: usize = 4096;

/// runc sorts longer profiles into a binary tree.
const LONG_PROFILE: usize = 32;

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Profile {
    default_action: String,
    default_errno_ret: Option<u32>,
    architectures: Option<Vec<String>>,
    flags: Option<Vec<String>>,
    listener_path: Option<String>,
    syscalls: Option<Vec<Rule>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Rule {
    names: Vec<String>,
    action: String,
    errno_ret: Option<u32>,
    args: Option<Vec<Argument>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Argument {
    index: u32,
    value: u64,
    value_two: u64,
    op: String,
}

impl Profile {
    fn rules(&self) -> &[Rule] {
        self.syscalls.as_deref().unwrap_or_default()
    }

    fn architectures(&self) -> Result<Vec<ScmpArch>, Error> {
        self.architectures
            .iter()
            .flatten()
            .map(|name| name.parse().map_err(|_| bad("architecture", name)))
            .collect()
    }

    /// Every system call name of the profile.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.rules()
            .iter()
            .flat_map(|rule| rule.names.iter().map(String::as_str))
    }
}

/// Compiles `linux.seccomp`. `None` where the profile says nothing at all.
pub(super) fn compile(json: &str) -> Result<Option<Filter>, Error> {
    let profile: Profile =
        serde_json::from_str(json).map_err(|error| Error::Seccomp(error.to_string()))?;
    if profile.default_action.is_empty()
        && profile.rules().is_empty()
        && profile.architectures.as_ref().is_none_or(Vec::is_empty)
    {
        return Ok(None);
    }
    if profile
        .listener_path
        .as_deref()
        .is_some_and(|path| !path.is_empty())
    {
        return Err(Error::Unsupported("seccomp listener".into()));
    }
    let default = action(&profile.default_action, profile.default_errno_ret)?;
    let architectures = profile.architectures()?;
    let mut filter = ScmpFilterContext::new(default).map_err(failed("new filter"))?;
    for &arch in &architectures {
        if !filter.is_arch_present(arch).map_err(failed("add_arch"))? {
            filter.add_arch(arch).map_err(failed("add_arch"))?;
        }
    }
    // no_new_privs is the process's own setting, not the filter's.
    filter.set_ctl_nnp(false).map_err(failed("set_ctl_nnp"))?;
    if profile.names().count() > LONG_PROFILE {
        // Only speed: an older libseccomp may refuse.
        let _ = filter.set_ctl_optimize(2);
    }
    for rule in profile.rules() {
        add(&mut filter, rule, default)?;
    }
    let mut program = match permissive(default) {
        true => Vec::new(),
        false => enosys::stub(&architectures, || profile.names()),
    };
    program.extend(export(&filter)?);
    if program.len() > MAX_INSTRUCTIONS {
        return Err(Error::Seccomp(format!(
            "{} instructions, the kernel takes {MAX_INSTRUCTIONS}",
            program.len()
        )));
    }
    let flags = flags(profile.flags.as_deref().unwrap_or_default())?;
    Ok(Some(Filter::new(flags, program)))
}

fn add(filter: &mut ScmpFilterContext, rule: &Rule, default: ScmpAction) -> Result<(), Error> {
    let action = action(&rule.action, rule.errno_ret)?;
    if action == default {
        // libseccomp refuses a rule that changes nothing.
        return Ok(());
    }
    let mut seen = [0u32; 6];
    let mut conditions = Vec::new();
    for argument in rule.args.iter().flatten() {
        let count = seen
            .get_mut(argument.index as usize)
            .ok_or_else(|| bad("argument index", &argument.index.to_string()))?;
        *count = count.saturating_add(1);
        conditions.push(condition(argument)?);
    }
    for name in &rule.names {
        if name.is_empty() {
            return Err(bad("system call name", ""));
        }
        // A name that this libseccomp does not know is left to the default action, as in runc.
        let Ok(number) = ScmpSyscall::from_name(name) else {
            continue;
        };
        let mut add = |conditions: &[ScmpArgCompare]| {
            filter
                .add_rule_conditional(action, number, conditions)
                .map(drop)
                .map_err(|error| Error::Seccomp(format!("rule for {name}: {error}")))
        };
        // Two conditions on one argument cannot be one rule: runc makes a rule of each.
        if seen.iter().any(|&count| count > 1) {
            for single in &conditions {
                add(std::slice::from_ref(single))?;
            }
        } else {
            add(&conditions)?;
        }
    }
    Ok(())
}

fn action(name: &str, errno: Option<u32>) -> Result<ScmpAction, Error> {
    let code = errno.unwrap_or(libc::EPERM as u32) as u16;
    Ok(match name {
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => ScmpAction::KillThread,
        "SCMP_ACT_KILL_PROCESS" => ScmpAction::KillProcess,
        "SCMP_ACT_TRAP" => ScmpAction::Trap,
        "SCMP_ACT_ERRNO" => ScmpAction::Errno(i32::from(code)),
        "SCMP_ACT_TRACE" => ScmpAction::Trace(code),
        "SCMP_ACT_ALLOW" => ScmpAction::Allow,
        "SCMP_ACT_LOG" => ScmpAction::Log,
        // The listener's owner expects to be told of each process by the runtime.
        "SCMP_ACT_NOTIFY" => return Err(Error::Unsupported("seccomp notify".into())),
        other => return Err(bad("action", other)),
    })
}

fn condition(argument: &Argument) -> Result<ScmpArgCompare, Error> {
    let (op, value) = match argument.op.as_str() {
        "SCMP_CMP_NE" => (ScmpCompareOp::NotEqual, argument.value),
        "SCMP_CMP_LT" => (ScmpCompareOp::Less, argument.value),
        "SCMP_CMP_LE" => (ScmpCompareOp::LessOrEqual, argument.value),
        "SCMP_CMP_EQ" => (ScmpCompareOp::Equal, argument.value),
        "SCMP_CMP_GE" => (ScmpCompareOp::GreaterEqual, argument.value),
        "SCMP_CMP_GT" => (ScmpCompareOp::Greater, argument.value),
        "SCMP_CMP_MASKED_EQ" => (
            ScmpCompareOp::MaskedEqual(argument.value),
            argument.value_two,
        ),
        other => return Err(bad("operator", other)),
    };
    Ok(ScmpArgCompare::new(argument.index, op, value))
}

fn flags(names: &[String]) -> Result<libc::c_ulong, Error> {
    names.iter().try_fold(0, |flags, name| {
        Ok(flags
            | match name.as_str() {
                // One thread: nothing to synchronise with.
                "SECCOMP_FILTER_FLAG_TSYNC" => 0,
                "SECCOMP_FILTER_FLAG_LOG" => libc::SECCOMP_FILTER_FLAG_LOG,
                "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
                // Only means something with a listener.
                "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" => {
                    return Err(Error::Unsupported(format!("seccomp flag {name}")));
                }
                other => return Err(bad("flag", other)),
            })
    })
}

/// Default actions under which a system call newer than the profile is let through anyway.
fn permissive(action: ScmpAction) -> bool {
    matches!(
        action,
        ScmpAction::Allow | ScmpAction::Log | ScmpAction::Trace(_)
    )
}

fn export(filter: &ScmpFilterContext) -> Result<Vec<libc::sock_filter>, Error> {
    let file = memfd_create(c"seccomp", MemfdFlags::CLOEXEC);
    let mut file = File::from(file.map_err(|errno| Error::System {
        operation: "memfd_create",
        source: errno.into(),
    })?);
    filter.export_bpf(&file).map_err(failed("export_bpf"))?;
    let mut bytes = Vec::new();
    file.rewind()
        .and_then(|()| file.read_to_end(&mut bytes))
        .map_err(|source| Error::System {
            operation: "read BPF program",
            source,
        })?;
    let (chunks, rest) = bytes.as_chunks::<8>();
    if !rest.is_empty() || chunks.is_empty() {
        return Err(Error::Seccomp("libseccomp wrote no whole program".into()));
    }
    Ok(chunks
        .iter()
        .map(|&[a, b, jt, jf, e, f, g, h]| libc::sock_filter {
            code: u16::from_ne_bytes([a, b]),
            jt,
            jf,
            k: u32::from_ne_bytes([e, f, g, h]),
        })
        .collect())
}

fn bad(what: &str, value: &str) -> Error {
    Error::Seccomp(format!("unknown {what} {value:?}"))
}

fn failed(operation: &'static str) -> impl Fn(libseccomp::error::SeccompError) -> Error {
    move |error| Error::Seccomp(format!("{operation}: {error}"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const PROFILE: &str = r#"{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86","SCMP_ARCH_X32"],
        "syscalls":[{"names":["read","write","exit_group","no_such_call"],"action":"SCMP_ACT_ALLOW"},
        {"names":["personality"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":8,"op":"SCMP_CMP_EQ"}]},
        {"names":["clone"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":2114060288,"valueTwo":0,"op":"SCMP_CMP_MASKED_EQ"}]}]}"#;

    #[test]
    fn a_profile_becomes_a_program() {
        let filter = compile(PROFILE).unwrap().unwrap();
        assert!(filter.program.len() > 10);
        assert_eq!(filter.flags, 0);
    }

    #[test]
    fn the_same_program_is_kept_once_and_only_as_long_as_it_is_used() {
        let filter = |text: &str| compile(text).unwrap().unwrap().shared();
        let flags = PROFILE.replacen('{', r#"{"flags":["SECCOMP_FILTER_FLAG_LOG"],"#, 1);
        let other = PROFILE.replace("personality", "mkdir");
        let first = filter(PROFILE);
        assert!(Arc::ptr_eq(&first, &filter(&format!(" {PROFILE}"))));
        assert!(!Arc::ptr_eq(&first, &filter(&flags)));
        assert!(!Arc::ptr_eq(&first, &filter(&other)));
        let gone = Arc::downgrade(&first);
        drop(first);
        let _later = filter(&other);
        assert!(gone.upgrade().is_none());
    }

    #[test]
    fn an_empty_profile_is_no_profile() {
        assert!(compile("{}").unwrap().is_none());
    }

    #[test]
    fn what_needs_a_listener_is_left_to_the_runtime() {
        let notify = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_NOTIFY"}]}"#;
        assert!(compile(notify).unwrap_err().is_unsupported());
    }

    #[test]
    fn what_is_unknown_fails_and_is_not_dropped() {
        for profile in [
            r#"{"defaultAction":"SCMP_ACT_FUTURE"}"#,
            r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_FUTURE"]}"#,
            r#"{"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_FUTURE"]}"#,
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO","args":[{"index":9,"op":"SCMP_CMP_EQ"}]}]}"#,
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO","args":[{"index":1,"op":"SCMP_CMP_X"}]}]}"#,
        ] {
            let error = compile(profile).unwrap_err();
            assert!(!error.is_unsupported(), "{profile}: {error}");
        }
    }
}
