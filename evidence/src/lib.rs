//! Events and the transparency log that keeps them.

mod event;

pub use event::{EVENT_VERSION, Event, EventKind, InvalidEvent, MAX_EVENT_BYTES, Timeout};
