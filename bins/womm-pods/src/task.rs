//! The record's task section, from the command line and from what the workstation knows.

use crate::cli::Create;
use crate::user;
use std::time::{Duration, SystemTime};
use womm_cli::Failure;
use womm_wire::names;
use womm_wire::quantity::{NotAQuantity, bytes, milli};
use womm_wire::record::{Record, Task};

/// More pods than this on one task are a slip of the finger.
const MOST_PODS: u32 = 5000;
/// More jobs than this in one pod are, too.
const MOST_PROCS: u32 = 1000;

/// The task section but for its run folder, and for what only the engine knows.
///
/// # Errors
/// Usage (2) if a number or quantity is none.
pub fn new(args: &Create, record: &Record) -> Result<Task, Failure> {
    let pods = match &args.kube_pods {
        Some(text) => count("--kube-pods", text, MOST_PODS)?,
        None => return Err(Failure::usage("--kube-pods is missing").help("say how many, such as --kube-pods 4")),
    };
    let quantity = |option: &str, text: &str, read: fn(&str) -> Result<u64, NotAQuantity>| {
        read(text)
            .map_err(|_| Failure::usage(format!("bad {option} \"{text}\": not a quantity such as 512Mi, 2G or 0.5")))
    };
    let id = random_id()?;
    let name = names::task_name(&id);
    Ok(Task {
        id,
        name,
        engine: record.project.engine,
        created: rfc3339(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()),
        pods,
        procs_per_pod: count("--procs-per-pod", &args.procs_per_pod, MOST_PROCS)?,
        cpu_milli: quantity("--kube-cpu", &args.kube_cpu, milli)?,
        mem_bytes: quantity("--kube-mem", &args.kube_mem, bytes)?,
        gpu: integer("--kube-gpu", &args.kube_gpu)?,
        user: user::current(),
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        pwd: pwd(&record.project.cwd)?,
        command: args.command.clone(),
        ..Task::default()
    })
}

fn integer(option: &str, text: &str) -> Result<u32, Failure> {
    text.parse().map_err(|_| Failure::usage(format!("Expected integer argument to {option}, got {text}")))
}

fn count(option: &str, text: &str, most: u32) -> Result<u32, Failure> {
    match integer(option, text)? {
        0 => Err(Failure::usage(format!("bad {option} 0: at least 1 is needed"))),
        n if n > most => Err(Failure::usage(format!("bad {option} {n}: at most {most} are possible"))),
        n => Ok(n),
    }
}

/// Where the user stands, if that is in the project; else the project's folder. That of a job is its own, in any bytes;
/// this one, in JSON, is for jobs that name none, and for people.
fn pwd(project: &str) -> Result<String, Failure> {
    let here = std::env::current_dir().map_err(|e| Failure::usage(format!("find the current folder: {e}")))?;
    let here = here.to_str().filter(|_| here.starts_with(project));
    Ok(here.unwrap_or(project).to_owned())
}

/// Eight lower-case letters.
fn random_id() -> Result<String, Failure> {
    let mut bytes = [0_u8; 8];
    let got = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    match got {
        // Eight bytes come whole or not at all.
        Ok(8) => Ok(bytes.iter().map(|byte| char::from(b'a' + byte % 26)).collect()),
        Ok(_) => Err(Failure::outside("get random bytes: too few came")),
        Err(e) => Err(Failure::outside(format!("get random bytes: {e}"))),
    }
}

/// A time since 1970 as RFC 3339 in UTC, to the second.
///
/// Days to a date as in "chrono-Compatible Low-Level Date Algorithms" by Howard Hinnant, `civil_from_days`: years begin
/// in March, so that the leap day is the last of them.
fn rfc3339(since_1970: Duration) -> String {
    let seconds = since_1970.as_secs();
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let since_0000_03_01 = days + 719_468;
    let (era, day_of_era) = (since_0000_03_01 / 146_097, since_0000_03_01 % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> Create {
        Create {
            kube_pods: Some("4".into()),
            procs_per_pod: "1".into(),
            kube_cpu: "1".into(),
            kube_mem: "512Mi".into(),
            kube_gpu: "0".into(),
            ..Create::default()
        }
    }

    fn refusal(change: impl FnOnce(&mut Create)) -> String {
        let mut args = args();
        change(&mut args);
        new(&args, &Record::default()).expect_err("refused").to_string()
    }

    #[test]
    fn a_task_is_named_by_eight_letters() {
        let task = new(&args(), &Record::default()).expect("good");
        assert!(task.id.len() == 8 && task.id.bytes().all(|b| b.is_ascii_lowercase()), "{}", task.id);
        assert_eq!(task.name, format!("womm-task-{}", task.id));
        assert_eq!((task.pods, task.cpu_milli, task.mem_bytes, task.gpu), (4, 1000, 512 << 20, 0));
    }

    #[test]
    fn bad_numbers_are_refused_in_words_that_users_know() {
        for x in ["x", "-1", "1.5", "", "99999999999"] {
            let expected = format!("Expected integer argument to --kube-pods, got {x}");
            assert_eq!(refusal(|a| a.kube_pods = Some(x.into())), expected.trim_end());
        }
        assert!(refusal(|a| a.kube_pods = None).starts_with("--kube-pods is missing"));
        assert_eq!(refusal(|a| a.kube_pods = Some("0".into())), "bad --kube-pods 0: at least 1 is needed");
        assert_eq!(refusal(|a| a.kube_pods = Some("5001".into())), "bad --kube-pods 5001: at most 5000 are possible");
        assert_eq!(refusal(|a| a.procs_per_pod = "0".into()), "bad --procs-per-pod 0: at least 1 is needed");
        let memory = refusal(|a| a.kube_mem = "lots".into());
        assert_eq!(memory, "bad --kube-mem \"lots\": not a quantity such as 512Mi, 2G or 0.5");
        assert!(refusal(|a| a.kube_cpu = "-1".into()).starts_with("bad --kube-cpu \"-1\""));
        assert_eq!(refusal(|a| a.kube_gpu = "all".into()), "Expected integer argument to --kube-gpu, got all");
    }

    #[test]
    fn who_stands_elsewhere_stands_in_the_project() {
        assert_eq!(pwd("/nowhere/at/all").expect("the project's"), "/nowhere/at/all");
    }

    #[test]
    fn dates() {
        // Each as `date -u -d @N +%FT%TZ` says.
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_709_208_000, "2024-02-29T12:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(Duration::from_secs(seconds)), text);
        }
    }
}
