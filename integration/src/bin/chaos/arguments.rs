//! What the command line asks for.

use podhook_integration::Place;
use podhook_integration::chaos::{Phase, Seed, Victim};

/// Where nothing else is named: the oldest containerd and the newest, with the original beside it.
const PLACES: [&str; 3] = ["1.6/podhook", "2.4/podhook", "2.4/runc"];

/// Those of the short form.
const SHORT: [&str; 2] = ["1.6/podhook", "2.4/podhook"];

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arguments {
    pub seed: u64,
    /// How often, each time with the next seed.
    pub rounds: u64,
    pub short: bool,
    /// Whether the table is written.
    pub write: bool,
    pub places: Vec<Place>,
    only: Vec<(Phase, Victim)>,
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
                "--only" => this.only.push(pair(words.next().unwrap_or_default())?),
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

    pub fn wants(&self, pair: (Phase, Victim)) -> bool {
        self.only.is_empty() || self.only.contains(&pair)
    }
}

fn place(word: &str) -> Result<Place, String> {
    Place::named(word).ok_or_else(|| format!("{word:?} is no place: want 1.6/podhook, 2.4/runc"))
}

fn pair(word: &str) -> Result<(Phase, Victim), String> {
    let found = word.split_once('/').and_then(|(phase, victim)| {
        let phase = Phase::ALL.into_iter().find(|it| it.name() == phase)?;
        let victim = Victim::ALL.into_iter().find(|it| it.name() == victim)?;
        Some((phase, victim))
    });
    found.ok_or_else(|| format!("{word:?}: want PHASE/VICTIM, as exec/joiner or delete-verb/shim"))
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
        let arguments = parse("--seed 7 --only delete-verb/shim 2.4/podhook").expect("arguments");
        assert_eq!(arguments.seed, 7);
        assert_eq!(arguments.places.len(), 1);
        assert!(arguments.wants((Phase::DeleteVerb, Victim::Shim)));
        assert!(!arguments.wants((Phase::DeleteVerb, Victim::Init)));
    }

    #[test]
    fn what_is_not_understood_is_said() {
        for line in ["--seed x", "--only exec", "3.0/podhook", "--long"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
