//! Bars beside each other: for each thing that was measured one bar of each that is compared.

use std::fmt::Write;

use super::{COLOURS, TOP, WIDTH, escaped, head, nice, number};

const LEFT: f64 = 250.0;
const RIGHT: f64 = 60.0;
const BAR: f64 = 11.0;
const GAP: f64 = 7.0;
const HEAD: f64 = 30.0;

/// What was measured, and how much it is for each that is compared; none where it was not measured.
#[derive(Debug)]
pub struct Group {
    pub label: String,
    /// In the order of the names.
    pub values: Vec<Option<f64>>,
}

/// Groups of one unit: they have one scale.
#[derive(Debug)]
pub struct Bars {
    pub title: String,
    /// From the top down.
    pub groups: Vec<Group>,
}

/// The whole of it as SVG.
#[must_use]
pub fn bars(title: &str, names: &[String], panels: &[Bars]) -> String {
    let height: f64 = TOP + panels.iter().map(Bars::height).sum::<f64>() + GAP;
    let mut text = head(title, names, height);
    let mut top = TOP;
    for panel in panels {
        text += &panel.svg(top);
        top += panel.height();
    }
    text + "</svg>\n"
}

impl Group {
    fn height(&self) -> f64 {
        self.values.len() as f64 * BAR + GAP
    }
}

impl Bars {
    fn height(&self) -> f64 {
        HEAD + self.groups.iter().map(Group::height).sum::<f64>()
    }

    fn svg(&self, top: f64) -> String {
        let values = || self.groups.iter().flat_map(|group| &group.values).flatten();
        // Of what is all below 1 the scale is as fine as it must be.
        let most = values().fold(0.0_f64, |most, value| most.max(*value));
        let most = nice(most * 1000.0).max(1.0) / 1000.0;
        let mut text = format!(
            "<text x=\"20\" y=\"{}\" font-weight=\"bold\">{}</text>\n",
            top + 20.0,
            escaped(&self.title)
        );
        let mut y = top + HEAD;
        for group in &self.groups {
            let middle = y + (group.height() - GAP) / 2.0 + 4.0;
            let _ = writeln!(
                text,
                "<text x=\"{}\" y=\"{middle}\" text-anchor=\"end\">{}</text>",
                LEFT - 8.0,
                escaped(&group.label)
            );
            for (value, colour) in group.values.iter().zip(COLOURS) {
                if let Some(value) = value {
                    let width = value / most * (WIDTH - LEFT - RIGHT);
                    let _ = writeln!(
                        text,
                        "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{width:.1}\" height=\"{}\" fill=\"{colour}\"/>\
                         <text x=\"{:.1}\" y=\"{}\" font-size=\"10\" fill=\"#555\">{}</text>",
                        BAR - 1.0,
                        LEFT + width + 4.0,
                        y + BAR - 2.0,
                        short(*value)
                    );
                }
                y += BAR;
            }
            y += GAP;
        }
        text
    }
}

/// Three digits at the most, but for large whole numbers.
fn short(value: f64) -> String {
    match value {
        value if value >= 100.0 => number(value.round()),
        value if value >= 10.0 => number((value * 10.0).round() / 10.0),
        value => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_bar_ends_within_the_picture_and_what_was_not_measured_has_none() {
        let panel = Bars {
            title: "ms".to_owned(),
            groups: vec![
                Group {
                    label: "a < b".to_owned(),
                    values: vec![Some(0.2), None],
                },
                Group {
                    label: "c".to_owned(),
                    values: vec![Some(0.05), Some(0.1)],
                },
            ],
        };
        let names = ["x", "y"].map(str::to_owned);
        let text = bars("t", &names, &[panel]);
        assert!(text.contains("a &lt; b"), "{text}");
        let full = format!("width=\"{:.1}\"", WIDTH - LEFT - RIGHT);
        assert!(text.contains(&full), "{full}: {text}");
        assert_eq!(text.matches("<rect x").count(), 3);
    }

    #[test]
    fn a_number_is_as_long_as_it_must_be() {
        assert_eq!(
            [0.123, 12.34, 123.4].map(short),
            ["0.12", "12.3", "123"].map(str::to_owned)
        );
    }
}
