//! The Glassgate gateway.
fn main() {}
