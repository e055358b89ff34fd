//! Inspectors: first bytes of a flow to a name.

pub(crate) mod bytes;
pub mod dns;
pub mod http;
pub mod ja4;
pub mod quic;
pub mod starttls;
pub mod tls;
