//! Slots: the host names that GNU parallel sees. They are stable while pods come and go.
//!
//! The host of pod place P (from 1) is `w00P` for its first nine jobs, `w00P-2` for the next nine…: GNU parallel takes
//! more jobs on one host for a mistake that sshd would refuse (MaxStartups 10), and holds back.

/// The most jobs that one host of GNU parallel is given.
pub const JOBS_PER_HOST: u32 = 9;

/// One line of the sshloginfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// The host name, `w001` or `w001-2`.
    pub host: String,
    /// Which pod place it belongs to, from 0.
    pub place: usize,
    /// How many jobs at once.
    pub jobs: u32,
}

/// All slots of `pods` places with `procs_per_pod` jobs each, the first host of every place first, so that a
/// parallel with few jobs spreads them over pods.
pub fn slots(pods: u32, procs_per_pod: u32) -> Vec<Slot> {
    let hosts = procs_per_pod.div_ceil(JOBS_PER_HOST);
    (0..hosts)
        .flat_map(|part| {
            (0..pods).map(move |place| Slot {
                host: host(place as usize, part),
                place: place as usize,
                jobs: (procs_per_pod - part * JOBS_PER_HOST).min(JOBS_PER_HOST),
            })
        })
        .collect()
}

fn host(place: usize, part: u32) -> String {
    match part {
        0 => format!("w{:03}", place + 1),
        _ => format!("w{:03}-{}", place + 1, part + 1),
    }
}

/// The pod place (from 0) of a host name, if it is one of ours.
pub fn place(host: &str) -> Option<usize> {
    let rest = host.strip_prefix('w')?;
    let number = rest.split_once('-').map_or(rest, |(number, _)| number);
    if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    number.parse::<usize>().ok()?.checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_jobs_are_one_host_a_pod() {
        let names: Vec<_> = slots(2, 4).into_iter().map(|s| (s.host, s.jobs, s.place)).collect();
        assert_eq!(names, [("w001".into(), 4, 0), ("w002".into(), 4, 1)]);
    }

    #[test]
    fn more_than_nine_jobs_are_several_hosts() {
        let names: Vec<_> = slots(1, 20).into_iter().map(|s| (s.host, s.jobs)).collect();
        assert_eq!(names, [("w001".into(), 9), ("w001-2".into(), 9), ("w001-3".into(), 2)]);
    }

    #[test]
    fn a_host_leads_back_to_its_place() {
        for slot in slots(1200, 11) {
            assert_eq!(place(&slot.host), Some(slot.place));
        }
        for foreign in ["", "w", "w000", "localhost", "w1x", "wien", ":", "w-1"] {
            assert_eq!(place(foreign), None, "{foreign}");
        }
    }
}
