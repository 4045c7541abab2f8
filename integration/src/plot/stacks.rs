//! Bars of parts that lie one after the other.

use std::fmt::Write;

use super::{COLOURS, TOP, WIDTH, escaped, head, nice, number};

const LEFT: f64 = 290.0;
const RIGHT: f64 = 60.0;
const BAR: f64 = 15.0;
const GAP: f64 = 6.0;
const HEAD: f64 = 30.0;

/// A bar.
#[derive(Debug)]
pub struct Stack {
    pub label: String,
    /// In the order of the names.
    pub parts: Vec<f64>,
}

/// Bars of one scale, with what they have in common above them.
#[derive(Debug)]
pub struct Stacks {
    pub title: String,
    /// From the top down.
    pub stacks: Vec<Stack>,
}

/// The whole of it as SVG.
#[must_use]
pub fn stacks(title: &str, names: &[&str], panels: &[Stacks]) -> String {
    let height = |panel: &Stacks| HEAD + panel.stacks.len() as f64 * (BAR + GAP);
    let total: f64 = TOP + panels.iter().map(height).sum::<f64>() + GAP;
    let mut text = head(title, names, total);
    let mut top = TOP;
    for panel in panels {
        text += &panel.svg(top);
        top += height(panel);
    }
    text + "</svg>\n"
}

impl Stacks {
    fn svg(&self, top: f64) -> String {
        let total = |stack: &Stack| stack.parts.iter().sum::<f64>();
        let most = nice(self.stacks.iter().map(total).fold(0.0, f64::max));
        let scale = (WIDTH - LEFT - RIGHT) / most;
        let mut text = format!(
            "<text x=\"20\" y=\"{}\" font-weight=\"bold\">{}</text>\n",
            top + 20.0,
            escaped(&self.title)
        );
        let mut y = top + HEAD;
        for stack in &self.stacks {
            let _ = writeln!(
                text,
                "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
                LEFT - 8.0,
                y + BAR - 3.0,
                escaped(&stack.label)
            );
            let mut x = LEFT;
            for (part, colour) in stack.parts.iter().zip(COLOURS) {
                let _ = writeln!(
                    text,
                    "<rect x=\"{x:.1}\" y=\"{y}\" width=\"{:.1}\" height=\"{BAR}\" fill=\"{colour}\"/>",
                    part * scale
                );
                x += part * scale;
            }
            let _ = writeln!(
                text,
                "<text x=\"{:.1}\" y=\"{}\" font-size=\"10\" fill=\"#555\">{}</text>",
                x + 4.0,
                y + BAR - 4.0,
                number((total(stack) * 10.0).round() / 10.0)
            );
            y += BAR + GAP;
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_begin_where_those_before_them_end() {
        let panel = Stacks {
            title: "a < b".to_owned(),
            stacks: vec![Stack {
                label: "one".to_owned(),
                parts: vec![25.0, 50.0, 25.0],
            }],
        };
        let text = stacks("t", &["x", "y", "z"], &[panel]);
        // 410 pixels are 100.
        for (x, width) in [("290.0", "102.5"), ("392.5", "205.0"), ("597.5", "102.5")] {
            let part = format!("x=\"{x}\" y=\"76\" width=\"{width}\"");
            assert!(text.contains(&part), "{part} in {text}");
        }
        assert!(
            text.contains("a &lt; b") && text.contains(">100</text>"),
            "{text}"
        );
    }
}
