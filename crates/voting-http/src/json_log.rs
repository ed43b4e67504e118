//! The log as JSON: an object a line.
//!
//! The library's own layer does the same in three and a half times the instructions, which was a third of all that a vote
//! took (`docs/benchmarks.md`).

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;

use serde::Serializer as _;
use serde::ser::SerializeMap as _;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tracing::{Event, Subscriber};
use tracing_serde::{AsSerde as _, SerdeMapVisitor};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Writes each event to the standard output: `timestamp`, `level`, `message`, the event's fields, `target`.
pub(crate) struct JsonLog(File);

impl JsonLog {
    /// # Errors
    /// There is no standard output.
    pub(crate) fn new() -> io::Result<Self> {
        // Not by `Stdout`, behind whose lock requests would wait for each other: each line is one write.
        io::stdout().as_fd().try_clone_to_owned().map(File::from).map(Self)
    }
}

impl<S: Subscriber> Layer<S> for JsonLog {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if let Ok(line) = line(event) {
            // If nobody takes the log, there is nowhere to say so.
            let _ = (&self.0).write_all(&line);
        }
    }
}

fn line(event: &Event<'_>) -> serde_json::Result<Vec<u8>> {
    let mut line = Vec::with_capacity(512);
    let mut serializer = serde_json::Serializer::new(&mut line);
    let mut map = serializer.serialize_map(None)?;
    map.serialize_entry("timestamp", &OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default())?;
    map.serialize_entry("level", &event.metadata().level().as_serde())?;
    let mut fields = SerdeMapVisitor::new(map);
    event.record(&mut fields);
    let mut map = fields.take_serializer()?;
    map.serialize_entry("target", event.metadata().target())?;
    map.end()?;
    line.push(b'\n');
    Ok(line)
}
