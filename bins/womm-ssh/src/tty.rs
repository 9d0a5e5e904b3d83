//! The user's own terminal: raw while a job has one in the pod, and as it was afterwards.

use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};
use std::io;
use womm_wire::frame::Size;

/// Raw mode until dropped.
pub struct Raw(Option<Termios>);

impl Raw {
    /// Makes stdin's terminal raw, if it is one. What was typed ahead is kept, as ssh keeps it.
    pub fn enter() -> Self {
        let before = tcgetattr(io::stdin()).ok();
        if let Some(before) = &before {
            let mut raw = before.clone();
            raw.make_raw();
            let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &raw);
        }
        Self(before)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(io::stdin(), OptionalActions::Drain, before);
        }
    }
}

/// Whether stdin is a terminal.
pub fn on_stdin() -> bool {
    isatty(io::stdin())
}

/// Its size, or what terminals had when nobody knows.
pub fn size() -> Size {
    match tcgetwinsize(io::stdin()) {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => Size { rows: size.ws_row, columns: size.ws_col },
        _ => Size { rows: 24, columns: 80 },
    }
}
