//! Security labels, for the execve to come.
//!
//! RULE: as in `intermediate`.

use std::ffi::c_int;

use super::joiner::at;
use crate::exec::parent::build::Plan;
use crate::exec::plan::report::{Failure, Step};
use crate::exec::plan::sys;

/// Tells the kernel the labels of the command and of its keyring.
///
/// Through the host's procfs, never through what the container calls /proc (CVE-2019-16884,
/// CVE-2019-19921, CVE-2025-52881); and so from the first child, since no descriptor of the host may be in
/// a process that the container sees. What is written is of the writing thread, which `thread-self` is in
/// the procfs of the shim's own pid namespace. The final child has it by inheritance: SELinux keeps both
/// labels in the credentials, which clone copies (selinux_cred_prepare), AppArmor the next profile in the
/// task (apparmor_task_alloc, aa_dup_task_ctx); execve consumes them. pam_selinux relies on the same.
pub(crate) fn set(plan: &Plan<'_>, procfs: c_int) -> Result<(), Failure> {
    if let Some(label) = &plan.key_label {
        let path = c"thread-self/attr/keycreate";
        match sys::write_file(procfs, path, label.as_bytes()) {
            Err(libc::ENOENT) => {}
            other => at(Step::KeyLabel, other)?,
        }
    }
    if let Some(label) = &plan.exec_label {
        let written = sys::write_file(procfs, c"thread-self/attr/exec", label.as_bytes());
        at(Step::ExecLabel, written)?;
    }
    if let Some(profile) = &plan.apparmor {
        let text = profile.as_bytes();
        // The first since Linux 5.8; the second is shared with other security modules.
        let written = match sys::write_file(procfs, c"thread-self/attr/apparmor/exec", text) {
            Err(libc::ENOENT) => sys::write_file(procfs, c"thread-self/attr/exec", text),
            other => other,
        };
        at(Step::AppArmor, written)?;
    }
    Ok(())
}
