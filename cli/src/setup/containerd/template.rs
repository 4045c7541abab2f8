//! The templates of k3s and RKE2, which are no TOML: they are given a block of text, and a name for it.

use crate::setup::error::Error;

const BEGIN: &str = "# podhook install: begin";
const END: &str = "# podhook install: end";
/// All that k3s writes by itself.
const BASE: &str = "{{ template \"base\" . }}\n";

/// The template with the block in it, in the place of an older one.
///
/// # Errors
/// When it has a section of one of the names by hand.
pub fn add(text: Option<&str>, block: &str, names: &[&str]) -> Result<String, Error> {
    let block = format!("{BEGIN}\n{}{END}\n", block.trim_start());
    let Some(text) = text else {
        return Ok(format!("{BASE}\n{block}"));
    };
    let (before, after) = match text.split_once(BEGIN) {
        Some((before, rest)) => {
            let after = rest.split_once(END).map_or("", |(_, after)| after);
            (before, after.strip_prefix('\n').unwrap_or(after))
        }
        None => (text, ""),
    };
    let by_hand = |name: &&&str| has_section(before, name) || has_section(after, name);
    if let Some(name) = names.iter().find(by_hand) {
        return Err(Error::refused(
            format!("the template has a section for {name} that podhook install did not write"),
            "take it out, and run podhook install again; or give another name: --runtime NAME",
        ));
    }
    let gap = match before {
        "" => "",
        text if text.ends_with("\n\n") => "",
        text if text.ends_with('\n') => "\n",
        _ => "\n\n",
    };
    Ok(format!("{before}{gap}{block}{after}"))
}

/// Whether a header names the handler.
fn has_section(text: &str, name: &str) -> bool {
    let names = [".", ".\"", ".'"].map(|quote| format!("runtimes{quote}{name}"));
    let mut after = names.iter().flat_map(|name| text.split(&**name).skip(1));
    after.any(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '-' || c == '_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_is_appended_and_replaced_by_the_next_one() {
        let new = add(None, "\n[a.runtimes.podhook]\nx = 1\n", &["podhook"]).unwrap();
        assert_eq!(
            new,
            "{{ template \"base\" . }}\n\n# podhook install: begin\n[a.runtimes.podhook]\nx = 1\n# podhook install: end\n"
        );
        let again = add(Some(&new), "[a.runtimes.podhook]\nx = 2\n", &["podhook"]).unwrap();
        assert_eq!(again, new.replace("x = 1", "x = 2"));
        let mine = add(
            Some("{{ if .X }}\ny = 1\n{{ end }}\n"),
            "[b]\n",
            &["podhook"],
        )
        .unwrap();
        assert!(
            mine.starts_with("{{ if .X }}\ny = 1\n{{ end }}\n\n# podhook"),
            "{mine}"
        );
    }

    #[test]
    fn a_section_by_hand_is_not_doubled() {
        for hand in [
            "runtimes.podhook]",
            "runtimes.\"podhook\"]",
            "runtimes.'podhook'.options]",
        ] {
            let text = format!("[plugins.x.containerd.{hand}\n");
            assert!(add(Some(&text), "[b]\n", &["podhook"]).is_err(), "{hand}");
        }
        assert!(add(Some("[x.runtimes.podhook-2]\n"), "[b]\n", &["podhook"]).is_ok());
    }
}
