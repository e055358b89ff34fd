//! DNS answers kept as hints.

use crate::packet::Addr;
use glassgate_policy::Name;

/// Names by address, for the client that asked.
pub struct Hints;

impl Hints {
    /// Room for `capacity` answers.
    pub fn new(_capacity: usize, _secret: [u64; 4]) -> Self {
        Self
    }

    /// Forgets what is over.
    pub fn expire(&mut self, _now_ms: u32, _budget: usize) {}

    /// `client` was told that `name` has `address`, for `ttl` seconds.
    pub fn learn(&mut self, _client: Addr, _address: Addr, _name: &Name, _ttl: u32, _now_ms: u32) {}

    /// The name that `client` asked for before it called `server`.
    pub fn lookup(&mut self, _client: Addr, _server: Addr, _now_ms: u32) -> Option<Name> {
        None
    }
}
