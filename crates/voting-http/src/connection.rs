//! A client's connection, whose memory and time are bounded.

mod rejection;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::PollSemaphore;

use self::rejection::{Drain, with_text};

/// Largest request that needs no permit, which is the size of the server's smallest buffer. The page's own requests have
/// under 2 KB.
const SMALL_REQUEST_BYTES: usize = 8 * 1024;

/// Maximum number of requests at a time that are larger than [`SMALL_REQUEST_BYTES`]. Each of them needs up to
/// 80 KB: a header of 64 KB and a form of 16 KB.
const LARGE_REQUESTS: usize = 256;

/// The permits of large requests, which the connections of a server share.
#[derive(Clone, Debug)]
pub(crate) struct LargeRequests(Arc<Semaphore>);

impl Default for LargeRequests {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(LARGE_REQUESTS)))
    }
}

/// A connection that fails when its client does not take the next bytes in time, that reads a large request only with a
/// permit, and that adds a text to the responses with which the HTTP library itself rejects a request.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: Pin<Box<TimeoutStream<TcpStream>>>,
    /// The rest of a rejection.
    unsent: Bytes,
    /// What is left to read after a rejection.
    drain: Option<Drain>,
    /// Bytes received since the last response began.
    unanswered: usize,
    large_requests: PollSemaphore,
    permit: Option<OwnedSemaphorePermit>,
}

impl Connection {
    pub(crate) fn new(stream: TcpStream, write_timeout: Duration, large_requests: &LargeRequests) -> Self {
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(write_timeout));
        Self {
            stream: Box::pin(stream),
            unsent: Bytes::new(),
            drain: None,
            unanswered: 0,
            large_requests: PollSemaphore::new(large_requests.0.clone()),
            permit: None,
        }
    }

    fn answer(&mut self) {
        self.unanswered = 0;
        self.permit = None;
    }

    /// Takes a rejection of the HTTP library in full and keeps it with its text. Any other response is left to the stream.
    fn reject(&mut self, response: &[u8]) -> Option<usize> {
        self.unsent = with_text(response)?;
        self.drain = Some(Drain::default());
        Some(response.len())
    }

    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            let sent = ready!(self.stream.as_mut().poll_write(context, &self.unsent))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unsent.advance(sent);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.unanswered >= SMALL_REQUEST_BYTES && self.permit.is_none() {
            self.permit = ready!(self.large_requests.poll_acquire(context));
        }
        let before = buffer.filled().len();
        ready!(self.stream.as_mut().poll_read(context, buffer))?;
        self.unanswered += buffer.filled().len() - before;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_send(context))?;
        self.answer();
        match self.reject(bytes) {
            Some(taken) => Poll::Ready(Ok(taken)),
            None => self.stream.as_mut().poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_send(context))?;
        self.answer();
        // A rejection has no body, so it is one slice.
        match slices.first().and_then(|first| self.reject(first)) {
            Some(taken) => Poll::Ready(Ok(taken)),
            None => self.stream.as_mut().poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(context))?;
        self.stream.as_mut().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(context))?;
        ready!(self.stream.as_mut().poll_shutdown(context))?;
        let Self { stream, drain, .. } = &mut *self;
        match drain {
            Some(drain) => drain.poll(stream.as_mut(), context).map(Ok),
            None => Poll::Ready(Ok(())),
        }
    }
}
