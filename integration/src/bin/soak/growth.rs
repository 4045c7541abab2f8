//! Whether something has grown: the second quarter of a run beside the last one.

use crate::watch::Sample;

/// The middle of what `of` says of the samples of a quarter, 0 to 3.
pub fn quarter(samples: &[Sample], number: usize, of: impl Fn(&Sample) -> u64) -> u64 {
    let size = samples.len() / 4;
    let from = number * size;
    let to = if number == 3 {
        samples.len()
    } else {
        from + size
    };
    let mut values: Vec<u64> = samples[from..to].iter().map(of).collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

/// What may be told of a series.
#[derive(Debug, Clone, Copy)]
pub struct Series {
    pub name: &'static str,
    pub unit: &'static str,
    pub of: fn(&Sample) -> u64,
    /// More than this, and more than a tenth more, is growth.
    pub slack: u64,
    /// Whether podhook has a part in it: the memory of containerd is its own.
    pub judged: bool,
}

pub const SERIES: [Series; 11] = [
    series("pod's shim, private dirty", "KiB", |s| s.shim.dirty, 128),
    series("pod's shim, descriptors", "", |s| s.shim.files, 3),
    series("pod's shim, threads", "", |s| s.shim.threads, 2),
    series("pod's shim, inotify", "", |s| s.shim.inotify, 0),
    Series {
        judged: false,
        ..series(
            "containerd, private dirty",
            "KiB",
            |s| s.containerd.dirty,
            20_000,
        )
    },
    series("containerd, descriptors", "", |s| s.containerd.files, 40),
    series("containerd, threads", "", |s| s.containerd.threads, 8),
    series("containerd, inotify", "", |s| s.containerd.inotify, 2),
    series("shims", "", |s| s.shims, 8),
    series("cgroups", "", |s| s.cgroups, 100),
    series("mounts", "", |s| s.mounts, 16),
];

const fn series(
    name: &'static str,
    unit: &'static str,
    of: fn(&Sample) -> u64,
    slack: u64,
) -> Series {
    Series {
        name,
        unit,
        of,
        slack,
        judged: true,
    }
}

impl Series {
    /// The second quarter's and the last one's.
    pub fn ends(&self, samples: &[Sample]) -> (u64, u64) {
        (quarter(samples, 1, self.of), quarter(samples, 3, self.of))
    }

    pub fn has_grown(&self, samples: &[Sample]) -> bool {
        let (before, after) = self.ends(samples);
        after > before + self.slack.max(before / 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(of: impl Fn(u64) -> u64) -> Vec<Sample> {
        let sample = |n| {
            let mut sample = Sample::default();
            sample.shim.files = of(n);
            sample
        };
        (0..80).map(sample).collect()
    }

    fn files() -> Series {
        SERIES[1]
    }

    #[test]
    fn a_leak_of_one_descriptor_in_two_looks_is_growth() {
        assert!(files().has_grown(&samples(|n| 20 + n / 2)));
    }

    #[test]
    fn what_goes_up_and_down_has_not_grown() {
        assert!(!files().has_grown(&samples(|n| 20 + n % 3)));
    }

    #[test]
    fn one_peak_is_no_growth() {
        assert!(!files().has_grown(&samples(|n| if n == 79 { 900 } else { 20 })));
    }
}
