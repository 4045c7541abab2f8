//! What is printed: tables, and each budget with its verdict.

use std::time::Duration;

/// Prints rows under their heads, columns aligned: the first to the left, the others to the right.
pub fn print(title: &str, heads: &[&str], rows: &[Vec<String>]) {
    println!("\n{title}\n");
    let heads: Vec<String> = heads.iter().map(|head| (*head).to_owned()).collect();
    let width = |column: usize| {
        let cells = rows
            .iter()
            .chain([&heads])
            .filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    for row in [&heads].into_iter().chain(rows) {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = width(column);
            if column == 0 {
                line += &format!("{cell:<width$}");
            } else {
                line += &format!("  {cell:>width$}");
            }
        }
        println!("  {}", line.trim_end());
    }
}

/// A number that has a budget.
#[derive(Debug)]
pub struct Budget {
    pub what: &'static str,
    /// What came out, in the unit of `limit`.
    pub measured: f64,
    /// The most it may be.
    pub limit: f64,
    /// As ` ms`, or empty for a ratio.
    pub unit: &'static str,
}

/// Prints the budgets. A miss is reported and fails nothing: a busy machine is no defect.
pub fn print_budgets(budgets: &[Budget]) {
    let row = |budget: &Budget| {
        let Budget {
            measured,
            limit,
            unit,
            ..
        } = budget;
        let verdict = if measured <= limit {
            "within"
        } else if measured.is_finite() {
            "over"
        } else {
            "not measured"
        };
        vec![
            budget.what.to_owned(),
            format!("{measured:.3}{unit}"),
            format!("<= {limit:.3}{unit}"),
            verdict.to_owned(),
        ]
    };
    print(
        "Budgets",
        &["", "measured", "budget", ""],
        &budgets.iter().map(row).collect::<Vec<_>>(),
    );
}

/// Milliseconds, as a table shows them.
#[must_use]
pub fn ms(time: Duration) -> String {
    let time = time.as_secs_f64() * 1000.0;
    if time < 10.0 {
        format!("{time:.3} ms")
    } else {
        format!("{time:.1} ms")
    }
}
