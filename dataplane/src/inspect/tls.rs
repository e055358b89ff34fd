//! TLS ClientHello.
