//! A node of Kubernetes where cgroup v2 is the only hierarchy: the suite of `make test-kubernetes`, as far as an emulated
//! machine goes.

use podhook_integration::generation::cache;

use crate::Error;
use crate::disk::{self, Disk};
use crate::plan;
use crate::programs;
use crate::qemu::{Machine, Size};

/// Another one than those of `make test-v2`.
const NUMBER: usize = 20;

/// What makes a cluster, beside what every machine has.
const PROGRAMS: [(&str, &str); 8] = [
    ("etcd", "etcd"),
    ("crane", "crane"),
    ("helm", "helm"),
    ("kubernetes-1.37", "kube-apiserver"),
    ("kubernetes-1.37", "kube-controller-manager"),
    ("kubernetes-1.37", "kube-scheduler"),
    ("kubernetes-1.37", "kubectl"),
    ("kubernetes-1.37", "kubelet"),
];

/// Its pods mostly wait.
const THREADS: usize = 4;

/// What runs where nobody asks for something else: pods without a pause container, whose cgroups the shim makes itself. Sixty at
/// once are too many for the API server there.
const USUAL: &str =
    "podhook-pauseless/ --skip deploy:: --skip agent:: --skip nodes:: --skip sixty_pods";

/// Whether every test passed.
pub fn run(filter: Option<&str>) -> Result<bool, Error> {
    crate::build(None)?;
    let programs = programs::build(&["kubernetes"], false)?;
    let mut suite = plan::run("kubernetes", "kubernetes", USUAL);
    suite.threads = THREADS;
    let plans = [(NUMBER, vec![suite])];
    let disk = Disk::new(|root| {
        disk::with_tests(root, &plans, filter, &programs)?;
        let mut programs = PROGRAMS.iter();
        programs.try_for_each(|(module, program)| disk::of_upstream(root, module, program))
    })?;
    let machine = Machine {
        number: NUMBER,
        folder: cache().join("vm"),
        kernel: plan::security(NUMBER),
        size: Size::CLUSTER,
    };
    crate::boot(disk, &[machine], &plans, filter.is_some())
}
