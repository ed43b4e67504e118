//! Browsers that follow the results live.

use std::net::SocketAddr;

use clap::Args;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, sink};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// How many, and of what.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Where they look.
    #[arg(long)]
    address: SocketAddr,
    /// How many they are.
    #[arg(long)]
    count: usize,
}

/// Connects all of them, says so in a line, and reads until it is killed.
pub async fn run(arguments: &Arguments) -> anyhow::Result<()> {
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
    println!("{} viewers look.", arguments.count);
    // None leaves by itself.
    viewers.join_next().await.transpose()?.transpose()?;
    anyhow::bail!("a viewer was sent away")
}
