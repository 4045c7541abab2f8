//! Where unit tests stand: in the file, as `mod tests` at its end, or, where they are long, in `tests.rs` or
//! `tests/` of the module's folder. No file is a module by `#[path]` but what test programs share.

use super::assert_none;
use super::sources;

#[test]
fn unit_tests_have_one_place() {
    let mut wrong = Vec::new();
    for file in ["shim/src", "hooks/src", "cli/src", "integration/src"]
        .into_iter()
        .flat_map(sources)
    {
        let lines: Vec<&str> = file.text.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            let place = format!("{}:{}", file.path, number + 1);
            let line = line.trim();
            if line.starts_with("#[path") {
                wrong.push(format!("{place}: #[path]"));
            }
            let named = line
                .strip_prefix("mod ")
                .map(|rest| rest.trim_end_matches([' ', '{', ';']));
            let tests = named.is_some_and(|name| name.ends_with("tests"));
            if tests && named != Some("tests") {
                wrong.push(format!("{place}: unit tests are in `mod tests`"));
            }
            if line == "mod tests {" && lines.last() != Some(&"}") {
                wrong.push(format!("{place}: unit tests end the file"));
            }
            if line == "mod tests;" && !file.path.ends_with("mod.rs") {
                wrong.push(format!("{place}: a module with tests.rs is a folder"));
            }
        }
        let name = file.path.rsplit('/').next().unwrap_or_default();
        if name.ends_with("_tests.rs") || name.starts_with("test_") {
            wrong.push(format!("{}: unit tests are in tests.rs", file.path));
        }
    }
    assert_none(&wrong, "Unit tests:");
}
