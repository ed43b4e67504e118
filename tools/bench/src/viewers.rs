//! Live viewers: clients of the event stream.

use std::net::SocketAddr;

use clap::Args;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, sink};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Arguments of the viewers.
#[derive(Args, Debug)]
pub struct ViewersArgs {
    /// Address of the app.
    #[arg(long)]
    address: SocketAddr,
    /// Number of viewers.
    #[arg(long)]
    count: usize,
}

/// Connects all viewers, prints a line, and reads until it is killed.
pub async fn run(arguments: &ViewersArgs) -> anyhow::Result<()> {
    let mut viewers = JoinSet::new();
    for _ in 0..arguments.count {
        let mut stream = TcpStream::connect(arguments.address).await?;
        let head = format!("GET /events HTTP/1.1\r\nHost: {}\r\n\r\n", arguments.address);
        stream.write_all(head.as_bytes()).await?;
        let mut first = [0; 12];
        stream.read_exact(&mut first).await?;
        anyhow::ensure!(&first == b"HTTP/1.1 200", "{}", String::from_utf8_lossy(&first));
        viewers.spawn(async move { tokio::io::copy(&mut stream, &mut sink()).await });
    }
    println!("{} viewers connected", arguments.count);
    // No viewer ends on its own.
    viewers.join_next().await.transpose()?.transpose()?;
    anyhow::bail!("a viewer was disconnected")
}
