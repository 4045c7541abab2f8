//! `TYPE NAME…` and `TYPE/NAME…` as kubectl reads them.

use super::Error;

/// The pods that the arguments name; empty: all of them.
///
/// # Errors
/// Another type than pods, or a mixture of both forms.
pub fn pods(arguments: &[String]) -> Result<Vec<String>, Error> {
    let Some((first, names)) = arguments.split_first() else {
        return Err(Error::Arguments(
            "You must specify the type of resource to get".to_owned(),
        ));
    };
    if first.contains('/') {
        return arguments
            .iter()
            .map(|argument| pod_name(argument))
            .collect();
    }
    check_type(first)?;
    names
        .iter()
        .map(|name| {
            if name.contains('/') {
                Err(Error::Arguments(
                    "there is no need to specify a resource type as a separate argument when \
                     passing arguments in resource/name form"
                        .to_owned(),
                ))
            } else {
                Ok(name.clone())
            }
        })
        .collect()
}

/// `pod/NAME` or `NAME`.
///
/// # Errors
/// Another type than a pod.
pub fn pod_name(argument: &str) -> Result<String, Error> {
    match argument.split_once('/') {
        None => Ok(argument.to_owned()),
        Some((kind, name)) => {
            check_type(kind)?;
            Ok(name.to_owned())
        }
    }
}

fn check_type(kind: &str) -> Result<(), Error> {
    if ["pod", "pods", "po"].contains(&kind.to_ascii_lowercase().as_str()) {
        Ok(())
    } else {
        Err(Error::Arguments(format!(
            "the server doesn't have a resource type {kind:?}\n  hint: there are pods (pod, po) alone; a pod's name comes after \
             the type, as pods {kind}"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(arguments: &[&str]) -> Result<Vec<String>, String> {
        let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
        pods(&arguments).map_err(|e| e.to_string())
    }

    #[test]
    fn both_forms_name_pods() {
        assert_eq!(names(&["pods"]), Ok(vec![]));
        assert_eq!(
            names(&["po", "a", "b"]),
            Ok(vec!["a".to_owned(), "b".to_owned()])
        );
        assert_eq!(
            names(&["pod/a", "pods/b"]),
            Ok(vec!["a".to_owned(), "b".to_owned()])
        );
    }

    #[test]
    fn other_types_are_refused_as_kubectl_does() {
        for arguments in [["svc"], ["svc/a"]] {
            let said = names(&arguments).unwrap_err();
            let (refusal, hint) = said.split_once("\n  hint: ").unwrap();
            assert_eq!(refusal, "the server doesn't have a resource type \"svc\"");
            assert!(hint.contains("pods"), "{hint}");
        }
        assert!(names(&["pod", "pod/a"]).is_err());
    }
}
