//! Pictures of what was measured, as SVG.

mod bars;
mod lines;
mod stacks;

use std::fmt::Write;

pub use bars::{Bars, Group, bars};
pub use lines::{Line, Panel, svg};
pub use stacks::{Stack, Stacks, stacks};

/// Told apart by the blind to colours as well.
const COLOURS: [&str; 4] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7"];

const WIDTH: f64 = 760.0;
/// Below the title and the names.
const TOP: f64 = 46.0;

/// The beginning of a picture of bars: its title, and what has which colour.
fn head(title: &str, names: &[impl AsRef<str>], height: f64) -> String {
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"20\" y=\"20\" font-size=\"15\">{}</text>\n",
        escaped(title)
    );
    let mut x = 20.0;
    for (name, colour) in names.iter().zip(COLOURS) {
        let name = name.as_ref();
        let _ = writeln!(
            text,
            "<text x=\"{x}\" y=\"37\" fill=\"{colour}\">■ {}</text>",
            escaped(name)
        );
        x += 7.0 * name.chars().count() as f64 + 40.0;
    }
    text
}

/// The next round number.
fn nice(most: f64) -> f64 {
    let unit = 10_f64.powf(most.max(1.0).log10().floor());
    let steps = [1.0, 2.0, 4.0, 5.0, 10.0];
    let step = steps.into_iter().find(|step| step * unit >= most);
    step.unwrap_or(10.0) * unit
}

fn number(value: f64) -> String {
    match value.fract() == 0.0 {
        true => format!("{value:.0}"),
        false => format!("{value:.1}"),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axis_ends_at_a_round_number_that_holds_every_value() {
        for (most, wanted) in [(0.0, 1.0), (7.0, 10.0), (13.0, 20.0), (410.0, 500.0)] {
            assert_eq!(nice(most), wanted, "{most}");
        }
    }
}
