//! The JSON log: one object per line.
//!
//! The JSON layer of `tracing-subscriber` needs three and a half times the instructions, which was a third of a vote's
//! (`docs/benchmarks.md`).

use std::io::Write as _;

use serde::Serializer as _;
use serde::ser::SerializeMap as _;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tracing::{Event, Subscriber};
use tracing_appender::non_blocking::NonBlocking;
use tracing_serde::{AsSerde as _, SerdeMapVisitor};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Logs each event as `timestamp`, `level`, `message`, the event's fields, `target`.
pub(crate) struct JsonLog(pub(crate) NonBlocking);

impl<S: Subscriber> Layer<S> for JsonLog {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if let Ok(line) = line(event) {
            // Never fails: a line that the buffer has no room for is counted.
            let _ = self.0.clone().write_all(&line);
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
