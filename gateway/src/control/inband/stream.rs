//! A TCP flow of the in-band stack, as tokio reads and writes it.

use super::Handle;
use super::stack::Id;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// One flow. Dropping it sends what was written and ends the flow.
pub(crate) struct Stream {
    stack: Handle,
    id: Id,
}

impl Stream {
    pub(super) fn new(stack: Handle, id: Id) -> Self {
        Self { stack, id }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let result = self.stack.lock().poll_read(self.id, cx, into);
        if into.filled().len() > before {
            // The window opens: the other end is told.
            self.stack.tell();
        }
        result
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = self.stack.lock().poll_write(self.id, cx, bytes);
        if result.is_ready() {
            self.stack.tell();
        }
        result
    }

    /// What was written is on its way as soon as the other end takes it.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stack.lock().close(self.id);
        self.stack.tell();
        Poll::Ready(Ok(()))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.stack.lock().leave(self.id);
        self.stack.tell();
    }
}
