//! What measurements come to, and the table of them.

use serde_json::{Value, json};

/// Values of one measurement, in order.
pub struct Sample(Vec<f64>);

impl Sample {
    /// In any order, one at least.
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    /// The one in the middle, or between the two there.
    pub fn median(&self) -> f64 {
        let (below, above) = (self.0[(self.0.len() - 1) / 2], self.0[self.0.len() / 2]);
        (below + above) / 2.0
    }

    /// The median, and the spread.
    pub fn text(&self, digits: usize) -> String {
        let (least, most) = (self.0[0], self.0[self.0.len() - 1]);
        format!("{:.digits$} ({least:.digits$} to {most:.digits$})", self.median())
    }
}

/// Rows of the report.
#[derive(Default)]
pub struct Report {
    rows: Vec<Value>,
    /// How many of them were printed.
    printed: usize,
    begun: bool,
}

impl Report {
    /// Also said at once, as the whole takes minutes.
    pub fn row(&mut self, what: &str, ours: String, beside: String, ratio: String, aim: &str) {
        eprintln!("{what}: {ours} | {beside} | {ratio} | {aim}");
        self.rows.push(json!({"what": what, "ours": ours, "beside": beside, "ratio": ratio, "aim": aim}));
    }

    /// The table on stdout, as far as it was not printed yet; all of it as JSON in the file that WOMM_BENCH_JSON names.
    pub fn print(&mut self) {
        let columns = ["what", "ours", "beside", "ratio", "aim"];
        if !std::mem::replace(&mut self.begun, true) {
            println!("| {} |\n|---|---|---|---|---|", columns.join(" | "));
        }
        for row in &self.rows[self.printed..] {
            let cells: Vec<&str> = columns.iter().map(|column| row[*column].as_str().unwrap_or_default()).collect();
            println!("| {} |", cells.join(" | "));
        }
        self.printed = self.rows.len();
        if let Ok(path) = std::env::var("WOMM_BENCH_JSON") {
            std::fs::write(path, serde_json::to_string_pretty(&self.rows).expect("JSON")).expect("written");
        }
    }
}
