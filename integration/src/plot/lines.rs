//! Lines over time: one panel for each series, one line for each place.

use std::fmt::Write;

use super::{COLOURS, TOP, WIDTH, escaped, nice, number};

const PANEL: f64 = 120.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const GAP: f64 = 44.0;

/// A line: its points by time and value.
pub type Line = Vec<(f64, f64)>;

/// A panel: its title, and a line for each place.
#[derive(Debug)]
pub struct Panel {
    pub title: String,
    /// In the order of the places.
    pub lines: Vec<Line>,
}

/// The whole of it as SVG.
#[must_use]
pub fn svg(title: &str, names: &[String], panels: &[Panel]) -> String {
    let height = TOP + panels.len() as f64 * (PANEL + GAP);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"{LEFT}\" y=\"20\" font-size=\"15\">{}</text>\n",
        escaped(title)
    );
    let mut x = LEFT;
    for (name, colour) in names.iter().zip(COLOURS) {
        let _ = writeln!(
            text,
            "<text x=\"{x}\" y=\"37\" fill=\"{colour}\">● {}</text>",
            escaped(name)
        );
        x += 9.0 * name.len() as f64 + 40.0;
    }
    for (number, panel) in panels.iter().enumerate() {
        let top = TOP + GAP / 2.0 + number as f64 * (PANEL + GAP);
        text += &panel.svg(top);
    }
    text + "</svg>\n"
}

impl Panel {
    fn svg(&self, top: f64) -> String {
        let points = || self.lines.iter().flatten();
        let end = points().fold(1.0_f64, |end, point| end.max(point.0));
        let most = nice(points().fold(0.0_f64, |most, point| most.max(point.1)));
        let (width, bottom) = (WIDTH - LEFT - RIGHT, top + PANEL);
        let mut text = format!(
            "<text x=\"{LEFT}\" y=\"{}\">{}</text>\n",
            top - 6.0,
            escaped(&self.title)
        );
        for part in 0..=2 {
            let share = f64::from(part) / 2.0;
            let y = bottom - share * PANEL;
            let _ = writeln!(
                text,
                "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{y}\" y2=\"{y}\" stroke=\"#ddd\"/>\
                 <text x=\"{}\" y=\"{}\" text-anchor=\"end\" fill=\"#555\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                y + 4.0,
                number(most * share)
            );
        }
        for part in 0..=4 {
            let share = f64::from(part) / 4.0;
            let _ = writeln!(
                text,
                "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\" fill=\"#555\">{}</text>",
                LEFT + share * width,
                bottom + 14.0,
                minutes(end * share)
            );
        }
        for (line, colour) in self.lines.iter().zip(COLOURS) {
            let points: Vec<_> = line
                .iter()
                .map(|(at, value)| {
                    let (x, y) = (LEFT + at / end * width, bottom - value / most * PANEL);
                    format!("{x:.1},{y:.1}")
                })
                .collect();
            let _ = writeln!(
                text,
                "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\" points=\"{}\"/>",
                points.join(" ")
            );
        }
        text
    }
}

fn minutes(seconds: f64) -> String {
    format!("{} min", number((seconds / 6.0).round() / 10.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_in_its_panel() {
        let panel = Panel {
            title: "a & b".to_owned(),
            lines: vec![vec![(0.0, 0.0), (60.0, 100.0)]],
        };
        let text = svg("t", &["x".to_owned()], &[panel]);
        assert!(text.contains("a &amp; b"), "{text}");
        let top = TOP + GAP / 2.0;
        let ends = format!("{LEFT:.1},{:.1} {:.1},{top:.1}", top + PANEL, WIDTH - RIGHT);
        assert!(text.contains(&ends), "{ends}: {text}");
    }
}
