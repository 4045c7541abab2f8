//! Fresh Debians, with the package as an operator has it: `integration/vm/operator` is what he does.

use std::fs;
use std::path::Path;

use podhook_integration::Image;
use podhook_integration::generation::{cache, repository};
use podhook_integration::packages::{NEW, OLD, Packages};

use crate::Error;
use crate::disk::{self, Disk};
use crate::plan::{self, Run};
use crate::qemu::{Machine, Size};

/// By the number of their machine.
const SUITES: [(usize, &str); 3] = [(12, "bookworm"), (13, "trixie"), (14, "testing")];

/// Whether all went well on these, or on each.
pub fn run(suites: &[String]) -> Result<bool, Error> {
    if let Some(unknown) = suites
        .iter()
        .find(|suite| !SUITES.iter().any(|(_, known)| known == suite))
    {
        return Err(format!("no such Debian: {unknown}").into());
    }
    let chosen = SUITES
        .into_iter()
        .filter(|(_, suite)| suites.is_empty() || suites.iter().any(|word| word == suite));
    let mut machines = Vec::new();
    let mut plans = Vec::new();
    for (number, suite) in chosen {
        crate::build(Some(suite))?;
        machines.push(Machine {
            number,
            folder: cache().join("vm").join(suite),
            kernel: "",
            size: Size::USUAL,
        });
        plans.push((number, vec![plan::run(suite, "", "")]));
    }
    let disk = Disk::new(|root| fill(root, &plans))?;
    crate::boot(disk, &machines, &plans, false)
}

/// What the operator has at hand, and a program for each machine.
fn fill(root: &Path, plans: &[(usize, Vec<Run>)]) -> Result<(), Error> {
    let folder = tempfile::tempdir()?;
    let packages = Packages::new(folder.path().to_owned());
    packages.make()?;
    fs::copy(packages.deb(OLD), root.join("old.deb"))?;
    fs::copy(packages.deb(NEW), root.join("new.deb"))?;
    fs::create_dir(root.join("images"))?;
    for image in [Image::Busybox, Image::Nginx, Image::Pause] {
        let archive = image.archive()?;
        let name = archive.file_name().unwrap_or_default();
        fs::copy(&archive, root.join("images").join(name))?;
    }
    disk::copy_tree(&repository().join("examples"), &root.join("examples"))?;
    let operator = fs::read_to_string(repository().join("integration/vm/operator"))?;
    disk::script(root, "operator", &operator)?;
    disk::script(root, "program", &plan::dispatcher())?;
    for (number, runs) in plans {
        let mut text = "#!/bin/sh\n".to_owned();
        for Run { name, .. } in runs {
            text += &format!(
                "echo '#begin {name}'\n/mnt/disk/operator /mnt/disk\necho \"#end {name} $?\"\n"
            );
        }
        text += "echo '#over'\n";
        disk::script(root, &format!("program-{number}"), &text)?;
    }
    Ok(())
}
