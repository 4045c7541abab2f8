//! What is in the packages.

use std::fs;
use std::process::Command;

use podhook_integration::command::{self, stdout_of};
use podhook_integration::generation::repository;
use podhook_integration::packages::{LIMIT, NEW, PROGRAMS, Packages};
use podhook_integration::suite::Test;
use podhook_integration::{Node, Outcome, tests};

use crate::root::packages;

pub fn tests() -> Vec<Test> {
    tests![contents:
        both_packages_have_the_programs_their_pages_and_completions,
        debians_judge_finds_no_error,
        packages_of_static_programs_need_nothing,
        the_same_programs_give_the_same_packages,
        the_licences_of_all_that_is_linked_are_there,
    ]
}

/// In both, wherever the distribution has such files.
const FILES: [&str; 13] = [
    "/usr/bin/containerd-shim-podhook-v1",
    "/usr/bin/podhook",
    "/usr/bin/kubectl-podhook",
    "/usr/share/man/man1/podhook.1.gz",
    "/usr/share/man/man1/podhook-install.1.gz",
    "/usr/share/man/man1/kubectl-podhook.1.gz",
    "/usr/share/man/man1/kubectl-podhook-inspect.1.gz",
    "/usr/share/man/man8/containerd-shim-podhook-v1.8.gz",
    "/usr/share/bash-completion/completions/podhook",
    "/usr/share/doc/podhook/changelog.gz",
    "/usr/share/doc/podhook/THIRD-PARTY-LICENSES.gz",
    "/_podhook",
    "/podhook.fish",
];

fn both_packages_have_the_programs_their_pages_and_completions(_: &Node) -> Outcome {
    let packages = packages()?;
    let deb = packages.deb(NEW).display().to_string();
    let listed = stdout_of("dpkg-deb", &["--contents", &deb])?;
    for file in FILES {
        // A link is followed by where it leads.
        let there = listed
            .lines()
            .any(|line| line.ends_with(file) || line.contains(&format!("{file} -> ")));
        assert!(there, "no {file} in {listed}");
    }
    for line in listed.lines() {
        let right = line.contains(" root/root ") || line.contains(" 0/0 ");
        assert!(right && !line.starts_with("-rwsr"), "{line}");
        assert!(
            !line.contains("/etc/") && !line.contains("systemd"),
            "{line}"
        );
    }
    let depends = stdout_of("dpkg-deb", &["--field", &deb, "Depends"])?;
    assert!(
        depends.contains("libc6 (>= ") && depends.contains("libseccomp2"),
        "{depends}"
    );

    let rpm = packages.rpm(NEW).display().to_string();
    let Ok(listed) = stdout_of("rpm", &["-qpl", &rpm]) else {
        println!("NOT TESTED: no rpm on this machine");
        return Ok(());
    };
    for file in FILES {
        assert!(
            listed.lines().any(|line| line.ends_with(file)),
            "no {file} in {listed}"
        );
    }
    let needs = stdout_of("rpm", &["-qp", "--requires", &rpm])?;
    assert!(needs.contains("libseccomp.so.2()(64bit)"), "{needs}");
    let scripts = stdout_of("rpm", &["-qp", "--scripts", &rpm])?;
    assert!(scripts.contains("containers run on it"), "{scripts}");
    Ok(())
}

fn debians_judge_finds_no_error(_: &Node) -> Outcome {
    let mut lintian = Command::new("lintian");
    lintian.args(["--fail-on=error", "--allow-root"]);
    lintian.arg(packages()?.deb(NEW));
    match command::run(&mut lintian, None, LIMIT) {
        Err(command::Error::Start { .. }) => println!("NOT TESTED: no lintian on this machine"),
        output => {
            let output = output?.success()?;
            println!("{}", output.stdout);
        }
    }
    Ok(())
}

/// What is released: the fields of a package whose programs need no library. Any static program will do.
fn packages_of_static_programs_need_nothing(_: &Node) -> Outcome {
    let folder = tempfile::tempdir()?;
    let programs = folder.path().join("programs");
    fs::create_dir(&programs)?;
    for program in PROGRAMS {
        fs::copy("/bin/busybox", programs.join(program))?;
    }
    let packages = Packages::new(folder.path().to_owned());
    Packages::make_of(&programs, folder.path(), NEW)?;
    let deb = packages.deb(NEW).display().to_string();
    let depends = stdout_of("dpkg-deb", &["--field", &deb, "Depends"])?;
    assert_eq!(depends.trim(), "");
    let rpm = packages.rpm(NEW).display().to_string();
    let Ok(needs) = stdout_of("rpm", &["-qp", "--requires", &rpm]) else {
        println!("NOT TESTED: no rpm on this machine");
        return Ok(());
    };
    let shells = ["/bin/sh", "/bin/bash"];
    for need in needs.lines() {
        let is_known = shells.contains(&need) || need.starts_with("rpmlib(");
        assert!(is_known, "{needs}");
    }
    for shell in shells {
        assert!(needs.lines().any(|need| need == shell), "{needs}");
    }
    Ok(())
}

fn the_same_programs_give_the_same_packages(_: &Node) -> Outcome {
    let packages = packages()?;
    let folder = tempfile::tempdir()?;
    packages.make_in(folder.path(), NEW)?;
    for first in [packages.deb(NEW), packages.rpm(NEW)] {
        let second = folder.path().join(first.file_name().unwrap_or_default());
        assert!(
            fs::read(&first)? == fs::read(&second)?,
            "{} differs",
            first.display()
        );
    }
    Ok(())
}

fn the_licences_of_all_that_is_linked_are_there(_: &Node) -> Outcome {
    let folder = tempfile::tempdir()?;
    let root = folder.path().display().to_string();
    stdout_of(
        "dpkg-deb",
        &[
            "--extract",
            &packages()?.deb(NEW).display().to_string(),
            &root,
        ],
    )?;
    let file = format!("{root}/usr/share/doc/podhook/THIRD-PARTY-LICENSES.gz");
    let licences = stdout_of("zcat", &[&file])?;
    let (entries, texts) = licences.split_once("=====").unwrap_or((&licences, ""));
    let crates = repository().join(".ci/crates").display().to_string();
    let target = stdout_of("rustc", &["--print", "host-tuple"])?;
    for program in PROGRAMS {
        for line in stdout_of(&crates, &[program, target.trim()])?.lines() {
            let mut fields = line.split('\t');
            let (name, version) = (fields.next().unwrap_or(line), fields.next().unwrap_or(""));
            if PROGRAMS.contains(&name) || name.starts_with("podhook") {
                continue;
            }
            let entry = format!("\n{name} {version}: ");
            assert!(entries.contains(&entry), "no {name} {version} in {entries}");
        }
    }
    // A text for each number, and none without.
    for entry in entries.lines().filter(|line| line.ends_with(']')) {
        let (_, numbers) = entry.rsplit_once('[').unwrap_or_default();
        for number in numbers.trim_end_matches(']').split(", ") {
            assert!(texts.contains(&format!("\n[{number}]\n")), "{entry}");
        }
    }
    for words in [
        "Permission is hereby granted, free of charge",
        "TERMS AND CONDITIONS FOR USE",
        // What ring and regex-syntax have taken over from others, below their folders.
        "the fiat-crypto authors",
        "UNICODE, INC. LICENSE AGREEMENT",
    ] {
        assert!(texts.contains(words), "no {words:?}");
    }
    Ok(())
}
