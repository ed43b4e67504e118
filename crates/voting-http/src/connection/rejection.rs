//! The text of the responses with which the HTTP library itself rejects a request that it can't parse. They have no body, and
//! the library has no hook for one.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::Bytes;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::server::{MAX_HEADER_BYTES, MAX_HEADER_FIELDS};

/// A rejection of the library with a text that says what is allowed; `None` for any other response. Responses of the routes
/// have further headers.
pub(super) fn with_text(response: &[u8]) -> Option<Bytes> {
    let status = response.strip_prefix(b"HTTP/1.1 ")?.get(..4)?;
    if !matches!(status, b"400 " | b"414 " | b"431 ") {
        return None;
    }
    let head = std::str::from_utf8(response).ok()?.strip_suffix("\r\n\r\n")?;
    let (status_line, headers) = head.split_once("\r\n")?;
    let (mut is_empty, mut kept) = (false, String::new());
    for line in headers.split("\r\n") {
        match line.split_once(':')?.0.to_ascii_lowercase().as_str() {
            "content-length" => is_empty = line.ends_with(" 0"),
            "connection" | "date" => kept += &format!("{line}\r\n"),
            _ => return None,
        }
    }
    let text = match status {
        b"400 " => "The request is not valid HTTP/1.1.\n\n\
                    Allowed: a line METHOD TARGET HTTP/1.1, lines NAME: VALUE, an empty line, and a body of the length that \
                    Content-Length or Transfer-Encoding: chunked tells.\n"
            .to_owned(),
        _ => format!(
            "The header of the request is too large.\n\n\
             Allowed: up to {MAX_HEADER_BYTES} bytes, the request line and cookies included, in up to {MAX_HEADER_FIELDS} \
             fields.\n"
        ),
    };
    is_empty.then(|| {
        format!(
            "{status_line}\r\n{kept}content-type: text/plain; charset=utf-8\r\ncache-control: no-store\r\n\
             x-content-type-options: nosniff\r\ncontent-length: {}\r\n\r\n{text}",
            text.len()
        )
        .into()
    })
}

/// Reads what the client still sends, within limits: closing a connection with unread bytes resets it, and the client may
/// lose the response.
#[derive(Debug)]
pub(super) struct Drain {
    end: Pin<Box<Sleep>>,
    bytes: usize,
}

impl Default for Drain {
    fn default() -> Self {
        Self { end: Box::pin(sleep(Duration::from_secs(1))), bytes: 16 * MAX_HEADER_BYTES }
    }
}

impl Drain {
    /// Ends when the client has closed the connection, or at a limit.
    pub(super) fn poll(
        &mut self,
        mut stream: Pin<&mut impl AsyncRead>,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        let mut part = [0; 4096];
        while self.bytes > 0 && self.end.as_mut().poll(context).is_pending() {
            let mut part = ReadBuf::new(&mut part);
            let read = ready!(stream.as_mut().poll_read(context, &mut part));
            let length = part.filled().len();
            if read.is_err() || length == 0 {
                break;
            }
            self.bytes = self.bytes.saturating_sub(length);
        }
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_empty_rejection_gets_a_text() {
        let empty = "connection: close\r\ncontent-length: 0\r\ndate: Thu, 26 Nov 2026 12:00:00 GMT\r\n\r\n";
        for (status, text) in [
            ("400 Bad Request", "METHOD TARGET HTTP/1.1"),
            ("414 URI Too Long", "65536 bytes"),
            ("431 Request Header Fields Too Large", "65536 bytes"),
        ] {
            let answer = with_text(format!("HTTP/1.1 {status}\r\n{empty}").as_bytes()).unwrap();
            let answer = std::str::from_utf8(&answer).unwrap();
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with(&format!("HTTP/1.1 {status}\r\nconnection: close\r\n")), "{head}");
            assert!(head.ends_with(&format!("content-length: {}", body.len())), "{head}");
            assert!(body.contains(text), "{body}");
        }
        for other in [
            format!("HTTP/1.1 404 Not Found\r\n{empty}"),
            format!("HTTP/1.1 400 Bad Request\r\ncontent-type: text/html\r\n{empty}"),
            format!("HTTP/1.1 400 Bad Request\r\n{empty}x"),
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 10\r\n\r\n".to_owned(),
            "HTTP/1.1 431 ".to_owned(),
        ] {
            assert_eq!(with_text(other.as_bytes()), None, "{other}");
        }
    }
}
