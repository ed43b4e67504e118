//! Listening ports.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket};

/// Connections that wait to be accepted, as in tokio and the standard library.
const BACKLOG: u32 = 1024;

/// Binds a listener.
///
/// # Errors
/// One line that names the port or address and, for a port in use or a privileged one, the remedy.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, CannotListen> {
    let bound = match (bind(address), address) {
        // All addresses of a machine without IPv6.
        (Err(error), SocketAddr::V6(all)) if all.ip().is_unspecified() && lacks_ipv6(&error) => {
            bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())))
        }
        (bound, _) => bound,
    };
    bound.map_err(|error| CannotListen { address, error })
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
    // As tokio's own `bind` does: a restart does not wait for the old connections.
    socket.set_reuseaddr(true)?;
    if address.is_ipv6() {
        // IPv4 as well, whatever the system's default is.
        SockRef::from(&socket).set_only_v6(false)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn lacks_ipv6(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT))
}

/// The error of [`listen`].
#[derive(Debug)]
pub struct CannotListen {
    address: SocketAddr,
    error: io::Error,
}

impl std::fmt::Display for CannotListen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        use io::ErrorKind::{AddrInUse, PermissionDenied};
        let Self { address, error } = self;
        match error.kind() {
            AddrInUse => {
                write!(f, "port {} is in use; stop what uses it or choose another port", address.port())
            }
            PermissionDenied => write!(
                f,
                "port {} needs rights that this user lacks; choose one from 1024 on",
                address.port()
            ),
            _ => write!(f, "can't listen on {address}: {error}"),
        }
    }
}

impl std::error::Error for CannotListen {}
