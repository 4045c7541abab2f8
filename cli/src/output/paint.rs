//! Colours: on a terminal only, and not where the user wants none (<https://no-color.org>).

use std::env;
use std::ffi::OsString;
use std::io::{self, IsTerminal};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    Red,
    Green,
    Yellow,
}

impl Colour {
    /// The number of ECMA-48.
    const fn code(self) -> u8 {
        match self {
            Self::Red => 31,
            Self::Green => 32,
            Self::Yellow => 33,
        }
    }
}

/// Whether there are colours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Paint(bool);

impl Paint {
    /// None.
    pub const NONE: Self = Self(false);

    /// As it is right for stdout.
    #[must_use]
    pub fn of_stdout() -> Self {
        Self::on(io::stdout().is_terminal(), |name| env::var_os(name))
    }

    /// As it is right for stderr.
    #[must_use]
    pub fn of_stderr() -> Self {
        Self::on(io::stderr().is_terminal(), |name| env::var_os(name))
    }

    fn on(terminal: bool, variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let unwanted = variable("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = variable("TERM").is_none_or(|term| term == "dumb");
        Self(terminal && !unwanted && !dumb)
    }

    /// The text in a colour.
    #[must_use]
    pub fn text(self, colour: Colour, text: &str) -> String {
        if self.0 {
            format!("\x1b[{}m{text}\x1b[0m", colour.code())
        } else {
            text.to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_terminal_whose_user_wants_it_has_colours() {
        let on = |terminal, no_color: Option<&str>, term: Option<&str>| {
            let value = |name: &str| if name == "TERM" { term } else { no_color };
            Paint::on(terminal, |name| value(name).map(OsString::from))
        };
        let xterm = Some("xterm");
        let text = on(true, None, xterm).text(Colour::Red, "fail");
        assert_eq!(text, "\x1b[31mfail\x1b[0m");
        // An empty NO_COLOR is none.
        assert_ne!(on(true, Some(""), xterm), Paint::NONE);
        for plain in [
            on(false, None, xterm),
            on(true, Some("1"), xterm),
            on(true, None, Some("dumb")),
            on(true, None, None),
        ] {
            assert_eq!(plain.text(Colour::Red, "fail"), "fail");
        }
    }
}
