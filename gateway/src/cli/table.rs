//! Tables of text: a line of titles, a line for each row, and no lines between, so that they can be cut and searched. In
//! a terminal what is long is cut to its width; ids never are, since they are there to be copied.

use super::failure::plain;
use console::{Alignment, measure_text_width, pad_str, truncate_str};

/// What may happen to a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// Never cut.
    Whole,
    /// Never cut, and its digits below each other.
    Number,
    /// Cut where there is no room.
    Cut,
    /// Never cut, and left out where there is no room: the last of them first.
    Spare,
}

/// Between two columns.
const GAP: usize = 2;
/// A column is not cut to less than this.
const LEAST: usize = 8;

/// Rows below titles.
#[derive(Debug)]
pub struct Table {
    columns: Vec<(&'static str, Fit)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// No rows yet.
    pub fn new(columns: &[(&'static str, Fit)]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// One more row, with a text for each column.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.columns.len(), "a text for each column");
        self.rows.push(cells.into_iter().map(|cell| plain(&cell)).collect());
    }

    /// Whether there are no rows.
    pub const fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// As text, no wider than that many columns of a terminal if what must be whole has room.
    pub fn text(&self, width: Option<usize>, titles: bool) -> String {
        let (shown, widths) = self.shown(width);
        let titles = titles.then(|| self.columns.iter().map(|(title, _)| (*title).to_owned()));
        let titles = titles.map(Iterator::collect::<Vec<String>>);
        let mut text = String::new();
        for row in titles.iter().chain(&self.rows) {
            let mut line = String::new();
            for (index, width) in shown.iter().zip(&widths) {
                let align = match self.columns[*index].1 {
                    Fit::Number => Alignment::Right,
                    Fit::Whole | Fit::Cut | Fit::Spare => Alignment::Left,
                };
                let cell = truncate_str(&row[*index], *width, "…");
                line.push_str(&pad_str(&cell, *width, align, None));
                line.push_str(&" ".repeat(GAP));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    /// Which columns there is room for, and how wide each is. The widest that may be cut gives way first.
    fn shown(&self, most: Option<usize>) -> (Vec<usize>, Vec<usize>) {
        let needed = |index: &usize| {
            let cells = self.rows.iter().map(|row| measure_text_width(&row[*index]));
            cells.max().unwrap_or(0).max(measure_text_width(self.columns[*index].0))
        };
        let is_cut = |index: &usize| self.columns[*index].1 == Fit::Cut;
        let least = |index: &usize| match is_cut(index) {
            true => needed(index).min(LEAST),
            false => needed(index),
        };
        let mut shown: Vec<usize> = (0..self.columns.len()).collect();
        let most = most.unwrap_or(usize::MAX);
        let room = |shown: &[usize]| most.saturating_sub(GAP * shown.len().saturating_sub(1));
        while shown.iter().map(least).sum::<usize>() > room(&shown)
            && let Some(spare) = shown.iter().rposition(|i| self.columns[*i].1 == Fit::Spare)
        {
            shown.remove(spare);
        }
        let mut widths: Vec<usize> = shown.iter().map(needed).collect();
        while widths.iter().sum::<usize>() > room(&shown) {
            let cuttable = widths.iter_mut().zip(&shown);
            let cuttable = cuttable.filter(|(width, index)| is_cut(index) && **width > LEAST);
            match cuttable.max_by_key(|(width, _)| **width) {
                Some((width, _)) => *width -= 1,
                None => break,
            }
        }
        (shown, widths)
    }
}

/// One thing, with a line for each of its fields.
#[derive(Debug, Default)]
pub struct Details(Vec<(&'static str, String)>);

impl Details {
    /// One more field; none if there is nothing to say.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Option<String>>) -> Self {
        if let Some(value) = value.into() {
            self.0.push((name, plain(&value)));
        }
        self
    }

    /// As text.
    pub fn text(&self) -> String {
        let width = self.0.iter().map(|(name, _)| name.len()).max().unwrap_or(0) + GAP;
        self.0
            .iter()
            .map(|(name, value)| format!("{}\n", format!("{name:<width$}{value}").trim_end()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table =
            Table::new(&[("ID", Fit::Whole), ("NAME", Fit::Cut), ("COUNT", Fit::Number)]);
        table.row(["0123456789".into(), "Hooli, SMS partner".into(), "7".into()]);
        table.row(["1".into(), "日本語".into(), "1200".into()]);
        table
    }

    #[test]
    fn columns_are_below_each_other_whatever_is_in_them() {
        let expected = "\
ID          NAME                COUNT
0123456789  Hooli, SMS partner      7
1           日本語               1200
";
        assert_eq!(table().text(None, true), expected);
        let (_, rows) = expected.split_once('\n').expect("titles");
        assert_eq!(table().text(Some(200), false), rows);
    }

    #[test]
    fn a_narrow_terminal_cuts_what_may_be_cut() {
        let expected = "\
ID          NAME        COUNT
0123456789  Hooli, SM…      7
1           日本語       1200
";
        assert_eq!(table().text(Some(29), true), expected);
        let least = table().text(Some(5), true);
        assert!(least.contains("0123456789  Hooli, …      7"), "{least}");
    }

    #[test]
    fn what_there_is_no_room_for_is_left_out_from_the_end() {
        let mut table = Table::new(&[("A", Fit::Spare), ("B", Fit::Whole), ("C", Fit::Spare)]);
        table.row(["1234".into(), "5678".into(), "9012".into()]);
        let table = |width| table.text(Some(width), false);
        assert_eq!(table(16), "1234  5678  9012\n");
        assert_eq!(table(15), "1234  5678\n");
        assert_eq!(table(9), "5678\n");
        assert_eq!(table(1), "5678\n");
    }

    #[test]
    fn what_a_text_says_to_a_terminal_is_not_said() {
        let mut table = Table::new(&[("A", Fit::Cut)]);
        table.row(["red \u{1b}[31m\nnext".into()]);
        assert_eq!(table.text(None, false), "red  [31m next\n");
        let details = Details::default().with("a", "x\u{7}".to_owned()).with("long", None);
        assert_eq!(details.text(), "a  x\n");
    }
}
