//! A container that may trace every process which it sees, and sees the holder.

use podhook_integration::Outcome;
use podhook_integration::cri::v1;
use serde_json::json;

use super::{Pod, READY, config, in_namespaces, namespaces, said};
use crate::stage::Stage;
use crate::{Test, tests};

pub fn tests() -> Vec<Test> {
    tests![sandbox: a_container_that_may_trace_the_holder_finds_nothing_of_the_nodes_in_it]
}

/// Looks at all that leads from the holder to somewhere else, and tries to change its program.
const SCRIPT: &str = r#"
for f in /proc/1/root/* /proc/1/root/.[!.]* /proc/1/cwd/* /proc/1/fd/*; do
    if [ -e "$f" ] || [ -L "$f" ]; then echo "found $f"; fi
done
cat /proc/1/environ
(echo x > /proc/1/root/x) 2>/dev/null && echo made
(echo x > /proc/1/exe) 2>/dev/null && echo written
exec 5< /proc/1/exe || echo unread
(echo x > /proc/self/fd/5) 2>/dev/null && echo written
while read -r _ _ _ _ inode path; do
    case $path in
        '' | '['* | '/memfd:podhook-pause (deleted)') ;;
        *) echo "mapped $path" ;;
    esac
done < /proc/1/maps || echo unread
while read -r _ _ _ _ place _; do
    [ "$place" = / ] || echo "mounted $place"
done < /proc/1/mountinfo || echo unread
echo looked
"#;

fn a_container_that_may_trace_the_holder_finds_nothing_of_the_nodes_in_it(
    stage: &Stage,
) -> Outcome {
    let mut config = config();
    namespaces(&mut config).pid = v1::NamespaceMode::Pod as i32;
    let (pod, holder) = Pod::run(stage, &config, "")?;
    let program = format!("({SCRIPT}) > /tmp/said 2>&1; sleep 600");
    let mut spec = in_namespaces(
        stage.spec("c1", &["sh", "-c", &program]),
        holder,
        &[("pid", "pid")],
    );
    let all = [
        "CAP_SYS_PTRACE",
        "CAP_DAC_OVERRIDE",
        "CAP_FOWNER",
        "CAP_KILL",
    ];
    for set in ["bounding", "effective", "permitted"] {
        spec.0["process"]["capabilities"][set] = json!(all);
    }
    let pid = pod.container(stage, "c1", &spec)?;
    assert_eq!(said(pid, "looked\n")?, "looked\n");
    assert_eq!(pod.state()?, READY);
    pod.tasks.end("c1")?;
    pod.end(stage)
}
