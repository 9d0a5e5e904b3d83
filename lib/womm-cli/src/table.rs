//! Tables for people: as wide as the terminal, unwrapped where there is none.

use std::io::IsTerminal;
use tabled::builder::Builder;
use tabled::settings::peaker::Priority;
use tabled::settings::{Style, Width};

/// Narrower terminals get lines that the terminal itself breaks.
const LEAST: usize = 60;

/// The table as text, with a line break at its end. The widest columns are wrapped, at words, to fit a terminal on stdout.
pub fn table<'a>(columns: &[&str], rows: impl IntoIterator<Item = Vec<&'a str>>) -> String {
    text(columns, rows, terminal())
}

fn text<'a>(columns: &[&str], rows: impl IntoIterator<Item = Vec<&'a str>>, width: Option<usize>) -> String {
    let mut builder = Builder::default();
    builder.push_record(columns.iter().copied());
    for row in rows {
        builder.push_record(row);
    }
    let mut table = builder.build();
    table.with(Style::psql());
    if let Some(width) = width.filter(|width| *width >= LEAST) {
        table.with(Width::wrap(width).keep_words(true).priority(Priority::max(true)));
    }
    let lines: Vec<_> = table.to_string().lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n") + "\n"
}

fn terminal() -> Option<usize> {
    let stdout = std::io::stdout();
    let size = stdout.is_terminal().then(|| rustix::termios::tcgetwinsize(&stdout).ok()).flatten()?;
    Some(size.ws_col.into()).filter(|width| *width > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_as_wide_as_the_terminal() {
        let long = "a word and ".repeat(20);
        let rows = || [vec!["one", "ok", long.as_str()], vec!["two", "wrong", "short"]];
        let wide = text(&["CHECK", "STATE", "DETAIL"], rows(), None);
        assert_eq!(wide.lines().count(), 4, "{wide}");
        let narrow = text(&["CHECK", "STATE", "DETAIL"], rows(), Some(80));
        assert!(narrow.lines().all(|line| line.chars().count() <= 80), "{narrow}");
        assert!(narrow.contains("wrong") && narrow.lines().count() > 4, "{narrow}");
    }
}
