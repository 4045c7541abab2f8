//! docs/security.md names tests that exist.

use std::fs;
use std::path::{Path, PathBuf};

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => all.extend(sources(&path)),
            false if path.extension().is_some_and(|ext| ext == "rs") => all.push(path),
            false => {}
        }
    }
    all
}

#[test]
fn every_test_that_the_document_names_is_there() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text: String = ["hooks", "integration/tests", "shim/src", "cli/src"]
        .iter()
        .flat_map(|dir| sources(&workspace.join(dir)))
        .map(|source| fs::read_to_string(source).unwrap())
        .collect();
    let document = fs::read_to_string(workspace.join("docs/security.md")).unwrap();
    let names: Vec<_> = document
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|name| !name.contains(['/', '.', ' ']))
        // Where it is comes first.
        .map(|name| name.rsplit("::").next().unwrap_or(name))
        .filter(|name| name.contains('_'))
        .collect();
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        let test = text.contains(&format!("fn {name}("));
        let file = workspace.join(format!("hooks/tests/{name}.rs")).exists();
        let folder = workspace
            .join(format!("hooks/tests/{name}/main.rs"))
            .exists();
        assert!(test || file || folder, "no {name}");
    }
}
