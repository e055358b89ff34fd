//! The ring of events between fast path and slow path.
