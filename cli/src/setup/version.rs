//! Versions of programs, as they say them themselves.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::root::Root;

/// The folders of programs, in the order of root's usual PATH.
pub const PATH: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// Whether a program is where containerd itself would find it.
#[must_use]
pub fn in_path(program: &Path) -> bool {
    let folder = program.parent().and_then(Path::to_str);
    folder.is_some_and(|folder| PATH.contains(&folder))
}

/// The first three numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u64, pub u64, pub u64);

impl Version {
    /// The first word of a text that begins with two numbers: `containerd REPOSITORY v2.1.9 REVISION`.
    #[must_use]
    pub fn find(text: &str) -> Option<Self> {
        text.split([' ', '\n', '\t', ',']).find_map(Self::parse)
    }

    /// `1.6.20~ds1`, `v2.4`, `6.1.0-38-amd64`.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        let mut numbers = word.trim_start_matches('v').splitn(3, '.');
        let exact = |part: Option<&str>| part?.parse::<u64>().ok();
        let leading = |part: &str| {
            let end = part.find(|c: char| !c.is_ascii_digit());
            part.get(..end.unwrap_or(part.len()))?.parse().ok()
        };
        let major = exact(numbers.next())?;
        let minor = leading(numbers.next()?)?;
        let patch = numbers.next().and_then(leading).unwrap_or(0);
        Some(Self(major, minor, patch))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// A program of the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// As the node has it.
    pub path: PathBuf,
    /// What it says to `flag`; nothing where it cannot be run here.
    pub version: Option<Version>,
}

/// The first program of that name, in `folders`.
#[must_use]
pub fn program<'a>(
    root: &Root,
    name: &str,
    folders: impl IntoIterator<Item = &'a str>,
    flag: &str,
) -> Option<Program> {
    let mut paths = folders
        .into_iter()
        .map(|folder| Path::new(folder).join(name));
    let path = paths.find(|path| root.real_path(path).is_some_and(|path| path.is_file()))?;
    let version = says(root, &path, flag).and_then(|text| Version::find(&text));
    Some(Program { path, version })
}

/// What a program prints for `flag`. One of another root is run in it, where it has its libraries, if that may be.
#[must_use]
pub fn says(root: &Root, path: &Path, flag: &str) -> Option<String> {
    let mut here = Command::new(root.real_path(path)?);
    if root.is_host() {
        return printed(here.arg(flag));
    }
    let mut inside = Command::new("chroot");
    inside.arg(root.outside(Path::new("/"))).arg(path).arg(flag);
    let text = printed(&mut inside).filter(|text| Version::find(text).is_some());
    text.or_else(|| printed(here.arg(flag)))
}

fn printed(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    Some(format!(
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_programs_say() {
        for (text, version) in [
            (
                "containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u3",
                Version(1, 6, 20),
            ),
            (
                "containerd github.com/containerd/containerd/v2 v2.4.2 abc",
                Version(2, 4, 2),
            ),
            (
                "runc version 1.1.5+ds1\ncommit: x\nspec: 1.0.2",
                Version(1, 1, 5),
            ),
            ("crun version 1.28\n", Version(1, 28, 0)),
            ("podhook 0.1.0", Version(0, 1, 0)),
            (
                "Docker version 28.5.2+dfsg4, build ecc6942",
                Version(28, 5, 2),
            ),
            ("6.1.0-38-amd64", Version(6, 1, 0)),
        ] {
            assert_eq!(Version::find(text), Some(version), "{text}");
        }
        assert_eq!(Version::find("usage: none"), None);
        assert!(Version(1, 6, 33) < Version(1, 7, 1));
    }
}
