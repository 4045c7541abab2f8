//! What to run.

use std::collections::HashMap;
use std::ffi::CString;

use super::inherited::Family;
use crate::exec::Error;
use crate::exec::settings::spec;

/// A process to run in a container.
#[derive(Debug, Clone)]
pub struct Process {
    pub(crate) spec: spec::Process,
}

impl Process {
    /// One like the container's own: its user, environment, directory, capabilities and limits. It has
    /// no terminal, as a hook has none.
    pub fn of_container(spec: &spec::Spec) -> Self {
        let mut spec = spec.process.clone();
        spec.terminal = false;
        Self { spec }
    }

    /// The OCI process of an exec request.
    ///
    /// # Errors
    /// [`Error::Invalid`] where it is none.
    pub fn from_json(json: &[u8]) -> Result<Self, Error> {
        // Which serde takes for an object with its fields in their order.
        if json.trim_ascii_start().starts_with(b"[") {
            return Err(Error::Invalid("process: an array, and no object".into()));
        }
        let spec = serde_json::from_slice(json)
            .map_err(|error| Error::Invalid(format!("process: {error}")))?;
        Ok(Self { spec })
    }

    /// The user it runs as, in the container.
    pub fn uid(&self) -> u32 {
        self.spec.user.uid
    }

    /// The same with another command.
    #[must_use]
    pub fn args(mut self, args: &[String]) -> Self {
        self.spec.args = args.to_vec();
        self
    }

    /// The same with these variables behind its own: a variable's last value is the one that counts.
    #[must_use]
    pub fn with_variables(mut self, variables: &[(&str, &str)]) -> Self {
        let entries = variables
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        self.spec.env.extend(entries);
        self
    }
}

/// What runc refuses before it makes anything, in its words; and what it must decide itself.
pub(crate) fn check(spec: &spec::Process, runtime: Family) -> Result<(), Error> {
    let invalid = |what: &str| Err(Error::Invalid(what.to_string()));
    match (spec.cwd.as_str(), runtime) {
        ("", _) => return invalid("Cwd property must not be empty"),
        // crun takes it as seen from the root.
        (cwd, Family::OldRunc | Family::Runc) if !cwd.starts_with('/') => {
            return invalid("Cwd must be an absolute path");
        }
        _ => {}
    }
    if spec.args.is_empty() {
        return invalid("process args cannot be empty");
    }
    let user = &spec.user;
    let ids = [user.uid, user.gid];
    for id in ids.iter().chain(&user.additional_gids) {
        match (id, runtime) {
            (0..=MAX_OLD_ID, _) => {}
            (id, Family::OldRunc | Family::Runc) => {
                return Err(Error::Unsupported(format!("user or group {id}")));
            }
            // To the kernel this is "as it is": crun's process stays root.
            (&u32::MAX, Family::Crun) => {
                return Err(Error::Invalid(format!("{id} is no user or group")));
            }
            (_, Family::Crun) => {}
        }
    }
    Ok(())
}

/// runc 1.1 refuses larger ones.
const MAX_OLD_ID: u32 = i32::MAX as u32;

/// The environment as the runtime makes it. Of a name that comes again the last value counts, and it stands where the
/// name stood first, or last since runc 1.3. The same with HOME, where that is missing or empty: it is at its place, or
/// at the end. The number says that it is still to be found in the container.
pub(crate) fn environment(
    env: &[String],
    runtime: Family,
) -> Result<(Vec<CString>, Option<usize>), Error> {
    let last = runtime == Family::Runc;
    let mut out: Vec<Option<&str>> = Vec::with_capacity(env.len().saturating_add(1));
    let mut places: HashMap<&str, usize> = HashMap::with_capacity(env.len());
    for entry in env {
        let name = named(entry, runtime)?;
        let before = places.get(name).and_then(|&place| out.get_mut(place));
        match before {
            Some(place) if !last => *place = Some(entry),
            before => {
                if let Some(place) = before {
                    *place = None;
                }
                places.insert(name, out.len());
                out.push(Some(entry));
            }
        }
    }
    let given = places.get("HOME").and_then(|&place| out.get_mut(place));
    let home = match given {
        Some(place) if *place != Some("HOME=") => None,
        Some(_) if !last => places.get("HOME").copied(),
        given => {
            if let Some(place) = given {
                *place = None;
            }
            out.push(Some("HOME=/"));
            Some(out.iter().flatten().count().saturating_sub(1))
        }
    };
    let out = out
        .into_iter()
        .flatten()
        .map(|entry| {
            // The value may be a secret: an error is shown to whoever asked, and kept.
            let name = entry.split('=').next().unwrap_or_default();
            CString::new(entry).map_err(|_| has_nul("environment variable", name))
        })
        .collect::<Result<_, _>>()?;
    Ok((out, home))
}

/// The name of an entry of the environment.
fn named(entry: &str, runtime: Family) -> Result<&str, Error> {
    let words = match (entry.split_once('='), runtime) {
        (Some((name, _)), _) if !name.is_empty() => return Ok(name),
        (None, Family::Runc) => "invalid environment variable: missing '='".into(),
        (None, _) => format!("invalid environment variable: {entry:?}"),
        (Some(_), Family::Runc) => "invalid environment variable: name cannot be empty".into(),
        (Some(_), _) => format!("environment variable name can't be empty: {entry:?}"),
    };
    Err(Error::Invalid(words))
}

/// Where execve looks for the command, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// The command has a slash: this file and no other.
    Path(CString),
    /// The command in each directory of the container's PATH. `false`: the directory is relative, and
    /// what is found there is refused, as by Go's exec.LookPath.
    Search(Vec<(CString, bool)>),
}

/// The places of `command`, for an environment that [`environment`] made.
pub(crate) fn lookup(command: &str, env: &[CString]) -> Result<Lookup, Error> {
    if command.contains('/') {
        return Ok(Lookup::Path(c_string("argument", command)?));
    }
    let path = env
        .iter()
        .find_map(|entry| entry.to_bytes().strip_prefix(b"PATH="))
        .unwrap_or_default();
    if path.is_empty() || command.is_empty() {
        return Ok(Lookup::Search(Vec::new()));
    }
    path.split(|&byte| byte == b':')
        .map(|dir| {
            let file = CString::new(join(dir, command.as_bytes()))
                .map_err(|_| Error::Invalid("PATH: contains nul byte".to_string()))?;
            Ok((file, dir.starts_with(b"/")))
        })
        .collect::<Result<_, _>>()
        .map(Lookup::Search)
}

/// `dir/file`, cleaned lexically as Go's filepath.Join does: a script sees the result as its name.
fn join(dir: &[u8], file: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in dir.split(|&byte| byte == b'/').chain([file]) {
        match part {
            b"" | b"." => {}
            b".." if parts.last().is_some_and(|last| *last != b"..") => drop(parts.pop()),
            b".." if dir.starts_with(b"/") => {}
            part => parts.push(part),
        }
    }
    let mut path = parts.join(&b'/');
    if dir.starts_with(b"/") {
        path.insert(0, b'/');
    }
    path
}

/// A string for the kernel.
pub(crate) fn c_string(what: &str, text: &str) -> Result<CString, Error> {
    CString::new(text).map_err(|_| has_nul(what, text))
}

fn has_nul(what: &str, text: &str) -> Error {
    Error::Invalid(format!(
        "invalid {what} {text:?}: contains nul byte (\\x00)"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(entries: &[&str], runtime: Family) -> Result<(Vec<String>, Option<usize>), Error> {
        let entries: Vec<_> = entries.iter().map(|entry| entry.to_string()).collect();
        let (env, home) = environment(&entries, runtime)?;
        Ok((
            env.into_iter().map(|e| e.into_string().unwrap()).collect(),
            home,
        ))
    }

    #[test]
    fn what_the_runtime_refuses_is_refused() {
        let check = |json: &str, runtime| {
            let process = Process::from_json(json.as_bytes()).unwrap();
            check(&process.spec, runtime)
                .err()
                .map(|error| error.to_string())
        };
        let refused = |json: &str| {
            let [runc, crun] = [Family::OldRunc, Family::Crun].map(|runtime| check(json, runtime));
            (runc.unwrap_or_default(), crun.unwrap_or_default())
        };
        let both = |text: &str| (text.to_string(), text.to_string());
        assert_eq!(
            refused(r#"{"args":["a"]}"#),
            both("Cwd property must not be empty")
        );
        assert_eq!(
            refused(r#"{"cwd":"/"}"#),
            both("process args cannot be empty")
        );
        assert_eq!(refused(r#"{"cwd":"/","args":["a"]}"#), both(""));
        let (runc, crun) = refused(r#"{"cwd":"a","args":["a"]}"#);
        assert_eq!((&*runc, &*crun), ("Cwd must be an absolute path", ""));
    }

    #[test]
    fn ids_that_only_new_runtimes_take_are_left_to_the_runtime() {
        for user in [
            r#"{"uid":2147483648}"#,
            r#"{"gid":4294967295}"#,
            r#"{"additionalGids":[1,2147483648]}"#,
        ] {
            let json = format!(r#"{{"cwd":"/","args":["a"],"user":{user}}}"#);
            let process = Process::from_json(json.as_bytes()).unwrap();
            let error = check(&process.spec, Family::Runc).unwrap_err();
            assert!(error.is_unsupported(), "{error}");
            let taken = check(&process.spec, Family::Crun).is_ok();
            assert_eq!(taken, !user.contains("4294967295"), "{user}");
        }
    }

    #[test]
    fn the_last_value_stands_where_the_name_stood_first_or_last() {
        let entries = ["A=1", "HOME=/h", "B=2", "A=3"];
        for old in [Family::OldRunc, Family::Crun] {
            let (out, home) = env(&entries, old).unwrap();
            assert_eq!(out, ["A=3", "HOME=/h", "B=2"]);
            assert_eq!(home, None);
        }
        let (out, home) = env(&entries, Family::Runc).unwrap();
        assert_eq!(out, ["HOME=/h", "B=2", "A=3"]);
        assert_eq!(home, None);
    }

    #[test]
    fn an_absent_or_empty_home_is_to_be_found() {
        let found = |entries: &[&str], runtime| {
            let (out, home) = env(entries, runtime).unwrap();
            (out.join(" "), home)
        };
        for runtime in [Family::OldRunc, Family::Runc] {
            let end = ("A=1 HOME=/".to_string(), Some(1));
            assert_eq!(found(&["A=1"], runtime), end);
        }
        let empty = ["A=1", "HOME=", "A=2"];
        let (there, end) = (
            ("A=2 HOME=".into(), Some(1)),
            ("A=2 HOME=/".into(), Some(1)),
        );
        assert_eq!(found(&empty, Family::OldRunc), there);
        assert_eq!(found(&empty, Family::Runc), end);
        let emptied = ["HOME=/h", "HOME=", "B=1"];
        assert_eq!(
            found(&emptied, Family::OldRunc),
            ("HOME= B=1".into(), Some(0))
        );
        assert_eq!(
            found(&emptied, Family::Runc),
            ("B=1 HOME=/".into(), Some(1))
        );
    }

    #[test]
    fn entries_without_a_name_or_with_nul_are_refused() {
        for entry in ["A", "=1", "A=\0"] {
            assert!(env(&[entry], Family::Runc).is_err());
        }
        let error = env(&["TOKEN=secret\0"], Family::Runc).unwrap_err();
        assert_eq!(
            error.to_string(),
            "invalid environment variable \"TOKEN\": contains nul byte (\\x00)"
        );
    }

    #[test]
    fn path_is_searched_as_go_does() {
        let path = |value: &str| [CString::new(format!("PATH={value}")).unwrap()];
        let Lookup::Search(found) = lookup("sh", &path("/bin::rel:/x//:/../a/./b/../c")).unwrap()
        else {
            panic!("no search");
        };
        let found: Vec<_> = found
            .iter()
            .map(|(file, absolute)| (file.to_str().unwrap(), *absolute))
            .collect();
        assert_eq!(
            found,
            [
                ("/bin/sh", true),
                ("sh", false),
                ("rel/sh", false),
                ("/x/sh", true),
                ("/a/c/sh", true)
            ]
        );
        assert_eq!(lookup("sh", &[]).unwrap(), Lookup::Search(Vec::new()));
        assert_eq!(
            lookup("./sh", &path("/bin")).unwrap(),
            Lookup::Path(c"./sh".into())
        );
    }
}
