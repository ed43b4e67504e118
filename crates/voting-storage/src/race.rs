//! Connecting to a host name with several addresses: each gets its chance within the deadline, as in RFC 8305 ("happy
//! eyeballs").

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until};

/// Head start of an address over the next one.
const STAGGER: Duration = Duration::from_millis(250);

/// All addresses of a host, at least one, in the resolver's order. An IPv6 address may be in brackets.
pub(crate) async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let addresses: Vec<_> = tokio::net::lookup_host((host, port)).await?.collect();
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the host name has no address"));
    }
    Ok(addresses)
}

/// The first connection that is complete. The next address is tried when one fails or is silent for a moment, so a silent
/// address does not hide one that works. The error is that of the last address to fail.
pub(crate) async fn race<T, E, F>(
    addresses: Vec<SocketAddr>,
    connect: impl Fn(SocketAddr) -> F,
) -> Option<Result<T, E>>
where
    F: Future<Output = Result<T, E>>,
{
    let mut waiting = addresses.into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut last = None;
    loop {
        if let Some(address) = waiting.next() {
            attempts.push(connect(address));
        }
        let next_at = Instant::now() + STAGGER;
        tokio::select! {
            biased;
            Some(result) = attempts.next() => match result {
                Ok(connection) => return Some(Ok(connection)),
                Err(error) => last = Some(Err(error)),
            },
            () = sleep_until(next_at), if waiting.len() > 0 => {}
            else => return last,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Connects to ports of which the first digit is the time that it takes, in seconds; odd ones fail.
    async fn connect(address: SocketAddr) -> Result<u16, u16> {
        let port = address.port();
        tokio::time::sleep(Duration::from_secs((port / 10).into())).await;
        if port % 2 == 1 { Err(port) } else { Ok(port) }
    }

    async fn run(ports: &[u16]) -> (Option<Result<u16, u16>>, Duration) {
        let start = Instant::now();
        let addresses = ports.iter().map(|port| SocketAddr::from(([127, 0, 0, 1], *port))).collect();
        (race(addresses, connect).await, start.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_address_does_not_hide_one_that_works() {
        assert_eq!(run(&[990, 992, 4]).await, (Some(Ok(4)), 2 * STAGGER));
        assert_eq!(run(&[990, 1, 4]).await, (Some(Ok(4)), STAGGER));
        assert_eq!(run(&[2, 4]).await, (Some(Ok(2)), Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_error_is_returned_when_every_address_fails() {
        assert_eq!(run(&[1, 3]).await.0, Some(Err(3)));
        assert_eq!(run(&[21, 3]).await.0, Some(Err(21)));
        assert_eq!(run(&[]).await.0, None);
    }

    #[tokio::test]
    async fn addresses_may_be_in_brackets() {
        for host in ["::1", "[::1]"] {
            assert_eq!(resolve(host, 7).await.unwrap(), ["[::1]:7".parse().unwrap()]);
        }
        assert!(!resolve("localhost", 7).await.unwrap().is_empty());
    }
}
