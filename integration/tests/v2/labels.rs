//! AppArmor: what is put into a container has the profile of the container's own process, as with runc.

use podhook_integration::suite::{Test, unless};
use podhook_integration::{Node, Outcome, apparmor, tests};
use serde_json::json;

use crate::recorded::Recorded;
use crate::script::exec;

/// With both shims.
pub fn parity() -> Vec<Test> {
    unless(
        tests![labels: an_exec_has_the_apparmor_profile_of_the_container],
        |_| apparmor::is_missing(),
    )
}

pub fn hooks() -> Vec<Test> {
    unless(
        tests![labels: a_hook_has_the_apparmor_profile_of_the_container],
        |_| apparmor::is_missing(),
    )
}

const NAME: &str = "podhook-labels";
/// One file cannot be written: the profile is in force, and not only in the name.
const PROFILE: &str = "profile podhook-labels flags=(attach_disconnected,mediate_deleted) {
    file, network, capability, mount, umount, pivot_root, ptrace, signal, unix,
    deny /forbidden w,
}
";

const LOOK: &str = "cat /proc/self/attr/current; if (echo > /forbidden) 2> /dev/null; then echo written; fi; \
    echo > /allowed && echo over";
const SEEN: &str = "podhook-labels (enforce)\nover\n";

fn an_exec_has_the_apparmor_profile_of_the_container(node: &Node) -> Outcome {
    apparmor::load(PROFILE)?;
    let confined = node
        .container("confined")
        .flag(["--apparmor-profile", NAME])
        .start(&["sleep", "600"])?;
    let init = confined.exec(&["cat", "/proc/1/attr/current"])?;
    assert_eq!(init.stdout, "podhook-labels (enforce)\n");
    assert_eq!(confined.exec(&["sh", "-c", LOOK])?.stdout, SEEN);
    let free = node.container("free").start(&["sleep", "600"])?;
    let label = free.exec(&["cat", "/proc/self/attr/current"])?;
    assert_eq!(label.stdout, "unconfined\n");
    Ok(())
}

fn a_hook_has_the_apparmor_profile_of_the_container(node: &Node) -> Outcome {
    apparmor::load(PROFILE)?;
    let lifecycle = json!({"postStart": exec(LOOK)}).to_string();
    let confined = node
        .container("confined")
        .flag(["--apparmor-profile", NAME])
        .lifecycle(&lifecycle)
        .start(&["sleep", "600"])?;
    let hook = confined.recorded()?.hook("postStart")?;
    assert_eq!(hook.text("/output"), SEEN);
    Ok(())
}
