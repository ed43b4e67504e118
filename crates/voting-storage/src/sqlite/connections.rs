//! The connections of this process to SQLite files.
//!
//! Those to one file share the index of its write-ahead log. If the first one was opened while the file system was
//! read-only, the index is read-only as long as one of them is open, and so is each of them, though the file system may be
//! writable again. So when a connection that may not write ends, the others are closed too, idle ones among them, before
//! the next one opens.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::sync::{MappedMutexGuard, Mutex, MutexGuard, RwLock, oneshot, watch};

use crate::store::StoreError;

/// Changes when all connections are to be closed.
static CLOSING: LazyLock<watch::Sender<()>> = LazyLock::new(watch::Sender::default);
/// Each connection holds it for reading until it is closed.
static OPEN: LazyLock<Arc<RwLock<()>>> = LazyLock::new(Arc::default);

/// Opens a connection, once those that are being closed are.
pub(super) async fn open(options: &SqliteConnectOptions) -> Result<TrackedConnection, sqlx::Error> {
    let place = OPEN.clone().read_owned().await;
    let mut closing = CLOSING.subscribe();
    let connection = Arc::new(Mutex::new(Some(options.connect().await?)));
    let (dropped, is_dropped) = oneshot::channel();
    let tracked = TrackedConnection {
        connection: connection.clone(),
        is_read_only: AtomicBool::new(false),
        _dropped: dropped,
    };
    tokio::spawn(async move {
        tokio::select! {
            _ = is_dropped => {}
            _ = closing.changed() => {}
        }
        let connection = connection.lock().await.take();
        if let Some(connection) = connection {
            // It is closed in any case.
            let _ = connection.close().await;
        }
        drop(place);
    });
    Ok(tracked)
}

fn close_all() {
    CLOSING.send_replace(());
    // The lock is fair: a connection that is opened from now on waits for this, and this for those that are open.
    tokio::spawn(async { drop(OPEN.clone().write_owned().await) });
}

/// An open connection. It is closed when this is dropped.
pub(super) struct TrackedConnection {
    connection: Arc<Mutex<Option<SqliteConnection>>>,
    is_read_only: AtomicBool,
    _dropped: oneshot::Sender<()>,
}

impl TrackedConnection {
    /// The connection, unless it was closed together with one that was read-only.
    pub(super) async fn get(&self) -> Result<MappedMutexGuard<'_, SqliteConnection>, StoreError> {
        MutexGuard::try_map(self.connection.lock().await, Option::as_mut)
            .map_err(|_| StoreError::unavailable("a connection was read-only, so the file is opened again"))
    }

    /// Notes that a write failed because the connection is read-only. It still reads.
    pub(super) fn set_read_only(&self) {
        self.is_read_only.store(true, Ordering::Relaxed);
    }
}

impl Drop for TrackedConnection {
    fn drop(&mut self) {
        if *self.is_read_only.get_mut() {
            close_all();
        }
    }
}
