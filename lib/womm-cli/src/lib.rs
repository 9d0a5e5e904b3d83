//! Around main: one way for every program of WOMM to read and write records, to fail, and to end with its run.

#[cfg(feature = "clap")]
mod arguments;
mod failure;
pub mod finding;
mod inherited;
pub mod life;
mod limits;
mod record;
pub mod run;
mod signals;
#[cfg(feature = "table")]
mod table;

#[cfg(feature = "clap")]
pub use arguments::parse;
pub use failure::{Code, Failure, report, run_main};
pub use limits::raise_descriptor_limit;
pub use record::{read_record, write_line, write_record};
pub use signals::signalled;
#[cfg(feature = "table")]
pub use table::table;
