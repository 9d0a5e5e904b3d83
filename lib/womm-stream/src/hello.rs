//! The greeting: one line each way, before anything else, so that versions that can't talk say so in words.
//!
//! `womm PROTOCOL VERSION NAME\n`, NAME being the task's id from the workstation and the agent's instance from the pod.

use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use womm_wire::names;

/// The longest line, bytes.
const MOST: usize = 256;

/// What one side says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// [`names::PROTOCOL`].
    pub protocol: u32,
    /// [`names::VERSION`].
    pub version: String,
    /// The task's id, or the agent's instance: what no other agent ever has.
    pub name: String,
}

impl Hello {
    /// This program's greeting.
    pub fn ours(name: impl Into<String>) -> Self {
        Self { protocol: names::PROTOCOL, version: names::VERSION.into(), name: name.into() }
    }
}

/// Why two ends do not come together.
#[derive(Debug, thiserror::Error)]
pub enum HelloError {
    /// The wire broke.
    #[error("{0}")]
    Wire(#[from] io::Error),
    /// Something else than a womm-agent or womm-sshlogins speaks there.
    #[error("the other end is no womm program: it says \"{0}\"")]
    Foreign(String),
    /// Another protocol.
    #[error("the agent in the image is WOMM {theirs}, this is {}: run `womm setup` again to renew it", names::VERSION)]
    Version {
        /// Their version.
        theirs: String,
    },
}

/// Sends our greeting and reads theirs.
///
/// # Errors
/// If the wire breaks, or what comes is no greeting of our protocol.
pub async fn exchange<W>(wire: &mut W, ours: &Hello) -> Result<Hello, HelloError>
where
    W: AsyncRead + AsyncWrite + Unpin,
{
    wire.write_all(format!("womm {} {} {}\n", ours.protocol, ours.version, ours.name).as_bytes()).await?;
    wire.flush().await?;
    let mut line = Vec::new();
    // Byte by byte: what follows the newline belongs to the next layer.
    loop {
        let byte = wire.read_u8().await?;
        if byte == b'\n' {
            break;
        }
        line.push(byte);
        if line.len() == MOST {
            return Err(HelloError::Foreign(shown(&line)));
        }
    }
    let theirs = parse(&line).ok_or_else(|| HelloError::Foreign(shown(&line)))?;
    if theirs.protocol != ours.protocol {
        return Err(HelloError::Version { theirs: theirs.version });
    }
    Ok(theirs)
}

fn parse(line: &[u8]) -> Option<Hello> {
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    if words.next() != Some("womm") {
        return None;
    }
    let protocol = words.next()?.parse().ok()?;
    Some(Hello { protocol, version: words.next()?.into(), name: words.next()?.into() })
}

fn shown(line: &[u8]) -> String {
    String::from_utf8_lossy(&line[..line.len().min(80)]).escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn against(theirs: &str) -> Result<Hello, HelloError> {
        let (mut near, mut far) = tokio::io::duplex(1024);
        far.write_all(theirs.as_bytes()).await.expect("room");
        exchange(&mut near, &Hello::ours("abc")).await
    }

    #[tokio::test]
    async fn greetings() {
        assert_eq!(against("womm 1 9.9 x\nrest").await.expect("ours").name, "x");
        assert!(matches!(against("womm 2 9.9 x\n").await, Err(HelloError::Version { theirs }) if theirs == "9.9"));
        assert!(matches!(against("SSH-2.0-x\r\n").await, Err(HelloError::Foreign(_))));
        assert!(matches!(against(&"x".repeat(400)).await, Err(HelloError::Foreign(_))));
    }

    #[tokio::test]
    async fn a_break_in_the_greeting_is_an_error() {
        let (mut near, far) = tokio::io::duplex(1024);
        drop(far);
        assert!(matches!(exchange(&mut near, &Hello::ours("abc")).await, Err(HelloError::Wire(_))));
    }
}
