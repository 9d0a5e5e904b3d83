//! The terminal that a program was started in: raw while another one behind it does the work, and as it was afterwards;
//! its size. Small, and without a runtime: `womm-ssh` is started for each job.

use rustix::fd::AsFd;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use womm_wire::frame::Size;

/// Raw mode (termios(3), `cfmakeraw`) until dropped.
#[derive(Debug)]
pub struct Raw<F: AsFd>(F, Option<Termios>);

impl<F: AsFd> Raw<F> {
    /// Makes a terminal raw; what is none stays as it is. What was typed ahead is kept, as ssh keeps it.
    pub fn enter(terminal: F) -> Self {
        let before = tcgetattr(&terminal).ok();
        if let Some(before) = &before {
            let mut raw = before.clone();
            raw.make_raw();
            let _ = tcsetattr(&terminal, OptionalActions::Drain, &raw);
        }
        Self(terminal, before)
    }
}

impl<F: AsFd> Drop for Raw<F> {
    fn drop(&mut self) {
        if let Some(before) = &self.1 {
            let _ = tcsetattr(&self.0, OptionalActions::Drain, before);
        }
    }
}

/// A terminal's size, or what terminals had when nobody knows.
pub fn size(terminal: impl AsFd) -> Size {
    match tcgetwinsize(terminal) {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => Size { rows: size.ws_row, columns: size.ws_col },
        _ => Size { rows: 24, columns: 80 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::{LocalModes, Winsize, tcsetwinsize};

    #[test]
    fn a_terminal_is_raw_for_a_while_and_has_a_size() {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&master).expect("its owner");
        unlockpt(&master).expect("unlocked");
        let name = ptsname(&master, Vec::new()).expect("a name");
        let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
        let terminal = rustix::fs::open(name.as_c_str(), flags, rustix::fs::Mode::empty()).expect("its other end");
        let canonical = || tcgetattr(&terminal).expect("a terminal").local_modes.contains(LocalModes::ICANON);
        assert_eq!(size(&terminal), Size { rows: 24, columns: 80 }, "nobody knows");
        let given = Winsize { ws_row: 10, ws_col: 20, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&terminal, given).expect("a size");
        assert_eq!(size(&terminal), Size { rows: 10, columns: 20 });
        assert!(canonical());
        let raw = Raw::enter(&terminal);
        assert!(!canonical());
        drop(raw);
        assert!(canonical());
    }

    #[test]
    fn what_is_no_terminal_stays_as_it_is() {
        let file = rustix::fs::open("/dev/null", rustix::fs::OFlags::RDWR, rustix::fs::Mode::empty()).expect("there");
        drop(Raw::enter(&file));
        assert_eq!(size(&file), Size { rows: 24, columns: 80 });
    }
}
