//! Around main: one way for every program of WOMM to read and write records, to fail, and to end with its run.

mod failure;
mod inherited;
pub mod life;
mod record;
pub mod run;

pub use failure::{Code, Failure, report, run_main};
pub use record::{read_record, write_line, write_record};
