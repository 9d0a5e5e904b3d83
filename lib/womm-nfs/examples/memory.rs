//! A server of a folder in memory, for trying clients and foreign test suites against it:
//! `cargo run -p womm-nfs --example memory -- ADDRESS STATE-FOLDER LEASE-SECONDS`.

use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use womm_nfs::exports::Terms;
use womm_nfs::{Config, Server};
use womm_vfs::clock::SystemClock;
use womm_vfs::memory::MemoryVfs;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().collect();
    let [_, address, state, lease] = &words[..] else { return Err("ADDRESS STATE-FOLDER LEASE-SECONDS".into()) };
    let config =
        Config { lease: Duration::from_secs(lease.parse()?), most_memory: 1 << 30, clock: Arc::new(SystemClock) };
    let server = Server::open(state.as_ref(), config)?;
    server.export("/export", MemoryVfs::new(Arc::new(SystemClock)), Terms::default())?;
    let listener = TcpListener::bind(address).await?;
    eprintln!("listening on {}", listener.local_addr()?);
    let stop = CancellationToken::new();
    let ended = stop.clone();
    tokio::spawn(async move {
        let _ = tokio::signal::ctrl_c().await;
        ended.cancel();
    });
    server.serve(listener, stop).await;
    Ok(())
}
