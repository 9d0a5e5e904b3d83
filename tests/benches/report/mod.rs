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

    /// The one in the middle.
    pub fn median(&self) -> f64 {
        self.0[self.0.len() / 2]
    }

    /// The median, and the spread.
    pub fn text(&self, digits: usize) -> String {
        let (least, most) = (self.0[0], self.0[self.0.len() - 1]);
        format!("{:.digits$} ({least:.digits$} to {most:.digits$})", self.median())
    }
}

/// Rows of the report.
#[derive(Default)]
pub struct Report(Vec<Value>);

impl Report {
    /// Also said at once, as the whole takes minutes.
    pub fn row(&mut self, what: &str, ours: String, beside: String, ratio: String, aim: &str) {
        eprintln!("{what}: {ours} | {beside} | {ratio} | {aim}");
        self.0.push(json!({"what": what, "ours": ours, "beside": beside, "ratio": ratio, "aim": aim}));
    }

    /// The table on stdout, JSON in the file that WOMM_BENCH_JSON names.
    pub fn print(&self) {
        let columns = ["what", "ours", "beside", "ratio", "aim"];
        println!("| {} |\n|---|---|---|---|---|", columns.join(" | "));
        for row in &self.0 {
            let cells: Vec<&str> = columns.iter().map(|column| row[*column].as_str().unwrap_or_default()).collect();
            println!("| {} |", cells.join(" | "));
        }
        if let Ok(path) = std::env::var("WOMM_BENCH_JSON") {
            std::fs::write(path, serde_json::to_string_pretty(&self.0).expect("JSON")).expect("written");
        }
    }
}
