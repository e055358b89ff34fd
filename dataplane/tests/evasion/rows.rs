//! The rows, by group. The paths are spelled out because a second test plays the same rows against a real server.

#[path = "rows/ip.rs"]
pub(crate) mod ip;
#[path = "rows/plain.rs"]
pub(crate) mod plain;
#[path = "rows/quic.rs"]
pub(crate) mod quic;
#[path = "rows/tcp.rs"]
pub(crate) mod tcp;
#[path = "rows/tls.rs"]
pub(crate) mod tls;
