//! HTTP/1 and h2c.
