//! What an exec takes from `config.json`, `process.json` and the image's `/etc/passwd`, for `fuzz/`.

use super::child::home;
use super::parent::inherited::Family;
use super::parent::process::{self, Process};
use super::seccomp;
use super::settings::{capabilities, rlimit, schedule, spec};
use super::spec::Spec;
use crate::exec::plan::rights::Sets;

/// The home of a user, and that it is the same whatever room there is for a longer one.
pub fn passwd(text: &[u8], uid: u32) {
    let (mut small, mut large) = ([0; 64], [0; 4096]);
    let in_small = home::find_in(text, uid, &mut small);
    let in_large = home::find_in(text, uid, &mut large);
    for (home, length) in [(&small[..], in_small), (&large[..], in_large)] {
        if let Some(length) = length {
            let home = &home[..length];
            assert!(!home.contains(&b'\n') && !home.contains(&b':'));
            assert!(home.is_empty() || text.windows(length).any(|part| part == home));
        }
    }
}

/// The process of an exec request.
pub fn process_json(json: &[u8]) {
    if let Ok(process) = Process::from_json(json) {
        settings(&process.spec);
    }
}

/// The configuration of a container, with its seccomp profile.
pub fn spec_json(json: &[u8]) {
    let Ok(spec) = serde_json::from_slice::<Spec>(json) else {
        return;
    };
    settings(&spec.process);
    settings(&Process::of_container(&spec).spec);
    if let Some(personality) = &spec.linux.personality {
        let _ = schedule::personality(personality);
    }
    if let Some(profile) = &spec.linux.seccomp {
        let _ = seccomp::compile(profile.get());
    }
}

fn settings(spec: &spec::Process) {
    for family in [Family::OldRunc, Family::Runc, Family::Crun] {
        let _ = process::check(spec, family);
        let Ok((env, home)) = process::environment(&spec.env, family) else {
            continue;
        };
        if let Some(home) = home {
            assert!(env[home].to_bytes().starts_with(b"HOME="));
        }
        if let Some(command) = spec.args.first()
            && let Ok(process::Lookup::Search(places)) = process::lookup(command, &env)
        {
            for (file, absolute) in places {
                assert_eq!(file.to_bytes().starts_with(b"/"), absolute);
            }
        }
    }
    let _ = capabilities::sets(spec.capabilities.as_ref(), Sets::default(), 40);
    if let Ok(limits) = rlimit::with(&[], &spec.rlimits) {
        let _ = rlimit::Steps::new(&limits, limits.clone());
    }
    let _ = spec.scheduler.as_ref().map(schedule::attributes);
    let _ = spec.io_priority.as_ref().map(schedule::io_priority);
    let _ = schedule::Affinity::asked(spec.exec_cpu_affinity.as_ref(), true);
    let _ = spec.console_size.as_ref().and_then(spec::ConsoleSize::get);
}
