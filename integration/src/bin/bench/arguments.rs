//! What the command line asks for.

use crate::part::Part;
use crate::spot::{Spot, USUAL};

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arguments {
    /// In the order of [`Part::ALL`].
    pub parts: Vec<Part>,
    pub sizes: Sizes,
    /// Whether the documents are written.
    pub write: bool,
    pub spots: Vec<Spot>,
}

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Of what is repeated in rounds.
    pub rounds: usize,
    /// Everything as the goals name it: 300 at one a second, 10,000 execs, 100 probed pods.
    pub long: bool,
}

impl Sizes {
    /// Something that takes its time: a share of the rounds, once at least.
    #[must_use]
    pub fn share(self, share: f64) -> usize {
        ((self.rounds as f64 * share).round() as usize).max(1)
    }

    /// As many as usual, or as many as take long.
    #[must_use]
    pub fn or_long(self, usual: usize, long: usize) -> usize {
        match self.long {
            true => long,
            // Few rounds are for a look at whether all works.
            false => (usual * self.rounds.min(ROUNDS)).div_ceil(ROUNDS),
        }
    }
}

/// Where nobody names another number.
const ROUNDS: usize = 25;

impl Arguments {
    /// From the words after the program's name.
    ///
    /// # Errors
    /// A word that means nothing.
    pub fn parse(words: &[&str]) -> Result<Self, String> {
        let (mut parts, mut spots) = (Vec::new(), Vec::new());
        let (mut write, mut sizes) = (
            false,
            Sizes {
                rounds: ROUNDS,
                long: false,
            },
        );
        let mut words = words.iter().copied();
        while let Some(word) = words.next() {
            match word {
                "--write" => write = true,
                "--long" => sizes.long = true,
                "--rounds" => {
                    let text = words.next().unwrap_or_default();
                    let number = text.parse().ok().filter(|number| *number > 0);
                    sizes.rounds =
                        number.ok_or_else(|| format!("--rounds: {text:?} is no number"))?;
                }
                "--part" => {
                    let name = words.next().unwrap_or_default();
                    let part = Part::named(name);
                    parts.push(
                        part.ok_or_else(|| {
                            format!("--part: {name:?} is none of {}", Part::names())
                        })?,
                    );
                }
                word => spots.push(Spot::named(word).ok_or_else(|| {
                    format!("{word:?} is no place: want 1.6, 2.4, 2.4+crun, 2.3+runc-1.1")
                })?),
            }
        }
        if spots.is_empty() {
            spots = USUAL.into_iter().filter_map(Spot::named).collect();
        }
        let wanted = |part: &Part| parts.is_empty() || parts.contains(part);
        Ok(Self {
            parts: Part::ALL.into_iter().filter(wanted).collect(),
            sizes,
            write,
            spots,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_measured_at_the_usual_places_where_nothing_is_named() {
        let arguments = Arguments::parse(&[]).expect("arguments");
        assert_eq!(arguments.parts, Part::ALL);
        assert_eq!(arguments.spots.len(), USUAL.len());
        assert_eq!(arguments.sizes.or_long(30, 300), 30);
    }

    #[test]
    fn parts_come_in_their_own_order() {
        let words = "--part memory --part cold --rounds 3 --write 2.4+crun";
        let words: Vec<_> = words.split(' ').collect();
        let arguments = Arguments::parse(&words).expect("arguments");
        assert_eq!(arguments.parts, [Part::Cold, Part::Memory]);
        assert_eq!((arguments.sizes.rounds, arguments.write), (3, true));
        assert_eq!(arguments.sizes.or_long(30, 300), 4);
        assert_eq!(arguments.spots.len(), 1);
    }

    #[test]
    fn a_word_that_means_nothing_is_refused() {
        for words in [&["--part", "lukewarm"][..], &["--rounds", "0"], &["9.9"]] {
            assert!(Arguments::parse(words).is_err(), "{words:?}");
        }
    }
}
