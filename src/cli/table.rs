//! Tables for a terminal: columns as wide as their widest cell, two spaces between them.

use crate::line::clean;

/// To which side of its column a cell stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A last column that is narrower is not broken: nobody reads a word a line.
const LEAST_ROOM: usize = 20;

/// A table with a head.
#[derive(Debug)]
pub(super) struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty one.
    pub(super) fn new(columns: &[(&'static str, Align)]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row; control characters in it become visible, so that what others wrote moves no cursor.
    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells.iter().map(|cell| clean(cell)).collect());
    }

    /// Whether it has only its head.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

impl Table {
    /// As text. Where it is wider than the terminal, each row is told cell by cell, one line each, so that no number is
    /// broken in two.
    pub(super) fn within(&self, width: Option<usize>) -> String {
        let table = self.lines();
        let Some(width) = width.filter(|width| table.lines().any(|line| line.chars().count() > *width))
        else {
            return table;
        };
        let longest = self.columns.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        let mut text = String::new();
        for row in &self.rows {
            for ((name, _), cell) in self.columns.iter().zip(row).filter(|(_, cell)| !cell.is_empty()) {
                text.push_str(&super::fit(&format!("{name:longest$}  {cell}\n"), Some(width)));
            }
            text.push('\n');
        }
        text
    }

    /// As text in which the last column is broken between words where the terminal is too narrow, and goes on below itself.
    pub(super) fn wrapped(&self, width: Option<usize>) -> String {
        let (Some(width), Some(last)) = (width, self.columns.len().checked_sub(1)) else {
            return self.lines();
        };
        let cells = |column: usize| self.rows.iter().filter_map(move |row| row.get(column));
        let before: usize = self
            .columns
            .iter()
            .take(last)
            .enumerate()
            .map(|(column, (name, _))| {
                let widest = cells(column).map(|cell| cell.chars().count()).max().unwrap_or(0);
                widest.max(name.chars().count()) + 2
            })
            .sum();
        let Some(room) = width.checked_sub(before).filter(|room| *room >= LEAST_ROOM) else {
            return self.within(Some(width));
        };
        let mut table = Self { columns: self.columns.clone(), rows: Vec::with_capacity(self.rows.len()) };
        for row in &self.rows {
            let words = row.get(last).map_or("", String::as_str);
            let mut first = row.iter().take(last).cloned().collect::<Vec<_>>();
            for line in super::fit(words, Some(room)).lines() {
                let mut cells = std::mem::replace(&mut first, vec![String::new(); last]);
                cells.push(line.trim_start().to_owned());
                table.rows.push(cells);
            }
            if words.is_empty() {
                first.push(String::new());
                table.rows.push(first);
            }
        }
        table.lines()
    }

    fn lines(&self) -> String {
        let mut text = String::new();
        let head: Vec<String> = self.columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        let widths: Vec<usize> = (0..head.len())
            .map(|column| {
                let cells = std::iter::once(&head).chain(&self.rows).filter_map(|row| row.get(column));
                cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
            })
            .collect();
        for row in std::iter::once(&head).chain(&self.rows) {
            let mut line = String::new();
            for ((cell, width), (_, align)) in row.iter().zip(&widths).zip(&self.columns) {
                let gap = " ".repeat(width.saturating_sub(cell.chars().count()));
                match align {
                    Align::Left => line.extend([cell, gap.as_str(), "  "]),
                    Align::Right => line.extend([gap.as_str(), cell, "  "]),
                }
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&[("NAME", Align::Left), ("W", Align::Right)]);
        assert!(table.is_empty());
        table.row(vec!["évening".into(), "5".into()]);
        table.row(vec!["a\u{1b}[2J".into(), "1250".into()]);
        assert_eq!(table.within(None), "NAME        W\névening     5\na\u{fffd}[2J    1250\n");
        assert_eq!(table.within(Some(16)), table.within(None));
        let told = "NAME\n    évening\nW     5\n\nNAME  a\u{fffd}[2J\nW     1250\n\n";
        assert_eq!(table.within(Some(12)), told);
    }

    #[test]
    fn a_long_last_column_goes_on_below_itself() {
        let mut table = Table::new(&[("NAME", Align::Left), ("WHY", Align::Left)]);
        table.row(vec!["pcc".into(), "follows the surplus of 285.1 kW and no more".into()]);
        table.row(vec!["fleet".into(), String::new()]);
        let told = "NAME   WHY\npcc    follows the surplus of\n       285.1 kW and no\n       more\nfleet\n";
        assert_eq!(table.wrapped(Some(29)), told);
        assert_eq!(table.wrapped(None), table.within(None));
        assert_eq!(table.wrapped(Some(20)), table.within(Some(20)), "too narrow for that");
    }
}
