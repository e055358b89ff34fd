//! JA4 fingerprints.
