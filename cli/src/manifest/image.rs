//! Image names as Docker and containerd normalise them (`distribution/reference`).

/// The full name: `nginx` → `docker.io/library/nginx:latest`.
#[must_use]
pub fn normalize(name: &str) -> String {
    let (domain, path) = match name.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (
            if first == "index.docker.io" {
                "docker.io"
            } else {
                first
            },
            rest,
        ),
        _ => ("docker.io", name),
    };
    let library = if domain == "docker.io" && !path.contains('/') {
        "library/"
    } else {
        ""
    };
    let tag = if has_tag_or_digest(path) {
        ""
    } else {
        ":latest"
    };
    format!("{domain}/{library}{path}{tag}")
}

fn has_tag_or_digest(path: &str) -> bool {
    path.contains('@')
        || path
            .rsplit('/')
            .next()
            .is_some_and(|last| last.contains(':'))
}

#[cfg(test)]
mod tests {
    use super::normalize;

    #[test]
    fn names_are_completed_as_docker_does() {
        for (name, full) in [
            ("nginx", "docker.io/library/nginx:latest"),
            ("nginx:1.27", "docker.io/library/nginx:1.27"),
            ("bitnami/nginx", "docker.io/bitnami/nginx:latest"),
            ("docker.io/nginx", "docker.io/library/nginx:latest"),
            ("index.docker.io/nginx", "docker.io/library/nginx:latest"),
            ("localhost/app", "localhost/app:latest"),
            ("localhost:5000/app:v1", "localhost:5000/app:v1"),
            (
                "registry.example.com/team/app",
                "registry.example.com/team/app:latest",
            ),
            ("nginx@sha256:abc", "docker.io/library/nginx@sha256:abc"),
        ] {
            assert_eq!(normalize(name), full);
        }
    }
}
