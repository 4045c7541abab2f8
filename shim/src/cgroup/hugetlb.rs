//! The huge page sizes of the machine, as cgroup file names spell them.

use std::fs;
use std::path::Path;

/// `["1GB", "2MB"]`, in the order of the kernel's directory names, as containerd lists them.
/// Empty where the kernel has no huge pages.
pub(super) fn page_sizes(sys: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(sys.join("kernel/mm/hugepages")) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort_unstable();
    names.iter().filter_map(|name| page_size(name)).collect()
}

/// `hugepages-2048kB` → `2MB`, as mem_fmt() of mm/hugetlb_cgroup.c.
fn page_size(name: &str) -> Option<String> {
    let kilobytes: u64 = name
        .strip_prefix("hugepages-")?
        .strip_suffix("kB")?
        .parse()
        .ok()?;
    Some(match kilobytes {
        0x10_0000.. => format!("{}GB", kilobytes >> 20),
        0x400.. => format!("{}MB", kilobytes >> 10),
        _ => format!("{kilobytes}KB"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_spelt_as_the_kernel_names_its_files() {
        for (name, size) in [
            ("hugepages-64kB", "64KB"),
            ("hugepages-2048kB", "2MB"),
            ("hugepages-524288kB", "512MB"),
            ("hugepages-1048576kB", "1GB"),
            ("hugepages-16777216kB", "16GB"),
        ] {
            assert_eq!(page_size(name).as_deref(), Some(size));
        }
        assert_eq!(page_size("nr_hugepages"), None);
    }
}
