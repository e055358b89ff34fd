//! Identity: whose device is behind an address, as far as somebody has enrolled it.
//!
//! ```text
//!  ARP, ND, DHCP      ─► Bindings    address ─► device, until it runs out
//!  RADIUS, HTTP       ─► Logins      account ─► device, address, until it is over
//!  directory (a file) ─► Directory   device or account ─► group, enrolled by whom and when
//!  subject            ─► Subjects    a number that means nothing elsewhere
//!                            └─► Members   address ─► group and number: all that the fast path is told
//! ```
//!
//! **What is not known is private.** A device that nobody enrolled, one with a random hardware address, and one whose
//! address somebody else claims too, belong to no group, and under a charter nothing of them is observed. What is known of
//! an address is forgotten when its lease ends or when it has been silent for a while.
//!
//! Bounded: at most [`MAX_BINDINGS`] addresses and [`MAX_SESSIONS`] sessions. When there is no room, the new one stays
//! unknown, and is counted.

mod bindings;
mod directory;
mod event;
mod logins;
mod mac;
pub mod radius;
mod subjects;
mod who;

pub use bindings::{Bindings, Counters, Holder, MAX_BINDINGS, SILENCE_NS, is_of_one_host};
pub use directory::{Device, Directory, Enrolment, MAX_BYTES, MAX_ENTRIES};
pub use event::{IdentityEvent, Read, Source};
pub use logins::{Effect, FRESH_S, Heard, Logins, MAX_SESSIONS};
pub use mac::Mac;
pub use subjects::Subjects;
pub use who::Who;
