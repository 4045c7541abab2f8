//! Capability names to the words of capset(2).

use std::fmt;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::spec;
use crate::exec::plan::rights::Sets;

/// In the kernel's numbering (capability.h).
const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// A list of names, `CAP_…`, as the kernel's bits: a container keeps five of them for as long as it lives. A name that is
/// unknown here is not granted (runc: a warning).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Names(u64);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;

        impl<'de> Visitor<'de> for List {
            type Value = Names;

            fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                to.write_str("a list of names of capabilities")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Names, A::Error> {
                let mut names = Names::default();
                while let Some(name) = list.next_element::<String>()? {
                    let bit = NAMES.iter().position(|known| *known == name);
                    names.0 |= bit.map_or(0, |bit| 1 << bit);
                }
                Ok(names)
            }
        }

        deserializer.deserialize_seq(List)
    }
}

/// Where the specification says nothing of capabilities they are `unsaid`. What this kernel does not have is not granted.
pub(crate) fn sets(spec: Option<&spec::Capabilities>, unsaid: Sets, last: u32) -> Sets {
    let Some(spec) = spec else {
        return unsaid;
    };
    let known = u64::MAX >> 63u32.saturating_sub(last);
    let mask = |names: Names| names.0 & known;
    Sets {
        bounding: mask(spec.bounding),
        effective: mask(spec.effective),
        permitted: mask(spec.permitted),
        inheritable: mask(spec.inheritable),
        ambient: mask(spec.ambient),
    }
}

/// The highest capability this kernel knows.
pub(crate) fn last() -> u32 {
    std::fs::read_to_string("/proc/sys/kernel/cap_last_cap")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or((NAMES.len() as u32).saturating_sub(1))
        .min(63)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_kernel_bits_and_unknown_ones_are_not_granted() {
        let spec: spec::Capabilities = serde_json::from_str(
            r#"{"bounding": ["CAP_CHOWN", "CAP_BPF", "CAP_NEW", "chown"], "permitted": ["CAP_CHECKPOINT_RESTORE"],
                "ambient": null}"#,
        )
        .unwrap();
        let granted = sets(Some(&spec), Sets::default(), 39);
        assert_eq!(granted.bounding, 1 | 1 << 39);
        assert_eq!(granted.permitted, 0, "above the kernel's last capability");
        assert_eq!(sets(Some(&spec), Sets::default(), 63).permitted, 1 << 40);
        assert!(serde_json::from_str::<spec::Capabilities>(r#"{"bounding": [7]}"#).is_err());
        let unsaid = Sets {
            bounding: 1 << 21,
            ..Sets::default()
        };
        assert_eq!(sets(None, unsaid, 40), unsaid);
    }
}
