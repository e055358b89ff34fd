//! Ports on capture files.
