//! The runtime: tokio, or a deterministic scheduler in the tests of the feature `shuttle`.

#[cfg(not(feature = "shuttle"))]
mod present {
    pub(crate) use std::sync::atomic::AtomicBool;

    pub(crate) use tokio::sync::{mpsc, oneshot};
    pub(crate) use tokio::{select, spawn, time};
}

#[cfg(feature = "shuttle")]
mod present {
    pub(crate) use shuttle::sync::atomic::AtomicBool;
    use shuttle_tokio::sync::mpsc::Receiver;
    pub(crate) use shuttle_tokio::sync::{mpsc, oneshot};
    pub(crate) use shuttle_tokio::{select, spawn, time};

    /// What the scheduler's channel lacks.
    pub(crate) trait ReceiveMany<T> {
        async fn recv_many(&mut self, buffer: &mut Vec<T>, limit: usize) -> usize;
    }

    impl<T> ReceiveMany<T> for Receiver<T> {
        async fn recv_many(&mut self, buffer: &mut Vec<T>, limit: usize) -> usize {
            let before = buffer.len();
            buffer.extend(self.recv().await);
            while buffer.len() > before
                && buffer.len() < before + limit
                && let Ok(value) = self.try_recv()
            {
                buffer.push(value);
            }
            buffer.len() - before
        }
    }
}

pub(crate) use present::*;
