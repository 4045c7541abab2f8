//! The holder's profile, on a kernel with AppArmor.

use std::fs;

use podhook_integration::cri::v1;
use podhook_integration::{Outcome, apparmor};

use super::{Pod, config};
use crate::stage::Stage;
use crate::{Test, tests, unless};

const NAME: &str = "podhook-holder";
const PROFILE: &str =
    "profile podhook-holder flags=(attach_disconnected,mediate_deleted) {\n  file,\n  signal,\n}\n";

pub fn tests() -> Vec<Test> {
    unless(
        tests![labels: the_holder_has_the_apparmor_profile_of_the_pod],
        |_| apparmor::is_missing(),
    )
}

fn with(kind: v1::security_profile::ProfileType, name: &str) -> v1::PodSandboxConfig {
    let mut config = config();
    let linux = config.linux.get_or_insert_default();
    let security = linux.security_context.get_or_insert_default();
    security.apparmor = Some(v1::SecurityProfile {
        profile_type: kind as i32,
        localhost_ref: name.to_owned(),
    });
    config
}

fn the_holder_has_the_apparmor_profile_of_the_pod(stage: &Stage) -> Outcome {
    use v1::security_profile::ProfileType;
    apparmor::load(PROFILE)?;
    for (kind, name, seen) in [
        (ProfileType::Localhost, NAME, format!("{NAME} (enforce)\n")),
        (ProfileType::RuntimeDefault, "", "unconfined\n".to_owned()),
    ] {
        let (pod, holder) = Pod::run(stage, &with(kind, name), "")?;
        let current = fs::read_to_string(format!("/proc/{holder}/attr/current"))?;
        assert_eq!(current, seen);
        pod.end(stage)?;
        fs::remove_dir_all(stage.bundle(super::ID))?;
    }
    let pod = Pod::of(stage)?;
    pod.create(stage, &with(ProfileType::Localhost, "podhook-none"), "")?;
    let error = pod.start().err().ok_or("it started")?;
    let said = "start the pod's holder: set the profile of AppArmor: No such file or directory";
    assert!(error.to_string().contains(said), "{error}");
    pod.end(stage)
}
