//! What a benchmark measures, part by part: those that its words name, or all.

use crate::report::Report;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

/// Measures something with the context that all parts have.
pub type Part<C> = fn(&mut Report, &C);

/// Runs the wanted ones, and prints.
pub fn run<C>(parts: &[(&str, Part<C>)], context: &C) -> ExitCode {
    // cargo bench adds an option of its own.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let names: Vec<&str> = parts.iter().map(|(name, _)| *name).collect();
    if let Some(word) = wanted.iter().find(|word| !names.contains(&word.as_str())) {
        panic!("there is no part \"{word}\" to measure, only {}", names.join(", "));
    }
    let mut report = Report::default();
    let mut failed = Vec::new();
    for (name, part) in parts {
        if wanted.is_empty() || wanted.iter().any(|word| word == name) {
            // A part that fails takes none of the others with it, nor what was measured before.
            if catch_unwind(AssertUnwindSafe(|| part(&mut report, context))).is_err() {
                failed.push(*name);
            }
            report.print();
        }
    }
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("failed, see above: {}", failed.join(", "));
    ExitCode::FAILURE
}
