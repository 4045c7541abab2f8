//! Columns three blanks apart (kubectl `printers.GetNewTabWriter`).

use super::escape::visible;
use super::paint::{Colour, Paint};

/// The colour of a cell, by its column and what it says.
type Colours = fn(usize, &str) -> Option<Colour>;

/// A table under construction.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
    widths: Vec<usize>,
    colours: Option<(Paint, Colours)>,
}

impl Table {
    /// A table some of whose cells have a colour.
    #[must_use]
    pub fn painted(paint: Paint, colours: Colours) -> Self {
        Self {
            colours: Some((paint, colours)),
            ..Self::default()
        }
    }

    /// Adds a row. Its cells may hold anything.
    pub fn row<I, S>(&mut self, cells: I)
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        let cells: Vec<String> = cells
            .into_iter()
            .map(|cell| visible(&cell.into()).into_owned())
            .collect();
        for (i, cell) in cells.iter().enumerate() {
            let width = cell.chars().count();
            match self.widths.get_mut(i) {
                Some(widest) => *widest = width.max(*widest),
                None => self.widths.push(width),
            }
        }
        self.rows.push(cells);
    }

    /// The rows as text, and none of them any more: the columns keep their widths for the rows to
    /// come, as in `get --watch`.
    pub fn take(&mut self) -> String {
        let mut text = String::new();
        for row in std::mem::take(&mut self.rows) {
            let mut line = String::new();
            for (i, (cell, width)) in row.iter().zip(&self.widths).enumerate() {
                let last = i.saturating_add(1) == row.len();
                let colour = |(paint, of): &(Paint, Colours)| Some((*paint, of(i, cell)?));
                match self.colours.as_ref().and_then(colour) {
                    Some((paint, colour)) => line.push_str(&paint.text(colour, cell)),
                    None => line.push_str(cell),
                }
                if !last {
                    let blanks = width.saturating_add(3).saturating_sub(cell.chars().count());
                    line.extend(std::iter::repeat_n(' ', blanks));
                }
            }
            text.push_str(&line);
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_three() {
        let mut table = Table::default();
        table.row(["NAME", "READY", "AGE"]);
        table.row(["lifecycle-demo", "1/1", "5s"]);
        assert_eq!(
            table.take(),
            "NAME             READY   AGE\nlifecycle-demo   1/1     5s\n"
        );
        table.row(["web", "0/1", "6s"]);
        assert_eq!(table.take(), "web              0/1     6s\n");
    }
}
