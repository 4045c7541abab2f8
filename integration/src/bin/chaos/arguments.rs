//! What the command line asks for.

use podhook_integration::Place;
use podhook_integration::chaos::Seed;

use crate::part::Part;

/// Where nothing else is named: the oldest containerd and the newest, with the original beside it, and those of pods without a
/// pause container.
const PLACES: [&str; 5] = [
    "1.6/podhook",
    "2.4/podhook",
    "2.3/podhook-pauseless",
    "2.4/podhook-pauseless",
    "2.4/runc",
];

/// Those of the short form.
const SHORT: [&str; 3] = ["1.6/podhook", "2.4/podhook", "2.4/podhook-pauseless"];

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arguments {
    pub seed: u64,
    /// How often, each time with the next seed.
    pub rounds: u64,
    pub short: bool,
    /// Whether the table is written.
    pub write: bool,
    pub places: Vec<Place>,
    only: Vec<Part>,
}

impl Arguments {
    pub fn parse(words: &[String]) -> Result<Self, String> {
        let mut this = Self {
            seed: Seed::fresh(),
            rounds: 1,
            short: false,
            write: false,
            places: Vec::new(),
            only: Vec::new(),
        };
        let mut words = words.iter().map(String::as_str);
        while let Some(word) = words.next() {
            let mut number = || {
                let text = words.next().unwrap_or_default();
                let number = text.parse();
                number.map_err(|_| format!("{word}: {text:?} is no number"))
            };
            match word {
                "--seed" => this.seed = number()?,
                "--rounds" => this.rounds = number()?,
                "--short" => this.short = true,
                "--write" => this.write = true,
                "--only" => this.only.push(part(words.next().unwrap_or_default())?),
                _ => this.places.push(place(word)?),
            }
        }
        if this.places.is_empty() {
            let places = if this.short { &SHORT[..] } else { &PLACES };
            this.places = places
                .iter()
                .map(|word| place(word))
                .collect::<Result<_, _>>()?;
        }
        Ok(this)
    }

    pub fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }
}

fn place(word: &str) -> Result<Place, String> {
    Place::named(word).ok_or_else(|| format!("{word:?} is no place: want 1.6/podhook, 2.4/runc"))
}

fn part(word: &str) -> Result<Part, String> {
    Part::named(word).ok_or_else(|| {
        format!(
            "{word:?}: want PHASE/VICTIM, as exec/joiner, delete-verb/shim or RunPodSandbox/holder"
        )
    })
}

#[cfg(test)]
mod tests {
    use podhook_integration::chaos::{Phase, Victim};

    use super::*;

    fn parse(line: &str) -> Result<Arguments, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Arguments::parse(&words)
    }

    #[test]
    fn a_line_that_is_printed_for_a_failure_is_understood() {
        let arguments = parse("--seed 7 --only delete-verb/shim 2.4/podhook").expect("arguments");
        assert_eq!(arguments.seed, 7);
        assert_eq!(arguments.places.len(), 1);
        let of_container = |victim| Part::Container(Phase::DeleteVerb, victim);
        assert!(arguments.wants(of_container(Victim::Shim)));
        assert!(!arguments.wants(of_container(Victim::Init)));
        for part in Place::all().into_iter().flat_map(Part::all) {
            assert_eq!(Part::named(&part.to_string()), Some(part));
        }
    }

    #[test]
    fn what_is_not_understood_is_said() {
        for line in ["--seed x", "--only exec", "3.0/podhook", "--long"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
