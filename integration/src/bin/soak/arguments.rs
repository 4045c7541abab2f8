//! What the command line asks for.

use podhook_integration::Place;

/// podhook, and the original beside it.
const PLACES: [&str; 2] = ["2.4/podhook", "2.4/runc"];

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arguments {
    /// For each place.
    pub minutes: u64,
    /// Containers at a time.
    pub parallel: usize,
    pub write: bool,
    pub places: Vec<Place>,
}

impl Arguments {
    pub fn parse(words: &[String]) -> Result<Self, String> {
        let mut this = Self {
            minutes: 30,
            parallel: 32,
            write: false,
            places: Vec::new(),
        };
        let mut words = words.iter().map(String::as_str);
        while let Some(word) = words.next() {
            match word {
                "--minutes" => this.minutes = number(word, words.next())?,
                "--parallel" => this.parallel = number(word, words.next())?,
                "--write" => this.write = true,
                _ => this.places.push(place(word)?),
            }
        }
        if this.places.is_empty() {
            this.places = PLACES.into_iter().map(place).collect::<Result<_, _>>()?;
        }
        Ok(this)
    }
}

fn number<T: std::str::FromStr>(flag: &str, text: Option<&str>) -> Result<T, String> {
    let text = text.unwrap_or_default();
    text.parse()
        .map_err(|_| format!("{flag}: {text:?} is no number"))
}

fn place(word: &str) -> Result<Place, String> {
    Place::named(word).ok_or_else(|| format!("{word:?} is no place: want 2.4/podhook, 1.6/runc"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_original_is_beside_podhook_where_no_place_is_named() {
        let words = ["--minutes", "2"].map(str::to_owned);
        let arguments = Arguments::parse(&words).expect("arguments");
        assert_eq!((arguments.minutes, arguments.parallel), (2, 32));
        assert_eq!(arguments.places.len(), 2);
        assert!(Arguments::parse(&["--minutes".to_owned()]).is_err());
        assert!(Arguments::parse(&["9.9/podhook".to_owned()]).is_err());
    }
}
