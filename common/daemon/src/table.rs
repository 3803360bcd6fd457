//! Lists in a terminal: one line per row. What does not fit is cut with an ellipsis in the
//! columns that may be cut, widest first; commands and names can then be copied from the others.

use damocles_types::shown;
use std::io::IsTerminal;

/// A cut column keeps at least so many characters.
const LEAST: usize = 8;
const GAP: &str = "  ";

/// Rows under headings.
#[derive(Clone, Debug)]
pub struct Table {
    headings: Vec<String>,
    /// Columns that may be cut, by position.
    cut: Vec<usize>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table; the columns named in `cut` may be cut.
    pub fn new(headings: &[&str], cut: &[&str]) -> Self {
        let position = |name: &&str| headings.iter().position(|heading| heading == name);
        Self {
            headings: headings.iter().map(|h| h.to_uppercase()).collect(),
            cut: cut.iter().filter_map(position).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row. Of a text in several lines only the first is shown, and of what came from
    /// elsewhere nothing acts upon the terminal.
    pub fn add_row(&mut self, row: impl IntoIterator<Item = String>) {
        let row = row
            .into_iter()
            .map(|cell| shown(&first_line(&cell), usize::MAX).into_owned());
        self.rows.push(row.collect());
    }

    /// The lines, no longer than `width` where cutting can do it, without blanks at their ends.
    pub fn render(&self, width: Option<usize>) -> String {
        let mut widths: Vec<usize> = self.headings.iter().map(|h| length(h)).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(length(cell));
            }
        }
        if let Some(most) = width {
            self.shrink(&mut widths, most);
        }
        let mut out = String::new();
        for row in std::iter::once(&self.headings).chain(&self.rows) {
            let cells: Vec<String> = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| fit(cell, *width))
                .collect();
            out.push_str(cells.join(GAP).trim_end());
            out.push('\n');
        }
        out
    }

    /// Takes from the widest column that may be cut, until the rows fit or none can give more.
    fn shrink(&self, widths: &mut [usize], most: usize) {
        let gaps = GAP.len() * widths.len().saturating_sub(1);
        while widths.iter().sum::<usize>() + gaps > most {
            let widest = self
                .cut
                .iter()
                .copied()
                .filter(|&column| widths[column] > LEAST)
                .max_by_key(|&column| widths[column]);
            let Some(widest) = widest else { return };
            widths[widest] -= 1;
        }
    }
}

/// The first line that says something; an ellipsis shows that there is more.
pub fn first_line(text: &str) -> String {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default().to_owned();
    match lines.next() {
        Some(_) => format!("{first} …"),
        None => first,
    }
}

fn length(text: &str) -> usize {
    text.chars().count()
}

/// A cell in its column's width.
fn fit(cell: &str, width: usize) -> String {
    if length(cell) > width {
        let kept: String = cell.chars().take(width.saturating_sub(1)).collect();
        return format!("{}…", kept.trim_end());
    }
    format!("{cell:<width$}")
}

/// Columns of the terminal that stdout is; None: it is a file or a pipe, which take any width.
pub fn terminal_width() -> Option<usize> {
    terminal_size().map(|(columns, _)| columns)
}

/// Columns and lines of it.
pub fn terminal_size() -> Option<(usize, usize)> {
    if !std::io::stdout().is_terminal() {
        return None;
    }
    let told = |name| std::env::var(name).ok().and_then(|n| n.parse().ok());
    let asked = asked();
    let columns = told("COLUMNS").or(asked.map(|(columns, _)| columns));
    let lines = told("LINES").or(asked.map(|(_, lines)| lines));
    Some((columns.unwrap_or(80), lines.unwrap_or(24)))
}

/// What the terminal itself says.
#[expect(unsafe_code, reason = "the terminal's size has no safe call in std")]
fn asked() -> Option<(usize, usize)> {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: TIOCGWINSZ writes one winsize, and `size` is one that lives through the call.
    let answer = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size) };
    let told = answer == 0 && size.ws_col > 0 && size.ws_row > 0;
    told.then(|| (usize::from(size.ws_col), usize::from(size.ws_row)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["sector", "state", "problem"], &["problem"]);
        table.add_row(["s-t01000-1", "PC1", "—"].map(str::to_owned));
        let long = "the child c2-0 was lost: it ended by itself\nlast lines:\n  a\n  b";
        table.add_row(["s-t01000-2", "C1Done", long].map(str::to_owned));
        table
    }

    #[test]
    fn a_row_is_one_line_and_a_long_problem_is_cut() {
        assert_eq!(
            table().render(Some(40)),
            "SECTOR      STATE   PROBLEM\n\
             s-t01000-1  PC1     —\n\
             s-t01000-2  C1Done  the child c2-0 was…\n"
        );
        for line in table().render(Some(40)).lines() {
            assert!(length(line) <= 40, "{line}");
        }
    }

    #[test]
    fn a_cell_moves_no_cursor_and_forges_no_row() {
        let mut table = Table::new(&["name", "problem"], &["problem"]);
        table.add_row(["w\u{1b}[2J\u{0}1", "a\rb\nforged-row  Finished"].map(str::to_owned));
        assert_eq!(
            table.render(None),
            "NAME              PROBLEM\nw\\u{1b}[2J\\u{0}1  a\\rb …\n"
        );
    }

    #[test]
    fn a_pipe_gets_the_whole_first_line_and_names_are_never_cut() {
        let whole = table().render(None);
        assert!(whole.contains("it ended by itself …\n"), "{whole}");
        assert!(whole.lines().all(|line| line == line.trim_end()));
        let narrow = table().render(Some(10));
        assert!(narrow.contains("s-t01000-2  C1Done  the chi…"), "{narrow}");
    }
}
