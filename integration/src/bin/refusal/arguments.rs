//! What the command line asks for.

use podhook_integration::chaos::Seed;
use podhook_integration::chaos::refusal::{Operation, Refusal};
use podhook_integration::{Place, ShimKind};

/// Where nothing else is named.
const PLACE: &str = "2.4/podhook-v1";
/// How many calls of a kind fail in an operation, from the first; and the last one does.
const DEPTH: usize = 4;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arguments {
    pub seed: u64,
    /// A sample of the seed.
    pub short: bool,
    /// Whether the table is written.
    pub write: bool,
    pub depth: usize,
    pub places: Vec<Place>,
    only: Vec<String>,
}

impl Arguments {
    pub fn parse(words: &[String]) -> Result<Self, String> {
        let mut this = Self {
            seed: Seed::fresh(),
            short: false,
            write: false,
            depth: DEPTH,
            places: Vec::new(),
            only: Vec::new(),
        };
        let mut words = words.iter().map(String::as_str);
        while let Some(word) = words.next() {
            let mut next = || words.next().ok_or(format!("{word}: of what?"));
            let number = |text: &str| format!("{word}: {text:?} is no number");
            match word {
                "--seed" => this.seed = next().and_then(|it| it.parse().map_err(|_| number(it)))?,
                "--depth" => {
                    this.depth = next().and_then(|it| it.parse().map_err(|_| number(it)))?
                }
                "--short" => this.short = true,
                "--write" => this.write = true,
                "--only" => this.only.push(operation(next()?)?),
                _ => this.places.push(place(word)?),
            }
        }
        if this.places.is_empty() {
            this.places.push(place(PLACE)?);
        }
        Ok(this)
    }

    /// Whether an operation is wanted at all.
    pub fn wants(&self, operation: Operation) -> bool {
        let of = |only: &String| only.split('/').next() == Some(operation.name());
        self.only.is_empty() || self.only.iter().any(of)
    }

    /// Whether that call is.
    pub fn wants_refusal(&self, operation: Operation, refusal: &Refusal) -> bool {
        let name = format!("{operation}/{refusal}");
        let is = |only: &String| {
            let rest = name.strip_prefix(only.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', ':']))
        };
        self.only.is_empty() || self.only.iter().any(is)
    }
}

fn place(word: &str) -> Result<Place, String> {
    let place = Place::named(word).filter(|place| place.shim == ShimKind::PodhookV1);
    place.ok_or_else(|| {
        format!("{word:?} is no place of podhook by its name: want 1.6/podhook-v1, 2.4/podhook-v1")
    })
}

fn operation(word: &str) -> Result<String, String> {
    let name = word.split('/').next().unwrap_or_default();
    match Operation::ALL.iter().any(|it| it.name() == name) {
        true => Ok(word.to_owned()),
        false => Err(format!(
            "{word:?}: want OPERATION, OPERATION/CALL or OPERATION/CALL:ERROR:N, as exec/openat:EMFILE:2"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Arguments::parse(&words)
    }

    #[test]
    fn a_line_that_is_printed_for_a_failure_is_understood() {
        let arguments = parse("--only exec/openat:EMFILE:2 2.4/podhook-v1").expect("arguments");
        let refusal = |nth| Refusal {
            call: "openat".to_owned(),
            error: "EMFILE",
            nth,
        };
        assert!(arguments.wants(Operation::Exec));
        assert!(!arguments.wants(Operation::Kill));
        assert!(arguments.wants_refusal(Operation::Exec, &refusal(2)));
        assert!(!arguments.wants_refusal(Operation::Exec, &refusal(21)));
        let all = parse("--only exec/openat").expect("arguments");
        assert!(all.wants_refusal(Operation::Exec, &refusal(21)));
    }

    #[test]
    fn what_is_not_understood_is_said() {
        for line in ["--seed x", "--seed", "--only run", "2.4/podhook", "--long"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
