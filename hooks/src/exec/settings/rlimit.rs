//! Resource limit names to the kernel's numbers.

use super::spec::Rlimit;
use crate::exec::Error;
use crate::exec::plan::entry::{Limit, Resource};

const NAMES: [(&str, Resource); 16] = [
    ("RLIMIT_CPU", libc::RLIMIT_CPU),
    ("RLIMIT_FSIZE", libc::RLIMIT_FSIZE),
    ("RLIMIT_DATA", libc::RLIMIT_DATA),
    ("RLIMIT_STACK", libc::RLIMIT_STACK),
    ("RLIMIT_CORE", libc::RLIMIT_CORE),
    ("RLIMIT_RSS", libc::RLIMIT_RSS),
    ("RLIMIT_NPROC", libc::RLIMIT_NPROC),
    ("RLIMIT_NOFILE", libc::RLIMIT_NOFILE),
    ("RLIMIT_MEMLOCK", libc::RLIMIT_MEMLOCK),
    ("RLIMIT_AS", libc::RLIMIT_AS),
    ("RLIMIT_LOCKS", libc::RLIMIT_LOCKS),
    ("RLIMIT_SIGPENDING", libc::RLIMIT_SIGPENDING),
    ("RLIMIT_MSGQUEUE", libc::RLIMIT_MSGQUEUE),
    ("RLIMIT_NICE", libc::RLIMIT_NICE),
    ("RLIMIT_RTPRIO", libc::RLIMIT_RTPRIO),
    ("RLIMIT_RTTIME", libc::RLIMIT_RTTIME),
];

/// Every limit of a process, by resource number.
pub(crate) type Limits = Vec<Limit>;

/// The limits `pid` has now. A process that `runc create` left behind has those which its runtime
/// gives to every process of the container: whatever this process did to its own does not leak in.
pub(crate) fn of(pid: libc::pid_t) -> Limits {
    NAMES
        .iter()
        .filter_map(|&(_, resource)| {
            let mut limit = libc::rlimit64 {
                rlim_cur: 0,
                rlim_max: 0,
            };
            // SAFETY: `limit` is a valid place to write to, no new limit is given.
            let ret = unsafe { libc::prlimit64(pid, resource, std::ptr::null(), &mut limit) };
            (ret == 0).then_some((resource, limit))
        })
        .collect()
}

/// How a process comes from the limits it has to those it shall have, without being held by them before it is
/// what they are meant for.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    /// While it has the host's privilege: hard limits that are higher. None is lower.
    pub raise: Limits,
    /// What is left to set.
    pub set: Limits,
}

impl Steps {
    /// From `own` to `wanted`. What is equal is in neither step.
    pub fn new(own: &[Limit], wanted: Limits) -> Self {
        let mut steps = Self::default();
        for (resource, limit) in wanted {
            let known = own.iter().find(|(known, _)| *known == resource);
            match known {
                Some((_, own)) if limit.rlim_max > own.rlim_max => {
                    let raised = libc::rlimit64 {
                        rlim_max: limit.rlim_max,
                        ..*own
                    };
                    steps.raise.push((resource, raised));
                }
                Some((_, own))
                    if (own.rlim_cur, own.rlim_max) == (limit.rlim_cur, limit.rlim_max) =>
                {
                    continue;
                }
                _ => {}
            }
            steps.set.push((resource, limit));
        }
        steps
    }
}

/// `base` with the entries of the spec in place of its own.
pub(crate) fn with(base: &[Limit], spec: &[Rlimit]) -> Result<Limits, Error> {
    let mut limits = base.to_vec();
    for entry in spec {
        let &(_, resource) = NAMES
            .iter()
            .find(|(name, _)| *name == entry.kind)
            .ok_or_else(|| Error::Invalid(format!("unknown rlimit {:?}", entry.kind)))?;
        let limit = libc::rlimit64 {
            rlim_cur: entry.soft,
            rlim_max: entry.hard,
        };
        limits.retain(|(known, _)| *known != resource);
        limits.push((resource, limit));
    }
    Ok(limits)
}

/// `limits` with `own` in place of those that `spec` names.
pub(crate) fn without(limits: &[Limit], spec: &[Rlimit], own: &[Limit]) -> Limits {
    let named = |resource: Resource| spec.iter().any(|limit| limit.kind == name(resource));
    let kept = limits.iter().filter(|(resource, _)| !named(*resource));
    let own = own.iter().filter(|(resource, _)| named(*resource));
    kept.chain(own).copied().collect()
}

/// The limits that this process passes on to what it executes: `own`, but that of open files as it was `given`.
pub(crate) fn given(own: &[Limit], files: Option<libc::rlimit64>) -> Limits {
    let as_given = |&(resource, limit): &Limit| match (resource, files) {
        (libc::RLIMIT_NOFILE, Some(files)) => (resource, files),
        _ => (resource, limit),
    };
    own.iter().map(as_given).collect()
}

/// The limits of an init that waits, as its program will have them. Programs in Go raise their soft limit of open files to
/// one less than the hard one, and take that back where they execute another: it is that of `own`, as they found it.
pub(crate) fn before_go(limits: &[Limit], own: &[Limit]) -> Limits {
    let found = own.iter().find(|(known, _)| *known == libc::RLIMIT_NOFILE);
    let found = found.map(|(_, own)| own.rlim_cur);
    let as_found = |&(resource, mut limit): &Limit| {
        let raised = limit.rlim_max.checked_sub(1) == Some(limit.rlim_cur);
        if resource == libc::RLIMIT_NOFILE && raised {
            limit.rlim_cur = found.map_or(limit.rlim_cur, |found| found.min(limit.rlim_cur));
        }
        (resource, limit)
    };
    limits.iter().map(as_found).collect()
}

/// The name of the resource with this number, which C libraries have as different types, for messages.
pub(crate) fn name(resource: impl Into<i64>) -> &'static str {
    let resource = resource.into();
    NAMES
        .iter()
        .find(|(_, number)| i64::from(*number) == resource)
        .map_or("RLIMIT_?", |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_go_has_raised_for_itself_is_not_the_containers() {
        let limit = |rlim_cur, rlim_max| libc::rlimit64 { rlim_cur, rlim_max };
        let files = |soft, hard| vec![(libc::RLIMIT_NOFILE, limit(soft, hard))];
        let soft = |limits: &Limits| limits.first().map(|(_, limit)| limit.rlim_cur);
        let own = files(1024, 524_288);
        assert_eq!(soft(&before_go(&files(19_999, 20_000), &own)), Some(1024));
        // Who has set both alike, or less, has meant it.
        for (cur, max) in [(20_000, 20_000), (512, 20_000)] {
            assert_eq!(soft(&before_go(&files(cur, max), &own)), Some(cur));
        }
        // Nor is there more than the hard limit lets be.
        assert_eq!(soft(&before_go(&files(9, 10), &own)), Some(9));
        let other = vec![(libc::RLIMIT_CORE, limit(9, 10))];
        assert_eq!(soft(&before_go(&other, &own)), Some(9));
    }

    #[test]
    fn limits_are_raised_first_and_lowered_last() {
        let limit = |rlim_cur, rlim_max| libc::rlimit64 { rlim_cur, rlim_max };
        let own = [(1, limit(5, 10)), (2, limit(5, 10)), (3, limit(5, 10))];
        let steps = Steps::new(
            &own,
            vec![(1, limit(3, 20)), (2, limit(5, 10)), (3, limit(5, 9))],
        );
        let plain = |limits: &Limits| -> Vec<_> {
            limits
                .iter()
                .map(|(resource, limit)| (*resource, limit.rlim_cur, limit.rlim_max))
                .collect()
        };
        assert_eq!(plain(&steps.raise), [(1, 5, 20)]);
        assert_eq!(plain(&steps.set), [(1, 3, 20), (3, 5, 9)]);
    }

    #[test]
    fn an_exec_with_limits_of_its_own_does_not_get_the_raised_limit_of_files() {
        let limit = |rlim_cur, rlim_max| libc::rlimit64 { rlim_cur, rlim_max };
        let files = libc::RLIMIT_NOFILE;
        // The container's process has a limit of files of its own, the exec only one of its core's size.
        let inherited = [(files, limit(64, 64)), (libc::RLIMIT_CORE, limit(7, 7))];
        let named = Rlimit {
            kind: "RLIMIT_NOFILE".into(),
            soft: 64,
            hard: 64,
        };
        let raised = [(files, limit(4096, 4096)), (libc::RLIMIT_CORE, limit(0, 0))];
        let base = |given| {
            let limits = without(
                &inherited,
                std::slice::from_ref(&named),
                &super::given(&raised, given),
            );
            let found = limits.iter().find(|(resource, _)| *resource == files);
            found.map(|(_, limit)| (limit.rlim_cur, limit.rlim_max))
        };
        assert_eq!(base(Some(limit(1024, 4096))), Some((1024, 4096)));
        assert_eq!(base(None), Some((4096, 4096)), "not raised");
    }

    #[test]
    fn the_spec_replaces_single_limits() {
        let base = of(0);
        assert_eq!(base.len(), 16);
        let entry = Rlimit {
            kind: "RLIMIT_NOFILE".into(),
            soft: 3,
            hard: 5,
        };
        let limits = with(&base, &[entry]).unwrap();
        assert_eq!(limits.len(), 16);
        let (_, nofile) = limits
            .iter()
            .find(|(r, _)| *r == libc::RLIMIT_NOFILE)
            .unwrap();
        assert_eq!((nofile.rlim_cur, nofile.rlim_max), (3, 5));
        assert!(
            with(
                &base,
                &[Rlimit {
                    kind: "RLIMIT_X".into(),
                    ..Default::default()
                }]
            )
            .is_err()
        );
    }
}
