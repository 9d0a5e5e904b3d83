//! `womm-agent connect`: what pods/exec or docker exec starts; bridges its stdio to the agent's socket.

use std::io::{self, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};
use womm_cli::Failure;
use womm_wire::names;

/// The container may have started just now.
const PATIENCE: Duration = Duration::from_secs(10);

pub fn main() -> Result<(), Failure> {
    let agent = reach()?;
    let to_agent = agent.try_clone().map_err(|e| Failure::outside(format!("connect to the agent: {e}")))?;
    thread::spawn(move || {
        let _ = copy(&mut io::stdin().lock(), &mut &to_agent);
        let _ = to_agent.shutdown(Shutdown::Write);
    });
    // Whichever side breaks, the other notices: the workstation by our end, the agent by its socket's.
    let _ = copy(&mut &agent, &mut io::stdout().lock());
    Ok(())
}

fn reach() -> Result<UnixStream, Failure> {
    let start = Instant::now();
    loop {
        match UnixStream::connect(names::AGENT_SOCKET) {
            Ok(agent) => return Ok(agent),
            Err(e) if start.elapsed() > PATIENCE => {
                return Err(Failure::timeout(format!(
                    "no agent at {} after {} s: {e}",
                    names::AGENT_SOCKET,
                    PATIENCE.as_secs()
                )));
            }
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// Like `io::copy`, but each piece goes on at once: stdout of the standard library holds back what has no newline.
fn copy(from: &mut impl io::Read, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => {
                to.write_all(&buffer[..n])?;
                to.flush()?;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}
